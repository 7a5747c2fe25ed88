//! Idempotency keys: what is done once, what is answered again, and what is forgotten.

mod common;

use std::sync::Arc;

use common::*;
use consensus::{Entry, Index, Payload, WallTime};
use kvcore::{
    Applied, Command, Condition, ConditionFailure, Delete, DeleteOutcome, FetchError,
    IDEMPOTENCY_KEYS_MAX, IDEMPOTENCY_WINDOW_MILLIS, KeyValue, Keys, Located, Outcome, PutOutcome,
    Revision,
};

/// Applies a command under a key; it must repeat an earlier one and change nothing.
fn repeat(machine: &mut TestMachine, key: &str, command: Command) -> Applied {
    let before = machine.state();
    let applied = apply_with_key(machine, key, command);
    let after = machine.state();
    assert!(applied.repeated, "{applied:?}");
    assert_eq!((before.revision, before.digest), (after.revision, after.digest));
    assert_eq!(before.idempotency_digest, after.idempotency_digest);
    applied
}

/// Lets so much time pass in the log.
fn pass_time(machine: &mut TestMachine, millis: u64) {
    let wall = WallTime(machine.state().wall.0 + millis);
    let entry = Entry { wall, ..entry_after(machine, Payload::Empty) };
    machine.apply(&entry).expect("the store in memory does not fail");
}

fn fetch(
    machine: &TestMachine,
    located: Vec<Located>,
) -> Vec<Result<Option<KeyValue>, FetchError>> {
    located.into_iter().map(|located| located.fetch(machine.store())).collect()
}

fn delete_command(target: Keys, conditions: &[Condition]) -> Command {
    let delete = Delete { target, return_previous: true };
    Command::Delete { delete, conditions: conditions.to_vec() }
}

/// Whatever can come of a command, as the first entry with its key has it.
fn story() -> (TestMachine, Vec<(&'static str, Command, Applied)>) {
    let mut machine = machine();
    for number in 0..5 {
        put(&mut machine, &format!("a{number}"), "old");
    }
    put(&mut machine, "b", "old");
    let put_absent = put_command("a1", "new", &[Condition::Version(1), Condition::Absent]);
    let commands = [
        ("create", put_command("c", "1", &[])),
        ("replace", put_command("b", "2", &[Condition::Version(1)])),
        ("refused put", put_absent),
        ("refused range", delete_command(prefix("a"), &[Condition::ModRevision(Revision(2))])),
        ("refused nothing", delete_command(prefix("z"), &[Condition::Version(3)])),
        ("delete one", delete_command(one("a0"), &[])),
        ("delete many", delete_command(prefix("a"), &[])),
        ("delete none", delete_command(prefix("z"), &[])),
        ("compact late", Command::Compact { revision: Revision(99) }),
        ("compact", Command::Compact { revision: Revision(3) }),
        ("compact again", Command::Compact { revision: Revision(3) }),
    ];
    let told = commands.map(|(name, command)| {
        let key = name.replace(' ', "-");
        let applied = apply_with_key(&mut machine, &key, command.clone());
        assert!(!applied.repeated);
        assert_eq!(applied.revision, machine.revision());
        (name, command, applied)
    });
    (machine, told.into())
}

#[test]
fn the_same_request_again_gets_the_first_outcome_and_changes_nothing() {
    let (mut machine, told) = story();
    for restart in [false, true] {
        if restart {
            flush(&mut machine);
            machine = reopen(&machine, 0);
        }
        for (name, command, first) in &told {
            put(&mut machine, "b", "something else happens meanwhile");
            let again = repeat(&mut machine, &name.replace(' ', "-"), command.clone());
            assert_eq!(again.revision, first.revision, "{name}");
            match (&again.outcome, &first.outcome) {
                (
                    Outcome::Put(PutOutcome { created, previous, .. }),
                    Outcome::Put(PutOutcome {
                        created: created_first,
                        previous: previous_first,
                        ..
                    }),
                ) => {
                    assert_eq!(created, created_first, "{name}");
                    let told = |previous: &Option<Located>| {
                        fetch(&machine, previous.iter().cloned().collect())
                    };
                    assert_eq!(told(previous), told(previous_first), "{name}");
                }
                (
                    Outcome::Deleted(DeleteOutcome { count, previous }),
                    Outcome::Deleted(DeleteOutcome {
                        count: count_first,
                        previous: previous_first,
                    }),
                ) => {
                    assert_eq!(count, count_first, "{name}");
                    let told = |previous: &Vec<Located>| fetch(&machine, previous.clone());
                    assert_eq!(told(previous), told(previous_first), "{name}");
                }
                (again, first) => assert_eq!(again, first, "{name}"),
            }
        }
    }
}

#[test]
fn what_was_replaced_is_told_as_long_as_history_has_it() {
    let (mut machine, told) = story();
    let revision = machine.revision().0;
    compact(&mut machine, revision);
    flush(&mut machine);
    let counts = told.iter().filter_map(|(name, command, first)| {
        let previous_first = match &first.outcome {
            Outcome::Put(PutOutcome { previous, .. }) => usize::from(previous.is_some()),
            Outcome::Deleted(DeleteOutcome { previous, .. }) => previous.len(),
            _ => return None,
        };
        let again = repeat(&mut machine, &name.replace(' ', "-"), command.clone());
        let previous = match again.outcome {
            Outcome::Put(PutOutcome { previous, .. }) => previous.into_iter().collect(),
            Outcome::Deleted(DeleteOutcome { previous, .. }) => previous,
            other => panic!("{other:?}"),
        };
        assert_eq!(previous.len(), previous_first, "{name}: what is gone is counted");
        for fetched in fetch(&machine, previous) {
            assert!(matches!(fetched, Err(FetchError::Vanished(_))), "{name}: {fetched:?}");
        }
        Some(previous_first)
    });
    assert_eq!(counts.sum::<usize>(), 1 + 1 + 4);
}

#[test]
fn a_condition_that_failed_keeps_failing_even_when_it_holds_meanwhile() {
    let mut machine = machine();
    put(&mut machine, "a", "1");
    put(&mut machine, "ab", "2");
    put(&mut machine, "ab", "3");
    let command = delete_command(prefix("a"), &[Condition::Version(1)]);
    let first = apply_with_key(&mut machine, "name", command.clone());
    let Outcome::ConditionFailed(failure) = &first.outcome else { panic!("{first:?}") };
    let ConditionFailure { key, found, .. } = &**failure;
    assert_eq!(key.as_deref(), Some(&b"ab"[..]));
    assert_eq!(found.map(|found| (found.mod_revision, found.version)), Some((Revision(4), 2)));
    delete(&mut machine, one("ab"));
    let again = repeat(&mut machine, "name", command.clone());
    assert_eq!((&again.outcome, again.revision), (&first.outcome, Revision(4)));
    // The key that it named may be gone from history; its numbers are still told.
    compact(&mut machine, 5);
    let again = repeat(&mut machine, "name", command);
    let Outcome::ConditionFailed(failure) = again.outcome else { panic!("{:?}", again.outcome) };
    assert_eq!((failure.key, failure.found), (None, *found));
}

#[test]
fn another_request_under_the_same_key_is_a_conflict() {
    let mut machine = machine();
    let first = apply_with_key(&mut machine, "name", put_command("k", "v", &[]));
    for other in [
        put_command("k", "w", &[]),
        put_command("l", "v", &[]),
        put_command("k", "v", &[Condition::Absent]),
        delete_command(one("k"), &[]),
        Command::Compact { revision: Revision(2) },
    ] {
        let before = machine.state();
        let applied = apply_with_key(&mut machine, "name", other);
        assert_eq!((applied.outcome, applied.repeated), (Outcome::IdempotencyConflict, false));
        let after = machine.state();
        assert_eq!((before.revision, before.digest), (after.revision, after.digest));
        assert_eq!(before.idempotency_digest, after.idempotency_digest);
    }
    assert_eq!(repeat(&mut machine, "name", put_command("k", "v", &[])).revision, first.revision);
    // Without the key, and under another one, it is another write.
    put(&mut machine, "k", "v");
    apply_with_key(&mut machine, "Name", put_command("k", "v", &[]));
    assert_eq!(machine.revision().0, first.revision.0 + 2);
}

#[test]
fn a_key_is_remembered_for_the_window_of_the_time_in_the_entries() {
    let mut machine = machine();
    let command = put_command("k", "v", &[]);
    let first = apply_with_key(&mut machine, "name", command.clone());
    let begun = machine.state().wall.0;
    pass_time(&mut machine, IDEMPOTENCY_WINDOW_MILLIS);
    assert_eq!(machine.state().wall.0, begun + IDEMPOTENCY_WINDOW_MILLIS);
    assert_eq!(repeat(&mut machine, "name", command.clone()).revision, first.revision);
    // A leader whose clock is behind does not turn the time back.
    let early = Entry { wall: WallTime(1), ..entry_after(&machine, Payload::Empty) };
    machine.apply(&early).expect("the store in memory does not fail");
    assert_eq!(machine.state().wall.0, begun + IDEMPOTENCY_WINDOW_MILLIS);
    pass_time(&mut machine, 1);
    let later = apply_with_key(&mut machine, "name", command);
    assert!(!later.repeated);
    assert_eq!(later.revision.0, first.revision.0 + 1);
}

#[test]
fn the_oldest_keys_are_forgotten_when_there_are_too_many() {
    let mut machine = machine();
    // All at the same time.
    let apply = |machine: &mut TestMachine, key: &str| {
        let since = machine.applied().index;
        let payload = payload_with_key(put_command("k", "v", &[]), Some((key, since)));
        let entry = Entry { wall: WallTime(1), ..entry_after(machine, payload) };
        machine.apply(&entry).expect("the store in memory does not fail").repeated
    };
    for number in 0..IDEMPOTENCY_KEYS_MAX {
        assert!(!apply(&mut machine, &format!("name-{number}")));
    }
    flush(&mut machine);
    assert!(apply(&mut machine, "name-0"), "as many as that are remembered");
    for number in 0..3 {
        assert!(!apply(&mut machine, &format!("more-{number}")));
    }
    assert!(apply(&mut machine, "name-3"));
    let statistics = machine.statistics();
    assert_eq!(statistics.idempotency_keys, IDEMPOTENCY_KEYS_MAX);
    assert!(statistics.idempotency_bytes < IDEMPOTENCY_KEYS_MAX * 400);
    flush(&mut machine);
    assert_eq!(machine.store().remembered_count(), IDEMPOTENCY_KEYS_MAX);
    let mut again = reopen(&machine, 0);
    assert_eq!(again.state(), machine.state());
    assert!(!apply(&mut again, "name-2"));
}

#[test]
fn a_copy_of_a_write_that_may_be_forgotten_is_not_done() {
    let mut machine = machine();
    let since = machine.applied().index;
    let copy = payload_with_key(put_command("k", "v", &[]), Some(("name", since)));
    let apply = |machine: &mut TestMachine| {
        let entry = entry_after(machine, copy.clone());
        machine.apply(&entry).expect("the store in memory does not fail")
    };
    apply(&mut machine);
    pass_time(&mut machine, IDEMPOTENCY_WINDOW_MILLIS + 1);
    let late = apply(&mut machine);
    assert_eq!((late.outcome, late.repeated), (Outcome::IdempotencyForgotten, false));
    assert_eq!(machine.revision(), Revision(2), "the copy did nothing");
    // A client that sends it anew, after the window, does it anew.
    apply_with_key(&mut machine, "name", put_command("k", "v", &[]));
    assert_eq!(machine.revision(), Revision(3));
}

#[test]
fn what_is_invalid_or_no_command_is_not_remembered() {
    let mut machine = machine();
    let invalid = put_command("", "v", &[]);
    for _ in 0..2 {
        let applied = apply_with_key(&mut machine, "name", invalid.clone());
        assert!(matches!(applied.outcome, Outcome::Invalid(_)) && !applied.repeated);
    }
    let valid = apply_with_key(&mut machine, "name", put_command("k", "v", &[]));
    assert!(matches!(valid.outcome, Outcome::Put(PutOutcome { created: true, .. })));
    let Payload::Command(bytes) =
        payload_with_key(put_command("k", "v", &[]), Some(("x", Index(0))))
    else {
        panic!("a command");
    };
    let mut bytes = bytes.to_vec();
    bytes[kvcore::Header::BYTES + 1] = b' ';
    let entry = entry_after(&machine, Payload::Command(bytes.into()));
    let applied = machine.apply(&entry).expect("the store in memory does not fail");
    assert!(matches!(applied.outcome, Outcome::Undecodable(_)));
    assert_eq!(machine.statistics().idempotency_keys, 1);
}

#[test]
fn the_table_reaches_the_store_in_steps_and_each_step_opens() {
    let mut machine = machine();
    let mut states = vec![machine.state()];
    for number in 0..200u64 {
        let key = format!("name-{}", number % 90);
        let since = machine.applied().index;
        let command = put_command(&format!("k{}", number % 7), &key, &[]);
        let payload = payload_with_key(command, Some((&key, since)));
        let wall = WallTime(number * (IDEMPOTENCY_WINDOW_MILLIS / 50));
        let entry = Entry { wall, ..entry_after(&machine, payload) };
        machine.apply(&entry).expect("the store in memory does not fail");
        states.push(machine.state());
    }
    let mut steps = 0;
    while flush_once(&mut machine, Index(u64::MAX), 2_000) {
        steps += 1;
        let again = reopen(&machine, 0);
        assert_eq!(again.state(), states[again.applied().index.0 as usize]);
        assert_eq!(again.store().remembered_count(), again.statistics().idempotency_keys);
        assert!(again.store().remembered_count() <= 51, "the window bounds it");
    }
    assert!(steps > 20, "{steps} steps are few");
    assert_eq!(machine.flushed_state(), machine.state());
}

#[test]
fn rows_that_wait_for_the_store_count_although_nothing_was_changed() {
    let mut machine = machine();
    let before = machine.statistics().unflushed_bytes;
    let refused = put_command("k", "v", &[Condition::Version(9)]);
    apply_with_key(&mut machine, "name", refused);
    assert!(machine.statistics().unflushed_bytes > before);
    flush(&mut machine);
    assert_eq!(machine.statistics().unflushed_bytes, 0);
}

#[test]
fn a_damaged_table_is_noticed_when_the_store_is_opened() {
    let mut machine = machine();
    apply_with_key(&mut machine, "name", put_command("k", "v", &[]));
    let mut batch = machine.flush_batch(Index(9), 1 << 20).expect("there is something");
    batch.remembered.clear();
    let store = Arc::new(kvcore::MemoryStore::new());
    kvcore::Store::write(&store, &batch).expect("the store in memory does not fail");
    let opened = kvcore::Machine::open(store);
    assert!(matches!(opened, Err(kvcore::OpenError::IdempotencyDigest { found: 0, .. })));
}
