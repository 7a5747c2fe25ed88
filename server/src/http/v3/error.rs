//! Everything that can go wrong with a call of etcd's API, in one table: `Refusal`.
//!
//! An answer says it three times, so that the clients of every version of etcd find what they look for:
//! `{"error":TEXT,"code":NUMBER,"message":TEXT}`, of which etcd from 3.6 on has only the last two. What
//! there is to say besides is in `hint` where the text is etcd's, and behind the text where it is ours. The
//! status goes by the code as in etcd from 3.5 on. `docs/etcd-api.md` has the same table for users; a test
//! compares them.

use std::fmt;

use bytes::Bytes;
use hyper::StatusCode;
use kvcore::replica::Failure;
use kvcore::store::StoreError;
use kvcore::{InvalidCommand, Outcome, ReadError, TRANSACTION_KEYS_MAX};

use super::protojson::{self, ReadErrorKind};
use crate::http::error::{ApiError, ErrorName};
use crate::http::json;

/// gRPC's codes, those that are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Code {
    /// Something went wrong that should not.
    Unknown = 2,
    /// The request can never be fulfilled.
    InvalidArgument = 3,
    /// The time that the client gave is over.
    DeadlineExceeded = 4,
    /// What it is about is not there.
    NotFound = 5,
    /// There is too much of something.
    ResourceExhausted = 8,
    /// It can not be fulfilled as things are.
    FailedPrecondition = 9,
    /// A revision or a number lies outside of what there is.
    OutOfRange = 11,
    /// There is no such thing here.
    Unimplemented = 12,
    /// It can not be fulfilled just now.
    Unavailable = 14,
    /// Something is damaged.
    DataLoss = 15,
}

impl Code {
    /// The HTTP status that goes with it, as grpc-gateway has it from its version 2 on.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::InvalidArgument | Self::FailedPrecondition | Self::OutOfRange => {
                StatusCode::BAD_REQUEST
            }
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unknown | Self::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Its number.
    pub(crate) fn number(self) -> u64 {
        self as u64
    }
}

macro_rules! refusals {
    ($($name:ident, $code:ident, $text:literal, $when:literal;)*) => {
        /// Why a call is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Refusal {
            $(#[doc = $when] $name,)*
        }

        impl Refusal {
            /// Every refusal there is, in the order of the documentation.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// gRPC's code.
            pub(crate) fn code(self) -> Code {
                match self { $(Self::$name => Code::$code,)* }
            }

            /// What the message says, or begins with.
            pub(crate) fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// When it is said, for the documentation.
            pub(crate) fn when(self) -> &'static str {
                match self { $(Self::$name => $when,)* }
            }
        }
    };
}

// name, code, text, when
refusals! {
    BadBody, InvalidArgument, "the body is not the JSON that this call takes",
        "The message goes on with where and what is wrong: broken JSON, a wrong type, a number that no \
         enumeration has, two members of a `oneof`, a `null` in a list.";
    KeyMissing, InvalidArgument, "etcdserver: key is not provided",
        "`key` is missing or empty.";
    KeyNotFound, InvalidArgument, "etcdserver: key not found",
        "`ignore_value` or `ignore_lease` of a key that does not exist; an operation of a transaction that \
         is empty, or has a name that is not known.";
    ValueProvided, InvalidArgument, "etcdserver: value is provided",
        "`ignore_value` together with a value.";
    LeaseProvided, InvalidArgument, "etcdserver: lease is provided",
        "`ignore_lease` together with a lease.";
    TooManyOperations, InvalidArgument, "etcdserver: too many operations in txn request",
        "A transaction has more than 128 comparisons, or operations of one branch, those of transactions \
         within counted with those around them; or more than 1,024 in all.";
    DuplicateKey, InvalidArgument, "etcdserver: duplicate key given in txn request",
        "A branch of a transaction would store a key twice, or store and delete it.";
    SortOption, InvalidArgument, "etcdserver: invalid sort option",
        "There is no such `sort_order` or `sort_target`.";
    RequestTooLarge, InvalidArgument, "etcdserver: request is too large",
        "Key and value together are longer than the server takes (`--max-value-bytes` and half a MiB \
         more), or a key alone than 64 KiB; or a deletion, or a transaction, has more than 10,000 keys \
         or 8 MiB of keys, counters of sequential keys that end included. `hint` says what is allowed.";
    Compacted, OutOfRange, "etcdserver: mvcc: required revision has been compacted",
        "The revision is before the compacted one; of a compaction, not after it.";
    FutureRevision, OutOfRange, "etcdserver: mvcc: required revision is a future revision",
        "The revision does not exist yet.";
    LeaseTooLong, OutOfRange, "etcdserver: too large lease TTL",
        "A lease is to live longer than 9,000,000,000 seconds.";
    HashForgotten, OutOfRange, "the hash at this revision is not remembered",
        "`hashkv` of a revision that is not among those of the last 4,096 log entries, or before the node \
         started.";
    LeaseNotFound, NotFound, "etcdserver: requested lease not found",
        "There is no such lease.";
    MemberNotFound, NotFound, "etcdserver: member not found",
        "An alarm is to be raised about a member that does not exist.";
    UnknownPath, NotFound, "Not Found",
        "There is no such call.";
    AnswerTooLarge, ResourceExhausted, "the answer is too large",
        "A range that is not sorted by key, and has no limit, is longer than 32 MiB. Sorted by key it may \
         have any length. Or a transaction that writes nothing reads more than 8 MiB.";
    LeaseFull, ResourceExhausted, "the lease has as many keys as a lease can have",
        "10,000 keys or 8 MiB of keys: they are deleted at once when it ends.";
    TooManyLeases, ResourceExhausted, "there are as many leases as there can be",
        "1,048,576.";
    NoSpace, ResourceExhausted, "etcdserver: mvcc: database space exceeded",
        "The store has as many bytes as it may have (`--quota-bytes`), and the call would store more. Deletions, \
         compactions and revocations are done all the same; after enough of them writes are taken again, \
         without disarming anything; with `--retain-revisions 0` after a compaction.";
    TooManyRequests, ResourceExhausted, "etcdserver: too many requests",
        "Too much is waiting already. Nothing happened. (etcd sends this as code 2.)";
    LeaseExists, FailedPrecondition, "etcdserver: lease already exists",
        "A lease is to be granted under a number that another one has.";
    BadTransferee, FailedPrecondition, "etcdserver: bad leader transferee",
        "The member does not exist, does not vote, or can not take over now.";
    AuthDisabled, FailedPrecondition, "etcdserver: authentication is not enabled",
        "Every call of Auth but `status`: there is no authentication in this version.";
    Unsupported, Unimplemented, "not part of this version",
        "The message goes on with what.";
    WrongMethod, Unimplemented, "Method Not Allowed",
        "Every call is a POST.";
    NoLeader, Unavailable, "etcdserver: no leader",
        "No leader was known in time. Nothing happened.";
    LeaderChanged, Unavailable, "etcdserver: leader changed",
        "The leader was lost before it could commit the write, which never will be. Nothing happened.";
    TimedOut, Unavailable, "etcdserver: request timed out",
        "A write: it may or may not happen, or have happened. A read: no quorum confirmed it in time.";
    TransferFailed, Unavailable, "etcdserver: request timed out, leader transfer took too long",
        "Leadership was not transferred in time.";
    Stopped, Unavailable, "etcdserver: server stopped",
        "This node is stopping. Nothing happened; another node may answer.";
    DeadlineExceeded, DeadlineExceeded, "etcdserver: context deadline exceeded",
        "A lock or an office was not won within `Grpc-Timeout`. What was left in the queue is removed, or goes with its \
         lease where nobody could remove it.";
    SessionLeaseNotFound, Unknown, "etcdserver: requested lease not found",
        "There is no such lease, said of a lock or an election.";
    SessionExpired, Unknown, "mutex: session is expired",
        "The lease ended, or its key was deleted, while its holder waited for a lock or an office.";
    ElectionNoLeader, Unknown, "election: no leader",
        "Nobody holds the office.";
    ElectionNotLeader, Unknown, "election: not leader",
        "Who proclaims does not stand for the office any more.";
    LeaderMissing, Unknown, "\"leader\" field must be provided",
        "`proclaim` or `resign` without it.";
    Corrupt, DataLoss, "etcdserver: corrupt cluster",
        "Replicas differ, and an alarm stands (`maintenance/alarm`). Keys and leases are neither read nor \
         changed. Nothing happened.";
    Internal, Unknown, "this node failed",
        "The node could not read its store, or met something that can not be. The message goes on with \
         what.";
}

impl Refusal {
    /// Whether the message is etcd's own.
    fn is_of_etcd(self) -> bool {
        ["etcdserver: ", "mutex: ", "election: ", "\"leader\" "]
            .iter()
            .any(|beginning| self.text().starts_with(beginning))
    }
}

/// A refusal on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Which.
    pub(crate) refusal: Refusal,
    /// What there is to say besides.
    detail: Option<String>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, detail: None }
    }
}

/// The message, which is exactly etcd's where it has one, because there are clients that go by it.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.refusal.text())?;
        match &self.detail {
            Some(detail) if !self.refusal.is_of_etcd() => write!(f, ": {detail}"),
            _ => Ok(()),
        }
    }
}

impl Refused {
    /// A refusal whose message says more than the table has.
    pub(crate) fn with(refusal: Refusal, detail: impl Into<String>) -> Self {
        Self { refusal, detail: Some(detail.into()) }
    }

    /// The body of an answer.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let message = self.to_string();
        let mut out = Vec::with_capacity(48 + 2 * message.len());
        out.extend_from_slice(b"{\"error\":");
        json::string(&mut out, &message);
        json::number_field(&mut out, "code", self.refusal.code().number());
        json::field(&mut out, "message");
        json::string(&mut out, &message);
        if let Some(hint) = self.detail.as_ref().filter(|_| self.refusal.is_of_etcd()) {
            json::field(&mut out, "hint");
            json::string(&mut out, hint);
        }
        out.extend_from_slice(b"}\n");
        out
    }

    /// The last message of a stream, with the names that etcd gave these before 3.6 and since.
    pub(crate) fn to_stream_message(&self) -> Bytes {
        let (code, message) = (self.refusal.code(), self.to_string());
        let status = code.status();
        let mut out = Vec::with_capacity(128 + message.len());
        out.extend_from_slice(b"{\"error\":{\"code\":");
        json::number(&mut out, code.number());
        json::field(&mut out, "message");
        json::string(&mut out, &message);
        json::number_field(&mut out, "grpc_code", code.number());
        json::number_field(&mut out, "http_code", u64::from(status.as_u16()));
        json::field(&mut out, "http_status");
        json::string(&mut out, status.canonical_reason().unwrap_or_default());
        out.extend_from_slice(b"}}\n");
        out.into()
    }

    /// What could not be done with a write that was replicated.
    pub(crate) fn of_outcome(outcome: Outcome) -> Self {
        match outcome {
            Outcome::RevisionInFuture { .. } => Refusal::FutureRevision.into(),
            Outcome::RevisionCompacted { .. } => Refusal::Compacted.into(),
            Outcome::DeletionTooLarge(limit) => {
                Self::with(Refusal::RequestTooLarge, limit.to_string())
            }
            Outcome::TransactionTooLarge => {
                let what = format!(
                    "a transaction compares and reads at most {TRANSACTION_KEYS_MAX} keys each"
                );
                Self::with(Refusal::RequestTooLarge, what)
            }
            Outcome::KeyNotFound { .. } => Refusal::KeyNotFound.into(),
            Outcome::LeaseNotFound { .. } => Refusal::LeaseNotFound.into(),
            Outcome::LeaseExists { .. } => Refusal::LeaseExists.into(),
            Outcome::LeaseFull { lease } => Self::with(Refusal::LeaseFull, lease.to_string()),
            Outcome::TooManyLeases => Refusal::TooManyLeases.into(),
            Outcome::Invalid(invalid) => invalid.into(),
            other => Self::with(Refusal::Internal, format!("a write came back as {other:?}")),
        }
    }
}

impl From<protojson::ReadError> for Refused {
    fn from(error: protojson::ReadError) -> Self {
        let refusal = match error.kind {
            ReadErrorKind::Body => Refusal::BadBody,
            ReadErrorKind::SortOption => Refusal::SortOption,
        };
        Self::with(refusal, error.to_string())
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        let refusal = match failure {
            Failure::NoLeader => Refusal::NoLeader,
            Failure::Overloaded => Refusal::TooManyRequests,
            Failure::NoSpace => Refusal::NoSpace,
            Failure::Corrupt => Refusal::Corrupt,
            Failure::LeaderChanged => Refusal::LeaderChanged,
            Failure::UnknownOutcome | Failure::NoQuorum => Refusal::TimedOut,
            Failure::ShuttingDown => Refusal::Stopped,
            Failure::NoSuccessor | Failure::TransferUnderWay => Refusal::BadTransferee,
            Failure::TransferFailed => Refusal::TransferFailed,
        };
        refusal.into()
    }
}

impl From<ReadError> for Refused {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Compacted { .. } => Refusal::Compacted.into(),
            ReadError::Future { .. } => Refusal::FutureRevision.into(),
            ReadError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        tracing::error!("the store can not be read: {error}");
        Self::with(Refusal::Internal, error.to_string())
    }
}

impl From<InvalidCommand> for Refused {
    fn from(invalid: InvalidCommand) -> Self {
        match invalid {
            InvalidCommand::KeyEmpty => Refusal::KeyMissing.into(),
            InvalidCommand::TooManyOperations | InvalidCommand::TooManyOperationsInAll => {
                Self::with(Refusal::TooManyOperations, invalid.to_string())
            }
            InvalidCommand::DuplicateKey => Self::with(Refusal::DuplicateKey, invalid.to_string()),
            InvalidCommand::LeaseTime { .. } => {
                Self::with(Refusal::LeaseTooLong, invalid.to_string())
            }
            other => Self::with(Refusal::RequestTooLarge, other.to_string()),
        }
    }
}

/// What the parts that are shared with `/v1` say.
impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        let refusal = match error.name {
            ErrorName::Overloaded => Refusal::TooManyRequests,
            ErrorName::BodyTooLarge
            | ErrorName::ValueTooLarge
            | ErrorName::KeyTooLarge
            | ErrorName::TransactionTooLarge => Refusal::RequestTooLarge,
            ErrorName::BodyTruncated | ErrorName::BodyTimeout => Refusal::BadBody,
            ErrorName::Compacted => return Refusal::Compacted.into(),
            ErrorName::FutureRevision => return Refusal::FutureRevision.into(),
            _ => Refusal::Internal,
        };
        Self::with(refusal, error.message)
    }
}

/// The table of `docs/etcd-api.md`.
#[must_use]
pub fn documentation() -> String {
    use std::fmt::Write as _;
    let mut text = String::from("| message | code | status | when |\n|---|---|---|---|\n");
    for refusal in Refusal::ALL {
        let (code, status) = (refusal.code(), refusal.code().status().as_u16());
        writeln!(
            text,
            "| `{}` | {} | {status} | {} |",
            refusal.text(),
            code.number(),
            refusal.when()
        )
        .expect("a string takes everything written to it");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_begins_like_another_unless_it_is_longer_than_a_detail_could_make_it() {
        for one in Refusal::ALL {
            let prefix = format!("{}: ", one.text());
            for other in Refusal::ALL.iter().filter(|other| *other != one) {
                // What is told of locks and elections has a code of its own, as in etcd.
                assert_ne!((one.text(), one.code()), (other.text(), other.code()));
                assert!(!other.text().starts_with(&prefix), "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn the_documented_table_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/etcd-api.md");
        let page = std::fs::read_to_string(path).expect("docs/etcd-api.md");
        let table = documentation();
        assert!(page.contains(&table), "docs/etcd-api.md must contain this table:\n{table}");
    }

    #[test]
    fn what_etcd_says_is_said_exactly_and_the_rest_beside_it() {
        let refused = Refused::with(Refusal::SortOption, "there are others");
        let json: serde_json::Value = serde_json::from_slice(&refused.to_json()).expect("JSON");
        let text = "etcdserver: invalid sort option";
        assert_eq!(
            json,
            serde_json::json!({"error": text, "code": 3, "message": text, "hint": "there are others"})
        );
    }

    #[test]
    fn an_answer_says_it_for_old_and_new_clients() {
        let refused = Refused::with(Refusal::BadBody, "line 1, column 2: \"x\"");
        let json: serde_json::Value = serde_json::from_slice(&refused.to_json()).expect("JSON");
        let text = "the body is not the JSON that this call takes: line 1, column 2: \"x\"";
        assert_eq!(json, serde_json::json!({"error": text, "code": 3, "message": text}));
        let refused = Refused::from(Refusal::Stopped);
        let json: serde_json::Value =
            serde_json::from_slice(&refused.to_stream_message()).expect("JSON");
        assert_eq!(
            json,
            serde_json::json!({"error": {
                "code": 14, "message": "etcdserver: server stopped",
                "grpc_code": 14, "http_code": 503, "http_status": "Service Unavailable",
            }})
        );
    }

    #[test]
    fn the_statuses_are_those_of_the_second_gateway() {
        let status = |refusal: Refusal| refusal.code().status().as_u16();
        assert_eq!(status(Refusal::AuthDisabled), 400);
        assert_eq!(status(Refusal::WrongMethod), 501);
        assert_eq!(status(Refusal::TooManyRequests), 429);
        assert_eq!(status(Refusal::UnknownPath), 404);
        assert_eq!(status(Refusal::TimedOut), 503);
        assert_eq!(status(Refusal::DeadlineExceeded), 504);
        assert_eq!(status(Refusal::Internal), 500);
    }
}
