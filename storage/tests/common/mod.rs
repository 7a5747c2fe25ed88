//! What the tests of the log share: a naive model of it, and lawful random writes.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::collections::BTreeMap;

use bytes::Bytes;
use consensus::{
    Entry, Index, NodeId, Payload, Persist, PersistSequence, Position, Protocol, Random, Term,
    WallTime,
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

/// The log as a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) promise: Option<Bytes>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) commit: Index,
}

impl Model {
    pub(crate) fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(crate) fn last_term(&self) -> u64 {
        self.entries.last().map_or(1, |entry| entry.term().0)
    }

    pub(crate) fn apply(&mut self, persist: &Persist) {
        if let Some(index) = persist.truncate_from {
            self.entries.truncate(usize::try_from(index.0 - 1).expect("small"));
        }
        self.entries.extend(persist.entries.iter().cloned());
        if persist.promise.is_some() {
            self.promise.clone_from(&persist.promise);
        }
        self.commit = self.commit.max(persist.commit);
    }

    pub(crate) fn terms(&self) -> BTreeMap<Index, Term> {
        let mut terms = BTreeMap::new();
        let mut last = None;
        for entry in &self.entries {
            if last != Some(entry.term()) {
                terms.insert(entry.index(), entry.term());
            }
            last = Some(entry.term());
        }
        terms
    }

    /// Whether a recovery found just this, all entries included.
    pub(crate) fn is<D: Disk>(&self, recovery: &Recovery, reader: &mut WalReader<D>) -> bool {
        let recovered = &recovery.recovered;
        let tail = &recovered.tail;
        recovered.promise == self.promise
            && recovered.commit == self.commit
            && recovered.last.0 == self.last()
            && recovered.terms == self.terms()
            && self.entries.ends_with(tail)
            && (tail.is_empty() == self.entries.is_empty())
            && read_all(reader) == self.entries
    }

    /// A write that this log may take.
    pub(crate) fn random_persist(&self, random: &mut Random) -> Persist {
        let last = self.last();
        let mut persist = Persist { sequence: PersistSequence(1), ..Persist::default() };
        let mut next = last + 1;
        let mut term = self.last_term();
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
