//! What can go wrong in a measurement, said so that the user can act on it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a measurement could not be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A flag has an impossible value; the text says what is allowed.
    Usage(String),
    /// A file, directory or socket could not be used.
    Io {
        /// What was tried, with the path or address.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A node did not do what the measurement needs.
    Node {
        /// What was expected and what happened.
        what: String,
        /// The directory with the logs of all nodes of the cluster, if there is one.
        logs: Option<PathBuf>,
        /// The last lines of the log of the node concerned.
        tail: String,
    },
    /// The user asked to stop.
    Interrupted,
}

impl Error {
    /// An I/O error with what was tried on which path.
    pub(crate) fn path(what: &str, path: &Path, source: io::Error) -> Self {
        Self::Io { what: format!("{what} {}", path.display()), source }
    }

    /// A complaint about nodes without a log to show.
    pub(crate) fn node(what: impl Into<String>) -> Self {
        Self::Node { what: what.into(), logs: None, tail: String::new() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => f.write_str(what),
            Self::Io { what, source } => write!(f, "{what}: {source}"),
            Self::Node { what, logs, tail } => {
                f.write_str(what)?;
                if !tail.is_empty() {
                    write!(f, "\nThe node's last words:\n{tail}")?;
                }
                if let Some(logs) = logs {
                    write!(f, "\nThe logs of the nodes are kept in {}", logs.display())?;
                }
                Ok(())
            }
            Self::Interrupted => f.write_str("interrupted; the child processes are stopped"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
