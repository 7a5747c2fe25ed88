//! Why what a node tells of its data directory does not fit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use consensus::NodeId;

use crate::identity::DirectoryId;

/// Why what a peer tells of its data directory does not fit. Nothing is ever said to it beyond.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It was started with other voters.
    Voters {
        /// Those that it names.
        theirs: BTreeSet<NodeId>,
        /// Those that are configured here.
        ours: BTreeSet<NodeId>,
    },
    /// What it tells contradicts itself.
    Inconsistent,
    /// It belongs to a cluster that formed with other data directories.
    OtherCluster {
        /// Those of its cluster.
        theirs: BTreeMap<NodeId, DirectoryId>,
        /// Those that this one formed with, or was about to.
        ours: BTreeMap<NodeId, DirectoryId>,
    },
    /// Its cluster formed with this data directory, which however has bound other ones: it is not
    /// what it was.
    BoundOtherwise {
        /// The voter whose directory is bound otherwise here.
        voter: NodeId,
        /// What this directory has bound.
        bound: DirectoryId,
        /// What the cluster formed with.
        formed: DirectoryId,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Voters { theirs, ours } => {
                write!(
                    f,
                    "its --cluster has the voters {}, and the one here {}",
                    listed(theirs),
                    listed(ours)
                )?;
                for (only, where_) in [(theirs - ours, "there"), (ours - theirs, "here")] {
                    if !only.is_empty() {
                        write!(f, "; only {where_}: {}", listed(&only))?;
                    }
                }
                f.write_str("; start all nodes with the same voters")
            }
            Self::Inconsistent => f.write_str("what it tells of its data directory is impossible"),
            Self::OtherCluster { theirs, ours } => {
                f.write_str("its cluster formed with other data directories than this one:")?;
                for (voter, directory) in ours {
                    if let Some(other) = theirs.get(voter).filter(|other| *other != directory) {
                        write!(f, " node {} {other} there and {directory} here;", voter.0)?;
                    }
                }
                f.write_str(
                    " data directories of two clusters are mixed: stop the node that is wrong \
                     here and give it its own",
                )
            }
            Self::BoundOtherwise { voter, bound, formed } => write!(
                f,
                "its cluster formed with this data directory, and with {formed} of node {}; but \
                 here {bound} is bound for that node: this data directory is damaged, or an old \
                 copy; put the right one back",
                voter.0
            ),
        }
    }
}

impl std::error::Error for Refusal {}

fn listed(voters: &BTreeSet<NodeId>) -> String {
    let numbers: Vec<String> = voters.iter().map(|voter| voter.0.to_string()).collect();
    numbers.join(", ")
}
