//! A trace as lines of JSON.

use consensus::NodeId;
use schemars::JsonSchema;
use serde::Serialize;

use super::Shown;
use crate::http::elections::{NodeJson, nodes};

/// A line of a trace.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only the schema of this type is used")]
pub(super) enum TraceLine<'a> {
    /// The first line.
    Head(Head<'a>),
    /// Every other line.
    Record(Line<'a>),
}

/// The first line: who answered.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "TraceHead")]
pub(super) struct Head<'a> {
    protocol: &'static str,
    nodes: Vec<NodeJson<'a>>,
    /// How many older records are not shown.
    earlier_events: u64,
    events: usize,
    revision: u64,
}

/// Something that happened at a node.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "TraceRecord")]
pub(super) struct Line<'a> {
    /// Since the first record of the same boot.
    at_ms: f64,
    node: u64,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    /// A role, the name of a message, the means of synchronization.
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    phase: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    cause: &'a str,
    /// The connection and the message's place on it: both ends say the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<u64>,
    /// Of a message: whether its other end is among the lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    matched: Option<bool>,
    text: String,
}

/// The whole answer.
pub(super) fn write(shown: &Shown<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + 256 * shown.placed.len());
    let head = Head {
        protocol: shown.protocol,
        nodes: nodes(shown.answers),
        earlier_events: shown.earlier,
        events: shown.placed.len(),
        revision: shown.revision,
    };
    put(&mut out, &head);
    for (placed, at_ms) in shown.placed.iter().zip(shown.since_first()) {
        let record = &placed.record;
        let line = Line {
            at_ms,
            node: placed.node.0,
            event: record.kind.name(),
            peer: record.peer.map(|NodeId(peer)| peer),
            term: record.term.map(|term| term.0),
            leader: record.leader.map(|leader| leader.0),
            index: record.index.map(|index| index.0),
            name: &record.name,
            phase: &record.phase,
            cause: &record.cause,
            // In JSON as text: it is too large for the numbers of many readers.
            connection: record.passage.map(|passage| format!("{:016x}", passage.connection)),
            frame: record.passage.map(|passage| passage.frame),
            matched: record.passage.map(|_| placed.matched),
            text: record.line(),
        };
        put(&mut out, &line);
    }
    out
}

fn put(out: &mut Vec<u8>, line: &impl Serialize) {
    serde_json::to_writer(&mut *out, line).expect("a buffer takes everything written to it");
    out.push(b'\n');
}
