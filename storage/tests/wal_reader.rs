//! Reading entries back, beside the writer, whatever was truncated.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{Model, entry, open, read_all, tiny};
use consensus::{Entry, Index, Persist, Random};
use proptest::prelude::*;
use storage::{Disk, RealDisk, SimulatedDisk, WalError, WalOptions, remove_obsolete};

/// What a reader should return.
fn expected(model: &Model, first: u64, last: u64, bytes_max: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut bytes = 0;
    for entry in model.entries.iter().filter(|e| (first..=last).contains(&e.index().0)) {
        bytes += entry.size_bytes();
        if !entries.is_empty() && bytes > bytes_max {
            break;
        }
        entries.push(entry.clone());
    }
    entries
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn any_range_reads_as_the_model_says(
        seed: u64,
        writes in 1..80_usize,
        batch in 1..6_usize,
        interval in prop_oneof![Just(1_u64), Just(300), Just(100_000)],
    ) {
        let mut random = Random::new(seed);
        let disk = SimulatedDisk::new();
        let options = WalOptions { index_interval_bytes: interval, ..tiny() };
        let (mut wal, _) = open(&disk, options).unwrap();
        let mut reader = wal.reader();
        let mut model = Model::default();
        for _ in 0..writes {
            let persists: Vec<_> = (0..batch).map(|_| {
                let persist = model.random_persist(&mut random);
                model.apply(&persist);
                persist
            }).collect();
            wal.append(&persists).unwrap();
            // What was forgotten may still be there, and need not be.
            let first = model.compacted.0 + 1 + random.below(model.last() - model.compacted.0 + 2);
            let last = first + random.below(20);
            let bytes_max = usize::try_from(random.below(400)).unwrap();
            let wanted = expected(&model, first, last, bytes_max);
            match reader.entries(Index(first), Index(last), bytes_max) {
                Ok(entries) => prop_assert_eq!(entries, wanted),
                Err(WalError::Missing(_)) => prop_assert!(wanted.is_empty()),
                Err(other) => panic!("{other}"),
            }
        }
        prop_assert!(model.entries.ends_with(&read_all(&mut reader)));
        drop(wal);
        // The index that recovery builds must be as good as the one that the writer built.
        let (wal, recovery) = open(&disk, options).unwrap();
        prop_assert!(model.is(&recovery, &mut wal.reader()));
    }
}

#[test]
fn the_recovered_tail_is_bounded_and_recent() {
    let disk = SimulatedDisk::new();
    let (mut wal, _) = open(&disk, tiny()).expect("a new disk");
    let persists: Vec<_> = (1..=100)
        .map(|index| Persist { entries: vec![entry(1, index, 71)], ..Persist::default() })
        .collect();
    wal.append(&persists).expect("works");
    drop(wal);
    let (mut wal, recovery) = open(&disk, tiny()).expect("works");
    let tail = &recovery.recovered.tail;
    assert_eq!(tail.len(), 6, "six entries of 100 bytes in 600");
    assert_eq!(tail[5].index(), Index(100));
    // A truncation below the whole tail still leaves the last entry.
    wal.append(&[Persist { truncate_from: Some(Index(11)), ..Persist::default() }]).expect("works");
    drop(wal);
    let (_, recovery) = open(&disk, tiny()).expect("works");
    assert_eq!(recovery.recovered.last, Index(10));
    assert_eq!(recovery.recovered.tail, [entry(1, 10, 71)]);
}

#[test]
fn damage_is_noticed_when_it_is_read() {
    let disk = SimulatedDisk::new();
    let (mut wal, _) = open(&disk, tiny()).expect("a new disk");
    for index in 1..=30 {
        wal.append(&[Persist { entries: vec![entry(1, index, 70)], ..Persist::default() }])
            .expect("works");
    }
    let mut reader = wal.reader();
    assert_eq!(reader.entries(Index(1), Index(30), usize::MAX).expect("works").len(), 30);
    disk.flip("log-0000000000000001.wal", 250, 1);
    let error = reader.entries(Index(1), Index(30), usize::MAX).expect_err("it is damaged");
    let text = error.to_string();
    assert!(text.contains("log-0000000000000001.wal") && text.contains("checksum"), "{text}");
}

/// Each entry keeps the record in memory that it was read from, which may be many times as long as what
/// is asked for at a time.
#[test]
fn what_is_read_of_one_record_in_portions_is_in_memory_once() {
    let disk = SimulatedDisk::new();
    let (mut wal, _) = open(&disk, WalOptions::small()).expect("a new disk");
    let entries: Vec<_> = (1..=100).map(|index| entry(1, index, 70)).collect();
    wal.append(&[Persist { entries: entries.clone(), ..Persist::default() }]).expect("works");
    let mut reader = wal.reader();
    let mut read: Vec<Entry> = Vec::new();
    while read.len() < 100 {
        let next = Index(read.len() as u64 + 1);
        let portion = reader.entries(next, Index(100), 1000).expect("works");
        assert!(portion.len() < 20, "it takes many portions");
        read.extend(portion);
    }
    assert_eq!(read, entries);
    let places = read.iter().map(|entry| entry.command().expect("has one").as_ptr() as usize);
    let places: Vec<_> = places.collect();
    let (first, last) = (places[0], places[99]);
    assert!(last > first && last - first < 20_000, "all are slices of one buffer: {places:?}");
}

/// A writer that truncates and forgets now and then, and readers that must always see a log: without
/// gaps, with terms that never fall, and each entry with its own command. What is forgotten under a
/// reader is missing, and never taken for damage.
fn readers_beside_a_writer<D: Disk>(disk: &D, writes: u64) {
    let (mut wal, _) = open(disk, tiny()).expect("a new disk");
    let reader = wal.reader();
    let done = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let mut reader = reader.clone();
            let (done, reads) = (&done, &reads);
            scope.spawn(move || {
                let mut random = Random::new(seed);
                while !done.load(Ordering::Relaxed) {
                    let Some((_, last)) = reader.range() else { continue };
                    let first = 1 + random.below(last.0);
                    let bytes_max = if random.one_in(2) { 2000 } else { usize::MAX };
                    let entries = match reader.entries(Index(first), last, bytes_max) {
                        Ok(entries) => entries,
                        Err(WalError::Missing(_)) => continue,
                        Err(other) => panic!("{other}"),
                    };
                    assert_eq!(entries[0].index(), Index(first));
                    for pair in entries.windows(2) {
                        assert_eq!(pair[1].index(), pair[0].index().next(), "no gaps");
                        assert!(pair[1].term() >= pair[0].term(), "terms never fall");
                    }
                    for found in entries {
                        let bytes = found.command().map_or(0, bytes::Bytes::len);
                        assert_eq!(found, entry(found.term().0, found.index().0, bytes));
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut random = Random::new(99);
        let mut model = Model::default();
        for _ in 0..writes {
            let persist = model.random_persist(&mut random);
            model.apply(&persist);
            wal.append(&[persist]).expect("works");
            if random.one_in(10) {
                remove_obsolete(disk, &wal.take_obsolete()).expect("works");
            }
        }
        // The readers get their turn even on a machine that is busy otherwise.
        while reads.load(Ordering::Relaxed) < 10 {
            std::thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn readers_beside_a_writer_on_a_simulated_disk() {
    readers_beside_a_writer(&SimulatedDisk::new(), 3000);
}

#[test]
fn readers_beside_a_writer_on_a_real_disk() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    readers_beside_a_writer(&RealDisk::open(directory.path()).expect("it opens"), 300);
}
