//! Stores that earlier versions wrote: they are opened as they are, digest included, and go on.

use std::path::Path;

use bytes::Bytes;
use consensus::{Entry, NodeId, Payload, Position, Term, WallTime, Wire};
use kvcore::store::Revision;
use kvcore::{Command, Envelope, Machine, Put, RequestId, Stat};
use redb::{Database, TableDefinition};
use storage::{DirectoryId, RealDisk, RedbStore, RedbStoreOptions};

const ROWS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("rows");
const IDEMPOTENCY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("idempotency");
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const STATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");
const DIRECTORY: DirectoryId = DirectoryId(77);

/// The hash that those versions gave the one row of the store, and so its digest.
const DIGEST: u128 = 0xbb3a_86b9_de14_719e_6c6e_249b_7b90_3f96;

/// Writes a store at revision 3, compacted there, with one key that was written four times, as the version
/// of a format did.
fn write_store(directory: &Path, format: u32) {
    let database = Database::create(directory.join("store-0.redb")).expect("a file");
    let transaction = database.begin_write().expect("a transaction");
    let mut row = Vec::new();
    row.extend(2u64.to_le_bytes());
    row.extend(4u64.to_le_bytes());
    row.push(1);
    row.extend(3u32.to_le_bytes());
    row.extend(b"keyvalue");
    let mut state = format.to_le_bytes().to_vec();
    state.extend(DIRECTORY.0.to_le_bytes());
    // Applied term and index, wall time, revision, compacted revision.
    state.extend([1u64, 9, 5_000, 3, 3].iter().flat_map(|number| number.to_le_bytes()));
    state.extend(DIGEST.to_le_bytes());
    state.extend([0; 16 + 8]);
    if format > 2 {
        // There are records, but none yet.
        transaction.open_table(RECORDS).expect("a table");
        state.extend([0; 16]);
    }
    transaction.open_table(IDEMPOTENCY).expect("a table");
    let mut rows = transaction.open_table(ROWS).expect("a table");
    rows.insert((3, 0), &*row).expect("it is written");
    drop(rows);
    let mut states = transaction.open_table(STATE).expect("a table");
    states.insert("state", &*state).expect("it is written");
    drop(states);
    transaction.commit().expect("it is written");
}

fn open(directory: &Path) -> Machine<RedbStore> {
    let disk = RealDisk::open(directory).expect("a directory");
    let options = RedbStoreOptions { cache_bytes: 1 << 20, ..RedbStoreOptions::new(DIRECTORY) };
    let store = RedbStore::open(&disk, options).expect("its format is read");
    Machine::open(store).expect("its digest is that of its rows")
}

fn put(machine: &mut Machine<RedbStore>, key: &'static str, millis: u64) {
    let put = Put::new(Bytes::from(key), Bytes::from("more"));
    let command = Command::Put { put, conditions: Vec::new() };
    let (origin, request) = (NodeId(1), RequestId(1));
    let envelope = Envelope { origin, incarnation: 1, request, idempotency: None, command };
    let position = Position { term: Term(1), index: machine.applied().index.next() };
    let payload = Payload::Command(envelope.to_bytes());
    let entry = Entry { position, wall: WallTime(millis), payload };
    machine.apply(&entry).expect("the store does not fail");
}

fn stat(machine: &Machine<RedbStore>) -> Stat {
    machine.stat(b"key").expect("readable").expect("it exists")
}

#[test]
fn a_store_of_an_earlier_format_is_opened_and_goes_on_in_the_present_one() {
    for format in [2, 3] {
        let directory = tempfile::tempdir().expect("a directory");
        write_store(directory.path(), format);
        let mut machine = open(directory.path());
        assert_eq!(machine.state().digest, DIGEST, "format {format}");
        let before = stat(&machine);
        assert_eq!((before.czxid, before.mzxid, before.version), (Revision(2), Revision(3), 3));
        assert_eq!((before.ctime, before.mtime), (WallTime(0), WallTime(0)), "nobody knows them");
        assert_eq!((before.pzxid, before.cversion), (Revision(2), 0));

        put(&mut machine, "key", 6_000);
        put(&mut machine, "key/child", 7_000);
        let batch = machine.flush_batch(machine.applied().index, usize::MAX).expect("news");
        kvcore::Store::write(machine.store(), &batch).expect("the disk works");
        let _ = machine.flushed(&batch);
        let (state, told) = (machine.state(), stat(&machine));
        drop(machine);

        let again = open(directory.path());
        assert_eq!((again.state(), stat(&again)), (state, told), "format {format}");
        assert_eq!((told.ctime, told.mtime), (WallTime(0), WallTime(6_000)));
        assert_eq!((told.pzxid, told.cversion, told.num_children), (Revision(5), 1, 1));
    }
}
