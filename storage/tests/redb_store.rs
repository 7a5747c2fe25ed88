//! The store: what is written is read, power cuts leave whole batches, doubt is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use consensus::{Index, Position, Random, WallTime};
use kvcore::store::{
    Family, Fate, RecordChange, RecordKey, RecordValue, Remembered, Revision, Row, RowId, Store,
    StoreBatch, StoreState,
};
use kvcore::{IdempotencyKey, LeaseId, LeaseTime};
use storage::{DirectoryId, Disk, DiskFile, RealDisk, RedbStore, RedbStoreOptions, SimulatedDisk};

const DIRECTORY: DirectoryId = DirectoryId(77);

fn options() -> RedbStoreOptions {
    RedbStoreOptions { cache_bytes: 1 << 20, ..RedbStoreOptions::new(DIRECTORY) }
}

fn id(revision: u64, place: u32) -> RowId {
    RowId { revision: Revision(revision), place }
}

/// The store as a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    rows: BTreeMap<RowId, Row>,
    remembered: BTreeMap<Index, Arc<Remembered>>,
    records: BTreeMap<RecordKey, RecordValue>,
    state: StoreState,
}

impl Model {
    fn apply(&mut self, batch: &StoreBatch) {
        for id in &batch.removed {
            self.rows.remove(id);
        }
        self.rows.extend(batch.added.iter().cloned());
        let remembered = batch.remembered.iter().map(|row| (row.index, Arc::clone(row)));
        self.remembered.extend(remembered);
        self.remembered.retain(|index, _| *index > batch.state.idempotency_forgotten);
        for (key, value) in &batch.records {
            match value {
                Some(value) => self.records.insert(key.clone(), *value),
                None => self.records.remove(key),
            };
        }
        self.state = batch.state;
    }

    fn random_batch(&self, random: &mut Random) -> StoreBatch {
        let mut state = self.state;
        let mut added = Vec::new();
        for _ in 0..random.below(6) {
            state.revision.0 += 1;
            for place in 0..=u32::try_from(random.below(3)).expect("small") {
                let length = usize::try_from(random.below(600)).expect("small");
                let value = (!random.one_in(4)).then(|| Bytes::from(vec![7; length]));
                let key = Bytes::from(format!("key {}", random.below(50)));
                let create_revision = Revision(1 + random.below(state.revision.0));
                let version = random.below(9);
                let lease = i64::try_from(random.below(3)).expect("small") - 1;
                let lease = LeaseId::new(lease).filter(|_| value.is_some());
                let time = |random: &mut Random| WallTime(random.below(2) * random.below(1 << 40));
                let (create_time, mod_time) = (time(random), time(random));
                let row =
                    Row { key, value, create_revision, version, lease, create_time, mod_time };
                added.push((RowId { revision: state.revision, place }, row));
            }
        }
        let mut removed = Vec::new();
        if random.one_in(3) {
            let one_in = 1 + random.below(3) * 40;
            removed.extend(self.rows.keys().filter(|_| random.one_in(one_in)));
            state.compacted = state.revision;
        }
        let mut remembered = Vec::new();
        for _ in 0..random.below(5) {
            state.applied.index.0 += 1 + random.below(3);
            let key = format!("name-{}", state.applied.index.0);
            remembered.push(Arc::new(Remembered {
                index: state.applied.index,
                key: IdempotencyKey::new(key.as_bytes()).expect("a key"),
                wall: WallTime(random.next_u64()),
                request: u128::from(random.next_u64()),
                revision: state.revision,
                fate: Fate::Deleted { count: random.below(3) },
            }));
        }
        if random.one_in(3) {
            let back = random.below(12);
            let forgotten = state.applied.index.0.saturating_sub(back);
            let forgotten = state.idempotency_forgotten.0.max(forgotten);
            state.idempotency_forgotten = Index(forgotten);
        }
        remembered.retain(|row| row.index > state.idempotency_forgotten);
        state.idempotency_digest = u128::from(random.next_u64());
        state.applied = Position::new(3, state.applied.index.0 + 1);
        state.wall = WallTime(random.next_u64());
        state.digest = u128::from(random.next_u64()) << 64;
        let records = random_records(random);
        StoreBatch { added, removed, remembered, records, state }
    }

    fn is(&self, store: &RedbStore) -> bool {
        store.state().expect("it is readable") == self.state
            && store
                .rows(id(0, 0), usize::MAX)
                .expect("it is readable")
                .into_iter()
                .eq(self.rows.iter().map(|(id, row)| (*id, row.clone())))
            && store
                .remembered(Index(0), usize::MAX)
                .expect("it is readable")
                .iter()
                .eq(self.remembered.values().map(|row| &**row))
            && all_records(store) == self.records
    }
}

/// All records, a few at a time.
fn all_records(store: &RedbStore) -> BTreeMap<RecordKey, RecordValue> {
    let (mut all, mut after) = (BTreeMap::new(), None);
    loop {
        let records = store.records(after.as_ref(), 3).expect("it is readable");
        let Some(last) = records.last() else { return all };
        after = Some(last.key.clone());
        for record in records {
            assert!(all.insert(record.key, record.value).is_none(), "each comes once");
        }
    }
}

/// A few changes of leases, counters and families.
fn random_records(random: &mut Random) -> Vec<RecordChange> {
    let changes = (0..random.below(6)).map(|_| {
        let number = random.below(12);
        let is_there = !random.one_in(3);
        if random.one_in(3) {
            let key = RecordKey::Family(Bytes::from(format!("parent {number}")));
            let pzxid = Revision(random.next_u64());
            let family = Family { cversion: random.next_u64(), pzxid };
            (key, is_there.then_some(RecordValue::Family(family)))
        } else if random.one_in(2) {
            let lease = LeaseId::new(number.cast_signed() - 20).expect("it is below 0");
            let (ttl_millis, remaining_millis) = (random.next_u64(), random.next_u64());
            let time = LeaseTime { ttl_millis, remaining_millis, renewed: Index(number) };
            (RecordKey::Lease(lease), is_there.then_some(RecordValue::Lease(time)))
        } else {
            let key = RecordKey::Sequence(Bytes::from(format!("prefix {number}")));
            (key, is_there.then(|| RecordValue::Sequence(random.next_u64())))
        }
    });
    changes.collect::<BTreeMap<_, _>>().into_iter().collect()
}

fn exercise<D: Disk>(disk: &D) {
    let mut random = Random::new(5);
    let mut model = Model::default();
    for _ in 0..3 {
        let store = RedbStore::open(disk, options()).expect("it is whole");
        assert!(model.is(&store));
        for _ in 0..40 {
            let batch = model.random_batch(&mut random);
            model.apply(&batch);
            store.write(&batch).expect("the disk works");
            let probe = id(random.below(model.state.revision.0 + 2), 0);
            assert_eq!(store.row(probe).expect("it is readable").as_ref(), model.rows.get(&probe));
            let limit = usize::try_from(random.below(5)).expect("small");
            let found = store.rows(probe, limit).expect("it is readable");
            let wanted: Vec<_> =
                model.rows.range(probe..).take(limit).map(|(id, row)| (*id, row.clone())).collect();
            assert_eq!(found, wanted);
            let after = Index(random.below(model.state.applied.index.0 + 2));
            let found = store.remembered(after, limit).expect("it is readable");
            let wanted = model.remembered.range(after.next()..).take(limit);
            assert!(found.iter().eq(wanted.map(|(_, row)| &**row)));
            let view = store.view().expect("it is readable");
            assert_eq!(view.remembered(after, limit).expect("it is readable"), found);
        }
        assert!(model.is(&store));
    }
}

#[test]
fn what_is_written_is_read_on_a_simulated_disk() {
    exercise(&SimulatedDisk::new());
}

#[test]
fn what_is_written_is_read_on_a_real_disk() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    exercise(&RealDisk::open(directory.path()).expect("it opens"));
}

#[test]
fn a_new_store_is_empty() {
    let store = RedbStore::open(&SimulatedDisk::new(), options()).expect("it is made");
    assert_eq!(store.state(), Ok(StoreState::default()));
    assert_eq!(store.row(id(1, 0)), Ok(None));
    assert_eq!(store.rows(id(0, 0), 10), Ok(Vec::new()));
}

/// One store through many power cuts. Returns how many times it was opened afterwards.
fn lives(seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let mut disk = SimulatedDisk::new();
    let mut states = vec![Model::default()];
    let mut opened = 0;
    for life in 0..12 {
        if random.one_in(4) {
            disk.fail_sync(random.below(20));
        } else {
            disk.halt_after(random.below(120));
        }
        // A store that can not be opened while the process dies tells nothing.
        if let Ok(store) = RedbStore::open(&disk, options()) {
            opened += 1;
            let found = states.iter().position(|state| state.is(&store));
            let found = found.unwrap_or_else(|| {
                panic!("seed {seed}, life {life}: {:?} is none of what was written", store.state())
            });
            states = vec![states[found].clone()];
            for _ in 0..random.below(15) {
                let mut state = states[states.len() - 1].clone();
                let batch = state.random_batch(&mut random);
                state.apply(&batch);
                states.push(state);
                if store.write(&batch).is_err() {
                    store.write(&batch).expect_err("a store that failed takes nothing more");
                    break;
                }
                states.drain(..states.len() - 1);
            }
        }
        disk.crash(random.next_u64());
    }
    let store = RedbStore::open(&disk, options()).expect("no power cut makes a store unreadable");
    assert!(states.iter().any(|state| state.is(&store)), "seed {seed}: {:?}", store.state());
    opened
}

#[test]
fn rows_and_state_agree_after_every_power_cut() {
    let opened: u64 = (0..60).map(lives).sum();
    assert!(opened > 400, "most power cuts are followed by an open: {opened}");
}

#[test]
fn a_store_of_another_directory_is_refused() {
    let disk = SimulatedDisk::new();
    drop(RedbStore::open(&disk, options()).expect("it is made"));
    let other = RedbStoreOptions::new(DirectoryId(78));
    let text = RedbStore::open(&disk, other).expect_err("it is another's").to_string();
    for part in ["store-0.redb", "belongs to data directory", "remove this file", "from the log"] {
        assert!(text.contains(part), "{part:?} in: {text}");
    }
}

#[test]
fn a_state_that_can_not_be_is_refused() {
    let row = Row {
        key: Bytes::from("a"),
        value: None,
        create_revision: Revision(1),
        version: 0,
        lease: None,
        create_time: WallTime(0),
        mod_time: WallTime(0),
    };
    let ahead = StoreBatch { added: vec![(id(9, 0), row)], ..StoreBatch::default() };
    let applied = Position::new(1, 5);
    let (compacted, revision) = (Revision(2), Revision(1));
    let state = StoreState { applied, compacted, revision, ..Default::default() };
    let compacted = StoreBatch { state, ..StoreBatch::default() };
    for (batch, what) in [(ahead, "a row of revision 9"), (compacted, "compacted to 2")] {
        let disk = SimulatedDisk::new();
        let store = RedbStore::open(&disk, options()).expect("it is made");
        store.write(&batch).expect("the disk works");
        drop(store);
        let text = RedbStore::open(&disk, options()).expect_err("it is impossible").to_string();
        assert!(text.contains(what) && text.contains("remove this file"), "{text}");
    }
}

#[test]
fn a_damaged_or_foreign_file_is_refused_with_the_remedy() {
    let disk = SimulatedDisk::new();
    let store = RedbStore::open(&disk, options()).expect("it is made");
    let mut model = Model::default();
    let mut random = Random::new(1);
    for _ in 0..20 {
        let batch = model.random_batch(&mut random);
        model.apply(&batch);
        store.write(&batch).expect("the disk works");
    }
    drop(store);
    let whole = disk.content("store-0.redb").expect("it exists");
    let cut = &whole[..whole.len() / 2];
    for content in [b"this is no store, whatever its name says".as_slice(), cut, &[0; 8192]] {
        disk.put("store-0.redb", content);
        let text = RedbStore::open(&disk, options()).expect_err("it is damaged").to_string();
        assert!(text.contains("store-0.redb") && text.contains("remove this file"), "{text}");
    }
    disk.take("store-0.redb");
    let store = RedbStore::open(&disk, options()).expect("the remedy helps");
    assert_eq!(store.state(), Ok(StoreState::default()));
}

#[test]
fn reads_run_beside_writes() {
    let disk = SimulatedDisk::new();
    let store = RedbStore::open(&disk, options()).expect("it is made");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            loop {
                let before = store.state().expect("it is readable");
                let last = store.rows(id(before.revision.0, 0), 1).expect("it is readable");
                let after = store.state().expect("it is readable");
                assert!(before.revision <= after.revision, "a store never goes back");
                if before.revision.0 > 0 {
                    assert_eq!(last[0].0, id(before.revision.0, 0), "rows come with their state");
                }
                if after.revision.0 == 200 {
                    break;
                }
            }
        });
        for revision in 1..=200 {
            let state = StoreState { revision: Revision(revision), ..StoreState::default() };
            let row = Row {
                key: Bytes::from("k"),
                value: Some(Bytes::from("v")),
                create_revision: Revision(1),
                version: revision,
                lease: None,
                create_time: WallTime(3),
                mod_time: WallTime(revision),
            };
            let added = vec![(id(revision, 0), row)];
            store.write(&StoreBatch { added, state, ..StoreBatch::default() }).expect("works");
        }
        reader.join().expect("the reader found no fault");
    });
}

#[test]
fn the_simulated_disk_keeps_a_removed_file_for_who_has_it_open() {
    let mut disk = SimulatedDisk::new();
    let file = disk.create("a").expect("it is new");
    file.write_at(0, b"abc").expect("works");
    file.sync_data().expect("works");
    disk.sync_directory().expect("works");
    disk.remove("a").expect("it exists");
    disk.sync_directory().expect("works");
    let mut bytes = [0; 3];
    file.read_at(0, &mut bytes).expect("it is still open");
    assert_eq!(&bytes, b"abc");
    disk.crash(1);
    assert!(file.read_at(0, &mut bytes).is_err(), "its process is dead");
    assert!(!disk.exists("a").expect("works"));
}
