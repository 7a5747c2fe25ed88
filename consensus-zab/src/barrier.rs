//! Reads that see everything committed before them, and ZooKeeper's weaker `sync`.
//!
//! ZooKeeper answers reads from whatever server is asked. Its `sync` makes that server catch up with
//! the leader, but on the leader's word alone: a leader that was deposed and does not know it yet
//! answers with what it has (ZOOKEEPER-1675). The read barrier closes that gap. The leader notes what
//! is committed, asks a quorum whether it is still followed, and answers when a quorum has said so
//! *after* it was asked: then nobody else can have committed anything before the read arrived.
//!
//! Each attempt has a number of its own, so that a late answer to one never counts for a later one.
//! Reads that arrive together share one.

use std::collections::VecDeque;

use consensus::{Answer, Index, Mutant, NodeId, Refusal, Token, mutant};

use crate::message::{Session, ZabMessage};
use crate::node::Context;
use crate::role::{Flow, Following, Leading, STAY, Stage, look};

/// How many reads may wait for a quorum's word, and likewise how many `sync` requests for a commit.
const WAITING_MAX: usize = 1 << 16;

/// How many rounds may be under way. Reads beyond wait for the next free one.
const ROUNDS_MAX: usize = 64;

/// The reads that wait at a leader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Barriers {
    /// The last round begun.
    round: u64,
    /// The reads that no round covers yet, with what was committed when they arrived.
    fresh: Vec<(Token, Index)>,
    /// The rounds under way with their reads.
    under_way: VecDeque<(u64, Vec<(Token, Index)>)>,
    /// The reads that wait in either.
    waiting: usize,
}

impl Barriers {
    /// The tokens of all that wait.
    pub(crate) fn into_tokens(self) -> impl Iterator<Item = Token> {
        let rounds = self.under_way.into_iter().flat_map(|(_, reads)| reads);
        rounds.chain(self.fresh).map(|(token, _)| token)
    }

    /// Answers every round that a quorum has confirmed.
    fn answer(&mut self, cx: &mut Context<'_>, confirmed: impl Fn(NodeId) -> u64) {
        while let Some((round, _)) = self.under_way.front() {
            let round = *round;
            let me = cx.core.id();
            if !cx.core.quorum.reached(|id| id == me || confirmed(id) >= round) {
                return;
            }
            let (_, reads) = self.under_way.pop_front().expect("looked at just now");
            self.waiting -= reads.len();
            for (token, index) in reads {
                cx.effects.answers.push(Answer::Barrier { token, index });
            }
        }
    }
}

impl Leading {
    /// A read wants to see everything committed before now.
    pub(crate) fn read_barrier(&mut self, cx: &mut Context<'_>, token: Token) -> Flow {
        let refusal = if self.established().is_none() {
            Some(Refusal::NotLeader)
        } else if self.barriers.waiting >= WAITING_MAX {
            Some(Refusal::Overloaded)
        } else {
            None
        };
        if let Some(reason) = refusal {
            cx.effects.answers.push(Answer::Refused { token, reason });
            return STAY;
        }
        let index = cx.core.log.commit();
        let me = cx.core.id();
        let skips = mutant::on(Mutant::ZabReadsWithoutQuorum);
        if skips || cx.core.quorum.reached(|id| id == me) {
            cx.effects.answers.push(Answer::Barrier { token, index });
            return STAY;
        }
        self.barriers.waiting += 1;
        match self.barriers.under_way.back_mut() {
            Some((_, reads)) if mutant::on(Mutant::ReusesRound) => reads.push((token, index)),
            _ => self.barriers.fresh.push((token, index)),
        }
        STAY
    }

    /// Begins a round for the reads that arrived since the last one, and asks every learner that has
    /// joined and was not asked yet: one that joins later is as good a witness as any.
    pub(crate) fn ask_barrier(&mut self, cx: &mut Context<'_>) {
        if !self.barriers.fresh.is_empty() && self.barriers.under_way.len() < ROUNDS_MAX {
            self.barriers.round += 1;
            let reads = std::mem::take(&mut self.barriers.fresh);
            self.barriers.under_way.push_back((self.barriers.round, reads));
        }
        if self.barriers.under_way.is_empty() {
            return;
        }
        let round = self.barriers.round;
        let mut asked = Vec::new();
        for (&peer, learner) in &mut self.learners {
            if learner.barrier_asked < round && learner.counted().is_some() {
                learner.barrier_asked = round;
                learner.carry_commit();
                asked.push((peer, learner.session));
            }
        }
        for (peer, session) in asked {
            // So that whoever asked has not to wait for it; most often this was told already.
            self.tell_committed(cx, peer);
            cx.send(peer, ZabMessage::Barrier { session, round });
        }
    }

    /// A learner confirms that it followed when it was asked.
    pub(crate) fn barrier_confirmed(
        &mut self,
        cx: &mut Context<'_>,
        peer: NodeId,
        session: Session,
        round: u64,
    ) {
        let last = self.barriers.round;
        let Some(learner) = self.learner(peer, session) else { return };
        if learner.counted().is_none() || round > last {
            return;
        }
        learner.barrier_confirmed = learner.barrier_confirmed.max(round);
        let learners = &self.learners;
        self.barriers
            .answer(cx, |id| learners.get(&id).map_or(0, |learner| learner.barrier_confirmed));
    }

    /// ZooKeeper's `sync`: answered once everything proposed before it is committed, without asking
    /// anybody.
    pub(crate) fn sync(&mut self, cx: &mut Context<'_>, token: Token) -> Flow {
        let last = cx.core.log.last().index;
        let answer = if self.established().is_none() {
            Answer::Refused { token, reason: Refusal::NotLeader }
        } else if cx.core.log.commit() >= last {
            Answer::Barrier { token, index: last }
        } else if self.syncs.len() >= WAITING_MAX {
            Answer::Refused { token, reason: Refusal::Overloaded }
        } else {
            self.syncs.push_back((last, token));
            return STAY;
        };
        cx.effects.answers.push(answer);
        STAY
    }

    /// Answers the `sync` requests whose proposals are committed.
    pub(crate) fn answer_syncs(&mut self, cx: &mut Context<'_>) {
        while let Some(&(index, token)) = self.syncs.front() {
            if index > cx.core.log.commit() {
                return;
            }
            self.syncs.pop_front();
            cx.effects.answers.push(Answer::Barrier { token, index });
        }
    }
}

impl Following {
    /// The leader asks whether it is still followed.
    pub(crate) fn barrier_asked(&mut self, round: u64) -> Flow {
        let leader = self.leader;
        let (Stage::Joined { .. } | Stage::Broadcast { .. }) = self.stage else {
            return look(format!("{leader} asked for a barrier out of turn"));
        };
        self.barrier = self.barrier.max(Some(round));
        STAY
    }
}
