//! `duorum range`.

use clap::Args;
use hyper::Method;

use super::client::accept;
use super::put::{NO_BODY, print_key, print_value};
use super::url::Url;
use super::{Complaint, Connection, print};

const EXAMPLES: &str = "\
Examples:
  duorum range                                 everything
  duorum range jobs/                           what begins with jobs/
  duorum range --from a --to b --keys-only
  duorum range jobs/ --sort mod_revision --order desc --limit 10
  duorum range jobs/ --count-only

Without --limit all pages are shown, all as of one revision.";

/// The flags.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Range {
    #[command(flatten)]
    connection: Connection,

    /// What the keys begin with; all keys without it
    #[arg(conflicts_with_all = ["from", "to"])]
    prefix: Option<String>,

    /// Keys from this one on
    #[arg(long, value_name = "KEY")]
    from: Option<String>,

    /// Keys before this one
    #[arg(long, value_name = "KEY")]
    to: Option<String>,

    /// At most so many
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,

    /// asc or desc
    #[arg(long, value_name = "WORD")]
    order: Option<String>,

    /// key, version, create_revision, mod_revision or value
    #[arg(long, value_name = "WORD")]
    sort: Option<String>,

    /// Leave the values out
    #[arg(long)]
    keys_only: bool,

    /// Only count
    #[arg(long)]
    count_only: bool,

    /// As of this revision
    #[arg(long, value_name = "REVISION")]
    revision: Option<u64>,

    /// Where to go on: the `next` of an answer before
    #[arg(long, value_name = "TEXT")]
    cursor: Option<String>,

    /// How fresh: linearizable, sync or local
    #[arg(long, value_name = "WORD")]
    consistency: Option<String>,
}

impl Range {
    /// Runs the verb.
    pub(super) async fn run(self) -> Result<(), Complaint> {
        let client = self.connection.client()?;
        let mut cursor = self.cursor.clone();
        loop {
            let url = self.url(cursor.as_ref());
            let answer = accept(client.ask(Method::GET, &url, NO_BODY).await?)?;
            let json = answer.json()?;
            if self.connection.json {
                print::bytes(&answer.body)?;
            } else if self.count_only {
                print::line(&json["count"].to_string())?;
            } else {
                self.show(&json)?;
            }
            let next = json["next"].as_str();
            match next {
                Some(next) if self.limit.is_none() => cursor = Some(next.to_owned()),
                Some(next) => {
                    if !self.connection.json {
                        print::complain(&format!(
                            "{} keys match in all; the next page is given by --cursor {next}",
                            json["count"]
                        ));
                    }
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
    }

    fn url(&self, cursor: Option<&String>) -> Url {
        Url::path("/v1/kv")
            .with_some("prefix", self.prefix.as_ref())
            .with_some("from", self.from.as_ref())
            .with_some("to", self.to.as_ref())
            .with_some("limit", self.limit.as_ref())
            .with_some("order", self.order.as_ref())
            .with_some("sort", self.sort.as_ref())
            .with_flag("keys_only", self.keys_only)
            .with_flag("count_only", self.count_only)
            // A cursor remembers the revision.
            .with_some("revision", self.revision.as_ref().filter(|_| cursor.is_none()))
            .with_some("cursor", cursor)
            .with_some("consistency", self.consistency.as_ref())
    }

    fn show(&self, json: &serde_json::Value) -> Result<(), Complaint> {
        let mut text = String::new();
        for item in json["kvs"].as_array().map_or(&[][..], Vec::as_slice) {
            let Some(item) = item.as_object() else { continue };
            text.push_str(&print_key(item));
            if !self.keys_only {
                text.push('\t');
                text.push_str(&print_value(item));
            }
            text.push('\n');
        }
        print::bytes(text.as_bytes())
    }
}
