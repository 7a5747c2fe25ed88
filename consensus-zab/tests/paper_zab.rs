//! What the paper (DSN 2011) and the rules distilled from ZooKeeper claim, one claim a
//! test. Where ZooKeeper has a test for the same, its name is given.

mod lone;

use std::time::Duration;

use consensus::{
    Answer, Consensus, Index, Input, Leadership, NodeId, Refusal, Settings, Term, Timer, Token,
};
use consensus_zab::{Epoch, LogPoint, ServerState, Session, ZabMessage, Zxid};
use lone::{
    Lone, ack, ack_epoch, disk, entries, entries_from, follower_info, looking, notification, point,
    proposal, vote,
};

// Discovery.

/// §IV-A, step d.1.2; rule 15. ZooKeeper: testLeaderBehind, testLastAcceptedEpoch (1343).
#[test]
fn the_new_epoch_exceeds_every_epoch_that_a_quorum_has_accepted() {
    for (own, theirs, chosen) in [(0, 20, 21), (5, 6, 7), (6, 6, 7), (9, 2, 10)] {
        let mut leader = Lone::start(3, 3, disk(&[], own, 0));
        leader.discover(2, 0, theirs);
        assert_eq!(leader.told(2), [format!("LEADERINFO epoch={chosen}")]);
        assert_eq!(leader.promise(), (chosen, 0));
    }
}

/// Rule 15. ZooKeeper: testLeaderInConnectingFollowers.
#[test]
fn the_quorum_that_the_epoch_is_chosen_by_includes_the_leader() {
    let mut leader = Lone::start(5, 5, disk(&[], 0, 0));
    leader.make_leader(&[1, 2]);
    leader.say(1, follower_info(Session(1), 0));
    assert!(leader.writes.is_empty(), "two of five are no quorum");
    leader.say(2, follower_info(Session(2), 0));
    assert_eq!(leader.writes.len(), 1, "with the leader they are three");
}

/// Rule 4.
#[test]
fn a_leader_proposes_an_epoch_only_once_it_has_accepted_it_durably() {
    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    leader.make_leader(&[2]);
    leader.say(2, follower_info(Session(1), 0));
    leader.say(1, follower_info(Session(2), 0));
    assert_eq!(leader.told(2), [""; 0]);
    leader.persist_one();
    assert_eq!(leader.promise(), (1, 0));
    assert_eq!(leader.told(2), ["LEADERINFO epoch=1"]);
    assert_eq!(leader.told(1), ["LEADERINFO epoch=1"]);
}

/// §IV-A, step f.1.1; rule 4.
#[test]
fn a_follower_acknowledges_an_epoch_only_once_it_has_accepted_it_durably() {
    let mut follower = Lone::start(1, 3, disk(&[1, 1], 1, 1));
    let session = follower.make_follower(3, &[2, 3]);
    follower.say(3, ZabMessage::LeaderInfo { session, epoch: Epoch(5) });
    assert_eq!(follower.told(3), [""; 0]);
    follower.persist();
    assert_eq!(follower.promise(), (5, 1));
    assert_eq!(follower.told(3), ["ACKEPOCH currentEpoch=1 last=0x100000002"]);
}

/// Rule 4.
#[test]
fn an_epoch_accepted_before_is_acknowledged_but_does_not_count() {
    let mut follower = Lone::start(1, 3, disk(&[1], 5, 1));
    let session = follower.make_follower(3, &[2, 3]);
    follower.say(3, ZabMessage::LeaderInfo { session, epoch: Epoch(5) });
    assert_eq!(follower.told(3), ["ACKEPOCH currentEpoch=none last=0x100000001"]);

    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    let session = leader.discover(2, 0, 0);
    leader.say(2, ack_epoch(session, None, &[]));
    assert!(leader.writes.is_empty(), "the leader and nobody else has accepted the epoch");
    assert_eq!(leader.phase(), "discovery");
}

/// §IV-A, step f.1.1; rule 4.
#[test]
fn an_epoch_earlier_than_the_accepted_one_is_refused() {
    let mut follower = Lone::start(1, 3, disk(&[], 7, 0));
    let session = follower.make_follower(3, &[2, 3]);
    follower.say(3, ZabMessage::LeaderInfo { session, epoch: Epoch(6) });
    assert_eq!(follower.role(), "LOOKING");
    assert_eq!(follower.told(3)[0], format!("LEAVE session={}", session.0));
    assert_eq!(follower.promise(), (7, 0));
}

/// Rules 5 and 15. ZooKeeper: testLeaderInElectingFollowers, testAbandonBeforeACKEpoch (1192).
#[test]
fn a_leader_joins_its_epoch_only_once_a_quorum_has_accepted_it() {
    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    let session = leader.discover(2, 0, 0);
    leader.lose(2);
    assert_eq!((leader.promise(), leader.phase()), ((1, 0), "discovery"));
    // The message of the lost session counts for nothing.
    leader.say(2, ack_epoch(session, Some(0), &[]));
    assert!(leader.writes.is_empty());
    leader.say(1, follower_info(Session(9), 0));
    leader.say(1, ack_epoch(Session(9), Some(0), &[]));
    leader.persist();
    assert_eq!((leader.promise(), leader.phase()), ((1, 1), "synchronization"));
}

/// §V; rule 15.
#[test]
fn a_more_recent_learner_is_sent_away_until_a_quorum_has_accepted_the_epoch() {
    let mut leader = Lone::start(3, 3, disk(&[1], 1, 1));
    let two = leader.discover(2, 0, 1);
    leader.say(1, follower_info(Session(8), 1));
    leader.sent.clear();
    leader.say(1, ack_epoch(Session(8), Some(1), &entries(&[1, 1])));
    assert_eq!(leader.told(1), ["RESIGN session=8: the learner's history is more recent"]);
    // A quorum shows that the second entry was never committed: now the learner is truncated.
    leader.say(2, ack_epoch(two, Some(1), &entries(&[1])));
    leader.persist();
    leader.say(1, follower_info(Session(9), 1));
    leader.say(1, ack_epoch(Session(9), Some(1), &entries(&[1, 1])));
    let told = leader.told(1);
    assert_eq!(told, ["LEADERINFO epoch=2", "TRUNC 0x100000001", "NEWLEADER 0x200000000"]);
}

/// A departure: in ZooKeeper the attempt goes on until initLimit. The wiki on Zab 1.0 ends it as soon as a follower
/// is more recent, whoever else is there.
#[test]
fn a_leader_that_has_no_quorum_beside_who_can_not_help_it_gives_up_at_once() {
    for more_recent in [true, false] {
        let mut leader = Lone::start(3, 3, disk(&[1], 1, 1));
        let two = leader.discover(2, 0, 1);
        leader.lose(1);
        leader.sent.clear();
        let (current, entries) = match more_recent {
            true => (Some(1), entries(&[1, 1])),
            // It accepted this epoch before, from whomever.
            false => (None, entries(&[1])),
        };
        leader.say(2, ack_epoch(two, current, &entries));
        assert_eq!(leader.role(), "LOOKING");
    }
}

/// A departure: ZooKeeper leaves the server out until the next election.
#[test]
fn a_server_that_accepted_a_later_epoch_is_let_in_by_a_new_election() {
    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    leader.establish(2);
    leader.say(1, follower_info(Session(9), 6));
    assert_eq!(leader.role(), "LOOKING");
    leader.make_leader(&[2]);
    leader.say(2, follower_info(Session(7), 1));
    leader.persist();
    assert_eq!(leader.told(2), ["LEADERINFO epoch=7"], "the epoch that was heard of counts");
}

// Synchronization.

/// Rule 5.
#[test]
fn a_leader_sends_new_leader_only_once_its_own_current_epoch_is_durable() {
    let mut leader = Lone::start(3, 3, disk(&[1], 1, 1));
    let session = leader.discover(2, 0, 1);
    leader.sent.clear();
    leader.say(2, ack_epoch(session, Some(1), &[]));
    assert_eq!((leader.told(2), leader.phase()), (vec![], "discovery"));
    leader.persist();
    assert_eq!(leader.promise(), (2, 2));
    let told = leader.told(2);
    assert_eq!(told, ["DIFF 0x100000001", "PROPOSAL 0x100000001", "NEWLEADER 0x200000000"]);
}

/// What the leader, whose log is given, tells a learner, whose log is given.
fn synchronization(leader: &[u32], learner: &[u32]) -> Vec<String> {
    let newest = leader.iter().chain(learner).max().copied().unwrap_or(0);
    let mut server = Lone::start(3, 3, disk(leader, newest, newest));
    let session = server.discover(2, 0, newest);
    server.sent.clear();
    server.say(2, ack_epoch(session, Some(0), &entries(learner)));
    server.persist();
    let mut told = server.told(2);
    assert_eq!(told.pop(), Some(format!("NEWLEADER {:#x}", u64::from(newest + 1) << 32)));
    told
}

/// Rules 7 and 17. ZooKeeper: LearnerHandlerTest (testEmptyCommittedLog, testCommittedLog,
/// testTxnLog, testTxnLogOnly, testNewEpochZxid), testUnnecessarySnap.
#[test]
fn a_learner_is_synchronized_from_the_common_prefix_on() {
    assert_eq!(synchronization(&[], &[]), ["DIFF 0x0"]);
    assert_eq!(synchronization(&[1, 1], &[1, 1]), ["DIFF 0x100000002"]);
    let (diff, trunc) = ("DIFF 0x100000003", "TRUNC 0x100000001");
    assert_eq!(synchronization(&[1, 1, 1], &[1]), [diff, "PROPOSAL 0x100000002..0x100000003"]);
    assert_eq!(synchronization(&[1], &[1, 1, 1]), [trunc]);
    assert_eq!(synchronization(&[], &[1, 1]), ["TRUNC 0x0"]);
    // One frame for each epoch, so that a zxid needs one base.
    assert_eq!(
        synchronization(&[1, 1, 2, 2, 4], &[]),
        [
            "DIFF 0x400000001",
            "PROPOSAL 0x100000001..0x100000002",
            "PROPOSAL 0x200000001..0x200000002",
            "PROPOSAL 0x400000001",
        ]
    );
}

/// Rules 7 and 17. ZooKeeper: testCrossEpochTrunc, where it must fall back to SNAP.
#[test]
fn a_learner_is_truncated_across_epochs() {
    assert_eq!(
        synchronization(&[1, 3, 3], &[1, 2, 2, 2]),
        ["TRUNC 0x100000001", "PROPOSAL 0x300000001..0x300000002"]
    );
    assert_eq!(
        synchronization(&[1, 1, 4], &[1, 2, 3]),
        ["TRUNC 0x100000001", "PROPOSAL 0x100000002", "PROPOSAL 0x400000001"]
    );
    assert_eq!(
        synchronization(&[2, 2], &[1, 1]),
        ["TRUNC 0x0", "PROPOSAL 0x200000001..0x200000002"]
    );
}

/// §IV-A, step f.2.1; rule 5, "Zab improved" (EuroSys 2025, §5.4). ZooKeeper:
/// testNormalFollowerRunWithDiff.
#[test]
fn a_follower_joins_the_epoch_only_with_its_whole_history_durable() {
    let mut follower = Lone::start(1, 3, disk(&[1, 1], 1, 1));
    let session = follower.make_follower(3, &[2, 3]);
    follower.say(3, ZabMessage::LeaderInfo { session, epoch: Epoch(4) });
    follower.persist();
    follower.sent.clear();
    follower.say(3, ZabMessage::Trunc { session, to: point(1, 0, 1) });
    follower.say(3, proposal(session, 1, entries_from(2, &[2])));
    follower.say(3, proposal(session, 2, entries_from(3, &[3])));
    let at = LogPoint { zxid: Zxid::new_leader(Epoch(4)), index: Index(3) };
    follower.say(3, ZabMessage::NewLeader { session, at });
    // At every point between the writes the epoch is not ahead of the history.
    while !follower.writes.is_empty() {
        assert_eq!(follower.promise(), (4, 1));
        assert!(!follower.told(3).iter().any(|told| told.starts_with("ACK")));
        follower.persist_one();
    }
    assert_eq!(follower.promise(), (4, 4));
    assert_eq!(follower.disk.entries, [entries(&[1]), entries_from(2, &[2, 3])].concat());
    assert_eq!(follower.told(3).last().map(String::as_str), Some("ACK 0x400000000"));
    assert!(follower.delivered.is_empty(), "the epoch is not established");
}

/// §IV-A, step l.2.2, "primary integrity"; rule 8. ZooKeeper: testNormalRun, testNormalFollowerRun.
#[test]
fn the_initial_history_is_committed_when_a_quorum_has_joined_the_epoch() {
    let mut leader = Lone::start(3, 3, disk(&[1, 2], 2, 2));
    let session = leader.discover(2, 0, 2);
    leader.say(2, ack_epoch(session, Some(1), &entries(&[1])));
    leader.persist();
    let at = leader.new_leader(2);
    leader.propose(&["too early"]);
    let refused = Answer::Refused { token: Token(1), reason: Refusal::NotLeader };
    assert_eq!((leader.answers.as_slice(), leader.delivered()), (&[refused][..], vec![]));
    leader.say(2, ack(session, at));
    assert_eq!(leader.leadership, [Leadership::Established { term: Term(3) }]);
    assert_eq!(leader.delivered(), ["1@1 1-1", "2@2 2-2"]);
    assert_eq!(leader.told(2), ["UPTODATE committed=0x200000001"]);
}

/// §IV-A, step f.2.2; rule 8.
#[test]
fn a_follower_delivers_nothing_before_up_to_date() {
    let mut follower = Lone::start(1, 3, disk(&[], 0, 0));
    let session = follower.make_follower(3, &[2, 3]);
    follower.say(3, ZabMessage::LeaderInfo { session, epoch: Epoch(2) });
    follower.persist();
    follower.say(3, ZabMessage::Diff { session, to: point(1, 0, 2) });
    follower.say(3, proposal(session, 0, entries(&[1, 1])));
    let committed = point(1, 0, 2);
    follower.say(3, ZabMessage::Commit { session, first: Index(1), up_to: committed });
    let at = LogPoint { zxid: Zxid::new_leader(Epoch(2)), index: Index(2) };
    follower.say(3, ZabMessage::NewLeader { session, at });
    follower.persist();
    assert!(follower.delivered.is_empty() && follower.leadership.is_empty());
    follower.say(3, ZabMessage::UpToDate { session, committed });
    assert_eq!(follower.delivered(), ["1@1 1-1", "2@1 1-2"]);
    let leader = consensus::NodeId(3);
    assert_eq!(follower.leadership, [Leadership::Following { leader, term: Term(2) }]);
}

/// The paper's gaps 1 and 3, as its TLA+ specification found them; rule 6.
#[test]
fn a_late_follower_gets_what_is_proposed_meanwhile_and_the_present_commit_position() {
    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    let two = leader.establish(2);
    leader.say(1, follower_info(Session(9), 0));
    leader.say(1, ack_epoch(Session(9), Some(0), &[]));
    assert_eq!(leader.told(1), ["LEADERINFO epoch=1", "DIFF 0x0", "NEWLEADER 0x100000000"]);
    // Between NEWLEADER and its acknowledgement.
    leader.propose(&["a", "b"]);
    leader.persist();
    leader.say(2, ack(two, point(1, 0, 1)));
    assert_eq!(leader.told(1), ["PROPOSAL 0x100000001..0x100000002"]);
    let at = LogPoint { zxid: Zxid::new_leader(Epoch(1)), index: Index(0) };
    leader.say(1, ack(Session(9), at));
    assert_eq!(leader.told(1), ["UPTODATE committed=0x100000001"]);
}

/// The paper's gap 2; rule 6.
#[test]
fn a_duplicate_proposal_is_ignored_and_a_gap_ends_the_session() {
    let mut follower = Lone::start(1, 3, disk(&[], 0, 0));
    let session = follower.join(1);
    follower.say(3, proposal(session, 0, entries(&[1, 1])));
    follower.say(3, proposal(session, 0, entries(&[1, 1, 1])));
    follower.persist();
    assert_eq!(follower.disk.entries, entries(&[1, 1, 1]));
    follower.say(3, proposal(session, 0, entries_from(5, &[1])));
    assert_eq!(follower.role(), "LOOKING");
}

// Broadcast.

/// §IV-A, phase 3; rule 8.
#[test]
fn a_proposal_is_committed_by_a_quorum_that_holds_it_durably() {
    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    let session = leader.establish(2);
    leader.propose(&["a", "b"]);
    assert_eq!(leader.told(2), ["PROPOSAL 0x100000001..0x100000002"], "sent beside the own write");
    leader.say(2, ack(session, point(1, 0, 2)));
    assert_eq!(leader.delivered(), [""; 0], "the leader does not hold it durably itself");
    leader.persist();
    assert_eq!(leader.delivered(), ["1@1 a", "2@1 b"]);
    assert_eq!(leader.told(2), ["COMMIT 0x100000002"]);
}

/// §IV-A, phase 3: a quorum of followers suffices.
#[test]
fn followers_alone_can_commit_before_the_leader_has_written() {
    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    let two = leader.establish(2);
    leader.say(1, follower_info(Session(9), 0));
    leader.say(1, ack_epoch(Session(9), Some(0), &[]));
    let at = leader.new_leader(1);
    leader.say(1, ack(Session(9), at));
    leader.propose(&["a"]);
    leader.say(2, ack(two, point(1, 0, 1)));
    leader.say(1, ack(Session(9), point(1, 0, 1)));
    assert_eq!((leader.delivered(), leader.writes.len()), (vec!["1@1 a".to_owned()], 1));
}

/// Rule 8.
#[test]
fn a_learner_that_has_not_joined_the_epoch_commits_nothing() {
    let mut leader = Lone::start(3, 5, disk(&[], 0, 0));
    leader.make_leader(&[1, 2]);
    for peer in [1, 2, 4] {
        leader.say(peer, follower_info(Session(peer), 0));
    }
    leader.persist();
    for peer in [1, 2, 4] {
        leader.say(peer, ack_epoch(Session(peer), Some(0), &[]));
    }
    leader.persist();
    let at = leader.new_leader(1);
    leader.say(1, ack(Session(1), at));
    leader.say(2, ack(Session(2), at));
    leader.propose(&["a"]);
    leader.persist();
    leader.say(1, ack(Session(1), point(1, 0, 1)));
    // What 4 holds before it joined is reported, but is no acknowledgement.
    leader.say(4, ZabMessage::Received { session: Session(4), up_to: Index(1) });
    assert_eq!(leader.delivered(), [""; 0]);
    leader.say(2, ack(Session(2), point(1, 0, 1)));
    assert_eq!(leader.delivered(), ["1@1 a"]);
}

/// §IV-A, phase 3. ZooKeeper: testNormalFollowerRun.
#[test]
fn a_follower_acknowledges_what_is_durable_and_delivers_what_is_committed() {
    let mut follower = Lone::start(1, 3, disk(&[], 0, 0));
    let session = follower.join(1);
    follower.say(3, proposal(session, 0, entries(&[1, 1])));
    follower.say(3, proposal(session, 0, entries_from(3, &[1])));
    assert_eq!(follower.told(3), [""; 0]);
    follower.persist_one();
    assert_eq!(follower.told(3), ["ACK 0x100000002"]);
    follower.persist_one();
    assert_eq!(follower.told(3), ["ACK 0x100000003"]);
    let up_to = point(1, 0, 2);
    follower.say(3, ZabMessage::Commit { session, first: Index(1), up_to });
    assert_eq!(follower.delivered(), ["1@1 1-1", "2@1 1-2"]);
}

/// Rule 6: the stream is FIFO; a COMMIT never runs ahead of its proposals.
#[test]
fn a_commit_of_what_was_not_sent_ends_the_session() {
    let mut follower = Lone::start(1, 3, disk(&[], 0, 0));
    let session = follower.join(1);
    let up_to = point(1, 0, 1);
    follower.say(3, ZabMessage::Commit { session, first: Index(1), up_to });
    assert_eq!(follower.role(), "LOOKING");
}

/// The contract: proposals beyond the limit are refused, and room comes with commits.
#[test]
fn proposals_that_wait_for_a_quorum_are_bounded() {
    let mut settings = Settings::new(NodeId(3), (1..=3).map(NodeId));
    (settings.finalize_wait, settings.uncommitted_bytes_max) = (Duration::ZERO, 50);
    let mut leader = Lone::start_with(settings, disk(&[], 0, 0));
    let session = leader.establish(2);
    leader.propose(&["a", "b", "c"]);
    let refused = Answer::Refused { token: Token(1), reason: Refusal::Overloaded };
    assert_eq!(leader.answers, [refused]);
    leader.persist();
    leader.say(2, ack(session, point(1, 0, 2)));
    leader.answers.clear();
    leader.propose(&["d"]);
    assert_eq!(leader.answers, []);
}

// Reads.

/// Rule 16.
#[test]
fn a_barrier_is_answered_when_a_quorum_still_follows_after_it_was_asked_for() {
    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    let session = leader.establish(2);
    leader.step_all([1, 2].map(|token| Input::ReadBarrier { token: Token(token) }));
    assert_eq!(leader.told(2), ["BARRIER round=1"], "reads that arrive together share a round");
    leader.step(Input::ReadBarrier { token: Token(3) });
    assert_eq!(leader.told(2), ["BARRIER round=2"]);
    leader.say(2, ZabMessage::BarrierAck { session, round: 1 });
    let index = Index(0);
    let answers = [1, 2].map(|token| Answer::Barrier { token: Token(token), index });
    assert_eq!(leader.answers, answers, "an answer to an earlier round confirms no later one");
}

/// Rule 16, the follower's side: it confirms only with acceptedEpoch and currentEpoch that are the
/// leader's. One that is still being synchronized has promised less.
#[test]
fn a_barrier_is_confirmed_only_by_a_follower_that_has_joined_the_epoch() {
    for synchronizing in [false, true] {
        let mut follower = Lone::start(1, 3, disk(&[], 0, 0));
        let session = follower.make_follower(3, &[2, 3]);
        follower.say(3, ZabMessage::LeaderInfo { session, epoch: Epoch(2) });
        follower.persist();
        if synchronizing {
            follower.say(3, ZabMessage::Diff { session, to: point(1, 0, 1) });
        }
        follower.sent.clear();
        follower.say(3, ZabMessage::Barrier { session, round: 1 });
        let told = follower.told(3);
        assert!(!told.iter().any(|told| told.starts_with("BARRIERACK")), "{told:?}");
        assert_eq!(follower.role(), "LOOKING");
    }
    let mut follower = Lone::start(1, 3, disk(&[], 0, 0));
    let session = follower.join(2);
    follower.say(3, ZabMessage::Barrier { session, round: 1 });
    assert_eq!(follower.told(3), ["BARRIERACK round=1"]);
}

/// Rule 16.
#[test]
fn a_barrier_of_a_leader_that_gives_up_is_refused() {
    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    leader.establish(2);
    leader.step(Input::ReadBarrier { token: Token(1) });
    leader.fire(Timer::Quorum);
    let reason = Refusal::NotLeader;
    assert_eq!(leader.answers, [Answer::Refused { token: Token(1), reason }]);
}

/// ZOOKEEPER-1675: the leader's word alone, at once if nothing is outstanding, else after the commit
/// of what was proposed last.
#[test]
fn a_sync_is_answered_without_a_quorum() {
    let mut leader = Lone::start(3, 3, disk(&[], 0, 0));
    let session = leader.establish(2);
    leader.step(Input::Sync { token: Token(1) });
    leader.propose(&["a"]);
    leader.step(Input::Sync { token: Token(2) });
    assert_eq!(leader.answers, [Answer::Barrier { token: Token(1), index: Index(0) }]);
    leader.persist();
    leader.say(2, ack(session, point(1, 0, 1)));
    assert_eq!(leader.answers[1], Answer::Barrier { token: Token(2), index: Index(1) });
}

// Start.

/// Rule 2.
#[test]
fn a_current_epoch_beyond_the_accepted_one_is_refused_at_start() {
    let settings = Settings::new(NodeId(1), (1..=3).map(NodeId));
    let error = Lone::try_start(settings, disk(&[], 1, 2)).expect_err("refused").to_string();
    assert!(error.contains("currentEpoch 2 exceeds acceptedEpoch 1"), "{error}");
}

/// A cluster of one is a quorum of itself.
#[test]
fn a_single_server_leads_by_itself_and_commits_what_is_durable() {
    let mut server = Lone::start(1, 1, disk(&[], 0, 0));
    server.persist();
    assert_eq!(server.leadership, [Leadership::Established { term: Term(1) }]);
    server.propose(&["a"]);
    server.step(Input::ReadBarrier { token: Token(1) });
    assert_eq!(server.delivered(), [""; 0]);
    server.persist();
    assert_eq!(server.delivered(), ["1@1 a"]);
    assert_eq!(server.answers, [Answer::Barrier { token: Token(1), index: Index(0) }]);
    assert_eq!(server.zab.describe(consensus::Position::new(1, 1)), "zxid=0x100000001");
}

/// Rule 11.
#[test]
fn used_up_epochs_never_wrap() {
    let mut server = Lone::start(3, 3, disk(&[], u32::MAX, 0));
    server.make_leader(&[2]);
    server.say(2, follower_info(Session(1), 0));
    assert_eq!((server.role(), server.promise()), ("LOOKING", (u32::MAX, 0)));
    assert_ne!(server.told(2).first().map(String::as_str), Some("LEADERINFO epoch=0"));
}

/// What a server that is not LOOKING tells those who are; rule 12, `updateElectionVote`.
#[test]
fn the_advertised_vote_carries_the_epoch_after_synchronization() {
    let mut leader = Lone::start(3, 3, disk(&[], 4, 0));
    leader.establish(2);
    leader.say(1, looking(1, vote(1, 0, 0)));
    let answer = notification(ServerState::Leading, 1, vote(3, 5, 0));
    assert_eq!(leader.sent_to(1), [answer]);
    leader.say(1, notification(ServerState::Following, 1, vote(3, 5, 0)));
    assert_eq!(leader.sent_to(1), [], "only those who are LOOKING are answered");
}
