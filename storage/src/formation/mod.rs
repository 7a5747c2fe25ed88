//! How a cluster forms, and how a data directory that was wiped is known.
//!
//! A voter that lost its disk has forgotten what it promised: whom it elected, which entries it
//! acknowledged. If it voted again under its old number, a majority that has forgotten could be a
//! majority, and acknowledged writes would be lost. So it is not the node's number that votes but
//! its data directory, and the cluster agrees once, before anything is written, which directory of
//! each voter that is.
//!
//! # How it goes
//!
//! Each directory durably holds a [`Formation`]: for each voter that it heard of the directory, and
//! whether the cluster is formed. On every new connection both ends tell theirs ([`Announcement`]).
//!
//! - **Bind.** A node that is not formed and hears a voter that is not formed either binds the
//!   directory of that voter: durably, before it says so, once, and never anew.
//! - **Form.** A voter forms when it has bound all voters and each of the others has said that it has
//!   bound exactly the same directories.
//! - **Adopt.** A node that is not formed and hears one that is takes over its directories.
//!
//! No connection is used for anything else until both ends have said that they are formed, with the
//! same directories. Observers bind nothing and are not bound; they adopt.
//!
//! # Laws
//!
//! - *Two formed clusters have no directory in common.* Forming with a set of directories takes the
//!   durable bindings of each of them, and each binds once. So as long as one directory of a formed
//!   cluster is left, no other cluster forms with it, and whoever meets it learns who votes.
//! - *A directory votes only if the formed cluster names it.* One that was set up anew can not be
//!   named by the cluster that its node belonged to: it was not heard of then.
//! - *A cluster forms once all its voters are up together, if none was wiped meanwhile.*
//!
//! # What it is not
//!
//! An old copy of a data directory that is put in its place has the right number and has forgotten all
//! the same; nothing here notices that.
//!
//! If all voters are wiped there is nobody left to remember, and they form a new, empty cluster. And
//! a voter that is wiped *before* the cluster formed keeps it from forming: the others have bound
//! what is no more. Nothing was written then, and [`Forming::trouble`] says what to do. To bind anew
//! by itself would need a vote about bindings, and a majority that was wiped while it formed would
//! pass for one that never had.

mod announcement;
mod file;
mod forming;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod refusal;

pub use announcement::Announcement;
pub use file::{FORMATION_FILE, FormationError, read, write};
pub use forming::{Forming, HearError};
pub use refusal::Refusal;

use std::collections::{BTreeMap, BTreeSet};

use consensus::NodeId;

use crate::identity::DirectoryId;

/// The most voters that a formation names; far more than anybody gains from.
pub const VOTERS_MAX: usize = 64;

/// What a data directory durably knows of the cluster that it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Formation {
    /// The directory of each voter that it has bound: each is set once, and never changed. When the
    /// cluster is formed, those of all voters.
    pub directories: BTreeMap<NodeId, DirectoryId>,
    /// Whether these directories are the cluster for good.
    pub formed: bool,
}

impl Formation {
    /// Whether every one of these voters is bound, and nobody else.
    #[must_use]
    pub fn is_complete(&self, voters: &BTreeSet<NodeId>) -> bool {
        self.directories.keys().eq(voters)
    }

    /// Whether the node with this data directory is a voter of the formed cluster.
    #[must_use]
    pub fn counts(&self, node: NodeId, directory: DirectoryId) -> bool {
        self.formed && self.directories.get(&node) == Some(&directory)
    }
}

/// `node 2`, or `nodes 2 and 3`.
fn names(nodes: impl IntoIterator<Item = NodeId>) -> String {
    let numbers: Vec<String> = nodes.into_iter().map(|id| id.0.to_string()).collect();
    match &numbers[..] {
        [one] => format!("node {one}"),
        [some @ .., last] => format!("nodes {} and {last}", some.join(", ")),
        [] => "no node".to_owned(),
    }
}
