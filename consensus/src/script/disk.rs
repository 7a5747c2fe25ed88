//! A disk that holds one log and loses what was not completed.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::{Entry, Fetch, Index, Persist, PersistSequence, Recovered, Term};

/// One node's disk: what is durable, and the writes under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    promise: Option<Bytes>,
    entries: Vec<Entry>,
    commit: Index,
    pending: VecDeque<Persist>,
}

impl Disk {
    /// Takes a write, which is not durable until it is completed.
    pub(crate) fn write(&mut self, persist: Persist) {
        self.pending.push_back(persist);
    }

    /// How many writes are under way.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Makes up to `count` of the oldest writes durable. Returns the number of the last one.
    ///
    /// # Panics
    /// If a write does not continue the log, or cuts off what an earlier write said was committed.
    pub(crate) fn complete(&mut self, count: usize) -> Option<PersistSequence> {
        let mut last = None;
        for persist in self.pending.drain(..count.min(self.pending.len())) {
            last = Some(persist.sequence);
            if let Some(from) = persist.truncate_from {
                assert!(from > self.commit, "nothing written as committed is ever truncated");
                self.entries.retain(|entry| entry.index() < from);
            }
            for entry in persist.entries {
                assert_eq!(
                    entry.index().0,
                    self.entries.len() as u64 + 1,
                    "a write continues the log without a gap"
                );
                self.entries.push(entry);
            }
            if persist.promise.is_some() {
                self.promise = persist.promise;
            }
            assert!(persist.commit >= self.commit, "the written commit position never goes back");
            assert!(
                persist.commit.0 <= self.entries.len() as u64,
                "the written commit position is never ahead of the entries"
            );
            self.commit = persist.commit;
        }
        last
    }

    /// The machine stops: what was under way is lost.
    pub(crate) fn crash(&mut self) {
        self.pending.clear();
    }

    /// What a protocol finds at its start, with at most `tail_max` entries kept in memory.
    pub(crate) fn recovered(&self, tail_max: usize) -> Recovered {
        let mut terms = BTreeMap::new();
        let mut last_term = Term(0);
        for entry in &self.entries {
            if entry.term() != last_term {
                terms.insert(entry.index(), entry.term());
                last_term = entry.term();
            }
        }
        Recovered {
            promise: self.promise.clone(),
            terms,
            last: Index(self.entries.len() as u64),
            tail: self.entries[self.entries.len().saturating_sub(tail_max)..].to_vec(),
            commit: self.commit,
        }
    }

    /// The durable entries known to be committed.
    pub(crate) fn committed(&self) -> &[Entry] {
        &self.entries[..usize::try_from(self.commit.0).expect("the log fits into memory")]
    }

    /// The entry at an index: what a write under way says, or what is durable.
    pub(crate) fn entry(&self, index: Index) -> Option<&Entry> {
        for persist in self.pending.iter().rev() {
            if let Some(entry) = persist.entries.iter().find(|entry| entry.index() == index) {
                return Some(entry);
            }
            if persist.truncate_from.is_some_and(|from| from <= index) {
                return None;
            }
        }
        self.durable_entry(index)
    }

    /// The durable entries that a fetch asks for, none when the first is not there any more.
    pub(crate) fn fetch(&self, fetch: &Fetch) -> Vec<Entry> {
        let mut bytes = 0;
        let mut entries = Vec::new();
        let mut index = fetch.first;
        while let Some(entry) = self.durable_entry(index).filter(|_| index <= fetch.last) {
            bytes += entry.size_bytes();
            if bytes > fetch.bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
            index = index.next();
        }
        entries
    }

    fn durable_entry(&self, index: Index) -> Option<&Entry> {
        self.entries.get(usize::try_from(index.0.checked_sub(1)?).ok()?)
    }
}
