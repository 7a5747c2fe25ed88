//! Which part of a role each input concerns, and the role's name and phase in ZooKeeper's words.

use consensus::{Answer, FetchPurpose, Input, NodeId, Refusal, Timer};

use crate::message::ZabMessage;
use crate::node::Context;
use crate::role::{Flow, Phase, Role, STAY, Stage};

impl Role {
    /// ZooKeeper's word for the role.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Looking(_) => "LOOKING",
            Self::Following(following) => following.name(),
            Self::Leading(_) => "LEADING",
        }
    }

    /// The phase of the protocol within the role.
    pub(crate) fn phase(&self) -> Option<&'static str> {
        match self {
            Self::Looking(_) => None,
            Self::Following(following) => Some(match following.stage {
                Stage::Discovery | Stage::EpochAcked { .. } => "discovery",
                Stage::Receiving { .. } | Stage::Joined { .. } => "synchronization",
                Stage::Broadcast { .. } => "broadcast",
            }),
            Self::Leading(leading) => Some(match leading.phase {
                Phase::Gathering
                | Phase::PersistingAccepted { .. }
                | Phase::AwaitingAcks { .. }
                | Phase::PersistingCurrent { .. } => "discovery",
                Phase::Synchronizing { .. } => "synchronization",
                Phase::Broadcasting { .. } => "broadcast",
            }),
        }
    }

    /// Hands an input to the role.
    pub(crate) fn take(&mut self, cx: &mut Context<'_>, input: Input<ZabMessage>) -> Flow {
        match input {
            Input::Timer(timer) => self.timer(cx, timer),
            Input::Received { peer, generation, message } => {
                if !cx.is_current(peer, generation) {
                    return STAY;
                }
                self.received(cx, peer, message)
            }
            Input::SnapshotReceived { peer, generation, snapshot, message } => {
                match (self, message) {
                    (Self::Following(following), ZabMessage::Snap { session, epoch })
                        if following.leader == peer && cx.is_current(peer, generation) =>
                    {
                        following.snapshot_received(cx, snapshot, (session, epoch))
                    }
                    _ => STAY,
                }
            }
            Input::SnapshotEnded { peer, generation } => {
                if let Self::Leading(leading) = self
                    && cx.is_current(peer, generation)
                {
                    leading.snapshot_ended(cx, peer);
                }
                STAY
            }
            Input::Compact(index) => {
                cx.core.log.compact_to(index);
                STAY
            }
            Input::Propose { token, command } => match self {
                Self::Leading(leading) => leading.propose(cx, token, command),
                _ => refuse(cx, token),
            },
            Input::ReadBarrier { token } => match self {
                Self::Leading(leading) => leading.read_barrier(cx, token),
                _ => refuse(cx, token),
            },
            Input::Sync { token } => match self {
                Self::Leading(leading) => leading.sync(cx, token),
                _ => refuse(cx, token),
            },
            Input::TransferLeadership { token, to } => match self {
                Self::Leading(leading) => leading.transfer_leadership(cx, token, to),
                _ => refuse(cx, token),
            },
            Input::Persisted(sequence) => {
                cx.core.log.persisted(sequence);
                match self {
                    Self::Looking(looking) => looking.begin_when_settled(cx),
                    Self::Following(_) => STAY,
                    Self::Leading(leading) => leading.persisted(cx),
                }
            }
            Input::Applied(index) => {
                cx.core.log.applied_to(index, cx.effects);
                STAY
            }
            Input::Fetched { purpose: FetchPurpose::Deliver, entries } => {
                cx.core.log.delivery_fetched(entries, cx.effects);
                STAY
            }
            Input::Fetched { purpose: FetchPurpose::Replicate(peer), entries } => {
                if let Some(peer) = cx.core.peers.get_mut(&peer) {
                    peer.fetching = false;
                }
                if let Self::Leading(leading) = self {
                    leading.fetched(cx, peer, entries);
                }
                STAY
            }
            Input::Flush => self.flush(cx),
            Input::PeerConnected { .. } | Input::PeerLost { .. } | Input::BecomeVoter => {
                unreachable!("connections and standing are the server's, not the role's")
            }
        }
    }

    fn timer(&mut self, cx: &mut Context<'_>, timer: Timer) -> Flow {
        // A timer runs once; whoever still needs it sets it again.
        let due = cx.core.timers.due(timer);
        cx.core.timers.cancel(timer);
        match self {
            Self::Looking(looking) => looking.timer(cx, timer),
            Self::Following(following) => following.timer(cx, timer),
            Self::Leading(leading) => leading.timer(cx, timer, due),
        }
    }

    fn received(&mut self, cx: &mut Context<'_>, from: NodeId, message: ZabMessage) -> Flow {
        match self {
            Self::Looking(looking) => looking.received(cx, from, message),
            Self::Following(following) => following.received(cx, from, message),
            Self::Leading(leading) => leading.received(cx, from, message),
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Flow {
        cx.core.log.persist(cx.effects);
        let flow = match self {
            Self::Looking(_) => STAY,
            Self::Following(following) => {
                following.flush(cx);
                STAY
            }
            Self::Leading(leading) => leading.flush(cx),
        };
        cx.core.log.deliver(cx.effects);
        flow
    }
}

fn refuse(cx: &mut Context<'_>, token: consensus::Token) -> Flow {
    cx.effects.answers.push(Answer::Refused { token, reason: Refusal::NotLeader });
    STAY
}
