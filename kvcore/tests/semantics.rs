//! etcd's semantics, one sentence a test.

mod common;

use bytes::Bytes;
use common::*;
use consensus::{CodecError, Payload, Position, WallTime, Wire};
use kvcore::{
    Command, Condition, Delete, DeleteOutcome, InvalidCommand, KEY_BYTES_MAX, Keys, Located, Order,
    Outcome, PutOutcome, Range, RangePlanner, ReadError, Revision, SortBy,
};

fn range(keys: Keys) -> Range {
    Range::of(keys)
}

fn keys_of(machine: &TestMachine, range: &Range) -> Vec<String> {
    let result = machine.range(range).expect("the revision can be read");
    let text = |key: Bytes| String::from_utf8(key.to_vec()).expect("tests use text");
    result.key_values.into_iter().map(|found| text(found.key)).collect()
}

#[test]
fn a_new_store_is_at_revision_1_and_the_first_put_makes_2() {
    let mut machine = machine();
    assert_eq!(machine.revision(), Revision(1));
    let applied = apply(&mut machine, put_command("a", "1", &[]));
    assert_eq!(applied.revision, Revision(2));
    assert_eq!(applied.outcome, created());
}

#[test]
fn a_put_of_the_same_value_is_a_new_version_of_the_same_creation() {
    let mut machine = machine();
    put(&mut machine, "a", "1");
    put(&mut machine, "b", "x");
    let Outcome::Put(PutOutcome { created, previous: Some(Located::Resident(before)), .. }) =
        put(&mut machine, "a", "1")
    else {
        panic!("the put replaces a value in memory")
    };
    assert!(!created);
    assert_eq!(before.mod_revision, Revision(2));
    let now = machine.get(b"a", None).expect("readable").expect("exists");
    assert_eq!((now.version, now.create_revision, now.mod_revision), (2, Revision(2), Revision(4)));
}

#[test]
fn a_deletion_ends_the_generation_and_the_next_put_begins_at_version_1() {
    let mut machine = machine();
    put(&mut machine, "a", "1");
    put(&mut machine, "a", "2");
    assert!(matches!(
        delete(&mut machine, one("a")),
        Outcome::Deleted(DeleteOutcome { count: 1, previous }) if previous.len() == 1
    ));
    assert_eq!(machine.revision(), Revision(4));
    assert_eq!(value(&machine, "a", None), None);
    assert_eq!(put(&mut machine, "a", "3"), created());
    let now = machine.get(b"a", None).expect("readable").expect("exists");
    assert_eq!((now.version, now.create_revision), (1, Revision(5)));
}

#[test]
fn deleting_nothing_deletes_0_and_makes_no_revision() {
    let mut machine = machine();
    put(&mut machine, "b", "1");
    for target in [one("a"), prefix("c"), between("b", "b"), between("c", "a")] {
        let nothing = Outcome::Deleted(DeleteOutcome { count: 0, previous: Vec::new() });
        assert_eq!(delete(&mut machine, target), nothing);
    }
    assert_eq!(machine.revision(), Revision(2));
    delete(&mut machine, one("b"));
    let nothing = Outcome::Deleted(DeleteOutcome { count: 0, previous: Vec::new() });
    assert_eq!(delete(&mut machine, one("b")), nothing, "a deleted key is not deleted again");
    assert_eq!(machine.revision(), Revision(3));
}

#[test]
fn deleting_a_prefix_is_one_revision_and_gives_back_as_many_as_it_deleted() {
    let mut machine = machine();
    for key in ["a", "b1", "b2", "c"] {
        put(&mut machine, key, key);
    }
    let Outcome::Deleted(DeleteOutcome { count, previous }) = delete(&mut machine, prefix("b"))
    else {
        panic!("the deletion has no condition")
    };
    assert_eq!((count, previous.len()), (2, 2));
    assert_eq!(machine.revision(), Revision(6));
    assert_eq!(keys_of(&machine, &range(Keys::all())), ["a", "c"]);
}

#[test]
fn every_past_revision_reads_as_it_was() {
    let mut machine = machine();
    put(&mut machine, "a", "1");
    put(&mut machine, "a", "2");
    delete(&mut machine, one("a"));
    put(&mut machine, "a", "4");
    for (at, expected) in [(1, None), (2, Some("1")), (3, Some("2")), (4, None), (5, Some("4"))] {
        assert_eq!(value(&machine, "a", Some(at)).as_deref(), expected, "at {at}");
    }
    let (requested, current) = (Revision(6), Revision(5));
    assert_eq!(machine.get(b"a", Some(requested)), Err(ReadError::Future { requested, current }));
}

#[test]
fn the_compacted_revision_is_readable_and_those_before_are_not() {
    let mut machine = machine();
    for number in ["1", "2", "3"] {
        put(&mut machine, "a", number);
    }
    put(&mut machine, "b", "x");
    delete(&mut machine, one("b"));
    assert_eq!(compact(&mut machine, 4), Outcome::Compacted);
    flush(&mut machine);
    assert_eq!(value(&machine, "a", Some(4)).as_deref(), Some("3"));
    assert_eq!(value(&machine, "b", Some(5)).as_deref(), Some("x"));
    let (requested, compacted) = (Revision(3), Revision(4));
    assert_eq!(
        machine.get(b"a", Some(requested)),
        Err(ReadError::Compacted { requested, compacted })
    );
    assert_eq!(machine.revision(), Revision(6), "a compaction makes no revision");
}

#[test]
fn compacting_twice_to_the_same_revision_or_into_the_future_is_refused() {
    let mut machine = machine();
    put(&mut machine, "a", "1");
    let (requested, current, compacted) = (Revision(3), Revision(2), Revision(2));
    assert_eq!(compact(&mut machine, 3), Outcome::RevisionInFuture { requested, current });
    assert_eq!(compact(&mut machine, 2), Outcome::Compacted);
    let requested = Revision(2);
    assert_eq!(compact(&mut machine, 2), Outcome::RevisionCompacted { requested, compacted });
    let requested = Revision(0);
    assert_eq!(compact(&mut machine, 0), Outcome::RevisionCompacted { requested, compacted });
}

#[test]
fn a_key_deleted_before_the_compacted_revision_vanishes_from_memory_and_store() {
    let mut machine = machine();
    put(&mut machine, "a", "1");
    put(&mut machine, "a", "2");
    delete(&mut machine, one("a"));
    put(&mut machine, "b", "1");
    compact(&mut machine, 5);
    flush(&mut machine);
    assert_eq!(machine.store().row_count(), 1);
    assert_eq!(machine.statistics().versions, 1);
    assert_eq!(machine.statistics().keys, 1);
}

#[test]
fn a_deletion_at_the_compacted_revision_frees_the_value_at_once_and_itself_with_the_next_one() {
    let mut machine = machine();
    put(&mut machine, "a", "1");
    delete(&mut machine, one("a"));
    compact(&mut machine, 3);
    flush(&mut machine);
    assert_eq!(machine.store().row_count(), 1, "the tombstone stays for watches from 3");
    put(&mut machine, "b", "1");
    compact(&mut machine, 4);
    flush(&mut machine);
    assert_eq!(machine.store().row_count(), 1, "only b is left");
    assert_eq!(machine.statistics().versions, 1);
}

#[test]
fn conditions_hold_or_name_what_was_found() {
    let mut machine = machine();
    for condition in [Condition::Version(0), Condition::ModRevision(Revision(0))] {
        let key = format!("{condition:?}");
        assert!(matches!(
            put_if(&mut machine, &key, "1", &[condition, Condition::Absent]),
            Outcome::Put(PutOutcome { created: true, .. })
        ));
    }
    put(&mut machine, "a", "1");
    let revision = machine.revision();
    let holding =
        [Condition::Version(1), Condition::ModRevision(revision), Condition::Value("1".into())];
    for condition in [
        Condition::Absent,
        Condition::Version(2),
        Condition::ModRevision(Revision(2)),
        Condition::Value("2".into()),
    ] {
        let conditions = [&holding[..], std::slice::from_ref(&condition)].concat();
        let Outcome::ConditionFailed(failure) = put_if(&mut machine, "a", "2", &conditions) else {
            panic!("{condition:?} does not hold")
        };
        assert_eq!(failure.condition, condition, "the first that does not hold is named");
        assert_eq!(failure.key, Some("a".into()));
        let found = failure.found.expect("the key exists");
        assert_eq!((found.version, found.mod_revision), (1, revision));
        assert_eq!(machine.revision(), revision, "nothing was changed");
    }
    assert!(matches!(put_if(&mut machine, "a", "2", &holding), Outcome::Put(_)));
    let Outcome::ConditionFailed(failure) =
        put_if(&mut machine, "z", "1", &[Condition::Value(Bytes::new())])
    else {
        panic!("an absent key has no value, not even an empty one")
    };
    assert_eq!(failure.found, None);
}

#[test]
fn a_condition_on_a_value_is_decided_alike_in_memory_and_in_the_store() {
    let mut machine = machine_with_cache(0);
    put(&mut machine, "a", "1");
    flush(&mut machine);
    assert_eq!(machine.statistics().overlay_rows, 0);
    let wrong = put_if(&mut machine, "a", "2", &[Condition::Value("0".into())]);
    assert!(matches!(wrong, Outcome::ConditionFailed(_)));
    let right = put_if(&mut machine, "a", "2", &[Condition::Value("1".into())]);
    assert!(matches!(
        right,
        Outcome::Put(PutOutcome { created: false, previous: Some(Located::Stored(_)), .. })
    ));
}

#[test]
fn the_conditions_of_a_deletion_hold_for_each_of_its_keys_or_for_an_absent_one() {
    let mut machine = machine();
    put(&mut machine, "a", "1");
    put(&mut machine, "b", "1");
    put(&mut machine, "b", "2");
    let Outcome::ConditionFailed(failure) =
        delete_if(&mut machine, Keys::all(), &[Condition::Version(1)])
    else {
        panic!("b has version 2")
    };
    assert_eq!(failure.key, Some("b".into()));
    assert_eq!(machine.revision(), Revision(4));
    let none = delete_if(&mut machine, one("c"), &[Condition::Version(1)]);
    assert!(matches!(none, Outcome::ConditionFailed(failure) if failure.found.is_none()));
    let absent = delete_if(&mut machine, one("c"), &[Condition::Absent]);
    assert!(matches!(absent, Outcome::Deleted(DeleteOutcome { count: 0, .. })));
    let both = delete_if(&mut machine, Keys::all(), &[Condition::Value("2".into())]);
    assert!(matches!(both, Outcome::ConditionFailed(failure) if failure.key == Some("a".into())));
}

#[test]
fn what_can_not_be_understood_or_is_too_large_changes_nothing_but_the_position() {
    let mut machine = machine();
    let good = put_command("a", "1", &[]);
    let Payload::Command(bytes) = payload(good) else { panic!("a command has bytes") };
    let cut = entry_after(&machine, Payload::Command(bytes.slice(..bytes.len() - 1)));
    let applied = machine.apply(&cut).expect("no store is read");
    assert_eq!(applied.outcome, Outcome::Undecodable(CodecError::Truncated));
    assert!(applied.header.is_some(), "whoever asked can be told");

    let garbage = entry_after(&machine, Payload::Command(Bytes::from_static(b"\xff")));
    let applied = machine.apply(&garbage).expect("no store is read");
    assert_eq!(applied.outcome, Outcome::Undecodable(CodecError::Truncated));
    assert_eq!(applied.header, None);

    let long = "k".repeat(KEY_BYTES_MAX + 1);
    let invalid = Outcome::Invalid(InvalidCommand::KeyTooLarge { bytes: KEY_BYTES_MAX + 1 });
    assert_eq!(put(&mut machine, &long, "1"), invalid);
    assert_eq!(put(&mut machine, "", "1"), Outcome::Invalid(InvalidCommand::KeyEmpty));
    let empty = entry_after(&machine, Payload::Empty);
    let applied = machine.apply(&empty).expect("no store is read");
    assert_eq!((applied.outcome, applied.header), (Outcome::Nothing, None));

    assert_eq!(machine.applied(), Position::new(0, 5));
    assert_eq!(machine.revision(), Revision(1));
    assert_eq!(machine.state().digest, 0);
}

#[test]
fn time_never_goes_back_whatever_leaders_write_into_entries() {
    let mut machine = machine();
    let mut entry = entry_after(&machine, Payload::Empty);
    entry.wall = WallTime(1000);
    machine.apply(&entry).expect("no store is read");
    let mut entry = entry_after(&machine, Payload::Empty);
    entry.wall = WallTime(900);
    machine.apply(&entry).expect("no store is read");
    assert_eq!(machine.state().wall, WallTime(1000));
}

#[test]
#[should_panic(expected = "entries are applied without gaps")]
fn an_entry_that_is_not_the_next_one_is_a_broken_law() {
    let mut machine = machine();
    let entry = entry_at(Position::new(1, 2), Payload::Empty);
    let _ = machine.apply(&entry);
}

#[test]
fn a_range_counts_all_matches_whatever_its_limit() {
    let mut machine = machine();
    for key in ["a", "b", "c", "d"] {
        put(&mut machine, key, key);
    }
    let question = Range { limit: Some(2), ..range(between("a", "d")) };
    let result = machine.range(&question).expect("readable");
    assert_eq!((result.key_values.len(), result.count, result.more), (2, 3, true));
    assert_eq!(result.next, Some("c".into()));
    let exact = Range { limit: Some(3), ..question.clone() };
    let result = machine.range(&exact).expect("readable");
    assert_eq!((result.count, result.more, result.next), (3, false, None));
    let counting = Range { count_only: true, ..question.clone() };
    let result = machine.range(&counting).expect("readable");
    assert_eq!((result.key_values.len(), result.count, result.more), (0, 3, false));
    let everything = Range { limit: Some(1), ..range(Keys::all()) };
    assert_eq!(machine.range(&everything).expect("readable").count, 4);
    for empty in [between("c", "c"), between("d", "b"), prefix("e"), one("e")] {
        let result = machine.range(&range(empty)).expect("an empty range is no error");
        assert_eq!((result.count, result.more, result.next), (0, false, None));
    }
}

#[test]
fn pages_in_either_direction_give_every_key_once() {
    let mut machine = machine();
    let keys = ["a", "ab", "b", "b1", "b2", "c"];
    for key in keys {
        put(&mut machine, key, key);
    }
    for order in [Order::Ascending, Order::Descending] {
        let mut question = Range { limit: Some(2), order, ..range(prefix("")) };
        let mut found = Vec::new();
        let mut counts = Vec::new();
        loop {
            found.extend(keys_of(&machine, &question));
            let result = machine.range(&question).expect("readable");
            counts.push(result.count);
            let Some(next) = result.next else { break };
            question.cursor = Some(next);
        }
        if order == Order::Descending {
            found.reverse();
        }
        assert_eq!(found, keys);
        assert_eq!(counts, [6, 4, 2], "a page counts what is left");
    }
}

#[test]
fn the_limit_is_applied_after_sorting_by_anything() {
    let mut machine = machine();
    put(&mut machine, "a", "3");
    put(&mut machine, "c", "1");
    put(&mut machine, "b", "2");
    put(&mut machine, "c", "1");
    put(&mut machine, "c", "1");
    put(&mut machine, "b", "2");
    let sorted = |machine: &TestMachine, sort, order, limit| {
        keys_of(machine, &Range { sort, order, limit, ..range(Keys::all()) })
    };
    for flushed in [false, true] {
        let expected = [
            (SortBy::Key, ["a", "b", "c"]),
            (SortBy::Version, ["a", "b", "c"]),
            (SortBy::CreateRevision, ["a", "c", "b"]),
            (SortBy::ModRevision, ["a", "c", "b"]),
            (SortBy::Value, ["c", "b", "a"]),
        ];
        for (sort, keys) in expected {
            let mut reversed = keys;
            reversed.reverse();
            assert_eq!(sorted(&machine, sort, Order::Ascending, None), keys);
            assert_eq!(sorted(&machine, sort, Order::Descending, None), reversed);
            assert_eq!(sorted(&machine, sort, Order::Descending, Some(1)), reversed[..1]);
        }
        if !flushed {
            flush(&mut machine);
            machine = reopen(&machine, 0);
        }
    }
}

#[test]
fn keys_only_leaves_out_the_values_and_nothing_else() {
    let mut machine = machine();
    put(&mut machine, "a", "2");
    put(&mut machine, "b", "1");
    put(&mut machine, "b", "1");
    for at in [None, Some(Revision(3))] {
        for sort in [SortBy::Key, SortBy::Value] {
            let whole = Range { at, sort, ..range(Keys::all()) };
            let bare = Range { keys_only: true, ..whole.clone() };
            let mut expected = machine.range(&whole).expect("readable");
            for found in &mut expected.key_values {
                assert!(!found.value.is_empty());
                found.value = Bytes::new();
            }
            assert_eq!(machine.range(&bare).expect("readable"), expected);
        }
    }
}

#[test]
fn a_range_planned_in_steps_reads_at_one_revision_whatever_happens_between() {
    for order in [Order::Ascending, Order::Descending] {
        for sort in [SortBy::Key, SortBy::Version, SortBy::Value] {
            let mut machine = machine();
            for key in 0..10 {
                put(&mut machine, &format!("k{key}"), &format!("{}", 9 - key));
            }
            let question = Range { order, sort, limit: Some(4), ..range(Keys::all()) };
            let expected = machine.range(&question).expect("readable");
            let mut planner = RangePlanner::new(question);
            let mut steps = 0;
            while !planner.is_done() {
                machine.plan_range_step(&mut planner, 3).expect("readable");
                steps += 1;
                put(&mut machine, "k5", "new");
                delete(&mut machine, one("k8"));
                put(&mut machine, "k55", "newer");
                flush(&mut machine);
            }
            assert!(steps > 2);
            let found = planner.finish().fetch(machine.store()).expect("nothing was compacted");
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn a_planned_row_that_compaction_removes_is_said_to_have_vanished() {
    let mut machine = machine_with_cache(0);
    put(&mut machine, "a", "1");
    flush(&mut machine);
    let located = machine.locate(b"a", None).expect("readable");
    let plan = machine.plan_range(&range(Keys::all())).expect("readable");
    put(&mut machine, "a", "2");
    compact(&mut machine, 3);
    flush(&mut machine);
    assert_eq!(located.mod_revision(), Some(Revision(2)));
    let Located::Stored(id) = located.clone() else { panic!("there is no cache") };
    let vanished = Err(kvcore::FetchError::Vanished(id));
    assert_eq!(located.fetch(machine.store()), vanished);
    assert_eq!(plan.fetch(machine.store()).map(|_| None), vanished);
    assert_eq!(value(&machine, "a", None).as_deref(), Some("2"), "locating again finds it");
}

#[test]
fn the_header_is_the_one_that_was_sent() {
    let mut machine = machine();
    let envelope = kvcore::Envelope {
        origin: consensus::NodeId(7),
        incarnation: 8,
        request: kvcore::RequestId(9),
        idempotency: None,
        command: Command::Compact { revision: Revision(1) },
    };
    let entry = entry_after(&machine, Payload::Command(envelope.to_bytes()));
    let applied = machine.apply(&entry).expect("no store is read");
    assert_eq!(applied.header, Some(envelope.address()));
}

#[test]
fn machines_that_apply_the_same_entries_are_equal_in_everything() {
    let (mut one, mut other) = (machine(), machine());
    for number in 0..500u64 {
        let key = format!("k{}", number * 7 % 40);
        let command = match number % 10 {
            8 => Command::Delete {
                delete: Delete { target: prefix(&key[..2]), return_previous: true },
                conditions: Vec::new(),
            },
            9 => Command::Compact { revision: Revision(number / 2) },
            version => {
                put_command(&key, "v", &[Condition::Version(version % 4)][..(number % 2) as usize])
            }
        };
        let entry = entry_after(&one, payload(command));
        let applied = one.apply(&entry).expect("no store is read");
        assert_eq!(other.apply(&entry), Ok(applied));
        assert_eq!(one.state(), other.state());
    }
    assert_eq!(one.statistics(), other.statistics());
    for revision in one.compacted().0..=one.revision().0 {
        let revision = Revision(revision);
        assert_eq!(all(&one, Some(revision)), all(&other, Some(revision)));
    }
    for index in 0..=one.applied().index.0 {
        let index = consensus::Index(index);
        assert_eq!(one.state_at(index), other.state_at(index));
        assert_eq!(one.state_at(index).map(|state| state.applied.index), Some(index));
    }
}

#[test]
fn a_machine_may_be_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&machine());
}
