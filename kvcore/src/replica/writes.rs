//! The writes of this node's clients, from arrival to delivery or failure.

use std::collections::BTreeMap;

use bytes::Bytes;
use consensus::{Answer, Consensus, Entry, Input, Leadership, NodeId, Now, Refusal, Term, Time};

use super::in_order::InOrder;
use super::{
    Conclusion, Failure, RETRY_WAIT, Replica, ReplicaEffects, ReplicaMessage, ReplicaSettings,
    conclude, own_request,
};
use crate::{Envelope, RequestId};

/// The bytes of one [`ReplicaMessage::Forward`], so that no frame grows without bound.
const FORWARD_BYTES_MAX: usize = 1 << 20;

/// All writes that wait for their end.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Writes {
    waiting: InOrder<RequestId, Waiting>,
    bytes: usize,
    /// Those at the stage [`Stage::Held`], in the order of their arrival.
    held: InOrder<RequestId, ()>,
    /// The leader refused a write: nothing is handed over before this.
    retry_at: Option<Time>,
    deadlines: InOrder<(Time, RequestId), ()>,
    /// The largest term of a delivered entry: nothing of an earlier term can be delivered any more.
    delivered_term: Term,
    /// The smallest term under which a waiting write was handed over, or something smaller.
    handed_term_min: Option<Term>,
}

#[derive(Clone, Debug, Hash)]
struct Waiting {
    envelope_bytes: usize,
    deadline: Time,
    stage: Stage,
    /// Whether it has an idempotency key, so that it does no harm to hand it over more than once.
    has_key: bool,
    /// Whether it was handed over before to a leader that lost it, and its office.
    was_lost: bool,
    /// The latest term under which a copy was handed over, besides that of the stage, that may happen
    /// still; [`TERM_NEVER_SETTLED`] if it may have.
    perhaps_under: Option<Term>,
}

/// Stands for copies of which no delivered entry can ever show that they are lost: a snapshot was
/// installed that may hold them.
const TERM_NEVER_SETTLED: Term = Term(u64::MAX);

impl Waiting {
    /// The terms under which it was handed over and may happen.
    fn terms(&self) -> impl Iterator<Item = Term> {
        let handed = match self.stage {
            Stage::HandedOver(term, _) => Some(term),
            Stage::Held(_) => None,
        };
        handed.into_iter().chain(self.perhaps_under)
    }
}

/// A leader's refusal of one write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    /// The term under which it was handed over.
    pub(super) term: Term,
    /// Whether that is the present one.
    pub(super) is_present: bool,
    pub(super) request: RequestId,
    pub(super) reason: Refusal,
}

#[derive(Clone, Debug, Hash)]
enum Stage {
    /// No leader has it; the envelope is kept here.
    Held(Bytes),
    /// The leader of this term has it, and the envelope in case it refuses.
    HandedOver(Term, Bytes),
}

impl Writes {
    pub(super) fn pending(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let deadline = self.deadlines.first().map(|((deadline, _), ())| deadline);
        deadline.into_iter().chain(self.retry_at).min()
    }

    /// There is another leader to hand writes to, or none.
    pub(super) fn leadership_changed(&mut self) {
        self.retry_at = None;
        self.hold_again();
    }

    /// The leader or the connection to it is another one: what has a key is handed over again.
    pub(super) fn hold_again(&mut self) {
        for (request, waiting) in self.waiting.iter_mut() {
            if let Stage::HandedOver(term, envelope) = &waiting.stage
                && waiting.has_key
            {
                waiting.perhaps_under = waiting.perhaps_under.max(Some(*term));
                waiting.stage = Stage::Held(envelope.clone());
                self.held.insert(request, ());
            }
        }
    }

    /// An entry was delivered: the applier answers if it is a write of ours.
    pub(super) fn delivered(&mut self, settings: &ReplicaSettings, entry: &Entry) {
        self.delivered_term = self.delivered_term.max(entry.term());
        if let Some(request) = entry.command().and_then(|envelope| own_request(settings, envelope))
        {
            self.remove(request);
        }
    }

    /// A snapshot takes the place of entries that are not delivered any more. A write that was handed
    /// over may be among them, unless its leader's term is later than all of them.
    pub(super) fn installed(&mut self, term: Term, conclusions: &mut Vec<(RequestId, Conclusion)>) {
        self.delivered_term = self.delivered_term.max(term);
        for (_, waiting) in self.waiting.iter_mut().filter(|(_, waiting)| waiting.has_key) {
            if waiting.terms().any(|under| under <= term) {
                waiting.perhaps_under = Some(TERM_NEVER_SETTLED);
            }
        }
        self.end_in_doubt(term, conclusions);
    }

    /// A leader refused a write. Returns the failure if that is its end; otherwise it is held, and
    /// that leader, if it still is the one of the present term, is left alone for a while: whoever is
    /// refused and asks again at once is refused again.
    pub(super) fn refused(&mut self, now: Time, refused: Refused) -> Option<Failure> {
        let Refused { term, is_present, request, reason } = refused;
        let waiting = self.waiting.get_mut(request)?;
        let Stage::HandedOver(handed, envelope) = &waiting.stage else { return None };
        if *handed != term {
            // Another copy, under another leader, is under way.
            return None;
        }
        if reason == Refusal::Overloaded && waiting.perhaps_under.is_none() {
            self.remove(request);
            return Some(Failure::Overloaded);
        }
        if is_present {
            self.retry_at = Some(now + RETRY_WAIT);
        }
        // It was not appended, so handing it over again can not make it happen twice.
        waiting.stage = Stage::Held(envelope.clone());
        self.held.insert(request, ());
        None
    }

    /// Ends the writes whose time is up, and the wait after a refusal.
    pub(super) fn expire(&mut self, now: Time, conclusions: &mut Vec<(RequestId, Conclusion)>) {
        while let Some(((deadline, request), ())) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            let waiting = self.remove(request).expect("a deadline belongs to a waiting write");
            let failure = match waiting.terms().next() {
                Some(_) => Failure::UnknownOutcome,
                None if waiting.was_lost => Failure::LeaderChanged,
                None => Failure::NoLeader,
            };
            conclusions.push((request, Conclusion::Failed(failure)));
        }
        if self.retry_at.is_some_and(|retry_at| retry_at <= now) {
            self.retry_at = None;
        }
    }

    /// The terms under which waiting writes were handed over reach below this one.
    pub(super) fn any_before(&self, term: Term) -> bool {
        self.handed_term_min.is_some_and(|handed| handed < term)
    }

    /// Holds the writes again that were handed over before this term: they certainly did not happen,
    /// and never will under that leader, so to hand them to the next one can not make them happen
    /// twice.
    pub(super) fn settle_before(&mut self, term: Term) {
        for (request, waiting) in self.waiting.iter_mut() {
            waiting.perhaps_under = waiting.perhaps_under.filter(|&under| under >= term);
            if let Stage::HandedOver(under, envelope) = &waiting.stage
                && *under < term
            {
                waiting.stage = Stage::Held(envelope.clone());
                waiting.was_lost = true;
                self.held.insert(request, ());
            }
        }
        self.note_handed();
    }

    /// What may be inside a snapshot is handed over again if it has a key, and is in doubt otherwise.
    fn end_in_doubt(&mut self, up_to: Term, conclusions: &mut Vec<(RequestId, Conclusion)>) {
        let mut ended = Vec::new();
        for (request, waiting) in self.waiting.iter_mut() {
            match &waiting.stage {
                Stage::HandedOver(term, envelope) if *term <= up_to => {
                    if waiting.has_key {
                        waiting.stage = Stage::Held(envelope.clone());
                        self.held.insert(request, ());
                    } else {
                        ended.push(request);
                    }
                }
                _ => {}
            }
        }
        for request in ended {
            self.remove(request);
            conclusions.push((request, Conclusion::Failed(Failure::UnknownOutcome)));
        }
        self.note_handed();
    }

    fn note_handed(&mut self) {
        self.handed_term_min = self.waiting.values().flat_map(Waiting::terms).min();
    }

    fn remove(&mut self, request: RequestId) -> Option<Waiting> {
        let waiting = self.waiting.remove(request)?;
        self.bytes -= waiting.envelope_bytes;
        self.deadlines.remove((waiting.deadline, request));
        self.held.remove(request);
        if self.waiting.is_empty() {
            self.handed_term_min = None;
        }
        Some(waiting)
    }

    /// The next held write, now handed over under this term; none while the leader is left alone.
    fn hand_over_next(&mut self, term: Term) -> Option<(RequestId, Bytes)> {
        if self.retry_at.is_some() {
            return None;
        }
        let (request, ()) = self.held.pop_first()?;
        let waiting = self.waiting.get_mut(request).expect("a held write waits");
        let Stage::Held(envelope) = &waiting.stage else {
            panic!("what is held has no leader");
        };
        let envelope = envelope.clone();
        waiting.stage = Stage::HandedOver(term, envelope.clone());
        self.handed_term_min = Some(self.handed_term_min.map_or(term, |least| least.min(term)));
        Some((request, envelope))
    }
}

impl<C: Consensus> Replica<C> {
    /// A write of a client of this node.
    pub(super) fn take_write(
        &mut self,
        request: RequestId,
        envelope: Bytes,
        deadline: Time,
        effects: &mut ReplicaEffects<C::Message>,
    ) {
        let writes = &mut self.writes;
        let full = writes.waiting.len() + self.reads.pending() >= self.settings.requests_max
            || writes.bytes + envelope.len() > self.settings.request_bytes_max;
        if full {
            return conclude(effects, request, Failure::Overloaded);
        }
        let envelope_bytes = envelope.len();
        let has_key = Envelope::has_key(&envelope);
        let (stage, perhaps_under) = (Stage::Held(envelope), None);
        let waiting =
            Waiting { envelope_bytes, deadline, stage, has_key, was_lost: false, perhaps_under };
        let former = writes.waiting.insert(request, waiting);
        assert!(former.is_none(), "a request's number is used once");
        writes.bytes += envelope_bytes;
        writes.held.insert(request, ());
        writes.deadlines.insert((deadline, request), ());
    }

    /// Hands the held writes to the leader, if there is one: to the protocol here, or in as few
    /// frames as possible to another node.
    pub(super) fn hand_over_writes(&mut self, now: Now, effects: &mut ReplicaEffects<C::Message>) {
        match self.leadership {
            Leadership::None => {}
            Leadership::Established { term } => {
                while let Some((request, envelope)) = self.writes.hand_over_next(term) {
                    let Some(reason) = self.propose(now, envelope, effects) else { continue };
                    let refused = Refused { term, is_present: true, request, reason };
                    if let Some(failure) = self.writes.refused(now.time, refused) {
                        conclude(effects, request, failure);
                    }
                }
            }
            Leadership::Following { leader, term } => {
                let mut envelopes = Vec::new();
                let mut bytes = 0;
                while let Some((_, envelope)) = self.writes.hand_over_next(term) {
                    if bytes + envelope.len() > FORWARD_BYTES_MAX && !envelopes.is_empty() {
                        let envelopes = std::mem::take(&mut envelopes);
                        let message = ReplicaMessage::Forward { term, envelopes };
                        effects.messages.push((leader, message));
                        bytes = 0;
                    }
                    bytes += envelope.len();
                    envelopes.push(envelope);
                }
                if !envelopes.is_empty() {
                    effects.messages.push((leader, ReplicaMessage::Forward { term, envelopes }));
                }
            }
        }
    }

    /// Writes that another node forwards to the leader of a term.
    pub(super) fn take_forwarded(
        &mut self,
        now: Now,
        peer: NodeId,
        term: Term,
        envelopes: Vec<Bytes>,
        effects: &mut ReplicaEffects<C::Message>,
    ) {
        let mut refused: BTreeMap<u8, (Refusal, Vec<RequestId>)> = BTreeMap::new();
        for envelope in envelopes {
            let Ok(header) = Envelope::header(&envelope) else { continue };
            let reason = if self.leadership == (Leadership::Established { term }) {
                self.propose(now, envelope, effects)
            } else {
                Some(Refusal::NotLeader)
            };
            if let Some(reason) = reason {
                let (_, requests) =
                    refused.entry(reason as u8).or_insert_with(|| (reason, Vec::new()));
                requests.push(header.request);
            }
        }
        for (_, (reason, requests)) in refused {
            let message = ReplicaMessage::ForwardRefused { term, requests, reason };
            effects.messages.push((peer, message));
        }
    }

    /// Proposes to the protocol here. Returns why it was refused, if it was: the protocol says so in
    /// the same step or not at all. A step that ends the leader's office may refuse other questions
    /// besides, which are answered here as after any step.
    pub(super) fn propose(
        &mut self,
        now: Now,
        command: Bytes,
        effects: &mut ReplicaEffects<C::Message>,
    ) -> Option<Refusal> {
        let token = self.next_token();
        let mut reason = None;
        for answer in self.step_core_quietly(now, Input::Propose { token, command }, effects) {
            match answer {
                Answer::Refused { token: refused, reason: why } if refused == token => {
                    reason = Some(why);
                }
                Answer::Barrier { token: answered, .. } if answered == token => {
                    panic!("a proposal is not answered with a barrier");
                }
                other => self.answered(now, other, effects),
            }
        }
        reason
    }

    /// Settles the writes that the log itself shows to be lost: something of a later term was
    /// delivered, and terms never decrease along the log.
    pub(super) fn settle_superseded(&mut self) {
        let term = self.writes.delivered_term;
        if self.writes.any_before(term) {
            self.writes.settle_before(term);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: RequestId = RequestId(1);

    /// One write with a key, handed over in term 1, whose client waits until second 9.
    fn handed_over() -> Writes {
        let mut writes = Writes::default();
        let (deadline, stage) = (Time(9_000_000), Stage::Held(Bytes::from_static(b"envelope")));
        let (has_key, was_lost, perhaps_under) = (true, false, None);
        let waiting =
            Waiting { envelope_bytes: 8, deadline, stage, has_key, was_lost, perhaps_under };
        writes.waiting.insert(REQUEST, waiting);
        writes.bytes = 8;
        writes.held.insert(REQUEST, ());
        writes.deadlines.insert((deadline, REQUEST), ());
        assert!(writes.hand_over_next(Term(1)).is_some());
        writes
    }

    fn refuse(writes: &mut Writes, term: u64, reason: Refusal) -> Option<Failure> {
        let refused = Refused { term: Term(term), is_present: true, request: REQUEST, reason };
        writes.refused(Time(0), refused)
    }

    fn expire(writes: &mut Writes) -> Vec<(RequestId, Conclusion)> {
        let mut conclusions = Vec::new();
        writes.expire(Time(1_000_000), &mut conclusions);
        assert_eq!(conclusions, Vec::new(), "its time is not up");
        writes.expire(Time(9_000_000), &mut conclusions);
        assert_eq!((writes.waiting.len(), writes.held.len(), writes.bytes), (0, 0, 0));
        conclusions
    }

    fn failed(failure: Failure) -> Vec<(RequestId, Conclusion)> {
        vec![(REQUEST, Conclusion::Failed(failure))]
    }

    #[test]
    fn a_refusal_counts_for_the_copy_that_it_refuses_and_no_other() {
        let mut writes = handed_over();
        writes.leadership_changed();
        assert!(writes.hand_over_next(Term(2)).is_some());
        assert_eq!(refuse(&mut writes, 1, Refusal::NotLeader), None);
        assert!(writes.held.is_empty(), "the second copy is under way still");
        assert_eq!(refuse(&mut writes, 2, Refusal::Overloaded), None);
        assert_eq!(writes.hand_over_next(Term(2)), None, "the leader is left alone for a while");
        assert_eq!(expire(&mut writes), failed(Failure::UnknownOutcome), "the first may happen");
    }

    #[test]
    fn what_was_refused_everywhere_certainly_did_not_happen() {
        let mut writes = handed_over();
        assert_eq!(refuse(&mut writes, 1, Refusal::NotLeader), None);
        assert_eq!(expire(&mut writes), failed(Failure::NoLeader));
        let mut writes = handed_over();
        assert_eq!(refuse(&mut writes, 1, Refusal::Overloaded), Some(Failure::Overloaded));
    }

    #[test]
    fn copies_that_are_lost_for_certain_do_not_make_the_outcome_unknown() {
        let mut writes = handed_over();
        writes.leadership_changed();
        assert!(writes.any_before(Term(2)));
        writes.settle_before(Term(2));
        assert!(!writes.any_before(Term(9)), "nothing is left to be settled");
        assert_eq!(writes.held.len(), 1, "it goes to the next leader");
        assert_eq!(expire(&mut writes), failed(Failure::NoLeader));
    }

    #[test]
    fn a_write_that_was_lost_and_finds_no_other_leader_in_time_is_told_so() {
        let mut writes = handed_over();
        writes.settle_before(Term(2));
        assert_eq!(expire(&mut writes), failed(Failure::LeaderChanged));
    }

    #[test]
    fn a_copy_that_a_snapshot_may_hold_stays_in_doubt() {
        let mut writes = handed_over();
        let mut conclusions = Vec::new();
        writes.installed(Term(1), &mut conclusions);
        assert_eq!(conclusions, Vec::new(), "another copy tells what became of it");
        assert!(writes.hand_over_next(Term(2)).is_some());
        assert_eq!(refuse(&mut writes, 2, Refusal::NotLeader), None);
        writes.settle_before(Term(7));
        assert_eq!(expire(&mut writes), failed(Failure::UnknownOutcome));
    }
}
