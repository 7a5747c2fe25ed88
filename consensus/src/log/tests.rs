//! The laws of the log one by one.

mod model;

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::Log;
use crate::{
    Effects, Entry, Index, NodeId, Payload, PersistSequence, Position, Recovered, Settings,
    Snapshot, Term, WallTime,
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

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
