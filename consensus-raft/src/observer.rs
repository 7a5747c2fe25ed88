//! Observers: nodes that are synchronized and never count. The dissertation calls them non-voting
//! servers (§4.2.1), etcd learners.
//!
//! An observer is a follower that hears its leader and nobody else. It takes AppendEntries and
//! InstallSnapshot and answers them and heartbeats as followers do, so that it is sent what it lacks
//! within the same window; its answers move nothing but that window. It does not vote, is not asked,
//! and never campaigns. When its leader falls silent, it waits for the next one.
//!
//! A voter that has lost its memory is one too. It may have voted in a term that it does not
//! remember, or acknowledged entries that it does not hold any more, so whatever a leader had counted
//! of it is forgotten, and a quorum must be found without it. The number that a quorum takes stays.

use consensus::{Effects, Mutant, NodeId, Now, Progress, Standing, Timer, mutant};

use crate::message::RaftMessage;
use crate::node::Raft;
use crate::role::{Intent, Peer, Role};

impl Peer {
    /// Whether what the peer says counts.
    pub(crate) fn counts(&self) -> bool {
        self.standing == Standing::Voter || mutant::on(Mutant::ObserverCounts)
    }
}

impl Raft {
    /// Whether this node neither votes nor counts.
    pub(crate) fn observes(&self) -> bool {
        self.settings.observes()
    }

    /// The peer's standing by its last connection; before the first one, by the configuration.
    pub(crate) fn standing(&self, peer: NodeId) -> Standing {
        let connection = self.connections.get(&peer);
        let connected_as = connection.map_or(Standing::Voter, |connection| connection.standing);
        self.settings.standing_of(peer, connected_as)
    }

    /// Whether a peer could vote for this node now.
    pub(crate) fn can_vote(&self, peer: NodeId) -> bool {
        self.connections.get(&peer).is_some_and(|peer| peer.up && peer.standing == Standing::Voter)
    }

    /// Whether a message may have an effect, by who sent it and what this node is: observers are led,
    /// and answer, and say and hear nothing else.
    pub(crate) fn admits(&self, peer: NodeId, message: &RaftMessage) -> bool {
        let voter = self.standing(peer) == Standing::Voter;
        match message {
            RaftMessage::AppendEntries { .. }
            | RaftMessage::InstallSnapshot { .. }
            | RaftMessage::Heartbeat { .. } => voter,
            RaftMessage::AppendEntriesResponse { .. } | RaftMessage::HeartbeatResponse { .. } => {
                !self.observes()
            }
            RaftMessage::PreVote { .. }
            | RaftMessage::PreVoteResponse { .. }
            | RaftMessage::RequestVote { .. }
            | RaftMessage::RequestVoteResponse { .. }
            | RaftMessage::TimeoutNow { .. } => voter && !self.observes(),
        }
    }

    /// A peer is connected as an observer: nothing of it counts, and it may hold anything.
    pub(crate) fn forget_counted(&mut self, peer: NodeId) {
        let next = self.log.last().index.next();
        match &mut self.role {
            Role::Leader(leader) => {
                if let Some(peer) = leader.peers.get_mut(&peer) {
                    peer.progress = Progress::probing(next);
                }
            }
            Role::PreCandidate(candidate) => {
                candidate.granted.remove(&peer);
            }
            Role::Candidate(candidate) => {
                candidate.granted.remove(&peer);
            }
            Role::Follower(_) => {}
        }
    }

    /// This node counts from now on. Whom it followed it follows; without a leader it campaigns like
    /// any other.
    pub(crate) fn become_voter(&mut self, now: Now, effects: &mut Effects<RaftMessage>) {
        self.settings.become_voter();
        let alone = self.settings.voters.len() == 1;
        let Role::Follower(follower) = &mut self.role else {
            unreachable!("observers are followers in all but their standing")
        };
        if alone {
            // There is nobody to wait for.
            follower.intent = Some(Intent::NoLeader);
            self.timers.set(Timer::Election, now.time);
        } else if follower.intent.is_some() {
            self.wait_before_campaign(now, 0);
        } else {
            self.timers.set(Timer::Election, follower.detector.deadline());
        }
        self.tell_role("it has become a voter".to_owned(), effects);
    }
}
