//! Transactions that only read are answered beside the log, and exactly as the log would have them.

mod common;

use bytes::Bytes;
use common::*;
use kvcore::{
    Command, Compare, CompareOperator, CompareTarget, Keys, Operation, OperationOutcome, Outcome,
    Range, Revision, SortBy, Transaction,
};

fn one(key: &'static str) -> Keys {
    Keys::One(Bytes::from_static(key.as_bytes()))
}

fn equal(key: &'static str, target: CompareTarget) -> Compare {
    Compare { keys: one(key), operator: CompareOperator::Equal, target }
}

fn read(range: Range) -> Operation {
    Operation::Read(Box::new(range))
}

fn transactions() -> Vec<Transaction> {
    let by_version = Range { sort: SortBy::Version, limit: Some(1), ..Range::of(Keys::all()) };
    let past = Range { at: Some(Revision(2)), ..Range::of(Keys::all()) };
    let ahead = Range { at: Some(Revision(99)), ..Range::of(one("a")) };
    let branches = |compares: Vec<Compare>| Transaction {
        compares,
        success: vec![read(Range::of(Keys::all())), read(by_version.clone())],
        failure: vec![read(past.clone())],
    };
    vec![
        Transaction::default(),
        branches(vec![]),
        branches(vec![equal("a", CompareTarget::Version(2))]),
        branches(vec![equal("a", CompareTarget::Version(3))]),
        branches(vec![equal("b", CompareTarget::Value(Bytes::from_static(b"2")))]),
        branches(vec![equal("b", CompareTarget::Value(Bytes::from_static(b"3")))]),
        Transaction { success: vec![read(ahead)], ..Transaction::default() },
    ]
}

#[test]
fn a_transaction_that_only_reads_is_answered_as_if_it_were_applied() {
    let mut machine = machine();
    for (key, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
        put(&mut machine, key, value);
    }
    for flushed in [false, true] {
        for transaction in transactions() {
            let before = machine.revision();
            let beside = machine.read_transaction(transaction.clone()).expect("it is in memory");
            let applied = apply(&mut machine, Command::Transaction(transaction));
            assert_eq!(beside, applied.outcome);
            assert_eq!(applied.revision, before, "nothing was changed");
        }
        if !flushed {
            // What is compared and read next has to come from the store.
            flush(&mut machine);
            machine = reopen(&machine, 0);
        }
    }
}

#[test]
fn it_says_which_branch_it_read_and_what() {
    let mut machine = machine();
    put(&mut machine, "a", "1");
    let transaction = Transaction {
        compares: vec![equal("a", CompareTarget::CreateRevision(7))],
        success: vec![],
        failure: vec![read(Range::of(one("a")))],
    };
    let outcome = machine.read_transaction(transaction).expect("it is in memory");
    let Outcome::Transaction(mut outcome) = outcome else { panic!("{outcome:?}") };
    assert!(!outcome.succeeded);
    let Some(OperationOutcome::Read(Some(plan))) = outcome.results.pop() else {
        panic!("{outcome:?}")
    };
    assert_eq!((plan.count(), plan.rows(), plan.is_resident()), (1, 1, true));
    let found = plan.fetch(machine.store()).expect("it is there").key_values;
    assert_eq!(found.iter().map(|found| &found.value[..]).collect::<Vec<_>>(), [b"1"]);
}

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
