//! `duorum get`.

use bytes::Bytes;
use clap::Args;
use hyper::Method;

use super::client::accept;
use super::url::Url;
use super::{Complaint, Connection, print};

const EXAMPLES: &str = "\
Examples:
  duorum get greeting
  duorum get config/limits --revision 40
  duorum get greeting --consistency local      this node's word, perhaps old
  duorum get picture --raw > picture.png       the bytes, without a line end";

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
}

impl Get {
    /// Runs the verb.
    pub(super) async fn run(self) -> Result<(), Complaint> {
        let url = Url::key(&self.key)
            .with_some("revision", self.revision.as_ref())
            .with_some("consistency", self.consistency.as_ref())
            .with_flag("raw", !self.connection.json);
        let answer = self.connection.client()?.ask(Method::GET, &url, Bytes::new()).await?;
        let answer = accept(answer)?;
        print::bytes(&answer.body)?;
        if self.raw || self.connection.json { Ok(()) } else { print::bytes(b"\n") }
    }
}
