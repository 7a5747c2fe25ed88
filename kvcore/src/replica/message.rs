//! What replicas say to one another besides the protocol: forwarded writes and read barriers.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};
use consensus::{Index, Refusal, Term};

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
}

impl fmt::Display for ReplicaMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward { term, envelopes } => {
                write!(f, "Forward term={term} writes={}", envelopes.len())
            }
            Self::ForwardRefused { requests, reason } => {
                write!(f, "ForwardRefused writes={} reason={reason:?}", requests.len())
            }
            Self::BarrierRequest { attempt, confirmed } => {
                write!(f, "BarrierRequest attempt={attempt} confirmed={confirmed}")
            }
            Self::BarrierReply { attempt, index } => {
                write!(f, "BarrierReply attempt={attempt} index={index:?}")
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
            Self::ForwardRefused { requests, reason } => {
                out.put_u8(1);
                out.put_u8(match reason {
                    Refusal::NotLeader => 0,
                    Refusal::Overloaded => 1,
                    Refusal::NotReady => 2,
                });
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
                let reason = match codec::get_u8(input)? {
                    0 => Refusal::NotLeader,
                    1 => Refusal::Overloaded,
                    2 => Refusal::NotReady,
                    _ => return Err(CodecError::Invalid("refusal")),
                };
                let count = get_count(input)?;
                let requests = (0..count)
                    .map(|_| codec::get_u64(input).map(RequestId))
                    .collect::<Result<_, _>>()?;
                Ok(Self::ForwardRefused { requests, reason })
            }
            2 => Ok(Self::BarrierRequest {
                attempt: codec::get_u64(input)?,
                confirmed: bool::decode(input)?,
            }),
            3 => Ok(Self::BarrierReply {
                attempt: codec::get_u64(input)?,
                index: Option::decode(input)?,
            }),
            _ => Err(CodecError::Invalid("replica message kind")),
        }
    }
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
