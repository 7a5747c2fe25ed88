//! The log against a naive model that keeps everything in one vector.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::Log;
use super::{entry, settings};
use crate::{
    Effects, Entry, FetchPurpose, Index, Persist, PersistSequence, Position, Recovered, Settings,
    Snapshot, Term,
};

/// What may happen to a log.
#[derive(Clone, Debug)]
enum Operation {
    Append { newer: bool, bytes: usize },
    Truncate { back: u64 },
    Promise,
    Persist,
    Persisted { behind: u64 },
    Commit { back: u64 },
    Deliver,
    Fetched,
    Applied { back: u64 },
    Compact { back: u64 },
    Install { ahead: u64 },
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (any::<bool>(), 0..60usize)
            .prop_map(|(newer, bytes)| Operation::Append { newer, bytes }),
        2 => (0..5u64).prop_map(|back| Operation::Truncate { back }),
        1 => Just(Operation::Promise),
        4 => Just(Operation::Persist),
        4 => (0..3u64).prop_map(|behind| Operation::Persisted { behind }),
        3 => (0..5u64).prop_map(|back| Operation::Commit { back }),
        3 => Just(Operation::Deliver),
        3 => Just(Operation::Fetched),
        3 => (0..3u64).prop_map(|back| Operation::Applied { back }),
        2 => (0..3u64).prop_map(|back| Operation::Compact { back }),
        1 => (1..8u64).prop_map(|ahead| Operation::Install { ahead }),
    ]
}

/// The log as one vector, and the disk as the vector of everything durable.
struct Model {
    entries: Vec<Entry>,
    disk: Vec<Entry>,
    writes: Vec<Persist>,
    promised: bool,
    written: PersistSequence,
    durable_sequence: PersistSequence,
    commit: u64,
    delivered: Vec<Entry>,
    applied: u64,
    term: u64,
    compacted: u64,
    /// What is on disk was forgotten up to here.
    forgotten: u64,
    /// The states behind the handles of snapshots.
    states: Vec<Vec<Entry>>,
    /// The last snapshot, until the layer above is told of it.
    installing: Option<u64>,
}

impl Model {
    fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    /// What the layer above is given.
    fn take(&mut self, effects: &mut Effects<()>) {
        if let Some(snapshot) = effects.install.take() {
            assert_eq!(self.installing.take(), Some(snapshot.handle), "the last one, once");
            assert!(self.forgotten >= snapshot.position.index.0, "it is durable");
        }
        if !effects.deliveries.is_empty() {
            assert_eq!(self.installing, None, "the snapshot comes first");
        }
        self.delivered.append(&mut effects.deliveries);
    }

    /// How much of the log the disk holds, entry by entry.
    fn really_durable(&self) -> u64 {
        self.entries.iter().zip(&self.disk).take_while(|(a, b)| a == b).count() as u64
    }
}

fn apply(operation: &Operation, log: &mut Log, model: &mut Model, effects: &mut Effects<()>) {
    match *operation {
        Operation::Append { newer, bytes } => {
            model.term += u64::from(newer);
            let entry = entry(model.term, model.last() + 1, bytes);
            log.append(entry.clone());
            model.entries.push(entry);
        }
        Operation::Truncate { back } => {
            let from = (model.last().saturating_sub(back) + 1).max(model.commit + 1);
            assert_eq!(log.truncate_from(Index(from)), Index(model.last()));
            model.entries.truncate(usize::try_from(from - 1).unwrap());
            // Whoever truncates does so for a newer leader.
            model.term += 1;
        }
        Operation::Promise => {
            log.set_promise(bytes::Bytes::from_static(b"promise"));
            model.promised = true;
        }
        Operation::Persist => {
            model.written = log.persist(effects);
            for persist in effects.persists.drain(..) {
                assert_eq!(persist.sequence, model.written);
                assert_eq!(persist.promise.is_some(), model.promised);
                model.promised = false;
                model.writes.push(persist);
            }
        }
        Operation::Persisted { behind } => {
            let sequence = PersistSequence(model.written.0.saturating_sub(behind));
            if sequence <= model.durable_sequence {
                return;
            }
            model.durable_sequence = sequence;
            let late = model.writes.iter().position(|write| write.sequence > sequence);
            for write in model.writes.drain(..late.unwrap_or(model.writes.len())) {
                if let Some(snapshot) = &write.install {
                    model.disk = model.states[usize::try_from(snapshot.handle).unwrap()].clone();
                    model.forgotten = snapshot.position.index.0;
                }
                if let Some(index) = write.compact_to {
                    assert!(index <= write.commit && index.0 > model.forgotten);
                    model.forgotten = index.0;
                }
                if let Some(from) = write.truncate_from {
                    model.disk.retain(|entry| entry.index() < from);
                }
                if let Some(first) = write.entries.first() {
                    assert_eq!(first.index().0, model.disk.len() as u64 + 1, "no gap on disk");
                }
                assert!(write.commit.0 <= (model.disk.len() + write.entries.len()) as u64);
                model.disk.extend(write.entries);
            }
            log.persisted(sequence);
        }
        Operation::Commit { back } => {
            let index = model.last().saturating_sub(back);
            assert_eq!(log.commit_to(Index(index)), index > model.commit);
            model.commit = model.commit.max(index);
        }
        Operation::Deliver => log.deliver(effects),
        Operation::Fetched => {
            for fetch in std::mem::take(&mut effects.fetches) {
                assert_eq!(fetch.purpose, FetchPurpose::Deliver);
                if fetch.first.0 <= model.compacted {
                    // A snapshot went beyond it: whatever it brings is not wanted any more.
                    log.delivery_fetched(Vec::new(), effects);
                    model.take(effects);
                    continue;
                }
                assert!(fetch.first.0 > model.forgotten, "what is wanted is not forgotten");
                assert_eq!(fetch.first.0, model.delivered.len() as u64 + 1);
                // A disk may return less than was asked for, but at least one entry.
                let first = usize::try_from(fetch.first.0 - 1).unwrap();
                let last = usize::try_from(fetch.last.0).unwrap().min(first + 2);
                log.delivery_fetched(model.disk[first..last].to_vec(), effects);
                model.take(effects);
            }
        }
        Operation::Applied { back } => {
            let index = (model.delivered.len() as u64).saturating_sub(back).max(model.applied);
            // What was applied when a snapshot went beyond it is no news, and the snapshot itself
            // can not be applied before it was handed over.
            log.applied_to(
                Index(if model.installing.is_some() { model.applied } else { index }),
                effects,
            );
            if model.installing.is_none() && index >= model.compacted {
                model.applied = index;
            }
        }
        Operation::Compact { back } => {
            let index = model.applied.min(log.durable().0).saturating_sub(back);
            log.compact_to(Index(index));
            model.compacted = model.compacted.max(index);
        }
        Operation::Install { ahead } => {
            model.term += 1;
            model.entries.truncate(usize::try_from(model.commit).unwrap());
            for index in model.commit + 1..=model.commit + ahead {
                model.entries.push(entry(model.term, index, 1));
            }
            let mut terms = BTreeMap::new();
            for entry in model.entries.iter().rev() {
                terms.retain(|_, term| *term != entry.term());
                terms.insert(entry.index(), entry.term());
            }
            let position = model.entries.last().unwrap().position;
            let handle = model.states.len() as u64;
            model.states.push(model.entries.clone());
            log.install(Snapshot { position, terms, handle });
            (model.commit, model.compacted) = (position.index.0, position.index.0);
            model.delivered.clone_from(&model.entries);
            model.installing = Some(handle);
        }
    }
    model.take(effects);
}

fn compare(log: &Log, model: &Model) {
    let last = model.entries.last().map_or(Position::ZERO, |entry| entry.position);
    assert_eq!(log.last(), last);
    assert_eq!(log.commit(), Index(model.commit));
    assert_eq!(log.applied(), Index(model.applied));
    assert_eq!(log.delivered(), Index(model.delivered.len() as u64));
    assert_eq!(model.entries[..model.delivered.len()], model.delivered, "delivered in order");
    assert!(log.delivered() <= log.commit());
    assert_eq!(log.first(), Index(model.compacted + 1));
    assert!(log.first_in_memory() >= log.first());
    // What counts as durable is on disk, and is not forgotten while the disk has it, but for writes
    // that were under way when the log was cut back and then grew again.
    assert!(log.durable().0 <= model.really_durable(), "durable is on disk");
    for (offset, entry) in model.entries.iter().enumerate() {
        let index = Index(offset as u64 + 1);
        assert_eq!(log.term(index), Some(entry.term()));
        assert!(log.contains(entry.position));
        let first = model.entries.iter().find(|other| other.term() == entry.term()).unwrap();
        assert_eq!(log.first_of_term_at(index), first.index());
        match log.entry(index) {
            Some(in_memory) => assert_eq!(in_memory, entry),
            None => assert!(
                index <= log.durable() || index < log.first(),
                "only what is durable or forgotten leaves memory"
            ),
        }
    }
    for term in 0..=model.term + 1 {
        let naive = model.entries.iter().rev().find(|entry| entry.term().0 <= term);
        assert_eq!(log.last_up_to_term(Term(term)), naive.map_or(Index(0), Entry::index));
    }
    assert_eq!(log.term(Index(model.last() + 1)), None);
    let in_memory: Vec<&Entry> = log.in_memory().collect();
    let first = usize::try_from(log.first_in_memory().0 - 1).unwrap();
    assert_eq!(in_memory, model.entries[first..].iter().collect::<Vec<_>>());
    assert_eq!(log.memory_bytes(), in_memory.iter().map(|entry| entry.size_bytes()).sum::<usize>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_log_agrees_with_a_naive_model(
        operations in prop::collection::vec(operation(), 1..120),
        memory_bytes in prop_oneof![Just(0usize), Just(150), Just(1 << 20)],
        unapplied_bytes in prop_oneof![Just(1usize), Just(200), Just(1 << 20)],
    ) {
        let settings = Settings {
            memory_log_bytes_max: memory_bytes,
            unapplied_bytes_max: unapplied_bytes,
            ..settings()
        };
        let mut log = Log::new(&settings, Recovered::default());
        let mut effects = Effects::default();
        let mut model = Model {
            entries: Vec::new(),
            disk: Vec::new(),
            writes: Vec::new(),
            promised: false,
            written: PersistSequence(0),
            durable_sequence: PersistSequence(0),
            commit: 0,
            delivered: Vec::new(),
            applied: 0,
            term: 1,
            compacted: 0,
            forgotten: 0,
            states: Vec::new(),
            installing: None,
        };
        for operation in &operations {
            apply(operation, &mut log, &mut model, &mut effects);
            compare(&log, &model);
        }
        // In the end everything is written, completed, delivered and applied.
        for operation in [Operation::Persist, Operation::Persisted { behind: 0 }] {
            apply(&operation, &mut log, &mut model, &mut effects);
        }
        prop_assert_eq!(log.durable().0, model.last(), "everything is durable in the end");
        prop_assert_eq!(&model.disk, &model.entries);
        for _ in 0..10 * operations.len() {
            for operation in
                [Operation::Fetched, Operation::Applied { back: 0 }, Operation::Deliver]
            {
                apply(&operation, &mut log, &mut model, &mut effects);
            }
        }
        compare(&log, &model);
        prop_assert_eq!(model.delivered.len() as u64, model.commit);
    }
}
