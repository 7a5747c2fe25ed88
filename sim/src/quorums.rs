//! Nothing is decided without a quorum of voters: looked at from outside, by what is durable on the
//! voters' disks, whatever the protocol counted. So an observer that counts is noticed at once, though
//! nothing came of it yet.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{
    Consensus, Index, NodeId, PeerStatus, Pledge, Position, Protocol, Term, View, Violation,
};

use crate::node::Node;

/// What the voters ever promised durably, and what was decided and looked at.
#[derive(Debug, Default)]
pub(crate) struct Quorums {
    voters: BTreeMap<NodeId, Memory>,
    /// The terms whose leaders were accepted, and established.
    accepted: BTreeSet<Term>,
    established: BTreeSet<Term>,
    /// What is committed up to here is held by a quorum.
    committed: Index,
}

/// What a voter ever promised durably, on the disk with which the cluster formed.
#[derive(Debug, Default)]
struct Memory {
    /// Raft's votes.
    votes: BTreeSet<(Term, NodeId)>,
    /// ZAB's acceptedEpochs.
    accepted: BTreeSet<Term>,
    /// ZAB's currentEpochs.
    joined: BTreeSet<Term>,
}

impl Quorums {
    /// What is committed up to there was so before the beginning.
    pub(crate) fn new(voters: impl Iterator<Item = NodeId>, committed: Index) -> Self {
        let voters = voters.map(|id| (id, Memory::default())).collect();
        Self { voters, committed, ..Self::default() }
    }

    /// A node's promise is durable. Only those of voters count, on the disks that they had from the start.
    pub(crate) fn promised(&mut self, id: NodeId, promise: &Pledge) {
        let Some(memory) = self.voters.get_mut(&id) else { return };
        memory.accepted.insert(promise.promised);
        memory.joined.insert(promise.joined);
        memory.votes.extend(promise.vote.map(|vote| (promise.promised, vote)));
    }

    /// Looks at everything that was decided since the last time. `committed` is what is committed as far
    /// as any node knows.
    pub(crate) fn check<C: Consensus>(
        &mut self,
        views: &[View<'_>],
        committed: Index,
        nodes: &BTreeMap<NodeId, Node<C>>,
    ) -> Result<(), Violation> {
        if C::PROTOCOL == Protocol::Null {
            return Ok(());
        }
        for view in views {
            if let Some(term) = view.leading
                && self.accepted.insert(term)
            {
                let zab = view.joined.is_some();
                self.check_leader(view.id, term, |memory| {
                    if zab {
                        memory.accepted.contains(&term)
                    } else {
                        memory.votes.contains(&(term, view.id))
                    }
                })?;
            }
            if let Some(term) = view.established
                && self.established.insert(term)
                && view.joined.is_some()
            {
                self.check_leader(view.id, term, |memory| memory.joined.contains(&term))?;
            }
        }
        if committed > self.committed {
            self.committed = committed;
            let knows = views.iter().find(|view| view.log.commit() >= committed);
            let term = knows.and_then(|view| view.log.term(committed));
            let term = term.expect("somebody has just learnt that it is committed");
            return self.check_commit(Position { term, index: committed }, nodes);
        }
        Ok(())
    }

    /// Looks at what a leader takes for durable at the other voters. A voter that has promised a later
    /// term may have truncated since, and an earlier leader does not hear of it.
    pub(crate) fn check_counted<C: Consensus>(
        &self,
        leader: &View<'_>,
        peers: &[PeerStatus],
        nodes: &BTreeMap<NodeId, Node<C>>,
    ) -> Result<(), Violation> {
        let Some(reign) = leader.leading else { return Ok(()) };
        for peer in peers {
            let (Some(index), Some(memory)) = (peer.matched, self.voters.get(&peer.id)) else {
                continue;
            };
            let promised = memory.accepted.last().copied().unwrap_or_default();
            let node = &nodes[&peer.id];
            let Some(term) = leader.log.term(index) else { continue };
            let position = Position { term, index };
            if promised <= reign && !node.wiped && !node.held_as_voter(position) {
                return Err(Violation::new(
                    "a leader counts only what its followers hold",
                    format!(
                        "{} counts {position} at {}, where it is not durable",
                        leader.id, peer.id
                    ),
                ));
            }
        }
        Ok(())
    }

    fn check_leader(
        &self,
        leader: NodeId,
        term: Term,
        supports: impl Fn(&Memory) -> bool,
    ) -> Result<(), Violation> {
        let supporters = self.voters.iter().filter(|(_, memory)| supports(memory));
        let supporters: Vec<NodeId> = supporters.map(|(&id, _)| id).collect();
        self.reached(&supporters).then_some(()).ok_or_else(|| {
            Violation::new(
                "nobody leads without a quorum of voters",
                format!("{leader} leads {term} by the word of {supporters:?}"),
            )
        })
    }

    fn check_commit<C: Consensus>(
        &self,
        position: Position,
        nodes: &BTreeMap<NodeId, Node<C>>,
    ) -> Result<(), Violation> {
        let holders = self.voters.keys().copied().filter(|id| nodes[id].held_as_voter(position));
        let holders: Vec<NodeId> = holders.collect();
        self.reached(&holders).then_some(()).ok_or_else(|| {
            Violation::new(
                "nothing is committed without a quorum of voters",
                format!("{position} is committed, and durable at the voters {holders:?}"),
            )
        })
    }

    fn reached(&self, who: &[NodeId]) -> bool {
        who.len() > self.voters.len() / 2
    }
}
