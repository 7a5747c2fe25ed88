//! What clients of this node ask of leases, from arrival to the leader's answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};
use consensus::{NodeId, Time};

use crate::RequestId;
use crate::lease::LeaseId;
use crate::replica::{Conclusion, Failure, RETRY_WAIT};

/// How long to wait for an answer before asking again: the question or the answer may have been lost with a
/// connection.
const ANSWER_WAIT: Duration = Duration::from_millis(500);
/// The most questions that are asked together.
pub(in crate::replica) const QUESTIONS_MAX: usize = 1024;
/// The most barriers that may be under way for other nodes' questions.
pub(super) const ASKED_MAX: usize = 1024;

/// A question about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseQuestion {
    /// Which.
    pub lease: LeaseId,
    /// Whether it is to have all of its time again, or only to be looked at.
    pub renew: bool,
}

/// What the leader says of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaseAnswer {
    /// There is no such lease.
    Unknown,
    /// It has all of its time from when the leader was asked.
    Renewed {
        /// How long that is, in milliseconds.
        ttl_millis: u64,
    },
    /// It is renewed only by a [`crate::LeaseCommand::Renew`]: the log says less than that all of its time
    /// is left, or is about to.
    MustLog,
    /// So it stands with its time.
    Remaining {
        /// How long it lives when it is renewed, in milliseconds.
        ttl_millis: u64,
        /// How long it lives if it is not, in milliseconds.
        remaining_millis: u64,
    },
}

/// Who asked the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::replica) enum Asker {
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

/// Questions that were asked together.
#[derive(Clone, Debug, Hash)]
pub(in crate::replica) struct Batch {
    pub(super) asker: Asker,
    pub(super) questions: Vec<LeaseQuestion>,
}

/// The questions that wait for an answer.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Questions {
    waiting: BTreeMap<RequestId, (LeaseQuestion, Time)>,
    deadlines: BTreeSet<(Time, RequestId)>,
    /// Questions without an attempt.
    unasked: BTreeSet<RequestId>,
    attempts: u64,
    attempt: Option<Attempt>,
    /// The leader did not answer for itself: it is asked again only after this.
    retry_at: Option<Time>,
}

#[derive(Clone, Debug, Hash)]
struct Attempt {
    number: u64,
    requests: Vec<RequestId>,
    give_up_at: Time,
}

impl Questions {
    pub(super) fn pending(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let give_up_at = self.attempt.as_ref().map(|attempt| attempt.give_up_at);
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        [give_up_at, deadline, self.retry_at].into_iter().flatten().min()
    }

    pub(super) fn take(&mut self, request: RequestId, question: LeaseQuestion, deadline: Time) {
        let former = self.waiting.insert(request, (question, deadline));
        assert!(former.is_none(), "a request's number is used once");
        self.deadlines.insert((deadline, request));
        self.unasked.insert(request);
    }

    /// The questions to be asked now, under the number of an attempt.
    pub(super) fn ask(&mut self, now: Time) -> Option<(u64, Vec<LeaseQuestion>)> {
        let is_idle = self.attempt.is_none() && self.retry_at.is_none();
        if !is_idle || self.unasked.is_empty() {
            return None;
        }
        self.attempts += 1;
        let number = self.attempts;
        let requests: Vec<RequestId> = self.unasked.iter().take(QUESTIONS_MAX).copied().collect();
        for request in &requests {
            self.unasked.remove(request);
        }
        let questions = requests.iter().map(|request| self.waiting[request].0).collect();
        self.attempt = Some(Attempt { number, requests, give_up_at: now + ANSWER_WAIT });
        Some((number, questions))
    }

    /// Whoever was asked does not lead any more.
    pub(super) fn ask_again(&mut self) {
        self.retry_at = None;
        if let Some(attempt) = self.attempt.take() {
            self.give_up(attempt);
        }
    }

    fn give_up(&mut self, attempt: Attempt) {
        let waiting = &self.waiting;
        let requests = attempt.requests.into_iter();
        self.unasked.extend(requests.filter(|request| waiting.contains_key(request)));
    }

    /// An attempt was answered. `None` says that whoever was asked can not answer.
    pub(super) fn replied(
        &mut self,
        now: Time,
        number: u64,
        answers: Option<Vec<LeaseAnswer>>,
        out: &mut Vec<(RequestId, Conclusion)>,
    ) {
        let Some(attempt) = self.attempt.take_if(|attempt| attempt.number == number) else {
            return;
        };
        let answers = answers.filter(|answers| answers.len() == attempt.requests.len());
        let Some(answers) = answers else {
            self.retry_at = Some(now + RETRY_WAIT);
            return self.give_up(attempt);
        };
        for (request, answer) in attempt.requests.into_iter().zip(answers) {
            // Its time may have been up before.
            if let Some((_, deadline)) = self.waiting.remove(&request) {
                self.deadlines.remove(&(deadline, request));
                out.push((request, Conclusion::Lease(answer)));
            }
        }
    }

    /// Ends the questions whose time is up, and gives up an attempt that is not answered.
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
            self.unasked.remove(&request);
            let failure = if leader_known { Failure::NoQuorum } else { Failure::NoLeader };
            out.push((request, Conclusion::Failed(failure)));
        }
        if let Some(attempt) = self.attempt.take_if(|attempt| attempt.give_up_at <= now) {
            self.give_up(attempt);
        }
        self.retry_at = self.retry_at.filter(|retry_at| *retry_at > now);
    }
}

impl Wire for LeaseQuestion {
    fn encode(&self, out: &mut BytesMut) {
        self.lease.encode(out);
        self.renew.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(Self { lease: LeaseId::decode(input)?, renew: bool::decode(input)? })
    }
}

impl Wire for LeaseAnswer {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Unknown => out.put_u8(0),
            Self::Renewed { ttl_millis } => {
                out.put_u8(1);
                out.put_u64_le(*ttl_millis);
            }
            Self::MustLog => out.put_u8(2),
            Self::Remaining { ttl_millis, remaining_millis } => {
                out.put_u8(3);
                out.put_u64_le(*ttl_millis);
                out.put_u64_le(*remaining_millis);
            }
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(match codec::get_u8(input)? {
            0 => Self::Unknown,
            1 => Self::Renewed { ttl_millis: codec::get_u64(input)? },
            2 => Self::MustLog,
            3 => Self::Remaining {
                ttl_millis: codec::get_u64(input)?,
                remaining_millis: codec::get_u64(input)?,
            },
            _ => return Err(CodecError::Invalid("answer about a lease")),
        })
    }
}
