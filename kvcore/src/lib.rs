//! The key-value server's pure core: the replica over any consensus protocol, and the MVCC state machine
//!
//! # The state machine
//!
//! [`Machine`] turns the log into a key-value store with history. Each [`Entry`](consensus::Entry)
//! is applied once, in order, and the same entries give the same store on every replica: it reads no
//! clock and draws no randomness, and the only time that it knows is the one written in the entries.
//!
//! ## Intuition
//!
//! Think of a ledger that is only ever written at its end. Every change of the store takes the next
//! [`Revision`] and appends a [`Row`](store::Row) for each key that it changes: the new value, or a
//! tombstone. Nothing is overwritten, so the store as it was at any revision is still there: of each
//! key, the last row at or before that revision. Reading the past, watching from a past revision and
//! comparing replicas at a common revision are then all the same thing, looking at the ledger with
//! one's thumb on a line. Compaction tears out lines that no allowed thumb position can see.
//!
//! ## Where things are
//!
//! - **Index** (memory): every key in order, with the addresses of its rows, 12 bytes each.
//! - **Journal** (memory): for each retained row, in order, which key it is about, 8 bytes each.
//! - **Overlay** (memory): the rows that are not in the store yet, and the most recent of those that
//!   are.
//! - **[`Store`]** (disk): all rows up to some entry, with that entry's position, in one transaction.
//!
//! A write is finished when it is applied; the store follows at its own pace ([`Machine::flush_batch`],
//! [`Machine::flushed`]) and is rebuilt from the log when it is behind. Reading has two steps, so that
//! a lock around the machine is never held during disk access: the machine says where rows are
//! ([`Machine::locate`], [`Machine::plan_range`], [`Machine::events`]), and the answer is fetched from
//! the store without it ([`Located::fetch`], [`RangePlan::fetch`], [`EventsPlan::fetch`]).
//! [`FetchError::Vanished`] means that compaction came in between: ask the machine again.
//!
//! ## Semantics, as in etcd
//!
//! - A new store is at revision 1. A command that changes something makes the next revision, however
//!   many keys it changes; one that fails or deletes nothing makes none.
//! - A put, even of the same value, is a change: it counts up the key's `version`. A deletion ends the
//!   key's generation: the next put begins at version 1 with a new `create_revision`.
//! - Compaction to R keeps R itself readable and watchable, deletions at R included; reads and watches
//!   from before R are told R. What a compaction frees goes bit by bit, after it is durable.
//! - A watch gets whole revisions, in order, without gaps or repetition, from the revision on that it
//!   names; from a future one it gets nothing earlier.
//!
//! ## ZooKeeper's side
//!
//! What ZooKeeper tells of a node ([`Stat`]) is derived from what is stored: rows have the time of their
//! generation and their own, which is the store's time when the entry is applied, and a key that exists
//! while children of it are created or deleted has a record of that ([`store::Family`]). A session is a lease
//! whose time the server has a say in ([`SessionTimeouts`]).
//!
//! ## Idempotency keys
//!
//! A command may carry a key ([`IdempotencyKey`]). Under one key at most one command takes effect; the
//! same command again gets the first one's outcome and revision, another one is refused. That is
//! decided when entries are applied, from a table that is part of the state: of its digest, the store
//! and snapshots. It reaches back [`IDEMPOTENCY_WINDOW_MILLIS`] of the time in the entries, but not
//! beyond the last [`IDEMPOTENCY_KEYS_MAX`] keys.
//!
//! ## Alarms
//!
//! Replicas compare their digests by themselves, and a difference stops all of them: see [`alarm`].
//!
//! ## Invariants
//!
//! - Equal log prefixes give equal [`Machine::state`]s, digest included, whatever was flushed when.
//! - Revisions have no gaps, and the revision never decreases, crashes included: it is part of the
//!   state that the store keeps, and not derived from the rows that compaction left.
//! - The store is a prefix of what is applied; its digest is checked against its rows when it is
//!   opened.
//!
//! ## Caveats
//!
//! - A deletion of many keys is one command and one revision, and a watch gets all of it at once. So
//!   it has limits ([`DELETED_KEYS_MAX`]): one that is larger deletes nothing.
//! - What is applied faster than it is carried to the store waits in memory. Whoever applies holds
//!   back while [`Machine::is_behind`].
//! - Rows in memory share the buffers that their commands arrived in, so memory is bounded by the
//!   sizes of those buffers rather than of the rows.
//! - The digest detects accidents, not adversaries.

pub mod alarm;
mod apply;
mod command;
mod digest;
mod envelope;
mod events;
pub mod family;
mod flush;
mod generation;
mod idempotency;
mod index;
mod journal;
mod keys;
pub mod lease;
mod machine;
mod memory;
mod open;
mod outcome;
mod overlay;
mod progress;
mod range;
mod read;
mod records;
mod removals;
pub mod replica;
pub mod retention;
mod small_key;
pub mod snapshot;
mod stat;
mod states;
mod statistics;
pub mod store;

pub use alarm::{AlarmCommand, Alarms, Comparisons, Corruption};
pub use apply::DecodedEntry;
pub use command::{
    CONDITIONS_MAX, Command, Compare, CompareOperator, CompareTarget, Condition, Delete,
    InvalidCommand, KEY_BYTES_MAX, OPERATIONS_MAX, OPERATIONS_TOTAL_MAX, Operation, Put, PutLease,
    PutValue, Transaction, VALUE_BYTES_MAX,
};
pub use envelope::{Envelope, Header, RequestId};
pub use events::{
    Compacted, Event, EventKind, EventLimits, Events, EventsPlan, PREVIOUS_BYTES_MAX,
    RevisionEvents, WatchFilter,
};
pub use idempotency::{
    IDEMPOTENCY_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX, IDEMPOTENCY_KEYS_MAX,
    IDEMPOTENCY_WINDOW_MILLIS, Idempotency, IdempotencyKey, IdempotencyLimits,
    InvalidIdempotencyKey,
};
pub use keys::Keys;
pub use lease::{
    InvalidSessionTimeouts, LEASE_KEYS_MAX, LeaseCommand, LeaseId, LeaseNews, LeaseTime,
    SessionTimeouts,
};
pub use machine::{CACHE_BYTES_DEFAULT, Machine, Restored};
pub use memory::MemoryStore;
pub use open::{MachineOptions, OpenError};
pub use outcome::{
    Applied, ConditionFailure, DELETED_BYTES_MAX, DELETED_KEYS_MAX, DeleteOutcome, DeletionLimit,
    Found, OperationOutcome, Outcome, PutOutcome, TRANSACTION_KEYS_MAX, TransactionOutcome,
};
pub use progress::Progress;
pub use range::{Order, Range, RangePlan, RangePlanner, RangeResult, SortBy};
pub use read::{FetchError, KeyValue, Located, ReadError};
pub use stat::{Stat, StatPlan, StatPlanner};
pub use states::RECENT_STATES_MAX;
pub use statistics::{Statistics, UNFLUSHED_BYTES_MAX, UNFLUSHED_ENTRIES_MAX};
pub use store::{Revision, RowId, Store};
