//! Ranges whose answers are bounded in bytes: always a prefix of the whole answer, in every order.

mod common;

use common::*;
use kvcore::{Keys, Order, Range, RangeResult, SortBy};

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
            assert!(page.key_values.len() <= 10);
            seen.extend(page.key_values);
            assert_eq!(page.more, page.next.is_some());
            let Some(next) = page.next else { break };
            range.cursor = Some(next);
        }
        assert_eq!(seen, whole.key_values);
    }
}
