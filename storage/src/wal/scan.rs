//! Reads the records of one segment.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::record::{self, ALIGNMENT, Place, RECORD_BYTES_MIN, RECORD_HEADER_BYTES, RecordHeader};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::disk::DiskFile;
use crate::identity::DirectoryId;

/// So much is read ahead at a time.
const WINDOW_BYTES: u64 = 256 << 10;

static ZEROS: [u8; WINDOW_BYTES as usize] = [0; WINDOW_BYTES as usize];

/// What is at a place where a record could be.
#[derive(Debug)]
pub(super) enum Found {
    /// A record that is whole and belongs there.
    Record {
        header: RecordHeader,
        payload: Bytes,
        /// Where the next record begins.
        end: u64,
    },
    /// Zeros, or too little room for a record.
    Nothing,
    /// Something else; the text says why it is no record.
    Bad(String),
}

/// Reads one segment's file through a window.
#[derive(Debug)]
pub(super) struct SegmentScanner<F> {
    file: Arc<F>,
    directory: DirectoryId,
    segment: u64,
    length: u64,
    window: Bytes,
    window_start: u64,
}

impl<F: DiskFile> SegmentScanner<F> {
    pub(super) fn new(file: Arc<F>, directory: DirectoryId, segment: u64) -> io::Result<Self> {
        let length = file.length()?;
        Ok(Self { file, directory, segment, length, window: Bytes::new(), window_start: 0 })
    }

    pub(super) fn file(&self) -> &F {
        &self.file
    }

    /// What is at this offset.
    pub(super) fn record(&mut self, offset: u64) -> io::Result<Found> {
        let header_end = offset + RECORD_HEADER_BYTES as u64;
        if header_end > self.length {
            return Ok(Found::Nothing);
        }
        let bytes = self.bytes(offset, header_end)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(Found::Nothing);
        }
        let header = match RecordHeader::parse(&bytes) {
            Ok(header) => header,
            Err(why) => return Ok(Found::Bad(why)),
        };
        let rest = self.length - offset;
        if header.record_bytes() > rest {
            return Ok(Found::Bad(format!(
                "a record with a payload of {} bytes does not fit into the {rest} bytes that are \
                 left of the segment",
                header.length
            )));
        }
        self.checked(offset, header)
    }

    fn checked(&mut self, offset: u64, header: RecordHeader) -> io::Result<Found> {
        let payload_start = offset + RECORD_HEADER_BYTES as u64;
        let record = self.bytes(offset, payload_start + u64::from(header.length))?;
        let place = Place { directory: self.directory, segment: self.segment, offset };
        let computed = record::checksum(place, &record);
        if computed != header.checksum {
            return Ok(Found::Bad(format!(
                "the record's checksum is {computed:08x}, where {:08x} is written",
                header.checksum
            )));
        }
        let end = offset + header.record_bytes();
        Ok(Found::Record { header, payload: record.slice(RECORD_HEADER_BYTES..), end })
    }

    /// The offset of the first valid record that begins between these offsets, wherever it may be.
    /// Only a record that could come after `sequence` counts.
    pub(super) fn find_record(
        &mut self,
        from: u64,
        until: u64,
        sequence: u64,
    ) -> io::Result<Option<u64>> {
        let mut offset = from.next_multiple_of(ALIGNMENT);
        while offset < until && offset + RECORD_BYTES_MIN <= self.length {
            let bytes = self.bytes(offset, offset + RECORD_HEADER_BYTES as u64)?;
            let records_between = (offset - from) / RECORD_BYTES_MIN + 1;
            if let Ok(header) = RecordHeader::parse(&bytes)
                && header.sequence > sequence
                && header.sequence - sequence <= records_between + 1
                && header.record_bytes() <= self.length - offset
                && matches!(self.checked(offset, header)?, Found::Record { .. })
            {
                return Ok(Some(offset));
            }
            offset += ALIGNMENT;
        }
        Ok(None)
    }

    /// The offset behind the last byte from this offset on that is not zero.
    pub(super) fn used_end(&mut self, from: u64) -> io::Result<u64> {
        let mut used = from;
        let mut offset = from;
        while offset < self.length {
            let end = (offset + WINDOW_BYTES).min(self.length);
            let bytes = self.bytes(offset, end)?;
            // Comparing whole windows first is many times faster than looking at each byte.
            if bytes[..] != ZEROS[..bytes.len()]
                && let Some(last) = bytes.iter().rposition(|byte| *byte != 0)
            {
                used = offset + last as u64 + 1;
            }
            offset = end;
        }
        Ok(used)
    }

    /// The bytes from one offset up to another, both within the file.
    pub(super) fn bytes(&mut self, start: u64, end: u64) -> io::Result<Bytes> {
        let window_end = self.window_start + self.window.len() as u64;
        if start < self.window_start || end > window_end {
            let window_end = end.max(start + WINDOW_BYTES).min(self.length);
            let mut window = vec![0; in_memory(window_end - start)];
            self.file.read_at(start, &mut window)?;
            self.window = Bytes::from(window);
            self.window_start = start;
        }
        let skip = in_memory(start - self.window_start);
        Ok(self.window.slice(skip..skip + in_memory(end - start)))
    }
}

fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a segment fits into memory")
}

/// Reads the header of a segment's file; the text says why it is none.
pub(super) fn read_header<F: DiskFile>(file: &F) -> io::Result<Result<SegmentHeader, String>> {
    let length = file.length()?;
    if length < SEGMENT_HEADER_BYTES {
        return Ok(Err(format!(
            "the file has {length} bytes, and a segment's header alone {SEGMENT_HEADER_BYTES}"
        )));
    }
    let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
    file.read_at(0, &mut bytes)?;
    Ok(SegmentHeader::decode(&bytes).and_then(|header| {
        if header.length == length {
            Ok(header)
        } else {
            let expected = header.length;
            Err(format!("the file has {length} bytes, and was made with {expected}"))
        }
    }))
}
