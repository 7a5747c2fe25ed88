//! What ZooKeeper's clients are told of a key: times, children, and how they come about.

mod common;

use bytes::Bytes;
use common::*;
use consensus::{Entry, Payload, WallTime};
use kvcore::{
    Applied, Command, Delete, Keys, LeaseCommand, LeaseId, Operation, Outcome, Put, PutLease,
    ReadError, Revision, Stat, StatPlanner, Transaction,
};

fn stat(machine: &TestMachine, key: &str) -> Stat {
    machine.stat(key.as_bytes()).expect("readable").expect("it exists")
}

/// How often children came and went, when that was last, and how many there are.
fn family(machine: &TestMachine, key: &str) -> (u64, u64, u64) {
    let Stat { cversion, pzxid, num_children, .. } = stat(machine, key);
    (cversion, pzxid.0, num_children)
}

/// Applies a command whose entry has this time.
fn apply_at(machine: &mut TestMachine, command: Command, millis: u64) -> Applied {
    let entry = entry_after(machine, payload(command));
    let entry = Entry { wall: WallTime(millis), ..entry };
    machine.apply(&entry).expect("the store does not fail")
}

fn transact(machine: &mut TestMachine, success: Vec<Operation>) {
    apply(machine, Command::Transaction(Transaction { success, ..Transaction::default() }));
}

fn stores(key: &str) -> Operation {
    Operation::Put(Put::new(Bytes::copy_from_slice(key.as_bytes()), "v".into()))
}

fn deletes(target: Keys) -> Operation {
    Operation::Delete(Delete { target, return_previous: false })
}

#[test]
fn the_eleven_fields_tell_of_the_row_the_family_and_the_index() {
    let mut machine = machine();
    let lease = LeaseId::new(7);
    let ttl_millis = 1_000;
    apply(&mut machine, Command::Lease(LeaseCommand::Grant { lease, ttl_millis }));
    apply_at(&mut machine, put_command("a", "one", &[]), 5_000);
    let attached = PutLease::Attach(lease.expect("not 0"));
    let again = Put { lease: attached, ..Put::new("a".into(), "three".into()) };
    apply_at(&mut machine, Command::Put { put: again, conditions: Vec::new() }, 6_000);
    apply_at(&mut machine, put_command("a/b", "", &[]), 7_000);
    let expected = Stat {
        czxid: Revision(2),
        mzxid: Revision(3),
        pzxid: Revision(4),
        ctime: WallTime(5_000),
        mtime: WallTime(6_000),
        version: 1,
        cversion: 1,
        aversion: 0,
        ephemeral_owner: lease,
        data_length: 5,
        num_children: 1,
    };
    assert_eq!(stat(&machine, "a"), expected);
    flush(&mut machine);
    let machine = reopen(&machine, 0);
    assert_eq!(stat(&machine, "a"), expected, "all of it is in the store");
    assert_eq!(machine.stat(b"a/c"), Ok(None));
}

#[test]
fn times_are_those_of_the_store_which_never_go_back() {
    let mut machine = machine();
    apply_at(&mut machine, put_command("a", "1", &[]), 5_000);
    apply_at(&mut machine, put_command("a", "2", &[]), 4_000);
    let Stat { ctime, mtime, .. } = stat(&machine, "a");
    assert_eq!((ctime, mtime), (WallTime(5_000), WallTime(5_000)));
    // A time that no row has is that of the latest that one has.
    apply_at(&mut machine, put_command("a", "3", &[]), u64::MAX);
    assert_eq!(stat(&machine, "a").mtime, kvcore::store::ROW_TIME_MAX);
    delete(&mut machine, one("a"));
    apply_at(&mut machine, put_command("a", "4", &[]), 6_000);
    assert_eq!(stat(&machine, "a").ctime, kvcore::store::ROW_TIME_MAX, "a new generation");
    flush(&mut machine);
    assert_eq!(reopen(&machine, 0).state(), machine.state());
}

#[test]
fn a_family_begins_anew_with_its_parent_and_counts_only_while_that_is_there() {
    let mut machine = machine();
    put(&mut machine, "a/early", "");
    put(&mut machine, "a", "");
    assert_eq!(family(&machine, "a"), (0, 3, 1), "what was there before is not counted");
    put(&mut machine, "a/b", "");
    put(&mut machine, "a/b", "again");
    put(&mut machine, "a/b/c", "");
    put(&mut machine, "a/", "no name");
    assert_eq!(family(&machine, "a"), (1, 4, 2), "storing again is no creation");
    assert_eq!(family(&machine, "a/b"), (1, 6, 1));
    delete(&mut machine, one("a/b"));
    assert_eq!(family(&machine, "a"), (2, 8, 1));
    delete(&mut machine, one("a/b"));
    assert_eq!(family(&machine, "a"), (2, 8, 1), "there was nothing to delete");
    let records = machine.state().records_digest;
    delete(&mut machine, one("a"));
    assert_ne!(machine.state().records_digest, records);
    assert_eq!(machine.state().records_digest, 0, "nothing is left of it");
    put(&mut machine, "a", "");
    assert_eq!(family(&machine, "a"), (0, 10, 1));
}

#[test]
fn a_store_without_parents_has_no_records() {
    let mut machine = machine();
    for key in ["a", "b/c", "/d", "/", "//", "e/"] {
        put(&mut machine, key, "");
    }
    delete(&mut machine, Keys::all());
    assert_eq!(machine.state().records_digest, 0);
    flush(&mut machine);
    assert_eq!(reopen(&machine, 0).state(), machine.state());
}

#[test]
fn transactions_count_each_of_their_changes() {
    let mut machine = machine();
    transact(&mut machine, vec![stores("a/x"), stores("a"), stores("a/y"), stores("a/z")]);
    assert_eq!(family(&machine, "a"), (2, 2, 3), "the first came before its parent");
    transact(&mut machine, vec![deletes(prefix("a/")), stores("b")]);
    assert_eq!(family(&machine, "a"), (5, 3, 0));
    transact(&mut machine, vec![stores("a/x"), deletes(one("a"))]);
    put(&mut machine, "a", "");
    assert_eq!(family(&machine, "a"), (0, 5, 1));
    // A range goes in the order of its keys: the parent before its children.
    delete(&mut machine, Keys::all());
    assert_eq!(machine.state().records_digest, 0);
}

#[test]
fn children_that_go_with_their_lease_are_counted() {
    let mut machine = machine();
    let lease = LeaseId::new(3).expect("not 0");
    let grant = LeaseCommand::Grant { lease: Some(lease), ttl_millis: 1_000 };
    let Applied { position, .. } = apply(&mut machine, Command::Lease(grant));
    put(&mut machine, "a", "");
    for key in ["a/1", "a/2"] {
        let put = Put { lease: PutLease::Attach(lease), ..Put::new(key.into(), "".into()) };
        apply(&mut machine, Command::Put { put, conditions: Vec::new() });
    }
    assert_eq!(family(&machine, "a"), (2, 4, 2));
    let (renewed, term) = (position.index, position.term);
    apply(&mut machine, Command::Lease(LeaseCommand::Expire { lease, renewed, term }));
    assert_eq!(family(&machine, "a"), (4, 5, 0), "both in one revision");
}

#[test]
fn what_is_below_children_is_passed_by() {
    let mut machine = machine();
    put(&mut machine, "a", "");
    for child in ["b", "c"] {
        put(&mut machine, &format!("a/{child}"), "");
        for number in 0..500 {
            put(&mut machine, &format!("a/{child}/{number}"), "");
        }
    }
    // `!` comes before the separator: these lie between a child and what is below it.
    put(&mut machine, "a/b!", "");
    let mut planner = StatPlanner::new("a".into());
    let mut steps = 0;
    while !planner.is_done() {
        machine.plan_stat_step(&mut planner, 1).expect("it is not compacted");
        steps += 1;
    }
    assert!(
        steps <= 6,
        "three children, two look-ups beside what is below them, and the end: {steps}"
    );
    let (_, plan) = planner.finish();
    let stat = plan.expect("it exists").fetch(machine.store()).expect("it is in memory");
    assert_eq!(stat.num_children, 3);
}

#[test]
fn a_stat_is_of_one_revision_whatever_happens_between_its_steps() {
    let mut machine = machine();
    for key in ["a", "a/1", "a/2", "a/3"] {
        put(&mut machine, key, "");
    }
    let begin = |machine: &TestMachine| {
        let mut planner = StatPlanner::new("a".into());
        machine.plan_stat_step(&mut planner, 1).expect("readable");
        planner
    };
    let mut planner = begin(&machine);
    delete(&mut machine, one("a/2"));
    put(&mut machine, "a/4", "");
    put(&mut machine, "a", "again");
    let mut late = begin(&machine);
    machine.plan_stat_step(&mut planner, 100).expect("readable");
    let (at, plan) = planner.finish();
    let stat = plan.expect("it exists").fetch(machine.store()).expect("it is in memory");
    assert_eq!((at, stat.num_children, stat.cversion), (Revision(5), 3, 3));
    assert_eq!((stat.mzxid, stat.version), (Revision(2), 0));
    put(&mut machine, "b", "");
    compact(&mut machine, 9);
    let compacted = machine.plan_stat_step(&mut late, 100);
    assert!(matches!(compacted, Err(ReadError::Compacted { .. })), "{compacted:?}");
}

/// Of nodes that took a store over one had carried more of its log to it than the other. What they have of
/// entries of before there were times must be the same.
#[test]
fn entries_of_before_there_were_times_give_rows_without_them() {
    let mut machine = machine();
    let before = |machine: &mut TestMachine, command| {
        let Payload::Command(bytes) = payload(command) else { panic!("it is a command") };
        let bytes = Bytes::from([&[1], &bytes[1..]].concat());
        let entry = entry_after(machine, Payload::Command(bytes));
        machine.apply(&entry).expect("the store does not fail")
    };
    before(&mut machine, put_command("key", "first", &[]));
    before(&mut machine, put_command("key/child", "", &[]));
    before(&mut machine, put_command("key", "value", &[]));
    assert_eq!((stat(&machine, "key").ctime, stat(&machine, "key").mtime), Default::default());
    assert_eq!(family(&machine, "key"), (0, 2, 1), "nobody counted");
    assert_eq!(machine.state().records_digest, 0);
    let numbered = Put { sequential: true, ..Put::new("n".into(), "".into()) };
    let numbered = Command::Put { put: numbered, conditions: Vec::new() };
    for number in 0..2 {
        let Outcome::Put(outcome) = before(&mut machine, numbered.clone()).outcome else {
            panic!("it is stored")
        };
        assert_eq!(outcome.key, Some(Bytes::from(format!("n{number:010}"))));
        before(&mut machine, Command::delete(prefix("n")));
    }
    apply_at(&mut machine, Command::delete(prefix("n")), 0);
    assert_eq!(machine.state().records_digest, 0, "only what has times ends counters");
    let old = machine.state().digest;
    apply_at(&mut machine, put_command("key", "value", &[]), 5_000);
    let Stat { ctime, mtime, version, .. } = stat(&machine, "key");
    assert_eq!((ctime, mtime, version), (WallTime(0), WallTime(5_000), 2));
    assert_ne!(machine.state().digest, old);
    delete(&mut machine, one("key/child"));
    assert_eq!(family(&machine, "key"), (1, 10, 0));
    flush(&mut machine);
    assert_eq!(reopen(&machine, 0).state(), machine.state());
}
