//! Leadership transfer by HANDOVER, one server at a time.

mod lone;

use consensus::{Answer, Input, Leadership, NodeId, Refusal, Standing, Token};
use consensus_zab::{Epoch, LogPoint, Session, ZabMessage};
use lone::{Lone, ack, ack_epoch, disk, entries, point, proposal};

const ASKED: Token = Token(77);

fn transfer(to: Option<u64>) -> Input<ZabMessage> {
    Input::TransferLeadership { token: ASKED, to: to.map(NodeId) }
}

fn handover(session: Session, to: u64, at: LogPoint) -> ZabMessage {
    ZabMessage::Handover { session, to: NodeId(to), at }
}

fn handed_over(session: Session, epoch: u32) -> ZabMessage {
    let accepted_epoch = Epoch(epoch);
    ZabMessage::FollowerInfo {
        session,
        accepted_epoch,
        handed_over: Some(Epoch(epoch)),
        standing: Standing::Voter,
    }
}

/// Server 1, which follows server 3 in epoch 1 and has one entry of it, durably.
fn follower() -> (Lone, Session) {
    let mut follower = Lone::start(1, 3, disk(&[], 0, 0));
    let session = follower.join(1);
    follower.say(3, proposal(session, 0, entries(&[1])));
    follower.persist();
    (follower, session)
}

/// The leader drains: it hands over when everything is committed and the successor has it, and takes
/// nothing new before.
#[test]
fn a_leader_hands_over_when_it_has_drained() {
    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    let session = leader.establish(2);
    leader.propose(&["a"]);
    leader.step(transfer(Some(2)));
    leader.propose(&["b"]);
    let refused = leader.answers.last().copied();
    assert!(
        matches!(refused, Some(Answer::Refused { reason: Refusal::Transferring, .. })),
        "{refused:?}"
    );
    leader.step(transfer(None));
    let reason = Refusal::Transferring;
    assert_eq!(leader.answers.last(), Some(&Answer::Refused { token: ASKED, reason }));
    assert_eq!(leader.role(), "LEADING");
    leader.persist();
    leader.told(2);
    leader.say(2, ack(session, point(1, 0, 1)));
    let told = leader.told(2);
    assert_eq!(
        told,
        [
            "COMMIT 0x100000001",
            "HANDOVER to=n2 at 0x100000001",
            "FOLLOWERINFO acceptedEpoch=1 session=1 handed over in epoch 1",
        ]
    );
    assert_eq!((leader.role(), leader.phase()), ("FOLLOWING", "discovery"));
    assert_eq!(leader.promise(), (1, 1), "a handover alone changes no epoch");
    assert_eq!(leader.leadership.last(), Some(&Leadership::None));
    let done = Answer::HandedOver { token: ASKED, to: NodeId(2) };
    assert_eq!(leader.answers.last(), Some(&done));
}

/// Only those who follow in the epoch hear of it; a learner on its way is sent away, as by any leader
/// that gives up.
#[test]
fn a_learner_that_is_not_synchronized_is_sent_away() {
    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    let session = leader.establish(2);
    let (accepted_epoch, handed_over) = (Epoch(0), None);
    let session_of_one = Session(9);
    let info = ZabMessage::FollowerInfo {
        session: session_of_one,
        accepted_epoch,
        handed_over,
        standing: Standing::Voter,
    };
    leader.say(1, info);
    leader.told(1);
    let nobody = Answer::Refused { token: ASKED, reason: Refusal::NoSuccessor };
    leader.step(transfer(Some(1)));
    assert_eq!(leader.answers.last(), Some(&nobody), "it can not take over either");
    leader.propose(&["a"]);
    leader.persist();
    leader.say(2, ack(session, point(1, 0, 1)));
    leader.step(transfer(None));
    assert_eq!(leader.told(1), ["RESIGN session=9: it does not lead"]);
    assert_eq!(leader.role(), "FOLLOWING");
}

/// The successor that goes away ends the transfer at once.
#[test]
fn a_transfer_fails_when_the_successor_leaves() {
    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    let session = leader.establish(2);
    leader.propose(&["a"]);
    leader.step(transfer(Some(2)));
    leader.say(2, ZabMessage::Leave { session });
    assert_eq!(leader.answers.last(), Some(&Answer::TransferFailed { token: ASKED }));
    assert_eq!(leader.role(), "LEADING");
    let before = leader.answers.len();
    leader.propose(&["b"]);
    assert_eq!(leader.answers.len(), before, "proposals are taken again");
}

/// The successor leads by HANDOVER as by an election: with a quorum, in a new epoch that is durable
/// before anybody hears of it.
#[test]
fn the_successor_leads_through_discovery() {
    let (mut successor, session) = follower();
    successor.say(3, handover(session, 1, point(1, 0, 1)));
    assert_eq!((successor.role(), successor.phase()), ("LEADING", "discovery"));
    assert_eq!(successor.promise(), (1, 1));
    successor.told(3);
    successor.say(3, handed_over(Session(1), 1));
    assert!(successor.told(3).is_empty(), "acceptedEpoch is not durable yet");
    successor.persist();
    assert_eq!(successor.told(3), ["LEADERINFO epoch=2"]);
    successor.say(3, ack_epoch(Session(1), Some(1), &entries(&[1])));
    successor.persist();
    assert_eq!(successor.promise(), (2, 2));
    assert_eq!(successor.phase(), "synchronization");
}

/// A learner may come sooner than the HANDOVER. It is kept if it was handed over in the epoch that
/// this server follows in, and sent away otherwise.
#[test]
fn a_learner_that_was_handed_over_first_is_kept() {
    let (mut successor, session) = follower();
    successor.told(2);
    successor.say(2, handed_over(Session(5), 7));
    assert_eq!(successor.told(2), ["RESIGN session=5: it does not lead"], "of another epoch");
    successor.say(2, handed_over(Session(6), 1));
    assert!(successor.told(2).is_empty());
    successor.say(3, handover(session, 1, point(1, 0, 1)));
    successor.persist();
    assert_eq!(successor.told(2), ["LEADERINFO epoch=2"]);

    // Its patience may end before.
    let (mut successor, session) = follower();
    successor.say(2, handed_over(Session(6), 1));
    successor.say(2, ZabMessage::Leave { session: Session(6) });
    successor.told(2);
    successor.say(3, handover(session, 1, point(1, 0, 1)));
    successor.persist();
    assert!(successor.told(2).is_empty());

    // If another is to lead after all, it is told so.
    let (mut follower, session) = follower();
    follower.say(2, handed_over(Session(6), 1));
    follower.told(2);
    follower.say(3, handover(session, 2, point(1, 0, 1)));
    let told = follower.told(2);
    assert_eq!(told[0], "RESIGN session=6: it does not lead");
    assert!(told[1].starts_with("FOLLOWERINFO acceptedEpoch=1"), "{told:?}");
}

/// What does not fit ends in an election: the successor must hold the whole log of the leader,
/// durably, or what it lacks could be committed.
#[test]
fn a_handover_that_does_not_fit_ends_in_an_election() {
    for (to, at) in
        [(1, point(1, 0, 2)), (1, LogPoint::default()), (3, point(1, 0, 1)), (9, point(1, 0, 1))]
    {
        let (mut follower, session) = follower();
        follower.say(3, handover(session, to, at));
        assert_eq!(follower.role(), "LOOKING", "to {to} at {at}");
        assert_eq!(follower.promise(), (1, 1));
    }
    // An entry that is not durable yet.
    let mut follower = Lone::start(1, 3, disk(&[], 0, 0));
    let session = follower.join(1);
    follower.say(3, proposal(session, 0, entries(&[1])));
    follower.say(3, handover(session, 1, point(1, 0, 1)));
    assert_eq!(follower.role(), "LOOKING");
    // Before the epoch is established.
    let mut learner = Lone::start(1, 3, disk(&[], 0, 0));
    let session = learner.make_follower(3, &[2, 3]);
    learner.say(3, handover(session, 2, LogPoint::default()));
    assert_eq!(learner.role(), "LOOKING");
    // Of a session that is over.
    let (mut follower, session) = self::follower();
    follower.say(3, handover(Session(session.0 + 1), 1, point(1, 0, 1)));
    assert_eq!(follower.role(), "FOLLOWING");
}

/// Nobody comes to the successor: then it looks for a leader like anybody else.
#[test]
fn a_successor_without_a_quorum_gives_up() {
    let (mut successor, session) = follower();
    successor.say(3, handover(session, 1, point(1, 0, 1)));
    successor.pass(1_200);
    assert_eq!(successor.role(), "LOOKING");
    assert_eq!(successor.promise(), (1, 1));
}
