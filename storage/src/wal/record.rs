//! One record: its header, its checksum and its place in the chain.

use bytes::{Buf, BufMut, BytesMut};
use crc32fast::Hasher;

use crate::identity::DirectoryId;

/// Bytes of a record before its payload.
pub(super) const RECORD_HEADER_BYTES: usize = 24;

/// Bytes of the header that the checksum covers: all but itself.
const CHECKED_BYTES: usize = 20;

/// Every record begins at a multiple of this.
pub(super) const ALIGNMENT: u64 = 8;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordKind {
    /// A batch of persists.
    Batch = 1,
    /// What all records before this one amount to; each segment begins with one.
    State = 2,
}

impl RecordKind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Batch, Self::State].into_iter().find(|&kind| kind as u8 == byte)
    }
}

/// No payload is shorter: it begins with a count.
const PAYLOAD_BYTES_MIN: u32 = 4;

/// The shortest record.
pub(super) const RECORD_BYTES_MIN: u64 = 32;

/// Where a record stands. It is part of the record's checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) directory: DirectoryId,
    pub(super) segment: u64,
    pub(super) offset: u64,
}

/// The last record before a place: what the next one must follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) sequence: u64,
    pub(super) checksum: u32,
}

/// What the first bytes of a record say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) kind: RecordKind,
    /// Bytes of the payload.
    pub(super) length: u32,
    pub(super) sequence: u64,
    /// The checksum of the record before.
    pub(super) previous: u32,
    pub(super) checksum: u32,
}

impl RecordHeader {
    /// Reads a header, or says why these bytes can not be one.
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, String> {
        let length = bytes.get_u32_le();
        let kind = bytes.get_u8();
        let zero = bytes.get_uint_le(3);
        let sequence = bytes.get_u64_le();
        let previous = bytes.get_u32_le();
        let checksum = bytes.get_u32_le();
        if length < PAYLOAD_BYTES_MIN {
            return Err(format!("a record can not have a payload of {length} bytes"));
        }
        let kind =
            RecordKind::from_byte(kind).ok_or_else(|| format!("{kind} is no kind of record"))?;
        if zero != 0 {
            return Err(format!("bytes that must be zero are {zero:#08x}"));
        }
        Ok(Self { kind, length, sequence, previous, checksum })
    }

    /// The length of the whole record with its padding, in bytes.
    pub(super) fn record_bytes(&self) -> u64 {
        record_bytes(self.length as usize)
    }

    /// Whether this is the record that follows the link.
    pub(super) fn follows(&self, link: Link) -> bool {
        self.sequence.checked_sub(1) == Some(link.sequence) && self.previous == link.checksum
    }

    /// The link for the record after this one.
    pub(super) fn link(&self) -> Link {
        Link { sequence: self.sequence, checksum: self.checksum }
    }
}

/// The length of a record with a payload of that length, in bytes.
pub(super) fn record_bytes(payload_bytes: usize) -> u64 {
    ((RECORD_HEADER_BYTES + payload_bytes) as u64).next_multiple_of(ALIGNMENT)
}

/// The checksum of a record at a place. `record` holds header and payload, without padding.
pub(super) fn checksum(place: Place, record: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&place.directory.0.to_le_bytes());
    hasher.update(&place.segment.to_le_bytes());
    hasher.update(&place.offset.to_le_bytes());
    hasher.update(&record[..CHECKED_BYTES]);
    hasher.update(&record[RECORD_HEADER_BYTES..]);
    hasher.finalize()
}

/// Makes room for the header of a record whose payload is then appended to the buffer.
pub(super) fn begin(buffer: &mut BytesMut) {
    buffer.clear();
    buffer.put_bytes(0, RECORD_HEADER_BYTES);
}

/// Completes the record in the buffer: writes its header, and pads it.
pub(super) fn finish(
    buffer: &mut BytesMut,
    kind: RecordKind,
    place: Place,
    previous: Link,
) -> Link {
    let length = u32::try_from(buffer.len() - RECORD_HEADER_BYTES)
        .expect("a batch is shorter than 4 GiB, as its size was limited when it was made");
    let sequence = previous.sequence + 1;
    let mut header = &mut buffer[..CHECKED_BYTES];
    header.put_u32_le(length);
    header.put_u8(kind as u8);
    header.put_uint_le(0, 3);
    header.put_u64_le(sequence);
    header.put_u32_le(previous.checksum);
    let checksum = checksum(place, buffer);
    buffer[CHECKED_BYTES..RECORD_HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    let padded = usize::try_from(record_bytes(length as usize)).expect("it is in memory");
    buffer.resize(padded, 0);
    Link { sequence, checksum }
}
