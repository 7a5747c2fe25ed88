//! A segment's file: its name, its header, and how it comes to be.

use std::io;

use bytes::{Buf, BufMut};
use consensus::Index;

use super::record::Link;
use crate::disk::{Disk, DiskFile};
use crate::identity::DirectoryId;

/// Where the first record of a segment begins.
pub(super) const SEGMENT_HEADER_BYTES: u64 = 128;

const MAGIC: &[u8; 8] = b"DUORUMWL";
const FORMAT: u32 = 2;

/// Bytes of the header that its checksum covers.
pub(super) const CHECKED_BYTES: usize = 76;

/// No log comes near this record; one more than that can still be counted.
const SEQUENCE_MAX: u64 = 1 << 62;

const NAME_START: &str = "log-";
const NAME_END: &str = ".wal";
const NAME_DIGITS: usize = 16;

/// Zeros are written in pieces of this size.
const ZERO_CHUNK_BYTES: usize = 1 << 20;

/// While a segment is prepared, so many bytes are written before they are synced: the log's own
/// syncs, which share the device, then never wait behind more.
const PREPARE_SYNC_BYTES: u64 = 1 << 20;

/// The name of a segment's file.
pub(super) fn name(segment: u64) -> String {
    format!("{NAME_START}{segment:0NAME_DIGITS$}{NAME_END}")
}

/// The number of the segment that a file of this name holds; `None` when the name is no segment's.
pub(super) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(NAME_START)?.strip_suffix(NAME_END)?;
    let all_digits = digits.len() >= NAME_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|number| all_digits && self::name(*number) == name)
}

/// Whether a file of this name is a segment that was being prepared.
pub(super) fn is_spare(name: &str) -> bool {
    name.starts_with("spare-") && name.ends_with(".tmp")
}

/// What the first bytes of a segment say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) directory: DirectoryId,
    pub(super) segment: u64,
    /// The length of the file.
    pub(super) length: u64,
    /// The last record before this segment.
    pub(super) link: Link,
    /// The offset at which the previous segment ends; zero in the first.
    pub(super) previous_end: u64,
    /// The last entry before this segment.
    pub(super) last: Index,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        let mut out = &mut bytes[..];
        out.put_slice(MAGIC);
        out.put_u32_le(FORMAT);
        out.put_u32_le(0);
        out.put_u128_le(self.directory.0);
        out.put_u64_le(self.segment);
        out.put_u64_le(self.length);
        out.put_u64_le(self.link.sequence + 1);
        out.put_u64_le(self.previous_end);
        out.put_u64_le(self.last.0);
        out.put_u32_le(self.link.checksum);
        let checksum = crc32fast::hash(&bytes[..CHECKED_BYTES]);
        bytes[CHECKED_BYTES..CHECKED_BYTES + 4].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header, or says why these bytes are none.
    pub(super) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES as usize]) -> Result<Self, String> {
        if &bytes[..MAGIC.len()] != MAGIC {
            return Err("the segment does not begin as a segment does".to_string());
        }
        let stored = (&bytes[CHECKED_BYTES..]).get_u32_le();
        let computed = crc32fast::hash(&bytes[..CHECKED_BYTES]);
        if stored != computed {
            return Err(format!(
                "the checksum of the segment's header is {computed:08x}, where {stored:08x} is \
                 written"
            ));
        }
        let mut input = &bytes[MAGIC.len()..];
        let format = input.get_u32_le();
        if format != FORMAT {
            return Err(format!(
                "the segment has format {format}; this version of Duorum reads format {FORMAT}"
            ));
        }
        input.advance(4);
        let directory = DirectoryId(input.get_u128_le());
        let segment = input.get_u64_le();
        let length = input.get_u64_le();
        let sequence = input.get_u64_le();
        let previous_end = input.get_u64_le();
        let last = Index(input.get_u64_le());
        let checksum = input.get_u32_le();
        if !(1..=SEQUENCE_MAX).contains(&sequence) {
            return Err(format!("no log has a record {sequence}; there are 1 to {SEQUENCE_MAX}"));
        }
        let link = Link { sequence: sequence - 1, checksum };
        Ok(Self { directory, segment, length, link, previous_end, last })
    }
}

/// A segment to be prepared ahead of its use. It is independent of the log and may be created in
/// another thread, so that the writer does not wait.
#[derive(Debug)]
pub struct SpareRequest<D: Disk> {
    disk: D,
    name: String,
    length: u64,
}

impl<D: Disk> SpareRequest<D> {
    pub(super) fn new(disk: D, number: u64, length: u64) -> Self {
        Self { disk, name: format!("spare-{number}.tmp"), length }
    }

    /// Creates the segment under a temporary name: reserves its room, fills it with zeros, syncs it
    /// and its name. `between` is called after each part that is written and synced: whoever has the
    /// time can leave the disk to others there.
    ///
    /// # Errors
    /// When the disk is full or fails. The log then creates its next segment itself, when it needs
    /// it.
    pub fn create(self, between: impl FnMut()) -> io::Result<SpareSegment<D>> {
        let Self { disk, name, length } = self;
        let file = disk.create(&name)?;
        let filled = file.allocate(length).and_then(|()| fill(&file, length, between));
        if let Err(error) = filled.and_then(|()| disk.sync_directory()) {
            // A disk that is full should not stay so because of a file that nobody wants. What went
            // wrong first is what the caller should hear of.
            let _ = disk.remove(&name);
            return Err(error);
        }
        Ok(SpareSegment { name, length, file })
    }
}

fn fill<F: DiskFile>(file: &F, length: u64, mut between: impl FnMut()) -> io::Result<()> {
    let mut offset = 0;
    while offset < length {
        let end = (offset + PREPARE_SYNC_BYTES).min(length);
        write_zeros(file, offset, end)?;
        file.sync_data()?;
        between();
        offset = end;
    }
    Ok(())
}

/// Writes zeros from one position up to another.
pub(super) fn write_zeros<F: DiskFile>(file: &F, start: u64, end: u64) -> io::Result<()> {
    static ZEROS: [u8; ZERO_CHUNK_BYTES] = [0; ZERO_CHUNK_BYTES];
    let mut offset = start;
    while offset < end {
        let next = (offset + ZERO_CHUNK_BYTES as u64).min(end);
        let chunk = usize::try_from(next - offset).expect("a chunk is small");
        file.write_at(offset, &ZEROS[..chunk])?;
        offset = next;
    }
    Ok(())
}

/// A segment that is ready for use: zeros under a temporary name.
#[derive(Debug)]
pub struct SpareSegment<D: Disk> {
    name: String,
    length: u64,
    file: D::File,
}

impl<D: Disk> SpareSegment<D> {
    /// The length of the file, in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Puts the segment to use. Its header and its first record are durable before it gets its
    /// name, and its name before this returns: whatever has a segment's name has both.
    pub(super) fn name_it(
        self,
        disk: &D,
        header: &SegmentHeader,
        first_record: &[u8],
    ) -> io::Result<D::File> {
        assert_eq!(self.length, header.length, "a segment's header says its length");
        self.file.write_at(0, &header.encode())?;
        self.file.write_at(SEGMENT_HEADER_BYTES, first_record)?;
        self.file.sync_data()?;
        disk.rename(&self.name, &name(header.segment))?;
        disk.sync_directory()?;
        Ok(self.file)
    }

    /// Removes the file of a segment that is not wanted after all.
    pub(super) fn discard(self, disk: &D) -> io::Result<()> {
        disk.remove(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        assert_eq!(name(7), "log-0000000000000007.wal");
        assert_eq!(number("log-0000000000000007.wal"), Some(7));
        assert_eq!(number(&name(u64::MAX)), Some(u64::MAX));
        for other in [
            "log-7.wal",
            "log-0000000000000007.wal.bak",
            "log-+000000000000007.wal",
            "log-00000000000000007.wal",
            "store-0.redb",
        ] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn every_damaged_bit_of_a_header_is_noticed() {
        let header = SegmentHeader {
            directory: DirectoryId(3),
            segment: 2,
            length: 4096,
            link: Link { sequence: 9, checksum: 77 },
            previous_end: 4000,
            last: Index(5),
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for bit in 0..(CHECKED_BYTES + 4) * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&damaged).is_err(), "bit {bit}");
        }
    }
}
