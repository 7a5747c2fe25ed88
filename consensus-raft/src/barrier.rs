//! Reads that must not be stale: ReadIndex (thesis §6.4), and ZooKeeper's weaker `sync`.
//!
//! A read barrier notes the commit index when it arrives and is answered once a quorum has confirmed
//! that the leader still led afterwards. All barriers between two flushes share one round of
//! heartbeats. Every round has a number of its own and confirms only barriers that arrived before
//! it began: etcd once used the same number again for a retry, and late answers to the first
//! confirmed reads that came after them (etcd #20418).

use consensus::{Answer, Effects, Mutant, NodeId, Now, Refusal, Token, mutant};

use crate::message::RaftMessage;
use crate::node::Raft;
use crate::role::{Barrier, Role};

/// The most barriers or syncs that may wait at once.
const WAITING_MAX: usize = 1 << 16;

impl Raft {
    pub(crate) fn read_barrier(&mut self, token: Token, effects: &mut Effects<RaftMessage>) {
        let commit = self.log.commit();
        let refusal = match &mut self.role {
            Role::Leader(leader)
                if commit < leader.opening && !mutant::on(Mutant::RaftReadsBeforeOpening) =>
            {
                Refusal::NotReady
            }
            Role::Leader(leader) if leader.barriers.len() >= WAITING_MAX => Refusal::Overloaded,
            Role::Leader(leader) => {
                let reused = mutant::on(Mutant::ReusesRound);
                let round = if reused { leader.round } else { leader.round.next() };
                leader.barriers.push_back(Barrier { token, index: commit, round });
                // Alone, a leader needs nobody's word.
                self.confirm_barriers(effects);
                return;
            }
            _ => Refusal::NotLeader,
        };
        effects.answers.push(Answer::Refused { token, reason: refusal });
    }

    /// Begins a round if a barrier arrived since the last one began.
    pub(crate) fn flush_barriers(&mut self, now: Now, effects: &mut Effects<RaftMessage>) {
        let Role::Leader(leader) = &self.role else { return };
        if leader.barriers.back().is_some_and(|barrier| barrier.round > leader.round) {
            self.broadcast_heartbeats(now, effects);
        }
    }

    /// Answers the barriers whose round, or a later one, a quorum has answered.
    pub(crate) fn confirm_barriers(&mut self, effects: &mut Effects<RaftMessage>) {
        let own = self.settings.id;
        let Role::Leader(leader) = &mut self.role else { return };
        while let Some(&Barrier { token, index, round }) = leader.barriers.front() {
            let answered = |id: NodeId| {
                leader.peers.get(&id).is_some_and(|peer| peer.counts() && peer.round >= round)
            };
            let skips = mutant::on(Mutant::RaftReadsWithoutQuorum);
            if !skips && !self.quorum.reached(|id| id == own || answered(id)) {
                return;
            }
            leader.barriers.pop_front();
            effects.answers.push(Answer::Barrier { token, index });
        }
    }

    /// Notes the last entry, and answers once that is committed: on this leader's word alone.
    pub(crate) fn sync(&mut self, token: Token, effects: &mut Effects<RaftMessage>) {
        let last = self.log.last().index;
        let refusal = match &mut self.role {
            Role::Leader(leader) if leader.syncs.len() >= WAITING_MAX => Refusal::Overloaded,
            Role::Leader(leader) => {
                leader.syncs.push_back((token, last));
                self.answer_syncs(effects);
                return;
            }
            _ => Refusal::NotLeader,
        };
        effects.answers.push(Answer::Refused { token, reason: refusal });
    }

    /// Answers the syncs whose index is committed.
    pub(crate) fn answer_syncs(&mut self, effects: &mut Effects<RaftMessage>) {
        let Role::Leader(leader) = &mut self.role else { return };
        while let Some(&(token, index)) = leader.syncs.front()
            && index <= self.log.commit()
        {
            leader.syncs.pop_front();
            effects.answers.push(Answer::Barrier { token, index });
        }
    }
}
