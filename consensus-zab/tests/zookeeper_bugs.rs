//! Mistakes that ZooKeeper really made, by the number of their issue, each as the story in
//! which this server must not repeat it. Those of the election are with the election's tests.

mod lone;

use consensus::{Answer, Consensus, Index, Input, Refusal, Timer, Token};
use consensus_zab::{Epoch, LogPoint, Reason, Session, ZabMessage, Zxid};
use lone::{
    Lone, ack, ack_epoch, disk, entries, entries_from, follower_info, looking, point, proposal,
    vote,
};

/// Follows server 3 up to the point where synchronization is to begin.
fn accepted(log: &[u32], accepted: u32, current: u32, epoch: u32) -> (Lone, Session) {
    let mut follower = Lone::start(1, 3, disk(log, accepted, current));
    let session = follower.make_follower(3, &[2, 3]);
    follower.say(3, ZabMessage::LeaderInfo { session, epoch: Epoch(epoch) });
    follower.persist();
    follower.sent.clear();
    (follower, session)
}

fn new_leader(session: Session, epoch: u32, index: u64) -> ZabMessage {
    let at = LogPoint { zxid: Zxid::new_leader(Epoch(epoch)), index: Index(index) };
    ZabMessage::NewLeader { session, at }
}

/// The server crashed and starts again from its disk.
fn restart(lone: Lone) -> Lone {
    Lone::start(1, 3, lone.disk)
}

/// A stray entry of a server's log must show in what it says of its history.
#[test]
fn zookeeper_2845_the_vote_and_ackepoch_name_the_last_entry_of_the_log() {
    let mut server = Lone::start(1, 3, disk(&[1, 1, 1], 1, 1));
    let told = server.told(2);
    assert_eq!(told, ["NOTIFICATION LOOKING round=1 vote=n1 peerEpoch=1 zxid=0x100000003"]);
    // Nothing of it is known to be committed.
    assert_eq!(server.zab.status().commit, Index(0));
    let session = server.make_follower(3, &[2, 3]);
    server.say(3, ZabMessage::LeaderInfo { session, epoch: Epoch(2) });
    server.persist();
    assert_eq!(server.told(3), ["ACKEPOCH currentEpoch=1 last=0x100000003"]);
}

/// 2872, 3642, 5094: the leader dies in the middle of synchronization.
#[test]
fn zookeeper_3642_an_interrupted_synchronization_leaves_a_prefix_and_the_old_epoch() {
    let stream = |session| {
        [
            (3, ZabMessage::Trunc { session, to: point(1, 0, 1) }),
            (3, proposal(session, 1, entries_from(2, &[2]))),
            (3, proposal(session, 2, entries_from(3, &[3]))),
            (3, new_leader(session, 4, 3)),
        ]
    };
    let target = [entries(&[1]), entries_from(2, &[2, 3])].concat();
    for received in 0..=4 {
        for written in 0..=4 {
            let (mut follower, session) = accepted(&[1, 1, 1], 1, 1, 4);
            for message in stream(session).into_iter().take(received) {
                follower.say_all([message]);
            }
            for _ in 0..written {
                if !follower.writes.is_empty() {
                    follower.persist_one();
                }
            }
            let joined = follower.promise() == (4, 4);
            let log = restart(follower).disk.entries;
            let old = log == entries(&[1, 1, 1]);
            let prefix = !log.is_empty() && target.starts_with(&log);
            assert!(old || prefix, "neither the old history nor a prefix of the new: {log:?}");
            assert!(!joined || log == target, "the epoch was joined without its history");
        }
    }
}

/// 3911, 4646, 4785: NEWLEADER acknowledged before the history was durable.
#[test]
fn zookeeper_3911_new_leader_is_acknowledged_behind_every_write() {
    let (mut follower, session) = accepted(&[], 0, 0, 2);
    follower.say(3, ZabMessage::Diff { session, to: point(1, 0, 2) });
    follower.say(3, proposal(session, 0, entries(&[1])));
    follower.say(3, proposal(session, 0, entries_from(2, &[1])));
    follower.say(3, new_leader(session, 2, 2));
    assert_eq!(follower.writes.len(), 3);
    follower.persist_one();
    follower.persist_one();
    assert_eq!(follower.told(3), [""; 0]);
    follower.persist_one();
    assert_eq!(follower.told(3), ["ACK 0x200000000"]);
}

/// The epoch without its history would win an election and truncate what is committed.
#[test]
fn zookeeper_4643_the_current_epoch_is_never_durable_before_the_history() {
    let (mut follower, session) = accepted(&[], 0, 0, 2);
    follower.say_all([
        (3, ZabMessage::Diff { session, to: point(1, 0, 2) }),
        (3, proposal(session, 0, entries(&[1, 1]))),
        (3, new_leader(session, 2, 2)),
        (3, proposal(session, 2, entries_from(3, &[2]))),
    ]);
    let promise = |write: &consensus::Persist| write.promise.is_some();
    let first = follower.writes.iter().position(promise).expect("the epoch is written");
    let before: usize = follower.writes[..=first].iter().map(|write| write.entries.len()).sum();
    assert_eq!(before, 2, "with the epoch at the latest, and the live proposal behind it");
}

/// The leader expects NEWLEADER's acknowledgement first, and does not recognise another.
#[test]
fn zookeeper_4685_the_first_acknowledgement_is_new_leaders() {
    let (mut follower, session) = accepted(&[], 0, 0, 2);
    follower.say_all([
        (3, ZabMessage::Diff { session, to: point(0, 0, 0) }),
        (3, new_leader(session, 2, 0)),
        (3, proposal(session, 0, entries_from(1, &[2]))),
    ]);
    follower.say(3, proposal(session, 0, entries_from(2, &[2])));
    follower.persist();
    let acks = ["ACK 0x200000000", "ACK 0x200000001", "ACK 0x200000002"];
    assert_eq!(follower.told(3), acks);

    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    let session = leader.discover(2, 0, 0);
    leader.say(2, ack_epoch(session, Some(0), &[]));
    leader.persist();
    leader.sent.clear();
    leader.say(2, ack(session, point(1, 0, 0)));
    assert_eq!(leader.phase(), "broadcast", "(1, 0) is NEWLEADER's");
    leader.say(1, follower_info(Session(9), 0));
    leader.say(1, ack_epoch(Session(9), Some(0), &[]));
    leader.propose(&["a"]);
    leader.sent.clear();
    leader.say(1, ack(Session(9), point(1, 0, 1)));
    assert_eq!(leader.told(1), ["RESIGN session=9: the learner broke the protocol"]);
}

/// The whole log goes in one fsync: everything becomes durable at once.
#[test]
fn zookeeper_4685_also_when_all_writes_complete_together() {
    let (mut follower, session) = accepted(&[], 0, 0, 2);
    follower.say(3, ZabMessage::Diff { session, to: point(0, 0, 0) });
    follower.say(3, new_leader(session, 2, 0));
    follower.say(3, proposal(session, 0, entries_from(1, &[2])));
    let last = follower.writes.last().expect("writes are under way").sequence;
    follower.step(Input::Persisted(last));
    // The driver frees what waited for the writes; the acknowledgement of the proposal carries a
    // larger number than NEWLEADER's, so it can not leave sooner.
    follower.writes.truncate(1);
    follower.persist();
    assert_eq!(follower.told(3), ["ACK 0x200000000"]);
}

/// A COMMIT of what came before NEWLEADER, between NEWLEADER and UPTODATE.
#[test]
fn zookeeper_4394_a_commit_after_new_leader_of_a_proposal_before_it() {
    let (mut follower, session) = accepted(&[], 0, 0, 2);
    follower.say(3, ZabMessage::Diff { session, to: point(1, 0, 1) });
    follower.say(3, proposal(session, 0, entries(&[1])));
    follower.say(3, new_leader(session, 2, 1));
    let up_to = point(1, 0, 1);
    follower.say(3, ZabMessage::Commit { session, first: Index(1), up_to });
    follower.persist();
    assert_eq!((follower.role(), follower.delivered()), ("FOLLOWING", vec![]));
    follower.say(3, ZabMessage::UpToDate { session, committed: point(0, 0, 0) });
    assert_eq!(follower.delivered(), ["1@1 1-1"]);
}

/// A hole in the leader's source became a hole in the learner's log.
#[test]
fn zookeeper_4925_a_gap_in_the_history_is_noticed() {
    let (mut follower, session) = accepted(&[1], 1, 1, 3);
    follower.say(3, ZabMessage::Diff { session, to: point(2, 1, 3) });
    follower.say(3, proposal(session, 1, entries_from(3, &[2])));
    assert_eq!(follower.role(), "LOOKING");
    let (mut follower, session) = accepted(&[1], 1, 1, 3);
    follower.say(3, ZabMessage::Diff { session, to: point(2, 1, 3) });
    follower.say(3, proposal(session, 1, entries_from(2, &[2])));
    follower.say(3, new_leader(session, 3, 3));
    assert_eq!((follower.role(), follower.promise()), ("LOOKING", (3, 1)));
}

/// 1154, 1156: a stray entry inside the range of the leader's zxids.
#[test]
fn zookeeper_1154_a_stray_entry_is_cut_exactly() {
    let mut leader = Lone::start(3, 3, disk(&[1, 1, 1, 3, 3], 3, 3));
    let session = leader.discover(2, 0, 3);
    leader.sent.clear();
    leader.say(2, ack_epoch(session, Some(2), &entries(&[1, 1, 1, 2])));
    leader.persist();
    let told = leader.told(2);
    assert_eq!(told[0], "TRUNC 0x100000003", "not one less, and not none");
    assert_eq!(told[1], "PROPOSAL 0x300000001..0x300000002");
}

/// The leader's newest epoch wrote nothing, so that its zxid is the smaller one.
#[test]
fn zookeeper_2832_an_epoch_that_wrote_nothing_does_not_hide_a_stray_entry() {
    let mut leader = Lone::start(3, 3, disk(&[1], 5, 5));
    let session = leader.discover(2, 0, 2);
    leader.sent.clear();
    leader.say(2, ack_epoch(session, Some(2), &entries(&[1, 2])));
    leader.persist();
    let told = leader.told(2);
    assert_eq!(told[0], "TRUNC 0x100000001", "no quorum has ever had the entry of epoch 2");
}

/// 1319, 962: writes between the decision and the live stream.
#[test]
fn zookeeper_1319_nothing_falls_between_synchronization_and_broadcast() {
    let mut leader = Lone::start(3, 3, disk(&[1], 1, 1));
    let session = leader.discover(2, 0, 1);
    leader.say(2, ack_epoch(session, Some(1), &entries(&[1])));
    leader.persist();
    let at = leader.new_leader(2);
    leader.say(2, ack(session, at));
    leader.propose(&["before"]);
    leader.say(1, follower_info(Session(9), 1));
    leader.sent.clear();
    // All in one flush: the decision to synchronize, and proposals around it.
    let propose = |command: &'static str| Input::Propose {
        token: Token(1),
        command: command.as_bytes().into(),
    };
    let message = ack_epoch(Session(9), Some(1), &[]);
    let generation = consensus::Generation(1);
    let received = Input::Received { peer: consensus::NodeId(1), generation, message };
    leader.step_all([propose("just before"), received, propose("just after")]);
    let told = leader.told(1);
    assert_eq!(
        told,
        [
            "DIFF 0x200000002",
            "PROPOSAL 0x100000001",
            "PROPOSAL 0x200000001..0x200000002",
            "NEWLEADER 0x200000000",
            "PROPOSAL 0x200000003",
        ]
    );
}

/// A crash between the history and the epoch of NEWLEADER.
#[test]
fn zookeeper_2354_a_history_beyond_the_current_epoch_is_legal_at_start() {
    let mut server = Lone::start(1, 3, disk(&[1, 2], 3, 1));
    let told = server.told(2);
    assert_eq!(told, ["NOTIFICATION LOOKING round=1 vote=n1 peerEpoch=1 zxid=0x200000001"]);
}

/// 1343: the proposed epoch equalled one that was accepted before.
#[test]
fn zookeeper_1343_the_epoch_of_a_learner_that_left_still_counts() {
    let mut leader = Lone::start(5, 5, disk(&[], 0, 0));
    leader.make_leader(&[1, 2]);
    leader.say(1, follower_info(Session(1), 30));
    leader.say(1, ZabMessage::Leave { session: Session(1) });
    for peer in [2, 4] {
        let session = Session(peer);
        leader.say(peer, follower_info(session, 2));
    }
    leader.persist();
    assert_eq!(leader.told(2), ["LEADERINFO epoch=31"]);
}

/// 1192: a leader used an epoch that no quorum had acknowledged.
#[test]
fn zookeeper_1192_an_epoch_that_no_quorum_accepted_is_tried_but_not_joined() {
    let mut leader = Lone::start(3, 3, disk(&[1], 1, 1));
    leader.discover(2, 0, 1);
    leader.pass(1_200);
    assert_eq!((leader.role(), leader.promise()), ("LOOKING", (2, 1)));
    let told = leader.told(2);
    let voted = "NOTIFICATION LOOKING round=2 vote=n3 peerEpoch=1 zxid=0x100000001";
    assert!(told.contains(&voted.to_owned()), "it does not look more recent: {told:?}");
}

/// A deposed leader that does not know it answers `sync`; the barrier it can not.
#[test]
fn zookeeper_1675_a_leader_that_is_cut_off_answers_sync_but_no_barrier() {
    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    leader.establish(2);
    leader.step(Input::Sync { token: Token(1) });
    leader.step(Input::ReadBarrier { token: Token(2) });
    leader.pass(300);
    let index = Index(0);
    let refused = Answer::Refused { token: Token(2), reason: Refusal::NotLeader };
    assert_eq!(leader.answers, [Answer::Barrier { token: Token(1), index }, refused]);
}

/// 3109: a voter that gives up must not keep the leader waiting, nor count.
#[test]
fn zookeeper_3109_a_voter_that_left_does_not_count() {
    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    let session = leader.discover(2, 0, 0);
    leader.say(2, ZabMessage::Leave { session });
    leader.say(2, looking(2, vote(2, 0, 0)));
    leader.say(2, ack_epoch(session, Some(0), &[]));
    assert!(leader.writes.is_empty());
    leader.sent.clear();
    // It comes back, and is told the same epoch.
    let session = Session(1_000);
    leader.say(2, follower_info(session, 0));
    leader.say(2, ack_epoch(session, Some(0), &[]));
    leader.persist();
    assert_eq!(leader.phase(), "synchronization");
}

/// 3109 once more: of five voters one gives up, and the others are a majority without it.
#[test]
fn zookeeper_3109_a_majority_goes_on_without_the_voter_that_left() {
    let mut leader = Lone::start(5, 5, disk(&[], 0, 0));
    leader.make_leader(&[2, 3, 4]);
    for peer in [2, 3, 4] {
        leader.say(peer, follower_info(Session(peer), 0));
    }
    leader.persist();
    leader.say(4, ZabMessage::Leave { session: Session(4) });
    leader.say(4, looking(2, vote(4, 0, 0)));
    leader.say(2, ack_epoch(Session(2), Some(0), &[]));
    assert!(leader.writes.is_empty(), "two of five; the one that left is none of them");
    leader.say(3, ack_epoch(Session(3), Some(0), &[]));
    leader.persist();
    assert_eq!((leader.role(), leader.phase()), ("LEADING", "synchronization"));
    for peer in [2, 3] {
        let at = leader.new_leader(peer);
        leader.say(peer, ack(Session(peer), at));
    }
    assert_eq!(leader.phase(), "broadcast");
}

/// ZOOKEEPER-4712, with nothing but currentEpoch under way: the vote names it, so it is waited for.
#[test]
fn a_vote_waits_for_a_promise_that_is_written_alone() {
    let (mut follower, session) = accepted(&[1], 1, 1, 2);
    follower.say(3, ZabMessage::Diff { session, to: point(1, 0, 1) });
    let at = LogPoint { zxid: Zxid::new_leader(Epoch(2)), index: Index(1) };
    follower.say(3, ZabMessage::NewLeader { session, at });
    assert_eq!(follower.writes.len(), 1);
    assert!(follower.writes[0].entries.is_empty() && follower.writes[0].promise.is_some());
    follower.lose(3);
    assert_eq!(follower.role(), "LOOKING");
    let voted = |follower: &mut Lone| {
        let sent = follower.sent_to(2);
        sent.into_iter().any(|message| matches!(message, ZabMessage::Notification(_)))
    };
    assert!(!voted(&mut follower), "a crash now would take the epoch of that vote back");
    follower.persist();
    assert!(voted(&mut follower));
    assert_eq!(follower.promise(), (2, 2));
}

/// One frame must not use up all epochs, or all rounds, for ever.
#[test]
fn one_message_moves_epochs_and_rounds_no_further_than_is_plausible() {
    let far = Epoch((1 << 24) + 1);
    let mut follower = Lone::start(1, 3, disk(&[], 0, 0));
    let session = follower.make_follower(3, &[2, 3]);
    follower.say(3, ZabMessage::LeaderInfo { session, epoch: far });
    follower.persist();
    assert_eq!((follower.role(), follower.promise()), ("LOOKING", (0, 0)));
    let mut follower = Lone::start(1, 3, disk(&[], 0, 0));
    let session = follower.make_follower(3, &[2, 3]);
    follower.say(3, ZabMessage::LeaderInfo { session, epoch: Epoch(far.0 - 1) });
    follower.persist();
    assert_eq!(follower.promise(), (far.0 - 1, 0), "as far as that a cluster may have come");

    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    leader.make_leader(&[2]);
    leader.say(2, follower_info(Session(7), far.0));
    assert_eq!(leader.told(2), ["RESIGN session=7: the learner broke the protocol"]);
    leader.say(2, follower_info(Session(8), 4));
    leader.persist();
    assert_eq!(leader.promise(), (5, 0));

    let mut voting = Lone::start(3, 3, disk(&[], 0, 0));
    voting.sent.clear();
    voting.say(2, looking((1 << 32) + 2, vote(2, 0, 0)));
    assert_eq!((voting.told(1).len(), voting.told(2).len()), (0, 0), "it changes nothing");
}

/// Whatever a peer says that can be decoded: the session ends, the server goes on.
#[test]
fn nothing_that_a_peer_says_out_of_turn_stops_the_server() {
    let far = LogPoint { zxid: Zxid::from_bits(u64::MAX), index: Index(u64::MAX) };
    let at = |session| {
        [
            ZabMessage::LeaderInfo { session, epoch: Epoch(u32::MAX) },
            ZabMessage::LeaderInfo { session, epoch: Epoch(0) },
            ZabMessage::Diff { session, to: far },
            ZabMessage::Trunc { session, to: far },
            ZabMessage::NewLeader { session, at: far },
            ZabMessage::UpToDate { session, committed: far },
            ZabMessage::Commit { session, first: Index(0), up_to: far },
            proposal(session, 0, entries_from(u64::MAX - 1, &[u32::MAX])),
            ZabMessage::Barrier { session, round: u64::MAX },
            ZabMessage::BarrierAck { session, round: u64::MAX },
            ZabMessage::Ping { session, sent: consensus::Time(u64::MAX) },
            ZabMessage::Pong { session, sent: consensus::Time(u64::MAX) },
            ZabMessage::Received { session, up_to: Index(u64::MAX) },
            ack(session, far),
            ack_epoch(session, Some(u32::MAX), &[]),
            ZabMessage::Leave { session },
            ZabMessage::Resign { session, reason: Reason::Broken },
            looking(u64::MAX, vote(2, u32::MAX, u32::MAX)),
        ]
    };
    for number in 0..at(Session(0)).len() {
        let mut joined = Lone::start(1, 3, disk(&[1], 1, 1));
        let session = joined.join(2);
        joined.say(3, at(session)[number].clone());
        let (mut receiving, session) = accepted(&[1], 1, 1, 2);
        receiving.say(3, ZabMessage::Diff { session, to: point(1, 0, 1) });
        receiving.say(3, at(session)[number].clone());
        let (mut discovering, session) = accepted(&[1], 1, 1, 2);
        discovering.say(3, at(session)[number].clone());
        let mut leading = Lone::start(3, 3, disk(&[1], 1, 1));
        let session = leading.discover(2, 0, 0);
        leading.say(2, at(session)[number].clone());
        let mut established = Lone::start(3, 3, disk(&[], 0, 0));
        let session = established.establish(2);
        established.say(2, at(session)[number].clone());
        let mut voting = Lone::start(3, 3, disk(&[], 0, 0));
        voting.say(2, at(Session(1))[number].clone());
        for mut server in [joined, receiving, discovering, leading, established, voting] {
            server.persist();
            for timer in [Timer::Heartbeat, Timer::Phase, Timer::Quorum, Timer::Election] {
                server.fire(timer);
            }
            server.persist();
            server.pass(2_000);
            server.persist();
        }
    }
}
