//! A disk that holds one log and loses what was not completed.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use consensus::{Entry, Index, Persist, PersistSequence, Position, Recovered};

/// What is durable, and the writes under way.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Disk {
    promise: Option<Bytes>,
    entries: Vec<Entry>,
    commit: Index,
    under_way: VecDeque<Persist>,
}

impl Disk {
    /// Takes a write, which is not durable until it is completed.
    pub(crate) fn write(&mut self, persist: Persist) {
        self.under_way.push_back(persist);
    }

    /// Whether nothing is being written.
    pub(crate) fn rests(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Makes the oldest write durable. Returns its number.
    pub(crate) fn complete(&mut self) -> Option<PersistSequence> {
        let persist = self.under_way.pop_front()?;
        assert!(persist.install.is_none() && persist.compact_to.is_none(), "no log is compacted");
        if let Some(from) = persist.truncate_from {
            assert!(from > self.commit, "nothing written as committed is ever truncated");
            self.entries.retain(|entry| entry.index() < from);
        }
        for entry in persist.entries {
            assert_eq!(entry.index(), self.last().next(), "a write continues the log");
            self.entries.push(entry);
        }
        if persist.promise.is_some() {
            self.promise = persist.promise;
        }
        assert!(persist.commit <= self.last(), "what is written as committed is written");
        self.commit = persist.commit;
        Some(persist.sequence)
    }

    /// The power fails: what was under way is lost.
    pub(crate) fn crash(&mut self) {
        self.under_way.clear();
    }

    /// Whether this entry is durable.
    pub(crate) fn holds(&self, position: Position) -> bool {
        self.entries.iter().any(|entry| entry.position == position)
    }

    /// What a protocol finds at its start.
    pub(crate) fn recovered(&self) -> Recovered {
        let mut terms = BTreeMap::new();
        for entry in &self.entries {
            entry.note_term(&mut terms);
        }
        Recovered {
            promise: self.promise.clone(),
            terms,
            compacted: Index(0),
            last: self.last(),
            tail: self.entries.clone(),
            commit: self.commit,
        }
    }

    fn last(&self) -> Index {
        Index(self.entries.len() as u64)
    }
}
