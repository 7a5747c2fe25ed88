//! The forming of the cluster, as the whole node sees it: what its data directory knows, on disk and
//! in memory, and what to tell a person about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use consensus::{NodeId, Standing};
use storage::formation::{Announcement, HearError};
use storage::{DirectoryId, Formation, Forming, RealDisk, formation};
use tracing::{info, warn};

/// What a node knows of the forming of its cluster.
///
/// Taking in what a peer tells may write to the disk while the lock is held. That happens a few
/// times in the life of a data directory, and before anything else goes on here.
pub(crate) struct NodeFormation {
    disk: RealDisk,
    directory: DirectoryId,
    state: Mutex<State>,
}

struct State {
    forming: Forming,
    /// The trouble that was logged last.
    told: Option<String>,
}

/// What a node knows of the forming of its cluster, as of a moment ago.
#[derive(Clone, Debug)]
pub struct FormationStatus {
    /// Whether the cluster is formed.
    pub formed: bool,
    /// The data directory of each voter that is known.
    pub directories: BTreeMap<NodeId, DirectoryId>,
    /// Why this node does not vote, though it should, and what to do.
    pub trouble: Option<String>,
}

impl NodeFormation {
    /// Begins with what the directory knows.
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub(crate) fn open(
        disk: RealDisk,
        directory: DirectoryId,
        own: NodeId,
        voters: BTreeSet<NodeId>,
    ) -> Result<Self, String> {
        let stored = formation::read(&disk, directory).map_err(|error| error.to_string())?;
        let write = |formation: &Formation| formation::write(&disk, directory, formation);
        let forming = Forming::start(own, directory, voters, stored, write)?;
        let mut state = State { forming, told: None };
        state.tell();
        Ok(Self { disk, directory, state: Mutex::new(state) })
    }

    /// What to tell every peer.
    pub(crate) fn announcement(&self) -> Announcement {
        self.state().forming.announcement()
    }

    /// Takes in what a peer tells. Returns whether this node knows more now.
    ///
    /// # Errors
    /// When it does not fit, or what follows from it could not be written.
    pub(crate) fn hear(&self, peer: NodeId, said: &Announcement) -> Result<bool, HearError> {
        let mut state = self.state();
        let before = state.forming.clone();
        state.forming.hear(peer, said, |formation| {
            formation::write(&self.disk, self.directory, formation)
        })?;
        if !before.formation().formed && state.forming.formation().formed {
            info!("the cluster is formed: {}", listed(state.forming.formation()));
        }
        state.tell();
        Ok(before != state.forming)
    }

    /// Whether this node votes. As long as the cluster is not formed, no node does.
    pub(crate) fn standing(&self) -> Standing {
        standing(self.state().forming.counts())
    }

    /// Whether a peer that says that this is its data directory votes.
    pub(crate) fn peer_standing(&self, peer: NodeId, directory: DirectoryId) -> Standing {
        standing(self.state().forming.formation().counts(peer, directory))
    }

    /// Why this node does not vote, though it should.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.state().forming.trouble()
    }

    pub(crate) fn status(&self) -> FormationStatus {
        let state = self.state();
        let Formation { directories, formed } = state.forming.formation().clone();
        FormationStatus { formed, directories, trouble: state.forming.trouble() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl State {
    /// Logs what is wrong, once.
    fn tell(&mut self) {
        let trouble = self.forming.trouble();
        if trouble == self.told {
            return;
        }
        if let Some(trouble) = &trouble {
            if self.forming.was_wiped() || self.forming.is_blocked() {
                warn!("{trouble}");
            } else {
                info!("{trouble}");
            }
        }
        self.told = trouble;
    }
}

fn standing(counts: bool) -> Standing {
    if counts { Standing::Voter } else { Standing::Observer }
}

fn listed(formation: &Formation) -> String {
    let each = formation
        .directories
        .iter()
        .map(|(id, directory)| format!("node {} with the data directory {directory}", id.0));
    each.collect::<Vec<_>>().join(", ")
}
