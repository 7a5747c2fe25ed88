//! What the tests of the log share: a naive model of it, and lawful random writes.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::collections::BTreeMap;

use bytes::Bytes;
use consensus::{
    Entry, Index, NodeId, Payload, Persist, PersistSequence, Position, Protocol, Random, Snapshot,
    Term, WallTime,
};
use storage::{DirectoryId, Disk, Identity, Recovery, Wal, WalError, WalOptions, WalReader};

/// The number of every directory in these tests.
pub(crate) const DIRECTORY: DirectoryId = DirectoryId(0x1234_5678_9abc_def0);

/// The identity of every directory in these tests.
pub(crate) fn identity() -> Identity {
    Identity { cluster: "test".to_string(), node: NodeId(1), protocol: Protocol::Raft }
}

/// Segments so short that a few writes fill one.
pub(crate) fn tiny() -> WalOptions {
    WalOptions {
        segment_bytes: 2048,
        first_segment_bytes: 1024,
        batch_bytes_max: 700,
        tail_bytes_max: 600,
        index_interval_bytes: 300,
        sync: true,
    }
}

pub(crate) fn open<D: Disk>(disk: &D, options: WalOptions) -> Result<(Wal<D>, Recovery), WalError> {
    Wal::open(disk.clone(), options, &identity(), DIRECTORY)
}

/// An entry with a command of that many bytes that tells the entry.
pub(crate) fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let text = format!("{index}@{term} ");
    let command: Vec<u8> = text.bytes().cycle().take(bytes).collect();
    let payload = if bytes == 0 { Payload::Empty } else { Payload::Command(Bytes::from(command)) };
    Entry { position: Position::new(term, index), wall: WallTime(1000 + index), payload }
}

/// The log as a list, from the entry after `base` on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) promise: Option<Bytes>,
    /// The last entry that a snapshot replaced.
    pub(crate) base: u64,
    pub(crate) entries: Vec<Entry>,
    pub(crate) terms: BTreeMap<Index, Term>,
    pub(crate) commit: Index,
    pub(crate) compacted: Index,
    pub(crate) installed: u64,
}

impl Model {
    pub(crate) fn last(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    pub(crate) fn last_term(&self) -> u64 {
        self.terms.last_key_value().map_or(1, |(_, term)| term.0)
    }

    pub(crate) fn apply(&mut self, persist: &Persist) {
        if let Some(snapshot) = &persist.install {
            self.base = snapshot.position.index.0;
            self.entries.clear();
            self.terms.clone_from(&snapshot.terms);
            self.commit = snapshot.position.index;
            self.compacted = snapshot.position.index;
            self.installed = snapshot.handle;
        }
        if let Some(index) = persist.truncate_from {
            self.entries.truncate(usize::try_from(index.0 - 1 - self.base).expect("small"));
            self.terms.split_off(&index);
        }
        for entry in &persist.entries {
            if self.terms.is_empty() || self.last_term() != entry.term().0 {
                self.terms.insert(entry.index(), entry.term());
            }
            self.entries.push(entry.clone());
        }
        if persist.promise.is_some() {
            self.promise.clone_from(&persist.promise);
        }
        self.commit = self.commit.max(persist.commit);
        self.compacted = self.compacted.max(persist.compact_to.unwrap_or_default());
    }

    /// Whether a recovery found just this, all entries included that were not forgotten.
    pub(crate) fn is<D: Disk>(&self, recovery: &Recovery, reader: &mut WalReader<D>) -> bool {
        let recovered = &recovery.recovered;
        let tail = &recovered.tail;
        let kept: Vec<_> =
            self.entries.iter().filter(|entry| entry.index() > self.compacted).cloned().collect();
        recovered.promise == self.promise
            && recovered.commit == self.commit
            && recovered.last.0 == self.last()
            && recovered.terms == self.terms
            && recovered.compacted == self.compacted
            && recovery.installed == self.installed
            && self.entries.ends_with(tail)
            && (!tail.is_empty() || kept.is_empty())
            && read_all(reader).ends_with(&kept)
            && reader.range().map_or(self.last(), |(_, last)| last.0) == self.last()
    }

    /// A write that this log may take.
    pub(crate) fn random_persist(&self, random: &mut Random) -> Persist {
        let last = self.last();
        let mut persist = Persist { sequence: PersistSequence(1), ..Persist::default() };
        let mut next = last + 1;
        let mut term = self.last_term();
        if random.one_in(60) {
            persist.install = Some(self.random_snapshot(random));
            return persist;
        }
        if random.one_in(6) {
            persist.compact_to = Some(Index(random.below(self.commit.0 + 1)));
        }
        if random.one_in(5) && last > self.commit.0 {
            next = self.commit.0 + 1 + random.below(last - self.commit.0 + 1);
            persist.truncate_from = Some(Index(next));
            // The entries that replace others are of a later leader.
            term += 1;
        }
        if random.one_in(10) {
            term += 1;
        }
        if !random.one_in(4) {
            for _ in 0..random.below(4) {
                let bytes = match random.below(40) {
                    0 => 3000,
                    1 => 0,
                    _ => usize::try_from(random.below(120)).expect("small"),
                };
                persist.entries.push(entry(term, next, bytes));
                next += 1;
            }
        }
        if random.one_in(4) {
            let promise = random.next_u64().to_le_bytes();
            persist.promise = Some(Bytes::copy_from_slice(&promise));
        }
        let end = next - 1;
        persist.commit = Index(self.commit.0 + random.below(end - self.commit.0 + 1) / 2);
        persist
    }

    /// A snapshot that this log may be replaced by: of something later, whose history may be another.
    fn random_snapshot(&self, random: &mut Random) -> Snapshot {
        let index = self.commit.0 + 1 + random.below(20);
        let mut terms = self.terms.clone();
        terms.split_off(&Index(self.commit.0 + 1));
        let term = terms.last_key_value().map_or(0, |(_, term)| term.0) + 1;
        terms.insert(Index(self.commit.0 + 1), Term(term));
        let position = Position::new(term, index);
        Snapshot { position, terms, handle: self.installed + 1 }
    }
}

/// All entries, read in portions.
pub(crate) fn read_all<D: Disk>(reader: &mut WalReader<D>) -> Vec<Entry> {
    let Some((first, last)) = reader.range() else { return Vec::new() };
    let mut entries: Vec<Entry> = Vec::new();
    let mut next = first;
    while next <= last {
        let portion = reader.entries(next, last, 500).expect("what is in the log can be read");
        assert!(!portion.is_empty(), "at least the first entry comes");
        next = portion[portion.len() - 1].index().next();
        entries.extend(portion);
    }
    entries
}
