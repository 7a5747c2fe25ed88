//! The log's records, read from any bytes. Only for the crate `fuzz`.

use bytes::{Bytes, BytesMut};
use consensus::codec;

use super::record::{self, Link, Place, RecordKind};
use super::segment::{self, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::state::LogState;
use super::{Wal, WalOptions, batch};
use crate::identity::{self, DirectoryId, Identity};
use crate::simulated_disk::SimulatedDisk;

const DIRECTORY: DirectoryId = DirectoryId(7);

/// Reads bytes as the payload of a batch.
///
/// # Panics
/// If they are one and do not come out again.
pub fn batch(bytes: &[u8]) {
    let Ok(persists) = batch::decode(Bytes::copy_from_slice(bytes)) else { return };
    let mut encoded = BytesMut::new();
    batch::encode(&persists, &mut encoded);
    assert!(encoded.len() <= bytes.len(), "an encoding is no longer than what was read");
    assert_eq!(
        encoded.len(),
        batch::BATCH_OVERHEAD_BYTES + persists.iter().map(batch::persist_bytes).sum::<usize>(),
        "the length of a batch is known before it is encoded"
    );
    assert_eq!(batch::decode(encoded.freeze()), Ok(persists), "a batch survives its encoding");
}

/// Reads bytes as the name of a file in the data directory.
///
/// # Panics
/// If it is one of a segment and another name for that segment.
pub fn name(bytes: &[u8]) {
    let Ok(name) = str::from_utf8(bytes) else { return };
    let Some(number) = segment::number(name) else { return };
    assert_eq!(segment::name(number), name, "a segment has one name");
    assert!(!segment::is_spare(name), "a segment is none that is being prepared");
}

/// Reads bytes as the payload of a state.
///
/// # Panics
/// If they are one and do not come out again.
pub fn state(bytes: &[u8]) {
    codec::check_decoding::<LogState>(bytes);
}

/// Opens a log of one segment whose header is in order and whose records are any bytes, as after a
/// power cut.
///
/// # Panics
/// If it opens, and then not as it was a second time.
pub fn segment(bytes: &[u8]) {
    let length = SEGMENT_HEADER_BYTES + bytes.len() as u64;
    open(&[&header_of(length), bytes].concat());
}

/// Opens a log of one segment whose records have any content, and the checksums for it. The bytes are
/// the payloads, each behind its length of two bytes; the first is a state.
///
/// # Panics
/// If it opens, and then not as it was a second time.
pub fn log(mut bytes: &[u8]) {
    let (mut records, mut link, mut kind) = (Vec::new(), Link::default(), RecordKind::State);
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (payload, rest) = rest.split_at(length);
        let offset = SEGMENT_HEADER_BYTES + records.len() as u64;
        let mut record = BytesMut::new();
        record::begin(&mut record);
        record.extend_from_slice(payload);
        let place = Place { directory: DIRECTORY, segment: 1, offset };
        link = record::finish(&mut record, kind, place, link);
        records.extend_from_slice(&record);
        (bytes, kind) = (rest, RecordKind::Batch);
    }
    let length = SEGMENT_HEADER_BYTES + records.len() as u64;
    open(&[&header_of(length)[..], &records].concat());
}

/// Opens a log of one segment whose header says anything, with the checksum for it: the bytes are those
/// behind its format, and then the records.
///
/// # Panics
/// If it opens, and then not as it was a second time.
pub fn header(bytes: &[u8]) {
    let mut header = header_of(0);
    let (own, rest) = bytes.split_at(bytes.len().min(segment::CHECKED_BYTES - 16));
    header[16..16 + own.len()].copy_from_slice(own);
    let checksum = crc32fast::hash(&header[..segment::CHECKED_BYTES]);
    header[segment::CHECKED_BYTES..segment::CHECKED_BYTES + 4]
        .copy_from_slice(&checksum.to_le_bytes());
    if let Ok(read) = SegmentHeader::decode(&header) {
        assert_eq!(read.encode(), header, "a header has one form");
    }
    open(&[&header, rest].concat());
}

fn header_of(length: u64) -> [u8; SEGMENT_HEADER_BYTES as usize] {
    let (segment, link, previous_end) = (1, Link::default(), 0);
    let header = SegmentHeader {
        directory: DIRECTORY,
        segment,
        length,
        link,
        previous_end,
        last: consensus::Index(0),
    };
    header.encode()
}

fn open(segment: &[u8]) {
    let disk = SimulatedDisk::new();
    let identity = Identity {
        cluster: "fuzz".to_owned(),
        node: consensus::NodeId(1),
        protocol: consensus::Protocol::Raft,
    };
    identity::write(&disk, &identity, DIRECTORY).expect("the disk works");
    disk.put(&segment::name(1), segment);
    let options = WalOptions { segment_bytes: 4 << 10, ..WalOptions::small() };
    let open = || Wal::open(disk.clone(), options, &identity, DIRECTORY);
    let Ok((wal, first)) = open() else { return };
    let mut reader = wal.reader();
    if let Some((from, to)) = reader.range() {
        let entries = reader.entries(from, to, usize::MAX).expect("what was recovered is read");
        let last = entries.last().map(consensus::Entry::index);
        assert_eq!(last, Some(first.recovered.last), "all entries are read");
    }
    drop(wal);
    let (_, second) = open().expect("what was opened once is opened again");
    assert_eq!(second.recovered, first.recovered, "a log is recovered as it was");
    assert_eq!(second.torn_tail, None, "a torn tail is cut once");
}
