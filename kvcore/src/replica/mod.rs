//! The replica: a node's layer between its clients and whichever protocol runs.
//!
//! Any node takes any request. A write is proposed here if this node leads, and otherwise forwarded
//! to the leader; either way the node that was asked answers, once it has applied the entry itself,
//! so that a read there sees it. A read waits for a barrier: a position that the leader confirms,
//! and then for that position to be applied here.
//!
//! # What becomes of a write
//! ```text
//!   held ──leader known──▶ handed over ──delivered──▶ the applier answers
//!    │                        │
//!    │ time is up             ├─ refused by the leader: held again, or Overloaded
//!    ▼                        ├─ something of a later term was delivered instead: held again
//!   NoLeader                  ├─ a snapshot was installed that may hold it: UnknownOutcome
//!                             └─ time is up: UnknownOutcome
//! ```
//! A write is handed over under the term (or epoch) of one leader, and only the leader of that very
//! term may append it. Terms never decrease along the log. So once everything is delivered that
//! earlier terms can ever commit, and the write was not among it, it certainly did not happen, and
//! the client is told so. Until then it is never handed over a second time.
//!
//! A write with an idempotency key is: whenever there is another leader, or another connection to the
//! same one, it is held and handed over again, until one of its copies is delivered here or its time is
//! up. It ends as `UnknownOutcome` only if one of the copies may still happen then.
//!
//! The replica is as pure as the protocols: inputs in, effects out.

mod boundary;
mod compaction;
mod digests;
mod in_order;
mod leases;
mod message;
mod reads;
mod transfers;
mod unasked;
mod writes;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use consensus::{
    Answer, Consensus, Generation, Index, Input, Leadership, NodeId, Now, Status, Time, Timer,
    Token,
};

pub use boundary::{Conclusion, Failure, ReplicaEffects, ReplicaInput, ReplicaTimer};
pub use digests::DIGEST_INTERVAL_DEFAULT;
pub use leases::{LeaseAnswer, LeaseQuestion};
pub use message::{PeerMessage, ReplicaMessage, TransferReply};

use crate::{Envelope, Progress, RequestId, Restored};
use compaction::Compaction;
use digests::Digests;
use leases::Leases;
use reads::Reads;
use transfers::Transfers;
use writes::{Refused, Writes};

/// How long a leader is left alone that could not confirm itself, or that refused a write.
const RETRY_WAIT: Duration = Duration::from_millis(10);

/// How much more time than it has a lease has in the log by default.
pub const LEASE_CHECKPOINT_INTERVAL_DEFAULT: Duration = Duration::from_secs(5);

/// How a replica is set up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReplicaSettings {
    /// This node.
    pub id: NodeId,
    /// A number that no earlier start of this node used, so that the requests of an earlier start
    /// are not taken for those of this one.
    pub incarnation: u64,
    /// The most requests of clients that may wait at once.
    pub requests_max: usize,
    /// The most bytes of writes that may wait at once.
    pub request_bytes_max: usize,
    /// Compact automatically so that about this many revisions stay readable; `None` never does.
    pub retain_revisions: Option<u64>,
    /// Compact automatically so that what was readable within this time stays so. If both are given, what
    /// either asks for is retained.
    pub retain_for: Option<Duration>,
    /// The most bytes of rows and records that the store shall have. Where revisions are compacted automatically, fewer
    /// are kept when it is nearly full. Nothing is refused here: whoever takes requests does that.
    pub quota_bytes: Option<u64>,
    /// How much more time than it has a lease may have in the log: so much longer than it should it lives
    /// after a change of leader at most.
    pub lease_checkpoint_interval: Duration,
    /// How long after a change digests are compared; `None` never compares them.
    pub digest_interval: Option<Duration>,
}

/// A node's layer between its clients and its protocol.
#[derive(Clone, Debug, Hash)]
pub struct Replica<C: Consensus> {
    core: C,
    settings: ReplicaSettings,
    /// The present connection to each peer.
    connections: BTreeMap<NodeId, Generation>,
    leadership: Leadership,
    delivered: Index,
    applied: Index,
    tokens: Token,
    writes: Writes,
    reads: Reads,
    transfers: Transfers,
    compaction: Compaction,
    digests: Digests,
    leases: Leases,
}

impl<C: Consensus> Replica<C> {
    /// A replica over a protocol that was just started, with a store that has this.
    #[must_use]
    pub fn new(core: C, settings: ReplicaSettings, restored: Restored) -> Self {
        let delivered = core.view().log.delivered();
        Self {
            core,
            compaction: Compaction::new(&settings, &restored),
            digests: Digests::new(settings.digest_interval, &restored),
            leases: Leases::new(
                settings.lease_checkpoint_interval,
                restored.leases,
                !restored.alarms.is_empty(),
            ),
            settings,
            connections: BTreeMap::new(),
            leadership: Leadership::None,
            delivered,
            applied: delivered,
            tokens: Token(0),
            writes: Writes::default(),
            reads: Reads::default(),
            transfers: Transfers::default(),
        }
    }

    /// The protocol's state machine.
    #[must_use]
    pub fn core(&self) -> &C {
        &self.core
    }

    /// The protocol's state as users see it.
    #[must_use]
    pub fn status(&self) -> Status {
        self.core.status()
    }

    /// What is known of leadership.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.leadership
    }

    /// The clients' requests that wait for an answer.
    #[must_use]
    pub fn requests_pending(&self) -> usize {
        self.writes.pending()
            + self.reads.pending()
            + self.transfers.pending()
            + self.leases.pending()
    }

    /// Takes one input and adds what follows from it to the effects.
    pub fn step(
        &mut self,
        now: Now,
        input: ReplicaInput<C::Message>,
        effects: &mut ReplicaEffects<C::Message>,
    ) {
        match input {
            ReplicaInput::Timer(ReplicaTimer::Consensus(timer)) => {
                self.step_core(now, Input::Timer(timer), effects);
            }
            ReplicaInput::Timer(ReplicaTimer::Requests) => self.expire(now, effects),
            ReplicaInput::Timer(ReplicaTimer::Leases) => self.count_lease_time(now, effects),
            ReplicaInput::Timer(ReplicaTimer::Upkeep) => {
                self.compact_if_due(now, effects);
                self.compare_if_due(now, effects);
            }
            ReplicaInput::PeerConnected { peer, generation, standing } => {
                if let Leadership::Following { leader, .. } = self.leadership
                    && leader == peer
                {
                    // What was said on the connection before may never have arrived.
                    self.writes.hold_again();
                }
                self.forget_questions(peer);
                self.connections.insert(peer, generation);
                let input = Input::PeerConnected { peer, generation, standing };
                self.step_core(now, input, effects);
            }
            ReplicaInput::PeerLost { peer, generation } => {
                if self.is_present(peer, generation) {
                    self.connections.remove(&peer);
                    self.forget_questions(peer);
                }
                self.step_core(now, Input::PeerLost { peer, generation }, effects);
            }
            ReplicaInput::Received { peer, generation, message } => match message {
                PeerMessage::Consensus(message) => {
                    self.step_core(now, Input::Received { peer, generation, message }, effects);
                }
                PeerMessage::Replica(message) if self.is_present(peer, generation) => {
                    self.received(now, peer, message, effects);
                }
                // An earlier start of the peer may have asked, and the present one counts its questions
                // anew: the answer would be taken for that to a later one.
                PeerMessage::Replica(_) => {}
            },
            ReplicaInput::Write { request, envelope, deadline } => {
                self.take_write(request, envelope, deadline, effects);
            }
            ReplicaInput::Read { request, confirmed, deadline } => {
                if self.requests_pending() >= self.settings.requests_max {
                    conclude(effects, request, Failure::Overloaded);
                } else {
                    self.reads.take(request, confirmed, deadline);
                }
            }
            ReplicaInput::Transfer { request, to, deadline } => {
                if self.requests_pending() >= self.settings.requests_max {
                    conclude(effects, request, Failure::Overloaded);
                } else {
                    self.transfers.take(request, to, deadline);
                }
            }
            ReplicaInput::Lease { request, question, deadline } => {
                if self.requests_pending() >= self.settings.requests_max {
                    conclude(effects, request, Failure::Overloaded);
                } else {
                    self.leases.take(request, question, deadline);
                }
            }
            ReplicaInput::BecomeVoter => self.step_core(now, Input::BecomeVoter, effects),
            ReplicaInput::Persisted(sequence) => {
                self.step_core(now, Input::Persisted(sequence), effects);
            }
            ReplicaInput::Applied(progress) => self.applied(now, progress, effects),
            ReplicaInput::Fetched { purpose, entries } => {
                self.step_core(now, Input::Fetched { purpose, entries }, effects);
            }
            ReplicaInput::Compact(index) => self.step_core(now, Input::Compact(index), effects),
            ReplicaInput::SnapshotReceived { peer, generation, snapshot, message } => {
                let input = Input::SnapshotReceived { peer, generation, snapshot, message };
                self.step_core(now, input, effects);
            }
            ReplicaInput::SnapshotEnded { peer, generation } => {
                self.step_core(now, Input::SnapshotEnded { peer, generation }, effects);
            }
            ReplicaInput::Flush => self.flush(now, effects),
        }
        effects.deadline = self.next_deadline(effects.consensus.deadline);
    }

    fn applied(&mut self, now: Now, progress: Progress, effects: &mut ReplicaEffects<C::Message>) {
        let index = progress.index;
        assert!(index >= self.applied, "what is applied stays applied");
        self.applied = index;
        self.reads.applied(index, &mut effects.conclusions);
        self.compaction.applied(now.time, &progress);
        self.digests.applied(self.settings.id, &progress);
        let last = self.core.view().log.last().index;
        self.leases.applied(now.time, progress, last);
        self.answer_behind_barriers(now, effects);
        self.step_core(now, Input::Applied(index), effects);
    }

    /// Whether a connection is the present one to its peer.
    fn is_present(&self, peer: NodeId, generation: Generation) -> bool {
        self.connections.get(&peer) == Some(&generation)
    }

    /// What a peer asked on an earlier connection is not answered on a later one: it asks again.
    fn forget_questions(&mut self, peer: NodeId) {
        self.reads.lost(peer);
        self.transfers.lost(peer);
        self.leases.lost(peer);
    }

    /// Steps the protocol, and draws from what it says whatever concerns the replica.
    fn step_core(
        &mut self,
        now: Now,
        input: Input<C::Message>,
        effects: &mut ReplicaEffects<C::Message>,
    ) {
        for answer in self.step_core_quietly(now, input, effects) {
            self.answered(now, answer, effects);
        }
    }

    /// As [`Self::step_core`], but leaves the answers to the caller.
    fn step_core_quietly(
        &mut self,
        now: Now,
        input: Input<C::Message>,
        effects: &mut ReplicaEffects<C::Message>,
    ) -> Vec<Answer> {
        let delivered_before = effects.consensus.deliveries.len();
        let installed_before = effects.consensus.install.is_some();
        self.core.step(now, input, &mut effects.consensus);
        if !installed_before && let Some(snapshot) = &effects.consensus.install {
            let position = snapshot.position;
            assert!(position.index > self.delivered, "a snapshot only replaces what is older");
            self.delivered = position.index;
            self.writes.installed(position.term, &mut effects.conclusions);
        }
        for entry in &effects.consensus.deliveries[delivered_before..] {
            assert_eq!(entry.index(), self.delivered.next(), "deliveries have no gaps");
            self.delivered = entry.index();
            self.writes.delivered(&self.settings, entry);
        }
        for leadership in std::mem::take(&mut effects.consensus.leadership) {
            self.change_leadership(leadership);
        }
        std::mem::take(&mut effects.consensus.answers)
    }

    fn change_leadership(&mut self, leadership: Leadership) {
        if let (Some(before), Some(after)) = (self.leadership.term(), leadership.term()) {
            assert!(after >= before, "leadership never goes back to an earlier term");
        }
        self.leadership = leadership;
        self.writes.leadership_changed();
        self.reads.leadership_changed();
        self.transfers.leadership_changed();
        self.compaction.leadership_changed();
        self.digests.leadership_changed();
        self.leases.leadership_changed(leadership, self.core.view().log.last().index);
    }

    fn answered(&mut self, now: Now, answer: Answer, effects: &mut ReplicaEffects<C::Message>) {
        if let Some(asker) = self.transfers.answered(answer.token()) {
            return self.transfer_answered(now, asker, answer, effects);
        }
        let index = match answer {
            Answer::Barrier { index, .. } => Some(index),
            // Refused proposals are answered where they are made; this is a barrier, or a transfer
            // that a node asked for whose connection is gone.
            Answer::Refused { .. } | Answer::HandedOver { .. } | Answer::TransferFailed { .. } => {
                None
            }
        };
        if let Some(batch) = self.leases.answered(answer.token()) {
            return self.lease_barrier(now, batch, index, effects);
        }
        match self.reads.answered(answer.token()) {
            Some(reads::Asker::Peer { peer, attempt }) => {
                effects.messages.push((peer, ReplicaMessage::BarrierReply { attempt, index }));
            }
            Some(reads::Asker::Here { attempt }) => {
                self.barrier_replied(now, attempt, index, effects);
            }
            None => {}
        }
    }

    fn received(
        &mut self,
        now: Now,
        peer: NodeId,
        message: ReplicaMessage,
        effects: &mut ReplicaEffects<C::Message>,
    ) {
        match message {
            ReplicaMessage::Forward { term, envelopes } => {
                self.take_forwarded(now, peer, term, envelopes, effects);
            }
            ReplicaMessage::ForwardRefused { term, requests, reason } => {
                let is_present = self.leadership.term() == Some(term);
                for request in requests {
                    let refused = Refused { term, is_present, request, reason };
                    if let Some(failure) = self.writes.refused(now.time, refused) {
                        conclude(effects, request, failure);
                    }
                }
            }
            ReplicaMessage::BarrierRequest { attempt, confirmed } => {
                let token = self.next_token();
                self.reads.asked(token, reads::Asker::Peer { peer, attempt });
                self.ask_core(now, token, confirmed, effects);
            }
            ReplicaMessage::BarrierReply { attempt, index } => {
                self.barrier_replied(now, attempt, index, effects);
            }
            ReplicaMessage::TransferRequest { attempt, to } => {
                let asker = transfers::Asker::Peer { peer, attempt };
                self.ask_to_transfer(now, asker, to, effects);
            }
            ReplicaMessage::TransferReply { attempt, reply } => {
                self.transfer_replied(now, attempt, reply, effects);
            }
            ReplicaMessage::LeaseRequest { attempt, questions } => {
                let asker = leases::Asker::Peer { peer, attempt };
                self.asked_about_leases(now, asker, questions, effects);
            }
            ReplicaMessage::LeaseReply { attempt, answers } => {
                self.lease_replied(now, attempt, answers, effects);
            }
        }
    }

    fn flush(&mut self, now: Now, effects: &mut ReplicaEffects<C::Message>) {
        self.hand_over_writes(now, effects);
        self.compact_if_due(now, effects);
        self.compare_if_due(now, effects);
        self.count_lease_time(now, effects);
        self.start_barriers(now, effects);
        self.start_transfers(now, effects);
        self.ask_about_leases(now, effects);
        let leadership = self.leadership;
        self.step_core(now, Input::Flush, effects);
        if self.leadership != leadership {
            // What waited for this leader need not wait for the next input as well.
            self.hand_over_writes(now, effects);
            self.start_barriers(now, effects);
            self.start_transfers(now, effects);
            self.ask_about_leases(now, effects);
            self.step_core(now, Input::Flush, effects);
        }
        self.settle_superseded();
        self.settle_by_barrier();
    }

    fn expire(&mut self, now: Now, effects: &mut ReplicaEffects<C::Message>) {
        let leader_known = self.leadership != Leadership::None;
        self.writes.expire(now.time, &mut effects.conclusions);
        self.reads.expire(now.time, leader_known, &mut effects.conclusions);
        self.transfers.expire(now.time, &mut effects.conclusions);
        self.leases.expire(now.time, leader_known, &mut effects.conclusions);
    }

    fn next_token(&mut self) -> Token {
        self.tokens = self.tokens.next();
        self.tokens
    }

    fn next_deadline(&self, core: Option<(Time, Timer)>) -> Option<(Time, ReplicaTimer)> {
        let core = core.map(|(due, timer)| (due, ReplicaTimer::Consensus(timer)));
        let requests = [
            self.writes.next_deadline(),
            self.reads.next_deadline(),
            self.transfers.next_deadline(),
            self.leases.next_deadline(),
        ];
        let requests = requests.into_iter().flatten().min();
        let requests = requests.map(|due| (due, ReplicaTimer::Requests));
        let leases = self.leases.next_clock().map(|due| (due, ReplicaTimer::Leases));
        let upkeep = [self.compaction.next_deadline(), self.digests.next_deadline(self.leadership)];
        let upkeep = upkeep.into_iter().flatten().min();
        let upkeep = upkeep.map(|due| (due, ReplicaTimer::Upkeep));
        [core, requests, leases, upkeep].into_iter().flatten().min()
    }
}

fn conclude<M>(effects: &mut ReplicaEffects<M>, request: RequestId, failure: Failure) {
    effects.conclusions.push((request, Conclusion::Failed(failure)));
}

/// The request that an envelope carries, if it is an envelope of this node's present start.
fn own_request(settings: &ReplicaSettings, envelope: &Bytes) -> Option<RequestId> {
    let header = Envelope::header(envelope).ok()?;
    let own = header.origin == settings.id && header.incarnation == settings.incarnation;
    own.then_some(header.request)
}
