//! The payload of a record: a batch of persists.

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};
use consensus::{Entry, Index, Persist, PersistSequence, Position, Snapshot};

use super::state;

const TRUNCATES: u8 = 1;
const PROMISES: u8 = 2;
const COMPACTS: u8 = 4;
const INSTALLS: u8 = 8;

/// Bytes of an encoded persist besides what it may or may not have.
const PERSIST_OVERHEAD_BYTES: usize = 1 + 4 + 8;

/// Bytes of an encoded batch besides its persists.
pub(super) const BATCH_OVERHEAD_BYTES: usize = 4;

/// The length of an encoded persist, in bytes.
pub(super) fn persist_bytes(persist: &Persist) -> usize {
    let install = |install: &Snapshot| 16 + state::terms_bytes(&install.terms) + 8;
    PERSIST_OVERHEAD_BYTES
        + persist.install.as_ref().map_or(0, install)
        + persist.compact_to.map_or(0, |_| 8)
        + persist.truncate_from.map_or(0, |_| 8)
        + persist.promise.as_ref().map_or(0, |promise| 4 + promise.len())
        + persist.entries.iter().map(Entry::size_bytes).sum::<usize>()
}

/// Appends a batch to the buffer.
pub(super) fn encode(batch: &[Persist], out: &mut BytesMut) {
    let count = |length: usize| u32::try_from(length).expect("a batch is shorter than 4 GiB");
    out.put_u32_le(count(batch.len()));
    for persist in batch {
        out.put_u8(flags(persist));
        if let Some(snapshot) = &persist.install {
            snapshot.position.encode(out);
            state::encode_terms(&snapshot.terms, out);
            out.put_u64_le(snapshot.handle);
        }
        if let Some(index) = persist.compact_to {
            index.encode(out);
        }
        if let Some(index) = persist.truncate_from {
            index.encode(out);
        }
        out.put_u32_le(count(persist.entries.len()));
        for entry in &persist.entries {
            entry.encode(out);
        }
        if let Some(promise) = &persist.promise {
            codec::put_bytes(out, promise);
        }
        persist.commit.encode(out);
    }
}

fn flags(persist: &Persist) -> u8 {
    let parts = [
        (TRUNCATES, persist.truncate_from.is_some()),
        (PROMISES, persist.promise.is_some()),
        (COMPACTS, persist.compact_to.is_some()),
        (INSTALLS, persist.install.is_some()),
    ];
    parts.into_iter().filter(|(_, has)| *has).map(|(flag, _)| flag).sum()
}

/// Reads a batch. The numbers of its persists were those of an earlier process and were not kept:
/// they are zero.
pub(super) fn decode(mut input: Bytes) -> Result<Vec<Persist>, CodecError> {
    let count = codec::get_u32(&mut input)?;
    let mut batch = codec::list_with_room(count as usize, &input);
    for _ in 0..count {
        batch.push(decode_persist(&mut input)?);
    }
    if input.is_empty() { Ok(batch) } else { Err(CodecError::Invalid("trailing bytes")) }
}

fn decode_persist(input: &mut Bytes) -> Result<Persist, CodecError> {
    let flags = codec::get_u8(input)?;
    if flags & !(TRUNCATES | PROMISES | COMPACTS | INSTALLS) != 0 {
        return Err(CodecError::Invalid("flags of a persist"));
    }
    let install = if flags & INSTALLS != 0 {
        let position = Position::decode(input)?;
        let terms = state::decode_terms(input)?;
        Some(Snapshot { position, terms, handle: codec::get_u64(input)? })
    } else {
        None
    };
    let compact_to = if flags & COMPACTS != 0 { Some(Index::decode(input)?) } else { None };
    let truncate_from = if flags & TRUNCATES != 0 { Some(Index::decode(input)?) } else { None };
    let count = codec::get_u32(input)?;
    let mut entries = codec::list_with_room(count as usize, input);
    for _ in 0..count {
        entries.push(Entry::decode(input)?);
    }
    let promise = if flags & PROMISES != 0 { Some(codec::get_bytes(input)?) } else { None };
    let commit = Index::decode(input)?;
    let sequence = PersistSequence(0);
    Ok(Persist { sequence, install, compact_to, truncate_from, entries, promise, commit })
}

/// What a batch as a whole does to the entries of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The position of a snapshot that replaces everything before.
    pub(super) installed: Option<Index>,
    /// The first index that it leaves to be read from this batch, or from none.
    pub(super) first: Index,
    /// The last index after it.
    pub(super) last: Index,
}

impl Span {
    /// The effect of a batch on a log that ends with `last`; `None` when it leaves the entries
    /// alone. Entries of earlier batches count up to before `first`, those of this one from there
    /// on.
    pub(super) fn of(batch: &[Persist], last: Index) -> Option<Self> {
        let mut first = last.next();
        let mut end = last;
        let mut touched = false;
        let mut installed = None;
        for persist in batch {
            if let Some(snapshot) = &persist.install {
                end = snapshot.position.index;
                first = end.next();
                installed = Some(end);
                touched = true;
            }
            if let Some(index) = persist.truncate_from {
                first = first.min(index);
                end = index.previous();
                touched = true;
            }
            if let Some(entry) = persist.entries.last() {
                end = entry.index();
                touched = true;
            }
        }
        touched.then_some(Self { installed, first, last: end })
    }
}

/// The entries that a batch leaves, after its own truncations.
pub(super) fn entries(batch: Vec<Persist>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for persist in batch {
        if persist.install.is_some() {
            entries.clear();
        }
        if let Some(index) = persist.truncate_from {
            entries.truncate(entries.partition_point(|entry| entry.index() < index));
        }
        entries.extend(persist.entries);
    }
    entries
}
