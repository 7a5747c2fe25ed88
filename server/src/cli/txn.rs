//! `duorum txn`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use hyper::Method;
use serde_json::{Map, Value};

use super::put::{Once, print_key, print_value, read_stdin, tell_unavailable, time};
use super::url::Url;
use super::{Complaint, Connection, Exit, print};

const EXAMPLES: &str = r#"Examples:
  duorum txn '{"if":   [{"key": "owner", "exists": false}],
               "then": [{"put": {"key": "owner", "value": "me", "ttl": "10s"}}],
               "else": [{"get": {"key": "owner"}}]}'
  duorum txn --file move.json
  duorum txn - < move.json
  duorum txn '{"then": [{"delete": {"key": "a"}}, {"put": {"key": "b", "value": "1"}}]}'

A condition names a key, a prefix, or from and to, and compares `exists`, `version`, `create_revision`,
`mod_revision`, `lease` or `value`, as {"key": "a", "version": {"eq": 1}}; with eq, ne, lt, gt.
Operations are put, get, delete, and txn for another one. `/docs` of a server describes all members.

If a condition does not hold, `else` is done, and the exit code is 1."#;

/// Compare keys, and do one thing or another, all at once
#[derive(Args, Debug)]
#[command(
    after_help = EXAMPLES,
    group(ArgGroup::new("source").required(true).args(["transaction", "file"]))
)]
pub(super) struct Txn {
    #[command(flatten)]
    connection: Connection,

    /// The transaction, as JSON; - reads it from stdin
    transaction: Option<String>,

    /// The file that it is in
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    once: Once,
}

impl Txn {
    /// Runs the verb.
    pub(super) async fn run(self) -> Result<(), Complaint> {
        let body = match (self.transaction, self.file) {
            (_, Some(file)) => std::fs::read(&file).map_err(|cause| {
                Complaint::new(Exit::Usage, format!("{} can not be read: {cause}", file.display()))
            })?,
            (Some(text), None) if text == "-" => read_stdin("the transaction")?,
            (text, None) => text.unwrap_or_default().into_bytes(),
        };
        let client = self.connection.client()?.with_idempotency_key(self.once.idempotency_key);
        let answer = client.ask(Method::POST, &Url::path("/v1/txn"), body.into()).await?;
        let told = if self.connection.json { Some(answer.json()?) } else { None };
        let json = match self.connection.show(answer)? {
            Some(json) => {
                let words = if json["succeeded"] == true { "succeeded" } else { "did not hold" };
                print::line(&format!("{words}, revision {}", json["revision"]))?;
                tell_results(&json, "  ")?;
                json
            }
            None => told.unwrap_or_default(),
        };
        match json["succeeded"] == true {
            true => Ok(()),
            false => Err(Complaint::new(Exit::No, "a condition does not hold; `else` was done")),
        }
    }
}

/// Says what each operation did, one line or a few.
fn tell_results(transaction: &Value, indent: &str) -> Result<(), Complaint> {
    for result in transaction["results"].as_array().map_or(&[][..], Vec::as_slice) {
        let Some((what, told)) = result.as_object().and_then(|result| result.iter().next()) else {
            continue;
        };
        match &what[..] {
            "put" => tell_put(told, indent)?,
            "get" => tell_get(told, indent)?,
            "delete" => tell_delete(told, indent)?,
            _ => {
                let words = if told["succeeded"] == true { "succeeded" } else { "did not hold" };
                print::line(&format!("{indent}txn: {words}"))?;
                tell_results(told, &format!("{indent}  "))?;
            }
        }
        tell_unavailable(told);
    }
    Ok(())
}

fn tell_put(told: &Value, indent: &str) -> Result<(), Complaint> {
    let what = if told["created"] == true { "created" } else { "stored" };
    let lease = match told["lease"].as_i64() {
        Some(lease) => format!(" with lease {lease}, which lives for {}", time(&told["ttl_ms"])),
        None => String::new(),
    };
    print::line(&format!("{indent}put: {what}{lease}"))?;
    tell_keys(told["prev"].as_object().into_iter(), indent)
}

fn tell_get(told: &Value, indent: &str) -> Result<(), Complaint> {
    if let Some(message) = told["unavailable"]["message"].as_str() {
        print::line(&format!("{indent}get: not told"))?;
        print::complain(message);
        return Ok(());
    }
    let many = told["kvs"].as_array();
    let count = told["count"].as_u64().unwrap_or(u64::from(told["kv"].is_object()));
    let more = if told["more"] == true { ", not all of them told" } else { "" };
    print::line(&format!("{indent}get: {}{more}", keys(count)))?;
    let all = many.map_or(&[][..], Vec::as_slice).iter().chain([&told["kv"]]);
    tell_keys(all.filter_map(Value::as_object), indent)
}

fn tell_delete(told: &Value, indent: &str) -> Result<(), Complaint> {
    print::line(&format!("{indent}delete: {}", keys(told["deleted"].as_u64().unwrap_or(0))))?;
    let many = told["prev_kvs"].as_array().map_or(&[][..], Vec::as_slice);
    tell_keys(many.iter().chain([&told["prev"]]).filter_map(Value::as_object), indent)
}

fn tell_keys<'a>(
    list: impl Iterator<Item = &'a Map<String, Value>>,
    indent: &str,
) -> Result<(), Complaint> {
    for item in list {
        print::line(&format!("{indent}  {}\t{}", print_key(item), print_value(item)))?;
    }
    Ok(())
}

fn keys(count: u64) -> String {
    format!("{count} {}", if count == 1 { "key" } else { "keys" })
}
