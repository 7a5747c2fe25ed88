//! Watching, one promise a test; the mistakes that etcd shipped are among them, by their numbers.

mod common;

use std::sync::Arc;

use common::*;
use kvcore::snapshot::{Portion, Receiving};
use kvcore::{
    Compacted, Event, EventKind, EventLimits, Events, FetchError, Keys, MemoryStore, Revision,
    RevisionEvents, Store, WatchFilter,
};

fn pull(machine: &TestMachine, filter: &WatchFilter, from: u64) -> Result<Events, Compacted> {
    let plan = machine.events(filter, Revision(from), EventLimits::default())?;
    Ok(plan.fetch(machine.store()).expect("nothing is compacted between plan and fetch"))
}

/// Pulls until nothing is left, within these limits; each pull makes progress.
fn drain(
    machine: &TestMachine,
    filter: &WatchFilter,
    from: u64,
    limits: EventLimits,
) -> Vec<(u64, Vec<Event>)> {
    let mut found = Vec::new();
    let mut from = Revision(from);
    while from <= machine.revision() {
        let plan = machine.events(filter, from, limits).expect("not compacted");
        let events = plan.fetch(machine.store()).expect("nothing is compacted meanwhile");
        assert!(events.next > from, "each pull makes progress");
        let [before @ .., _] = &events.revisions[..] else {
            from = events.next;
            continue;
        };
        assert!(bytes(before) < limits.bytes_max.max(1), "the limit ends a pull");
        for revision in events.revisions {
            assert!(from <= revision.revision && revision.revision < events.next);
            assert!(!revision.events.is_empty());
            found.push((revision.revision.0, revision.events));
        }
        from = events.next;
    }
    found
}

fn bytes(revisions: &[RevisionEvents]) -> usize {
    let events = revisions.iter().flat_map(|revision| &revision.events);
    let key_values = events.flat_map(|event| event.previous.iter().chain([&event.key_value]));
    key_values.map(|key_value| key_value.key.len() + key_value.value.len()).sum()
}

fn summary(events: &Events) -> Vec<(u64, EventKind, String)> {
    let lines = events.revisions.iter().flat_map(|revision| {
        revision.events.iter().map(|event| {
            let key = String::from_utf8(event.key_value.key.to_vec()).expect("tests use text");
            assert_eq!(event.key_value.mod_revision, revision.revision);
            (revision.revision.0, event.kind, key)
        })
    });
    lines.collect()
}

/// Revisions 2 to 7: two keys put, changed, deleted by prefix together, and one put again.
fn story() -> TestMachine {
    let mut machine = machine();
    put(&mut machine, "a1", "1");
    put(&mut machine, "a2", "1");
    put(&mut machine, "b", "1");
    put(&mut machine, "a1", "2");
    delete(&mut machine, prefix("a"));
    put(&mut machine, "a1", "3");
    machine
}

#[test]
fn a_watch_gets_every_change_in_order_from_its_start_on() {
    use EventKind::{Delete, Put};
    let machine = story();
    let events = pull(&machine, &WatchFilter::of(Keys::all()), 4).expect("not compacted");
    let expected =
        [(4, Put, "b"), (5, Put, "a1"), (6, Delete, "a1"), (6, Delete, "a2"), (7, Put, "a1")];
    assert_eq!(summary(&events), expected.map(|(n, kind, key)| (n, kind, key.to_owned())));
    assert_eq!(events.next, Revision(8));
}

#[test]
fn what_is_filtered_out_still_moves_the_watch_on() {
    let machine = story();
    let only_b = pull(&machine, &WatchFilter::of(one("b")), 5).expect("not compacted");
    assert_eq!((only_b.revisions.len(), only_b.next), (0, Revision(8)));
    let deletes = WatchFilter { puts: false, ..WatchFilter::of(one("a2")) };
    let events = pull(&machine, &deletes, 0).expect("not compacted");
    assert_eq!(summary(&events), [(6, EventKind::Delete, "a2".to_owned())]);
    let puts = WatchFilter { deletes: false, ..WatchFilter::of(one("a2")) };
    let events = pull(&machine, &puts, 0).expect("not compacted");
    assert_eq!(summary(&events), [(3, EventKind::Put, "a2".to_owned())]);
}

#[test]
fn a_watch_from_the_future_gets_nothing_earlier_etcd_20221() {
    let mut machine = story();
    let filter = WatchFilter::of(Keys::all());
    for future in [8, 9, 100] {
        let events = pull(&machine, &filter, future).expect("not compacted");
        assert_eq!((events.revisions.len(), events.next), (0, Revision(future)));
    }
    put(&mut machine, "b", "2");
    let events = pull(&machine, &filter, 9).expect("not compacted");
    assert_eq!((events.revisions.len(), events.next), (0, Revision(9)), "8 is not wanted");
    put(&mut machine, "b", "3");
    let events = pull(&machine, &filter, 9).expect("not compacted");
    assert_eq!(summary(&events), [(9, EventKind::Put, "b".to_owned())]);
}

#[test]
fn a_watch_from_the_compacted_revision_is_whole_and_one_from_before_is_refused() {
    let mut machine = story();
    compact(&mut machine, 5);
    flush(&mut machine);
    let filter = WatchFilter::of(Keys::all());
    let (requested, compacted) = (Revision(4), Revision(5));
    assert_eq!(pull(&machine, &filter, 4), Err(Compacted { requested, compacted }));
    assert_eq!(summary(&pull(&machine, &filter, 5).expect("not compacted")).len(), 4);
}

#[test]
fn a_deletion_at_the_compacted_revision_is_still_an_event_etcd_18089_and_19179() {
    for reopens in [false, true] {
        let mut machine = story();
        compact(&mut machine, 6);
        flush(&mut machine);
        if reopens {
            machine = reopen(&machine, 0);
        }
        let events = pull(&machine, &WatchFilter::of(prefix("a")), 6).expect("not compacted");
        let kinds: Vec<_> = summary(&events).into_iter().map(|(n, kind, _)| (n, kind)).collect();
        use EventKind::{Delete, Put};
        assert_eq!(kinds, [(6, Delete), (6, Delete), (7, Put)]);
        assert_eq!(value(&machine, "a2", Some(6)), None);
    }
}

#[test]
fn compacting_at_the_current_revision_does_not_lower_it_after_a_crash_etcd_17780() {
    let mut machine = machine();
    put(&mut machine, "a", "1");
    delete(&mut machine, one("a"));
    put(&mut machine, "b", "1");
    delete(&mut machine, one("b"));
    compact(&mut machine, 5);
    while flush_once(&mut machine, consensus::Index(u64::MAX), 1 << 20) {
        let again = reopen(&machine, 0);
        assert_eq!(again.state(), machine.flushed_state());
        assert_eq!(again.revision(), Revision(5));
    }
}

#[test]
fn the_previous_value_is_told_unless_created_or_compacted() {
    let mut machine = story();
    let filter = WatchFilter { previous: true, ..WatchFilter::of(one("a1")) };
    let previous = |machine: &TestMachine, from| -> Vec<_> {
        let events = pull(machine, &filter, from).expect("not compacted");
        let events = events.revisions.into_iter().flat_map(|revision| revision.events);
        events.map(|event| event.previous.map(|previous| previous.mod_revision.0)).collect()
    };
    assert_eq!(previous(&machine, 0), [None, Some(2), Some(5), None]);
    compact(&mut machine, 5);
    for _ in 0..2 {
        assert_eq!(previous(&machine, 5), [None, Some(5), None], "2 is not readable any more");
        flush(&mut machine);
    }
}

#[test]
fn a_revision_is_given_whole_however_small_the_limits() {
    let mut machine = story();
    let filter = WatchFilter { previous: true, ..WatchFilter::of(Keys::all()) };
    let whole = drain(&machine, &filter, 0, EventLimits::default());
    assert_eq!(whole.len(), 6);
    let tiny = EventLimits { revisions_max: 0, events_max: 0, bytes_max: 0 };
    let one_event = EventLimits { revisions_max: 100, events_max: 1, bytes_max: 100 };
    let one_byte = EventLimits { revisions_max: 100, events_max: 100, bytes_max: 1 };
    for cached in [true, false] {
        for limits in [tiny, one_event, one_byte] {
            assert_eq!(drain(&machine, &filter, 0, limits), whole);
        }
        if cached {
            flush(&mut machine);
            machine = reopen(&machine, 0);
        }
    }
}

#[test]
fn rows_in_the_store_come_in_series_and_give_the_same_events_as_rows_in_memory() {
    let mut machine = machine();
    for number in 0..3000 {
        put(&mut machine, &format!("k{}", number % 50), &number.to_string());
        if number % 70 == 0 {
            delete(&mut machine, prefix("k1"));
        }
    }
    let limits = EventLimits { revisions_max: 700, events_max: 300, bytes_max: 5000 };
    let filters = [
        WatchFilter::of(Keys::all()),
        WatchFilter { previous: true, ..WatchFilter::of(prefix("k1")) },
        WatchFilter { deletes: false, ..WatchFilter::of(between("k2", "k4")) },
    ];
    let in_memory = filters.each_ref().map(|filter| drain(&machine, filter, 100, limits));
    flush(&mut machine);
    let stored = reopen(&machine, 0);
    assert_eq!(stored.statistics().overlay_rows, 0);
    let in_store = filters.each_ref().map(|filter| drain(&stored, filter, 100, limits));
    assert!(in_memory == in_store);
}

#[test]
fn compaction_between_plan_and_fetch_is_noticed_and_no_event_is_left_out() {
    let mut machine = machine_with_cache(0);
    for number in 0..10 {
        put(&mut machine, "a", &number.to_string());
    }
    flush(&mut machine);
    let filter = WatchFilter::of(Keys::all());
    let plan = machine.events(&filter, Revision(4), EventLimits::default()).expect("readable");
    compact(&mut machine, 8);
    flush(&mut machine);
    assert!(matches!(plan.fetch(machine.store()), Err(FetchError::Vanished(_))));
    let (requested, compacted) = (Revision(4), Revision(8));
    assert_eq!(
        machine.events(&filter, requested, EventLimits::default()).map(|plan| plan.next()),
        Err(Compacted { requested, compacted })
    );
}

/// A copy of a machine's store as it is now, as another node gets it.
fn copy_of(source: &TestMachine) -> TestMachine {
    let view = source.store().view().expect("a view");
    let mut receiving =
        Receiving::begin(Arc::new(MemoryStore::new()), view.state()).expect("it begins");
    loop {
        let Portion { rows, is_last } = view.portion(receiving.after(), 200).expect("rows");
        receiving.take(rows).expect("they follow");
        if is_last {
            return receiving.finish(options(0)).expect("it is whole");
        }
    }
}

#[test]
fn a_watch_goes_on_from_the_history_of_a_snapshot_that_took_the_place_of_the_machine() {
    let mut source = machine();
    let mut follower = machine_with_cache(0);
    let step = |source: &mut TestMachine, number: u64| {
        let key = format!("k{}", number % 7);
        match number % 5 {
            4 => drop(delete(source, prefix(&key))),
            _ => drop(put(source, &key, &number.to_string())),
        }
    };
    for number in 0..40 {
        step(&mut source, number);
        step(&mut follower, number);
    }
    flush(&mut follower);
    let filter = WatchFilter { previous: true, ..WatchFilter::of(prefix("k")) };
    let limits = EventLimits { revisions_max: 3, events_max: 5, bytes_max: 40 };
    let watched = pull(&follower, &filter, 20).expect("not compacted");
    // A plan that was made before the machine is replaced, fetched from the new store or the old one.
    let planned = follower.events(&filter, Revision(20), limits).expect("not compacted");
    for number in 40..90 {
        step(&mut source, number);
    }
    compact(&mut source, 25);
    flush(&mut source);
    let installed = copy_of(&source);
    assert!(installed.revision() > follower.revision());
    let events = planned.clone().fetch(follower.store()).expect("the old store is whole");
    match planned.fetch(installed.store()) {
        Ok(fetched) => assert_eq!(fetched, events, "rows are the same everywhere"),
        Err(error) => assert!(matches!(error, FetchError::Vanished(_)), "{error}"),
    }
    // It goes on where it was, without a gap, and as if nothing had happened.
    let from = watched.next;
    assert_eq!(from, Revision(follower.revision().0 + 1));
    let rest = drain(&installed, &filter, from.0, limits);
    assert_eq!(rest, drain(&source, &filter, from.0, limits));
    assert_eq!(rest.first().map(|(revision, _)| *revision), Some(from.0));
    assert_eq!(rest.last().map(|(revision, _)| *revision), Some(source.revision().0));
    // One that waits for the future waits for the same revision.
    let future = Revision(installed.revision().0 + 3);
    let waiting = installed.events(&filter, future, limits).expect("not compacted");
    assert!(waiting.is_empty() && waiting.next() == future);
}

#[test]
fn a_watch_that_a_snapshot_compacted_ends_with_the_oldest_revision_that_is_left() {
    let mut source = story();
    let follower = story();
    for number in 0..10 {
        put(&mut source, "b", &number.to_string());
    }
    compact(&mut source, 12);
    flush(&mut source);
    let installed = copy_of(&source);
    let filter = WatchFilter::of(Keys::all());
    let next = pull(&follower, &filter, 0).expect("not compacted").next;
    assert_eq!(next, Revision(8));
    let (requested, compacted) = (next, Revision(12));
    assert_eq!(pull(&installed, &filter, next.0), Err(Compacted { requested, compacted }));
    assert_eq!(pull(&installed, &filter, 12).expect("not compacted").next, Revision(18));
}
