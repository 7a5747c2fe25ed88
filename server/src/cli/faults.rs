//! `duorum faults`: lets things go wrong on purpose, lists what does, and heals it.

use bytes::Bytes;
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::url::Url;
use super::{Complaint, Connection, print};

const EXAMPLES: &str = "\
Examples:
  duorum faults
  duorum faults begin partition --from 1 --both --for 10s
  duorum faults begin slow_disk --to 2 --ms 200
  duorum faults heal 2-1
  duorum faults heal

Only nodes of `duorum dev` and of `duorum serve --enable-faults` take faults.
What each kind does: docs/faults.md";

/// Let things go wrong on purpose, and heal them
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(super) struct Faults {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand)]
enum Action {
    /// Begin a fault
    Begin(Begin),
    /// End a fault, or all
    Heal(Heal),
}

/// Begin a fault
#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct Begin {
    /// partition, delay, drop, duplicate, reorder, pause, crash, slow_disk, fail_disk or clock_skew
    kind: String,

    /// Whose messages; without it those of every other node
    #[arg(long, value_name = "NODE")]
    from: Option<u64>,

    /// To whom, or the node that it happens to
    #[arg(long, value_name = "NODE")]
    to: Option<u64>,

    /// The other way round as well
    #[arg(long)]
    both: bool,

    /// How much, in milliseconds
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    ms: Option<i64>,

    /// Of how many messages or syncs, above 0 and up to 1
    #[arg(long, value_name = "SHARE")]
    probability: Option<f64>,

    /// How long, as 10s; without it until it is healed
    #[arg(long = "for", value_name = "TIME")]
    lasts: Option<String>,

    #[command(flatten)]
    connection: Connection,
}

/// End a fault, or all
#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct Heal {
    /// Its name; without it all faults of all nodes end
    id: Option<String>,

    #[command(flatten)]
    connection: Connection,
}

impl Faults {
    pub(super) async fn run(self) -> Result<(), Complaint> {
        match self.action {
            Some(Action::Begin(begin)) => begin.run().await,
            Some(Action::Heal(heal)) => heal.run().await,
            None => list(&self.connection).await,
        }
    }
}

/// The faults of all nodes, one row each.
async fn list(connection: &Connection) -> Result<(), Complaint> {
    let answer = connection.ask(Method::GET, &Url::path("/v1/faults"), Bytes::new()).await?;
    let Some(json) = answer else { return Ok(()) };
    let faults = json["faults"].as_array().map_or(&[][..], Vec::as_slice);
    let head = ["fault", "struck", "left", "what goes wrong"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for fault in faults {
        let left = fault["remaining_ms"].as_u64();
        rows.push(vec![
            text(&fault["id"]),
            fault["struck"].to_string(),
            left.map_or_else(|| "-".to_owned(), |left| format!("{left} ms")),
            text(&fault["what"]),
        ]);
    }
    let mut out = if faults.is_empty() { "no faults\n".to_owned() } else { print::table(&rows) };
    for node in json["nodes"].as_array().map_or(&[][..], Vec::as_slice) {
        let id = &node["node"];
        if node["answered"] == false {
            out += &format!("node {id} did not answer: {}\n", text(&node["problem"]));
        } else if node["enabled"] == false {
            out += &format!("node {id} takes no faults: they are not enabled there\n");
        } else if node["timers"] == "aligned" {
            out += &format!("node {id} has its election timers aligned with the others\n");
        }
    }
    print::bytes(out.as_bytes())
}

impl Begin {
    async fn run(self) -> Result<(), Complaint> {
        let mut body = json!({ "kind": self.kind });
        if self.both {
            body["both"] = true.into();
        }
        for (name, value) in [
            ("from", self.from.map(Value::from)),
            ("to", self.to.map(Value::from)),
            ("ms", self.ms.map(Value::from)),
            ("probability", self.probability.map(Value::from)),
            ("for", self.lasts.map(Value::from)),
        ] {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        let url = Url::path("/v1/faults");
        let answer = self.connection.ask(Method::POST, &url, body.to_string().into()).await?;
        let Some(fault) = answer else { return Ok(()) };
        print::bytes(format!("{}: {}\n", text(&fault["id"]), text(&fault["what"])).as_bytes())
    }
}

impl Heal {
    async fn run(self) -> Result<(), Complaint> {
        let url = match &self.id {
            Some(id) => Url::fault(id),
            None => Url::path("/v1/faults"),
        };
        let answer = self.connection.ask(Method::DELETE, &url, Bytes::new()).await?;
        let Some(json) = answer else { return Ok(()) };
        let mut out = String::new();
        for fault in json["healed"].as_array().map_or(&[][..], Vec::as_slice) {
            let (id, what, struck) = (text(&fault["id"]), text(&fault["what"]), &fault["struck"]);
            out += &format!("{id} is healed (struck: {struck}): {what}\n");
        }
        for node in json["nodes"].as_array().map_or(&[][..], Vec::as_slice) {
            if node["answered"] == false {
                out +=
                    &format!("node {} did not answer: {}\n", node["node"], text(&node["problem"]));
            }
        }
        if out.is_empty() {
            out.push_str("no faults\n");
        }
        print::bytes(out.as_bytes())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
