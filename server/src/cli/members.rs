//! `duorum members`: who leads and who belongs to the cluster.

use bytes::Bytes;
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::Value;

use super::url::Url;
use super::{Complaint, Connection, print};

const EXAMPLES: &str = "\
Examples:
  duorum members
  duorum members transfer
  duorum members transfer --to 2";

/// Who leads, and who belongs to the cluster
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(super) struct Members {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand)]
enum Action {
    /// Have another node lead; writes wait for it, none is lost
    Transfer(Transfer),
}

/// Have another node lead; writes wait for it, none is lost
#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct Transfer {
    /// The node that shall lead; without it the most advanced of the others
    #[arg(long, value_name = "NODE")]
    to: Option<u64>,

    #[command(flatten)]
    connection: Connection,
}

impl Members {
    pub(super) async fn run(self) -> Result<(), Complaint> {
        match self.action {
            Some(Action::Transfer(transfer)) => transfer.run().await,
            None => list(&self.connection).await,
        }
    }
}

/// The members as the node asked sees them, one row each.
async fn list(connection: &Connection) -> Result<(), Complaint> {
    let answer = connection.ask(Method::GET, &Url::path("/v1/cluster"), Bytes::new()).await?;
    let Some(json) = answer else { return Ok(()) };
    let head = ["node", "peer address", "standing", "leads", "connected"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let yes = |value: &Value| if value == true { "yes" } else { "no" }.to_owned();
    for member in json["members"].as_array().map_or(&[][..], Vec::as_slice) {
        rows.push(vec![
            member["node"].to_string(),
            member["peer_address"].as_str().unwrap_or_default().to_owned(),
            standing(member, json["formed"] == true),
            yes(&member["leader"]),
            yes(&member["connected"]),
        ]);
    }
    let quorum = format!("{} voters are a quorum\n", json["quorum"]);
    print::bytes((print::table(&rows) + &quorum).as_bytes())
}

/// What a member counts as, and why if that is not what it was meant to be.
fn standing(member: &Value, formed: bool) -> String {
    let standing = member["standing"].as_str().unwrap_or_default();
    if formed && standing == "observer" && member["configured"] == "voter" {
        return format!("{standing} (a voter that lost its data directory)");
    }
    standing.to_owned()
}

impl Transfer {
    async fn run(self) -> Result<(), Complaint> {
        let body = match self.to {
            Some(to) => Bytes::from(format!("{{\"to\":{to}}}")),
            None => Bytes::new(),
        };
        let url = Url::path("/v1/cluster/transfer");
        let answer = self.connection.ask(Method::POST, &url, body).await?;
        let Some(json) = answer else { return Ok(()) };
        let line = format!("node {} leads now, in term {}\n", json["leader"], json["term"]);
        print::bytes(line.as_bytes())
    }
}
