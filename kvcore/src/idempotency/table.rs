//! The table of idempotency keys in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use consensus::{Index, WallTime};

use super::{IDEMPOTENCY_BYTES_MAX, IdempotencyKey, IdempotencyLimits, Remembered};
use crate::store::StoreState;

/// The most keys whose time is up that one entry forgets, so that none takes long. The rest stays
/// remembered until the next entries come: longer than promised is no harm.
const EXPIRED_PER_ENTRY_MAX: usize = 64;

/// The remembered keys: those of all entries after [`Table::forgotten`] that carried a new one.
#[derive(Debug, Default)]
pub(crate) struct Table {
    limits: IdempotencyLimits,
    by_key: BTreeMap<IdempotencyKey, Arc<Remembered>>,
    /// In the order of the log, which is that of their times, too.
    in_order: VecDeque<Arc<Remembered>>,
    /// Every key of an entry up to here is forgotten.
    forgotten: Index,
    /// The sum of the rows' hashes.
    digest: u128,
    bytes: usize,
    /// Rows that are not in the store yet, whether they are forgotten meanwhile or not.
    unflushed: VecDeque<Arc<Remembered>>,
    unflushed_bytes: usize,
}

impl Table {
    /// An empty table, to be filled with what a store has.
    pub(crate) fn new(limits: IdempotencyLimits, forgotten: Index) -> Self {
        assert!(limits.keys_max > 0, "at least one key is remembered");
        Self { limits, forgotten, ..Self::default() }
    }

    /// Adds a row that the store has. Returns what is wrong with it, if anything is.
    pub(crate) fn load(&mut self, row: Remembered, state: &StoreState) -> Result<(), String> {
        let last = self.in_order.back().map_or(self.forgotten, |last| last.index);
        let earlier = self.in_order.back().map_or(WallTime(0), |last| last.wall);
        if row.index <= last || row.index > state.applied.index {
            return Err(format!(
                "it should be of an entry after {last} and up to {}",
                state.applied
            ));
        }
        if row.wall < earlier || row.wall > state.wall || row.revision > state.revision {
            return Err("its time or revision is not within those of the store".to_owned());
        }
        if self.by_key.contains_key(&row.key) || self.in_order.len() == self.limits.keys_max {
            return Err("there are too many rows, or two of the same key".to_owned());
        }
        self.insert(Arc::new(row));
        Ok(())
    }

    pub(crate) fn find(&self, key: &IdempotencyKey) -> Option<&Arc<Remembered>> {
        self.by_key.get(key)
    }

    /// Remembers what an entry did, and forgets the oldest keys if there is too much.
    pub(crate) fn remember(&mut self, row: Remembered) {
        assert!(row.index > self.forgotten, "the log goes forward");
        while self.in_order.len() == self.limits.keys_max
            || self.bytes + row.bytes() > IDEMPOTENCY_BYTES_MAX
        {
            self.forget_first();
        }
        let row = Arc::new(row);
        self.unflushed_bytes += row.bytes();
        self.unflushed.push_back(Arc::clone(&row));
        self.insert(row);
    }

    fn insert(&mut self, row: Arc<Remembered>) {
        self.digest = self.digest.wrapping_add(row.hash());
        self.bytes += row.bytes();
        let former = self.by_key.insert(row.key.clone(), Arc::clone(&row));
        assert!(former.is_none(), "a key is remembered once");
        self.in_order.push_back(row);
    }

    /// Forgets keys whose time is up, a few at a time.
    pub(crate) fn expire(&mut self, now: WallTime) {
        for _ in 0..EXPIRED_PER_ENTRY_MAX {
            let oldest = self.in_order.front();
            if oldest.is_none_or(|row| now.0 - row.wall.0 <= self.limits.window_millis) {
                return;
            }
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let row = self.in_order.pop_front().expect("there is a row to forget");
        self.by_key.remove(&row.key);
        self.digest = self.digest.wrapping_sub(row.hash());
        self.bytes -= row.bytes();
        self.forgotten = row.index;
    }

    /// Every key of an entry up to here is forgotten.
    pub(crate) fn forgotten(&self) -> Index {
        self.forgotten
    }

    pub(crate) fn digest(&self) -> u128 {
        self.digest
    }

    pub(crate) fn len(&self) -> usize {
        self.in_order.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The rows that are not in the store yet, in order.
    pub(crate) fn unflushed(&self) -> impl Iterator<Item = &Arc<Remembered>> {
        self.unflushed.iter()
    }

    pub(crate) fn unflushed_bytes(&self) -> usize {
        self.unflushed_bytes
    }

    /// Notes that everything up to an entry is in the store.
    pub(crate) fn flushed(&mut self, index: Index) {
        while let Some(row) = self.unflushed.pop_front_if(|row| row.index <= index) {
            self.unflushed_bytes -= row.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::remembered::tests::row;
    use super::super::{IDEMPOTENCY_KEYS_MAX, IDEMPOTENCY_WINDOW_MILLIS};
    use super::*;

    fn sum(table: &Table) -> u128 {
        table.in_order.iter().fold(0, |sum, row| sum.wrapping_add(row.hash()))
    }

    #[test]
    fn a_key_is_remembered_for_the_window_and_then_a_few_go_with_each_entry() {
        let mut table = Table::default();
        for index in 1..=100 {
            table.remember(row(index, &format!("k{index}"), 1_000));
        }
        table.expire(WallTime(1_000 + IDEMPOTENCY_WINDOW_MILLIS));
        assert_eq!((table.len(), table.forgotten()), (100, Index(0)), "the window is not over");
        table.expire(WallTime(1_001 + IDEMPOTENCY_WINDOW_MILLIS));
        assert_eq!((table.len(), table.forgotten()), (36, Index(64)));
        assert_eq!(table.digest(), sum(&table));
        table.expire(WallTime(1_001 + IDEMPOTENCY_WINDOW_MILLIS));
        assert_eq!((table.len(), table.forgotten(), table.digest()), (0, Index(100), 0));
        assert_eq!((table.bytes(), table.by_key.len()), (0, 0));
        assert_eq!(table.unflushed().count(), 100, "the store learns of all of them");
        table.flushed(Index(99));
        assert_eq!(table.unflushed_bytes(), row(100, "k100", 0).bytes());
    }

    #[test]
    fn the_oldest_key_goes_when_there_are_too_many() {
        let mut table = Table::default();
        let most = IDEMPOTENCY_KEYS_MAX as u64;
        for index in 1..=most + 3 {
            table.remember(row(index * 2, &format!("k{index}"), index));
            table.flushed(Index(index * 2));
        }
        assert_eq!((table.len(), table.forgotten()), (IDEMPOTENCY_KEYS_MAX, Index(6)));
        assert!(table.find(&row(1, "k3", 0).key).is_none());
        assert!(table.find(&row(1, "k4", 0).key).is_some());
        assert_eq!(table.digest(), sum(&table));
    }

    #[test]
    fn rows_that_no_table_can_have_are_refused_when_they_are_loaded() {
        let state = StoreState {
            applied: consensus::Position::new(1, 50),
            wall: WallTime(50),
            revision: crate::Revision(60),
            ..StoreState::default()
        };
        let mut table = Table::new(IdempotencyLimits::default(), Index(5));
        table.load(row(10, "a", 10), &state).expect("it follows");
        for (wrong, why) in [
            (row(5, "b", 10), "forgotten"),
            (row(10, "b", 10), "not after the last"),
            (row(51, "b", 10), "ahead of the store"),
            (row(11, "b", 9), "earlier than the last"),
            (row(11, "b", 51), "later than the store"),
            (row(11, "a", 10), "the key twice"),
        ] {
            assert!(table.load(wrong, &state).is_err(), "{why}");
        }
        table.load(row(11, "b", 10), &state).expect("it follows");
        assert_eq!((table.len(), table.unflushed().count()), (2, 0));
    }

    #[test]
    fn the_limits_are_those_that_were_set() {
        let limits = IdempotencyLimits { keys_max: 2, window_millis: 10 };
        let mut table = Table::new(limits, Index(0));
        for index in 1..=3 {
            table.remember(row(index, &format!("k{index}"), 1_000 + index));
        }
        assert_eq!((table.len(), table.forgotten()), (2, Index(1)));
        table.expire(WallTime(1_012));
        assert_eq!((table.len(), table.forgotten()), (2, Index(1)));
        table.expire(WallTime(1_013));
        assert_eq!((table.len(), table.forgotten()), (1, Index(2)));
    }
}
