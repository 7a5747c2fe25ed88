//! The writes of this node's clients, from arrival to delivery or failure.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use consensus::{Answer, Consensus, Entry, Input, Leadership, NodeId, Now, Refusal, Term, Time};

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
    waiting: BTreeMap<RequestId, Waiting>,
    bytes: usize,
    /// Those at the stage [`Stage::Held`], in the order of their arrival.
    held: BTreeSet<RequestId>,
    /// The leader refused a write: nothing is handed over before this.
    retry_at: Option<Time>,
    deadlines: BTreeSet<(Time, RequestId)>,
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
        let deadline = self.deadlines.first().map(|&(deadline, _)| deadline);
        deadline.into_iter().chain(self.retry_at).min()
    }

    /// There is another leader to hand writes to, or none.
    pub(super) fn leadership_changed(&mut self) {
        self.retry_at = None;
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
        self.end_handed_over(|under| under <= term, Failure::UnknownOutcome, conclusions);
    }

    /// A leader refused a write. Returns the failure if that is its end; otherwise it is held, and
    /// that leader, if it still is the one of the present term, is left alone for a while: whoever is
    /// refused and asks again at once is refused again.
    pub(super) fn refused(
        &mut self,
        now: Time,
        present: Option<Term>,
        request: RequestId,
        reason: Refusal,
    ) -> Option<Failure> {
        let waiting = self.waiting.get_mut(&request)?;
        let Stage::HandedOver(term, envelope) = &waiting.stage else { return None };
        if reason == Refusal::Overloaded {
            self.remove(request);
            return Some(Failure::Overloaded);
        }
        if present == Some(*term) {
            self.retry_at = Some(now + RETRY_WAIT);
        }
        // It was not appended, so handing it over again can not make it happen twice.
        waiting.stage = Stage::Held(envelope.clone());
        self.held.insert(request);
        None
    }

    /// Ends the writes whose time is up, and the wait after a refusal.
    pub(super) fn expire(&mut self, now: Time, conclusions: &mut Vec<(RequestId, Conclusion)>) {
        while let Some(&(deadline, request)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            let waiting = self.remove(request).expect("a deadline belongs to a waiting write");
            let failure = match waiting.stage {
                Stage::Held(_) => Failure::NoLeader,
                Stage::HandedOver(..) => Failure::UnknownOutcome,
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

    /// Ends the writes that were handed over before this term: they certainly did not happen.
    pub(super) fn settle_before(
        &mut self,
        term: Term,
        conclusions: &mut Vec<(RequestId, Conclusion)>,
    ) {
        self.end_handed_over(|under| under < term, Failure::LeaderChanged, conclusions);
    }

    /// Ends the writes that were handed over under such a term.
    fn end_handed_over(
        &mut self,
        ends: impl Fn(Term) -> bool,
        failure: Failure,
        conclusions: &mut Vec<(RequestId, Conclusion)>,
    ) {
        let handed = |waiting: &Waiting| match waiting.stage {
            Stage::HandedOver(term, _) => Some(term),
            Stage::Held(_) => None,
        };
        let ended: Vec<RequestId> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| handed(waiting).is_some_and(&ends))
            .map(|(&request, _)| request)
            .collect();
        for request in ended {
            self.remove(request);
            conclusions.push((request, Conclusion::Failed(failure)));
        }
        self.handed_term_min = self.waiting.values().filter_map(handed).min();
    }

    fn remove(&mut self, request: RequestId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&request)?;
        self.bytes -= waiting.envelope_bytes;
        self.deadlines.remove(&(waiting.deadline, request));
        self.held.remove(&request);
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
        let request = self.held.pop_first()?;
        let waiting = self.waiting.get_mut(&request).expect("a held write waits");
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
        let waiting = Waiting { envelope_bytes, deadline, stage: Stage::Held(envelope) };
        let former = writes.waiting.insert(request, waiting);
        assert!(former.is_none(), "a request's number is used once");
        writes.bytes += envelope_bytes;
        writes.held.insert(request);
        writes.deadlines.insert((deadline, request));
    }

    /// Hands the held writes to the leader, if there is one: to the protocol here, or in as few
    /// frames as possible to another node.
    pub(super) fn hand_over_writes(&mut self, now: Now, effects: &mut ReplicaEffects<C::Message>) {
        match self.leadership {
            Leadership::None => {}
            Leadership::Established { term } => {
                while let Some((request, envelope)) = self.writes.hand_over_next(term) {
                    let Some(reason) = self.propose(now, envelope, effects) else { continue };
                    let failure = self.writes.refused(now.time, Some(term), request, reason);
                    if let Some(failure) = failure {
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
            effects.messages.push((peer, ReplicaMessage::ForwardRefused { requests, reason }));
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

    /// Ends the writes that the log itself shows to be lost: something of a later term was
    /// delivered, and terms never decrease along the log.
    pub(super) fn settle_superseded(&mut self, effects: &mut ReplicaEffects<C::Message>) {
        let term = self.writes.delivered_term;
        if self.writes.any_before(term) {
            self.writes.settle_before(term, &mut effects.conclusions);
        }
    }
}
