//! Everything read out of a node, and what that does to its memory.

use std::net::SocketAddr;
use std::time::Instant;

use consensus::NodeId;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::cluster::Cluster;
use crate::load::http::HttpConnection;
use crate::load::request::Request;
use crate::load::stream::HttpStream;

/// The text that each key of an answer of `/v3` begins with.
const KEY: &[u8] = b"{\"key\":\"";

/// How everything is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RangeApi {
    /// `GET /v1/kv?prefix=bench/`, and with its cursor again until there is no more.
    Pages,
    /// One `POST /v3/kv/range` of all keys.
    Whole,
}

/// Everything, read once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RangeRun {
    /// How it was asked for.
    pub api: RangeApi,
    /// The node that was asked.
    pub node: u64,
    /// How many keys it told.
    pub keys: u64,
    /// The bytes of all bodies.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// What the node occupied of memory before, in bytes.
    pub memory_before_bytes: u64,
    /// The most that it occupied meanwhile, in bytes.
    pub memory_peak_bytes: u64,
}

impl RangeRun {
    /// How much the node's memory rose at most, in bytes.
    #[must_use]
    pub fn rise_bytes(&self) -> u64 {
        self.memory_peak_bytes.saturating_sub(self.memory_before_bytes)
    }
}

/// Reads everything out of a node.
pub(super) async fn read_all(
    cluster: &Cluster,
    id: NodeId,
    api: RangeApi,
) -> Result<RangeRun, Error> {
    let address = cluster.endpoint(id);
    let memory = || cluster.memory(id).unwrap_or_default();
    cluster.reset_memory_peak(id);
    let (before, began) = (memory().resident_bytes, Instant::now());
    let read = match api {
        RangeApi::Pages => read_pages(address).await,
        RangeApi::Whole => read_whole(address).await,
    };
    let (keys, bytes) =
        read.map_err(|error| Error::node(format!("reading all keys at node {}: {error}", id.0)))?;
    Ok(RangeRun {
        api,
        node: id.0,
        keys,
        bytes,
        seconds: began.elapsed().as_secs_f64(),
        memory_before_bytes: before,
        memory_peak_bytes: memory().peak_bytes,
    })
}

async fn read_pages(address: SocketAddr) -> std::io::Result<(u64, u64)> {
    #[derive(Deserialize)]
    struct Page {
        kvs: Vec<IgnoredAny>,
        next: Option<String>,
    }
    let mut connection = HttpConnection::connect(address).await?;
    let (mut keys, mut bytes, mut cursor) = (0, 0, String::new());
    loop {
        let path = format!("/v1/kv?prefix=bench/{cursor}");
        let answer = connection.exchange(&Request::page(&address.to_string(), &path)).await?;
        let body = connection.body(&answer);
        if answer.status != 200 {
            let said = String::from_utf8_lossy(body);
            return Err(std::io::Error::other(format!("{path}: {} {said}", answer.status)));
        }
        let page: Page = serde_json::from_slice(body)?;
        keys += page.kvs.len() as u64;
        bytes += body.len() as u64;
        match page.next {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok((keys, bytes)),
        }
    }
}

async fn read_whole(address: SocketAddr) -> std::io::Result<(u64, u64)> {
    // From `\0` to `\0` is everything.
    let body = r#"{"key":"AA==","range_end":"AA=="}"#;
    let request = Request::post_json(&address.to_string(), "/v3/kv/range", body);
    let (status, mut stream) = HttpStream::open(address, &request).await?;
    let (mut keys, mut bytes, mut pending) = (0, 0, Vec::new());
    loop {
        let before = pending.len();
        let goes_on = stream.read(&mut pending).await?;
        bytes += (pending.len() - before) as u64;
        if status != 200 {
            let said = String::from_utf8_lossy(&pending);
            return Err(std::io::Error::other(format!("/v3/kv/range: {status} {said}")));
        }
        keys += take_keys(&mut pending);
        if !goes_on {
            return Ok((keys, bytes));
        }
    }
}

/// Counts the keys in what was received, and keeps the end that may be the beginning of another.
fn take_keys(pending: &mut Vec<u8>) -> u64 {
    let found = pending.windows(KEY.len()).filter(|window| *window == KEY).count();
    let rest = pending.len().saturating_sub(KEY.len() - 1);
    pending.drain(..rest);
    found as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_counted_however_an_answer_is_cut() {
        let text =
            br#"{"header":{},"kvs":[{"key":"YQ==","value":"dg=="},{"key":"Yg=="}],"count":"2"}"#;
        for step in 1..=text.len() {
            let (mut keys, mut pending) = (0, Vec::new());
            for part in text.chunks(step) {
                pending.extend_from_slice(part);
                keys += take_keys(&mut pending);
            }
            assert_eq!(keys, 2, "{step}");
        }
    }
}
