//! What a node's log must hold after a crash, kept by a second, naive bookkeeping: everything that
//! the log said was durable, and of the rest a whole number of writes, in order.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use consensus::{
    Entry, Index, NodeId, Persist, PersistSequence, Position, Recovered, Term, Violation,
};

/// The shadow of one node's log.
#[derive(Debug, Default)]
pub(crate) struct ShadowLog {
    /// The first index of every term, of what was forgotten too.
    terms: BTreeMap<Index, Term>,
    last: Index,
    /// The last entry that was forgotten.
    compacted: Index,
    /// The entries behind it.
    entries: VecDeque<Entry>,
    /// The handle of the snapshot that was installed last.
    installed: u64,
    promise: Option<Bytes>,
    commit: Index,
    /// Writes that nobody was told are durable.
    pending: VecDeque<Persist>,
}

impl ShadowLog {
    /// A write was asked for.
    pub(crate) fn asked(&mut self, persist: Persist) {
        self.pending.push_back(persist);
    }

    /// The log said that everything up to this write is durable.
    pub(crate) fn acknowledged(&mut self, sequence: PersistSequence) {
        while let Some(persist) = self.pending.pop_front_if(|persist| persist.sequence <= sequence)
        {
            self.apply(persist);
        }
    }

    /// A node found this at its start. What was not acknowledged and not found is forgotten. Returns
    /// how many writes were found that were not acknowledged.
    pub(crate) fn recovered(
        &mut self,
        id: NodeId,
        recovered: &Recovered,
        installed: u64,
        entries: &[Entry],
    ) -> Result<usize, Violation> {
        let (acknowledged, mut found) = (self.describe(), 0);
        while !self.equals(recovered, installed, entries) {
            let Some(persist) = self.pending.pop_front() else {
                return Err(Violation::new(
                    "what the log acknowledged is there after a crash, and nothing that was not asked",
                    format!(
                        "{id} had {acknowledged}, and found last {} promise {:?} commit {} \
                         compacted {} installed {installed}",
                        recovered.last, recovered.promise, recovered.commit, recovered.compacted
                    ),
                ));
            };
            self.apply(persist);
            found += 1;
        }
        self.pending.clear();
        Ok(found)
    }

    /// The entry at a position is acknowledged, whether it was forgotten since or not.
    pub(crate) fn holds(&self, position: Position) -> bool {
        position.index == Index(0)
            || position.index <= self.last && self.term(position.index) == position.term
    }

    fn apply(&mut self, persist: Persist) {
        if let Some(snapshot) = persist.install {
            self.last = snapshot.position.index;
            self.terms = snapshot.terms;
            self.entries.clear();
            (self.compacted, self.installed) = (self.last, snapshot.handle);
        }
        if let Some(index) = persist.compact_to {
            self.compacted = self.compacted.max(index);
        }
        if let Some(from) = persist.truncate_from {
            self.entries.retain(|entry| entry.index() < from);
            self.terms.split_off(&from);
            self.last = from.previous();
        }
        for entry in &persist.entries {
            if self.term(self.last) != entry.term() {
                self.terms.insert(entry.index(), entry.term());
            }
            self.last = entry.index();
        }
        self.entries.extend(persist.entries);
        while self.entries.pop_front_if(|entry| entry.index() <= self.compacted).is_some() {}
        if persist.promise.is_some() {
            self.promise = persist.promise;
        }
        self.commit = self.commit.max(persist.commit).max(self.compacted);
    }

    fn equals(&self, recovered: &Recovered, installed: u64, entries: &[Entry]) -> bool {
        self.commit == recovered.commit
            && self.promise == recovered.promise
            && self.last == recovered.last
            && (self.compacted, self.installed) == (recovered.compacted, installed)
            && self.entries == entries
            && self.terms == recovered.terms
    }

    /// The term of an entry up to the last one.
    fn term(&self, index: Index) -> Term {
        self.terms.range(..=index).next_back().map_or(Term(0), |(_, &term)| term)
    }

    fn describe(&self) -> String {
        let last = Position { term: self.term(self.last), index: self.last };
        let Self { promise, commit, compacted, installed, pending, .. } = self;
        let pending = pending.len();
        format!(
            "last {last} promise {promise:?} commit {commit} compacted {compacted} installed \
             {installed} and {pending} writes under way"
        )
    }
}
