//! A disk that holds one log, the state that it led to, and loses what was not completed.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::{
    Entry, Fetch, Index, Persist, PersistSequence, Position, Recovered, Snapshot, Term, Time,
};

/// One node's disk: what is durable, and the writes under way.
///
/// The state of a machine is written as the list of all entries that led to it, so that two can be
/// compared entry by entry, however much of either log was forgotten.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    promise: Option<Bytes>,
    /// The state of the machine, up to what the log has forgotten.
    state: Vec<Entry>,
    /// The first index of every run of equal terms up to there.
    terms: BTreeMap<Index, Term>,
    /// The entries behind the state.
    entries: Vec<Entry>,
    commit: Index,
    /// Each with the time before which it is not durable, in order.
    pending: VecDeque<(Time, Persist)>,
    /// The states that were received, by their handles.
    received: BTreeMap<u64, Vec<Entry>>,
}

impl Disk {
    /// Takes a write, which is not durable until it is completed, and that is not before some time nor
    /// before the writes in front of it.
    pub(crate) fn write(&mut self, persist: Persist, due: Time) {
        let due = self.pending.back().map_or(due, |&(before, _)| before.max(due));
        self.pending.push_back((due, persist));
    }

    /// When the oldest write under way can be completed.
    pub(crate) fn due(&self) -> Option<Time> {
        self.pending.front().map(|&(due, _)| due)
    }

    /// How many writes can be completed by now.
    pub(crate) fn overdue(&self, now: Time) -> usize {
        self.pending.iter().take_while(|&&(due, _)| due <= now).count()
    }

    /// How many writes are under way.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Takes a received state, which is durable at once.
    pub(crate) fn receive(&mut self, handle: u64, state: Vec<Entry>) {
        self.received.insert(handle, state);
    }

    /// Whether a write under way installs a received state.
    pub(crate) fn installs(&self, handle: u64) -> bool {
        let mut installs = self.pending.iter().filter_map(|(_, persist)| persist.install.as_ref());
        installs.any(|snapshot| snapshot.handle == handle)
    }

    /// Removes a received state that was of no use.
    pub(crate) fn discard(&mut self, handle: u64) {
        self.received.remove(&handle);
    }

    /// The entries whose effects the durable state holds.
    pub(crate) fn state(&self) -> &[Entry] {
        &self.state
    }

    /// Makes up to `count` of the oldest writes durable. Returns the number of the last one.
    ///
    /// # Panics
    /// If a write does not continue the log, or cuts off what an earlier write said was committed.
    pub(crate) fn complete(&mut self, count: usize) -> Option<PersistSequence> {
        let mut last = None;
        let count = count.min(self.pending.len());
        for (_, persist) in self.pending.drain(..count).collect::<Vec<_>>() {
            last = Some(persist.sequence);
            if let Some(snapshot) = persist.install {
                self.install(snapshot);
            }
            if let Some(index) = persist.compact_to {
                assert!(index <= persist.commit, "only what is committed is forgotten");
                self.forget(index);
            }
            if let Some(from) = persist.truncate_from {
                assert!(from > self.commit, "nothing written as committed is ever truncated");
                self.entries.retain(|entry| entry.index() < from);
            }
            for entry in persist.entries {
                assert_eq!(
                    entry.index(),
                    self.last().next(),
                    "a write continues the log without a gap"
                );
                self.entries.push(entry);
            }
            if persist.promise.is_some() {
                self.promise = persist.promise;
            }
            assert!(persist.commit >= self.commit, "the written commit position never goes back");
            assert!(
                persist.commit <= self.last(),
                "the written commit position is never ahead of the entries"
            );
            self.commit = persist.commit;
        }
        last
    }

    fn install(&mut self, snapshot: Snapshot) {
        let Snapshot { position, terms, handle } = snapshot;
        let state = self.received.remove(&handle).expect("what is installed was received");
        let last = state.last().map_or(Position::ZERO, |entry| entry.position);
        assert_eq!(last, position, "a snapshot's position is that of its last entry");
        assert_eq!(runs(&state), terms, "a snapshot's terms are those of its entries");
        assert!(position.index > self.commit, "a snapshot only ever replaces what is older");
        (self.state, self.terms, self.commit) = (state, terms, position.index);
        self.entries.clear();
    }

    fn forget(&mut self, index: Index) {
        assert!(index <= self.last(), "only what is in the log can be forgotten");
        let count = index.0.saturating_sub(self.state.len() as u64);
        let count = usize::try_from(count).expect("the log fits into memory");
        for entry in self.entries.drain(..count) {
            entry.note_term(&mut self.terms);
            self.state.push(entry);
        }
    }

    fn last(&self) -> Index {
        Index((self.state.len() + self.entries.len()) as u64)
    }

    /// The machine stops: what was under way is lost, and what was received is of no use any more.
    pub(crate) fn crash(&mut self) {
        self.pending.clear();
        self.received.clear();
    }

    /// What a protocol finds at its start, with at most `tail_max` entries kept in memory.
    pub(crate) fn recovered(&self, tail_max: usize) -> Recovered {
        let mut terms = self.terms.clone();
        for entry in &self.entries {
            entry.note_term(&mut terms);
        }
        Recovered {
            promise: self.promise.clone(),
            terms,
            compacted: Index(self.state.len() as u64),
            last: self.last(),
            tail: self.entries[self.entries.len().saturating_sub(tail_max)..].to_vec(),
            commit: self.commit,
        }
    }

    /// All entries known to be committed, of the state and of the log.
    pub(crate) fn committed(&self) -> Vec<Entry> {
        let count = usize::try_from(self.commit.0).expect("the log fits into memory");
        self.state.iter().chain(&self.entries).take(count).cloned().collect()
    }

    /// The entry at an index: what a write under way says, or what is durable.
    pub(crate) fn entry(&self, index: Index) -> Option<&Entry> {
        for (_, persist) in self.pending.iter().rev() {
            if let Some(entry) = persist.entries.iter().find(|entry| entry.index() == index) {
                return Some(entry);
            }
            if persist.install.is_some() || persist.truncate_from.is_some_and(|from| from <= index)
            {
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
        let offset = index.0.checked_sub(self.state.len() as u64 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }
}

/// The first index of every run of equal terms.
fn runs(entries: &[Entry]) -> BTreeMap<Index, Term> {
    let mut runs = BTreeMap::new();
    for entry in entries {
        entry.note_term(&mut runs);
    }
    runs
}
