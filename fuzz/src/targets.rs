//! Everything that reads bytes from outside.

use bytes::Bytes;
use consensus::Entry;
use consensus::codec::{Wire as _, check_decoding};
use consensus_raft::RaftMessage;
use consensus_zab::ZabMessage;
use kvcore::Envelope;
use kvcore::replica::PeerMessage;
use kvcore::store::Remembered;
use server::fuzzing as server;
use storage::redb_store::fuzzing as store;
use storage::wal::fuzzing as wal;

use crate::Target;

/// Enough for errors, and for what a few bytes become.
const LITTLE: u64 = 4 << 10;
/// The densest of our own is a list of entries, which have 29 bytes on the wire and 72 in memory, in a
/// vector that doubles as it grows, read a second time to be compared, beside its encoding.
const DENSE: u64 = 32;
/// A condition of a command may have one byte in the log, and has 40 in memory. There are at most
/// [`consensus::codec::LIST_LENGTH_MAX`] in a command that is read, and far fewer in one that is applied.
const CONDITIONS: u64 = 128;
/// What the parser of TOML takes for each byte of its user's own file: each part of a key is a table.
const TOML: u64 = 1 << 10;
/// JSON of any shape, kept until it is known what it is: a digit and a comma are a value of 32 bytes,
/// in a vector that doubles as it grows.
const JSON: u64 = 64;
/// An operation of a transaction of `/v3` or `/v1` may have three bytes, and has some hundred in memory, in a vector
/// that doubles as it grows; it is read a second time to be compared.
const V3: u64 = 1 << 10;
/// A disk in memory with segments of some kilobytes.
const DISK: u64 = 256 << 10;

/// Everything that reads bytes from outside.
pub const TARGETS: &[Target] = &[
    // What peers say.
    target("frames", server::frames),
    target("hello", server::hello),
    target("raft_message", check_decoding::<PeerMessage<RaftMessage>>),
    target("zab_message", check_decoding::<PeerMessage<ZabMessage>>),
    Target { bytes_per_byte: CONDITIONS, ..target("envelope", envelope) },
    target("question", server::question),
    target("reply", server::reply),
    target("snapshot_part", server::part),
    Target { bytes_per_byte: JSON, ..target("lab_word", server::lab_word) },
    Target { bytes_per_byte: JSON, ..target("lab_reply", server::lab_reply) },
    target("traces", server::traces),
    // What is on disk.
    target("entry", check_decoding::<Entry>),
    target("raft_promise", check_decoding::<consensus_raft::Promise>),
    target("zab_promise", check_decoding::<consensus_zab::Promise>),
    target("wal_name", wal::name),
    target("wal_batch", wal::batch),
    target("wal_state", wal::state),
    Target { bytes_least: DISK, cost: 20, ..target("wal_header", wal::header) },
    Target { bytes_least: DISK, cost: 20, ..target("wal_segment", wal::segment) },
    Target { bytes_least: DISK, cost: 20, ..target("wal_log", wal::log) },
    target("store_row", store::row),
    target("store_state", store::state),
    target("store_remembered", check_decoding::<Remembered>),
    Target { bytes_least: 16 << 10, ..target("identity", storage::identity::fuzzing::file) },
    Target { bytes_least: 16 << 10, ..target("formation", storage::formation::fuzzing::file) },
    // What clients send.
    target("http_path", server::path),
    target("http_query", server::query),
    target("http_cursor", server::cursor),
    target("http_headers", server::headers),
    target("http_body", server::body),
    Target { bytes_per_byte: V3, cost: 2, ..target("http_v3_body", server::v3_body) },
    Target { bytes_per_byte: V3, cost: 2, ..target("http_transaction", server::transaction) },
    target("http_lease", server::lease),
    target("http_fault", server::fault),
    target("http_fault_name", server::fault_name),
    target("http_route", server::route),
    target("http_beginning", server::beginning),
    // What users write.
    Target { bytes_per_byte: TOML, ..target("config_file", server::config_file) },
    target("cluster", server::cluster),
    target("endpoint", server::endpoint),
    target("dev_command", server::command),
    target("sim_faults", server::numbers),
    // What servers answer.
    Target { bytes_per_byte: JSON, ..target("answer", server::answer) },
];

const fn target(name: &'static str, read: fn(&[u8])) -> Target {
    Target { name, read, bytes_least: LITTLE, bytes_per_byte: DENSE, cost: 1 }
}

/// A command in the log, and what is looked at without reading all of it.
fn envelope(bytes: &[u8]) {
    check_decoding::<Envelope>(bytes);
    let bytes = Bytes::copy_from_slice(bytes);
    let (header, has_key) = (Envelope::header(&bytes), Envelope::has_key(&bytes));
    if let Ok(whole) = Envelope::from_bytes(bytes) {
        let header = header.expect("what is whole has a header");
        assert_eq!(header.origin, whole.origin, "the header is that of the whole");
        assert_eq!(header.request, whole.request, "the header is that of the whole");
        assert_eq!(has_key, whole.idempotency.is_some(), "a key is seen without reading all");
    }
}
