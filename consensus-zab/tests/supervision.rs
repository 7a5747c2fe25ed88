//! What keeps a quorum together: signs of life, sessions, and bounds.
//! ZooKeeper's tests of the same are named.

mod lone;

use std::time::Duration;

use consensus::{Index, Leadership, NodeId, Settings};
use consensus_zab::{Epoch, Reason, Session, ZabMessage};
use lone::{Lone, ack, ack_epoch, disk, entries, follower_info, looking, point, proposal, vote};

/// Rule 13.
#[test]
fn a_leader_that_hears_no_quorum_gives_up() {
    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    let session = leader.establish(2);
    leader.pass(200);
    leader.say(2, ZabMessage::Pong { session, sent: consensus::Time(0) });
    leader.pass(200);
    assert_eq!(leader.role(), "LEADING");
    leader.pass(150);
    assert_eq!(leader.role(), "LOOKING");
    assert_eq!(leader.leadership.last(), Some(&Leadership::None));
    assert!(leader.told(2).contains(&"RESIGN session=200: it does not lead".to_owned()));
}

/// Rule 13. ZooKeeper: testTxnTimeout.
#[test]
fn a_follower_that_answers_but_does_not_acknowledge_is_sent_away() {
    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    let two = leader.establish(2);
    leader.say(1, follower_info(Session(9), 0));
    leader.say(1, ack_epoch(Session(9), Some(0), &[]));
    let at = leader.new_leader(1);
    leader.say(1, ack(Session(9), at));
    leader.propose(&["a"]);
    leader.say(2, ack(two, point(1, 0, 1)));
    for _ in 0..26 {
        for (peer, session) in [(1, Session(9)), (2, two)] {
            leader.say(peer, ZabMessage::Pong { session, sent: consensus::Time(0) });
        }
        leader.pass(50);
    }
    let away = "RESIGN session=9: a proposal was not acknowledged for too long";
    assert!(leader.told(1).contains(&away.to_owned()));
    assert!(!leader.told(2).iter().any(|told| told.starts_with("RESIGN")));
    assert_eq!(leader.role(), "LEADING");
}

/// ZooKeeper: testElectionFraud. A server that believes to be elected by nobody's real support.
#[test]
fn a_leader_that_no_quorum_comes_to_gives_up() {
    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    leader.make_leader(&[2]);
    leader.pass(1_199);
    assert_eq!((leader.role(), leader.phase()), ("LEADING", "discovery"));
    leader.pass(1);
    assert_eq!(leader.role(), "LOOKING");
    assert_eq!(leader.promise(), (0, 0));
}

/// Rule 13, the other direction.
#[test]
fn a_follower_that_does_not_hear_its_leader_looks_for_another() {
    let mut follower = Lone::start(1, 3, disk(&[], 0, 0));
    let session = follower.join(1);
    follower.pass(290);
    follower.say(3, ZabMessage::Ping { session, sent: consensus::Time(7) });
    assert_eq!(follower.sent_to(3), [ZabMessage::Pong { session, sent: consensus::Time(7) }]);
    follower.pass(290);
    assert_eq!(follower.role(), "FOLLOWING");
    follower.pass(10);
    assert_eq!(follower.role(), "LOOKING");
    assert_eq!(follower.leadership.last(), Some(&Leadership::None));
}

/// Reliable FIFO channels: nothing of a session has any effect in another.
#[test]
fn messages_of_an_earlier_session_are_dropped() {
    let mut follower = Lone::start(1, 3, disk(&[], 0, 0));
    let former = follower.join(1);
    follower.say(3, ZabMessage::Resign { session: former, reason: Reason::Unresponsive });
    assert_eq!(follower.role(), "LOOKING");
    follower.make_follower(3, &[2, 3]);
    let before = format!("{:?}", follower.zab);
    follower.say(3, proposal(former, 0, entries(&[1])));
    follower.say(3, ZabMessage::LeaderInfo { session: former, epoch: Epoch(9) });
    follower.say(3, ZabMessage::Commit { session: former, first: Index(1), up_to: point(1, 0, 1) });
    follower.say(3, ZabMessage::Resign { session: former, reason: Reason::NotLeading });
    assert_eq!(format!("{:?}", follower.zab), before);

    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    let former = leader.establish(2);
    leader.propose(&["a"]);
    leader.persist();
    leader.say(2, follower_info(Session(999), 1));
    leader.say(2, ack(former, point(1, 0, 1)));
    assert_eq!(leader.delivered(), [""; 0]);
}

/// A server that does not lead says so, as ZooKeeper's refuses the connection.
#[test]
fn a_learner_that_comes_to_a_follower_is_sent_away() {
    let mut follower = Lone::start(1, 3, disk(&[], 0, 0));
    follower.join(1);
    follower.say(2, follower_info(Session(5), 0));
    assert_eq!(follower.told(2), ["RESIGN session=5: it does not lead"]);
}

/// As ZooKeeper's learner connects until the leader listens.
#[test]
fn a_learner_that_comes_too_early_is_taken_in_when_the_server_leads() {
    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    leader.say(2, follower_info(Session(5), 0));
    leader.say(2, looking(1, vote(3, 0, 0)));
    leader.persist();
    assert!(leader.told(2).contains(&"LEADERINFO epoch=1".to_owned()));
}

/// Flow control: before NEWLEADER there are no acknowledgements, and yet what is under way is
/// bounded.
#[test]
fn a_long_history_is_sent_within_the_window() {
    let mut settings = Settings::new(NodeId(3), (1..=3).map(NodeId));
    settings.finalize_wait = Duration::ZERO;
    (settings.inflight_messages_max, settings.message_bytes_max) = (1, 70);
    let mut leader = Lone::start_with(settings, disk(&[1, 1, 1, 1, 1], 1, 1));
    let session = leader.discover(2, 0, 1);
    leader.sent.clear();
    leader.say(2, ack_epoch(session, Some(1), &[]));
    leader.persist();
    assert_eq!(leader.told(2), ["DIFF 0x100000005", "PROPOSAL 0x100000001..0x100000002"]);
    for (received, next) in [(1, None), (2, Some("PROPOSAL 0x100000003..0x100000004"))] {
        leader.say(2, ZabMessage::Received { session, up_to: Index(received) });
        assert_eq!(leader.told(2).first().map(String::as_str), next);
    }
    // Progress puts the end of the phase off.
    leader.pass(1_000);
    leader.say(2, ZabMessage::Received { session, up_to: Index(4) });
    assert_eq!(leader.told(2), ["PROPOSAL 0x100000005", "NEWLEADER 0x200000000"]);
    leader.pass(1_000);
    assert_eq!(leader.phase(), "synchronization");
    leader.pass(200);
    assert_eq!(leader.role(), "LOOKING");
}
