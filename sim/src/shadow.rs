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
    /// The term of every entry that there ever was, of those that were forgotten too.
    terms: Vec<Term>,
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
        let Some(before) = position.index.0.checked_sub(1) else { return true };
        let before = usize::try_from(before).expect("a simulated log fits into memory");
        self.terms.get(before).is_some_and(|&term| term == position.term)
    }

    fn apply(&mut self, persist: Persist) {
        if let Some(snapshot) = persist.install {
            let last = snapshot.position.index;
            let term_at = |index| snapshot.terms.range(..=Index(index)).next_back();
            let terms = (1..=last.0).filter_map(|index| term_at(index).map(|(_, &term)| term));
            self.terms = terms.collect();
            self.entries.clear();
            (self.compacted, self.installed) = (last, snapshot.handle);
        }
        if let Some(index) = persist.compact_to {
            self.compacted = self.compacted.max(index);
        }
        if let Some(from) = persist.truncate_from {
            self.entries.retain(|entry| entry.index() < from);
            self.terms.truncate(usize::try_from(from.0 - 1).expect("it fits into memory"));
        }
        self.terms.extend(persist.entries.iter().map(Entry::term));
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
            && self.terms.len() as u64 == recovered.last.0
            && (self.compacted, self.installed) == (recovered.compacted, installed)
            && self.entries == entries
            && self.runs() == recovered.terms
    }

    /// The first index of every term.
    fn runs(&self) -> BTreeMap<Index, Term> {
        let mut latest = Term(0);
        let runs = (1..).map(Index).zip(self.terms.iter().copied());
        runs.filter(|&(_, term)| std::mem::replace(&mut latest, term) != term).collect()
    }

    fn describe(&self) -> String {
        let index = Index(self.terms.len() as u64);
        let last = Position { term: self.terms.last().copied().unwrap_or_default(), index };
        let Self { promise, commit, compacted, installed, pending, .. } = self;
        let pending = pending.len();
        format!(
            "last {last} promise {promise:?} commit {commit} compacted {compacted} installed \
             {installed} and {pending} writes under way"
        )
    }
}
