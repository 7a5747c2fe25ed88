//! The writes of this node's clients, from arrival to delivery or failure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use consensus::{Answer, Consensus, Entry, Input, Leadership, NodeId, Now, Refusal, Term, Time};

use super::{
    Conclusion, Failure, Replica, ReplicaEffects, ReplicaMessage, ReplicaSettings, conclude,
    own_request,
};
use crate::{Envelope, RequestId};

/// The bytes of one [`ReplicaMessage::Forward`], so that no frame grows without bound.
const FORWARD_BYTES_MAX: usize = 1 << 20;

/// All writes that wait for their end.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Writes {
    waiting: BTreeMap<RequestId, Waiting>,
    bytes: usize,
    /// Those without a leader to take them, in the order of their arrival.
    held: VecDeque<RequestId>,
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
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// An entry was delivered: the applier answers if it is a write of ours.
    pub(super) fn delivered(&mut self, settings: &ReplicaSettings, entry: &Entry) {
        self.delivered_term = self.delivered_term.max(entry.term());
        if let Some(request) = entry.command().and_then(|envelope| own_request(settings, envelope))
        {
            self.remove(request);
        }
    }

    /// The leader refused a write. Returns the failure if that is its end.
    pub(super) fn refused(&mut self, request: RequestId, reason: Refusal) -> Option<Failure> {
        let waiting = self.waiting.get_mut(&request)?;
        let Stage::HandedOver(_, envelope) = &waiting.stage else { return None };
        if reason == Refusal::Overloaded {
            self.remove(request);
            return Some(Failure::Overloaded);
        }
        // It was not appended, so handing it over again can not make it happen twice.
        waiting.stage = Stage::Held(envelope.clone());
        self.held.push_back(request);
        None
    }

    /// Ends the writes whose time is up.
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
        let handed = |waiting: &Waiting| match waiting.stage {
            Stage::HandedOver(term, _) => Some(term),
            Stage::Held(_) => None,
        };
        let lost: Vec<RequestId> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| handed(waiting).is_some_and(|under| under < term))
            .map(|(&request, _)| request)
            .collect();
        for request in lost {
            self.remove(request);
            conclusions.push((request, Conclusion::Failed(Failure::LeaderChanged)));
        }
        self.handed_term_min = self.waiting.values().filter_map(handed).min();
    }

    fn remove(&mut self, request: RequestId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&request)?;
        self.bytes -= waiting.envelope_bytes;
        self.deadlines.remove(&(waiting.deadline, request));
        if self.waiting.is_empty() {
            self.handed_term_min = None;
        }
        Some(waiting)
    }

    /// The next held write, now handed over under this term.
    fn hand_over_next(&mut self, term: Term) -> Option<(RequestId, Bytes)> {
        while let Some(request) = self.held.pop_front() {
            // What was held may have ended meanwhile.
            let Some(waiting) = self.waiting.get_mut(&request) else { continue };
            let Stage::Held(envelope) = &waiting.stage else { continue };
            let envelope = envelope.clone();
            waiting.stage = Stage::HandedOver(term, envelope.clone());
            self.handed_term_min = Some(self.handed_term_min.map_or(term, |least| least.min(term)));
            return Some((request, envelope));
        }
        None
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
        writes.held.push_back(request);
        writes.deadlines.insert((deadline, request));
    }

    /// Hands the held writes to the leader, if there is one: to the protocol here, or in as few
    /// frames as possible to another node.
    pub(super) fn hand_over_writes(&mut self, now: Now, effects: &mut ReplicaEffects<C::Message>) {
        match self.leadership {
            Leadership::None => {}
            Leadership::Established { term } => {
                // What is refused is held again, for a later flush: so only one turn for each.
                for _ in 0..self.writes.held.len() {
                    let Some((request, envelope)) = self.writes.hand_over_next(term) else { break };
                    if let Some(reason) = self.propose(now, envelope, effects)
                        && let Some(failure) = self.writes.refused(request, reason)
                    {
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
    /// the same step or not at all.
    pub(super) fn propose(
        &mut self,
        now: Now,
        command: Bytes,
        effects: &mut ReplicaEffects<C::Message>,
    ) -> Option<Refusal> {
        let token = self.next_token();
        self.core.step(now, Input::Propose { token, command }, &mut effects.consensus);
        match effects.consensus.answers.pop()? {
            Answer::Refused { token: refused, reason } => {
                assert_eq!(refused, token, "a proposal is refused at once or never");
                Some(reason)
            }
            Answer::Barrier { .. } => panic!("a proposal is not answered with a barrier"),
        }
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
