//! The log on a real file system.

mod common;

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Model, open, tiny};
use consensus::{Persist, Random};
use storage::{Disk, DiskFile, RealDisk, SyncFaults, WalOptions};

#[test]
fn a_directory_has_one_user_at_a_time() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let path = parent.path().join("made/on/the/way");
    let disk = RealDisk::open(&path).expect("it is made");
    let clone = disk.clone();
    let error = RealDisk::open(&path).expect_err("it is taken");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    let text = error.to_string();
    for part in [path.to_str().unwrap(), &format!("pid {}", std::process::id()), "stop it first"] {
        assert!(text.contains(part), "{part:?} in: {text}");
    }
    drop(disk);
    RealDisk::open(&path).expect_err("a clone still has it");
    drop(clone);
    RealDisk::open(&path).expect("it is free again");
}

#[test]
fn a_path_that_is_no_directory_is_refused_by_name() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let error = RealDisk::open(file.path().join("below")).expect_err("a file has no files");
    assert!(error.to_string().contains(file.path().to_str().unwrap()), "{error}");
}

#[test]
fn every_error_names_file_and_operation() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = RealDisk::open(directory.path()).expect("it opens");
    let text = disk.open("missing").expect_err("there is no such file").to_string();
    assert!(text.contains("missing: opening"), "{text}");
    let file = disk.create("there").expect("it is new");
    assert_eq!(disk.create("there").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    let text = file.read_at(5, &mut [0; 3]).expect_err("it is empty").to_string();
    assert!(text.contains("there: reading 3 bytes at offset 5"), "{text}");
    file.allocate(10_000).expect("there is room");
    assert_eq!(file.length().expect("it is open"), 10_000);
    file.set_length(100).expect("it is open");
    assert_eq!(file.length().expect("it is open"), 100);
    disk.rename("there", "elsewhere").expect("it exists");
    assert_eq!(disk.list().expect("it is readable"), ["elsewhere", "lock"]);
    disk.remove("elsewhere").expect("it exists");
    assert!(!disk.exists("elsewhere").expect("it is readable"));
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the real disk takes real time")]
fn each_sync_of_an_append_is_counted_and_its_time_is_that_of_the_call_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = RealDisk::open(directory.path()).expect("it opens");
    let (mut wal, _) = open(&disk, WalOptions::small()).expect("a new log");
    let before = wal.statistics();
    // Two of these are more than a batch takes, and one is more than the first segment takes.
    let persists: Vec<Persist> = (1..=3)
        .map(|index| Persist {
            entries: vec![common::entry(1, index, 20_000)],
            ..Persist::default()
        })
        .collect();
    let began = std::time::Instant::now();
    wal.append(&persists).expect("the disk works");
    let took = began.elapsed();
    let after = wal.statistics();
    assert_eq!(after.syncs - before.syncs, 3);
    let sync_time = after.sync_time - before.sync_time;
    assert!(!sync_time.is_zero() && sync_time < took, "{sync_time:?} of {took:?}");
}

/// A disk that is slow, until it fails.
#[derive(Debug, Default)]
struct Failing(AtomicBool);

impl SyncFaults for Failing {
    #[allow(clippy::disallowed_methods, reason = "a slow disk takes real time")]
    fn before_sync(&self) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(20));
        if self.0.load(Ordering::Relaxed) { Err(io::Error::other("on purpose")) } else { Ok(()) }
    }
}

#[test]
fn a_sync_that_is_slow_on_purpose_is_measured_and_one_that_fails_ends_the_log() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let faults = Arc::new(Failing::default());
    let disk = RealDisk::open(directory.path()).expect("it opens");
    let disk = disk.with_sync_faults(Arc::<Failing>::clone(&faults));
    let (mut wal, _) = open(&disk, WalOptions::small()).expect("a new log");
    let persist =
        |index| Persist { entries: vec![common::entry(1, index, 10)], ..Persist::default() };
    let before = wal.statistics().sync_time;
    wal.append(&[persist(1)]).expect("it is only slow");
    assert!(wal.statistics().sync_time - before >= Duration::from_millis(20));
    faults.0.store(true, Ordering::Relaxed);
    let error = wal.append(&[persist(2)]).expect_err("the sync fails").to_string();
    assert!(error.contains(".wal: syncing: on purpose"), "{error}");
    faults.0.store(false, Ordering::Relaxed);
    wal.append(&[persist(3)]).expect_err("nothing more is written after a failure");
    drop((wal, disk));
    // What was not synced may be there or not; what was is.
    let disk = RealDisk::open(directory.path()).expect("it is free");
    let (wal, _) = open(&disk, WalOptions::small()).expect("the log is whole");
    assert!(wal.last() >= consensus::Index(1));
}

#[test]
fn a_log_is_found_again_as_it_was_left() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut random = Random::new(3);
    let mut model = Model::default();
    for life in 0..6 {
        let disk = RealDisk::open(directory.path()).expect("it is free");
        let (mut wal, recovery) = open(&disk, tiny()).expect("it is whole");
        assert_eq!(recovery.created, life == 0);
        assert_eq!(recovery.torn_tail, None);
        assert!(model.is(&recovery, &mut wal.reader()), "life {life}");
        for _ in 0..50 {
            let persist = model.random_persist(&mut random);
            model.apply(&persist);
            wal.append(&[persist]).expect("the disk works");
            if wal.needs_spare() {
                let request = wal.request_spare();
                let spare =
                    std::thread::scope(|scope| scope.spawn(|| request.create(|| ())).join());
                let spare = spare.expect("no panic").expect("the disk works");
                wal.offer_spare(spare).expect("no other is there");
            }
        }
        if life % 2 == 0 {
            wal.close().expect("the disk works");
        }
    }
}

#[test]
fn a_segment_keeps_its_length_and_blocks_while_it_is_written() {
    use std::os::unix::fs::MetadataExt;

    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = RealDisk::open(directory.path()).expect("it opens");
    let options = WalOptions { first_segment_bytes: 1 << 20, ..WalOptions::default() };
    let (mut wal, _) = open(&disk, options).expect("it is new");
    let path = directory.path().join("log-0000000000000001.wal");
    let shape = || fs::metadata(&path).map(|metadata| (metadata.len(), metadata.blocks())).unwrap();
    let before = shape();
    assert_eq!(before.0, 1 << 20);
    assert!(before.1 * 512 >= before.0, "all of it has blocks: {before:?}");
    for index in 1..=100 {
        let entries = vec![common::entry(1, index, 5000)];
        wal.append(&[Persist { entries, ..Persist::default() }]).expect("the disk works");
    }
    assert_eq!(shape(), before, "a sync has nothing but data to write");
}
