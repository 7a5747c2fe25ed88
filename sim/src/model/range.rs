//! Ranges of keys, in the model.

use std::cmp::Ordering;

use bytes::Bytes;
use kvcore::{KeyValue, Order, Range, RangeResult, Revision, SortBy};

use super::{Model, key_value};
use crate::history::Query;

impl Model {
    /// The answer to a query, at a revision.
    pub(crate) fn answer(&self, query: &Query, at: Revision) -> RangeResult {
        let Query { range, bytes_max } = query;
        let mut key_values = self.matches(range, at);
        let count = key_values.len() as u64;
        if range.count_only {
            return RangeResult { key_values: Vec::new(), count, more: false, next: None, at };
        }
        let fits = range.limit.unwrap_or(usize::MAX).min(fitting(&key_values, *bytes_max));
        let first_left_out = key_values.get(fits);
        let more = first_left_out.is_some();
        let next = first_left_out.map(|left_out| left_out.key.clone());
        let next = next.filter(|_| range.sort == SortBy::Key);
        key_values.truncate(fits);
        if range.keys_only {
            for key_value in &mut key_values {
                key_value.value = Bytes::new();
            }
        }
        RangeResult { key_values, count, more, next, at }
    }

    /// All that a range has from its cursor on, in its order.
    fn matches(&self, range: &Range, at: Revision) -> Vec<KeyValue> {
        let found = self.range(&range.keys, at).filter(|(key, _)| is_ahead(range, key));
        let mut key_values: Vec<_> = found.map(|(key, version)| key_value(key, version)).collect();
        // They are in the order of keys, in which equals stay.
        key_values.sort_by(|a, b| compare(range.sort, a, b));
        if range.order == Order::Descending {
            key_values.reverse();
        }
        key_values
    }
}

/// Whether a key was not on an earlier page.
fn is_ahead(range: &Range, key: &Bytes) -> bool {
    let Some(cursor) = &range.cursor else { return true };
    match range.order {
        Order::Ascending => key >= cursor,
        Order::Descending => key <= cursor,
    }
}

fn compare(sort: SortBy, a: &KeyValue, b: &KeyValue) -> Ordering {
    match sort {
        SortBy::Key => a.key.cmp(&b.key),
        SortBy::Version => a.version.cmp(&b.version),
        SortBy::CreateRevision => a.create_revision.cmp(&b.create_revision),
        SortBy::ModRevision => a.mod_revision.cmp(&b.mod_revision),
        SortBy::Value => a.value.cmp(&b.value),
    }
}

/// How many of them there are up to the one that brings their bytes to the most.
fn fitting(key_values: &[KeyValue], bytes_max: Option<usize>) -> usize {
    let Some(bytes_max) = bytes_max else { return usize::MAX };
    let mut bytes = 0;
    let last = key_values.iter().position(|found| {
        bytes += found.key.len() + found.value.len();
        bytes >= bytes_max
    });
    last.map_or(usize::MAX, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use consensus::{Index, Position, Term};
    use kvcore::{Command, IdempotencyLimits, Keys, Put};

    use super::*;

    #[test]
    fn pages_in_either_order_are_the_whole_at_the_revision_of_the_first() {
        let mut model = Model::new(IdempotencyLimits::default());
        let put = |model: &mut Model, key: &'static str| {
            let (put, conditions) = (Put::new(key.into(), "value".into()), Vec::new());
            let position = Position { term: Term(1), index: Index(1) };
            model.apply(position, None, &Command::Put { put, conditions });
        };
        ["a", "b", "c", "d", "e"].into_iter().for_each(|key| put(&mut model, key));
        let at = model.revision();
        for order in [Order::Ascending, Order::Descending] {
            let mut range = Range { order, limit: Some(2), ..Range::of(Keys::all()) };
            let mut keys = Vec::new();
            loop {
                put(&mut model, "bb");
                let page = model.answer(&Query { range: range.clone(), bytes_max: None }, at);
                assert_eq!(page.count, 5 - keys.len() as u64);
                assert_eq!(page.more, page.next.is_some());
                keys.extend(page.key_values.into_iter().map(|found| found.key));
                range.cursor = page.next;
                if range.cursor.is_none() {
                    break;
                }
            }
            assert!(keys.is_sorted() || keys.iter().rev().is_sorted());
            assert_eq!(keys.len(), 5, "{keys:?}");
        }
    }
}
