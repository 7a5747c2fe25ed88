//! The shapes of those answers that are written by hand, for `/openapi.json`. The others are described
//! by the types that they are written from.
//!
//! Nothing is made from these types but their schemas; every test of the API checks its answers
//! against them.

#![allow(dead_code, reason = "only the schemas of these types are used")]

use schemars::JsonSchema;

/// A key and what is stored under it.
#[derive(JsonSchema)]
pub(super) struct KeyValue {
    /// The key: text when it is valid UTF-8, else base64.
    key: String,
    /// How the key is written, when it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Encoding,
    /// The value: text when it is valid UTF-8, else base64. Left out where only keys are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: String,
    /// How the value is written, when it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_encoding: Encoding,
    /// The revision at which the key was created.
    create_revision: u64,
    /// The revision at which it was last written.
    mod_revision: u64,
    /// How often it was written since it was created, that included.
    version: u64,
    /// The lease that it hangs on, if it does: any number but 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: i64,
}

/// How bytes that are no text are written.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum Encoding {
    Base64,
}

/// What is told of one key.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum GetAnswer {
    Value(Got),
    Stat(GotStat),
}

/// What ZooKeeper tells of a node.
#[derive(JsonSchema)]
pub(super) struct GotStat {
    /// The key: text when it is valid UTF-8, else base64.
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Encoding,
    stat: Stat,
    /// The store's revision, of which all this is.
    revision: u64,
}

/// The fields of ZooKeeper's `Stat`, by its names, with revisions for zxids.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
struct Stat {
    /// The revision that created the key.
    czxid: u64,
    /// The revision that last wrote it.
    mzxid: u64,
    /// The revision that last created or deleted a child of it; `czxid` if none did.
    pzxid: u64,
    /// The time of `czxid`, in milliseconds since the beginning of 1970; 0 if it is unknown.
    ctime: u64,
    /// The time of `mzxid`, in the same way.
    mtime: u64,
    /// How often the key was written after it was created: one less than `version` elsewhere.
    version: u64,
    /// How often a child of it was created or deleted, as far as the key existed then.
    cversion: u64,
    /// 0: there are no ACLs.
    aversion: u64,
    /// The lease that it hangs on; 0 if it hangs on none.
    ephemeral_owner: i64,
    /// The bytes of the value.
    data_length: u64,
    /// How many keys there are that are called as this one, `/`, and a name without `/`.
    num_children: u64,
}

/// One key, and the store's revision.
#[derive(JsonSchema)]
pub(super) struct Got {
    #[serde(flatten)]
    key_value: KeyValue,
    /// The store's revision.
    revision: u64,
}

/// Many keys.
#[derive(JsonSchema)]
pub(super) struct RangePage {
    /// The keys of this page.
    kvs: Vec<KeyValue>,
    /// How many keys match, whatever the limit; with a cursor, from there on.
    count: u64,
    /// Whether there are more than this page has.
    more: bool,
    /// The cursor of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: String,
    /// The store's revision.
    revision: u64,
}

/// A key was stored.
#[derive(JsonSchema)]
pub(super) struct Stored {
    /// Whether the key did not exist before.
    created: bool,
    /// The key, where it is a sequential one.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Encoding,
    /// The lease that was made for the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: i64,
    /// How long that lease lives, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: u64,
    /// What was replaced, if that was asked for: `null` when there was nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    prev: Option<KeyValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_unavailable: PreviousUnavailable,
    /// The revision of this write.
    revision: u64,
}

/// A key was deleted, or did not exist.
#[derive(JsonSchema)]
pub(super) struct DeletedOne {
    /// How many keys were deleted: 1 or 0.
    deleted: u64,
    /// What was deleted, if that was asked for: `null` when there was nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    prev: Option<KeyValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_unavailable: PreviousUnavailable,
    /// The revision of this write, or the store's when nothing was deleted.
    revision: u64,
}

/// Many keys were deleted, or none.
#[derive(JsonSchema)]
pub(super) struct DeletedMany {
    /// How many keys were deleted.
    deleted: u64,
    /// What was deleted, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_kvs: Vec<KeyValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_unavailable: PreviousUnavailable,
    /// The revision of this write, or the store's when nothing was deleted.
    revision: u64,
}

/// What a transaction did.
#[derive(JsonSchema)]
pub(super) struct TransactionAnswer {
    #[serde(flatten)]
    done: TransactionDone,
    /// The revision of this write, or the store's when nothing was changed.
    revision: u64,
}

/// Which branch was taken, and what became of its operations.
#[derive(JsonSchema)]
struct TransactionDone {
    /// Whether all conditions held, so that `then` was done.
    succeeded: bool,
    /// Of each operation of the branch that was taken, in order.
    results: Vec<OperationDone>,
}

/// What an operation did.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum OperationDone {
    Put(PutDone),
    Get(GetDone),
    Delete(DeleteDone),
    Txn(TransactionDone),
}

/// A value was stored.
#[derive(JsonSchema)]
struct PutDone {
    /// Whether the key did not exist before.
    created: bool,
    /// The lease that was made for the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: i64,
    /// How long that lease lives, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: u64,
    /// What was replaced, if that was asked for: `null` when there was nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    prev: Option<KeyValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_unavailable: PreviousUnavailable,
}

/// What was read.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum GetDone {
    /// A key; `null` when it does not exist.
    One { kv: Option<KeyValue> },
    /// Many keys.
    Many {
        kvs: Vec<KeyValue>,
        /// How many keys match, whatever the limit.
        count: u64,
        /// Whether there are more than are told.
        more: bool,
    },
    /// The transaction was done, but what it read can not be told.
    Unavailable { unavailable: ReadUnavailable },
}

/// Why something that was read is left out.
#[derive(JsonSchema)]
struct ReadUnavailable {
    reason: WhyUnavailable,
    /// The same for people.
    message: String,
}

/// Keys were deleted, or none.
#[derive(JsonSchema)]
struct DeleteDone {
    /// How many keys were deleted.
    deleted: u64,
    /// Of one key: what was deleted, if that was asked for; `null` when there was nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    prev: Option<KeyValue>,
    /// Of many keys: what was deleted, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_kvs: Vec<KeyValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_unavailable: PreviousUnavailable,
}

/// The write was done, but not all that was there before can be told.
#[derive(JsonSchema)]
struct PreviousUnavailable {
    reason: WhyUnavailable,
    /// How many keys are left out.
    count: u64,
    /// The same for people.
    message: String,
}

/// Why something previous is left out.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum WhyUnavailable {
    Compacted,
    StoreFailed,
    TooLarge,
    Overloaded,
}

/// A lease that was granted or renewed.
#[derive(JsonSchema)]
pub(super) struct LeaseGranted {
    /// Its number: any but 0.
    lease: i64,
    /// How long it lives from now on, in milliseconds.
    ttl_ms: u64,
    /// The store's revision.
    revision: u64,
}

/// Leases, in the order of their numbers.
#[derive(JsonSchema)]
pub(super) struct LeasePage {
    leases: Vec<LeaseListed>,
    /// How many leases there are, whatever the limit and the cursor.
    count: u64,
    /// Whether there are more behind this page.
    more: bool,
    /// The cursor of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: String,
    /// The store's revision.
    revision: u64,
}

/// A lease among others.
#[derive(JsonSchema)]
struct LeaseListed {
    lease: i64,
    /// How long it lives after it was granted or renewed, in milliseconds.
    ttl_ms: u64,
}

/// A lease, its time and its keys.
#[derive(JsonSchema)]
pub(super) struct LeaseShown {
    lease: i64,
    /// How long it lives after it was granted or renewed, in milliseconds.
    ttl_ms: u64,
    /// How long it lives if it is not renewed, by the leader's clock, in milliseconds.
    remaining_ms: u64,
    /// The keys that go with it, in order.
    keys: Vec<LeaseKey>,
    /// The store's revision.
    revision: u64,
}

/// A key that hangs on a lease.
#[derive(JsonSchema)]
struct LeaseKey {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Encoding,
}

/// A lease was ended.
#[derive(JsonSchema)]
pub(super) struct LeaseEnded {
    /// How many keys were deleted with it.
    deleted: u64,
    /// The revision of this write, or the store's when the lease had no keys.
    revision: u64,
}

/// History was forgotten.
#[derive(JsonSchema)]
pub(super) struct Compacted {
    /// The oldest revision that can still be read.
    compact_revision: u64,
    /// The store's revision.
    revision: u64,
}

/// A line of a watch.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum WatchLine {
    /// The first line: the store's revision when the watch began.
    Started { revision: u64, started: bool },
    /// All that was done at one revision.
    Revision { revision: u64, events: Vec<Event> },
    /// A bookmark: nothing that is watched happened up to this revision.
    Progress { revision: u64, progress: bool },
    /// The last line, when the watch can not go on. It has the form of every error.
    Failed(super::error::ErrorAnswer),
}

/// Something that happened to a key.
#[derive(JsonSchema)]
pub(super) struct Event {
    r#type: EventType,
    kv: EventKey,
    /// What was there before, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    prev: KeyValue,
}

/// What happened to a key.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum EventType {
    Put,
    Delete,
}

/// The key that something happened to; of a deletion only the key and the revision.
#[derive(JsonSchema)]
struct EventKey {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Encoding,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_encoding: Encoding,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_revision: u64,
    mod_revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: u64,
    /// The lease that it hangs on, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: i64,
}

/// What all replicas have.
#[derive(JsonSchema)]
pub(super) struct Agreement {
    /// Whether all that answered have the same; `null` when that could not be found out.
    agree: Option<bool>,
    /// How many nodes answered.
    answered: u64,
    /// How many there are.
    members: u64,
    /// The key that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Encoding,
    /// The entry of the log after which the digests are.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest_index: u64,
    /// The revision that the store had then.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest_revision: u64,
    replicas: Vec<Replica>,
    /// The store's revision at the node that was asked.
    revision: u64,
}

/// What one replica has. One that did not answer is told with its number alone.
#[derive(JsonSchema)]
struct Replica {
    node: u64,
    answered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    applied_index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    applied_term: u64,
    /// How many entries it is behind the one that is furthest.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_entries: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    compact_revision: u64,
    /// Whether the key exists there.
    #[serde(skip_serializing_if = "Option::is_none")]
    exists: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    mod_revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_encoding: Encoding,
    /// The length of a value of more than 64 KiB, which is told by its digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_digest: String,
    /// The digest of all that the replica's state says; `null` when it has no state of that entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// The digest of its rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows_digest: Option<String>,
    /// The digest of its idempotency keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_digest: Option<String>,
    /// Why it could not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: String,
}
