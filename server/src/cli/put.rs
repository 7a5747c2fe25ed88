//! `duorum put`, and the conditions of writes.

use std::io::Read as _;

use bytes::Bytes;
use clap::Args;
use hyper::Method;
use kvcore::{IdempotencyKey, InvalidIdempotencyKey};

use super::url::Url;
use super::{Complaint, Connection, Exit, print};

const EXAMPLES: &str = "\
Examples:
  duorum put greeting hello
  duorum put picture - < picture.png
  duorum put leader node-1 --if-absent         only if nobody has it
  duorum put counter 8 --if-mod-revision 41    only if it did not change since
  duorum put order paid --idempotency-key 81a7 once, however often it is sent
  duorum put alive/node-1 yes --ttl 10s        with a lease of its own, which it goes with
  duorum put alive/node-1 yes --lease 7        goes with that lease
  duorum put jobs/ work --sequential           as jobs/0000000000, jobs/0000000001, …";

/// The flags.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Put {
    #[command(flatten)]
    connection: Connection,

    /// The key
    key: String,

    /// The value; - reads it from stdin
    #[arg(allow_hyphen_values = true)]
    value: String,

    #[command(flatten)]
    conditions: Conditions,

    /// The lease that the key hangs on: it goes when the lease ends
    #[arg(long, value_name = "LEASE", allow_hyphen_values = true, conflicts_with = "ttl")]
    lease: Option<i64>,

    /// Grant a lease of this time for the key, as 10s; 2s at least
    #[arg(long, value_name = "TIME")]
    ttl: Option<String>,

    /// Append the next number of a counter to the key, in ten digits
    #[arg(long)]
    sequential: bool,

    /// Show also what the value replaces
    #[arg(long)]
    prev: bool,

    #[command(flatten)]
    once: Once,
}

/// What makes a write take effect at most once.
#[derive(Args, Debug)]
pub(super) struct Once {
    /// A name of the write that no other write has: however often it is sent with the same name, it is
    /// done once, and the answer is always the first
    #[arg(long, value_name = "NAME", value_parser = parse_key)]
    pub(super) idempotency_key: Option<IdempotencyKey>,
}

fn parse_key(text: &str) -> Result<IdempotencyKey, InvalidIdempotencyKey> {
    IdempotencyKey::new(text.as_bytes())
}

/// What must hold for a write to be done.
#[derive(Args, Debug)]
pub(super) struct Conditions {
    /// Only if the key does not exist
    #[arg(long)]
    if_absent: bool,

    /// Only if the key was written so many times since it was created
    #[arg(long, value_name = "NUMBER")]
    if_version: Option<u64>,

    /// Only if the key was last written by this revision
    #[arg(long, value_name = "REVISION")]
    if_mod_revision: Option<u64>,

    /// Only if the key has this value
    #[arg(long, value_name = "VALUE")]
    if_value: Option<String>,
}

impl Conditions {
    /// Adds the conditions to a request.
    pub(super) fn add_to(&self, url: Url) -> Url {
        url.with_flag("if_absent", self.if_absent)
            .with_some("if_version", self.if_version.as_ref())
            .with_some("if_mod_revision", self.if_mod_revision.as_ref())
            .with_some("if_value", self.if_value.as_ref())
    }
}

impl Put {
    /// Runs the verb.
    pub(super) async fn run(self) -> Result<(), Complaint> {
        let value =
            if self.value == "-" { read_stdin("the value")? } else { self.value.into_bytes() };
        let url = self
            .conditions
            .add_to(Url::key(&self.key))
            .with_some("lease", self.lease.as_ref())
            .with_some("ttl", self.ttl.as_ref())
            .with_flag("sequential", self.sequential)
            .with_flag("prev", self.prev);
        let client = self.connection.client()?.with_idempotency_key(self.once.idempotency_key);
        let answer = client.ask(Method::PUT, &url, value.into()).await?;
        let Some(json) = self.connection.show(answer)? else { return Ok(()) };
        let what = if json["created"] == true { "created" } else { "stored" };
        print::line(&format!("{what} at revision {}", json["revision"]))?;
        if let Some(stored) = json.as_object().filter(|stored| stored.contains_key("key")) {
            print::line(&format!("its key: {}", print_key(stored)))?;
        }
        if let Some(lease) = json["lease"].as_i64() {
            print::line(&format!("its lease: {lease}, which lives for {}", time(&json["ttl_ms"])))?;
        }
        if let Some(previous) = json["prev"].as_object() {
            print::line(&format!("it was: {}", print_value(previous)))?;
        }
        tell_unavailable(&json);
        Ok(())
    }
}

/// Says what the answer to a write could not tell of what was there before.
pub(super) fn tell_unavailable(answer: &serde_json::Value) {
    if let Some(message) = answer["prev_unavailable"]["message"].as_str() {
        print::complain(&format!("{message} ({} left out)", answer["prev_unavailable"]["count"]));
    }
}

/// All of stdin.
pub(super) fn read_stdin(what: &str) -> Result<Vec<u8>, Complaint> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(|cause| {
        Complaint::new(Exit::Usage, format!("{what} can not be read from stdin: {cause}"))
    })?;
    Ok(bytes)
}

/// A time for people, of its milliseconds.
pub(super) fn time(millis: &serde_json::Value) -> String {
    let time = std::time::Duration::from_millis(millis.as_u64().unwrap_or_default());
    humantime::format_duration(time).to_string().replace(' ', "")
}

/// A value for people: text as it is, bytes as base64 that say so.
pub(super) fn print_value(key_value: &serde_json::Map<String, serde_json::Value>) -> String {
    member(key_value, "value", "value_encoding")
}

/// A key for people.
pub(super) fn print_key(key_value: &serde_json::Map<String, serde_json::Value>) -> String {
    member(key_value, "key", "key_encoding")
}

fn member(
    object: &serde_json::Map<String, serde_json::Value>,
    name: &str,
    encoding: &str,
) -> String {
    let text = object.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    if object.contains_key(encoding) { format!("base64:{text}") } else { text.to_owned() }
}

/// That the client asked without a body, as reads do.
pub(super) const NO_BODY: Bytes = Bytes::new();
