//! Who counts: voters decide together, observers only follow what was decided.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::{self, CodecError, Wire};

/// Whether what a node says counts: its votes, its acknowledgements, that it was heard.
///
/// It is a property of a node's durable memory, not only of its place in the configuration. An
/// observer (Raft thesis §4.2.1 calls it a non-voting server, etcd a learner; ZooKeeper an observer)
/// is synchronized like everybody else and never counts. So is a voter that does not remember what
/// it promised, because its directory was lost or is new: counting it again could make a quorum out of
/// nodes that do not hold what a quorum once acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It votes, acknowledges and counts.
    #[default]
    Voter,
    /// It is synchronized, and neither votes nor acknowledges nor counts nor campaigns.
    Observer,
}

impl Standing {
    /// The standing's name for users.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::Observer => "observer",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Wire for Standing {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(match self {
            Self::Voter => 0,
            Self::Observer => 1,
        });
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        match codec::get_u8(input)? {
            0 => Ok(Self::Voter),
            1 => Ok(Self::Observer),
            _ => Err(CodecError::Invalid("standing")),
        }
    }
}
