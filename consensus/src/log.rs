//! The in-memory view of one node's log: what is where, what is durable, committed, delivered.
//!
//! # Invariants
//! - Indexes are dense from `first`; terms never decrease along the log, nor from what was before it.
//! - What is before `first` was forgotten: the layer above holds its effects, or the snapshot that is
//!   being installed does. Its terms are kept all the same, for as long as the log lives: by them
//!   histories that part are told apart, however much of them is gone.
//! - `delivered ≤ commit ≤ last`, `applied ≤ delivered`, `durable ≤ last`.
//! - Nothing committed is ever truncated.
//! - Only durable entries leave the memory tail; the disk then has them.
//! - `commit` and the promises never go back.
//!
//! Changes gather until [`Log::persist`] cuts them into one numbered, atomic [`Persist`]. A write
//! that completes late counts only for what it wrote that is still in the log: the same index may
//! have been written again by another leader meanwhile (etcd's ABA case).

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::{
    Effects, Entry, Fetch, FetchPurpose, Index, Mutant, Persist, PersistSequence, Position,
    Recovered, Settings, Snapshot, Term, mutant,
};

/// The in-memory view of a node's log. Both protocols use it; neither keeps entries elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    /// The first index of every run of equal terms, of the entries that were forgotten too.
    terms: BTreeMap<Index, Term>,
    /// The last entry that was forgotten.
    compacted: Index,
    /// The most recent entries, without gaps, ending at `last`.
    tail: VecDeque<Entry>,
    tail_bytes: usize,
    tail_bytes_max: usize,
    last: Index,
    commit: Index,
    delivered: Index,
    applied: Index,
    /// Delivered in these portions (last index, bytes) and not yet applied.
    unapplied: VecDeque<(Index, usize)>,
    unapplied_bytes: usize,
    unapplied_bytes_max: usize,
    delivery_fetch: Option<DeliveryFetch>,
    durable: Index,
    durable_sequence: PersistSequence,
    sequence: PersistSequence,
    /// Whether one write takes along all entries that gathered.
    batching: bool,
    /// Writes under way: their number, and the last index that is durable once they are.
    writes: VecDeque<(PersistSequence, Index)>,
    /// What the next write takes along.
    unwritten: Index,
    install: Option<Snapshot>,
    compact_to: Option<Index>,
    truncate_from: Option<Index>,
    promise: Option<Bytes>,
    written_commit: Index,
    /// A snapshot that replaced the log, and the write that makes it durable: the layer above is
    /// told then, and of nothing later before.
    installing: Option<(PersistSequence, Snapshot)>,
}

/// Whether the fetch for delivery that is under way still brings what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum DeliveryFetch {
    Wanted,
    /// A snapshot replaced the log meanwhile.
    Void,
}

impl Log {
    /// The log as recovered. Everything recovered is durable; everything up to its commit position
    /// is applied.
    ///
    /// # Panics
    /// If what was recovered contradicts itself: the log's recovery promises that it does not.
    #[must_use]
    pub fn new(settings: &Settings, recovered: Recovered) -> Self {
        let Recovered { terms, last, tail, commit, promise: _, compacted } = recovered;
        assert!(commit <= last, "the commit position is within the log");
        assert!(compacted <= commit, "only what is committed is forgotten");
        assert_eq!(terms.is_empty(), last == Index(0), "every entry has a term");
        if let Some(entry) = tail.last() {
            assert_eq!(entry.index(), last, "the tail ends where the log does");
        }
        let tail_bytes = tail.iter().map(Entry::size_bytes).sum();
        Self {
            terms,
            compacted,
            tail: tail.into(),
            tail_bytes,
            tail_bytes_max: settings.memory_log_bytes_max,
            last,
            commit,
            delivered: commit,
            applied: commit,
            unapplied: VecDeque::new(),
            unapplied_bytes: 0,
            unapplied_bytes_max: settings.unapplied_bytes_max,
            delivery_fetch: None,
            durable: last,
            durable_sequence: PersistSequence(0),
            sequence: PersistSequence(0),
            batching: settings.batching,
            writes: VecDeque::new(),
            unwritten: last.next(),
            install: None,
            compact_to: None,
            truncate_from: None,
            promise: None,
            written_commit: commit,
            installing: None,
        }
    }

    /// The position of the last entry; zero when the log is empty.
    #[must_use]
    pub fn last(&self) -> Position {
        Position {
            term: self.term(self.last).expect("the last entry has a term"),
            index: self.last,
        }
    }

    /// The first index that was not forgotten.
    #[must_use]
    pub fn first(&self) -> Index {
        self.compacted.next()
    }

    /// The last committed index known here.
    #[must_use]
    pub fn commit(&self) -> Index {
        self.commit
    }

    /// The last index known durable here.
    #[must_use]
    pub fn durable(&self) -> Index {
        self.durable
    }

    /// The number of the last write known durable here.
    #[must_use]
    pub fn durable_sequence(&self) -> PersistSequence {
        self.durable_sequence
    }

    /// The last index handed to the layer above.
    #[must_use]
    pub fn delivered(&self) -> Index {
        self.delivered
    }

    /// The last index that the layer above has applied.
    #[must_use]
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// The term of the entry at this index; zero before the first entry, `None` behind the last.
    #[must_use]
    pub fn term(&self, index: Index) -> Option<Term> {
        if index == Index(0) {
            return Some(Term(0));
        }
        if index > self.last {
            return None;
        }
        self.terms.range(..=index).next_back().map(|(_, &term)| term)
    }

    /// Whether this entry is in the log.
    #[must_use]
    pub fn contains(&self, position: Position) -> bool {
        self.term(position.index) == Some(position.term)
    }

    /// The first index of every term in the log, in order.
    #[must_use]
    pub fn terms(&self) -> &BTreeMap<Index, Term> {
        &self.terms
    }

    /// The first index whose entry has the same term as the one at `index`.
    #[must_use]
    pub fn first_of_term_at(&self, index: Index) -> Index {
        self.terms.range(..=index).next_back().map_or(Index(0), |(&first, _)| first)
    }

    /// The last index with a term of at most `term`; zero when there is none.
    #[must_use]
    pub fn last_up_to_term(&self, term: Term) -> Index {
        self.terms
            .iter()
            .find(|&(_, &other)| other > term)
            .map_or(self.last, |(&first, _)| first.previous())
    }

    /// The first index still in memory; one behind the last when none is.
    #[must_use]
    pub fn first_in_memory(&self) -> Index {
        self.tail.front().map_or(self.last.next(), Entry::index)
    }

    /// The bytes of entries in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// The entries still in memory, from the oldest to the last.
    pub fn in_memory(&self) -> impl Iterator<Item = &Entry> {
        self.tail.iter()
    }

    /// The entry at this index, if it is in the log and still in memory.
    #[must_use]
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.first_in_memory().0)?;
        self.tail.get(usize::try_from(offset).ok()?)
    }

    /// The entries from `first` on, at least one, as many as fit into `bytes_max`. `None` when
    /// `first` has left the memory tail.
    ///
    /// # Panics
    /// If `first` is behind the last entry.
    #[must_use]
    pub fn entries(&self, first: Index, bytes_max: usize) -> Option<Vec<Entry>> {
        assert!(first > Index(0) && first <= self.last, "entries asked for are in the log");
        let offset = first.0.checked_sub(self.first_in_memory().0)?;
        let offset = usize::try_from(offset).expect("the tail fits into memory");
        let mut bytes = 0;
        let entries = self.tail.range(offset..).take_while(|entry| {
            let fits = bytes == 0 || bytes + entry.size_bytes() <= bytes_max;
            bytes += entry.size_bytes();
            fits
        });
        Some(entries.cloned().collect())
    }

    /// Whether each of these entries, fetched some time ago, is still in the log.
    #[must_use]
    pub fn contains_all(&self, entries: &[Entry]) -> bool {
        entries.iter().all(|entry| self.contains(entry.position))
    }

    /// Appends an entry.
    ///
    /// # Panics
    /// If the entry leaves a gap or goes back to an earlier term.
    pub fn append(&mut self, entry: Entry) {
        assert_eq!(entry.index(), self.last.next(), "the log has no gaps");
        let last_term = self.last().term;
        assert!(entry.term() >= last_term, "terms never decrease along the log");
        if entry.term() > last_term {
            self.terms.insert(entry.index(), entry.term());
        }
        self.last = entry.index();
        self.tail_bytes += entry.size_bytes();
        self.tail.push_back(entry);
    }

    /// Removes the entry at `index` and all after it. Returns the former last index.
    ///
    /// # Panics
    /// If something committed would be removed.
    pub fn truncate_from(&mut self, index: Index) -> Index {
        assert!(index > self.commit, "nothing committed is ever truncated");
        let former = self.last;
        if index > self.last {
            return former;
        }
        self.terms.split_off(&index);
        while self.tail.back().is_some_and(|entry| entry.index() >= index) {
            let entry = self.tail.pop_back().expect("looked at just now");
            self.tail_bytes -= entry.size_bytes();
        }
        self.last = index.previous();
        self.durable = self.durable.min(self.last);
        for (_, last) in &mut self.writes {
            *last = (*last).min(self.last);
        }
        if index < self.unwritten {
            self.unwritten = index;
            self.truncate_from = Some(self.truncate_from.map_or(index, |from| from.min(index)));
        }
        former
    }

    /// Forgets the entries up to here: the layer above holds their effects durably, and nobody is
    /// expected to need them.
    ///
    /// # Panics
    /// If the layer above has not applied them.
    pub fn compact_to(&mut self, index: Index) {
        if index <= self.compacted {
            return;
        }
        assert!(
            index <= self.applied && index <= self.durable,
            "only what is applied and durable is forgotten: {index}, applied {}, durable {}",
            self.applied,
            self.durable
        );
        self.compacted = index;
        self.compact_to = Some(index);
        while self.tail.front().is_some_and(|entry| entry.index() <= index) {
            let entry = self.tail.pop_front().expect("looked at just now");
            self.tail_bytes -= entry.size_bytes();
        }
    }

    /// Replaces everything by a snapshot. The layer above is told when that is durable.
    ///
    /// # Panics
    /// If the snapshot is not newer than what is committed here, contradicts that, or itself.
    pub fn install(&mut self, snapshot: Snapshot) {
        let position = snapshot.position;
        assert!(snapshot.is_consistent(), "a snapshot's terms end with that of its position");
        assert!(position.index > self.commit, "a snapshot only ever replaces what is older");
        let common = self.terms.range(..=self.commit);
        assert!(
            common.eq(snapshot.terms.range(..=self.commit)),
            "a snapshot continues what is committed here: {snapshot:?} behind {}",
            self.commit
        );
        // What was committed is in the snapshot; whatever else was here never counted.
        let kept = self.commit;
        self.durable = self.durable.min(kept);
        for (_, last) in &mut self.writes {
            *last = (*last).min(kept);
        }
        self.terms.clone_from(&snapshot.terms);
        self.tail.clear();
        self.tail_bytes = 0;
        self.unapplied.clear();
        self.unapplied_bytes = 0;
        self.delivery_fetch = self.delivery_fetch.map(|_| DeliveryFetch::Void);
        self.last = position.index;
        self.commit = position.index;
        self.delivered = position.index;
        self.compacted = position.index;
        self.unwritten = position.index.next();
        self.compact_to = None;
        self.truncate_from = None;
        self.installing = Some((self.sequence.next(), snapshot.clone()));
        self.install = Some(snapshot);
    }

    /// Notes a new promise for the next write.
    pub fn set_promise(&mut self, promise: Bytes) {
        self.promise = Some(promise);
    }

    /// Cuts everything not yet written into one write, if there is anything; without batching, into one
    /// for each entry. Returns the number that must be durable for all of the log and of the promises
    /// to be.
    pub fn persist<M>(&mut self, effects: &mut Effects<M>) -> PersistSequence {
        let mut entries: Vec<Entry> = if self.unwritten <= self.last {
            let offset = self.unwritten.0 - self.first_in_memory().0;
            let offset = usize::try_from(offset).expect("the tail fits into memory");
            self.tail.range(offset..).cloned().collect()
        } else {
            Vec::new()
        };
        let changes = self.install.is_some()
            || self.compact_to.is_some()
            || self.truncate_from.is_some()
            || self.promise.is_some();
        if entries.is_empty() && !changes {
            return self.sequence;
        }
        self.unwritten = self.last.next();
        self.written_commit = self.commit;
        let alone = if self.batching { 0 } else { entries.len().saturating_sub(1) };
        for entry in entries.drain(..alone) {
            self.write(vec![entry], None, effects);
        }
        // Behind all of the entries, so that none of them can be missing where the promise is not.
        let promise = self.promise.take();
        self.write(entries, promise, effects);
        self.sequence
    }

    /// Asks for one write. What replaces or removes anything goes with the first of several.
    fn write<M>(&mut self, entries: Vec<Entry>, promise: Option<Bytes>, effects: &mut Effects<M>) {
        let last = entries.last().map_or(self.last, Entry::index);
        self.sequence = self.sequence.next();
        self.writes.push_back((self.sequence, last));
        effects.persists.push(Persist {
            sequence: self.sequence,
            install: self.install.take(),
            compact_to: self.compact_to.take(),
            truncate_from: self
                .truncate_from
                .take()
                .filter(|_| !mutant::on(Mutant::TruncationUnwritten)),
            entries,
            promise,
            commit: self.commit.min(last),
        });
    }

    /// Everything up to this write is durable.
    ///
    /// # Panics
    /// If no such write was asked for.
    pub fn persisted(&mut self, sequence: PersistSequence) {
        assert!(sequence <= self.sequence, "only what was written can be durable");
        self.durable_sequence = self.durable_sequence.max(sequence);
        while self.writes.front().is_some_and(|&(number, _)| number <= sequence) {
            let (_, last) = self.writes.pop_front().expect("looked at just now");
            self.durable = self.durable.max(last);
        }
        self.evict();
    }

    /// Advances the commit position; one behind the present position changes nothing.
    ///
    /// # Panics
    /// If the log does not reach that far.
    pub fn commit_to(&mut self, index: Index) -> bool {
        assert!(index <= self.last, "only what is in the log can be committed");
        let advanced = index > self.commit;
        self.commit = self.commit.max(index);
        advanced
    }

    /// Hands committed entries to the layer above, as far as its backlog allows, and asks for those
    /// that have left the memory tail.
    pub fn deliver<M>(&mut self, effects: &mut Effects<M>) {
        if let Some((sequence, _)) = self.installing {
            if self.durable_sequence < sequence {
                return;
            }
            effects.install = self.installing.take().map(|(_, snapshot)| snapshot);
        }
        while self.delivered < self.commit && self.delivery_fetch.is_none() {
            let room = self.unapplied_bytes_max.saturating_sub(self.unapplied_bytes);
            if room == 0 {
                return;
            }
            let first = self.delivered.next();
            match self.entries(first, room) {
                Some(mut entries) => {
                    let committed = usize::try_from(self.commit.0 - self.delivered.0);
                    entries.truncate(committed.unwrap_or(usize::MAX));
                    self.hand_over(entries, effects);
                }
                None => {
                    self.delivery_fetch = Some(DeliveryFetch::Wanted);
                    effects.fetches.push(Fetch {
                        purpose: FetchPurpose::Deliver,
                        first,
                        // What is still in memory may not be on disk yet.
                        last: self.commit.min(self.first_in_memory().previous()),
                        bytes_max: room.min(1 << 20),
                    });
                }
            }
        }
    }

    /// The entries that [`Log::deliver`] asked for.
    ///
    /// # Panics
    /// If they are not what was asked for: what is committed is on disk as it is here.
    pub fn delivery_fetched<M>(&mut self, entries: Vec<Entry>, effects: &mut Effects<M>) {
        let fetch = self.delivery_fetch.take().expect("a fetch was under way");
        if fetch == DeliveryFetch::Void {
            self.deliver(effects);
            return;
        }
        assert!(!entries.is_empty(), "a fetch brings at least one entry");
        assert!(self.contains_all(&entries), "the log on disk holds what was committed");
        self.hand_over(entries, effects);
        self.deliver(effects);
    }

    /// The layer above has applied everything up to here.
    ///
    /// # Panics
    /// If that was never delivered.
    pub fn applied_to<M>(&mut self, index: Index, effects: &mut Effects<M>) {
        assert!(index <= self.delivered, "only what was delivered can be applied");
        if index < self.compacted {
            // Applied before a snapshot went beyond it.
            return;
        }
        self.applied = self.applied.max(index);
        while self.unapplied.front().is_some_and(|&(last, _)| last <= index) {
            let (_, bytes) = self.unapplied.pop_front().expect("looked at just now");
            self.unapplied_bytes -= bytes;
        }
        self.deliver(effects);
    }

    fn hand_over<M>(&mut self, entries: Vec<Entry>, effects: &mut Effects<M>) {
        assert_eq!(entries[0].index(), self.delivered.next(), "deliveries have no gaps");
        let last = entries.last().expect("there is a first entry").index();
        assert!(last <= self.commit, "only what is committed is delivered");
        let bytes = entries.iter().map(Entry::size_bytes).sum();
        self.unapplied.push_back((last, bytes));
        self.unapplied_bytes += bytes;
        self.delivered = last;
        effects.deliveries.extend(entries);
    }

    /// Drops the oldest durable entries from memory while the tail is too large.
    fn evict(&mut self) {
        while self.tail_bytes > self.tail_bytes_max
            && self.tail.front().is_some_and(|entry| entry.index() <= self.durable)
        {
            let entry = self.tail.pop_front().expect("looked at just now");
            self.tail_bytes -= entry.size_bytes();
        }
    }
}
