//! Conditions on single keys: what `/v1` says beside a write.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};

use crate::store::Revision;

/// What must be so of a key for a command to be carried out. An absent key has version 0 and was
/// modified at revision 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Condition {
    /// The key does not exist.
    Absent,
    /// The key was written this many times since it was created.
    Version(u64),
    /// The key was last written by this revision.
    ModRevision(Revision),
    /// The key exists and has this value.
    Value(Bytes),
}

impl Wire for Condition {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Absent => out.put_u8(0),
            Self::Version(version) => {
                out.put_u8(1);
                out.put_u64_le(*version);
            }
            Self::ModRevision(revision) => {
                out.put_u8(2);
                out.put_u64_le(revision.0);
            }
            Self::Value(value) => {
                out.put_u8(3);
                codec::put_bytes(out, value);
            }
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        match codec::get_u8(input)? {
            0 => Ok(Self::Absent),
            1 => Ok(Self::Version(codec::get_u64(input)?)),
            2 => Ok(Self::ModRevision(Revision(codec::get_u64(input)?))),
            3 => Ok(Self::Value(codec::get_bytes(input)?)),
            _ => Err(CodecError::Invalid("condition")),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => write!(f, "the key is absent"),
            Self::Version(version) => write!(f, "the version is {version}"),
            Self::ModRevision(revision) => write!(f, "the mod_revision is {revision}"),
            Self::Value(value) => write!(f, "the value is a certain one of {} bytes", value.len()),
        }
    }
}

/// Most commands have no conditions, and an empty list needs no memory.
pub(super) fn get_conditions(input: &mut Bytes) -> Result<Vec<Condition>, CodecError> {
    match input.first_chunk::<4>() {
        Some([0, 0, 0, 0]) => {
            let _ = input.split_to(4);
            Ok(Vec::new())
        }
        _ => codec::get_list(input),
    }
}
