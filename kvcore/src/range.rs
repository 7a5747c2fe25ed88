//! Reading many keys: what to read, the plan that the machine makes of it, and its execution.

use std::cmp::Ordering;

use bytes::Bytes;
use consensus::{Mutant, mutant};

use crate::keys::{Keys, Span};
use crate::read::{FetchError, KeyValue, Located};
use crate::store::{Revision, Store};

/// The order of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// Smallest first.
    #[default]
    Ascending,
    /// Largest first: exactly the reverse.
    Descending,
}

/// What an answer is sorted by. Equals are in the order of keys, ascending or descending as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SortBy {
    /// The bytes of the key.
    #[default]
    Key,
    /// The version.
    Version,
    /// The revision that created the key.
    CreateRevision,
    /// The revision that last wrote the key.
    ModRevision,
    /// The bytes of the value.
    Value,
}

/// A question about many keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// Which keys.
    pub keys: Keys,
    /// The revision to read at; `None` for the current one.
    pub at: Option<Revision>,
    /// The most keys to return, applied after sorting; `None` for all.
    pub limit: Option<usize>,
    /// The order of the answer.
    pub order: Order,
    /// What is sorted.
    pub sort: SortBy,
    /// Where to go on: the `next` of the page before. Only with an order by key. Keys of earlier
    /// pages are neither returned nor counted.
    pub cursor: Option<Bytes>,
    /// How many keys match, if that is known: the count of the page before, less what it returned.
    /// Otherwise each page looks at every key that is left, only to count it. Only with an order by
    /// key, and at the revision of the page before.
    pub count: Option<u64>,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
}

impl Range {
    /// All of these keys as they are now, in order.
    #[must_use]
    pub fn of(keys: Keys) -> Self {
        Self {
            keys,
            at: None,
            limit: None,
            order: Order::Ascending,
            sort: SortBy::Key,
            cursor: None,
            count: None,
            keys_only: false,
            count_only: false,
        }
    }
}

/// The answer to a [`Range`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeResult {
    /// The keys, in the order asked for.
    pub key_values: Vec<KeyValue>,
    /// How many keys match (from the cursor on), whatever the limit.
    pub count: u64,
    /// Whether the limit left keys out.
    pub more: bool,
    /// The first key that was left out, where the order is by key.
    pub next: Option<Bytes>,
    /// The revision that was read.
    pub at: Revision,
}

/// A range that is being planned, some keys at a time, so that whoever guards the machine with a
/// lock can let others in between.
///
/// The first step fixes the revision; later steps read at that same revision, whatever was written
/// since.
#[derive(Clone, Debug)]
pub struct RangePlanner {
    pub(crate) range: Range,
    /// The keys that were not looked at yet.
    pub(crate) rest: Span,
    pub(crate) at: Option<Revision>,
    /// Of that revision only what was written in front of this place: what an operation of a transaction
    /// finds of it.
    pub(crate) before_place: Option<u32>,
    pub(crate) count: u64,
    done: bool,
    next: Option<Bytes>,
    /// Rows of which it is known what they are sorted by.
    known: Vec<Planned>,
    /// Rows that must be fetched before they can be sorted.
    unknown: Vec<Located>,
    /// The first of those that were fetched already.
    best: Best,
}

#[derive(Clone, Debug)]
struct Planned {
    /// What the row is sorted by, and its place in the order of keys for equals.
    rank: (u64, u64),
    located: Located,
}

impl RangePlanner {
    /// Begins with a range.
    #[must_use]
    pub fn new(range: Range) -> Self {
        let mut rest = range.keys.span();
        if let (Some(cursor), SortBy::Key) = (&range.cursor, range.sort) {
            match range.order {
                Order::Ascending => rest.raise_low(cursor.clone()),
                Order::Descending => {
                    rest.reduce_high(cursor.clone());
                    if mutant::on(Mutant::PageSkipsKey) {
                        rest.pass(cursor.clone(), true);
                    }
                }
            }
        }
        Self {
            rest,
            at: None,
            before_place: None,
            count: 0,
            done: false,
            next: None,
            known: Vec::new(),
            unknown: Vec::new(),
            best: Best::new(&range),
            range,
        }
    }

    /// Whether the plan is complete.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Whether keys are looked at from the last to the first.
    pub(crate) fn is_backward(&self) -> bool {
        self.range.sort == SortBy::Key && self.range.order == Order::Descending
    }

    /// Whether what matches from now on only needs to be counted.
    pub(crate) fn only_counts(&self) -> bool {
        self.range.count_only || (self.range.sort == SortBy::Key && self.next.is_some())
    }

    /// Whether keys without values are enough for the answer.
    pub(crate) fn needs_no_value(&self) -> bool {
        self.range.keys_only && self.range.sort != SortBy::Value
    }

    fn limit(&self) -> usize {
        self.range.limit.unwrap_or(usize::MAX)
    }

    /// The number of matches, if whoever asks knows it.
    pub(crate) fn known_count(&self) -> Option<u64> {
        self.range.count.filter(|_| self.range.sort == SortBy::Key)
    }

    /// Adds the next match. Its number is what it is sorted by, if that is known without the row.
    pub(crate) fn add(
        &mut self,
        key: &[u8],
        number: Option<u64>,
        locate: impl FnOnce() -> Located,
    ) {
        self.count += 1;
        if self.only_counts() {
            return;
        }
        if self.range.sort == SortBy::Key && self.known.len() == self.limit() {
            self.next = Some(Bytes::copy_from_slice(key));
            return;
        }
        let Some(number) = number else {
            self.unknown.push(locate());
            return;
        };
        self.known.push(Planned { rank: (number, self.count), located: locate() });
        // What can not be among the first any more is dropped now and then.
        if self.range.sort != SortBy::Key && self.known.len() >= batch_length(self.limit()) {
            self.sort_known();
        }
    }

    fn sort_known(&mut self) {
        self.known.sort_unstable_by_key(|planned| planned.rank);
        if self.range.order == Order::Descending {
            self.known.reverse();
        }
        self.known.truncate(self.limit());
    }

    /// Fetches the rows that must be fetched before they can be sorted, and keeps those that may be
    /// in the answer, of `bytes_max` bytes about. Called between two steps, without the machine: the
    /// plan then never holds many more rows than the answer and one step.
    ///
    /// # Errors
    /// As [`RangePlan::fetch`]. Then the range is begun anew.
    pub fn fetch_unsorted<S: Store + ?Sized>(
        &mut self,
        store: &S,
        bytes_max: usize,
    ) -> Result<(), FetchError> {
        for located in self.unknown.drain(..) {
            self.best.fetch(located, store, &self.range, bytes_max)?;
        }
        Ok(())
    }

    /// How many rows the plan holds by now.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.known.len() + self.unknown.len() + self.best.key_values.len()
    }

    /// Notes that no match is left.
    pub(crate) fn complete(&mut self) {
        self.done = true;
    }

    /// The complete plan.
    ///
    /// # Panics
    /// If it is not complete.
    #[must_use]
    pub fn finish(mut self) -> RangePlan {
        assert!(self.done, "a plan is complete before it is carried out");
        if self.range.sort != SortBy::Key {
            self.sort_known();
        }
        let count = self.known_count().unwrap_or(self.count);
        RangePlan {
            known: self.known.into_iter().map(|planned| planned.located).collect(),
            unknown: self.unknown,
            best: self.best,
            at: self.at.expect("the first step fixes the revision"),
            count,
            next: self.next,
            range: self.range,
        }
    }
}

/// How many rows are collected before those beyond the limit are dropped: enough that sorting again
/// is rare, and no more memory than the answer takes twice.
fn batch_length(limit: usize) -> usize {
    limit.saturating_mul(2).saturating_add(1024)
}

/// Where the rows of an answer are: everything that the machine has to say to a [`Range`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangePlan {
    range: Range,
    /// In the order of the answer, and no more than it holds.
    known: Vec<Located>,
    /// To be fetched and sorted together with the others.
    unknown: Vec<Located>,
    /// Fetched already, to be sorted together with the others.
    best: Best,
    at: Revision,
    count: u64,
    next: Option<Bytes>,
}

impl RangePlan {
    /// How many keys match, whatever the limit.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many of them the answer has.
    #[must_use]
    pub fn rows(&self) -> usize {
        let rows = self.known.len() + self.unknown.len() + self.best.key_values.len();
        self.range.limit.map_or(rows, |limit| rows.min(limit))
    }

    /// Whether all of it is in memory, so that nothing is asked of the store.
    #[must_use]
    pub fn is_resident(&self) -> bool {
        let mut rows = self.known.iter().chain(&self.unknown);
        rows.all(|located| !matches!(located, Located::Stored(_)))
    }

    /// Fetches what is in the store. The machine is not needed for it.
    ///
    /// # Errors
    /// [`FetchError::Vanished`] when compaction removed a row since the plan was made: plan again.
    pub fn fetch<S: Store + ?Sized>(self, store: &S) -> Result<RangeResult, FetchError> {
        self.fetch_within(store, usize::MAX)
    }

    /// As [`RangePlan::fetch`], but the answer ends with the row that brings its keys and values to
    /// so many bytes, as if the limit had been there. Not many more are ever in memory.
    ///
    /// # Errors
    /// As [`RangePlan::fetch`].
    pub fn fetch_within<S: Store + ?Sized>(
        mut self,
        store: &S,
        bytes_max: usize,
    ) -> Result<RangeResult, FetchError> {
        let sorted = self.unknown.is_empty() && self.best.key_values.is_empty();
        let mut key_values = if sorted {
            self.fetch_sorted(store, bytes_max)?
        } else {
            for located in self.known.drain(..).chain(self.unknown.drain(..)) {
                self.best.fetch(located, store, &self.range, bytes_max)?;
            }
            self.best.finish(&self.range, bytes_max)
        };
        if self.range.keys_only {
            for key_value in &mut key_values {
                key_value.value = Bytes::new();
            }
        }
        let rest = self.count > key_values.len() as u64;
        let more = !self.range.count_only && (rest || self.next.is_some());
        Ok(RangeResult { key_values, count: self.count, more, next: self.next, at: self.at })
    }

    /// Fetches rows that are in the order of the answer.
    fn fetch_sorted<S: Store + ?Sized>(
        &mut self,
        store: &S,
        bytes_max: usize,
    ) -> Result<Vec<KeyValue>, FetchError> {
        let (mut key_values, mut bytes) = (Vec::new(), 0);
        let mut rest = self.known.drain(..);
        while let Some(located) = rest.next() {
            let found = located.fetch(store)?.expect(PLANNED);
            bytes += row_bytes(&found);
            key_values.push(found);
            if bytes >= bytes_max {
                if let Some(next) = rest.next().filter(|_| self.range.sort == SortBy::Key) {
                    self.next = Some(next.fetch(store)?.expect(PLANNED).key);
                }
                break;
            }
        }
        Ok(key_values)
    }
}

/// Why a planned row is never absent.
const PLANNED: &str = "only rows of existing keys are planned";

/// The first rows of an answer, of those that were fetched so far in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Best {
    key_values: Vec<KeyValue>,
    bytes: usize,
    /// The most rows that the answer may still have.
    limit: usize,
}

impl Best {
    fn new(range: &Range) -> Self {
        let limit = range.limit.unwrap_or(usize::MAX);
        Self { key_values: Vec::new(), bytes: 0, limit }
    }

    /// Fetches a row. What can not be among the first any more is dropped now and then.
    fn fetch<S: Store + ?Sized>(
        &mut self,
        located: Located,
        store: &S,
        range: &Range,
        bytes_max: usize,
    ) -> Result<(), FetchError> {
        let found = located.fetch(store)?.expect(PLANNED);
        self.bytes += row_bytes(&found);
        self.key_values.push(found);
        if self.key_values.len() >= batch_length(self.limit)
            || self.bytes >= bytes_max.saturating_mul(2)
        {
            self.reduce(range, bytes_max);
        }
        Ok(())
    }

    /// What is cut off here stays off, and so does all that comes after it in order: the answer has
    /// no holes.
    fn reduce(&mut self, range: &Range, bytes_max: usize) {
        sort(&mut self.key_values, range, self.limit);
        self.limit = self.limit.min(cut(&mut self.key_values, bytes_max));
        self.bytes = self.key_values.iter().map(row_bytes).sum();
        for key_value in &mut self.key_values {
            unshare(&mut key_value.key);
            unshare(&mut key_value.value);
        }
    }

    fn finish(&mut self, range: &Range, bytes_max: usize) -> Vec<KeyValue> {
        sort(&mut self.key_values, range, self.limit);
        cut(&mut self.key_values, bytes_max);
        std::mem::take(&mut self.key_values)
    }
}

/// Copies bytes out of the buffer that they share with others, which may be much larger and would
/// stay in memory with them.
fn unshare(bytes: &mut Bytes) {
    if !bytes.is_unique() {
        *bytes = Bytes::copy_from_slice(bytes);
    }
}

fn row_bytes(key_value: &KeyValue) -> usize {
    key_value.key.len() + key_value.value.len()
}

/// Drops what comes after the row that brings the bytes to the limit. Returns how many rows may be
/// in the answer from now on: as many as are left, if any were dropped.
fn cut(key_values: &mut Vec<KeyValue>, bytes_max: usize) -> usize {
    let mut bytes: usize = 0;
    let full = key_values.iter().position(|key_value| {
        bytes += row_bytes(key_value);
        bytes >= bytes_max
    });
    match full {
        Some(last) => {
            key_values.truncate(last + 1);
            last + 1
        }
        None => usize::MAX,
    }
}

fn sort(key_values: &mut Vec<KeyValue>, range: &Range, limit: usize) {
    key_values.sort_unstable_by(|a, b| {
        let order = match range.sort {
            SortBy::Key => Ordering::Equal,
            SortBy::Version => a.version.cmp(&b.version),
            SortBy::CreateRevision => a.create_revision.cmp(&b.create_revision),
            SortBy::ModRevision => a.mod_revision.cmp(&b.mod_revision),
            SortBy::Value => a.value.cmp(&b.value),
        };
        let order = order.then_with(|| a.key.cmp(&b.key));
        if range.order == Order::Descending { order.reverse() } else { order }
    });
    key_values.truncate(limit);
}
