//! The hot paths of a node, each written once: the benchmark `paths` measures how long they take, the
//! benchmark `instructions` counts what the processor does for them.
//!
//! A path begins with everything that it works on at hand, and what it leaves is looked at and freed
//! outside of what is measured. Nothing of it depends on a clock, a disk or chance, apart from what
//! `http.rs` says of the runtime.

mod http;
mod log;
mod protocol;
mod store;

use bytes::Bytes;
use consensus::{NodeId, Wire as _};
use consensus_raft::Raft;
use consensus_zab::Zab;
use kvcore::{Command, Envelope, RequestId};

/// The value size of every measurement of this project.
const VALUE_BYTES: usize = 256;
/// What a loop under load turns into one write and one frame to each peer.
pub(crate) const BATCH: u64 = 64;
/// The keys of the stores that are worked on.
const KEYS: u64 = 10_000;

/// A hot path.
pub(crate) trait Path: Sized {
    /// What one run takes.
    type Work;
    /// What it leaves.
    type Done;

    /// How many requests, entries, keys or watchers one run is about.
    const ELEMENTS: u64;

    /// Everything that runs work on.
    fn prepare() -> Self;

    /// What the next run takes.
    fn next(&mut self) -> Self::Work;

    /// One run: this is what is measured.
    fn run(&mut self, work: Self::Work) -> Self::Done;

    /// Whether a run did what it is there for.
    ///
    /// # Panics
    /// If not: it would be something else that was measured.
    fn check(&mut self, done: Self::Done);
}

pub(crate) type RaftProposals = protocol::Proposals<Raft>;
pub(crate) type ZabProposals = protocol::Proposals<Zab>;
pub(crate) type RaftAcknowledgements = protocol::Acknowledgements<Raft>;
pub(crate) type ZabAcknowledgements = protocol::Acknowledgements<Zab>;
pub(crate) type RaftEntries = protocol::Entries<Raft>;
pub(crate) type ZabEntries = protocol::Entries<Zab>;
pub(crate) type RaftEncoding = protocol::Encoding<Raft>;
pub(crate) type ZabEncoding = protocol::Encoding<Zab>;
pub(crate) type RaftDecoding = protocol::Decoding<Raft>;
pub(crate) type ZabDecoding = protocol::Decoding<Zab>;
pub(crate) type LogAppend = log::Append;
pub(crate) type ApplyPuts = store::Puts;
pub(crate) type ApplyTransaction = store::Transactions;
pub(crate) type RangeOfKeys = store::Ranges;
pub(crate) type HttpPutIn = http::PutIn;
pub(crate) type HttpPutOut = http::PutOut;
pub(crate) type WatchFanOut = http::FanOut;

/// Hands all paths to a macro: the name in tables, the type, and what it does.
macro_rules! for_each_path {
    ($each:ident) => {
        $each! {
            raft_leader_proposals: RaftProposals, "64 proposals at a leader of Raft: one write, one AppendEntries to each of two peers";
            zab_leader_proposals: ZabProposals, "the same at a leader of ZAB: one write, one PROPOSAL to each";
            raft_leader_acknowledgements: RaftAcknowledgements, "the answers of both followers to 64 entries, at a leader of Raft: committed, delivered, told";
            zab_leader_acknowledgements: ZabAcknowledgements, "the same at a leader of ZAB";
            raft_follower_entries: RaftEntries, "64 entries and the word that they are committed, at a follower of Raft: one write, durable, one answer, delivered";
            zab_follower_entries: ZabEntries, "the same at a follower of ZAB";
            raft_frame_encode: RaftEncoding, "an AppendEntries of 64 entries into the content of a frame";
            zab_frame_encode: ZabEncoding, "a PROPOSAL of 64 entries into the content of a frame";
            raft_frame_decode: RaftDecoding, "the content of that frame into an AppendEntries";
            zab_frame_decode: ZabDecoding, "the content of that frame into a PROPOSAL";
            log_append: LogAppend, "one write of 64 entries to the log: encoded, checksummed, handed to the kernel";
            apply_puts: ApplyPuts, "64 puts of keys that exist, of 10,000, applied";
            apply_transaction: ApplyTransaction, "a transaction applied: 2 comparisons, 32 puts";
            range_100_keys: RangeOfKeys, "100 of 10,000 keys with their values, which are in memory, planned and fetched";
            http_put_in: HttpPutIn, "64 PUTs on 64 connections: from the socket to the inbox of the consensus loop";
            http_put_out: HttpPutOut, "64 PUTs: applied, and their answers from there to the sockets";
            watch_fan_out: WatchFanOut, "one put: applied, and told to 1,000 watchers on as many connections";
        }
    };
}
pub(crate) use for_each_path;

/// A put of a value of 256 bytes, as it stands in the log.
fn put(key: u64) -> Bytes {
    in_log(Command::put(key_name(key), vec![b'v'; VALUE_BYTES]))
}

/// The name of a key.
fn key_name(key: u64) -> String {
    format!("key-{:05}", key % KEYS)
}

/// A command as it stands in the log, of a request that nobody here waits for.
fn in_log(command: Command) -> Bytes {
    let (origin, incarnation, request) = (NodeId(2), 1, RequestId(1));
    Envelope { origin, incarnation, request, idempotency: None, command }.to_bytes()
}
