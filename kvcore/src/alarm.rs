//! Alarms: a replica whose state is not what it should be.
//!
//! Replicas that applied the same entries have the same state, and so the same digest of it. Now and then
//! the leader says in the log what its digest was after an entry; each replica, when it applies that, looks
//! what its own was. One that had another raises an alarm about itself, in the log too, so that every node
//! knows of it and still does after a restart. Which of two replicas that differ is wrong nobody can tell;
//! so while an alarm stands no node reads or changes keys and leases for anybody, and
//! somebody has to look. Watches that are open go on.
//!
//! A replica that does not know its state after that entry any more, because it started since, got a
//! snapshot, or applied [`crate::RECENT_STATES_MAX`] entries more before the comparison came, compares nothing
//! and counts that; the next comparison is never far.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};
use consensus::{Index, NodeId};

use crate::snapshot::get_u128;

/// The most alarms that stand at a time; there are far fewer nodes.
pub const ALARMS_MAX: usize = 256;

/// Two replicas made different states of the same log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Corruption {
    /// The entry after which their states were compared.
    pub index: Index,
    /// The replica with whose digest that of the node was compared: the leader of that time.
    pub compared_with: NodeId,
}

/// How many comparisons came to what at a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comparisons {
    /// Its digest was that of the leader.
    pub equal: u64,
    /// It was another.
    pub different: u64,
    /// It did not know its digest after that entry any more.
    pub impossible: u64,
}

/// The alarms that stand, by the nodes that they are about.
pub type Alarms = BTreeMap<NodeId, Corruption>;

/// Something about alarms, as it travels through the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlarmCommand {
    /// The digest of the whole state after an entry, at the leader: all others compare their own.
    Compare {
        /// The entry.
        index: Index,
        /// The leader's digest.
        digest: u128,
        /// The leader.
        leader: NodeId,
    },
    /// A node's state is not that of another node.
    Raise {
        /// The node.
        node: NodeId,
        /// What was found.
        corruption: Corruption,
    },
    /// Ends the alarm about a node.
    Clear {
        /// The node.
        node: NodeId,
    },
}

impl Wire for Corruption {
    fn encode(&self, out: &mut BytesMut) {
        self.index.encode(out);
        self.compared_with.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(Self { index: Index::decode(input)?, compared_with: NodeId::decode(input)? })
    }
}

impl Wire for AlarmCommand {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Compare { index, digest, leader } => {
                out.put_u8(0);
                index.encode(out);
                out.put_u128_le(*digest);
                leader.encode(out);
            }
            Self::Raise { node, corruption } => {
                out.put_u8(1);
                node.encode(out);
                corruption.encode(out);
            }
            Self::Clear { node } => {
                out.put_u8(2);
                node.encode(out);
            }
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(match codec::get_u8(input)? {
            0 => Self::Compare {
                index: Index::decode(input)?,
                digest: get_u128(input)?,
                leader: NodeId::decode(input)?,
            },
            1 => {
                Self::Raise { node: NodeId::decode(input)?, corruption: Corruption::decode(input)? }
            }
            2 => Self::Clear { node: NodeId::decode(input)? },
            _ => return Err(CodecError::Invalid("command about alarms")),
        })
    }
}
