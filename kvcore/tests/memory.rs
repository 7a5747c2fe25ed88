//! Memory under long use: what is kept is what can be read, and it takes little.

mod common;

use common::*;
use consensus::Index;
use kvcore::{Command, Revision};

const KEYS: u64 = 10_000;
const RETAINED: u64 = 100_000;
/// The most rows that a batch removes, or frees, that adds none.
const PORTION_ROWS_MAX: usize = 4096;

/// Writes `count` values to keys in a scattered order, flushing and compacting as a server does.
fn write(machine: &mut TestMachine, count: u64) {
    for number in 1..=count {
        let key = format!("key-{:08}", number.wrapping_mul(2_654_435_761) % KEYS);
        apply(machine, put_command(&key, "a value", &[]));
        if number % 1000 == 0 {
            if let Some(revision) = machine.revision().0.checked_sub(RETAINED) {
                apply(machine, Command::Compact { revision: Revision(revision) });
            }
            assert!(flush_once(machine, Index(u64::MAX), usize::MAX));
        }
    }
}

#[test]
fn a_million_writes_to_ten_thousand_keys_leave_a_small_index() {
    let mut machine = machine_with_cache(1 << 20);
    write(&mut machine, 1_000_000);
    let statistics = machine.statistics();
    assert_eq!(statistics.keys as u64, KEYS);
    let retained = (statistics.versions as u64).abs_diff(RETAINED + KEYS);
    assert!(retained < 20_000, "pruning keeps up: {} versions", statistics.versions);
    let bytes = statistics.index_bytes as u64;
    assert!(bytes <= 50 * RETAINED, "{} bytes for each retained revision", bytes / RETAINED);
    assert!(statistics.overlay_bytes <= 1 << 20);
    assert_eq!(statistics.unflushed_entries, 0);
}

#[test]
fn a_compaction_that_frees_much_is_carried_out_in_small_portions() {
    let mut machine = machine_with_cache(0);
    for number in 0..100_000u64 {
        apply(&mut machine, put_command(&format!("key-{}", number % 100), "a value", &[]));
    }
    while flush_once(&mut machine, Index(u64::MAX), 1 << 20) {}
    assert_eq!(machine.store().row_count(), 100_000);
    compact(&mut machine, 100_001);
    let mut batches = 0;
    loop {
        let Some(batch) = machine.flush_batch(Index(u64::MAX), 1 << 20) else { break };
        assert!(batch.removed.len() <= PORTION_ROWS_MAX);
        kvcore::Store::write(machine.store(), &batch).expect("the store does not fail");
        let versions = machine.statistics().versions;
        let rows = machine.flushed(&batch);
        machine.prune(rows);
        assert!(versions - machine.statistics().versions <= PORTION_ROWS_MAX);
        batches += 1;
    }
    assert!(batches > 20);
    assert_eq!((machine.store().row_count(), machine.statistics().versions), (100, 100));
    assert_eq!(machine.statistics().removals, 0);
    assert_eq!(value(&machine, "key-7", None).as_deref(), Some("a value"));
}

#[test]
fn a_store_that_crashed_in_the_middle_of_a_compaction_is_cleaned_up_after_it_is_opened() {
    let mut machine = machine_with_cache(0);
    for number in 0..20_000u64 {
        apply(&mut machine, put_command(&format!("key-{}", number % 10), "a value", &[]));
        if number % 100 == 0 {
            delete(&mut machine, one("key-3"));
        }
    }
    let last = machine.revision().0;
    compact(&mut machine, last - 1);
    for _ in 0..5 {
        assert!(flush_once(&mut machine, Index(u64::MAX), usize::MAX));
    }
    assert!(machine.store().row_count() > 1000, "much is left to remove");
    let mut again = reopen(&machine, 0);
    assert_eq!(again.state(), machine.state());
    flush(&mut again);
    flush(&mut machine);
    assert_eq!(again.store().row_count(), machine.store().row_count());
    assert_eq!(again.statistics().versions, machine.statistics().versions);
    assert_eq!(again.statistics().removals, 0);
    assert_eq!(all(&again, None), all(&machine, None));
}

#[test]
fn a_damaged_store_is_refused_with_what_is_wrong() {
    use kvcore::store::{RowId, StoreBatch};
    use kvcore::{Machine, MemoryStore, OpenError, Store};

    let mut machine = machine();
    for key in ["a", "b", "c"] {
        put(&mut machine, key, key);
    }
    delete(&mut machine, one("b"));
    let batch = machine.flush_batch(Index(u64::MAX), usize::MAX).expect("something to write");
    let open = |damage: &dyn Fn(&mut StoreBatch)| {
        let mut batch = batch.clone();
        damage(&mut batch);
        let store = MemoryStore::new();
        store.write(&batch).expect("the store does not fail");
        Machine::open(store).map(|_| ())
    };
    assert_eq!(open(&|_| ()), Ok(()));
    let changed = open(&|batch| batch.added[0].1.value = Some("x".into()));
    assert!(matches!(changed, Err(OpenError::Digest { found, .. }) if found != batch.state.digest));
    let message = changed.expect_err("refused").to_string();
    assert!(message.contains("revision 5"), "{message}");
    let message = |damage: &dyn Fn(&mut StoreBatch)| open(damage).expect_err("refused").to_string();
    let gap = message(&|batch| drop(batch.added.remove(1)));
    assert!(gap.contains("revision 4 at place 0: a row before it is missing"), "{gap}");
    let short = message(&|batch| drop(batch.added.pop()));
    assert!(short.contains("rows end at revision 4, but its state is of revision 5"), "{short}");
    let twice = message(&|batch| {
        let id = RowId { revision: Revision(4), place: 1 };
        batch.added.insert(3, (id, batch.added[2].1.clone()));
    });
    assert!(twice.contains("writes the same key twice"), "{twice}");
    let absent = message(&|batch| batch.added[3].1.key = "z".into());
    assert!(absent.contains("deletes a key that does not exist"), "{absent}");
}

#[test]
fn what_a_batch_lets_go_of_is_pruned_a_few_rows_at_a_time() {
    let mut machine = machine_with_cache(0);
    for number in 0..5_000u64 {
        apply(&mut machine, put_command(&format!("key-{}", number % 10), "a value", &[]));
    }
    while flush_once(&mut machine, Index(u64::MAX), 1 << 20) {}
    compact(&mut machine, 5_001);
    let (mut pruned, mut batches) = (0, 0);
    while let Some(batch) = machine.flush_batch(Index(u64::MAX), 1 << 20) {
        kvcore::Store::write(machine.store(), &batch).expect("the store does not fail");
        let before = machine.statistics().versions;
        let mut rows = machine.flushed(&batch);
        assert_eq!(machine.statistics().versions, before, "only pruning lets go of versions");
        assert!(rows > 100, "{rows}");
        while rows > 0 {
            let (portion, before) = (rows.min(100), machine.statistics().versions);
            rows -= portion;
            let goes_on = machine.prune(portion);
            assert!(before - machine.statistics().versions <= portion);
            pruned += before - machine.statistics().versions;
            // In between everything that can be read is there.
            assert_eq!(value(&machine, "key-7", None).as_deref(), Some("a value"));
            assert!(value(&machine, "key-7", Some(5_001)).is_some());
            if !goes_on {
                break;
            }
        }
        batches += 1;
    }
    assert!(batches > 3);
    assert_eq!(
        (pruned, machine.statistics().versions, machine.store().row_count()),
        (4_990, 10, 10)
    );
}
