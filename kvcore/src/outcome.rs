//! What became of a log entry when it was applied.

use std::fmt;

use bytes::Bytes;
use consensus::{CodecError, Position};

use crate::command::{Condition, InvalidCommand};
use crate::envelope::Header;
use crate::read::Located;
use crate::store::Revision;

/// The most keys that one deletion deletes: all of them change under one hold of the machine's lock,
/// go to the store in one transaction, and reach watchers in one piece.
pub const DELETED_KEYS_MAX: usize = 10_000;
/// The most bytes of keys that a deletion of many keys deletes.
pub const DELETED_BYTES_MAX: usize = 8 << 20;

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

/// What a command did. All but `Put`, `Deleted` and `Compacted` changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The entry carries no command.
    Nothing,
    /// The value was stored.
    Put {
        /// Whether the key did not exist before.
        created: bool,
        /// What the value replaced, where that was asked for and the key existed. To be fetched at
        /// once: a later compaction removes it.
        previous: Option<Located>,
    },
    /// The keys were deleted. When there were none, nothing changed.
    Deleted {
        /// How many.
        count: u64,
        /// What was deleted, in the order of keys, where that was asked for. To be fetched at once, and
        /// bit by bit: the values may be more than memory holds.
        previous: Vec<Located>,
    },
    /// The deletion is beyond a limit.
    DeletionTooLarge(DeletionLimit),
    /// History before the revision is forgotten.
    Compacted,
    /// A condition did not hold.
    ConditionFailed(Box<ConditionFailure>),
    /// The revision to compact to does not exist yet.
    CompactionInFuture {
        /// The revision asked for.
        requested: Revision,
        /// The store's revision.
        current: Revision,
    },
    /// The store was compacted that far already.
    AlreadyCompacted {
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
