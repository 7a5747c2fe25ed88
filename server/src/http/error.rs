//! Everything that can go wrong, in one table: [`ErrorName`].
//!
//! An error that is not in the table can not be sent, because an answer is made from an
//! `ApiError` and that from an [`ErrorName`]. `docs/errors.md` is the same table for users; a
//! test compares it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use kvcore::store::StoreError;
use kvcore::{InvalidCommand, ReadError, Revision};
use schemars::JsonSchema;

use super::json;
use crate::node::handle::Failure;

macro_rules! error_table {
    ($(
        $variant:ident, $name:literal, $status:literal, $definite:literal, $retryable:literal,
            $meaning:literal;
    )*) => {
        /// The name of an error: what a program goes by.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorName {
            $(#[doc = $meaning] $variant,)*
        }

        impl ErrorName {
            /// Every error there is, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name as it is sent.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The HTTP status that goes with it.
            #[must_use]
            pub fn status(self) -> StatusCode {
                let status: u16 = match self { $(Self::$variant => $status,)* };
                StatusCode::from_u16(status).expect("the table holds HTTP statuses")
            }

            /// Whether the outcome is known: `false` means that a write may or may not have
            /// happened.
            #[must_use]
            pub fn definite(self) -> bool {
                match self { $(Self::$variant => $definite,)* }
            }

            /// Whether the same request may succeed when it is sent again.
            #[must_use]
            pub fn retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)* }
            }

            /// What it means, for the documentation.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

// variant, name, status, definite, retryable, meaning
error_table! {
    NotHttp, "not_http", 400, true, false,
        "What came is not a request of HTTP/1, or its first line or headers are malformed. The \
         connection is closed. Nothing happened.";
    InvalidParameter, "invalid_parameter", 400, true, false,
        "A query parameter or header is unknown, given twice, or has an impossible value. The \
         message names it and says what is allowed.";
    UnsupportedParameter, "unsupported_parameter", 400, true, false,
        "A query parameter or header of a feature that this version does not have. It is \
         refused, never ignored.";
    InvalidEncoding, "invalid_encoding", 400, true, false,
        "The path or the query is not correctly percent-encoded.";
    InvalidBody, "invalid_body", 400, true, false,
        "The body is not the JSON object that the call expects. The message says where and what \
         is expected.";
    BodyTruncated, "body_truncated", 400, true, true,
        "The body ended before its announced length, or its chunked encoding is broken. Nothing \
         was stored.";
    KeyEmpty, "key_empty", 400, true, false,
        "The key is empty. A key has at least one byte.";
    DuplicateKey, "duplicate_key", 400, true, false,
        "The transaction would change a key twice. Nothing was changed.";
    FutureRevision, "future_revision", 400, true, false,
        "The revision does not exist yet. The message names the current one.";
    FaultsDisabled, "faults_disabled", 403, true, false,
        "Faults are not enabled at the node that would carry this out. The message says how they are. \
         Nothing happened.";
    KeyNotFound, "key_not_found", 404, true, false,
        "The key does not exist (at that revision).";
    LeaseNotFound, "lease_not_found", 404, true, false,
        "There is no such lease, or not any more: it was ended, or its time ran out. Nothing was \
         changed.";
    AlarmNotFound, "alarm_not_found", 404, true, false,
        "No alarm stands about that node, or not any more.";
    FaultNotFound, "fault_not_found", 404, true, false,
        "There is no fault of that name, or not any more.";
    UnknownPath, "unknown_path", 404, true, false,
        "There is no such call. The message lists those that there are.";
    MethodNotAllowed, "method_not_allowed", 405, true, false,
        "The path exists, but not with this method. The header Allow lists those that it takes.";
    BodyTimeout, "body_timeout", 408, true, true,
        "The body did not arrive in time. Nothing was stored.";
    IdempotencyConflict, "idempotency_conflict", 409, true, false,
        "The Idempotency-Key belongs to another request, with another call, key, value or condition. \
         Nothing was changed. Every write needs a key of its own.";
    LeaseExists, "lease_exists", 409, true, false,
        "There is a lease of that number already. Nothing was changed; without `id` the server chooses a \
         number that is free.";
    LeaseFull, "lease_full", 409, true, false,
        "The lease has 10,000 keys or 8 MiB of keys, as many as a lease can have. Nothing was changed.";
    TooManyLeases, "too_many_leases", 409, true, false,
        "There are 1,048,576 leases, as many as there can be. Nothing was changed.";
    NoSuccessor, "no_successor", 409, true, true,
        "Leadership can not be transferred: the node asked for, or every other one, is not connected to \
         the leader or does not follow it yet. Nothing happened.";
    CannotLead, "cannot_lead", 409, true, false,
        "Leadership can not be transferred so, now or later: the node asked for observes, or lost its data \
         directory and does not count any more, or there is no other voter. Nothing happened.";
    TransferUnderWay, "transfer_under_way", 409, true, true,
        "The leader is handing over its office already. Nothing happened.";
    TooManyFaults, "too_many_faults", 409, true, false,
        "The node has as many faults as it takes. Nothing happened; heal one first.";
    Compacted, "compacted", 410, true, false,
        "The revision was compacted: its history is gone. `compact_revision` is the oldest that \
         can still be read.";
    PreconditionFailed, "precondition_failed", 412, true, false,
        "A condition of the request does not hold. Nothing was changed. `found` says what is \
         there instead.";
    KeyTooLarge, "key_too_large", 413, true, false,
        "The key is too long.";
    ValueTooLarge, "value_too_large", 413, true, false,
        "The value is longer than the server takes (`--max-value-bytes`).";
    BodyTooLarge, "body_too_large", 413, true, false,
        "The body is longer than the call takes.";
    DeletionTooLarge, "deletion_too_large", 413, true, false,
        "The range has more than 10,000 keys or 8 MiB of keys, the most that one deletion takes; counters of \
         sequential keys that end with it count as well. Nothing was deleted: delete in smaller ranges.";
    TooManyOperations, "too_many_operations", 413, true, false,
        "The transaction has more than 128 comparisons or operations, or 1024 with all transactions within. \
         Nothing was changed.";
    TransactionTooLarge, "transaction_too_large", 413, true, false,
        "The transaction compares or reads more than 10,000 keys. Nothing was changed: do it in smaller \
         ranges.";
    PathTooLong, "path_too_long", 414, true, false,
        "The path and the query together are longer than the server reads. The connection is closed. \
         Nothing happened.";
    Overloaded, "overloaded", 429, true, true,
        "Too much is waiting already. Nothing happened; the header Retry-After says when to try \
         again.";
    HeadersTooLarge, "headers_too_large", 431, true, false,
        "The first line and the headers have more than 64 KiB together, or there are more than 100 \
         headers. The connection is closed. Nothing happened.";
    StoreFailed, "store_failed", 500, true, false,
        "The node could not read its own store. Nothing was changed. Another node may answer.";
    Internal, "internal", 500, true, false,
        "The node met something that can not be: a defect of Duorum. The message says what; \
         nothing was changed.";
    Corrupt, "corrupt", 500, true, false,
        "Replicas made different states of the same log, and an alarm stands (`GET /v1/alarms`): no node reads \
         or changes keys and leases until somebody has looked. Nothing happened.";
    NoSpace, "no_space", 507, true, false,
        "The store has as many bytes as it may have (`--quota-bytes`), and the write would store more. Nothing \
         happened. Deletions are done all the same: after enough of them, and a moment in which history is \
         forgotten (with `--retain-revisions 0` after a compaction), writes are taken again.";
    NoLeader, "no_leader", 503, true, true,
        "No leader was known before the time ran out. Nothing happened.";
    NoQuorum, "no_quorum", 503, true, true,
        "The read was not confirmed by a quorum in time. `consistency=local` answers without one.";
    LeaderChanged, "leader_changed", 503, true, true,
        "The leader lost its office before it could commit the write, it is certain that it never \
         will be, and no other leader took it in time. Nothing happened.";
    TransferFailed, "transfer_failed", 503, true, true,
        "Leadership was not transferred in time, or went to another node than was asked for. No key was \
         touched; `/v1/status` says who leads.";
    NodeUnreachable, "node_unreachable", 503, false, false,
        "The node that carries the fault out did not answer; it may have heard all the same. No key is \
         touched. `GET /v1/faults` says what there is.";
    ShuttingDown, "shutting_down", 503, true, true,
        "The node is shutting down. Nothing happened; another node may answer.";
    TooManyConnections, "too_many_connections", 503, true, true,
        "The node has as many connections as it takes (`--max-connections`). Nothing happened.";
    UnknownOutcome, "unknown_outcome", 504, false, false,
        "The write was handed over, but the time ran out or the leader was lost before its fate \
         was known: it may or may not happen, or have happened. Read before you try again; a write with \
         an Idempotency-Key can be sent again with the same key.";
}

impl ErrorName {
    /// Whether the answer says how long to wait before trying again.
    pub(super) fn is_worth_waiting(self) -> bool {
        self.retry_after().is_some()
    }

    /// What to wait before trying again, where the answer says so.
    fn retry_after(self) -> Option<Duration> {
        (self == Self::Overloaded || self == Self::TooManyConnections)
            .then_some(Duration::from_secs(1))
    }
}

impl fmt::Display for ErrorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// Which one.
    pub(crate) name: ErrorName,
    /// What happened, with the offending value and what is allowed.
    pub(crate) message: String,
    /// What else the answer tells, besides the error object.
    pub(crate) detail: Detail,
}

/// The form of every error.
#[derive(JsonSchema)]
#[schemars(rename = "Error")]
#[allow(dead_code, reason = "only the schema of this type is used")]
pub(super) struct ErrorAnswer {
    error: ErrorObject,
    /// The oldest revision that can still be read, where history was compacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    compact_revision: u64,
    /// What a condition found instead: `null` for an absent key.
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<FoundObject>,
    /// The store's revision on the node that answered.
    revision: u64,
}

/// Which error it is.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only the schema of this type is used")]
struct ErrorObject {
    /// Which error it is, for programs.
    #[schemars(extend("oneOf" = names()))]
    name: String,
    /// What was wrong, with the offending value, and what is allowed. For people.
    message: String,
    /// Whether the outcome is known: `false` means that a write may or may not have happened.
    definite: bool,
    /// Whether the same request may succeed when it is sent again.
    retryable: bool,
}

/// The names of all errors, with their meanings.
fn names() -> Vec<serde_json::Value> {
    let name = |error: &ErrorName| serde_json::json!({"const": error.name(), "description": error.meaning()});
    ErrorName::ALL.iter().map(name).collect()
}

/// What a condition found.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only the schema of this type is used")]
struct FoundObject {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: String,
    create_revision: u64,
    mod_revision: u64,
    version: u64,
}

/// What an error tells besides its message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Nothing.
    #[default]
    None,
    /// The methods that the path takes.
    Allow(&'static str),
    /// The oldest revision that can still be read.
    CompactRevision(Revision),
    /// What a condition found: the key it failed for and its numbers; `None` for an absent key.
    Found(Option<Bytes>, Option<kvcore::Found>),
}

impl ApiError {
    /// An error with its message.
    pub(crate) fn new(name: ErrorName, message: impl Into<String>) -> Self {
        Self { name, message: message.into(), detail: Detail::None }
    }

    /// A parameter has an impossible value.
    pub(crate) fn parameter(message: impl Into<String>) -> Self {
        Self::new(ErrorName::InvalidParameter, message)
    }

    /// The error as a JSON object, without a line end.
    pub(crate) fn to_json(&self, revision: Revision) -> Vec<u8> {
        let mut out = Vec::with_capacity(160 + self.message.len());
        out.extend_from_slice(b"{\"error\":{\"name\":\"");
        out.extend_from_slice(self.name.name().as_bytes());
        out.extend_from_slice(b"\",\"message\":");
        json::string(&mut out, &self.message);
        out.extend_from_slice(b",\"definite\":");
        json::boolean(&mut out, self.name.definite());
        out.extend_from_slice(b",\"retryable\":");
        json::boolean(&mut out, self.name.retryable());
        out.push(b'}');
        match &self.detail {
            Detail::None | Detail::Allow(_) => {}
            Detail::CompactRevision(revision) => {
                json::number_field(&mut out, "compact_revision", revision.0);
            }
            Detail::Found(key, found) => {
                out.extend_from_slice(b",\"found\":");
                json::found(&mut out, key.as_ref(), found.as_ref());
            }
        }
        json::number_field(&mut out, "revision", revision.0);
        out.push(b'}');
        out
    }

    /// The value of the header Allow, if the answer has one.
    pub(crate) fn allow(&self) -> Option<&'static str> {
        match self.detail {
            Detail::Allow(methods) => Some(methods),
            _ => None,
        }
    }

    /// The value of the header Retry-After in seconds, if the answer has one.
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        self.name.retry_after().map(|wait| wait.as_secs())
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let (name, message) = match failure {
            Failure::NoLeader => (
                ErrorName::NoLeader,
                "no leader was known before the time ran out; nothing happened. See /v1/status; \
                 `?timeout=` waits longer",
            ),
            Failure::Overloaded => (
                ErrorName::Overloaded,
                "too much is waiting already; nothing happened. Try again after a moment",
            ),
            Failure::NoSpace => (
                ErrorName::NoSpace,
                "the store is full (`--quota-bytes`), and this would store more; nothing happened. \
                 Delete what is not needed; where history is not compacted by itself, compact then",
            ),
            Failure::Corrupt => (
                ErrorName::Corrupt,
                "replicas differ, and an alarm stands; nothing happened. `GET /v1/alarms` says about which \
                 node: stop it, delete its data directory, start it again, and end the alarm with \
                 `DELETE /v1/alarms/{node}`",
            ),
            Failure::LeaderChanged => (
                ErrorName::LeaderChanged,
                "the leader changed before it could commit the write, which it never will be, and no \
                 other leader took it in time; nothing happened. Try again",
            ),
            Failure::UnknownOutcome => (
                ErrorName::UnknownOutcome,
                "the write was handed to the leader, but its fate did not become known in time: \
                 it may or may not happen, or have happened. Read before you try again; what was sent \
                 with an Idempotency-Key can be sent again with the same key",
            ),
            Failure::NoQuorum => (
                ErrorName::NoQuorum,
                "no quorum confirmed the read in time. `?consistency=local` answers from this \
                 node alone, perhaps with old data",
            ),
            Failure::ShuttingDown => (
                ErrorName::ShuttingDown,
                "this node is shutting down; nothing happened. Ask another node",
            ),
            Failure::NoSuccessor => (
                ErrorName::NoSuccessor,
                "the leader has no connection with the node that is to take over (or with any other \
                 that counts), or that does not follow it yet; nothing happened. Try again in a \
                 moment; /v1/status of the leader lists who is connected",
            ),
            Failure::TransferUnderWay => (
                ErrorName::TransferUnderWay,
                "the leader is handing over its office already; nothing happened",
            ),
            Failure::TransferFailed => (
                ErrorName::TransferFailed,
                "leadership was not transferred in time, or went to another node than was asked for; \
                 no key was touched. /v1/status says who leads",
            ),
        };
        Self::new(name, message)
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        let message = error.to_string();
        match error {
            ReadError::Compacted { compacted, .. } => Self {
                name: ErrorName::Compacted,
                message,
                detail: Detail::CompactRevision(compacted),
            },
            ReadError::Future { .. } => Self::new(ErrorName::FutureRevision, message),
            ReadError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!("the store can not be read: {error}");
        Self::new(ErrorName::StoreFailed, format!("this node can not read its store: {error}"))
    }
}

impl From<InvalidCommand> for ApiError {
    fn from(invalid: InvalidCommand) -> Self {
        let name = match invalid {
            InvalidCommand::KeyEmpty => ErrorName::KeyEmpty,
            InvalidCommand::KeyTooLarge { .. } => ErrorName::KeyTooLarge,
            InvalidCommand::ValueTooLarge { .. } => ErrorName::ValueTooLarge,
            InvalidCommand::DuplicateKey => ErrorName::DuplicateKey,
            InvalidCommand::TooManyOperations | InvalidCommand::TooManyOperationsInAll => {
                ErrorName::TooManyOperations
            }
            _ => ErrorName::InvalidParameter,
        };
        Self::new(name, invalid.to_string())
    }
}

/// The table of `docs/errors.md`.
#[must_use]
pub fn documentation() -> String {
    use std::fmt::Write as _;
    let mut text =
        String::from("| name | status | definite | retryable | meaning |\n|---|---|---|---|---|\n");
    let yes_no = |yes: bool| if yes { "yes" } else { "no" };
    for error in ErrorName::ALL {
        writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            error.name(),
            error.status().as_u16(),
            yes_no(error.definite()),
            yes_no(error.retryable()),
            error.meaning(),
        )
        .expect("a string takes everything written to it");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_an_indefinite_error_is_never_retryable() {
        let names: std::collections::BTreeSet<_> =
            ErrorName::ALL.iter().map(|e| e.name()).collect();
        assert_eq!(names.len(), ErrorName::ALL.len());
        for error in ErrorName::ALL {
            assert!(error.definite() || !error.retryable(), "{error} would do a write twice");
            assert!(error.status().is_client_error() || error.status().is_server_error());
        }
    }

    #[test]
    fn the_table_and_the_replica_agree_on_what_is_definite() {
        for failure in [
            Failure::NoLeader,
            Failure::Overloaded,
            Failure::NoSpace,
            Failure::Corrupt,
            Failure::LeaderChanged,
            Failure::UnknownOutcome,
            Failure::NoQuorum,
            Failure::ShuttingDown,
            Failure::NoSuccessor,
            Failure::TransferUnderWay,
            Failure::TransferFailed,
        ] {
            let error = ApiError::from(failure);
            assert_eq!(error.name.definite(), failure.is_definite(), "{failure:?}");
        }
    }

    #[test]
    fn the_documented_table_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
        let page = std::fs::read_to_string(path).expect("docs/errors.md");
        let table = documentation();
        assert!(page.contains(&table), "docs/errors.md must contain this table:\n{table}");
    }

    #[test]
    fn an_error_is_one_json_object() {
        let mut error = ApiError::new(ErrorName::Compacted, "say \"when\"\n");
        error.detail = Detail::CompactRevision(Revision(7));
        let json: serde_json::Value =
            serde_json::from_slice(&error.to_json(Revision(9))).expect("JSON");
        assert_eq!(
            json,
            serde_json::json!({
                "error": {
                    "name": "compacted",
                    "message": "say \"when\"\n",
                    "definite": true,
                    "retryable": false,
                },
                "compact_revision": 7,
                "revision": 9,
            })
        );
    }
}
