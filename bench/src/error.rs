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
    /// The measurement was made, and showed that a promise does not hold; the text says which.
    Broken(String),
    /// The user asked to stop.
    Interrupted,
}

impl Error {
    /// An I/O error with what was tried on which path.
    pub(crate) fn path(what: &str, path: &Path, source: io::Error) -> Self {
        Self::Io { what: format!("{what} {}", path.display()), source }
    }

    /// The same error about a directory, with what to do: choose another one.
    pub(crate) fn or_choose(self, flag: &str) -> Self {
        match self {
            Self::Io { what, source } => {
                let kind = source.kind();
                let advice = format!("{source}; choose another with {flag}");
                Self::Io { what, source: io::Error::new(kind, advice) }
            }
            error => error,
        }
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
            Self::Broken(what) => write!(f, "a promise is broken: {what}"),
            Self::Io { what, source } => write!(f, "{what}: {source}"),
            Self::Node { what, logs, tail } => {
                f.write_str(what)?;
                if !tail.is_empty() {
                    write!(f, "\nThe node's last words:\n{tail}")?;
                }
                if let Some(advice) = advice(tail) {
                    write!(f, "\n{advice}")?;
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

/// What the user can do about what a node said last.
fn advice(tail: &str) -> Option<&'static str> {
    if tail.contains("No space left on device") {
        Some("The disk is full: make room, or choose another with --data-dir.")
    } else if tail.to_lowercase().contains("address already in use") {
        Some("Another program took a port that was free a moment ago: run it again.")
    } else {
        None
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_taken_port_come_with_what_to_do() {
        let said = |tail: &str| {
            let tail = tail.to_owned();
            Error::Node { what: "node 1 ended".to_owned(), logs: None, tail }.to_string()
        };
        let full =
            said("duorum: /data/spare-0.tmp: reserving: No space left on device (os error 28)");
        assert!(full.ends_with("choose another with --data-dir."), "{full}");
        let taken = said("duorum: can not answer HTTP: Address already in use (os error 98)");
        assert!(taken.ends_with("run it again."), "{taken}");
        assert!(said("anything else").ends_with("anything else"));
    }
}
