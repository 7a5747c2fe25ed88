//! Flow control in the order in which a leader meets it.

use bytes::Bytes;

use super::{Progress, ProgressState};
use crate::{
    Effects, Entry, FetchPurpose, Index, Log, NodeId, Payload, Position, Random, Recovered,
    Settings, WallTime,
};

const PEER: NodeId = NodeId(2);
const AWAITING: ProgressState = ProgressState::Probe { awaiting: true };
const PROBING: ProgressState = ProgressState::Probe { awaiting: false };

fn settings() -> Settings {
    Settings {
        inflight_messages_max: 3,
        inflight_bytes_max: 1_000,
        message_bytes_max: 100,
        ..Settings::new(NodeId(1), [NodeId(1), PEER])
    }
}

fn log(settings: &Settings, entries: u64) -> Log {
    let mut log = Log::new(settings, Recovered::default());
    for index in 1..=entries {
        log.append(Entry {
            position: Position::new(1, index),
            wall: WallTime(0),
            payload: Payload::Command(Bytes::from_static(b"0123456789")),
        });
    }
    log
}

fn send(progress: &mut Progress, log: &Log, settings: &Settings) -> Option<(u64, u64)> {
    let entries = progress.entries(PEER, log, settings, &mut Effects::<()>::default())?;
    let (first, last) = (entries[0].index(), entries[entries.len() - 1].index());
    progress.sent(last, entries.iter().map(Entry::size_bytes).sum());
    Some((first.0, last.0))
}

#[test]
fn a_probing_peer_has_one_message_under_way() {
    let settings = settings();
    let log = log(&settings, 10);
    let mut progress = Progress::probing(Index(5));
    assert_eq!(send(&mut progress, &log, &settings), Some((5, 6)));
    assert_eq!(progress.state(), AWAITING);
    assert_eq!(send(&mut progress, &log, &settings), None);
    // A rejection moves the probe back; an acknowledgement ends probing.
    progress.rejected(Index(3));
    assert_eq!(progress.state(), PROBING);
    assert_eq!(send(&mut progress, &log, &settings), Some((3, 4)));
    assert!(progress.acknowledged(Index(4)));
    assert_eq!((progress.state(), progress.next()), (ProgressState::Replicate, Index(5)));
}

#[test]
fn a_probe_without_entries_is_awaited_too_and_can_be_given_up() {
    let settings = settings();
    let log = log(&settings, 2);
    let mut progress = Progress::probing(Index(1));
    progress.probed();
    assert!(!progress.may_send(&settings));
    assert_eq!(send(&mut progress, &log, &settings), None);
    progress.probe_again();
    assert_eq!(send(&mut progress, &log, &settings), Some((1, 2)));
}

#[test]
fn pipelining_stops_at_the_window_of_messages_and_goes_on_with_acknowledgements() {
    let settings = settings();
    let log = log(&settings, 20);
    let mut progress = Progress::replicating(Index(1));
    let sent: Vec<_> = std::iter::from_fn(|| send(&mut progress, &log, &settings)).collect();
    assert_eq!(sent, [(1, 2), (3, 4), (5, 6)]);
    assert_eq!(progress.inflight_messages(), 3);
    // An acknowledgement in the middle of a message does not free it; its end frees all before it.
    assert!(progress.acknowledged(Index(1)));
    assert_eq!(send(&mut progress, &log, &settings), None);
    assert!(progress.acknowledged(Index(4)));
    assert_eq!(progress.inflight_messages(), 1);
    assert_eq!(send(&mut progress, &log, &settings), Some((7, 8)));
    assert_eq!((progress.matched(), progress.next()), (Index(4), Index(9)));
}

#[test]
fn pipelining_stops_at_the_window_of_bytes() {
    let settings = Settings { inflight_bytes_max: 100, ..settings() };
    let log = log(&settings, 20);
    let mut progress = Progress::replicating(Index(1));
    let sent: Vec<_> = std::iter::from_fn(|| send(&mut progress, &log, &settings)).collect();
    // One message more than fits exactly: the window is checked before a message, not cut by it.
    assert_eq!(sent, [(1, 2), (3, 4)]);
}

#[test]
fn late_and_repeated_acknowledgements_are_no_news() {
    let mut progress = Progress::replicating(Index(5));
    assert!(progress.acknowledged(Index(4)));
    assert!(!progress.acknowledged(Index(4)));
    assert!(!progress.acknowledged(Index(2)));
    assert_eq!((progress.matched(), progress.next()), (Index(4), Index(5)));
}

#[test]
fn a_new_connection_probes_from_what_is_known_to_match() {
    let settings = settings();
    let log = log(&settings, 20);
    let mut progress = Progress::replicating(Index(1));
    while send(&mut progress, &log, &settings).is_some() {}
    progress.acknowledged(Index(2));
    progress.restart(&log);
    assert_eq!((progress.state(), progress.next()), (PROBING, Index(3)));
    assert_eq!(progress.inflight_messages(), 0);
    // A hint at or before what matches is not followed: it is older than that.
    progress.rejected(Index(1));
    assert_eq!(progress.next(), Index(3));
}

#[test]
fn a_peer_that_never_answered_is_probed_from_the_end_of_the_log() {
    let log = log(&settings(), 20);
    let mut progress = Progress::replicating(Index(1));
    progress.restart(&log);
    assert_eq!((progress.state(), progress.next()), (PROBING, Index(21)));
}

#[test]
fn nothing_is_sent_when_there_is_nothing_new() {
    let settings = settings();
    let log = log(&settings, 2);
    let mut progress = Progress::replicating(Index(3));
    assert_eq!(send(&mut progress, &log, &settings), None);
}

#[test]
fn entries_that_left_memory_are_fetched_once_and_used_while_they_are_wanted() {
    let settings = Settings { memory_log_bytes_max: 0, ..settings() };
    let mut log = log(&settings, 4);
    let mut effects = Effects::<()>::default();
    let sequence = log.persist(&mut effects);
    let on_disk = effects.persists[0].entries.clone();
    log.persisted(sequence);
    let mut progress = Progress::replicating(Index(2));
    assert_eq!(progress.entries(PEER, &log, &settings, &mut effects), None);
    assert_eq!(progress.entries(PEER, &log, &settings, &mut effects), None);
    assert_eq!(effects.fetches.len(), 1, "one fetch under way");
    let fetch = effects.fetches[0];
    assert_eq!(fetch.purpose, FetchPurpose::Replicate(PEER));
    assert_eq!((fetch.first, fetch.last), (Index(2), Index(4)));
    let fetched = progress.fetched(on_disk[1..3].to_vec(), &log).unwrap();
    assert_eq!(fetched[0].index(), Index(2));
    // Meanwhile the peer moved on: what was fetched is not what it needs.
    progress.acknowledged(Index(3));
    assert_eq!(progress.fetched(on_disk[1..3].to_vec(), &log), None);
    // The disk may have nothing, because the log was cut back meanwhile.
    assert_eq!(progress.fetched(Vec::new(), &log), None);
}

/// A log of ten entries that has forgotten so many.
fn forgetful(settings: &Settings, forgotten: u64) -> Log {
    let mut log = log(settings, 10);
    let mut effects = Effects::<()>::default();
    let sequence = log.persist(&mut effects);
    log.persisted(sequence);
    log.commit_to(Index(10));
    log.deliver(&mut effects);
    log.applied_to(Index(10), &mut effects);
    log.compact_to(Index(forgotten));
    log
}

#[test]
fn who_needs_what_was_forgotten_gets_a_snapshot_and_nothing_else() {
    let settings = settings();
    let log = forgetful(&settings, 5);
    let mut progress = Progress::probing(Index(6));
    assert_eq!(send(&mut progress, &log, &settings), Some((6, 7)));
    for mut progress in [Progress::probing(Index(5)), Progress::replicating(Index(1))] {
        assert!(!progress.offer_snapshot(), "it is not known yet");
        assert_eq!(send(&mut progress, &log, &settings), None);
        assert!(progress.offer_snapshot());
        assert!(!progress.offer_snapshot(), "one is under way");
        assert!(!progress.may_send(&settings));
        assert_eq!(send(&mut progress, &log, &settings), None);
        progress.probed();
        progress.probe_again();
        assert_eq!(progress.state(), ProgressState::Snapshot { under_way: true });
        assert!(progress.acknowledged(Index(8)));
        assert_eq!((progress.state(), progress.next()), (ProgressState::Replicate, Index(9)));
        assert_eq!(send(&mut progress, &log, &settings), Some((9, 10)));
    }
}

/// openraft #1828: a log that was purged as a whole never led to a snapshot.
#[test]
fn a_log_without_any_entry_left_leads_to_a_snapshot_too() {
    let settings = settings();
    let log = forgetful(&settings, 10);
    let mut progress = Progress::probing(Index(10));
    assert_eq!(send(&mut progress, &log, &settings), None);
    assert!(progress.offer_snapshot());
    let mut progress = Progress::probing(Index(11));
    assert_eq!(send(&mut progress, &log, &settings), None);
    assert!(!progress.offer_snapshot(), "it lacks nothing");
}

#[test]
fn late_answers_to_earlier_entries_do_not_end_a_snapshot() {
    let settings = settings();
    let log = forgetful(&settings, 8);
    let mut progress = Progress::replicating(Index(4));
    assert_eq!(send(&mut progress, &log, &settings), None);
    assert!(progress.acknowledged(Index(3)), "they count all the same");
    assert_eq!(progress.matched(), Index(3));
    assert_eq!(progress.state(), ProgressState::Snapshot { under_way: false });
    // A snapshot that is older than what was forgotten meanwhile is one to begin with.
    assert!(progress.acknowledged(Index(6)));
    assert_eq!(send(&mut progress, &log, &settings), None);
    assert!(progress.offer_snapshot());
}

#[test]
fn a_snapshot_that_ended_is_followed_by_a_probe_from_the_end_or_by_another() {
    let settings = settings();
    let log = forgetful(&settings, 8);
    let mut progress = Progress::needing_snapshot(Index(4));
    progress.acknowledged(Index(3));
    assert!(progress.offer_snapshot());
    let mut other = progress.clone();
    // It may have come to the peer without its answer, and then it was dear enough.
    progress.snapshot_ended(&log);
    assert_eq!((progress.state(), progress.next()), (PROBING, Index(11)));
    progress.rejected(Index(4));
    assert_eq!(send(&mut progress, &log, &settings), None);
    assert!(progress.offer_snapshot());
    other.offer_again();
    assert!(other.offer_snapshot());
    // The end of one that was acknowledged says nothing.
    other.acknowledged(Index(9));
    other.snapshot_ended(&log);
    assert_eq!((other.state(), other.next()), (ProgressState::Replicate, Index(10)));
}

/// A naive window: the set of messages under way.
#[test]
fn the_window_agrees_with_a_naive_count() {
    let settings = settings();
    let log = log(&settings, 2_000);
    let mut random = Random::new(3);
    let mut progress = Progress::replicating(Index(1));
    let mut under_way: Vec<u64> = Vec::new();
    let mut acknowledged = 0;
    for _ in 0..2_000 {
        if random.one_in(2) {
            if let Some((first, last)) = send(&mut progress, &log, &settings) {
                assert!(under_way.len() < settings.inflight_messages_max);
                assert_eq!(first, under_way.last().map_or(acknowledged, |&last| last) + 1);
                under_way.push(last);
            }
        } else if let Some(&last) = under_way.last() {
            let index = acknowledged + random.below(last - acknowledged + 1);
            acknowledged = acknowledged.max(index);
            under_way.retain(|&last| last > index);
            progress.acknowledged(Index(index));
            // A partly acknowledged window goes on behind its last message.
            assert_eq!(progress.inflight_messages(), under_way.len());
        }
        assert_eq!(progress.matched(), Index(acknowledged));
    }
    assert!(acknowledged > 500, "the window moved");
}
