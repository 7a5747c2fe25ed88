//! The leader's clocks, one for each lease.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use consensus::{Index, Mutant, Time, mutant};

use super::questions::{LeaseAnswer, LeaseQuestion};
use crate::lease::{CHECKPOINT_LEASES_MAX, Checkpoint, LeaseId, LeaseNews, LeaseTime};
use crate::replica::RETRY_WAIT;

/// The most expiries that are proposed and not applied.
const EXPIRING_MAX: usize = 256;
/// Checkpoints are made together: the first that is due waits this part of the interval, if some were made
/// just before.
const ROUND_DIVISOR: u32 = 8;

/// What is known of all leases and, at the leader, when their time is over.
#[derive(Clone, Debug, Hash)]
pub(super) struct Clocks {
    checkpoint_interval: Duration,
    leases: BTreeMap<LeaseId, Known>,
    /// Whether this node counts.
    counting: bool,
    /// When the time of a lease is over.
    due: BTreeSet<(Time, LeaseId)>,
    /// When a lease has so much less time than the log says that the log is to say it.
    checkpoints: BTreeSet<(Time, LeaseId)>,
    /// No checkpoints are made before.
    next_round: Time,
    /// Leases whose expiry is proposed.
    expiring: usize,
}

/// A lease.
#[derive(Clone, Debug, Hash)]
struct Known {
    /// What the log says, as far as it is applied here.
    time: LeaseTime,
    clock: Option<Clock>,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Clock {
    expires_at: Time,
    /// Its place in the set of checkpoints.
    checkpoint_at: Option<Time>,
    /// Its expiry is proposed.
    is_expiring: bool,
    /// A checkpoint of it is proposed.
    is_checkpointing: bool,
}

impl Clocks {
    pub(super) fn new(checkpoint_interval: Duration, leases: Vec<(LeaseId, LeaseTime)>) -> Self {
        let known = |time| Known { time, clock: None };
        Self {
            checkpoint_interval,
            leases: leases.into_iter().map(|(lease, time)| (lease, known(time))).collect(),
            counting: false,
            due: BTreeSet::new(),
            checkpoints: BTreeSet::new(),
            next_round: Time(0),
            expiring: 0,
        }
    }

    /// The next time at which something is to be done.
    pub(super) fn next(&self) -> Option<Time> {
        let expiry = self.due.first().filter(|_| self.expiring < EXPIRING_MAX);
        let checkpoint = self.checkpoints.first().map(|(due, _)| (*due).max(self.next_round));
        expiry.map(|(due, _)| *due).into_iter().chain(checkpoint).min()
    }

    /// This node does not count any more.
    pub(super) fn stop(&mut self) {
        if !self.counting {
            return;
        }
        self.counting = false;
        self.due.clear();
        self.checkpoints.clear();
        self.expiring = 0;
        for known in self.leases.values_mut() {
            known.clock = None;
        }
    }

    /// Begins to count, with what the log says is left.
    pub(super) fn start(&mut self, now: Time) {
        if self.counting {
            return;
        }
        self.counting = true;
        self.next_round = now;
        let leases: Vec<LeaseId> = self.leases.keys().copied().collect();
        for lease in leases {
            self.set(now, lease);
        }
    }

    /// The log says something of leases.
    pub(super) fn hear(&mut self, now: Time, news: LeaseNews) {
        match news {
            LeaseNews::All(leases) => {
                assert!(!self.counting, "who leads installs no snapshot");
                *self = Self::new(self.checkpoint_interval, leases);
            }
            LeaseNews::Gone(lease) => self.remove(lease),
            LeaseNews::Is(lease, time) => self.hear_of(now, lease, time),
        }
    }

    fn hear_of(&mut self, now: Time, lease: LeaseId, time: LeaseTime) {
        match self.leases.get_mut(&lease) {
            // Of the same renewal there is nothing to hear but a checkpoint.
            Some(known) if known.time.renewed == time.renewed => {
                known.time = time;
                match &mut known.clock {
                    Some(clock) if clock.is_expiring => clock.is_checkpointing = false,
                    Some(clock) => {
                        let expires_at = clock.expires_at;
                        self.place(lease, expires_at, false);
                    }
                    None => {}
                }
            }
            _ => {
                self.remove(lease);
                self.leases.insert(lease, Known { time, clock: None });
                if self.counting {
                    self.set(now, lease);
                }
            }
        }
    }

    fn remove(&mut self, lease: LeaseId) {
        let Some(known) = self.leases.remove(&lease) else { return };
        self.forget_clock(lease, known.clock);
    }

    fn forget_clock(&mut self, lease: LeaseId, clock: Option<Clock>) {
        let Some(clock) = clock else { return };
        self.due.remove(&(clock.expires_at, lease));
        self.expiring -= usize::from(clock.is_expiring);
        if let Some(at) = clock.checkpoint_at {
            self.checkpoints.remove(&(at, lease));
        }
    }

    /// Sets a clock to what the log says is left.
    fn set(&mut self, now: Time, lease: LeaseId) {
        let known = &self.leases[&lease];
        self.place(lease, now + Duration::from_millis(known.time.remaining_millis), false);
    }

    /// Sets the clock of a lease whose end is not proposed.
    fn place(&mut self, lease: LeaseId, expires_at: Time, is_checkpointing: bool) {
        let known = self.leases.get_mut(&lease).expect("the caller has seen it");
        let former = known.clock.take();
        let logged = Duration::from_millis(known.time.remaining_millis);
        // The log says too much by the interval when that much of what it says has passed.
        let checkpoint_at = logged.checked_sub(self.checkpoint_interval);
        let checkpoint_at = checkpoint_at
            .filter(|rest| !rest.is_zero() && !is_checkpointing)
            .map(|rest| before(expires_at, rest));
        known.clock =
            Some(Clock { expires_at, checkpoint_at, is_expiring: false, is_checkpointing });
        self.forget_clock(lease, former);
        self.due.insert((expires_at, lease));
        if let Some(at) = checkpoint_at {
            self.checkpoints.insert((at, lease));
        }
    }

    /// A client was heard of: the lease has all of its time from now on, unless its end is proposed. What
    /// the client is told is another matter.
    pub(super) fn extend(&mut self, now: Time, lease: LeaseId) {
        let Some(known) = self.leases.get(&lease) else { return };
        let Some(clock) = known.clock.filter(|clock| !clock.is_expiring) else { return };
        let expires_at = now + Duration::from_millis(known.time.ttl_millis);
        self.place(lease, expires_at, clock.is_checkpointing);
    }

    /// The answer to a question, where this node counts. Everything up to the question's barrier is applied.
    pub(super) fn answer(&self, now: Time, question: &LeaseQuestion) -> Option<LeaseAnswer> {
        if !self.counting {
            return None;
        }
        let Some(known) = self.leases.get(&question.lease) else {
            return Some(LeaseAnswer::Unknown);
        };
        let LeaseTime { ttl_millis, remaining_millis, .. } = known.time;
        let clock = known.clock.expect("a lease has its clock where time is counted");
        Some(if !question.renew {
            LeaseAnswer::Remaining { ttl_millis, remaining_millis: left(clock.expires_at, now) }
        } else if remaining_millis < ttl_millis && !mutant::on(Mutant::KeepaliveNeverLogged)
            || clock.is_expiring && !mutant::on(Mutant::KeepaliveBesideExpiry)
            || clock.is_checkpointing
        {
            LeaseAnswer::MustLog
        } else {
            LeaseAnswer::Renewed { ttl_millis }
        })
    }

    /// What a node would say that takes itself for the judge of leases.
    pub(super) fn renews(&self, questions: &[LeaseQuestion]) -> Option<Vec<LeaseAnswer>> {
        let answer = |question: &LeaseQuestion| {
            let known = self.leases.get(&question.lease).filter(|_| question.renew)?;
            Some(LeaseAnswer::Renewed { ttl_millis: known.time.ttl_millis })
        };
        questions.iter().map(answer).collect()
    }

    /// A lease whose time is over, and the entry that renewed it last: its expiry is being proposed now.
    pub(super) fn next_expired(&mut self, now: Time) -> Option<(LeaseId, Index)> {
        if self.expiring >= EXPIRING_MAX {
            return None;
        }
        let (due, lease) = self.due.first().copied().filter(|(due, _)| *due <= now)?;
        self.due.remove(&(due, lease));
        let known = self.leases.get_mut(&lease).expect("what is due is there");
        let clock = known.clock.as_mut().expect("what is due has a clock");
        clock.is_expiring = true;
        self.expiring += 1;
        if let Some(at) = clock.checkpoint_at.take() {
            self.checkpoints.remove(&(at, lease));
        }
        Some((lease, known.time.renewed))
    }

    /// The expiry was refused: it is tried again in a while. A checkpoint that was proposed before may still
    /// be under way. The proposal itself may have ended the reign, as the one behind an epoch's last zxid
    /// does: then nobody counts here any more.
    pub(super) fn expiry_refused(&mut self, now: Time, lease: LeaseId) {
        let Some(clock) = self.leases.get(&lease).and_then(|known| known.clock) else { return };
        self.place(lease, now + RETRY_WAIT, clock.is_checkpointing);
    }

    /// The checkpoints to be proposed now.
    pub(super) fn checkpoints_due(&mut self, now: Time) -> Vec<Checkpoint> {
        let mut due = Vec::new();
        if now < self.next_round {
            return due;
        }
        while due.len() < CHECKPOINT_LEASES_MAX
            && let Some(&(at, lease)) = self.checkpoints.first()
            && at <= now
        {
            self.checkpoints.remove(&(at, lease));
            let known = self.leases.get_mut(&lease).expect("what is due is there");
            let clock = known.clock.as_mut().expect("what is due has a clock");
            clock.checkpoint_at = None;
            clock.is_checkpointing = true;
            let remaining_millis = left(clock.expires_at, now);
            due.push(Checkpoint { lease, renewed: known.time.renewed, remaining_millis });
        }
        if !due.is_empty() {
            self.next_round = now + self.checkpoint_interval / ROUND_DIVISOR;
        }
        due
    }

    /// Checkpoints were refused: they are tried again with the next round.
    pub(super) fn checkpoints_refused(&mut self, now: Time, leases: &[LeaseId]) {
        self.next_round = now + RETRY_WAIT;
        for &lease in leases {
            let expires_at = self.leases.get(&lease).and_then(|known| known.clock);
            let Some(clock) = expires_at.filter(|clock| !clock.is_expiring) else { continue };
            self.place(lease, clock.expires_at, false);
        }
    }
}

/// The time that is left, in milliseconds; a part of one counts as one, so that nothing ends early.
fn left(expires_at: Time, now: Time) -> u64 {
    expires_at.0.saturating_sub(now.0).div_ceil(1000)
}

fn before(time: Time, rest: Duration) -> Time {
    Time(time.0.saturating_sub(u64::try_from(rest.as_micros()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    fn lease(number: i64) -> LeaseId {
        LeaseId::new(number).expect("not 0")
    }

    fn time(ttl_millis: u64, remaining_millis: u64, renewed: u64) -> LeaseTime {
        LeaseTime { ttl_millis, remaining_millis, renewed: Index(renewed) }
    }

    fn at(millis: u64) -> Time {
        Time(millis * 1_000)
    }

    /// One lease of twenty seconds, counted from the beginning.
    fn counting() -> Clocks {
        let mut clocks = Clocks::new(INTERVAL, vec![(lease(1), time(20_000, 20_000, 7))]);
        clocks.start(at(0));
        clocks
    }

    fn ask(clocks: &Clocks, millis: u64, renew: bool) -> Option<LeaseAnswer> {
        clocks.answer(at(millis), &LeaseQuestion { lease: lease(1), renew })
    }

    const RENEWED: Option<LeaseAnswer> = Some(LeaseAnswer::Renewed { ttl_millis: 20_000 });
    const MUST_LOG: Option<LeaseAnswer> = Some(LeaseAnswer::MustLog);

    #[test]
    fn a_keepalive_is_logged_from_when_a_checkpoint_is_proposed_until_a_renewal_is_applied() {
        let mut clocks = counting();
        assert_eq!(clocks.next(), Some(at(5_000)));
        assert_eq!(clocks.checkpoints_due(at(4_999)), Vec::new());
        assert_eq!(ask(&clocks, 4_999, true), RENEWED);
        let due = clocks.checkpoints_due(at(5_000));
        let expected = Checkpoint { lease: lease(1), renewed: Index(7), remaining_millis: 15_000 };
        assert_eq!(due, [expected]);
        // It may be in the log by now, behind everything that a barrier asks for.
        assert_eq!(ask(&clocks, 5_000, true), MUST_LOG);
        clocks.extend(at(5_001), lease(1));
        assert_eq!(ask(&clocks, 5_001, true), MUST_LOG, "a longer life here is no promise");
        clocks.hear(at(5_002), LeaseNews::Is(lease(1), time(20_000, 15_000, 7)));
        assert_eq!(ask(&clocks, 5_002, true), MUST_LOG, "the log says less than all");
        clocks.hear(at(5_003), LeaseNews::Is(lease(1), time(20_000, 20_000, 9)));
        assert_eq!(ask(&clocks, 5_003, true), RENEWED);
        assert_eq!(clocks.next(), Some(at(10_003)));
    }

    #[test]
    fn a_checkpoint_that_was_void_or_refused_is_made_again() {
        let mut clocks = counting();
        assert_eq!(clocks.checkpoints_due(at(5_000)).len(), 1);
        clocks.hear(at(5_001), LeaseNews::Is(lease(1), time(20_000, 20_000, 7)));
        assert_eq!(ask(&clocks, 5_001, true), RENEWED, "nothing of it is in the log");
        assert_eq!(clocks.checkpoints_due(at(5_001)), Vec::new(), "they are made together");
        assert_eq!(clocks.checkpoints_due(at(5_625)).len(), 1);
        clocks.checkpoints_refused(at(5_625), &[lease(1)]);
        assert_eq!(clocks.checkpoints_due(at(5_635)).len(), 1);
    }

    #[test]
    fn a_lease_whose_end_is_proposed_can_not_be_had_back_but_by_the_log() {
        let mut clocks = counting();
        assert_eq!(clocks.next_expired(at(19_999)), None);
        assert_eq!(clocks.next_expired(at(20_000)), Some((lease(1), Index(7))));
        assert_eq!(clocks.next_expired(at(20_000)), None, "it is proposed once");
        clocks.extend(at(20_001), lease(1));
        assert_eq!(ask(&clocks, 20_001, true), MUST_LOG);
        clocks.expiry_refused(at(20_001), lease(1));
        assert_eq!(clocks.next_expired(at(20_011)), Some((lease(1), Index(7))));
        clocks.hear(at(20_012), LeaseNews::Gone(lease(1)));
        assert_eq!(ask(&clocks, 20_012, true), Some(LeaseAnswer::Unknown));
        assert_eq!((clocks.next(), clocks.expiring), (None, 0));
    }

    /// raft, seed 36 of five nodes: the leader had no room for the expiry, and forgot the checkpoint.
    #[test]
    fn an_expiry_that_is_refused_forgets_no_checkpoint_under_way() {
        let mut clocks = counting();
        assert_eq!(clocks.checkpoints_due(at(19_900)).len(), 1);
        assert!(clocks.next_expired(at(20_000)).is_some());
        clocks.expiry_refused(at(20_000), lease(1));
        clocks.extend(at(20_005), lease(1));
        assert_eq!(ask(&clocks, 20_005, true), MUST_LOG, "the log may be about to say 100 ms");
    }

    #[test]
    fn leases_that_are_renewed_in_time_have_no_checkpoints() {
        let mut clocks = Clocks::new(INTERVAL, vec![(lease(1), time(10_000, 10_000, 7))]);
        clocks.start(at(0));
        for millis in (0..60_000).step_by(4_000) {
            clocks.extend(at(millis), lease(1));
            assert_eq!(clocks.checkpoints_due(at(millis)), Vec::new());
            assert_eq!(clocks.next_expired(at(millis)), None);
        }
    }

    #[test]
    fn who_does_not_count_does_not_answer_and_has_nothing_to_do() {
        let mut clocks = counting();
        clocks.stop();
        assert_eq!((clocks.next(), ask(&clocks, 1, true)), (None, None));
        clocks.hear(at(1), LeaseNews::All(vec![(lease(1), time(20_000, 3_000, 8))]));
        clocks.start(at(1_000));
        let remaining = LeaseAnswer::Remaining { ttl_millis: 20_000, remaining_millis: 3_000 };
        assert_eq!(ask(&clocks, 1_000, false), Some(remaining));
        assert_eq!(clocks.next(), Some(at(4_000)), "less is left than checkpoints are apart");
    }

    /// What ZAB proposes behind the last zxid of its epoch ends its reign, and with it this node's.
    #[test]
    fn an_expiry_whose_proposal_ended_the_reign_is_left_to_the_next_leader() {
        let mut clocks = counting();
        assert_eq!(clocks.next_expired(at(20_000)), Some((lease(1), Index(7))));
        clocks.stop();
        clocks.expiry_refused(at(20_000), lease(1));
        assert_eq!((clocks.next(), ask(&clocks, 20_000, false)), (None, None));
        clocks.start(at(30_000));
        assert_eq!(clocks.next_expired(at(50_000)), Some((lease(1), Index(7))));
    }

    #[test]
    fn only_so_many_ends_are_proposed_at_once() {
        let leases = (1..=300).map(|number| (lease(number), time(1_000, 1_000, 7)));
        let mut clocks = Clocks::new(INTERVAL, leases.collect());
        clocks.start(at(0));
        let expired = std::iter::from_fn(|| clocks.next_expired(at(1_000))).count();
        assert_eq!((expired, clocks.next()), (EXPIRING_MAX, None));
        clocks.hear(at(1_001), LeaseNews::Gone(lease(1)));
        assert_eq!(clocks.next(), Some(at(1_000)));
    }
}
