//! Why the log can not be opened or written.

use std::fmt;
use std::io;

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
                 start it as what it is, or use another data directory"
            ),
            Self::Damaged { location, offset, what } => write!(
                f,
                "{location}: damaged at offset {offset}: {what}. Acknowledged writes may be \
                 affected, so nothing was changed: restore the data directory as a whole from a \
                 copy, or replace this node; do not remove or cut single files"
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
