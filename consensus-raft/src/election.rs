//! Elections: suspicion, PreVote (thesis §9.6), RequestVote (§5.2, §5.4.1).
//!
//! What makes elections fast and split votes rare:
//! - A suspicion is followed by a short random delay, not by a whole new timeout, because the silence
//!   (or the broken connection) has already been waited for.
//! - A refused PreVote is asked again after another such delay: the others notice the failure a
//!   little later than the first.
//! - Whoever grants a PreVote holds its own campaign back once; and of two that ask each other at
//!   the same time, the one with the older log, or else the smaller number, gives way. A PreVote
//!   binds nobody, so this touches no law.
//! - The waits grow with every failure up to the election timeout, so that campaigns which collide
//!   come apart.
//!
//! Without PreVote ([`consensus::Settings::pre_vote`]) a suspicion makes a candidate at once, as in the
//! paper: what is said above of delays and waits holds all the same.

use std::time::Duration;

use consensus::{
    Effects, Event, Mutant, NodeId, Now, PersistSequence, Position, Suspicion, Term, Timer,
    Verdict, Wire, mutant,
};

use crate::message::{Attempt, RaftMessage};
use crate::node::Raft;
use crate::role::{self, Intent, Role};

/// The shortest wait before a campaign, so that settings without jitter can not spin.
const DELAY_MIN: Duration = Duration::from_millis(1);

/// Why a candidate whose votes are split begins anew.
const LOST: &str = "no quorum is left that could vote for it";

/// An unanswered campaign waits at most this many election timeouts.
const PATIENCE_MAX: u32 = 4;

impl Raft {
    pub(crate) fn election_timer(&mut self, now: Now, effects: &mut Effects<RaftMessage>) {
        match &mut self.role {
            Role::Follower(follower) => {
                // A timer fired before it is due is somebody's wish for a campaign, without a delay.
                let wished = self.timers.due(Timer::Election).is_none_or(|due| now.time < due);
                if follower.intent.is_none() {
                    match follower.detector.check(now.time) {
                        Verdict::WaitUntil(time) => {
                            self.timers.set(Timer::Election, time);
                            return;
                        }
                        Verdict::Silent(silence) => {
                            let millis = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
                            self.suspect(now, Suspicion::Silence { millis }, effects);
                        }
                    }
                    if !wished {
                        return;
                    }
                }
                if self.observes() {
                    return;
                }
                let cause = match &self.role {
                    Role::Follower(follower) => follower.intent.map(|intent| intent.to_string()),
                    _ => None,
                };
                self.begin_campaign(now, 0, cause.unwrap_or_default(), effects);
            }
            Role::PreCandidate(candidate) => {
                // The attempt was not answered, or the wait after a failed one is over.
                if candidate.attempt.is_some() {
                    candidate.failures += 1;
                }
                self.ask_pre_votes(now, effects);
            }
            Role::Candidate(candidate) => {
                let failures = candidate.failures + 1;
                let cause =
                    if candidate.lost { LOST } else { "its campaign was not answered in time" };
                self.begin_campaign(now, failures, cause.to_owned(), effects);
            }
            Role::Leader(_) => {}
        }
    }

    /// Asks whether it would win, or, where nobody asks first, campaigns at once.
    fn begin_campaign(
        &mut self,
        now: Now,
        failures: u32,
        cause: String,
        effects: &mut Effects<RaftMessage>,
    ) {
        if self.settings.pre_vote {
            self.become_pre_candidate(failures, cause, effects);
            self.ask_pre_votes(now, effects);
        } else {
            self.campaign(now, failures, false, cause, effects);
        }
    }

    pub(crate) fn leader_connection_lost(
        &mut self,
        now: Now,
        peer: NodeId,
        effects: &mut Effects<RaftMessage>,
    ) {
        if let Role::Follower(follower) = &self.role
            && follower.intent.is_none()
            && self.leader == Some(peer)
            && self.settings.suspect_on_connection_loss
        {
            self.suspect(now, Suspicion::ConnectionLost, effects);
        }
    }

    /// Clears the mark that a leader is heard, and means to campaign after a short delay.
    fn suspect(&mut self, now: Now, cause: Suspicion, effects: &mut Effects<RaftMessage>) {
        let Role::Follower(follower) = &mut self.role else { return };
        follower.deferred = false;
        follower.intent = Some(match self.leader {
            Some(leader) => {
                effects.events.push(Event::LeaderSuspected { leader, cause });
                Intent::Suspected(leader, cause)
            }
            None => Intent::NoLeader,
        });
        if self.observes() {
            // It waits for the next leader as long as that takes.
            self.timers.cancel(Timer::Election);
        } else {
            self.wait_before_campaign(now, 0);
        }
    }

    /// Sets the election timer to a random delay, the longer the more campaigns came to nothing.
    pub(crate) fn wait_before_campaign(&mut self, now: Now, failures: u32) {
        let delay = self.delay(failures);
        self.timers.set(Timer::Election, now.time + delay);
    }

    fn delay(&mut self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let window = self.settings.election_jitter.max(DELAY_MIN).saturating_mul(1 << doublings);
        let window = window.min(self.settings.election_timeout);
        if window <= DELAY_MIN {
            // There is no choice, so nothing is drawn: equal states stay equal.
            return DELAY_MIN;
        }
        self.random.duration_up_to(window).max(DELAY_MIN)
    }

    /// How long a campaign may go unanswered: longer after failures, for disks and networks that
    /// are slower than the settings expect.
    fn patience(&mut self, failures: u32) -> Duration {
        let factor = 1u32.checked_shl(failures).unwrap_or(PATIENCE_MAX).min(PATIENCE_MAX);
        self.settings.election_timeout * factor + self.delay(0)
    }

    /// Lets the next attempt come early.
    fn hasten(&mut self, now: Now, failures: u32) {
        let time = now.time + self.delay(failures);
        let due = self.timers.due(Timer::Election).map_or(time, |due| due.min(time));
        self.timers.set(Timer::Election, due);
    }

    /// Begins an attempt at a PreVote, unless too few peers are connected for it to succeed.
    fn ask_pre_votes(&mut self, now: Now, effects: &mut Effects<RaftMessage>) {
        let own = self.settings.id;
        let attempt = self.attempt.next();
        let reachable = self.quorum.reached(|id| id == own || self.can_vote(id));
        let Role::PreCandidate(candidate) = &mut self.role else { return };
        candidate.deferred = false;
        candidate.granted = [own].into();
        candidate.refused.clear();
        candidate.attempt = None;
        if !reachable {
            candidate.failures += 1;
            let failures = candidate.failures;
            self.wait_before_campaign(now, failures);
            return;
        }
        candidate.attempt = Some(attempt);
        self.attempt = attempt;
        let failures = candidate.failures;
        let patience = self.patience(failures);
        self.timers.set(Timer::Election, now.time + patience);
        for peer in self.others() {
            self.ask_again(now, peer, effects);
        }
        self.count_votes(now, effects);
    }

    /// Asks one peer for what this node is asking all of them, if it has not answered yet.
    pub(crate) fn ask_again(&mut self, now: Now, peer: NodeId, effects: &mut Effects<RaftMessage>) {
        if !self.can_vote(peer) {
            return;
        }
        let (term, last) = (self.promise.term, self.log.last());
        match &self.role {
            Role::PreCandidate(candidate) => match candidate.attempt {
                Some(attempt) => {
                    let message = RaftMessage::PreVote { term: term.next(), attempt, last };
                    self.send(peer, PersistSequence(0), message, effects);
                }
                // A new connection is new hope.
                None => self.hasten(now, 0),
            },
            Role::Candidate(candidate) if !candidate.granted.contains(&peer) => {
                let transfer = candidate.transfer;
                let message = RaftMessage::RequestVote { term, last, transfer };
                self.send(peer, candidate.own_vote, message, effects);
            }
            _ => {}
        }
    }

    /// Whether this node still hears a leader other than `asker`, and therefore votes for nobody
    /// (thesis §6.2, §9.6). A leader that asks for votes does not lead any more.
    fn hears_leader(&self, now: Now, asker: NodeId) -> bool {
        match &self.role {
            Role::Leader(_) => true,
            Role::Follower(follower) => {
                follower.intent.is_none()
                    && self.leader.is_some_and(|leader| leader != asker)
                    && now.time.since(follower.detector.last_heard())
                        < self.settings.election_timeout
            }
            Role::PreCandidate(_) | Role::Candidate(_) => false,
        }
    }

    /// Whether this node gives the candidate that it voted for time to become the leader. Without
    /// this a campaign that is about to succeed would be overtaken by the loser's next one.
    fn awaits_candidate(&self, now: Now, asker: NodeId) -> bool {
        let Role::Follower(follower) = &self.role else { return false };
        follower.candidate.is_some_and(|candidate| candidate != asker)
            && now.time.since(follower.detector.last_heard()) < self.settings.election_timeout
    }

    pub(crate) fn pre_vote(
        &mut self,
        now: Now,
        peer: NodeId,
        term: Term,
        attempt: Attempt,
        last: Position,
        effects: &mut Effects<RaftMessage>,
    ) {
        let granted = term > self.promise.term
            && self.is_up_to_date(last)
            && !self.hears_leader(now, peer)
            && !self.awaits_candidate(now, peer);
        let answer = RaftMessage::PreVoteResponse { term: self.promise.term, attempt, granted };
        self.send(peer, PersistSequence(0), answer, effects);
        if granted {
            self.defer_to(now, peer, last);
        }
    }

    /// Holds the own campaign back in favour of a peer that may well win. Once for each wait, so that
    /// a peer that asks again and again and never wins holds up nobody.
    fn defer_to(&mut self, now: Now, peer: NodeId, last: Position) {
        let better = (last, peer) > (self.log.last(), self.settings.id);
        let deferred = match &mut self.role {
            Role::PreCandidate(candidate) if candidate.attempt.is_none() => &mut candidate.deferred,
            Role::PreCandidate(candidate) if better => {
                candidate.attempt = None;
                self.timers.cancel(Timer::Election);
                &mut candidate.deferred
            }
            Role::Follower(follower) if follower.intent.is_some() => &mut follower.deferred,
            _ => return,
        };
        if *deferred {
            return;
        }
        *deferred = true;
        let time = now.time + self.settings.election_jitter + self.delay(0);
        let due = self.timers.due(Timer::Election).map_or(time, |due| due.max(time));
        self.timers.set(Timer::Election, due);
    }

    pub(crate) fn pre_vote_response(
        &mut self,
        now: Now,
        peer: NodeId,
        term: Term,
        attempt: Attempt,
        granted: bool,
        effects: &mut Effects<RaftMessage>,
    ) {
        if term > self.promise.term {
            self.overtaken(now, peer, term, effects);
            return;
        }
        let Role::PreCandidate(candidate) = &mut self.role else { return };
        if candidate.attempt != Some(attempt) {
            return;
        }
        if granted {
            candidate.granted.insert(peer);
        } else {
            candidate.refused.insert(peer);
            let failures = candidate.failures;
            self.hasten(now, failures);
        }
        self.count_votes(now, effects);
    }

    /// Whether a log with this last entry holds all that is committed, as far as this node knows (§5.4.1).
    fn is_up_to_date(&self, last: Position) -> bool {
        let own = self.log.last();
        match () {
            () if mutant::on(Mutant::RaftElectsOlderLog) => true,
            () if mutant::on(Mutant::RaftComparesLength) => last.index >= own.index,
            () => last >= own,
        }
    }

    pub(crate) fn request_vote(
        &mut self,
        now: Now,
        peer: NodeId,
        term: Term,
        last: Position,
        transfer: bool,
        effects: &mut Effects<RaftMessage>,
    ) {
        // The leader itself wants a candidate that it told to campaign to win.
        let deaf = !transfer && self.hears_leader(now, peer);
        if term > self.promise.term && !deaf {
            self.overtaken(now, peer, term, effects);
        }
        let granted = term == self.promise.term
            && !deaf
            && (self.promise.vote.is_none_or(|vote| vote == peer)
                || mutant::on(Mutant::RaftVotesTwice))
            && self.leader.is_none()
            && self.is_up_to_date(last);
        let mut after = PersistSequence(0);
        if granted {
            if self.promise.vote.is_none() {
                self.promise.vote = Some(peer);
                if !mutant::on(Mutant::RaftVoteForgotten) {
                    self.log.set_promise(self.promise.to_bytes());
                }
                effects.events.push(Event::Voted { candidate: peer, term });
            }
            after = self.log.persist(effects);
            if mutant::on(Mutant::RaftVoteBeforeDurable) {
                after = PersistSequence(0);
            }
            // Having voted, it gives the candidate the time to become the leader (§5.2).
            self.become_follower(now, None, None, format!("it votes for {peer}"), effects);
            if let Role::Follower(follower) = &mut self.role {
                follower.candidate = Some(peer);
            }
        }
        let answer =
            RaftMessage::RequestVoteResponse { term: self.promise.term, candidacy: term, granted };
        self.send(peer, after, answer, effects);
    }

    pub(crate) fn request_vote_response(
        &mut self,
        now: Now,
        peer: NodeId,
        term: Term,
        candidacy: Term,
        granted: bool,
        effects: &mut Effects<RaftMessage>,
    ) {
        if term > self.promise.term {
            self.overtaken(now, peer, term, effects);
            return;
        }
        let Role::Candidate(candidate) = &mut self.role else { return };
        if candidacy != self.promise.term {
            return;
        }
        if granted || mutant::on(Mutant::RaftLeadsWithoutQuorum) {
            candidate.granted.insert(peer);
        } else if !candidate.granted.contains(&peer) {
            candidate.refused.insert(peer);
        }
        self.count_votes(now, effects);
    }

    /// Goes on once a quorum agrees, and waits for a better moment once none can. A peer without a
    /// connection can not answer.
    pub(crate) fn count_votes(&mut self, now: Now, effects: &mut Effects<RaftMessage>) {
        let own = self.settings.id;
        match &self.role {
            Role::PreCandidate(candidate) if candidate.attempt.is_some() => {
                let failures = candidate.failures;
                if self.quorum.reached(|id| candidate.granted.contains(&id)) {
                    let names = role::names(&candidate.granted);
                    let cause = format!("would be voted for by {names}");
                    self.campaign(now, failures, false, cause, effects);
                } else if self.quorum.unreachable(|id| {
                    !candidate.granted.contains(&id)
                        && (candidate.refused.contains(&id) || !self.can_vote(id))
                }) {
                    let Role::PreCandidate(candidate) = &mut self.role else { return };
                    candidate.attempt = None;
                    candidate.failures += 1;
                    self.wait_before_campaign(now, failures + 1);
                }
            }
            Role::Candidate(candidate) => {
                let own_is_durable = self.log.durable_sequence() >= candidate.own_vote;
                let votes = |id| {
                    if id == own { own_is_durable } else { candidate.granted.contains(&id) }
                };
                if self.quorum.reached(votes) {
                    let mut voters = candidate.granted.clone();
                    voters.insert(own);
                    let cause = format!("the votes of {}", role::names(&voters));
                    self.become_leader(now, cause, effects);
                } else if self.quorum.unreachable(|id| {
                    id != own
                        && !candidate.granted.contains(&id)
                        && (candidate.refused.contains(&id) || !self.can_vote(id))
                }) {
                    self.lose(now, effects);
                }
            }
            _ => {}
        }
    }

    /// The campaign can not succeed any more: the next one comes after a short random delay.
    fn lose(&mut self, now: Now, effects: &mut Effects<RaftMessage>) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        let failures = candidate.failures + 1;
        if self.settings.pre_vote {
            self.become_pre_candidate(failures, LOST.to_owned(), effects);
            self.wait_before_campaign(now, failures);
        } else if !std::mem::replace(&mut candidate.lost, true) {
            self.wait_before_campaign(now, failures);
        }
    }

    /// Asks for votes in the next term (§5.2).
    pub(crate) fn campaign(
        &mut self,
        now: Now,
        failures: u32,
        transfer: bool,
        cause: String,
        effects: &mut Effects<RaftMessage>,
    ) {
        self.become_candidate(failures, transfer, cause, effects);
        let patience = self.patience(failures);
        self.timers.set(Timer::Election, now.time + patience);
        for peer in self.others() {
            self.ask_again(now, peer, effects);
        }
        self.count_votes(now, effects);
    }

    /// Adopts a newer term of which nobody is known to be the leader (§5.1).
    pub(crate) fn overtaken(
        &mut self,
        now: Now,
        peer: NodeId,
        term: Term,
        effects: &mut Effects<RaftMessage>,
    ) {
        self.adopt(term);
        let cause = format!("{peer} is in term {term}");
        match &self.role {
            // The wait goes on: only a leader or a granted vote restarts it (§5.2), otherwise a node
            // that can not win could keep one that can from campaigning. What this node shares with
            // the former leader's log is forgotten when it follows the next one.
            Role::Follower(_) => {}
            // Its log may be the best there is. Besides, the followers of a deposed leader hear from
            // nobody else that it leads no longer.
            Role::Leader(_) if mutant::on(Mutant::RaftForgetsStepDown) => {
                self.leader = Some(self.settings.id);
            }
            Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => {
                self.become_follower(now, None, Some(Intent::Overtaken), cause, effects);
            }
        }
    }
}
