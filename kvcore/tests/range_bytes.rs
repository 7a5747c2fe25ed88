//! Ranges whose answers are bounded in bytes: always a prefix of the whole answer, in every order.

mod common;

use common::*;
use kvcore::{Keys, Order, Range, RangePlanner, RangeResult, SortBy};

/// Keys `000` to `199` with values of 100 bytes whose order is not that of the keys.
fn filled() -> TestMachine {
    let mut machine = machine();
    for number in 0..200_u64 {
        let value = format!("{:03}{}", (number * 37) % 200, "x".repeat(97));
        put(&mut machine, &format!("{number:03}"), &value);
    }
    machine
}

fn fetch(machine: &TestMachine, range: &Range, bytes_max: usize) -> RangeResult {
    let plan = machine.plan_range(range).expect("readable");
    plan.fetch_within(&**machine.store(), bytes_max).expect("nothing vanishes")
}

#[test]
fn an_answer_bounded_in_bytes_is_the_beginning_of_the_whole_one() {
    let machine = filled();
    let sorts =
        [SortBy::Key, SortBy::Value, SortBy::Version, SortBy::CreateRevision, SortBy::ModRevision];
    for sort in sorts {
        for order in [Order::Ascending, Order::Descending] {
            for limit in [None, Some(1), Some(7), Some(500)] {
                let range = Range { sort, order, limit, ..Range::of(Keys::all()) };
                let whole = machine.range(&range).expect("readable");
                for (bytes_max, rows) in [(1, 1), (103, 1), (104, 2), (1030, 10), (usize::MAX, 200)]
                {
                    let part = fetch(&machine, &range, bytes_max);
                    let expected = rows.min(whole.key_values.len());
                    assert_eq!(part.key_values, whole.key_values[..expected], "{range:?}");
                    assert_eq!(part.count, 200);
                    assert_eq!(part.more, expected < 200);
                }
            }
        }
    }
}

#[test]
fn pages_bounded_in_bytes_give_every_key_once() {
    let machine = filled();
    for order in [Order::Ascending, Order::Descending] {
        let mut range = Range { order, limit: Some(30), ..Range::of(Keys::all()) };
        let whole = machine.range(&Range { limit: None, ..range.clone() }).expect("readable");
        let mut seen = Vec::new();
        loop {
            let page = fetch(&machine, &range, 1000);
            let (begun, returned) = (seen.len(), page.key_values.len());
            assert!(returned <= 10);
            seen.extend(page.key_values);
            assert_eq!(page.more, page.next.is_some());
            assert_eq!(page.count, (200 - begun) as u64, "what is left, without counting again");
            let Some(next) = page.next else { break };
            range.count = Some(page.count - returned as u64);
            range.cursor = Some(next);
        }
        assert_eq!(seen, whole.key_values);
    }
}

#[test]
fn a_range_sorted_by_value_holds_few_rows_however_many_match() {
    let mut machine = machine_with_cache(10_000);
    for number in 0..20_000_u64 {
        let value = format!("{:05}", (number * 7919) % 20_000);
        put(&mut machine, &format!("{number:05}"), &value);
    }
    flush(&mut machine);
    for order in [Order::Ascending, Order::Descending] {
        for (limit, bytes_max) in [(1, 1 << 20), (20, 1 << 20), (10_000, 1000)] {
            let range =
                Range { sort: SortBy::Value, order, limit: Some(limit), ..Range::of(Keys::all()) };
            let mut planner = RangePlanner::new(range.clone());
            while !planner.is_done() {
                machine.plan_range_step(&mut planner, 500).expect("readable");
                assert!(planner.rows() <= 500 + 1024 + 2 * 20, "{} rows", planner.rows());
                planner.fetch_unsorted(&**machine.store(), bytes_max).expect("nothing vanishes");
            }
            let found = planner.finish().fetch_within(&**machine.store(), bytes_max);
            let found = found.expect("nothing vanishes");
            let whole = machine.range(&Range { limit: None, ..range }).expect("readable");
            let rows = limit.min(100);
            assert_eq!(found.key_values, whole.key_values[..rows]);
            assert_eq!((found.count, found.more), (20_000, true));
        }
    }
}

#[test]
fn a_page_whose_count_is_known_looks_at_no_more_keys_than_it_returns() {
    let machine = filled();
    let range = Range { limit: Some(7), count: Some(200), ..Range::of(Keys::Prefix("".into())) };
    let range = Range { at: Some(kvcore::Revision(machine.revision().0 - 1)), ..range };
    let mut planner = RangePlanner::new(range.clone());
    machine.plan_range_step(&mut planner, 9).expect("readable");
    assert!(planner.is_done(), "the first key that is left out ends it");
    let mut planner = RangePlanner::new(Range { count: None, ..range });
    machine.plan_range_step(&mut planner, 100).expect("readable");
    assert!(!planner.is_done(), "whoever does not know has to count");
}
