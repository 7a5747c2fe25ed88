//! What became of a log entry when it was applied.

use std::fmt;

use bytes::Bytes;
use consensus::{CodecError, Position};

use crate::command::{Condition, InvalidCommand};
use crate::envelope::Header;
use crate::lease::LeaseId;
use crate::range::RangePlan;
use crate::read::Located;
use crate::store::Revision;

/// The most keys that one deletion deletes: all of them change under one hold of the machine's lock,
/// go to the store in one transaction, and reach watchers in one piece.
pub const DELETED_KEYS_MAX: usize = 10_000;
/// The most bytes of keys that a deletion of many keys deletes.
pub const DELETED_BYTES_MAX: usize = 8 << 20;
/// The most keys that the comparisons of a transaction look at, and the most that its reads find: all of it
/// happens under one hold of the machine's lock.
pub const TRANSACTION_KEYS_MAX: usize = 10_000;

/// What became of one log entry. Equal on all replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The entry.
    pub position: Position,
    /// Who asked; `None` for an entry without a command, or with one that has no header.
    pub header: Option<Header>,
    /// What happened.
    pub outcome: Outcome,
    /// The store's revision after the entry or, if it is a repetition, after the entry that it repeats.
    pub revision: Revision,
    /// Whether an earlier entry with the same idempotency key did all this, and this one nothing.
    pub repeated: bool,
}

/// What a command did. Nothing was changed but by `Put`, `Deleted`, `Compacted`, `Transaction` and what is
/// done to leases and alarms.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The entry carries no command.
    Nothing,
    /// The value was stored.
    Put(PutOutcome),
    /// The keys were deleted. When there were none, nothing changed.
    Deleted(DeleteOutcome),
    /// The deletion, or all of a transaction's together, is beyond a limit.
    DeletionTooLarge(DeletionLimit),
    /// History before the revision is forgotten.
    Compacted,
    /// The transaction was carried out.
    Transaction(Box<TransactionOutcome>),
    /// The transaction compares or reads more keys than [`TRANSACTION_KEYS_MAX`].
    TransactionTooLarge,
    /// A put that keeps what is there found no such key.
    KeyNotFound {
        /// The key.
        key: Bytes,
    },
    /// The lease was granted.
    Granted {
        /// Its number.
        lease: LeaseId,
        /// How long it lives, in milliseconds.
        ttl_millis: u64,
    },
    /// The lease has all of its time again.
    Renewed {
        /// Its number.
        lease: LeaseId,
        /// How long that is, in milliseconds.
        ttl_millis: u64,
    },
    /// The lease ended, because it was revoked or its time was over, and its keys with it.
    LeaseEnded {
        /// Its number.
        lease: LeaseId,
        /// How many keys it had.
        keys: u64,
    },
    /// The leader's word about leases was noted, as far as it is not void.
    LeasesNoted,
    /// There is no such lease.
    LeaseNotFound {
        /// The number asked for.
        lease: LeaseId,
    },
    /// There is a lease of that number already.
    LeaseExists {
        /// The number asked for.
        lease: LeaseId,
    },
    /// The lease has as many keys as a lease can have.
    LeaseFull {
        /// The lease.
        lease: LeaseId,
    },
    /// There are as many leases as there can be.
    TooManyLeases,
    /// The replica compared its digest with the leader's. What it found is no part of the state.
    DigestsCompared,
    /// The alarm about the node stands.
    AlarmRaised,
    /// There is no alarm about the node any more.
    AlarmCleared {
        /// Whether there was one.
        stood: bool,
    },
    /// A condition did not hold.
    ConditionFailed(Box<ConditionFailure>),
    /// The revision to compact to, or to read, does not exist yet.
    RevisionInFuture {
        /// The revision asked for.
        requested: Revision,
        /// The store's revision.
        current: Revision,
    },
    /// The store was compacted that far, or farther.
    RevisionCompacted {
        /// The revision asked for.
        requested: Revision,
        /// The oldest revision that can still be read.
        compacted: Revision,
    },
    /// The idempotency key belongs to another command.
    IdempotencyConflict,
    /// So many idempotency keys came since the node took the request that nobody can tell whether this
    /// one was among them. If it was, whoever asked was answered at that time.
    IdempotencyForgotten,
    /// The command violates a limit.
    Invalid(InvalidCommand),
    /// The bytes are no command that this version knows.
    Undecodable(CodecError),
}

/// What a put did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutOutcome {
    /// Whether the key did not exist before.
    pub created: bool,
    /// The key, where that was not known beforehand: a sequential one.
    pub key: Option<Bytes>,
    /// The lease that was granted with it.
    pub granted: Option<LeaseId>,
    /// What the value replaced, where that was asked for and the key existed. To be fetched at
    /// once: a later compaction removes it.
    pub previous: Option<Located>,
}

/// What a deletion did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteOutcome {
    /// How many keys were deleted.
    pub count: u64,
    /// What was deleted, in the order of keys, where that was asked for. To be fetched at once, and
    /// bit by bit: the values may be more than memory holds.
    pub previous: Vec<Located>,
}

/// What a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionOutcome {
    /// Whether all that was compared held.
    pub succeeded: bool,
    /// Of each operation of the branch that was taken, in order.
    pub results: Vec<OperationOutcome>,
}

/// What an operation of a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OperationOutcome {
    /// It stored a value.
    Put(PutOutcome),
    /// It deleted keys.
    Deleted(DeleteOutcome),
    /// It read; to be fetched at once. `None` in an answer that is repeated after its revision was
    /// compacted.
    Read(Option<RangePlan>),
    /// It was a transaction.
    Transaction(TransactionOutcome),
}

/// The limit that a deletion of many keys is beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeletionLimit {
    /// [`DELETED_KEYS_MAX`].
    Keys,
    /// [`DELETED_BYTES_MAX`].
    Bytes,
}

impl fmt::Display for DeletionLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys => write!(f, "more than {DELETED_KEYS_MAX} keys"),
            Self::Bytes => write!(f, "more than {} MiB of keys", DELETED_BYTES_MAX >> 20),
        }?;
        write!(f, " and counters of sequential keys")?;
        write!(f, " would be deleted at once; nothing was deleted. Delete in smaller ranges")
    }
}

/// The first condition that did not hold, and what was there instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionFailure {
    /// The condition.
    pub condition: Condition,
    /// The key for which it did not hold; `None` when a deletion found no key at all.
    pub key: Option<Bytes>,
    /// What was found; `None` when the key is absent.
    pub found: Option<Found>,
}

/// The numbers of a key that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Found {
    /// The revision that created the key.
    pub create_revision: Revision,
    /// The revision that last wrote it.
    pub mod_revision: Revision,
    /// How many times it was written since it was created.
    pub version: u64,
}

impl fmt::Display for ConditionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the condition that {} does not hold: ", self.condition)?;
        match (&self.found, &self.condition) {
            (None, _) => write!(f, "the key is absent"),
            (Some(found), Condition::Value(_)) => write!(
                f,
                "the value is another one, of version {} and mod_revision {}",
                found.version, found.mod_revision
            ),
            (Some(found), _) => write!(
                f,
                "the key has version {} and mod_revision {}",
                found.version, found.mod_revision
            ),
        }
    }
}
