//! What replicas say to one another besides the protocol: forwarded writes, read barriers, transfers
//! of leadership.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};
use consensus::{Index, NodeId, Refusal, Term};

use super::leases::QUESTIONS_MAX;
use super::{LeaseAnswer, LeaseQuestion};
use crate::RequestId;

/// A message between two nodes: the protocol's own, or the replica's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerMessage<M> {
    /// A message of the consensus protocol.
    Consensus(M),
    /// A message of the layer above it.
    Replica(ReplicaMessage),
}

/// A message between the replicas of two nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReplicaMessage {
    /// Writes for the leader of this term or epoch, and for no other. There is no answer when they
    /// are appended: the node that was asked sees them applied.
    Forward {
        /// The term or epoch in which the receiver is believed to lead.
        term: Term,
        /// The encoded envelopes.
        envelopes: Vec<Bytes>,
    },
    /// These writes were not appended and never will be on behalf of that message.
    ForwardRefused {
        /// The term or epoch of the [`ReplicaMessage::Forward`] that is refused: a write with an
        /// idempotency key may have been forwarded in several.
        term: Term,
        /// Which of the sender's requests.
        requests: Vec<RequestId>,
        /// Why.
        reason: Refusal,
    },
    /// Asks the leader for a barrier.
    BarrierRequest {
        /// The asking node's name for this attempt, never used before.
        attempt: u64,
        /// Whether a quorum must confirm it (a linearizable read), or the leader's word is enough
        /// (ZooKeeper's `sync`).
        confirmed: bool,
    },
    /// The answer to a [`ReplicaMessage::BarrierRequest`].
    BarrierReply {
        /// The attempt it answers.
        attempt: u64,
        /// The index to wait for; `None` when the receiver could not confirm that it leads.
        index: Option<Index>,
    },
    /// Asks the leader to hand over its office.
    TransferRequest {
        /// The asking node's name for this attempt.
        attempt: u64,
        /// The successor; `None` leaves the choice to the leader.
        to: Option<NodeId>,
    },
    /// The answer to a [`ReplicaMessage::TransferRequest`].
    TransferReply {
        /// The attempt it answers.
        attempt: u64,
        /// What came of it.
        reply: TransferReply,
    },
    /// Asks the leader about leases.
    LeaseRequest {
        /// The asking node's name for this attempt, never used before.
        attempt: u64,
        /// What is asked.
        questions: Vec<LeaseQuestion>,
    },
    /// The answer to a [`ReplicaMessage::LeaseRequest`].
    LeaseReply {
        /// The attempt it answers.
        attempt: u64,
        /// To each question; `None` when the receiver could not confirm that it leads.
        answers: Option<Vec<LeaseAnswer>>,
    },
}

/// What a leader says to whoever asked it to hand over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransferReply {
    /// It has given up its office.
    HandedOver,
    /// It leads on, because it could not hand over in time.
    Failed,
    /// It did not even begin.
    Refused(Refusal),
}

impl fmt::Display for ReplicaMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward { term, envelopes } => {
                write!(f, "Forward term={term} writes={}", envelopes.len())
            }
            Self::ForwardRefused { term, requests, reason } => {
                write!(f, "ForwardRefused term={term} writes={} reason={reason:?}", requests.len())
            }
            Self::BarrierRequest { attempt, confirmed } => {
                write!(f, "BarrierRequest attempt={attempt} confirmed={confirmed}")
            }
            Self::BarrierReply { attempt, index } => {
                write!(f, "BarrierReply attempt={attempt} index={index:?}")
            }
            Self::TransferRequest { attempt, to: Some(to) } => {
                write!(f, "TransferRequest attempt={attempt} to={to}")
            }
            Self::TransferRequest { attempt, to: None } => {
                write!(f, "TransferRequest attempt={attempt}")
            }
            Self::TransferReply { attempt, reply } => {
                write!(f, "TransferReply attempt={attempt} {reply:?}")
            }
            Self::LeaseRequest { attempt, questions } => {
                write!(f, "LeaseRequest attempt={attempt} leases={}", questions.len())
            }
            Self::LeaseReply { attempt, answers } => {
                let answers = answers.as_ref().map(Vec::len);
                write!(f, "LeaseReply attempt={attempt} answers={answers:?}")
            }
        }
    }
}

impl ReplicaMessage {
    /// The message's name for counters and traces.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Forward { .. } => "Forward",
            Self::ForwardRefused { .. } => "ForwardRefused",
            Self::BarrierRequest { .. } => "BarrierRequest",
            Self::BarrierReply { .. } => "BarrierReply",
            Self::TransferRequest { .. } => "TransferRequest",
            Self::TransferReply { .. } => "TransferReply",
            Self::LeaseRequest { .. } => "LeaseRequest",
            Self::LeaseReply { .. } => "LeaseReply",
        }
    }
}

impl<M: Wire> Wire for PeerMessage<M> {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Consensus(message) => {
                out.put_u8(0);
                message.encode(out);
            }
            Self::Replica(message) => {
                out.put_u8(1);
                message.encode(out);
            }
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        match codec::get_u8(input)? {
            0 => M::decode(input).map(Self::Consensus),
            1 => ReplicaMessage::decode(input).map(Self::Replica),
            _ => Err(CodecError::Invalid("peer message layer")),
        }
    }
}

impl Wire for ReplicaMessage {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Forward { term, envelopes } => {
                out.put_u8(0);
                term.encode(out);
                put_count(out, envelopes.len());
                for envelope in envelopes {
                    codec::put_bytes(out, envelope);
                }
            }
            Self::ForwardRefused { term, requests, reason } => {
                out.put_u8(1);
                term.encode(out);
                put_refusal(out, *reason);
                put_count(out, requests.len());
                for request in requests {
                    out.put_u64_le(request.0);
                }
            }
            Self::BarrierRequest { attempt, confirmed } => {
                out.put_u8(2);
                out.put_u64_le(*attempt);
                confirmed.encode(out);
            }
            Self::BarrierReply { attempt, index } => {
                out.put_u8(3);
                out.put_u64_le(*attempt);
                index.encode(out);
            }
            Self::TransferRequest { attempt, to } => {
                out.put_u8(4);
                out.put_u64_le(*attempt);
                to.encode(out);
            }
            Self::TransferReply { attempt, reply } => {
                out.put_u8(5);
                out.put_u64_le(*attempt);
                match reply {
                    TransferReply::HandedOver => out.put_u8(0),
                    TransferReply::Failed => out.put_u8(1),
                    TransferReply::Refused(reason) => {
                        out.put_u8(2);
                        put_refusal(out, *reason);
                    }
                }
            }
            Self::LeaseRequest { attempt, questions } => {
                out.put_u8(6);
                out.put_u64_le(*attempt);
                codec::put_list(out, questions);
            }
            Self::LeaseReply { attempt, answers } => {
                out.put_u8(7);
                out.put_u64_le(*attempt);
                answers.is_some().encode(out);
                if let Some(answers) = answers {
                    codec::put_list(out, answers);
                }
            }
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        match codec::get_u8(input)? {
            0 => {
                let term = Term::decode(input)?;
                let count = get_count(input)?;
                let envelopes =
                    (0..count).map(|_| codec::get_bytes(input)).collect::<Result<_, _>>()?;
                Ok(Self::Forward { term, envelopes })
            }
            1 => {
                let term = Term::decode(input)?;
                let reason = get_refusal(input)?;
                let count = get_count(input)?;
                let requests = (0..count)
                    .map(|_| codec::get_u64(input).map(RequestId))
                    .collect::<Result<_, _>>()?;
                Ok(Self::ForwardRefused { term, requests, reason })
            }
            2 => Ok(Self::BarrierRequest {
                attempt: codec::get_u64(input)?,
                confirmed: bool::decode(input)?,
            }),
            3 => Ok(Self::BarrierReply {
                attempt: codec::get_u64(input)?,
                index: Option::decode(input)?,
            }),
            4 => Ok(Self::TransferRequest {
                attempt: codec::get_u64(input)?,
                to: Option::decode(input)?,
            }),
            5 => Ok(Self::TransferReply {
                attempt: codec::get_u64(input)?,
                reply: match codec::get_u8(input)? {
                    0 => TransferReply::HandedOver,
                    1 => TransferReply::Failed,
                    2 => TransferReply::Refused(get_refusal(input)?),
                    _ => return Err(CodecError::Invalid("answer to a transfer")),
                },
            }),
            6 => Ok(Self::LeaseRequest {
                attempt: codec::get_u64(input)?,
                questions: get_about_leases(input)?,
            }),
            7 => Ok(Self::LeaseReply {
                attempt: codec::get_u64(input)?,
                answers: if bool::decode(input)? { Some(get_about_leases(input)?) } else { None },
            }),
            _ => Err(CodecError::Invalid("replica message kind")),
        }
    }
}

/// Questions or answers: no more than are asked together.
fn get_about_leases<T: Wire>(input: &mut Bytes) -> Result<Vec<T>, CodecError> {
    let list: Vec<T> = codec::get_list(input)?;
    if list.len() > QUESTIONS_MAX { Err(CodecError::Invalid("questions")) } else { Ok(list) }
}

fn put_refusal(out: &mut BytesMut, reason: Refusal) {
    out.put_u8(match reason {
        Refusal::NotLeader => 0,
        Refusal::Overloaded => 1,
        Refusal::NotReady => 2,
        Refusal::Transferring => 3,
        Refusal::NoSuccessor => 4,
    });
}

fn get_refusal(input: &mut Bytes) -> Result<Refusal, CodecError> {
    Ok(match codec::get_u8(input)? {
        0 => Refusal::NotLeader,
        1 => Refusal::Overloaded,
        2 => Refusal::NotReady,
        3 => Refusal::Transferring,
        4 => Refusal::NoSuccessor,
        _ => return Err(CodecError::Invalid("refusal")),
    })
}

fn put_count(out: &mut BytesMut, count: usize) {
    assert!(count <= codec::LIST_LENGTH_MAX, "a list is within its bound");
    out.put_u32_le(u32::try_from(count).expect("checked above"));
}

/// The number of elements that follow. Collecting them allocates only as they really arrive, for
/// each takes at least four bytes of a frame whose own length is bounded.
fn get_count(input: &mut Bytes) -> Result<usize, CodecError> {
    let count = codec::get_u32(input)? as usize;
    if count > codec::LIST_LENGTH_MAX || count > input.len() / 4 {
        return Err(CodecError::Invalid("list length"));
    }
    Ok(count)
}
