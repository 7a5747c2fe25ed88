//! Plans of ranges: what is known before anything is fetched.

mod common;

use common::*;
use kvcore::{Keys, Range, SortBy};

#[test]
fn a_plan_says_how_much_there_is_and_whether_the_store_is_needed_for_it() {
    let mut machine = machine();
    for key in ["a", "b", "c"] {
        put(&mut machine, key, "1");
    }
    flush(&mut machine);
    let machine = reopen(&machine, 0);
    for sort in [SortBy::Key, SortBy::Value] {
        let range = Range { limit: Some(2), sort, ..Range::of(Keys::all()) };
        let plan = machine.plan_range(&range).expect("readable");
        assert_eq!((plan.count(), plan.rows(), plan.is_resident()), (3, 2, false));
        assert_eq!(plan.fetch(machine.store()).expect("stored").key_values.len(), 2);
        let keys = Range { keys_only: true, sort: SortBy::Key, ..range };
        assert!(machine.plan_range(&keys).expect("readable").is_resident());
        let count = Range { count_only: true, ..keys };
        let plan = machine.plan_range(&count).expect("readable");
        assert_eq!((plan.count(), plan.rows(), plan.is_resident()), (3, 0, true));
    }
}
