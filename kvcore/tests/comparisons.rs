//! Comparisons of transactions, by the log and of keys that were read: the same.

mod common;

use bytes::Bytes;
use common::*;
use kvcore::{
    Command, Compare, CompareOperator, CompareTarget, Keys, LeaseCommand, LeaseId, Outcome, Put,
    PutLease, Range, Revision, Transaction,
};

/// What a transaction with this comparison alone says.
fn by_the_log(machine: &mut TestMachine, compare: &Compare) -> bool {
    let transaction = Transaction { compares: vec![compare.clone()], ..Transaction::default() };
    match apply(machine, Command::Transaction(transaction)).outcome {
        Outcome::Transaction(outcome) => outcome.succeeded,
        other => panic!("{compare:?}: {other:?}"),
    }
}

/// What the keys say that it is about.
fn by_reading(machine: &TestMachine, compare: &Compare) -> bool {
    let found = machine.range(&Range::of(compare.keys.clone())).expect("readable").key_values;
    match found.is_empty() {
        true => compare.holds(None),
        false => found.iter().all(|found| compare.holds(Some(found))),
    }
}

#[test]
fn a_comparison_holds_of_what_is_read_where_it_holds_in_the_log() {
    let mut machine = machine();
    let lease = LeaseId::new(3).expect("not 0");
    let grant = LeaseCommand::Grant { lease: Some(lease), ttl_millis: 1000 };
    apply(&mut machine, Command::Lease(grant));
    put(&mut machine, "a", "m");
    put(&mut machine, "b", "n");
    put(&mut machine, "b", "o");
    let leased = Put { lease: PutLease::Attach(lease), ..Put::new("c".into(), "".into()) };
    apply(&mut machine, Command::Put { put: leased, conditions: Vec::new() });
    delete(&mut machine, one("a"));
    put(&mut machine, "d", "m");
    let keys = ["a", "b", "c", "d"].map(one).into_iter();
    let keys = keys.chain([Keys::all(), between("b", "d"), between("d", "b"), prefix("x")]);
    let operators = [
        CompareOperator::Equal,
        CompareOperator::NotEqual,
        CompareOperator::Less,
        CompareOperator::Greater,
    ];
    let numbers = [i64::MIN, -1, 0, 1, 2, 3, 4, 5, 6, 7, i64::MAX].into_iter();
    let targets = numbers.flat_map(|number| {
        [
            CompareTarget::Version(number),
            CompareTarget::CreateRevision(number),
            CompareTarget::ModRevision(number),
            CompareTarget::Lease(number),
        ]
    });
    let values = ["", "m", "n", "o"].map(|text| CompareTarget::Value(Bytes::from(text)));
    let targets: Vec<_> = targets.chain(values).collect();
    let (mut holding, mut all) = (0, 0);
    for keys in keys {
        for operator in operators {
            for target in &targets {
                let compare = Compare { keys: keys.clone(), operator, target: target.clone() };
                let holds = by_reading(&machine, &compare);
                assert_eq!(by_the_log(&mut machine, &compare), holds, "{compare:?}");
                holding += usize::from(holds);
                all += 1;
            }
        }
    }
    assert!(holding > all / 10 && holding < all * 9 / 10, "{holding} of {all} say something");
}

#[test]
fn a_plan_says_whether_its_rows_are_in_memory() {
    let mut machine = machine_with_cache(0);
    put(&mut machine, "a", "1");
    put(&mut machine, "b", "2");
    let all = Range { at: Some(Revision(3)), ..Range::of(Keys::all()) };
    let plan = machine.plan_range(&all).expect("readable");
    assert!(plan.is_resident());
    assert_eq!((plan.rows(), plan.count()), (2, 2));
    flush(&mut machine);
    let plan = machine.plan_range(&all).expect("readable");
    assert!(!plan.is_resident(), "nothing is kept beside the store");
}
