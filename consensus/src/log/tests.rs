//! The log against a naive model that keeps everything in one vector, and its laws one by one.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::Log;
use crate::{
    Effects, Entry, FetchPurpose, Index, NodeId, Payload, Persist, PersistSequence, Position,
    Recovered, Settings, Snapshot, Term, WallTime,
};

fn settings() -> Settings {
    Settings::new(NodeId(1), [NodeId(1)])
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let payload = Payload::Command(Bytes::from(vec![b'x'; bytes]));
    Entry { position: Position::new(term, index), wall: WallTime(term), payload }
}

fn empty() -> Log {
    Log::new(&settings(), Recovered::default())
}

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
            log.set_promise(Bytes::from_static(b"promise"));
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

    #[test]
    fn entries_are_as_many_as_fit_and_at_least_one(
        sizes in prop::collection::vec(0..200usize, 1..40),
        first in 1..40u64,
        bytes_max in 0..2_000usize,
    ) {
        let mut log = empty();
        for (offset, &bytes) in sizes.iter().enumerate() {
            log.append(entry(1, offset as u64 + 1, bytes));
        }
        let first = first.min(sizes.len() as u64);
        let entries = log.entries(Index(first), bytes_max).unwrap();
        let total: usize = entries.iter().map(Entry::size_bytes).sum();
        prop_assert!(!entries.is_empty());
        prop_assert_eq!(entries[0].index(), Index(first));
        prop_assert!(entries.len() == 1 || total <= bytes_max);
        let next = usize::try_from(first).unwrap() - 1 + entries.len();
        if let Some(&bytes) = sizes.get(next) {
            prop_assert!(total + Entry::OVERHEAD_BYTES + bytes > bytes_max, "one more would fit");
        }
    }
}

/// A write under way, then a truncation, then the same index written again by another leader: the
/// completion of the first write says nothing of the second (etcd, `append_aba_race`).
#[test]
fn a_late_completion_counts_only_for_what_it_wrote() {
    let mut log = empty();
    let mut effects = Effects::<()>::default();
    log.append(entry(1, 1, 1));
    log.append(entry(1, 2, 1));
    let first = log.persist(&mut effects);
    log.truncate_from(Index(2));
    log.append(entry(2, 2, 1));
    let second = log.persist(&mut effects);
    log.persisted(first);
    assert_eq!(log.durable(), Index(1), "index 2 is another entry now");
    assert_eq!(effects.persists[1].truncate_from, Some(Index(2)));
    log.persisted(second);
    assert_eq!(log.durable(), Index(2));
}

#[test]
fn a_write_without_content_is_not_made() {
    let mut log = empty();
    let mut effects = Effects::<()>::default();
    assert_eq!(log.persist(&mut effects), PersistSequence(0));
    log.append(entry(1, 1, 1));
    assert_eq!(log.persist(&mut effects), PersistSequence(1));
    assert_eq!(log.persist(&mut effects), PersistSequence(1));
    // A commit position alone is a hint, and not worth a write.
    log.commit_to(Index(1));
    assert_eq!(log.persist(&mut effects), PersistSequence(1));
    assert_eq!(effects.persists.len(), 1);
    // What was appended and removed before it was written leaves no trace.
    log.append(entry(1, 2, 1));
    log.truncate_from(Index(2));
    assert_eq!(log.persist(&mut effects), PersistSequence(1));
}

#[test]
fn a_recovered_log_is_durable_and_its_committed_part_applied() {
    let entries: Vec<Entry> = [(1, 1), (1, 2), (3, 3)].map(|(t, i)| entry(t, i, 4)).to_vec();
    let recovered = Recovered {
        promise: None,
        terms: BTreeMap::from([(Index(1), Term(1)), (Index(3), Term(3))]),
        last: Index(3),
        tail: entries[1..].to_vec(),
        commit: Index(2),
        ..Recovered::default()
    };
    let mut log = Log::new(&settings(), recovered);
    assert_eq!((log.durable(), log.delivered(), log.applied()), (Index(3), Index(2), Index(2)));
    assert_eq!(log.first_in_memory(), Index(2));
    assert_eq!(log.term(Index(2)), Some(Term(1)));
    assert_eq!(log.entries(Index(1), usize::MAX), None, "it is on disk alone");
    let mut effects = Effects::<()>::default();
    assert_eq!(log.persist(&mut effects), PersistSequence(0), "all of it is durable already");
    log.commit_to(Index(3));
    log.deliver(&mut effects);
    assert_eq!(effects.deliveries, entries[2..]);
}

/// What is replaced by a snapshot counts as durable only as far as it was committed, and the layer above
/// is told when the snapshot is durable, before anything behind it.
#[test]
fn a_snapshot_takes_effect_once_it_is_durable() {
    let mut log = empty();
    let mut effects = Effects::<()>::default();
    for index in 1..=4 {
        log.append(entry(1, index, 1));
    }
    log.commit_to(Index(2));
    let before = log.persist(&mut effects);
    let snapshot = snapshot(&[(1, 1), (2, 3)], 9);
    log.install(snapshot.clone());
    assert_eq!(log.last(), Position::new(2, 9));
    assert_eq!((log.first(), log.commit()), (Index(10), Index(9)));
    assert_eq!(log.term(Index(2)), Some(Term(1)), "the terms are known all the same");
    assert!(!log.contains(Position::new(1, 4)), "what was not committed is gone");
    log.append(entry(2, 10, 1));
    log.commit_to(Index(10));
    let install = log.persist(&mut effects);
    assert_eq!(effects.persists[1].install, Some(snapshot.clone()));
    assert_eq!(effects.persists[1].entries, [entry(2, 10, 1)]);
    log.persisted(before);
    assert_eq!(log.durable(), Index(2), "the disk has entries that are not in the log any more");
    log.deliver(&mut effects);
    assert_eq!((&effects.install, effects.deliveries.len()), (&None, 0));
    log.persisted(install);
    assert_eq!(log.durable(), Index(10));
    log.deliver(&mut effects);
    assert_eq!((effects.install.take(), effects.deliveries.len()), (Some(snapshot), 1));
    // What the layer above had applied before is no news.
    log.applied_to(Index(1), &mut effects);
    assert_eq!(log.applied(), Index(0));
    log.applied_to(Index(9), &mut effects);
    assert_eq!(log.applied(), Index(9));
    log.deliver(&mut effects);
    assert_eq!(effects.install, None, "it is told once");
}

/// etcd 18055: a second snapshot comes before the first is durable.
#[test]
fn of_two_snapshots_in_quick_succession_the_second_counts() {
    let mut log = empty();
    let mut effects = Effects::<()>::default();
    let (first, second) = (snapshot(&[(1, 1)], 5), snapshot(&[(1, 1)], 8));
    log.install(first.clone());
    let one = log.persist(&mut effects);
    log.install(second.clone());
    let two = log.persist(&mut effects);
    log.persisted(one);
    log.deliver(&mut effects);
    assert_eq!((effects.install.take(), log.durable()), (None, Index(5)), "nobody is told");
    log.persisted(two);
    log.deliver(&mut effects);
    assert_eq!((effects.install.take(), log.durable()), (Some(second), Index(8)));
    // The layer above never had the first.
    log.applied_to(Index(5), &mut effects);
    assert_eq!(log.applied(), Index(0));
}

#[test]
fn what_was_forgotten_leaves_memory_and_its_term_stays() {
    let mut log = empty();
    let mut effects = Effects::<()>::default();
    for index in 1..=4 {
        log.append(entry(1 + index / 3, index, 1));
    }
    let sequence = log.persist(&mut effects);
    log.persisted(sequence);
    log.commit_to(Index(4));
    log.deliver(&mut effects);
    log.applied_to(Index(3), &mut effects);
    log.compact_to(Index(3));
    log.compact_to(Index(1));
    assert_eq!((log.first(), log.first_in_memory()), (Index(4), Index(4)));
    assert_eq!(log.term(Index(1)), Some(Term(1)));
    log.persist(&mut effects);
    assert_eq!(effects.persists[1].compact_to, Some(Index(3)));
    assert_eq!(effects.persists[1].commit, Index(4));
    log.applied_to(Index(4), &mut effects);
    log.compact_to(Index(4));
    assert_eq!((log.first(), log.first_in_memory()), (Index(5), Index(5)));
    assert_eq!(log.last(), Position::new(2, 4), "an empty log knows where it ends");
}

#[test]
#[should_panic(expected = "only what is applied and durable is forgotten")]
fn forgetting_what_is_not_applied_stops_the_node() {
    let mut log = empty();
    let mut effects = Effects::<()>::default();
    log.append(entry(1, 1, 1));
    let sequence = log.persist(&mut effects);
    log.persisted(sequence);
    log.commit_to(Index(1));
    log.deliver(&mut effects);
    log.compact_to(Index(1));
}

#[test]
#[should_panic(expected = "a snapshot only ever replaces what is older")]
fn a_snapshot_older_than_what_is_committed_stops_the_node() {
    let mut log = empty();
    log.append(entry(1, 1, 1));
    log.append(entry(1, 2, 1));
    log.commit_to(Index(2));
    log.install(snapshot(&[(1, 1)], 2));
}

/// openraft #1892: a snapshot that conflicts with what is committed was accepted.
#[test]
#[should_panic(expected = "a snapshot continues what is committed here")]
fn a_snapshot_of_another_history_stops_the_node() {
    let mut log = empty();
    log.append(entry(1, 1, 1));
    log.append(entry(1, 2, 1));
    log.commit_to(Index(2));
    log.install(snapshot(&[(1, 1), (2, 2)], 5));
}

#[test]
fn a_snapshots_terms_are_those_of_a_log_that_ends_at_its_position() {
    assert!(snapshot(&[(1, 1), (3, 2)], 5).is_consistent());
    for wrong in [
        Snapshot::default(),
        snapshot(&[(1, 2)], 5),
        snapshot(&[(2, 1), (1, 3)], 5),
        snapshot(&[(0, 1), (1, 3)], 5),
        snapshot(&[(1, 1), (2, 6)], 5),
        Snapshot { position: Position::new(2, 5), ..snapshot(&[(1, 1)], 5) },
    ] {
        assert!(!wrong.is_consistent(), "{wrong:?}");
    }
}

/// A snapshot with these terms and their first indexes, up to an index of the last of them.
fn snapshot(terms: &[(u64, u64)], index: u64) -> Snapshot {
    let terms: BTreeMap<Index, Term> =
        terms.iter().map(|&(term, first)| (Index(first), Term(term))).collect();
    let term = terms.values().next_back().copied().unwrap_or_default();
    Snapshot { position: Position { term, index: Index(index) }, terms, handle: 0 }
}

#[test]
#[should_panic(expected = "nothing committed is ever truncated")]
fn truncating_what_is_committed_stops_the_node() {
    let mut log = empty();
    log.append(entry(1, 1, 1));
    log.commit_to(Index(1));
    log.truncate_from(Index(1));
}

#[test]
#[should_panic(expected = "the log has no gaps")]
fn a_gap_stops_the_node() {
    empty().append(entry(1, 2, 1));
}

#[test]
#[should_panic(expected = "terms never decrease along the log")]
fn an_older_term_behind_a_newer_one_stops_the_node() {
    let mut log = empty();
    log.append(entry(2, 1, 1));
    log.append(entry(1, 2, 1));
}

#[test]
#[should_panic(expected = "the log on disk holds what was committed")]
fn other_entries_from_disk_than_were_committed_stop_the_node() {
    let settings = Settings { memory_log_bytes_max: 0, ..settings() };
    let mut log = Log::new(&settings, Recovered::default());
    let mut effects = Effects::<()>::default();
    log.append(entry(2, 1, 1));
    let sequence = log.persist(&mut effects);
    log.persisted(sequence);
    log.commit_to(Index(1));
    log.deliver(&mut effects);
    log.delivery_fetched(vec![entry(1, 1, 1)], &mut effects);
}
