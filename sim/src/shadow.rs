//! What a node's log must hold after a crash, kept by a second, naive bookkeeping: everything that
//! the log said was durable, and of the rest a whole number of writes, in order.

use std::collections::VecDeque;

use bytes::Bytes;
use consensus::{
    Entry, Index, NodeId, Persist, PersistSequence, Position, Recovered, Term, Violation,
};

/// The shadow of one node's log.
#[derive(Debug, Default)]
pub(crate) struct ShadowLog {
    entries: Vec<Entry>,
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
        entries: &[Entry],
    ) -> Result<usize, Violation> {
        let (acknowledged, mut found) = (self.describe(), 0);
        while !self.equals(recovered, entries) {
            let Some(persist) = self.pending.pop_front() else {
                return Err(Violation::new(
                    "what the log acknowledged is there after a crash, and nothing that was not asked",
                    format!(
                        "{id} had {acknowledged}, and found last {} promise {:?} commit {}",
                        recovered.last, recovered.promise, recovered.commit
                    ),
                ));
            };
            self.apply(persist);
            found += 1;
        }
        self.pending.clear();
        Ok(found)
    }

    /// The entry at a position is in the log and acknowledged.
    pub(crate) fn holds(&self, position: Position) -> bool {
        let Some(before) = position.index.0.checked_sub(1) else { return true };
        let before = usize::try_from(before).expect("a simulated log fits into memory");
        self.entries.get(before).is_some_and(|entry| entry.position == position)
    }

    fn apply(&mut self, persist: Persist) {
        if let Some(from) = persist.truncate_from {
            self.entries.retain(|entry| entry.index() < from);
        }
        self.entries.extend(persist.entries);
        if persist.promise.is_some() {
            self.promise = persist.promise;
        }
        self.commit = self.commit.max(persist.commit);
    }

    fn equals(&self, recovered: &Recovered, entries: &[Entry]) -> bool {
        self.commit == recovered.commit
            && self.promise == recovered.promise
            && self.entries.len() as u64 == recovered.last.0
            && self.entries == entries
            && self.terms().eq(recovered.terms.iter().map(|(&index, &term)| (index, term)))
    }

    /// The first index of every term.
    fn terms(&self) -> impl Iterator<Item = (Index, Term)> {
        let mut latest = Term(0);
        self.entries.iter().filter_map(move |entry| {
            let is_new = entry.term() != latest;
            latest = entry.term();
            is_new.then_some((entry.index(), entry.term()))
        })
    }

    fn describe(&self) -> String {
        let last = self.entries.last().map_or(Position::ZERO, |entry| entry.position);
        let (promise, commit, pending) = (&self.promise, self.commit, self.pending.len());
        format!("last {last} promise {promise:?} commit {commit} and {pending} writes under way")
    }
}
