//! `duorum watch`.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::client::{Answer, Client, accept};
use super::put::{print_key, print_value};
use super::url::Url;
use super::{Complaint, Connection, Exit, print};

const EXAMPLES: &str = "\
Examples:
  duorum watch greeting
  duorum watch --prefix jobs/
  duorum watch --prefix '' --from-revision 40   from the past on, all keys
  duorum watch greeting --once                  until it changes

When the node stops, the watch goes on at another one, without gap or repetition.";

/// How often in a row a watch tries to go on without having got anything.
const ATTEMPTS_MAX: u32 = 20;
/// How long it waits before it tries.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest line: a revision that changed very many keys.
const LINE_BYTES_MAX: usize = 1 << 30;

/// The flags.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Watch {
    #[command(flatten)]
    connection: Connection,

    /// The key; all keys without it and without --prefix
    #[arg(conflicts_with = "prefix")]
    key: Option<String>,

    /// All keys that begin so
    #[arg(long)]
    prefix: Option<String>,

    /// Begin with this revision
    #[arg(long, value_name = "REVISION")]
    from_revision: Option<u64>,

    /// put or delete: show only these
    #[arg(long, value_name = "WORD")]
    filter: Option<String>,

    /// Show also what was there before
    #[arg(long)]
    prev: bool,

    /// Say regularly up to which revision everything was seen
    #[arg(long, value_name = "TIME")]
    progress: Option<String>,

    /// End after one event, which is shown without its value
    #[arg(long)]
    once: bool,
}

/// How a stream ended.
enum End {
    /// With what was asked for.
    Complete,
    /// Too early; there may be another node.
    Broken(String),
}

impl Watch {
    /// Runs the verb.
    pub(super) async fn run(self) -> Result<(), Complaint> {
        let client = self.connection.client()?;
        let mut next = self.from_revision;
        let mut attempts = 0;
        loop {
            let before = next;
            let cause = match self.follow(&client, &mut next).await {
                Ok(End::Complete) => return Ok(()),
                Ok(End::Broken(cause)) => cause,
                // A watch that never began is not worth waiting for.
                Err(complaint) if next.is_none() || complaint.exit != Exit::Unavailable => {
                    return Err(complaint);
                }
                Err(complaint) => complaint.message,
            };
            attempts = if next == before { attempts + 1 } else { 1 };
            if attempts > ATTEMPTS_MAX {
                return Err(Complaint::new(Exit::Unavailable, cause));
            }
            print::complain(&format!("{cause}; going on elsewhere"));
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn follow(&self, client: &Client, next: &mut Option<u64>) -> Result<End, Complaint> {
        let url = Url::path("/v1/watch")
            .with_some("key", self.key.as_ref())
            .with_some("prefix", self.prefix.as_ref())
            .with_some("from_revision", next.as_ref())
            .with_some("filter", self.filter.as_ref())
            .with_flag("prev", self.prev)
            .with_some("progress", self.progress.as_ref())
            .with_flag("once", self.once);
        let response = client.stream(&url).await?;
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            let complaint = http_body_util::Limited::new(body, LINE_BYTES_MAX);
            let collected = complaint.collect().await.map(http_body_util::Collected::to_bytes);
            let answer = accept(Answer { status, body: collected.unwrap_or_default() })?;
            let what = format!("the watch was answered with {}", answer.status);
            return Err(Complaint::new(Exit::Unavailable, what));
        }
        let mut rest = Vec::new();
        loop {
            let frame = match body.frame().await {
                Some(Ok(frame)) => frame,
                Some(Err(cause)) => {
                    return Ok(End::Broken(format!("the watch broke off: {cause}")));
                }
                None if self.once && next.is_some() => return Ok(End::Complete),
                None => return Ok(End::Broken("the watch ended".to_owned())),
            };
            let data: Bytes = frame.into_data().unwrap_or_default();
            rest.extend_from_slice(&data);
            if rest.len() > LINE_BYTES_MAX {
                return Err(Complaint::new(Exit::Unavailable, "a line of the watch is too long"));
            }
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                if let Some(end) = self.take(&line, next)? {
                    return Ok(end);
                }
            }
        }
    }

    /// Shows one line of the stream and notes where to go on.
    fn take(&self, line: &[u8], next: &mut Option<u64>) -> Result<Option<End>, Complaint> {
        let json: Value = serde_json::from_slice(line).map_err(|cause| {
            Complaint::new(Exit::Unavailable, format!("a line of the watch is no JSON: {cause}"))
        })?;
        if let Some(name) = json["error"]["name"].as_str() {
            let message = format!("{name}: {}", json["error"]["message"].as_str().unwrap_or(""));
            return match json["error"]["retryable"].as_bool() {
                Some(true) => Ok(Some(End::Broken(message))),
                _ => Err(Complaint::new(Exit::Usage, message)),
            };
        }
        if self.connection.json {
            print::bytes(line)?;
        }
        let revision = json["revision"].as_u64().unwrap_or(0);
        if json["started"] == true {
            // From here on a broken watch loses nothing.
            next.get_or_insert(revision.saturating_add(1));
            return Ok(None);
        }
        *next = Some(revision.saturating_add(1));
        if !self.connection.json {
            print::bytes(tell(revision, &json).as_bytes())?;
        }
        Ok(self.once.then_some(End::Complete))
    }
}

/// The events of a line, for people.
pub(super) fn tell(revision: u64, json: &Value) -> String {
    let Some(events) = json["events"].as_array() else {
        return format!("{revision}\tseen\n");
    };
    let mut text = String::new();
    for event in events {
        let Some(key_value) = event["kv"].as_object() else { continue };
        let kind = event["type"].as_str().unwrap_or("?");
        text.push_str(&format!("{revision}\t{kind}\t{}", print_key(key_value)));
        if key_value.contains_key("value") {
            text.push_str(&format!("\t{}", print_value(key_value)));
        }
        if let Some(previous) = event["prev"].as_object() {
            text.push_str(&format!("\t(was {})", print_value(previous)));
        }
        text.push('\n');
    }
    text
}
