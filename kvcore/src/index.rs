//! The key index: which revisions wrote each key. Values are elsewhere, in the overlay or in the
//! store.
//!
//! It is made small, because it holds every key and every retained revision: 12 bytes a version, and
//! what a key needs only for its current version is there once a key.

use std::collections::{BTreeMap, VecDeque};
use std::mem;

use consensus::WallTime;

use crate::generation::Generation;
use crate::keys::Span;
use crate::removals::Removals;
use crate::small_key::SmallKey;
use crate::store::{Revision, RowId};

/// Keys of one piece of the table of keys; the table grows piece by piece so that no growth copies
/// it.
const CHUNK_KEYS: usize = 1024;

/// The number of a key in the index, reused once the key is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyId(pub(crate) u32);

/// One version of a key: the address of its row, whether that is a tombstone, and its size, packed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct VersionId {
    revision: [u32; 2],
    place: u16,
    /// Of key and value, and what a row takes besides; rounded down by less than one in a thousand: eleven
    /// bits, and in the upper five how often they are doubled.
    size: u16,
}

const TOMBSTONE: u16 = 1 << 15;

/// The lower bits of a size.
const SIZE_BITS: u32 = 11;

impl VersionId {
    pub(crate) fn new(id: RowId, tombstone: bool, bytes: usize) -> Self {
        let place = u16::try_from(id.place).ok().filter(|place| place & TOMBSTONE == 0);
        let place = place.expect("a revision has fewer than 2^15 rows");
        let doublings = (usize::BITS - bytes.leading_zeros()).saturating_sub(SIZE_BITS);
        assert!(doublings < 1 << 5, "key and value have far less than 4 TiB");
        let revision = id.revision.0;
        Self {
            revision: [(revision >> 32) as u32, revision as u32],
            place: place | if tombstone { TOMBSTONE } else { 0 },
            size: (doublings << SIZE_BITS) as u16 | (bytes >> doublings) as u16,
        }
    }

    fn bytes(self) -> usize {
        let doublings = self.size >> SIZE_BITS;
        usize::from(self.size & ((1 << SIZE_BITS) - 1)) << doublings
    }

    pub(crate) fn revision(self) -> Revision {
        Revision(u64::from(self.revision[0]) << 32 | u64::from(self.revision[1]))
    }

    pub(crate) fn id(self) -> RowId {
        RowId { revision: self.revision(), place: u32::from(self.place & !TOMBSTONE) }
    }

    pub(crate) fn is_tombstone(self) -> bool {
        self.place & TOMBSTONE != 0
    }
}

/// The versions before the latest, oldest first. Most keys have none or one.
#[derive(Default)]
enum History {
    #[default]
    Empty,
    One(VersionId),
    #[expect(clippy::box_collection, reason = "a queue in place would double the size of a key")]
    Many(Box<VecDeque<VersionId>>),
}

impl History {
    fn push(&mut self, version: VersionId) {
        match self {
            Self::Empty => *self = Self::One(version),
            Self::One(one) => *self = Self::Many(Box::new(VecDeque::from([*one, version]))),
            Self::Many(many) => many.push_back(version),
        }
    }

    fn front(&self) -> Option<VersionId> {
        match self {
            Self::Empty => None,
            Self::One(one) => Some(*one),
            Self::Many(many) => many.front().copied(),
        }
    }

    fn pop_front(&mut self) -> Option<VersionId> {
        let front = self.front()?;
        match self {
            Self::Many(many) if many.len() > 1 => {
                many.pop_front();
                // What a burst of writes left empty is given back.
                if many.capacity() > 16 && many.len() < many.capacity() / 4 {
                    many.shrink_to(many.len() * 2);
                }
            }
            _ => *self = Self::Empty,
        }
        Some(front)
    }

    /// The last version in front of this place.
    fn before(&self, end: RowId) -> Option<VersionId> {
        match self {
            Self::Empty => None,
            Self::One(one) => (one.id() < end).then_some(*one),
            Self::Many(many) => {
                let after = many.partition_point(|version| version.id() < end);
                Some(many[after.checked_sub(1)?])
            }
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Many(many) => {
                mem::size_of::<VecDeque<VersionId>>()
                    + many.capacity() * mem::size_of::<VersionId>()
            }
            _ => 0,
        }
    }
}

/// What the index knows of one key.
pub(crate) struct KeyEntry {
    key: SmallKey,
    latest: VersionId,
    /// Of the latest version; zero in a tombstone.
    create_revision: Revision,
    /// Of the latest version.
    generation: Generation,
    /// The latest version's part of the digest, in two halves for the sake of alignment.
    hash: [u64; 2],
    history: History,
}

/// A key's current version, when it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Current {
    pub(crate) id: RowId,
    pub(crate) create_revision: Revision,
    pub(crate) version: u64,
    pub(crate) create_time: WallTime,
    pub(crate) hash: u128,
}

impl Current {
    fn generation(&self) -> Generation {
        Generation::new(self.version, self.create_time)
    }
}

impl KeyEntry {
    pub(crate) fn key(&self) -> &SmallKey {
        &self.key
    }

    /// The revision that last wrote or deleted the key.
    pub(crate) fn revision(&self) -> Revision {
        self.latest.revision()
    }

    /// The current version; `None` when the key is deleted.
    pub(crate) fn current(&self) -> Option<Current> {
        (!self.latest.is_tombstone()).then(|| Current {
            id: self.latest.id(),
            create_revision: self.create_revision,
            version: self.generation.version(),
            create_time: self.generation.create_time(),
            hash: u128::from(self.hash[0]) << 64 | u128::from(self.hash[1]),
        })
    }

    /// The row of the key as of a revision; `None` when it did not exist then.
    pub(crate) fn at(&self, revision: Revision) -> Option<RowId> {
        self.before(RowId { revision: Revision(revision.0 + 1), place: 0 })
    }

    /// The row of the key as it was when the row at this place was about to be written.
    pub(crate) fn before(&self, end: RowId) -> Option<RowId> {
        let version =
            if self.latest.id() < end { self.latest } else { self.history.before(end)? };
        (!version.is_tombstone()).then(|| version.id())
    }
}

/// All keys, in order, with their versions.
#[derive(Default)]
pub(crate) struct Index {
    order: BTreeMap<SmallKey, KeyId>,
    chunks: Vec<Vec<Option<KeyEntry>>>,
    free: Vec<KeyId>,
    /// Keys whose latest version is no tombstone.
    live: usize,
    /// Rows that the index refers to.
    versions: usize,
    /// Their bytes.
    row_bytes: usize,
    /// The memory of keys that are too long to be in place.
    key_bytes: usize,
    history_bytes: usize,
}

impl Index {
    pub(crate) fn find(&self, key: &[u8]) -> Option<KeyId> {
        self.order.get(key).copied()
    }

    pub(crate) fn entry(&self, id: KeyId) -> &KeyEntry {
        let id = id.0 as usize;
        self.chunks[id / CHUNK_KEYS][id % CHUNK_KEYS].as_ref().expect("a key in use has an entry")
    }

    fn entry_mut(&mut self, id: KeyId) -> &mut KeyEntry {
        let id = id.0 as usize;
        self.chunks[id / CHUNK_KEYS][id % CHUNK_KEYS].as_mut().expect("a key in use has an entry")
    }

    /// How many keys exist at the current revision.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// How many rows the index refers to, tombstones and superseded rows included.
    pub(crate) fn versions(&self) -> usize {
        self.versions
    }

    /// The bytes of those rows.
    pub(crate) fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// The keys within the span, in order.
    pub(crate) fn span<'a>(
        &'a self,
        span: &Span,
    ) -> impl DoubleEndedIterator<Item = (&'a SmallKey, KeyId)> + use<'a> {
        let range = (!span.is_empty()).then(|| self.order.range::<[u8], _>(span.bounds()));
        range.into_iter().flatten().map(|(key, id)| (key, *id))
    }

    /// Notes a new current version of a key, which `found` says to be in the index or not. Its row has so
    /// many bytes.
    pub(crate) fn put(
        &mut self,
        key: &[u8],
        found: Option<KeyId>,
        (current, bytes): (Current, usize),
    ) -> KeyId {
        let latest = VersionId::new(current.id, false, bytes);
        let hash = [(current.hash >> 64) as u64, current.hash as u64];
        let Some(id) = found else {
            return self.insert(key, latest, current, hash);
        };
        let created = self.supersede(id, latest);
        self.live += usize::from(created);
        let entry = self.entry_mut(id);
        entry.create_revision = current.create_revision;
        entry.generation = current.generation();
        entry.hash = hash;
        id
    }

    /// Notes that a key is deleted by the row with this id and so many bytes.
    pub(crate) fn delete(&mut self, key: KeyId, id: RowId, bytes: usize) {
        let deleted = self.supersede(key, VersionId::new(id, true, bytes));
        assert!(!deleted, "only an existing key is deleted");
        self.live -= 1;
        let entry = self.entry_mut(key);
        entry.create_revision = Revision(0);
        entry.generation = Generation::NONE;
        entry.hash = [0, 0];
    }

    /// Notes a tombstone of a key that is unknown because everything before it was removed.
    pub(crate) fn insert_tombstone(&mut self, key: &[u8], id: RowId, bytes: usize) -> KeyId {
        let (create_revision, create_time) = (Revision(0), WallTime(0));
        let none = Current { id, create_revision, version: 0, create_time, hash: 0 };
        let id = self.insert(key, VersionId::new(id, true, bytes), none, [0, 0]);
        self.live -= 1;
        id
    }

    fn insert(&mut self, key: &[u8], latest: VersionId, current: Current, hash: [u64; 2]) -> KeyId {
        let key = SmallKey::new(key);
        let entry = KeyEntry {
            key: key.clone(),
            latest,
            create_revision: current.create_revision,
            generation: current.generation(),
            hash,
            history: History::Empty,
        };
        let id = self.free_id();
        self.chunks[id.0 as usize / CHUNK_KEYS][id.0 as usize % CHUNK_KEYS] = Some(entry);
        self.key_bytes += key.heap_bytes();
        let earlier = self.order.insert(key, id);
        assert!(earlier.is_none(), "a key is in the index once");
        self.live += 1;
        self.versions += 1;
        self.row_bytes += latest.bytes();
        id
    }

    fn free_id(&mut self) -> KeyId {
        if let Some(id) = self.free.pop() {
            return id;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK_KEYS) {
            self.chunks.push(Vec::with_capacity(CHUNK_KEYS));
        }
        let before = (self.chunks.len() - 1) * CHUNK_KEYS;
        let chunk = self.chunks.last_mut().expect("there is a chunk with room");
        chunk.push(None);
        KeyId(u32::try_from(before + chunk.len() - 1).expect("there are fewer than 2^32 keys"))
    }

    /// Makes a version the latest one; returns whether the one before was a tombstone.
    fn supersede(&mut self, id: KeyId, latest: VersionId) -> bool {
        let entry = self.entry_mut(id);
        assert!(entry.latest.revision() < latest.revision(), "a revision writes a key once");
        let before = mem::replace(&mut entry.latest, latest);
        let bytes = entry.history.heap_bytes();
        entry.history.push(before);
        let grown = entry.history.heap_bytes() - bytes;
        self.history_bytes += grown;
        self.versions += 1;
        self.row_bytes += latest.bytes();
        before.is_tombstone()
    }

    /// Forgets the versions of a key before a revision that has one itself; their rows are appended
    /// to `removed`.
    pub(crate) fn forget_before(&mut self, id: KeyId, revision: Revision, removed: &mut Removals) {
        let entry = self.entry_mut(id);
        let bytes = entry.history.heap_bytes();
        let (mut count, mut row_bytes) = (0, 0);
        while let Some(version) = entry.history.front().filter(|it| it.revision() < revision) {
            entry.history.pop_front();
            removed.push(version.id());
            count += 1;
            row_bytes += version.bytes();
        }
        let bytes_after = entry.history.heap_bytes();
        assert!(entry.latest.revision() >= revision, "the latest version of a key is kept");
        self.history_bytes = self.history_bytes - bytes + bytes_after;
        self.versions -= count;
        self.row_bytes -= row_bytes;
    }

    /// Forgets a tombstone before which there is nothing left of its key; the key goes with it when
    /// there is nothing after it either.
    pub(crate) fn forget_tombstone(&mut self, id: KeyId, tombstone: RowId, removed: &mut Removals) {
        removed.push(tombstone);
        let entry = self.entry_mut(id);
        if entry.latest.id() == tombstone {
            assert!(entry.history.front().is_none(), "nothing of the key is left before");
            return self.forget_key(id);
        }
        let bytes = entry.history.heap_bytes();
        let version = entry.history.pop_front();
        let bytes_after = entry.history.heap_bytes();
        let version = version.filter(|version| version.is_tombstone() && version.id() == tombstone);
        let version = version.expect("nothing of the key is left before its tombstone");
        self.history_bytes = self.history_bytes - bytes + bytes_after;
        self.versions -= 1;
        self.row_bytes -= version.bytes();
    }

    fn forget_key(&mut self, id: KeyId) {
        let at = id.0 as usize;
        let entry = self.chunks[at / CHUNK_KEYS][at % CHUNK_KEYS]
            .take()
            .expect("a key in use has an entry");
        self.order.remove(&entry.key);
        self.key_bytes -= entry.key.heap_bytes();
        self.versions -= 1;
        self.row_bytes -= entry.latest.bytes();
        self.free.push(id);
    }

    /// What the index takes of memory, in bytes; the nodes of the ordered map are estimated.
    pub(crate) fn bytes_estimate(&self) -> usize {
        // The nodes of the map are about two thirds full.
        const SLOT_BYTES: usize = size_of::<(SmallKey, KeyId)>() * 3 / 2;
        self.chunks.len() * CHUNK_KEYS * mem::size_of::<Option<KeyEntry>>()
            + self.order.len() * SLOT_BYTES
            + self.free.capacity() * mem::size_of::<KeyId>()
            + self.key_bytes
            + self.history_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn current(revision: u64, version: u64) -> Current {
        let id = RowId { revision: Revision(revision), place: 0 };
        let (create_revision, create_time) = (Revision(1), WallTime(revision + 7));
        Current { id, create_revision, version, create_time, hash: u128::MAX - 5 }
    }

    fn row(revision: u64) -> RowId {
        RowId { revision: Revision(revision), place: 0 }
    }

    #[test]
    fn a_version_takes_twelve_bytes_and_a_key_eighty_eight() {
        assert_eq!(mem::size_of::<VersionId>(), 12);
        assert_eq!(mem::size_of::<Option<KeyEntry>>(), 88);
    }

    #[test]
    fn a_packed_version_is_what_was_packed() {
        let id = RowId { revision: Revision(u64::MAX - 7), place: u32::from(TOMBSTONE - 1) };
        for (tombstone, bytes) in
            [(false, 0), (true, 1), (false, 2047), (true, 17 << 20), (false, 70_001)]
        {
            let version = VersionId::new(id, tombstone, bytes);
            let lost = bytes - version.bytes();
            assert!(version.id() == id && lost * 1000 <= bytes, "{bytes} are {}", version.bytes());
            assert_eq!(version.is_tombstone(), tombstone);
        }
    }

    #[test]
    fn a_key_is_found_as_it_was_at_any_revision() {
        let mut index = Index::default();
        let key = index.put(b"k", None, (current(2, 1), 10));
        for revision in [4, 6, 8, 10] {
            index.put(b"k", Some(key), (current(revision, 1), 10));
        }
        index.delete(key, row(12), 3);
        assert_eq!(index.row_bytes(), 53);
        let entry = index.entry(key);
        assert_eq!(entry.at(Revision(1)), None);
        for revision in 2..12 {
            assert_eq!(entry.at(Revision(revision)), Some(row(revision / 2 * 2)));
        }
        assert_eq!(entry.at(Revision(12)), None);
        assert_eq!(entry.current(), None);
        assert_eq!(index.live(), 0);
        assert_eq!(index.versions(), 6);
    }

    #[test]
    fn what_is_forgotten_gives_its_memory_back() {
        let mut index = Index::default();
        let key = index.put(b"k", None, (current(2, 1), 10));
        for revision in 3..1003 {
            index.put(b"k", Some(key), (current(revision, 1), 10));
        }
        index.delete(key, row(1003), 3);
        let full = index.bytes_estimate();
        let mut removed = Removals::default();
        index.forget_before(key, Revision(1003), &mut removed);
        index.forget_tombstone(key, row(1003), &mut removed);
        assert_eq!(removed.len(), 1002);
        assert_eq!(index.find(b"k"), None);
        assert_eq!((index.versions(), index.live(), index.history_bytes), (0, 0, 0));
        assert_eq!(index.row_bytes(), 0);
        assert!(index.bytes_estimate() + 1000 * 12 < full);
        assert_eq!(index.put(b"l", None, (current(1004, 1), 1)), key, "its number is used again");
    }
}
