//! What the tests of the state machine share: a log that grows by one command at a time, and ways to
//! carry a machine over to its store.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::Arc;

use bytes::Bytes;
use consensus::{Entry, Index, NodeId, Payload, Position, WallTime, Wire};
use kvcore::{
    Applied, Command, Condition, Delete, Envelope, Idempotency, IdempotencyKey, KeyValue, Keys,
    Machine, MachineOptions, MemoryStore, Outcome, Put, PutOutcome, Range, RequestId, Revision,
};

/// A machine over a store in memory.
pub(crate) type TestMachine = Machine<Arc<MemoryStore>>;

/// A machine on a new store.
pub(crate) fn machine() -> TestMachine {
    machine_with_cache(kvcore::CACHE_BYTES_DEFAULT)
}

/// A machine on a new store with so much cache.
pub(crate) fn machine_with_cache(cache_bytes: usize) -> TestMachine {
    open(Arc::new(MemoryStore::new()), cache_bytes)
}

/// What a crash at this moment would leave, opened again.
pub(crate) fn reopen(machine: &TestMachine, cache_bytes: usize) -> TestMachine {
    let store = Arc::new(MemoryStore::clone(machine.store()));
    open(store, cache_bytes)
}

fn open(store: Arc<MemoryStore>, cache_bytes: usize) -> TestMachine {
    Machine::open_with(store, options(cache_bytes)).expect("new, or as it was written, it opens")
}

/// The options of a machine with so much cache.
pub(crate) fn options(cache_bytes: usize) -> MachineOptions {
    MachineOptions { cache_bytes, ..MachineOptions::default() }
}

/// The entry after the machine's last with this payload.
pub(crate) fn entry_after(machine: &TestMachine, payload: Payload) -> Entry {
    let Position { term, index } = machine.applied();
    entry_at(Position { term, index: index.next() }, payload)
}

/// An entry that an unhurried leader made.
pub(crate) fn entry_at(position: Position, payload: Payload) -> Entry {
    Entry { position, wall: WallTime(position.index.0 * 10), payload }
}

/// A command's bytes in the log.
pub(crate) fn payload(command: Command) -> Payload {
    payload_with_key(command, None)
}

/// A command's bytes in the log, under a key if there is one, from a node that knew so much.
pub(crate) fn payload_with_key(command: Command, key: Option<(&str, Index)>) -> Payload {
    let (origin, incarnation, request) = (NodeId(1), 1, RequestId(1));
    let idempotency = key.map(|(key, since)| Idempotency {
        key: IdempotencyKey::new(key.as_bytes()).expect("tests use keys"),
        since,
    });
    let envelope = Envelope { origin, incarnation, request, idempotency, command };
    Payload::Command(envelope.to_bytes())
}

/// Applies a command under a key as the next entry.
pub(crate) fn apply_with_key(machine: &mut TestMachine, key: &str, command: Command) -> Applied {
    let since = machine.applied().index;
    let entry = entry_after(machine, payload_with_key(command, Some((key, since))));
    machine.apply(&entry).expect("the store in memory does not fail")
}

/// Applies a command as the next entry.
pub(crate) fn apply(machine: &mut TestMachine, command: Command) -> Applied {
    let entry = entry_after(machine, payload(command));
    machine.apply(&entry).expect("the store in memory does not fail")
}

/// Stores a value; the outcome.
pub(crate) fn put(machine: &mut TestMachine, key: &str, value: &str) -> Outcome {
    apply(machine, put_command(key, value, &[])).outcome
}

/// The outcome of a put that creates a key.
pub(crate) fn created() -> Outcome {
    Outcome::Put(PutOutcome { created: true, key: None, granted: None, previous: None })
}

/// Stores a value under conditions; the outcome.
pub(crate) fn put_if(
    machine: &mut TestMachine,
    key: &str,
    value: &str,
    conditions: &[Condition],
) -> Outcome {
    apply(machine, put_command(key, value, conditions)).outcome
}

/// The command to store a value; it asks for the previous one.
pub(crate) fn put_command(key: &str, value: &str, conditions: &[Condition]) -> Command {
    let put = Put::new(key.to_owned().into(), value.to_owned().into());
    Command::Put { put: Put { return_previous: true, ..put }, conditions: conditions.to_vec() }
}

/// Deletes keys; the outcome.
pub(crate) fn delete(machine: &mut TestMachine, target: Keys) -> Outcome {
    delete_if(machine, target, &[])
}

/// Deletes keys under conditions; the outcome.
pub(crate) fn delete_if(
    machine: &mut TestMachine,
    target: Keys,
    conditions: &[Condition],
) -> Outcome {
    let delete = Delete { target, return_previous: true };
    apply(machine, Command::Delete { delete, conditions: conditions.to_vec() }).outcome
}

/// Compacts; the outcome.
pub(crate) fn compact(machine: &mut TestMachine, revision: u64) -> Outcome {
    apply(machine, Command::Compact { revision: Revision(revision) }).outcome
}

/// One key.
pub(crate) fn one(key: &str) -> Keys {
    Keys::One(Bytes::copy_from_slice(key.as_bytes()))
}

/// All keys with a prefix.
pub(crate) fn prefix(prefix: &str) -> Keys {
    Keys::Prefix(Bytes::copy_from_slice(prefix.as_bytes()))
}

/// The keys from one up to another.
pub(crate) fn between(from: &str, to: &str) -> Keys {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Keys::Between { from: bytes(from), to: Some(bytes(to)) }
}

/// Writes one batch to the store; whether there was one.
pub(crate) fn flush_once(machine: &mut TestMachine, durable: Index, bytes_max: usize) -> bool {
    let Some(batch) = machine.flush_batch(durable, bytes_max) else { return false };
    kvcore::Store::write(machine.store(), &batch).expect("the store in memory does not fail");
    let rows = machine.flushed(&batch);
    machine.prune(rows);
    true
}

/// Writes everything to the store, what compaction freed included.
pub(crate) fn flush(machine: &mut TestMachine) {
    while flush_once(machine, machine.applied().index, 1 << 20) {}
}

/// All keys as of a revision or now.
pub(crate) fn all(machine: &TestMachine, at: Option<Revision>) -> Vec<KeyValue> {
    let range = Range { at, ..Range::of(Keys::all()) };
    machine.range(&range).expect("the revision can be read").key_values
}

/// A key's value as of a revision or now.
pub(crate) fn value(machine: &TestMachine, key: &str, at: Option<u64>) -> Option<String> {
    let found = machine.get(key.as_bytes(), at.map(Revision)).expect("the revision can be read");
    found.map(|found| String::from_utf8(found.value.to_vec()).expect("tests store text"))
}
