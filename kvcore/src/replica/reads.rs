//! Reads that wait for a barrier, and the barriers that this node obtains for others.
//!
//! All reads waiting at a flush share one attempt, under a number that was never used before: an
//! answer to an earlier attempt must not release a later read (etcd #20418). A barrier also tells
//! which writes are lost: everything that earlier terms can commit is at or before it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use consensus::{Consensus, Index, Input, Leadership, NodeId, Now, Term, Time, Token};

use super::{Conclusion, Failure, RETRY_WAIT, Replica, ReplicaEffects, ReplicaMessage};
use crate::RequestId;

/// How long to wait for an answer before asking again: the question or the answer may have been
/// lost with a connection.
const ANSWER_WAIT: Duration = Duration::from_millis(500);

/// The most barriers that other nodes may have under way here; each has one of each kind.
const ASKED_MAX: usize = 1024;

/// All reads that wait, and all barriers under way.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Reads {
    /// By kind, confirmed by a quorum or not.
    lanes: [Lane; 2],
    /// Barriers obtained: the reads that wait for an index to be applied.
    waiting_for_index: BTreeMap<Index, Vec<RequestId>>,
    waiting: BTreeMap<RequestId, Time>,
    deadlines: BTreeSet<(Time, RequestId)>,
    attempts: u64,
    /// Questions put to the protocol here, and who asked.
    asked: BTreeMap<Token, Asker>,
    /// A barrier that shows which writes are lost once it is delivered.
    settles: Option<(Index, Term)>,
}

/// The reads of one kind.
#[derive(Clone, Debug, Default, Hash)]
struct Lane {
    /// Reads without an attempt.
    unasked: Vec<RequestId>,
    attempt: Option<Attempt>,
    retry_at: Option<Time>,
}

/// A question under way.
#[derive(Clone, Debug, Hash)]
struct Attempt {
    number: u64,
    term: Term,
    reads: Vec<RequestId>,
    give_up_at: Time,
}

/// Who asked for a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Asker {
    /// This node itself.
    Here {
        /// The attempt.
        attempt: u64,
    },
    /// Another node.
    Peer {
        /// Which.
        peer: NodeId,
        /// Its attempt.
        attempt: u64,
    },
}

impl Reads {
    pub(super) fn pending(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let deadlines = self.deadlines.first().map(|&(deadline, _)| deadline);
        let lanes = self.lanes.iter().flat_map(|lane| {
            [lane.retry_at, lane.attempt.as_ref().map(|attempt| attempt.give_up_at)]
        });
        lanes.chain([deadlines]).flatten().min()
    }

    pub(super) fn take(&mut self, request: RequestId, confirmed: bool, deadline: Time) {
        let former = self.waiting.insert(request, deadline);
        assert!(former.is_none(), "a request's number is used once");
        self.deadlines.insert((deadline, request));
        self.lanes[usize::from(confirmed)].unasked.push(request);
    }

    pub(super) fn asked(&mut self, token: Token, asker: Asker) {
        if self.asked.len() < ASKED_MAX {
            self.asked.insert(token, asker);
        }
    }

    pub(super) fn answered(&mut self, token: Token) -> Option<Asker> {
        self.asked.remove(&token)
    }

    /// A peer's connection broke: whatever it asked, it will ask again.
    pub(super) fn lost(&mut self, lost: NodeId) {
        self.asked.retain(|_, asker| !matches!(asker, Asker::Peer { peer, .. } if *peer == lost));
    }

    /// Whoever was asked is not the leader any more: every question is put anew.
    pub(super) fn leadership_changed(&mut self) {
        for lane in &mut self.lanes {
            if let Some(attempt) = lane.attempt.take() {
                lane.unasked.extend(attempt.reads);
            }
            lane.retry_at = None;
        }
    }

    /// The state machine got to this index.
    pub(super) fn applied(&mut self, index: Index, out: &mut Vec<(RequestId, Conclusion)>) {
        while let Some(first) = self.waiting_for_index.first_entry() {
            if *first.key() > index {
                break;
            }
            for request in first.remove() {
                // Its time may have been up before.
                if let Some(deadline) = self.waiting.remove(&request) {
                    self.deadlines.remove(&(deadline, request));
                    out.push((request, Conclusion::ReadReady));
                }
            }
        }
    }

    /// Ends the reads whose time is up, and gives up on unanswered questions.
    pub(super) fn expire(
        &mut self,
        now: Time,
        leader_known: bool,
        out: &mut Vec<(RequestId, Conclusion)>,
    ) {
        while let Some(&(deadline, request)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            self.deadlines.pop_first();
            self.waiting.remove(&request);
            let failure = if leader_known { Failure::NoQuorum } else { Failure::NoLeader };
            out.push((request, Conclusion::Failed(failure)));
        }
        for lane in &mut self.lanes {
            if lane.attempt.as_ref().is_some_and(|attempt| attempt.give_up_at <= now) {
                let attempt = lane.attempt.take().expect("looked at just now");
                lane.unasked.extend(attempt.reads);
            }
            if lane.retry_at.is_some_and(|retry_at| retry_at <= now) {
                lane.retry_at = None;
            }
            lane.unasked.retain(|request| self.waiting.contains_key(request));
        }
    }
}

impl<C: Consensus> Replica<C> {
    /// Puts one question of each kind for all the reads that wait without one.
    pub(super) fn start_barriers(&mut self, now: Now, effects: &mut ReplicaEffects<C::Message>) {
        let Some(term) = self.leadership.term() else { return };
        for confirmed in [false, true] {
            let wanted = confirmed && self.reads.settles.is_none() && self.writes.any_before(term);
            let lane = &mut self.reads.lanes[usize::from(confirmed)];
            let idle = lane.attempt.is_none() && lane.retry_at.is_none();
            if !idle || (lane.unasked.is_empty() && !wanted) {
                continue;
            }
            self.reads.attempts += 1;
            let number = self.reads.attempts;
            let reads = std::mem::take(&mut lane.unasked);
            let give_up_at = now.time + ANSWER_WAIT;
            lane.attempt = Some(Attempt { number, term, reads, give_up_at });
            match self.leadership {
                Leadership::None => unreachable!("a term is known only with its leader"),
                Leadership::Following { leader, .. } => {
                    let message = ReplicaMessage::BarrierRequest { attempt: number, confirmed };
                    effects.messages.push((leader, message));
                }
                Leadership::Established { .. } => {
                    let token = self.next_token();
                    self.reads.asked(token, Asker::Here { attempt: number });
                    self.ask_core(now, token, confirmed, effects);
                }
            }
        }
    }

    /// Asks the protocol here for a barrier.
    pub(super) fn ask_core(
        &mut self,
        now: Now,
        token: Token,
        confirmed: bool,
        effects: &mut ReplicaEffects<C::Message>,
    ) {
        let input = if confirmed { Input::ReadBarrier { token } } else { Input::Sync { token } };
        self.step_core(now, input, effects);
    }

    /// An attempt was answered: its reads wait for the index, or for another attempt.
    pub(super) fn barrier_replied(
        &mut self,
        now: Now,
        number: u64,
        index: Option<Index>,
        effects: &mut ReplicaEffects<C::Message>,
    ) {
        let answered =
            |lane: &Lane| lane.attempt.as_ref().is_some_and(|attempt| attempt.number == number);
        let Some(confirmed) = self.reads.lanes.iter().position(answered) else { return };
        let lane = &mut self.reads.lanes[confirmed];
        let attempt = lane.attempt.take().expect("found just now");
        let Some(index) = index else {
            lane.unasked.extend(attempt.reads);
            lane.retry_at = Some(now.time + RETRY_WAIT);
            return;
        };
        if confirmed == 1 && self.writes.any_before(attempt.term) {
            self.reads.settles = Some((index, attempt.term));
        }
        if !attempt.reads.is_empty() {
            self.reads.waiting_for_index.entry(index).or_default().extend(attempt.reads);
        }
        self.reads.applied(self.applied, &mut effects.conclusions);
    }

    /// Settles the writes that a barrier shows to be lost, once everything up to it is delivered.
    pub(super) fn settle_by_barrier(&mut self) {
        if let Some((index, term)) = self.reads.settles
            && self.delivered >= index
        {
            self.reads.settles = None;
            self.writes.settle_before(term);
        }
    }
}
