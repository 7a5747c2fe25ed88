//! Thousands of crashes at every point of the log's work, on a simulated disk: what was
//! acknowledged is there afterwards, and what was not is there as a whole or not at all.

mod common;

use common::{Model, open, tiny};
use consensus::{Persist, Random};
use storage::{SimulatedDisk, Wal};

/// What a crash may leave: the states after each write, from the last that was acknowledged on.
struct History {
    states: Vec<Model>,
}

impl History {
    fn last(&self) -> &Model {
        self.states.last().expect("there is a state")
    }

    fn acknowledge(&mut self) {
        self.states.drain(..self.states.len() - 1);
    }
}

/// Works with the log until the number of rounds is over or the disk fails.
fn work(
    disk: &SimulatedDisk,
    wal: &mut Wal<SimulatedDisk>,
    history: &mut History,
    random: &mut Random,
    rounds: u64,
) -> bool {
    for _ in 0..rounds {
        let mut persists: Vec<Persist> = Vec::new();
        for _ in 0..=random.below(5) {
            let persist = history.last().random_persist(random);
            let mut state = history.last().clone();
            state.apply(&persist);
            history.states.push(state);
            persists.push(persist);
        }
        if wal.append(&persists).is_err() {
            assert!(wal.append(&persists).is_err(), "a log that failed takes nothing more");
            return false;
        }
        history.acknowledge();
        if random.one_in(3) && storage::remove_obsolete(disk, &wal.take_obsolete()).is_err() {
            return false;
        }
        if wal.needs_spare() && random.one_in(2) {
            let Ok(spare) = wal.request_spare().create(|| ()) else { return false };
            wal.offer_spare(spare).expect("no other spare is there");
        }
    }
    true
}

/// One disk through many lives. Returns how many recoveries there were.
fn lives(seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let mut disk = SimulatedDisk::new();
    let mut history = History { states: vec![Model::default()] };
    let mut recoveries = 0;
    for life in 0..12 {
        match random.below(4) {
            0 => disk.fail_sync(random.below(30)),
            1 => disk.fail_write(random.below(40)),
            _ => disk.halt_after(random.below(120)),
        }
        if let Ok((mut wal, recovery)) = open(&disk, tiny()) {
            recoveries += 1;
            let mut reader = wal.reader();
            let found = history.states.iter().position(|state| state.is(&recovery, &mut reader));
            let found = found.unwrap_or_else(|| {
                panic!(
                    "seed {seed}, life {life}: recovered {recovery:?}, which is none of {:#?}",
                    history.states
                )
            });
            // Whatever an opened log says is durable, so it counts as acknowledged from here on.
            history.states = vec![history.states[found].clone()];
            let rounds = random.below(25);
            let fine = work(&disk, &mut wal, &mut history, &mut random, rounds);
            if fine && random.one_in(4) {
                // A clean stop, if it succeeds, leaves nothing to be cut.
                let _ = wal.close();
            }
        }
        if random.one_in(3) {
            disk.kill();
        } else {
            disk.crash(random.next_u64());
        }
    }
    // Without faults the log opens, whatever happened before.
    let (wal, recovery) = open(&disk, tiny()).expect("no crash makes a log unreadable");
    let mut reader = wal.reader();
    assert!(
        history.states.iter().any(|state| state.is(&recovery, &mut reader)),
        "seed {seed}: recovered {recovery:?}, which is none of {:#?}",
        history.states
    );
    recoveries + 1
}

#[test]
fn what_was_acknowledged_survives_every_crash() {
    let recoveries: u64 = (0..500).map(lives).sum();
    assert!(recoveries > 4_000, "most lives begin with a recovery: {recoveries}");
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = |seed| {
        let mut random = Random::new(seed);
        let mut disk = SimulatedDisk::new();
        let (mut wal, _) = open(&disk, tiny()).expect("a new disk");
        let mut history = History { states: vec![Model::default()] };
        disk.halt_after(60);
        work(&disk, &mut wal, &mut history, &mut random, 100);
        disk.crash(random.next_u64());
        let names = storage::Disk::list(&disk).expect("the disk is alive");
        let contents: Vec<_> = names.iter().map(|name| disk.content(name)).collect();
        (names, contents, disk.statistics())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).1, run(8).1);
}

#[test]
fn what_an_opened_log_says_is_durable_even_after_a_failed_sync() {
    // The failed sync leaves a record that can be read and is not on disk. A log that trusts its
    // eyes would promise it, and lose it with the power.
    for seed in 0..50 {
        let mut disk = SimulatedDisk::new();
        let (mut wal, _) = open(&disk, tiny()).expect("a new disk");
        let persist =
            |index| Persist { entries: vec![common::entry(1, index, 50)], ..Persist::default() };
        wal.append(&[persist(1)]).expect("the disk works");
        disk.fail_sync(0);
        wal.append(&[persist(2)]).expect_err("the sync fails");
        disk.kill();
        let (_, recovery) = open(&disk, tiny()).expect("the disk works again");
        assert_eq!(recovery.recovered.last.0, 2, "a killed process leaves what it wrote");
        disk.crash(seed);
        let (_, after) = open(&disk, tiny()).expect("the disk works again");
        assert_eq!(after.recovered, recovery.recovered, "seed {seed}");
    }
}

#[test]
fn each_append_is_one_write_and_one_sync() {
    let disk = SimulatedDisk::new();
    let (mut wal, _) = open(&disk, storage::WalOptions::small()).expect("a new disk");
    let before = disk.statistics();
    let persists: Vec<_> = (1..=20)
        .map(|index| Persist { entries: vec![common::entry(1, index, 100)], ..Persist::default() })
        .collect();
    wal.append(&persists).expect("the disk works");
    wal.append(&[]).expect("nothing to do");
    let after = disk.statistics();
    assert_eq!((after.writes - before.writes, after.syncs - before.syncs), (1, 1));
    assert_eq!(wal.statistics().entries, 20);
}

#[test]
fn a_prepared_segment_spares_the_writer_the_wait() {
    let disk = SimulatedDisk::new();
    let (mut wal, _) = open(&disk, tiny()).expect("a new disk");
    for index in 1..=200 {
        if wal.needs_spare() {
            let spare = wal.request_spare().create(|| ()).expect("the disk works");
            assert!(!wal.needs_spare(), "one is enough");
            wal.offer_spare(spare).expect("no other spare is there");
        }
        let entries = vec![common::entry(1, index, 100)];
        wal.append(&[Persist { entries, ..Persist::default() }]).expect("the disk works");
    }
    let statistics = wal.statistics();
    assert!(statistics.segments > 5);
    assert_eq!(statistics.segments_unprepared, 0);
}

#[test]
fn a_spare_that_never_comes_is_not_missed() {
    let disk = SimulatedDisk::new();
    let (mut wal, _) = open(&disk, tiny()).expect("a new disk");
    let mut requests = 0;
    for index in 1..=200 {
        if wal.needs_spare() {
            requests += 1;
            disk.fail_write(0);
            wal.request_spare().create(|| ()).expect_err("the disk is full");
            wal.spare_failed();
            assert!(!wal.needs_spare(), "not again at once");
        }
        let entries = vec![common::entry(1, index, 100)];
        wal.append(&[Persist { entries, ..Persist::default() }]).expect("the disk works");
    }
    let statistics = wal.statistics();
    assert_eq!(statistics.segments_unprepared, statistics.segments);
    assert!((statistics.segments..=statistics.segments + 1).contains(&requests));
    let names = storage::Disk::list(&disk).expect("the disk works");
    assert!(names.iter().all(|name| !name.starts_with("spare")), "none is left over: {names:?}");
}
