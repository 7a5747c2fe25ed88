//! What one command may do at most, and what waits for the store: decided by the content alone, equally
//! on every replica, and before anything changes.

mod common;

use common::*;
use kvcore::{
    Command, DELETED_BYTES_MAX, DELETED_KEYS_MAX, Delete, DeleteOutcome, DeletionLimit,
    EventLimits, Keys, Operation, Outcome, PREVIOUS_BYTES_MAX, Put, Transaction,
    UNFLUSHED_BYTES_MAX, UNFLUSHED_ENTRIES_MAX, WatchFilter,
};

fn fill(machine: &mut TestMachine, keys: usize, key_bytes: usize, value_bytes: usize) {
    for number in 0..keys {
        let command = Command::put(format!("{number:0key_bytes$}"), vec![b'x'; value_bytes]);
        assert!(matches!(apply(machine, command).outcome, Outcome::Put(_)));
    }
}

fn delete_all(machine: &mut TestMachine) -> Outcome {
    apply(machine, Command::delete(Keys::all())).outcome
}

#[test]
fn a_deletion_of_more_keys_than_the_limit_deletes_none() {
    let mut machine = machine_with_cache(0);
    fill(&mut machine, DELETED_KEYS_MAX + 1, 8, 1);
    flush(&mut machine);
    let before = machine.state();
    let refused = delete_all(&mut machine);
    assert_eq!(refused, Outcome::DeletionTooLarge(DeletionLimit::Keys));
    assert_eq!(machine.state().digest, before.digest);
    assert_eq!(machine.revision(), before.revision);
    let text = DeletionLimit::Keys.to_string();
    for part in ["10000 keys", "nothing was deleted", "smaller ranges"] {
        assert!(text.contains(part), "{part:?} in: {text}");
    }
    delete(&mut machine, one("00000007"));
    let deleted = delete_all(&mut machine);
    assert_eq!(deleted, Outcome::Deleted(DeleteOutcome { count: 10_000, previous: Vec::new() }));
    assert_eq!(machine.statistics().keys, 0);
    let filter = WatchFilter::of(Keys::all());
    let plan = machine.events(&filter, machine.revision(), EventLimits::default());
    let events = plan.expect("not compacted").fetch(machine.store()).expect("nothing vanishes");
    assert_eq!(events.revisions[0].events.len(), DELETED_KEYS_MAX, "no revision has more events");
}

#[test]
fn a_deletion_of_many_bytes_of_keys_deletes_none() {
    let mut machine = machine();
    let key_bytes = 60_000;
    fill(&mut machine, DELETED_BYTES_MAX / key_bytes + 1, key_bytes, 1);
    let refused = delete_all(&mut machine);
    assert_eq!(refused, Outcome::DeletionTooLarge(DeletionLimit::Bytes));
    delete(&mut machine, one(&format!("{:0key_bytes$}", 3)));
    assert!(matches!(delete_all(&mut machine), Outcome::Deleted(DeleteOutcome { count: 139, .. })));
}

#[test]
fn the_events_of_one_revision_tell_what_was_there_before_only_as_far_as_the_limit() {
    for cache_bytes in [0, usize::MAX] {
        let mut machine = machine_with_cache(cache_bytes);
        let keys = PREVIOUS_BYTES_MAX / (1 << 20) + 3;
        fill(&mut machine, keys, 4, 1 << 20);
        delete_all(&mut machine);
        flush(&mut machine);
        let filter = WatchFilter { previous: true, ..WatchFilter::of(Keys::all()) };
        let plan = machine.events(&filter, machine.revision(), EventLimits::default());
        let events = plan.expect("not compacted").fetch(machine.store()).expect("nothing vanishes");
        let told = events.revisions[0].events.iter().map(|event| event.previous.is_some());
        let told: Vec<bool> = told.collect();
        assert_eq!(told.len(), keys, "every key is told");
        assert_eq!(told.iter().filter(|told| **told).count(), 32);
        assert!(told[..32].iter().all(|told| *told), "there are no holes");
    }
}

#[test]
fn a_machine_says_when_too_much_waits_for_the_store() {
    let mut machine = machine_with_cache(0);
    fill(&mut machine, UNFLUSHED_BYTES_MAX / (1 << 20) - 1, 4, 1 << 20);
    assert!(!machine.is_behind());
    fill(&mut machine, 1, 4, 1 << 20);
    assert!(machine.is_behind());
    assert!(flush_once(&mut machine, consensus::Index(u64::MAX), 1 << 20));
    assert!(!machine.is_behind());
    flush(&mut machine);

    // What changes nothing takes memory too until it is noted in the store.
    for _ in 0..UNFLUSHED_ENTRIES_MAX - 1 {
        delete(&mut machine, one("absent"));
    }
    assert!(!machine.is_behind());
    delete(&mut machine, one("absent"));
    assert!(machine.is_behind());
    flush(&mut machine);
    assert!(!machine.is_behind());
}

#[test]
fn the_counters_of_sequential_keys_are_stored_bytes_and_end_with_all_that_begins_so() {
    let mut machine = machine();
    let put = |prefix: &str| {
        let put = Put { sequential: true, ..Put::new(prefix.to_owned().into(), "".into()) };
        Command::Put { put, conditions: Vec::new() }
    };
    let next = |machine: &mut TestMachine, prefix: &str| match apply(machine, put(prefix)).outcome {
        Outcome::Put(outcome) => {
            let key = String::from_utf8(outcome.key.expect("a name").to_vec()).expect("text");
            key.strip_prefix(prefix).expect("it begins so").parse::<u64>().expect("a number")
        }
        other => panic!("{other:?}"),
    };
    let prefixes = ["jobs/", "jobs/a", "jobs0", "jobs/\u{10ffff}", "jobs"];
    for prefix in prefixes {
        assert_eq!(next(&mut machine, prefix), 0);
    }
    let with_counters = machine.statistics();
    assert!(with_counters.record_bytes > prefixes.concat().len());
    let both = with_counters.row_bytes + with_counters.record_bytes;
    assert_eq!(machine.stored_bytes(), both as u64);
    // Keys by their names, one after another or many, end no counter.
    delete(&mut machine, one("jobs/0000000000"));
    delete(&mut machine, between("jobs/0", "jobs/a"));
    delete(&mut machine, between("jobs/", "jobs/~"));
    assert!(machine.statistics().record_bytes < with_counters.record_bytes);
    assert_eq!(next(&mut machine, "jobs/"), 1);
    assert_eq!(next(&mut machine, "jobs/a"), 0, "all of it was between");
    delete(&mut machine, prefix("jobs/"));
    for (prefix, number) in prefixes.into_iter().zip([0, 0, 1, 0, 1]) {
        assert_eq!(next(&mut machine, prefix), number, "{prefix}");
    }
    delete(&mut machine, Keys::all());
    assert_eq!(machine.statistics().record_bytes, 0);
}

/// A deletion does no more for counters than for keys.
#[test]
fn counters_that_end_count_to_the_limits_of_a_deletion() {
    let mut machine = machine_with_cache(0);
    for number in 0..=DELETED_KEYS_MAX {
        let put = Put { sequential: true, ..Put::new(format!("{number:06}-").into(), "".into()) };
        apply(&mut machine, Command::Put { put, conditions: Vec::new() });
        delete(&mut machine, one(&format!("{number:06}-0000000000")));
    }
    let records = machine.statistics().record_bytes;
    assert_eq!(delete_all(&mut machine), Outcome::DeletionTooLarge(DeletionLimit::Keys));
    let within = Operation::Delete(Delete::of(Keys::all()));
    let whole = Transaction { success: vec![within], ..Transaction::default() };
    let refused = apply(&mut machine, Command::Transaction(whole)).outcome;
    assert_eq!(refused, Outcome::DeletionTooLarge(DeletionLimit::Keys));
    let parts = [between("0", "006000"), between("006000", "~")];
    let parts = parts.map(|keys| Operation::Delete(Delete::of(keys)));
    let in_parts = Transaction { success: parts.into(), ..Transaction::default() };
    let refused = apply(&mut machine, Command::Transaction(in_parts)).outcome;
    assert_eq!(refused, Outcome::DeletionTooLarge(DeletionLimit::Keys), "also in parts");
    assert_eq!(machine.statistics().record_bytes, records);
    delete(&mut machine, between("0", "000007"));
    assert!(machine.statistics().record_bytes < records);
    assert!(matches!(delete_all(&mut machine), Outcome::Deleted(_)));
    assert_eq!(machine.statistics().record_bytes, 0);
}
