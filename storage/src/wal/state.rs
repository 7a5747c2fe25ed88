//! What the log says, taken together: the same laws hold when it is written and when it is read.

use std::collections::BTreeMap;

use bytes::Bytes;
use consensus::{Index, Persist, Term};

/// What all persists so far amount to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogState {
    pub(super) promise: Option<Bytes>,
    /// The index of the first entry of each term.
    pub(super) terms: BTreeMap<Index, Term>,
    pub(super) last: Index,
    pub(super) commit: Index,
}

impl LogState {
    /// Takes a persist into account, or says which law it breaks.
    pub(super) fn apply(&mut self, persist: &Persist) -> Result<(), String> {
        if let Some(index) = persist.truncate_from {
            self.truncate(index)?;
        }
        for entry in &persist.entries {
            self.append(entry.index(), entry.term())?;
        }
        if let Some(promise) = &persist.promise {
            // A copy, because the original shares the memory of the batch that it came with.
            self.promise = Some(Bytes::copy_from_slice(promise));
        }
        if persist.commit > self.last {
            return Err(format!(
                "the commit position {} is never ahead of the last entry {}",
                persist.commit, self.last
            ));
        }
        self.commit = self.commit.max(persist.commit);
        Ok(())
    }

    fn truncate(&mut self, index: Index) -> Result<(), String> {
        if index > self.last.next() {
            let last = self.last;
            return Err(format!("no entry {index} can be removed from a log that ends at {last}"));
        }
        if index <= self.commit {
            let commit = self.commit;
            return Err(format!("entry {index} is committed (up to {commit}) and never removed"));
        }
        self.terms.split_off(&index);
        self.last = index.previous();
        Ok(())
    }

    fn append(&mut self, index: Index, term: Term) -> Result<(), String> {
        if index != self.last.next() {
            return Err(format!("entry {index} does not follow {} without a gap", self.last));
        }
        match self.terms.last_key_value() {
            Some((_, latest)) if term < *latest => {
                return Err(format!("entry {index} has term {term}, after an entry of {latest}"));
            }
            Some((_, latest)) if term == *latest => {}
            _ => {
                self.terms.insert(index, term);
            }
        }
        self.last = index;
        Ok(())
    }
}
