//! Transfers of leadership that clients of this node ask for, or that other nodes ask of this one.
//!
//! The leader is asked, wherever it is. Whether it hands over, it says; that the transfer is done, this
//! node sees for itself: a leader of a later term is established. So a transfer whose answer is lost is
//! not in doubt for longer than the election that follows.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{Answer, Consensus, Input, Leadership, NodeId, Now, Refusal, Term, Time, Token};

use super::{
    Conclusion, Failure, RETRY_WAIT, Replica, ReplicaEffects, ReplicaMessage, TransferReply,
    conclude,
};
use crate::RequestId;

/// All transfers that wait for their end.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Transfers {
    waiting: BTreeMap<RequestId, Waiting>,
    deadlines: BTreeSet<(Time, RequestId)>,
    /// The leader that was asked did not lead: nobody is asked before this.
    retry_at: Option<Time>,
    attempts: u64,
    /// The question put to the protocol here, and who asked it: the protocol refuses a second one at
    /// once.
    asked: BTreeMap<Token, Asker>,
}

#[derive(Clone, Debug, Hash)]
struct Waiting {
    to: Option<NodeId>,
    deadline: Time,
    asked: Option<Asked>,
}

/// Whom a transfer was asked of.
#[derive(Clone, Copy, Debug, Hash)]
struct Asked {
    attempt: u64,
    leader: NodeId,
    term: Term,
}

/// Who asked for a transfer.
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

impl Transfers {
    pub(super) fn pending(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let deadline = self.deadlines.first().map(|&(deadline, _)| deadline);
        deadline.into_iter().chain(self.retry_at).min()
    }

    pub(super) fn take(&mut self, request: RequestId, to: Option<NodeId>, deadline: Time) {
        let former = self.waiting.insert(request, Waiting { to, deadline, asked: None });
        assert!(former.is_none(), "a request's number is used once");
        self.deadlines.insert((deadline, request));
    }

    /// Who put this question to the protocol, if it is one of these.
    pub(super) fn answered(&mut self, token: Token) -> Option<Asker> {
        self.asked.remove(&token)
    }

    /// There is another leader to ask, or none.
    pub(super) fn leadership_changed(&mut self) {
        self.retry_at = None;
    }

    /// A peer's connection broke: it sees for itself what becomes of what it asked for.
    pub(super) fn lost(&mut self, lost: NodeId) {
        self.asked.retain(|_, asker| !matches!(asker, Asker::Peer { peer, .. } if *peer == lost));
    }

    /// Ends the transfers whose time is up.
    pub(super) fn expire(&mut self, now: Time, conclusions: &mut Vec<(RequestId, Conclusion)>) {
        while let Some(&(deadline, request)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            let waiting = self.remove(request).expect("a deadline belongs to a waiting transfer");
            let failure = match waiting.asked {
                None => Failure::NoLeader,
                Some(_) => Failure::TransferFailed,
            };
            conclusions.push((request, Conclusion::Failed(failure)));
        }
        if self.retry_at.is_some_and(|retry_at| retry_at <= now) {
            self.retry_at = None;
        }
    }

    fn remove(&mut self, request: RequestId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&request)?;
        self.deadlines.remove(&(waiting.deadline, request));
        Some(waiting)
    }

    /// Ends those that the present leader shows to have ended. Returns those to be asked for now.
    fn look_at(
        &mut self,
        (leader, term): (NodeId, Term),
        conclusions: &mut Vec<(RequestId, Conclusion)>,
    ) -> Vec<RequestId> {
        let mut ended = Vec::new();
        let mut due = Vec::new();
        for (&request, waiting) in &self.waiting {
            match waiting.asked {
                _ if waiting.to == Some(leader) => {
                    ended.push((request, Conclusion::Transferred { leader }));
                }
                Some(asked) if term > asked.term => {
                    let done = waiting.to.is_none() && leader != asked.leader;
                    let failed = Conclusion::Failed(Failure::TransferFailed);
                    let transferred = Conclusion::Transferred { leader };
                    ended.push((request, if done { transferred } else { failed }));
                }
                None if self.retry_at.is_none() => due.push(request),
                Some(_) | None => {}
            }
        }
        for &(request, _) in &ended {
            self.remove(request);
        }
        conclusions.extend(ended);
        due
    }
}

impl<C: Consensus> Replica<C> {
    /// Asks the leader for the transfers that wait, and ends those that are done.
    pub(super) fn start_transfers(&mut self, now: Now, effects: &mut ReplicaEffects<C::Message>) {
        let (leader, term) = match self.leadership {
            Leadership::None => return,
            Leadership::Following { leader, term } => (leader, term),
            Leadership::Established { term } => (self.settings.id, term),
        };
        for request in self.transfers.look_at((leader, term), &mut effects.conclusions) {
            self.transfers.attempts += 1;
            let attempt = self.transfers.attempts;
            let Some(waiting) = self.transfers.waiting.get_mut(&request) else { continue };
            waiting.asked = Some(Asked { attempt, leader, term });
            let to = waiting.to;
            if leader == self.settings.id {
                self.ask_to_transfer(now, Asker::Here { attempt }, to, effects);
            } else {
                let message = ReplicaMessage::TransferRequest { attempt, to };
                effects.messages.push((leader, message));
            }
        }
    }

    /// Asks the protocol here to hand over.
    pub(super) fn ask_to_transfer(
        &mut self,
        now: Now,
        asker: Asker,
        to: Option<NodeId>,
        effects: &mut ReplicaEffects<C::Message>,
    ) {
        let token = self.next_token();
        self.transfers.asked.insert(token, asker);
        self.step_core(now, Input::TransferLeadership { token, to }, effects);
    }

    /// The protocol here has answered: whoever asked is told.
    pub(super) fn transfer_answered(
        &mut self,
        now: Now,
        asker: Asker,
        answer: Answer,
        effects: &mut ReplicaEffects<C::Message>,
    ) {
        let reply = match answer {
            Answer::Refused { reason, .. } => TransferReply::Refused(reason),
            Answer::HandedOver { .. } => TransferReply::HandedOver,
            Answer::TransferFailed { .. } => TransferReply::Failed,
            Answer::Barrier { .. } => panic!("a transfer is not answered with a barrier"),
        };
        match asker {
            Asker::Here { attempt } => self.transfer_replied(now, attempt, reply, effects),
            Asker::Peer { peer, attempt } => {
                effects.messages.push((peer, ReplicaMessage::TransferReply { attempt, reply }));
            }
        }
    }

    /// The node that was asked has answered.
    pub(super) fn transfer_replied(
        &mut self,
        now: Now,
        attempt: u64,
        reply: TransferReply,
        effects: &mut ReplicaEffects<C::Message>,
    ) {
        let of = |waiting: &Waiting| waiting.asked.is_some_and(|asked| asked.attempt == attempt);
        let waiting = &mut self.transfers.waiting;
        let Some((&request, waiting)) = waiting.iter_mut().find(|(_, waiting)| of(waiting)) else {
            return;
        };
        let failure = match reply {
            // The successor will be seen to lead.
            TransferReply::HandedOver => return,
            TransferReply::Refused(
                Refusal::NotLeader | Refusal::NotReady | Refusal::Overloaded,
            ) => {
                waiting.asked = None;
                self.transfers.retry_at = Some(now.time + RETRY_WAIT);
                return;
            }
            TransferReply::Refused(Refusal::Transferring) => Failure::TransferUnderWay,
            TransferReply::Refused(Refusal::NoSuccessor) => Failure::NoSuccessor,
            TransferReply::Failed => Failure::TransferFailed,
        };
        self.transfers.remove(request);
        conclude(effects, request, failure);
    }
}
