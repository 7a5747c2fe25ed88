//! Why the log can not be opened or written.

use std::fmt;
use std::io;

/// What an operator can do about a data directory that lost something it had acknowledged, without
/// losing more. Part of every such message.
///
/// Each acknowledged write is on a majority of the voters. Without this node, a majority of them still
/// has at least one that holds it, and that one wins the election. With this node started from an older
/// copy, a majority may hold nothing of it. With an empty directory it gets an identity that nobody
/// recorded, and does not count.
pub const DAMAGE_ADVICE: &str = "keep the directory as it is. Never start the node with an older copy \
    of it: that would vote without what this one promised, and the cluster could lose what it \
    acknowledged. As long as a majority of the voters runs without this node, they have every \
    acknowledged write and go on. With another, empty directory the node is kept up to date and \
    serves, but never votes or counts; only a whole copy that was made after the node last stopped \
    makes it a voter again. A cluster of one voter has its writes nowhere else";

/// Why the log can not be opened, read or written. The message is for the operator: what, where,
/// and what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum WalError {
    /// The disk failed.
    Io(io::Error),
    /// The directory belongs to somebody else.
    Identity {
        /// The identity file.
        location: String,
        /// Whose the directory is.
        found: String,
        /// Who wanted to open it.
        expected: String,
    },
    /// The log is damaged in a way that no crash explains.
    Damaged {
        /// The file.
        location: String,
        /// Where in the file, in bytes.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The caller asked for something impossible.
    Invalid(String),
    /// An earlier write failed; what is on disk is unknown, and the log takes no more.
    Failed(String),
    /// The reader was asked for an entry that the log does not hold.
    Missing(String),
}

impl fmt::Display for WalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Identity { location, found, expected } => write!(
                f,
                "{location}: this data directory belongs to {found}, but was opened as {expected}; \
                 start it as what it is, or give {expected} the directory that is its own"
            ),
            Self::Damaged { location, offset, what } => write!(
                f,
                "{location}: damaged at offset {offset}: {what}. Acknowledged writes may be \
                 affected, so nothing was changed. Do not remove or cut single files; {DAMAGE_ADVICE}"
            ),
            Self::Invalid(what) => write!(f, "{what}"),
            Self::Failed(first) => write!(
                f,
                "the log takes no more writes after this failure, because what is on disk is \
                 unknown until the node is started again: {first}"
            ),
            Self::Missing(what) => write!(f, "{what}"),
        }
    }
}

impl std::error::Error for WalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for WalError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
