//! The state of one node while its cluster forms, and after.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use consensus::NodeId;

use super::{Announcement, Formation, Refusal, names};
use crate::identity::DirectoryId;

/// What one node knows of its cluster, and how that changes. It decides and remembers; the caller
/// carries what it tells, and writes what it must not forget.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Forming {
    own: NodeId,
    directory: DirectoryId,
    /// The voters as configured.
    voters: BTreeSet<NodeId>,
    formation: Formation,
    /// What each other node told last, since this start. Empty once the cluster is formed.
    heard: BTreeMap<NodeId, Announcement>,
}

/// Why what a peer told did not lead further.
#[derive(Debug)]
pub enum HearError {
    /// It does not fit; the connection is of no use.
    Refused(Refusal),
    /// What must not be forgotten could not be written. The node must stop.
    Io(io::Error),
}

impl Forming {
    /// Begins with what the directory knows. `write` makes durable what it has to know from now on,
    /// and is called only if that is something else.
    ///
    /// # Errors
    /// When the configured voters are not those with which the directory began, in words that say what
    /// to do; and when the writing fails.
    pub fn start(
        own: NodeId,
        directory: DirectoryId,
        voters: BTreeSet<NodeId>,
        stored: Formation,
        write: impl FnOnce(&Formation) -> io::Result<()>,
    ) -> Result<Self, String> {
        check_voters(&voters, &stored)?;
        let mut next = stored.clone();
        if voters.contains(&own) && !next.formed {
            let bound = *next.directories.entry(own).or_insert(directory);
            assert_eq!(bound, directory, "a directory binds itself for its own node");
        }
        // A lone voter has nobody to agree with.
        next.formed |= voters.iter().eq([&own]);
        if next != stored {
            write(&next).map_err(|error| error.to_string())?;
        }
        Ok(Self { own, directory, voters, formation: next, heard: BTreeMap::new() })
    }

    /// What to tell every peer. It is durable.
    #[must_use]
    pub fn announcement(&self) -> Announcement {
        Announcement {
            directory: self.directory,
            voters: self.voters.clone(),
            formation: self.formation.clone(),
        }
    }

    /// What is durably known.
    #[must_use]
    pub fn formation(&self) -> &Formation {
        &self.formation
    }

    /// Whether this node votes: the cluster is formed, and this data directory is the one it formed
    /// with.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.formation.counts(self.own, self.directory)
    }

    /// Whether this node was a voter and lost its data directory.
    #[must_use]
    pub fn was_wiped(&self) -> bool {
        self.formation.formed && self.voters.contains(&self.own) && !self.counts()
    }

    /// Whether the cluster can not form, because a voter's directory is another than the one first
    /// heard of.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        !self.formation.formed && self.replaced().is_some()
    }

    /// Takes in what a peer tells. `write` makes durable what follows, if anything does, before it
    /// counts here.
    ///
    /// # Errors
    /// When it does not fit, and when the writing fails.
    pub fn hear(
        &mut self,
        peer: NodeId,
        said: &Announcement,
        write: impl FnOnce(&Formation) -> io::Result<()>,
    ) -> Result<(), HearError> {
        let next = self.next(peer, said).map_err(HearError::Refused)?;
        if next != self.formation {
            assert!(!self.formation.formed, "a formed cluster never changes its directories");
            write(&next).map_err(HearError::Io)?;
            self.formation = next;
        }
        if self.formation.formed {
            self.heard.clear();
        } else {
            self.heard.insert(peer, said.clone());
        }
        Ok(())
    }

    /// What this node durably knows after it heard this.
    fn next(&self, peer: NodeId, said: &Announcement) -> Result<Formation, Refusal> {
        self.check(peer, said)?;
        match (self.formation.formed, said.formation.formed) {
            (true, true) if said.formation != self.formation => Err(self.other_cluster(said)),
            (true, _) => Ok(self.formation.clone()),
            (false, true) => self.adopt(said),
            (false, false) => Ok(self.bind(peer, said)),
        }
    }

    /// Whether it was started alike, and does not contradict itself.
    fn check(&self, peer: NodeId, said: &Announcement) -> Result<(), Refusal> {
        if said.voters != self.voters {
            let (theirs, ours) = (said.voters.clone(), self.voters.clone());
            return Err(Refusal::Voters { theirs, ours });
        }
        let Formation { directories, formed } = &said.formation;
        let possible = if *formed {
            said.formation.is_complete(&self.voters)
        } else {
            directories.keys().all(|voter| self.voters.contains(voter))
                && directories.get(&peer).is_none_or(|bound| *bound == said.directory)
        };
        if possible { Ok(()) } else { Err(Refusal::Inconsistent) }
    }

    /// Binds the directory of a peer, if it is a voter of which none is bound, and forms the cluster
    /// if nothing else is missing.
    fn bind(&self, peer: NodeId, said: &Announcement) -> Formation {
        let mut next = self.formation.clone();
        if !self.voters.contains(&self.own) {
            return next;
        }
        if self.voters.contains(&peer) {
            next.directories.entry(peer).or_insert(said.directory);
        }
        let told = |voter| if voter == peer { Some(said) } else { self.heard.get(&voter) };
        next.formed = next.is_complete(&self.voters)
            && self
                .others()
                .all(|voter| told(voter).is_some_and(|said| agrees(said, voter, &next)));
        next
    }

    /// Takes over the directories of a formed cluster.
    ///
    /// If this one is among them, the cluster could not form without its bindings, so they are the
    /// same, or it forgot them. If it is not, it never votes, whatever it has bound. That can not
    /// take part in another formed cluster either, unless all of *its* directories are others: then
    /// two clusters meet that have nothing in common, and neither may swallow the other.
    fn adopt(&self, said: &Announcement) -> Result<Formation, Refusal> {
        let bound = &self.formation.directories;
        let formed = &said.formation.directories;
        if said.formation.counts(self.own, self.directory) {
            let other = bound.iter().find(|(voter, directory)| formed[*voter] != **directory);
            if let Some((&voter, &bound)) = other {
                return Err(Refusal::BoundOtherwise { voter, bound, formed: formed[&voter] });
            }
        } else if self.formation.is_complete(&self.voters)
            && bound.iter().all(|(voter, directory)| formed[voter] != *directory)
        {
            return Err(self.other_cluster(said));
        }
        Ok(said.formation.clone())
    }

    fn other_cluster(&self, said: &Announcement) -> Refusal {
        Refusal::OtherCluster {
            theirs: said.formation.directories.clone(),
            ours: self.formation.directories.clone(),
        }
    }

    fn others(&self) -> impl Iterator<Item = NodeId> {
        self.voters.iter().copied().filter(|voter| *voter != self.own)
    }

    /// Why this node does not vote, though it should, and what to do: in a sentence for `/readyz` and
    /// the log. `None` when all is well.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        if self.was_wiped() {
            return Some(self.wiped());
        }
        if self.formation.formed {
            return None;
        }
        if !self.voters.contains(&self.own) {
            return Some("waiting to hear from a node of the formed cluster".to_owned());
        }
        if let Some(replaced) = self.replaced() {
            return Some(replaced);
        }
        let unheard = self.unheard();
        if !unheard.is_empty() {
            return Some(format!(
                "waiting for {} to form the cluster: each voter must be up once before anything is \
                 written",
                names(unheard)
            ));
        }
        let unagreed =
            self.others().filter(|voter| !agrees(&self.heard[voter], *voter, &self.formation));
        Some(format!("forming the cluster: waiting for {} to agree", names(unagreed)))
    }

    fn unheard(&self) -> Vec<NodeId> {
        self.others().filter(|voter| !self.heard.contains_key(voter)).collect()
    }

    fn wiped(&self) -> String {
        let formed = self.formation.directories[&self.own];
        format!(
            "the data directory of node {} is {}, but the cluster formed with {formed}: it was wiped \
             or replaced. What it had promised is forgotten, so this node is kept up to date and \
             serves reads, watches and writes, but never votes, acknowledges or counts for a quorum. \
             To make it a voter again, stop it and put the old data directory back; if that is gone, \
             it stays so: this version can not change who votes",
            self.own.0, self.directory
        )
    }

    /// Says which voter's directory is another than the one first heard of, here or at a peer: then
    /// the cluster can not form.
    fn replaced(&self) -> Option<String> {
        let mut witnesses = self.heard.iter().flat_map(|(witness, said)| {
            let told = self.formation.directories.iter().filter_map(move |(voter, first)| {
                // Of itself a node knows best.
                let other = if voter == witness {
                    said.directory
                } else {
                    *said.formation.directories.get(voter)?
                };
                (other != *first).then_some((*voter, *first, other))
            });
            told.map(|(voter, first, other)| (*witness, voter, first, other))
        });
        let (witness, voter, first, other) = witnesses.next()?;
        let what = if voter == witness {
            format!(
                "node {} has the data directory {other}, but the first heard of was {first}",
                voter.0
            )
        } else if voter == self.own {
            format!(
                "this node has the data directory {first}, but the first that node {} heard of was \
                 {other}",
                witness.0
            )
        } else {
            format!(
                "node {} has another data directory than the one first heard of: {first} was here, \
                 {other} at node {}",
                voter.0, witness.0
            )
        };
        let unheard = self.unheard();
        let first_of_all = if unheard.is_empty() {
            "No voter has formed the cluster, so nothing was written yet".to_owned()
        } else {
            format!(
                "No voter heard of has formed the cluster, so nothing was written yet unless by {}, \
                 not heard of: start what is missing before you remove anything",
                names(unheard)
            )
        };
        Some(format!(
            "the cluster can not form: {what}. {first_of_all}. Put the old data directory of node {} \
             back, or stop all nodes, remove the data directories of all voters, and start again",
            voter.0
        ))
    }
}

/// Whether a voter has said that it has bound exactly these directories, its own among them.
fn agrees(said: &Announcement, voter: NodeId, formation: &Formation) -> bool {
    said.formation.directories == formation.directories
        && formation.directories.get(&voter) == Some(&said.directory)
}

/// A directory that began with some voters can not go on with others.
fn check_voters(voters: &BTreeSet<NodeId>, stored: &Formation) -> Result<(), String> {
    let known: BTreeSet<NodeId> = stored.directories.keys().copied().collect();
    if stored.formed && known != *voters {
        return Err(format!(
            "--cluster has {} as voters, but the cluster formed with {}: this version can not change \
             who votes; start with the same voters",
            names(voters.iter().copied()),
            names(known)
        ));
    }
    let gone: Vec<NodeId> = known.difference(voters).copied().collect();
    if !gone.is_empty() {
        return Err(format!(
            "--cluster does not have {} as voters, which this data directory has heard of as such \
             while the cluster was forming; start with the same voters, or, as long as no node was \
             ever ready, remove all data directories and start again",
            names(gone)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod walk;
