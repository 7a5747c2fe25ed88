//! Entries of the replicated log.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::codec::{self, CodecError, Wire};
use crate::{Index, Position, Term, WallTime};

/// One entry of the replicated log. Its payload is opaque to the protocols.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Where the entry stands, and under which leader it was created.
    pub position: Position,
    /// The creating leader's wall clock.
    pub wall: WallTime,
    /// What the entry carries.
    pub payload: Payload,
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// Nothing: Raft's entry at the start of a term (§8), by which earlier entries commit.
    Empty,
    /// A command of the layer above, opaque here.
    Command(Bytes),
}

impl Entry {
    /// Bytes of an encoded entry besides its command.
    pub const OVERHEAD_BYTES: usize = 8 + 8 + 8 + 1 + 4;

    /// The entry's log index.
    #[must_use]
    pub fn index(&self) -> Index {
        self.position.index
    }

    /// The term or epoch of the leader that created the entry.
    #[must_use]
    pub fn term(&self) -> Term {
        self.position.term
    }

    /// Notes the entry's index as the first of its term, unless the last one noted is of the same term:
    /// entries that come in order leave the first index of every run of equal terms.
    pub fn note_term(&self, terms: &mut BTreeMap<Index, Term>) {
        if terms.values().next_back() != Some(&self.term()) {
            terms.insert(self.index(), self.term());
        }
    }

    /// The command, if the entry carries one.
    #[must_use]
    pub fn command(&self) -> Option<&Bytes> {
        match &self.payload {
            Payload::Command(command) => Some(command),
            Payload::Empty => None,
        }
    }

    /// The size of the entry when encoded, in bytes: the unit of every byte limit.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        Self::OVERHEAD_BYTES + self.command().map_or(0, Bytes::len)
    }
}

impl Wire for Entry {
    fn encode(&self, out: &mut BytesMut) {
        self.position.encode(out);
        out.put_u64_le(self.wall.0);
        match &self.payload {
            Payload::Empty => {
                out.put_u8(0);
                out.put_u32_le(0);
            }
            Payload::Command(command) => {
                out.put_u8(1);
                codec::put_bytes(out, command);
            }
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        let position = Position::decode(input)?;
        let wall = WallTime(codec::get_u64(input)?);
        codec::need(input, 1)?;
        let kind = input.get_u8();
        let bytes = codec::get_bytes(input)?;
        let payload = match kind {
            0 if bytes.is_empty() => Payload::Empty,
            1 => Payload::Command(bytes),
            _ => return Err(CodecError::Invalid("entry kind")),
        };
        Ok(Self { position, wall, payload })
    }
}
