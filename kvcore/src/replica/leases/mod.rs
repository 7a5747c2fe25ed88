//! Leases: the leader counts their time, and every node asks it about them. Why no lease ends early is told
//! in [`crate::lease`].
//!
//! ```text
//!   client ─▶ node ─LeaseRequest─▶ leader: a read barrier, then everything up to it is applied
//!                  ◀─LeaseReply── Renewed | MustLog | Remaining | Unknown
//!   MustLog: the node hands a Renew over, as any write, and answers when it has applied it
//! ```

mod clock;
mod questions;

use std::collections::BTreeMap;

use consensus::{Consensus, Index, Leadership, Mutant, Now, Term, Time, Token, mutant};

use super::{Replica, ReplicaEffects, ReplicaMessage};
use crate::lease::{Checkpoint, LeaseCommand, LeaseId, LeaseTime};
use crate::{Command, Progress, RequestId};

use clock::Clocks;
pub(super) use questions::{Asker, QUESTIONS_MAX};
use questions::{Batch, Questions};
pub use questions::{LeaseAnswer, LeaseQuestion};

/// Everything about leases.
#[derive(Clone, Debug, Hash)]
pub(super) struct Leases {
    clocks: Clocks,
    /// Whether an alarm stands: then nothing can be kept alive, so nothing may end either.
    stands_still: bool,
    /// The leader's office, while this node holds it.
    reign: Option<Reign>,
    /// What this node's clients ask.
    questions: Questions,
    /// What this node was asked as the leader, and waits for a barrier.
    asked: BTreeMap<Token, Batch>,
    /// The same behind the barrier, until everything up to this index is applied.
    behind_barrier: BTreeMap<Index, Vec<Batch>>,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Reign {
    term: Term,
    /// The last entry that it inherited, or that was in the log when an alarm ended: what time leases have left
    /// is known when that is applied.
    inherits: Index,
}

impl Leases {
    pub(super) fn new(
        checkpoint_interval: std::time::Duration,
        leases: Vec<(LeaseId, LeaseTime)>,
        stands_still: bool,
    ) -> Self {
        Self {
            clocks: Clocks::new(checkpoint_interval, leases),
            stands_still,
            reign: None,
            questions: Questions::default(),
            asked: BTreeMap::new(),
            behind_barrier: BTreeMap::new(),
        }
    }

    pub(super) fn pending(&self) -> usize {
        self.questions.pending()
    }

    /// When a client's time is up, or another attempt is due.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.questions.next_deadline()
    }

    /// When a lease's time is over, or a checkpoint is due.
    pub(super) fn next_clock(&self) -> Option<Time> {
        self.clocks.next()
    }

    /// Nobody counts any more what was counted in another term, and whoever asked asks anew.
    pub(super) fn leadership_changed(&mut self, leadership: Leadership, last: Index) {
        self.clocks.stop();
        self.asked.clear();
        self.behind_barrier.clear();
        self.questions.ask_again();
        self.reign = match leadership {
            Leadership::Established { term } => Some(Reign { term, inherits: last }),
            Leadership::Following { term, .. } if mutant::on(Mutant::EverybodyCounts) => {
                Some(Reign { term, inherits: last })
            }
            Leadership::None | Leadership::Following { .. } => None,
        };
    }

    /// Entries up to this one are applied, of those up to the last, and did this to leases. While an alarm
    /// stands time stands still; after it leases have what the log says is left, which is more rather than
    /// less, and says when everything is applied that was decided before.
    pub(super) fn applied(&mut self, now: Time, progress: Progress, last: Index) {
        for piece in progress.leases {
            self.clocks.hear(now, piece);
        }
        self.stands_still = !progress.alarms.is_empty();
        if progress.alarm_stood && !mutant::on(Mutant::TimeGoesOnUnderAlarm) {
            self.clocks.stop();
            if let Some(reign) = &mut self.reign {
                reign.inherits = last;
            }
        }
        self.start_if_due(now, progress.index);
    }

    /// Begins to count, if this node leads and has applied what it inherited.
    fn start_if_due(&mut self, now: Time, applied: Index) {
        let stands_still = self.stands_still && !mutant::on(Mutant::TimeGoesOnUnderAlarm);
        if !stands_still && self.reign.is_some_and(|reign| reign.inherits <= applied) {
            self.clocks.start(now);
        }
    }

    pub(super) fn take(&mut self, request: RequestId, question: LeaseQuestion, deadline: Time) {
        self.questions.take(request, question, deadline);
    }

    pub(super) fn expire(
        &mut self,
        now: Time,
        leader_known: bool,
        out: &mut Vec<(RequestId, super::Conclusion)>,
    ) {
        self.questions.expire(now, leader_known, out);
    }

    pub(super) fn lost(&mut self, peer: consensus::NodeId) {
        let is_of =
            |batch: &Batch| matches!(batch.asker, Asker::Peer { peer: of, .. } if of == peer);
        self.asked.retain(|_, batch| !is_of(batch));
        for batches in self.behind_barrier.values_mut() {
            batches.retain(|batch| !is_of(batch));
        }
    }

    /// Whether a token is that of a barrier for such questions.
    pub(super) fn answered(&mut self, token: Token) -> Option<Batch> {
        self.asked.remove(&token)
    }
}

impl<C: Consensus> Replica<C> {
    /// Asks the leader whatever waits to be asked.
    pub(super) fn ask_about_leases(&mut self, now: Now, effects: &mut ReplicaEffects<C::Message>) {
        match self.leadership {
            Leadership::None => {}
            Leadership::Following { leader, .. } => {
                if let Some((attempt, questions)) = self.leases.questions.ask(now.time) {
                    if mutant::on(Mutant::KeepaliveAnsweredHere)
                        && let Some(answers) = self.leases.clocks.renews(&questions)
                    {
                        return self.lease_replied(now, attempt, Some(answers), effects);
                    }
                    let message = ReplicaMessage::LeaseRequest { attempt, questions };
                    effects.messages.push((leader, message));
                }
            }
            Leadership::Established { .. } => {
                if let Some((attempt, questions)) = self.leases.questions.ask(now.time) {
                    let asker = Asker::Here { attempt };
                    self.asked_about_leases(now, asker, questions, effects);
                }
            }
        }
    }

    /// This node is asked as the leader, whether it is or not.
    pub(super) fn asked_about_leases(
        &mut self,
        now: Now,
        asker: Asker,
        questions: Vec<LeaseQuestion>,
        effects: &mut ReplicaEffects<C::Message>,
    ) {
        for question in questions.iter().filter(|question| question.renew) {
            // It shall not run out while the barrier is under way. If that fails, it lives a little longer.
            self.leases.clocks.extend(now.time, question.lease);
        }
        if mutant::on(Mutant::KeepaliveWithoutBarrier) {
            let batch = Batch { asker, questions };
            return self.lease_barrier(now, batch, Some(Index(0)), effects);
        }
        let token = self.next_token();
        if self.leases.asked.len() < questions::ASKED_MAX {
            self.leases.asked.insert(token, Batch { asker, questions });
            self.ask_core(now, token, true, effects);
        }
    }

    /// The barrier for some questions is at this index, or there is none.
    pub(super) fn lease_barrier(
        &mut self,
        now: Now,
        batch: Batch,
        index: Option<Index>,
        effects: &mut ReplicaEffects<C::Message>,
    ) {
        match index {
            None => self.answer_about_leases(now, batch.asker, None, effects),
            Some(index) => {
                self.leases.behind_barrier.entry(index).or_default().push(batch);
                self.answer_behind_barriers(now, effects);
            }
        }
    }

    /// Answers the questions whose barriers are applied.
    pub(super) fn answer_behind_barriers(
        &mut self,
        now: Now,
        effects: &mut ReplicaEffects<C::Message>,
    ) {
        while let Some(first) = self.leases.behind_barrier.first_entry() {
            if *first.key() > self.applied {
                return;
            }
            for Batch { asker, questions } in first.remove() {
                let clocks = &self.leases.clocks;
                let answers = questions.iter().map(|question| clocks.answer(now.time, question));
                // None of them has an answer where time is not counted.
                let answers = answers.collect::<Option<Vec<LeaseAnswer>>>();
                self.answer_about_leases(now, asker, answers, effects);
            }
        }
    }

    fn answer_about_leases(
        &mut self,
        now: Now,
        asker: Asker,
        answers: Option<Vec<LeaseAnswer>>,
        effects: &mut ReplicaEffects<C::Message>,
    ) {
        match asker {
            Asker::Peer { peer, attempt } => {
                effects.messages.push((peer, ReplicaMessage::LeaseReply { attempt, answers }));
            }
            Asker::Here { attempt } => {
                self.leases.questions.replied(now.time, attempt, answers, &mut effects.conclusions);
            }
        }
    }

    /// The leader has answered.
    pub(super) fn lease_replied(
        &mut self,
        now: Now,
        attempt: u64,
        answers: Option<Vec<LeaseAnswer>>,
        effects: &mut ReplicaEffects<C::Message>,
    ) {
        self.leases.questions.replied(now.time, attempt, answers, &mut effects.conclusions);
    }

    /// Proposes the end of leases whose time is over, and checkpoints that are due.
    pub(super) fn count_lease_time(&mut self, now: Now, effects: &mut ReplicaEffects<C::Message>) {
        let Some(Reign { term, .. }) = self.leases.reign else { return };
        // ZAB begins a reign without an entry of its own, so that everything may be applied already.
        self.leases.start_if_due(now.time, self.applied);
        while let Some((lease, renewed)) = self.leases.clocks.next_expired(now.time) {
            let command = LeaseCommand::Expire { lease, renewed, term };
            if !self.propose_about_leases(now, command, effects) {
                return self.leases.clocks.expiry_refused(now.time, lease);
            }
        }
        let checkpoints: Vec<Checkpoint> = self.leases.clocks.checkpoints_due(now.time);
        if checkpoints.is_empty() {
            return;
        }
        let leases: Vec<LeaseId> = checkpoints.iter().map(|checkpoint| checkpoint.lease).collect();
        let command = LeaseCommand::Checkpoint { leases: checkpoints };
        if !self.propose_about_leases(now, command, effects) {
            self.leases.clocks.checkpoints_refused(now.time, &leases);
        }
    }

    /// Whether the protocol took it. Such a command is never forwarded: only the leader counts.
    fn propose_about_leases(
        &mut self,
        now: Now,
        command: LeaseCommand,
        effects: &mut ReplicaEffects<C::Message>,
    ) -> bool {
        let command = Command::Lease(command);
        if mutant::on(Mutant::EverybodyCounts)
            && let Leadership::Following { leader, term } = self.leadership
        {
            let envelopes = vec![self.unasked(command)];
            effects.messages.push((leader, ReplicaMessage::Forward { term, envelopes }));
            return true;
        }
        self.propose_unasked(now, command, effects)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lease::LeaseNews;

    /// An expiry that was decided before an alarm is behind its end in the log: nobody may be told meanwhile that
    /// the lease is renewed.
    #[test]
    fn after_an_alarm_time_is_counted_when_all_is_applied_that_was_decided_before() {
        let lease = LeaseId::new(7).expect("not 0");
        let time = LeaseTime { ttl_millis: 1_000, remaining_millis: 1_000, renewed: Index(2) };
        let mut leases = Leases::new(Duration::from_secs(5), vec![], false);
        leases.leadership_changed(Leadership::Established { term: Term(1) }, Index(1));
        let up_to = |index| Progress { index: Index(index), ..Progress::default() };
        let granted = Progress { leases: vec![LeaseNews::Is(lease, time)], ..up_to(2) };
        leases.applied(Time(0), granted, Index(2));
        let later = Time(0) + Duration::from_secs(2);
        assert_eq!(
            leases.clocks.next_expired(later),
            Some((lease, Index(2))),
            "entry 5 is to end it"
        );

        let question = LeaseQuestion { lease, renew: true };
        let alarmed = Progress { alarm_stood: true, ..up_to(4) };
        leases.applied(later, alarmed, Index(5));
        assert_eq!(leases.clocks.answer(later, &question), None, "the leader does not know yet");
        let gone = Progress { leases: vec![LeaseNews::Gone(lease)], ..up_to(5) };
        leases.applied(later, gone, Index(6));
        assert_eq!(leases.clocks.answer(later, &question), Some(LeaseAnswer::Unknown));
    }
}
