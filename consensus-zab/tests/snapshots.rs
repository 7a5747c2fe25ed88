//! SNAP, one rule or one mistake of ZooKeeper's a test.

mod lone;

use consensus::{Consensus, Generation, Index, Input, NodeId, Position, Snapshot, Term};
use consensus_zab::{Epoch, LogPoint, Reason, Session, ZabMessage, Zxid};
use lone::{
    Disk, Lone, ack, ack_epoch, disk, entries, entries_from, follower_info, looking, point,
    proposal, vote,
};

/// Follows server 3 up to the point where synchronization is to begin.
fn accepted(log: &[u32], current: u32, epoch: u32) -> (Lone, Session) {
    let mut follower = Lone::start(1, 3, disk(log, current, current));
    let session = follower.make_follower(3, &[2, 3]);
    follower.say(3, ZabMessage::LeaderInfo { session, epoch: Epoch(epoch) });
    follower.persist();
    follower.sent.clear();
    (follower, session)
}

/// A snapshot with these epochs and their first indexes, up to an index of the last of them.
fn snapshot(epochs: &[(u64, u64)], index: u64) -> Snapshot {
    let position = Position::new(epochs.last().map_or(0, |&(epoch, _)| epoch), index);
    let terms = epochs.iter().map(|&(epoch, first)| (Index(first), Term(epoch))).collect();
    Snapshot { position, terms, handle: 7 }
}

fn received(session: Session, epoch: u32, snapshot: Snapshot) -> Input<ZabMessage> {
    let message = ZabMessage::Snap { session, epoch: Epoch(epoch) };
    Input::SnapshotReceived { peer: NodeId(3), generation: Generation(1), snapshot, message }
}

fn new_leader(session: Session, epoch: u32, index: u64) -> ZabMessage {
    let at = LogPoint { zxid: Zxid::new_leader(Epoch(epoch)), index: Index(index) };
    ZabMessage::NewLeader { session, at }
}

/// Rules 5, 8 and 10: the state is durable, then acknowledged; currentEpoch is the old one until
/// NEWLEADER; the state is served at once, what comes behind it from UPTODATE on.
#[test]
fn a_snapshot_replaces_the_log_and_the_epoch_is_joined_behind_it() {
    for log in [&[][..], &[1, 1], &[1; 12]] {
        let (mut follower, session) = accepted(log, 1, 5);
        let state = snapshot(&[(1, 1), (4, 2)], 9);
        follower.step(received(session, 5, state.clone()));
        assert_eq!(follower.told(3), [] as [&str; 0], "it is not durable yet");
        assert!(follower.installs.is_empty());
        follower.persist();
        assert_eq!(follower.told(3), ["RECEIVED index=9"]);
        assert_eq!(follower.installs, [state]);
        assert_eq!(follower.promise(), (5, 1), "the epoch is not joined by it");
        assert_eq!(follower.phase(), "synchronization");
        follower.say(3, proposal(session, 1, entries_from(10, &[4])));
        follower.say(3, new_leader(session, 5, 10));
        follower.persist();
        assert_eq!(follower.promise(), (5, 5));
        assert!(follower.delivered().is_empty(), "before UPTODATE");
        follower.say(3, ZabMessage::UpToDate { session, committed: point(4, 1, 10) });
        assert_eq!(follower.delivered(), ["10@4 4-10"]);
        assert_eq!(follower.installs.len(), 1);
    }
}

/// 2872, 3642: the leader dies while the state is received, or behind it. What is left is the old log
/// with all of it, or the new state; the old currentEpoch either way.
#[test]
fn zookeeper_3642_an_interrupted_snapshot_leaves_the_old_log_or_the_new_state() {
    for written in 0..=2 {
        let (mut follower, session) = accepted(&[1, 1, 1], 1, 5);
        follower.step(received(session, 5, snapshot(&[(1, 1), (4, 2)], 9)));
        follower.say(3, proposal(session, 1, entries_from(10, &[4])));
        for _ in 0..written {
            follower.persist_one();
        }
        let mut follower = Lone::start(1, 3, follower.disk);
        let zxid = ["0x100000003", "0x400000008", "0x400000009"][written];
        let vote = format!("NOTIFICATION LOOKING round=1 vote=n1 peerEpoch=1 zxid={zxid}");
        assert_eq!(follower.told(2), [vote]);
        assert_eq!(follower.zab.status().commit, Index([0, 9, 9][written]));
    }
}

/// 2872: an entry behind the state was durable and acknowledged before the state was.
#[test]
fn zookeeper_2872_nothing_behind_the_snapshot_is_acknowledged_before_it_is_durable() {
    let (mut follower, session) = accepted(&[1], 1, 5);
    follower.step(received(session, 5, snapshot(&[(1, 1)], 9)));
    follower.say(3, proposal(session, 0, entries_from(10, &[1])));
    follower.say(3, new_leader(session, 5, 10));
    assert_eq!(follower.told(3), [] as [&str; 0]);
    assert_eq!(follower.writes.len(), 3, "in one stream");
    assert!(follower.writes[0].install.is_some(), "the state first");
    follower.persist_one();
    assert_eq!(follower.told(3), [] as [&str; 0], "NEWLEADER has arrived: its ACK says all");
    follower.persist();
    assert_eq!(follower.told(3), ["ACK 0x500000000"]);
}

/// 3104: NEWLEADER overtook the state, and the label of the state was not its prefix.
#[test]
fn zookeeper_3104_new_leader_stands_behind_exactly_the_history() {
    let (mut follower, session) = accepted(&[1], 1, 5);
    follower.say(3, new_leader(session, 5, 1));
    assert_eq!(follower.role(), "LOOKING", "nothing was synchronized");
    for at in [8, 10] {
        let (mut follower, session) = accepted(&[1], 1, 5);
        follower.step(received(session, 5, snapshot(&[(1, 1)], 9)));
        follower.say(3, new_leader(session, 5, at));
        assert_eq!(follower.role(), "LOOKING", "{at}");
        follower.persist();
        assert_eq!(follower.promise(), (5, 1));
    }
}

/// 4925: what does not continue the state without a gap is not taken.
#[test]
fn zookeeper_4925_a_gap_behind_the_snapshot_ends_the_session() {
    let (mut follower, session) = accepted(&[1], 1, 5);
    follower.step(received(session, 5, snapshot(&[(1, 1)], 9)));
    follower.say(3, proposal(session, 0, entries_from(11, &[1])));
    assert_eq!(follower.role(), "LOOKING");
    assert_eq!(follower.zab.status().last, Position::new(1, 9));
}

/// Nothing of another session, epoch, leader or connection, and no word without a state.
#[test]
fn what_is_no_whole_snapshot_of_this_session_is_ignored() {
    let state = || snapshot(&[(1, 1)], 9);
    let (follower, session) = accepted(&[1], 1, 5);
    let of = |peer, generation, session, epoch| Input::SnapshotReceived {
        peer: NodeId(peer),
        generation: Generation(generation),
        snapshot: state(),
        message: ZabMessage::Snap { session, epoch: Epoch(epoch) },
    };
    let word = ZabMessage::Snap { session, epoch: Epoch(5) };
    let last = ZabMessage::Diff { session, to: follower.last() };
    let inputs = [
        of(3, 1, Session(session.0 + 1), 5),
        of(3, 1, session, 4),
        of(2, 1, session, 5),
        of(3, 2, session, 5),
        Input::SnapshotReceived {
            peer: NodeId(3),
            generation: Generation(1),
            snapshot: state(),
            message: last,
        },
        Input::Received { peer: NodeId(3), generation: Generation(1), message: word },
    ];
    for input in inputs {
        let (mut follower, _) = accepted(&[1], 1, 5);
        follower.step(input);
        assert_eq!((follower.role(), follower.phase()), ("FOLLOWING", "discovery"));
        assert!(follower.writes.is_empty());
        assert_eq!(follower.zab.status().last, Position::new(1, 1));
    }
}

/// A state that no leader of the epoch can have.
#[test]
fn a_snapshot_that_contradicts_itself_or_what_was_said_ends_the_session() {
    for state in [
        snapshot(&[(6, 1)], 9),
        snapshot(&[(1, 2)], 9),
        snapshot(&[(1, 1), (2, 12)], 9),
        snapshot(&[(1, 1)], 1 << 33),
        snapshot(&[(1, 1)], 1),
    ] {
        let (mut follower, session) = accepted(&[1], 1, 5);
        follower.step(received(session, 5, state));
        assert_eq!(follower.role(), "LOOKING");
        assert!(follower.installs.is_empty());
        assert_eq!(follower.zab.status().last, Position::new(1, 1));
    }
}

/// Once synchronization has begun in another way, or with another snapshot, a snapshot comes too late.
#[test]
fn a_session_begins_with_one_snapshot_at_most() {
    let (mut follower, session) = accepted(&[1], 1, 5);
    follower.step(received(session, 5, snapshot(&[(1, 1)], 9)));
    follower.step(received(session, 5, snapshot(&[(1, 1)], 12)));
    assert_eq!(follower.zab.status().last, Position::new(1, 9));
    let (mut follower, session) = accepted(&[1], 1, 5);
    let to = follower.last();
    follower.say(3, ZabMessage::Diff { session, to });
    follower.step(received(session, 5, snapshot(&[(1, 1)], 9)));
    assert_eq!(follower.zab.status().last, Position::new(1, 1));
    assert_eq!(follower.role(), "FOLLOWING");
}

/// Rule 17: ACKEPOCH describes the whole history, however little of the log is left.
#[test]
fn the_epoch_table_survives_the_snapshot() {
    let (mut follower, session) = accepted(&[1], 1, 5);
    follower.step(received(session, 5, snapshot(&[(1, 1), (2, 3), (4, 7)], 9)));
    follower.persist();
    let mut follower = Lone::start(1, 3, follower.disk);
    let session = follower.make_follower(3, &[2, 3]);
    follower.say(3, ZabMessage::LeaderInfo { session, epoch: Epoch(6) });
    follower.persist();
    let expected = ack_epoch(session, Some(1), &entries(&[1, 1, 2, 2, 2, 2, 4, 4, 4]));
    assert!(follower.sent_to(3).contains(&expected));
}

/// Rule 17: what is in the state is never truncated.
#[test]
#[should_panic(expected = "nothing committed is truncated")]
fn a_truncation_below_the_snapshot_stops_the_server() {
    let (mut follower, session) = accepted(&[1], 1, 5);
    follower.step(received(session, 5, snapshot(&[(1, 1)], 9)));
    follower.persist();
    let mut follower = Lone::start(1, 3, follower.disk);
    let session = {
        let _ = session;
        follower.make_follower(3, &[2, 3])
    };
    follower.say(3, ZabMessage::LeaderInfo { session, epoch: Epoch(6) });
    follower.persist();
    follower.say(3, ZabMessage::Trunc { session, to: point(1, 0, 5) });
}

/// Server 1 leads epoch 2 with server 2, and has forgotten its first four entries of five.
fn forgetful_leader() -> Lone {
    let committed = Disk { commit: Index(5), ..disk(&[1; 5], 1, 1) };
    let mut leader = Lone::start(1, 3, committed);
    leader.establish(2);
    leader.step(Input::Compact(Index(4)));
    leader.persist();
    leader
}

/// Server 3 comes with this log.
fn comes(leader: &mut Lone, number: u64, log: &[u32]) -> Session {
    let session = Session(300 + number);
    leader.say(3, follower_info(session, 1));
    leader.say(3, ack_epoch(session, Some(1), &entries(log)));
    session
}

/// Rules 6 and 7: SNAP only when what is missing was forgotten; else DIFF or TRUNC.
#[test]
fn a_leader_sends_a_snapshot_only_beyond_its_log() {
    let means = |log: &[u32]| {
        let mut leader = forgetful_leader();
        comes(&mut leader, 0, log);
        let told = leader.told(3);
        (told.get(1).cloned(), leader.offers.len())
    };
    let said = |text: &str| Some(text.to_owned());
    assert_eq!(means(&[1; 5]), (said("DIFF 0x100000005"), 0));
    assert_eq!(means(&[1; 4]), (said("DIFF 0x100000005"), 0));
    assert_eq!(means(&[1; 6]), (said("TRUNC 0x100000005"), 0));
    assert_eq!(means(&[1; 3]), (None, 1));
    assert_eq!(means(&[]), (None, 1));
}

/// Nothing but signs of life goes to a learner while its snapshot is under way. Then everything behind
/// the state follows, NEWLEADER in its place.
#[test]
fn a_learner_gets_what_is_behind_its_snapshot_and_new_leader_in_place() {
    let mut leader = forgetful_leader();
    let session = comes(&mut leader, 0, &[1]);
    leader.sent.clear();
    let [offer] = &leader.offers[..] else { panic!("{:?}", leader.offers) };
    assert_eq!(offer.to, NodeId(3));
    assert_eq!(offer.message, ZabMessage::Snap { session, epoch: Epoch(2) });
    leader.propose(&["a", "b"]);
    assert_eq!(leader.told(3), [] as [&str; 0]);
    leader.say(3, ZabMessage::Received { session, up_to: Index(5) });
    assert_eq!(leader.told(3), ["NEWLEADER 0x200000000", "PROPOSAL 0x200000001..0x200000002"]);
    // A state that is newer than what was to be sent: NEWLEADER stands behind it.
    let mut leader = forgetful_leader();
    let session = comes(&mut leader, 0, &[1]);
    leader.propose(&["a"]);
    leader.propose(&["b"]);
    leader.sent.clear();
    leader.say(3, ZabMessage::Received { session, up_to: Index(6) });
    let sent = leader.sent_to(3);
    let at = LogPoint { zxid: Zxid::new_leader(Epoch(2)), index: Index(6) };
    assert_eq!(sent[0], ZabMessage::NewLeader { session, at });
    assert_eq!(sent[1].to_string(), "PROPOSAL 0x200000002");
    leader.say(3, ack(session, at));
    assert!(leader.told(3).iter().any(|text| text.starts_with("UPTODATE")));
}

/// What a learner can not have: less than what was forgotten, or more than there is.
#[test]
fn a_wrong_word_of_a_learner_about_its_snapshot_ends_the_session() {
    for up_to in [0, 1, 6, u64::MAX] {
        let mut leader = forgetful_leader();
        let session = comes(&mut leader, 0, &[1]);
        leader.sent.clear();
        leader.say(3, ZabMessage::Received { session, up_to: Index(up_to) });
        assert_eq!(leader.told(3), [format!("RESIGN session={}: {}", session.0, Reason::Broken)]);
    }
}

/// A snapshot that ended is offered again after a heartbeat, unless the learner's word comes first.
#[test]
fn a_snapshot_that_ended_is_offered_again_after_a_heartbeat() {
    let ended =
        |generation| Input::SnapshotEnded { peer: NodeId(3), generation: Generation(generation) };
    let mut leader = forgetful_leader();
    let session = comes(&mut leader, 0, &[1]);
    leader.pass(100);
    assert_eq!(leader.offers.len(), 1, "it takes its time");
    leader.step(ended(2));
    leader.pass(60);
    assert_eq!(leader.offers.len(), 1, "of another connection");
    leader.step(ended(1));
    assert_eq!(leader.offers.len(), 1, "the learner's word may be on its way");
    leader.pass(100);
    assert_eq!(leader.offers.len(), 2);
    leader.say(2, ZabMessage::Pong { session: Session(200), sent: consensus::Time(0) });
    leader.step(ended(1));
    leader.say(3, ZabMessage::Received { session, up_to: Index(5) });
    leader.step(ended(1));
    leader.pass(110);
    assert_eq!(leader.offers.len(), 2);
}

/// The log forgets what a learner was to be sent next: it has to begin anew.
#[test]
fn a_learner_that_is_overtaken_by_forgetting_is_sent_away() {
    let mut settings = consensus::Settings::new(NodeId(1), (1..=3).map(NodeId));
    settings.finalize_wait = std::time::Duration::ZERO;
    settings.inflight_messages_max = 1;
    let mut leader = Lone::start_with(settings, Disk::default());
    let two = leader.establish(2);
    let session = Session(300);
    leader.say(3, follower_info(session, 0));
    leader.say(3, ack_epoch(session, Some(0), &[]));
    let at = leader.new_leader(3);
    leader.say(3, ack(session, at));
    for number in 1..=3 {
        leader.propose(&["a"]);
        leader.persist();
        leader.say(2, ack(two, point(1, 0, number)));
    }
    leader.step(Input::Applied(Index(3)));
    leader.step(Input::Compact(Index(3)));
    leader.sent.clear();
    leader.say(3, ack(session, point(1, 0, 1)));
    let reason = Reason::TooFarBehind;
    assert_eq!(leader.told(3), [format!("RESIGN session=300: {reason}")]);
    assert_eq!(leader.role(), "LEADING");
    let session = Session(301);
    leader.say(3, follower_info(session, 1));
    leader.say(3, ack_epoch(session, None, &entries(&[1])));
    assert_eq!(leader.offers.len(), 1);
}

/// Entries fetched for an earlier session do not go out beside the snapshot of a later one.
#[test]
fn a_late_fetch_sends_nothing_beside_a_snapshot() {
    let mut settings = consensus::Settings::new(NodeId(1), (1..=3).map(NodeId));
    settings.finalize_wait = std::time::Duration::ZERO;
    settings.memory_log_bytes_max = 1;
    let committed = Disk { commit: Index(5), ..disk(&[1; 5], 1, 1) };
    let mut leader = Lone::start_with(settings, committed);
    leader.establish(2);
    comes(&mut leader, 0, &[1]);
    let purpose = consensus::FetchPurpose::Replicate(NodeId(3));
    leader.step(Input::Compact(Index(4)));
    comes(&mut leader, 1, &[1]);
    assert_eq!(leader.offers.len(), 1);
    leader.sent.clear();
    leader.step(Input::Fetched { purpose, entries: entries_from(2, &[1, 1]) });
    assert_eq!(leader.told(3), [] as [&str; 0]);
}

/// A leader that is not established yet waits for a quorum as long as a snapshot takes, but not longer
/// than the learner gives signs of life.
#[test]
fn a_leader_waits_for_a_learner_that_gets_a_snapshot_while_it_lives() {
    let committed = Disk { commit: Index(5), ..disk(&[1; 5], 1, 1) };
    let mut leader = Lone::start(1, 3, committed);
    leader.step(Input::Compact(Index(4)));
    let (round, own) = (1, vote(1, 1, 5));
    leader.say(3, looking(round, own));
    assert_eq!(leader.role(), "LEADING");
    let session = Session(300);
    leader.say(3, follower_info(session, 1));
    leader.persist();
    leader.say(3, ack_epoch(session, Some(1), &entries(&[1])));
    leader.persist();
    assert_eq!((leader.phase(), leader.offers.len()), ("synchronization", 1));
    for _ in 0..30 {
        leader.pass(1_000);
        leader.say(3, ZabMessage::Pong { session, sent: consensus::Time(0) });
    }
    assert_eq!(leader.role(), "LEADING");
    leader.pass(3_000);
    assert_eq!(leader.role(), "LOOKING", "it fell silent");
}
