//! `duorum status`.

use clap::Args;
use serde_json::Value;

use super::print::table;
use super::url::Url;
use super::{Complaint, Connection, Exit, print};

const EXAMPLES: &str = "\
Examples:
  duorum status
  duorum status --endpoint 127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003";

/// The flags.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Status {
    #[command(flatten)]
    connection: Connection,
}

impl Status {
    /// Runs the verb: asks every endpoint.
    pub(super) async fn run(self) -> Result<(), Complaint> {
        let client = self.connection.client()?;
        let url = Url::path("/v1/status");
        let mut answered = Vec::new();
        let mut silent = Vec::new();
        for endpoint in client.endpoints() {
            match client.ask_endpoint(endpoint, &url).await {
                Ok(answer) if self.connection.json => {
                    print::bytes(&answer.body)?;
                    answered.push((endpoint, Value::Null));
                }
                Ok(answer) => answered.push((endpoint, answer.json()?)),
                Err(complaint) => silent.push(complaint.message),
            }
        }
        if !self.connection.json && !answered.is_empty() {
            print::bytes(nodes(&answered).as_bytes())?;
            for (_, status) in &answered {
                print::bytes(peers(status).as_bytes())?;
            }
        }
        for complaint in &silent {
            print::complain(complaint);
        }
        if answered.is_empty() {
            return Err(Complaint::new(
                Exit::Unavailable,
                "no node answered. Is the server running? Other addresses are given with \
                 --endpoint or DUORUM_ENDPOINT",
            ));
        }
        Ok(())
    }
}

/// One row a node.
fn nodes(answered: &[(&String, Value)]) -> String {
    let head = [
        "node",
        "endpoint",
        "protocol",
        "role",
        "leader",
        "position",
        "commit",
        "applied",
        "revision",
        "keys",
        "last fsync",
        "up",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut troubles = String::new();
    for (endpoint, status) in answered {
        let role = match text(&status["phase"]).as_str() {
            "-" => text(&status["role"]),
            phase => format!("{}/{phase}", text(&status["role"])),
        };
        let uptime =
            std::time::Duration::from_secs(status["uptime_ms"].as_u64().unwrap_or(0) / 1000);
        rows.push(vec![
            text(&status["node"]),
            (*endpoint).clone(),
            text(&status["protocol"]),
            role,
            text(&status["leader"]),
            text(&status["position"]),
            text(&status["commit_index"]),
            text(&status["applied_index"]),
            text(&status["revision"]),
            text(&status["keys"]),
            format!("{} ms", text(&status["last_fsync_ms"])),
            humantime::format_duration(uptime).to_string(),
        ]);
        if let Some(trouble) = status["trouble"].as_str() {
            troubles.push_str(&format!("node {}: {trouble}\n", text(&status["node"])));
        }
        for warning in status["warnings"].as_array().into_iter().flatten() {
            troubles.push_str(&format!("node {}: {}\n", text(&status["node"]), text(warning)));
        }
    }
    table(&rows) + &troubles
}

/// The peers of one node, if it has any.
fn peers(status: &Value) -> String {
    let peers = status["peers"].as_array().map_or(&[][..], Vec::as_slice);
    if peers.is_empty() {
        return String::new();
    }
    let head = ["peer", "address", "standing", "connected", "replication", "lag", "round trip"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for peer in peers {
        let round_trip = match &peer["round_trip_ms"] {
            Value::Null => "-".to_owned(),
            number => format!("{number} ms"),
        };
        rows.push(vec![
            text(&peer["node"]),
            text(&peer["address"]),
            text(&peer["standing"]),
            if peer["connected"] == true { "yes" } else { "no" }.to_owned(),
            text(&peer["replication"]),
            text(&peer["lag_entries"]),
            round_trip,
        ]);
    }
    format!("\nas node {} sees its peers\n{}", text(&status["node"]), table(&rows))
}

/// A JSON value for a cell.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
