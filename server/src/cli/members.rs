//! `duorum members`: who leads and who belongs to the cluster.

use bytes::Bytes;
use clap::{Args, Subcommand};
use hyper::Method;

use super::client::accept;
use super::url::Url;
use super::{Complaint, Connection, print};

const EXAMPLES: &str = "\
Examples:
  duorum members transfer
  duorum members transfer --to 2";

/// Who leads, and who belongs to the cluster
#[derive(Args)]
pub(super) struct Members {
    #[command(subcommand)]
    action: Action,
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
            Action::Transfer(transfer) => transfer.run().await,
        }
    }
}

impl Transfer {
    async fn run(self) -> Result<(), Complaint> {
        let client = self.connection.client()?;
        let body = match self.to {
            Some(to) => Bytes::from(format!("{{\"to\":{to}}}")),
            None => Bytes::new(),
        };
        let url = Url::path("/v1/cluster/transfer");
        let answer = accept(client.ask(Method::POST, &url, body).await?)?;
        if self.connection.json {
            return print::bytes(&answer.body);
        }
        let json = answer.json()?;
        let line = format!("node {} leads now, in term {}\n", json["leader"], json["term"]);
        print::bytes(line.as_bytes())
    }
}
