//! The limits that a command is checked against.

use std::fmt;

use super::{CONDITIONS_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use super::{OPERATIONS_MAX, OPERATIONS_TOTAL_MAX};
use crate::lease::{CHECKPOINT_LEASES_MAX, LEASE_TTL_MILLIS_MAX};

/// The limit that a command violates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvalidCommand {
    /// A key has no bytes.
    KeyEmpty,
    /// A key, or an end of a range of keys, is too long.
    KeyTooLarge {
        /// Its length.
        bytes: usize,
    },
    /// A value is too long.
    ValueTooLarge {
        /// Its length.
        bytes: usize,
    },
    /// There are too many conditions.
    TooManyConditions {
        /// How many there are.
        count: usize,
    },
    /// A transaction compares or does too much: [`OPERATIONS_MAX`].
    TooManyOperations,
    /// Transactions within a transaction have too many operations in all: [`OPERATIONS_TOTAL_MAX`].
    TooManyOperationsInAll,
    /// A transaction would write a key twice.
    DuplicateKey,
    /// A read in a transaction goes on after another, which nothing in a transaction does.
    ReadWithCursor,
    /// A sequential key in a transaction: which it is could not be known beforehand.
    SequentialInTransaction,
    /// A sequential key that is to keep what is there: there is nothing.
    SequentialKeeps,
    /// The time of a lease is none, or too long.
    LeaseTime {
        /// How long, in milliseconds.
        ttl_millis: u64,
    },
    /// A checkpoint is of too many leases.
    TooManyLeases {
        /// How many.
        count: usize,
    },
}

impl fmt::Display for InvalidCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyEmpty => write!(f, "the key is empty; it needs 1 to {KEY_BYTES_MAX} bytes"),
            Self::KeyTooLarge { bytes } => {
                write!(f, "the key has {bytes} bytes; at most {KEY_BYTES_MAX} are allowed")
            }
            Self::ValueTooLarge { bytes } => {
                write!(f, "the value has {bytes} bytes; at most {VALUE_BYTES_MAX} are allowed")
            }
            Self::TooManyConditions { count } => {
                write!(f, "there are {count} conditions; at most {CONDITIONS_MAX} are allowed")
            }
            Self::TooManyOperations => write!(
                f,
                "the transaction is too large; it may have at most {OPERATIONS_MAX} comparisons, and \
                 as many operations in each branch, those within counted with those around them"
            ),
            Self::TooManyOperationsInAll => write!(
                f,
                "the transaction is too large; with all transactions within, it may have at most \
                 {OPERATIONS_TOTAL_MAX} comparisons and operations"
            ),
            Self::DuplicateKey => write!(
                f,
                "the transaction would write a key twice, or write it and delete it; each key may be \
                 changed once"
            ),
            Self::ReadWithCursor => write!(
                f,
                "a read in a transaction can not go on after another one; ask for the whole range, or \
                 read outside of the transaction"
            ),
            Self::SequentialInTransaction => {
                write!(f, "a transaction can not store a sequential key; use a put of its own")
            }
            Self::SequentialKeeps => write!(
                f,
                "a sequential key is new, so it has no value and no lease that could be kept; say which \
                 it shall have"
            ),
            Self::LeaseTime { ttl_millis } => write!(
                f,
                "a lease of {ttl_millis} ms is not possible; allowed are 1 to {LEASE_TTL_MILLIS_MAX} ms"
            ),
            Self::TooManyLeases { count } => {
                write!(f, "a checkpoint of {count} leases; allowed are {CHECKPOINT_LEASES_MAX}")
            }
        }
    }
}

impl std::error::Error for InvalidCommand {}
