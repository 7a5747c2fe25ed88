//! Copies of a store: whole, resumed, from a source that goes on, and refused when they are not true.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::*;
use consensus::{Entry, Index, Payload, Random, WallTime, Wire};
use kvcore::snapshot::{Portion, ReceiveError, Receiving, RememberedRows, Rows, StoreView};
use kvcore::store::{RecordRows, Remembered, Row, StoreState};
use kvcore::{
    IDEMPOTENCY_WINDOW_MILLIS, MemoryStore, OpenError, Outcome, PutOutcome, Revision, RowId, Store,
};

/// Some changes, some of them flushed and compacted away.
fn change(machine: &mut TestMachine, random: &mut Random, count: u64) {
    for _ in 0..count {
        let key = format!("key-{}", random.below(30));
        match random.below(12) {
            0 | 1 => drop(delete(machine, one(&key))),
            2 => drop(delete(machine, prefix(&key[..5]))),
            3 => {
                let revision = machine.compacted().0.max(machine.revision().0.saturating_sub(20));
                compact(machine, revision);
            }
            4 => flush(machine),
            5 | 6 => {
                let name = format!("name-{}", random.below(40));
                apply_with_key(machine, &name, put_command(&key, "once", &[]));
            }
            7 => {
                // Now and then keys are forgotten.
                let wall = machine.state().wall.0 + IDEMPOTENCY_WINDOW_MILLIS / 3;
                let entry = Entry { wall: WallTime(wall), ..entry_after(machine, Payload::Empty) };
                machine.apply(&entry).expect("the store in memory does not fail");
            }
            _ => drop(put(machine, &key, &"v".repeat(random.below(40) as usize))),
        }
    }
    flush(machine);
}

/// Sends from a view until it is done or, after so many portions, breaks off.
fn send(
    view: &dyn StoreView,
    receiving: &mut Receiving<Arc<MemoryStore>>,
    portions_max: u64,
) -> Result<bool, ReceiveError> {
    let after = receiving.after();
    let mut from = RowId::default();
    loop {
        let mut ids = view.ids(from, 3)?;
        ids.retain(|id| id.revision <= after);
        receiving.keep_only(&ids)?;
        let Some(last) = ids.last() else { break };
        from = RowId { revision: last.revision, place: last.place + 1 };
    }
    for _ in 0..portions_max {
        let Portion { rows, is_last } = view.portion(receiving.after(), 60)?;
        let Rows(rows) = Rows::from_bytes(Rows(rows).to_bytes()).expect("what is sent is read");
        receiving.take(rows)?;
        if is_last {
            return send_remembered(view, receiving, portions_max);
        }
    }
    Ok(false)
}

/// Sends what is remembered of idempotency keys until it is done or, after so many portions, breaks
/// off.
fn send_remembered(
    view: &dyn StoreView,
    receiving: &mut Receiving<Arc<MemoryStore>>,
    portions_max: u64,
) -> Result<bool, ReceiveError> {
    for _ in 0..portions_max {
        let rows = RememberedRows(view.remembered(receiving.remembered_after(), 3)?);
        let RememberedRows(rows) =
            RememberedRows::from_bytes(rows.to_bytes()).expect("what is sent is read");
        if rows.is_empty() {
            return send_records(view, receiving);
        }
        receiving.take_remembered(rows)?;
    }
    Ok(false)
}

/// Sends the records, all of them.
fn send_records(
    view: &dyn StoreView,
    receiving: &mut Receiving<Arc<MemoryStore>>,
) -> Result<bool, ReceiveError> {
    let mut after = None;
    loop {
        let records = view.records(after.as_ref(), 3)?;
        let Some(last) = records.last() else { return Ok(true) };
        after = Some(last.key.clone());
        let RecordRows(records) =
            RecordRows::from_bytes(RecordRows(records).to_bytes()).expect("what is sent is read");
        receiving.take_records(records)?;
    }
}

#[test]
fn a_copy_is_the_store_as_it_was_when_it_was_looked_at() {
    for seed in 0..50 {
        let mut random = Random::new(seed);
        let mut source = machine();
        change(&mut source, &mut random, 100);
        let expected = (source.state(), all(&source, None));
        let view = source.store().view().expect("a view");
        change(&mut source, &mut random, 50);
        let mut receiving =
            Receiving::begin(Arc::new(MemoryStore::new()), view.state()).expect("it begins");
        assert!(send(&*view, &mut receiving, u64::MAX).expect("it is sent"));
        let mut copy = receiving.finish(options(1 << 20)).expect("it is whole");
        assert_eq!((copy.state(), all(&copy, None)), expected, "seed {seed}");
        // It goes on as any other replica.
        put(&mut copy, "more", "of it");
        flush(&mut copy);
        assert_eq!(reopen(&copy, 0).state(), copy.state());
    }
}

#[test]
fn a_copy_that_broke_off_goes_on_whatever_was_deleted_and_compacted_meanwhile() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut source = machine();
        change(&mut source, &mut random, 150);
        let store = Arc::new(MemoryStore::new());
        let mut attempts = 0;
        let copy = loop {
            attempts += 1;
            let view = source.store().view().expect("a view");
            // What a crash leaves is what was written.
            let mut receiving =
                Receiving::begin(Arc::clone(&store), view.state()).expect("it begins");
            let portions = if attempts < 6 { random.below(20) } else { u64::MAX };
            if send(&*view, &mut receiving, portions).expect("it is sent") {
                let copy = receiving.finish(options(0)).expect("it is whole");
                assert_eq!(copy.state(), source.state(), "seed {seed}");
                break copy;
            }
            change(&mut source, &mut random, 30);
        };
        assert_eq!(all(&copy, None), all(&source, None), "seed {seed}");
        let (mut copy, mut source) = (copy, source);
        flush(&mut copy);
        flush(&mut source);
        assert_eq!(copy.statistics().versions, source.statistics().versions, "seed {seed}");
        assert_eq!(copy.store().row_count(), source.store().row_count(), "seed {seed}");
        let remembered = copy.store().remembered_count();
        assert_eq!(remembered, source.store().remembered_count(), "seed {seed}");
        assert_eq!(remembered, copy.statistics().idempotency_keys, "seed {seed}");
    }
}

#[test]
fn a_deletion_that_was_compacted_away_between_two_attempts_is_not_forgotten() {
    let mut source = machine();
    put(&mut source, "gone", "1");
    put(&mut source, "kept", "2");
    flush(&mut source);
    let store = Arc::new(MemoryStore::new());
    let view = source.store().view().expect("a view");
    let mut receiving = Receiving::begin(Arc::clone(&store), view.state()).expect("it begins");
    assert!(!send(&*view, &mut receiving, 1).expect("it is sent"), "it breaks off");
    delete(&mut source, one("gone"));
    put(&mut source, "kept", "3");
    let revision = machine_revision(&source);
    compact(&mut source, revision);
    flush(&mut source);
    let view = source.store().view().expect("a view");
    let mut receiving = Receiving::begin(store, view.state()).expect("it goes on");
    assert!(send(&*view, &mut receiving, u64::MAX).expect("it is sent"));
    let copy = receiving.finish(options(0)).expect("it is whole");
    assert_eq!(value(&copy, "gone", None), None);
    assert_eq!(copy.state(), source.state());
}

#[test]
fn a_copy_remembers_what_the_source_did_and_forgets_what_it_forgot() {
    let mut source = machine();
    let once = put_command("key", "value", &[]);
    let first = apply_with_key(&mut source, "name", once.clone());
    apply_with_key(&mut source, "other-name", put_command("key", "another value", &[]));
    flush(&mut source);
    let store = Arc::new(MemoryStore::new());
    let view = source.store().view().expect("a view");
    let mut receiving = Receiving::begin(Arc::clone(&store), view.state()).expect("it begins");
    assert!(send(&*view, &mut receiving, u64::MAX).expect("it is sent"));
    let mut copy = receiving.finish(options(0)).expect("it is whole");
    let again = apply_with_key(&mut copy, "name", once);
    assert!(again.repeated && again.revision == first.revision);
    assert_eq!(copy.revision(), source.revision(), "nothing was done");

    // An attempt that breaks off with all keys received, and goes on when the source has forgotten one.
    let store = Arc::new(MemoryStore::new());
    let mut receiving = Receiving::begin(Arc::clone(&store), view.state()).expect("it begins");
    receiving.take(view.portion(Revision(0), usize::MAX).expect("rows").rows).expect("they follow");
    assert!(send_remembered(&*view, &mut receiving, u64::MAX).expect("it is sent"));
    assert_eq!(store.remembered_count(), 2);
    let wall = WallTime(source.state().wall.0 + IDEMPOTENCY_WINDOW_MILLIS);
    let entry = Entry { wall, ..entry_after(&source, Payload::Empty) };
    source.apply(&entry).expect("the store in memory does not fail");
    flush(&mut source);
    assert_eq!(source.statistics().idempotency_keys, 1);
    let view = source.store().view().expect("a view");
    let mut receiving = Receiving::begin(Arc::clone(&store), view.state()).expect("it goes on");
    assert_eq!(store.remembered_count(), 1, "what is forgotten goes at once");
    assert!(send(&*view, &mut receiving, u64::MAX).expect("it is sent"));
    let mut copy = receiving.finish(options(0)).expect("it is whole");
    assert_eq!(copy.state(), source.state());
    let fresh = apply_with_key(&mut copy, "name", put_command("key", "third", &[]));
    assert!(
        matches!(fresh.outcome, Outcome::Put(PutOutcome { created: false, .. })) && !fresh.repeated
    );
}

#[test]
fn keys_that_do_not_follow_or_are_not_true_are_refused() {
    let mut source = machine();
    for number in 0..6 {
        let command = put_command("key", &format!("value-{number}"), &[]);
        apply_with_key(&mut source, &format!("name-{number}"), command);
    }
    flush(&mut source);
    let view = source.store().view().expect("a view");
    let begin = || {
        let mut receiving = Receiving::begin(Arc::new(MemoryStore::new()), view.state())?;
        let rows = view.portion(Revision(0), usize::MAX)?.rows;
        receiving.take(rows).expect("they follow");
        Ok::<_, kvcore::store::StoreError>(receiving)
    };
    let rows = view.remembered(Index(0), 10).expect("rows");
    assert_eq!(rows.len(), 6);
    let take = |rows: Vec<Remembered>| {
        let mut receiving = begin().expect("it begins");
        receiving.take_remembered(rows)?;
        receiving.finish(options(0)).map(|_| ())
    };
    assert_eq!(take(rows.clone()), Ok(()));
    let reversed = rows.iter().rev().cloned().collect();
    assert!(matches!(take(reversed), Err(ReceiveError::Rows(_))), "out of order");
    let mut beyond = rows.clone();
    beyond[5].index = Index(99);
    assert!(matches!(take(beyond), Err(ReceiveError::Rows(_))), "ahead of the state");
    let missing = OpenError::IdempotencyDigest { state: Box::new(view.state()), found: 0 };
    let is_digest = |result| match result {
        Err(ReceiveError::Open(OpenError::IdempotencyDigest { state, .. })) => {
            assert!(missing.to_string().contains("idempotency keys"));
            *state == view.state()
        }
        _ => false,
    };
    assert!(is_digest(take(rows[1..].to_vec())), "the first is missing");
    let mut other = rows.clone();
    other[3].request ^= 1;
    assert!(is_digest(take(other)), "another request");
    let mut twice = rows;
    twice[5].key = twice[4].key.clone();
    assert!(matches!(take(twice), Err(ReceiveError::Open(OpenError::Rows(_)))), "a key twice");
}

/// One key written over and over, compacted and maybe not pruned yet.
fn written(writes: u64, compacted: u64) -> TestMachine {
    let mut source = machine();
    for number in 0..writes {
        put(&mut source, "key", &number.to_string());
    }
    flush(&mut source);
    compact(&mut source, compacted);
    source
}

#[test]
fn a_copy_goes_on_with_another_source_that_has_not_freed_as_much_yet() {
    let mut pruned = written(20, 15);
    flush(&mut pruned);
    flush(&mut pruned);
    let store = Arc::new(MemoryStore::new());
    let view = pruned.store().view().expect("a view");
    let mut receiving = Receiving::begin(Arc::clone(&store), view.state()).expect("it begins");
    assert!(!send(&*view, &mut receiving, 3).expect("it is sent"), "it breaks off");
    // The same entries, and the compaction has not reached the store's rows.
    let other = written(20, 15);
    let batch = other.flush_batch(Index(u64::MAX), usize::MAX).expect("the compaction");
    other.store().write(&batch).expect("it works");
    let view = other.store().view().expect("a view");
    assert_eq!(view.state(), pruned.state());
    assert!(other.store().row_count() > pruned.store().row_count());
    assert!(Receiving::<Arc<MemoryStore>>::may_go_on(&store.state().expect("it"), &view.state()));
    let mut receiving = Receiving::begin(Arc::clone(&store), view.state()).expect("it goes on");
    assert!(receiving.after() > Revision(0));
    assert!(send(&*view, &mut receiving, u64::MAX).expect("it is sent"));
    let copy = receiving.finish(options(0)).expect("it is whole");
    assert_eq!((copy.state(), all(&copy, None)), (pruned.state(), all(&pruned, None)));
}

#[test]
fn a_copy_goes_on_only_with_a_source_that_is_not_behind() {
    let (ahead, behind) = (written(20, 15), written(20, 10));
    let may_go_on = Receiving::<Arc<MemoryStore>>::may_go_on;
    let partial = |machine: &TestMachine| StoreState {
        revision: machine.state().revision,
        compacted: machine.state().compacted,
        ..StoreState::default()
    };
    assert!(may_go_on(&StoreState::default(), &ahead.state()), "nothing is there");
    assert!(may_go_on(&partial(&behind), &ahead.state()));
    assert!(!may_go_on(&partial(&ahead), &behind.state()), "rows were freed that are not here");
    assert!(!may_go_on(&partial(&ahead), &written(10, 5).state()), "rows are ahead");
}

#[test]
fn a_copy_that_was_whole_and_never_used_is_gone_on_with() {
    let mut source = written(20, 10);
    let store = Arc::new(MemoryStore::new());
    for compacted in [15, 18] {
        flush(&mut source);
        let view = source.store().view().expect("a view");
        let mut receiving = Receiving::begin(Arc::clone(&store), view.state()).expect("it begins");
        assert!(send(&*view, &mut receiving, u64::MAX).expect("it is sent"));
        let copy = receiving.finish(options(0)).expect("it is whole");
        assert_eq!((copy.state(), all(&copy, None)), (source.state(), all(&source, None)));
        assert_eq!(copy.stat(b"key"), source.stat(b"key"), "its children are counted, too");
        put(&mut source, "key", "more");
        put(&mut source, &format!("key/{compacted}"), "a child");
        compact(&mut source, compacted);
    }
}

fn machine_revision(machine: &TestMachine) -> u64 {
    machine.revision().0
}

#[test]
fn what_does_not_follow_or_is_not_true_is_refused() {
    let mut source = machine();
    for number in 0..10 {
        put(&mut source, &format!("key-{number}"), "a value");
    }
    flush(&mut source);
    let view = source.store().view().expect("a view");
    let Portion { rows, is_last } = view.portion(Revision(0), usize::MAX).expect("rows");
    assert!(is_last);
    let begin = || Receiving::begin(Arc::new(MemoryStore::new()), view.state()).expect("it begins");
    let refused =
        |rows: &[(RowId, Row)]| matches!(begin().take(rows.to_vec()), Err(ReceiveError::Rows(_)));
    let reversed: Vec<_> = rows.iter().rev().cloned().collect();
    assert!(refused(&reversed), "rows out of order");
    let mut receiving = begin();
    receiving.take(rows[..5].to_vec()).expect("they follow");
    assert!(matches!(receiving.take(rows[4..].to_vec()), Err(ReceiveError::Rows(_))), "twice");
    assert!(matches!(receiving.keep_only(&[rows[7].0]), Err(ReceiveError::Rows(_))), "not here");
    let mut beyond = rows.clone();
    beyond[9].0.revision = Revision(99);
    assert!(refused(&beyond), "rows behind the state");

    let finish = |rows: Vec<(RowId, Row)>| {
        let mut receiving = begin();
        receiving.take(rows).expect("they follow");
        receiving.finish(options(0)).map(|_| ())
    };
    assert_eq!(finish(rows.clone()), Ok(()));
    let mut other = rows.clone();
    other[3].1.value = Some(Bytes::from_static(b"another value"));
    assert!(matches!(finish(other), Err(ReceiveError::Open(OpenError::Digest { .. }))));
    let mut other = rows.clone();
    other[3].1.mod_time.0 += 1;
    assert!(matches!(finish(other), Err(ReceiveError::Open(OpenError::Digest { .. }))));
    let mut other = rows.clone();
    other[3].1.version = u64::MAX;
    assert!(matches!(finish(other), Err(ReceiveError::Open(OpenError::Rows(_)))));
    assert!(matches!(finish(rows[..9].to_vec()), Err(ReceiveError::Open(OpenError::Rows(_)))));
}

#[test]
fn a_copy_that_is_not_whole_has_no_position() {
    let mut source = machine();
    put(&mut source, "key", "value");
    flush(&mut source);
    let view = source.store().view().expect("a view");
    let store = Arc::new(MemoryStore::new());
    let mut receiving = Receiving::begin(Arc::clone(&store), view.state()).expect("it begins");
    receiving.take(view.portion(Revision(0), 1).expect("rows").rows).expect("they follow");
    assert_eq!(store.state().expect("a state").applied, StoreState::default().applied);
}
