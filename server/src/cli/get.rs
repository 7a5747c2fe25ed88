//! `duorum get`.

use bytes::Bytes;
use clap::Args;
use hyper::Method;

use super::client::accept;
use super::put::NO_BODY;
use super::url::Url;
use super::{Complaint, Connection, print};

/// The fields of a stat, in ZooKeeper's order.
const STAT_FIELDS: [&str; 11] = [
    "czxid",
    "ctime",
    "mzxid",
    "mtime",
    "pzxid",
    "cversion",
    "version",
    "aversion",
    "ephemeralOwner",
    "dataLength",
    "numChildren",
];

const EXAMPLES: &str = "\
Examples:
  duorum get greeting
  duorum get config/limits --revision 40
  duorum get greeting --consistency local      this node's word, perhaps old
  duorum get picture --raw > picture.png       the bytes, without a line end
  duorum get config --stat                     what ZooKeeper tells of a node";

/// The flags.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Get {
    #[command(flatten)]
    connection: Connection,

    /// The key
    key: String,

    /// As of this revision
    #[arg(long, value_name = "REVISION")]
    revision: Option<u64>,

    /// How fresh: linearizable, sync or local
    #[arg(long, value_name = "WORD")]
    consistency: Option<String>,

    /// Write the value's bytes alone, without a line end
    #[arg(long, conflicts_with = "json")]
    raw: bool,

    /// Tell what ZooKeeper tells of a node, instead of the value
    #[arg(long, conflicts_with_all = ["raw", "revision"])]
    stat: bool,
}

impl Get {
    /// Runs the verb.
    pub(super) async fn run(self) -> Result<(), Complaint> {
        let url = Url::key(&self.key)
            .with_some("revision", self.revision.as_ref())
            .with_some("consistency", self.consistency.as_ref())
            .with_flag("raw", !self.connection.json && !self.stat)
            .with_flag("stat", self.stat);
        if self.stat {
            return self.print_stat(&url).await;
        }
        let answer = self.connection.client()?.ask(Method::GET, &url, Bytes::new()).await?;
        let answer = accept(answer)?;
        print::bytes(&answer.body)?;
        if self.raw || self.connection.json { Ok(()) } else { print::bytes(b"\n") }
    }

    /// Prints each field on a line of its own, as ZooKeeper's command line does.
    async fn print_stat(&self, url: &Url) -> Result<(), Complaint> {
        let answer = self.connection.ask(Method::GET, url, NO_BODY).await?;
        let Some(json) = answer else { return Ok(()) };
        for name in STAT_FIELDS {
            print::line(&format!("{name} = {}", json["stat"][name]))?;
        }
        Ok(())
    }
}
