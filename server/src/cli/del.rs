//! `duorum del`.

use clap::{ArgGroup, Args};
use hyper::Method;

use super::put::{Conditions, NO_BODY, Once, print_key, print_value, tell_unavailable};
use super::url::Url;
use super::{Complaint, Connection, print};

const EXAMPLES: &str = "\
Examples:
  duorum del greeting
  duorum del --prefix jobs/
  duorum del --from a --to b                   from a on, without b
  duorum del lock --if-value node-1            only if it is mine
  duorum del --prefix ''                       everything";

/// The flags.
#[derive(Args, Debug)]
#[command(
    after_help = EXAMPLES,
    group(ArgGroup::new("keys").required(true).multiple(true).args(["key", "prefix", "from", "to"]))
)]
pub(super) struct Del {
    #[command(flatten)]
    connection: Connection,

    /// The key
    #[arg(conflicts_with_all = ["prefix", "from", "to"])]
    key: Option<String>,

    /// All keys that begin so
    #[arg(long, conflicts_with_all = ["from", "to"])]
    prefix: Option<String>,

    /// All keys from this one on
    #[arg(long, value_name = "KEY")]
    from: Option<String>,

    /// All keys before this one
    #[arg(long, value_name = "KEY")]
    to: Option<String>,

    #[command(flatten)]
    conditions: Conditions,

    /// Show also what was deleted
    #[arg(long)]
    prev: bool,

    #[command(flatten)]
    once: Once,
}

impl Del {
    /// Runs the verb.
    pub(super) async fn run(self) -> Result<(), Complaint> {
        let url = match &self.key {
            Some(key) => Url::key(key),
            None => Url::path("/v1/kv")
                .with_some("prefix", self.prefix.as_ref())
                .with_some("from", self.from.as_ref())
                .with_some("to", self.to.as_ref()),
        };
        let url = self.conditions.add_to(url).with_flag("prev", self.prev);
        let client = self.connection.client()?.with_idempotency_key(self.once.idempotency_key);
        let answer = client.ask(Method::DELETE, &url, NO_BODY).await?;
        let Some(json) = self.connection.show(answer)? else { return Ok(()) };
        let count = json["deleted"].as_u64().unwrap_or(0);
        let keys = if count == 1 { "key" } else { "keys" };
        print::line(&format!("deleted {count} {keys}, revision {}", json["revision"]))?;
        let many = json["prev_kvs"].as_array().map_or(&[][..], Vec::as_slice);
        for previous in many.iter().chain(std::iter::once(&json["prev"])) {
            if let Some(previous) = previous.as_object() {
                print::line(&format!("{}\t{}", print_key(previous), print_value(previous)))?;
            }
        }
        tell_unavailable(&json);
        Ok(())
    }
}
