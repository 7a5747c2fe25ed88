//! Fast leader election, one rule a test. ZooKeeper's tests of the same
//! are named; its numbers are those of ZOOKEEPER issues.

mod lone;

use std::time::Duration;

use consensus::{Consensus, Event, Generation, Input, NodeId, Settings, Standing, Term, Timer};
use consensus_zab::{Notification, ServerState, Vote, ZabMessage};
use lone::{Lone, disk, looking, notification, vote};

/// The notifications among what was sent to a peer.
fn votes(lone: &mut Lone, peer: u64) -> Vec<(ServerState, u64, u64)> {
    lone.sent_to(peer)
        .into_iter()
        .filter_map(|message| match message {
            ZabMessage::Notification(Notification { state, round, vote }) => {
                Some((state, round, vote.leader.0))
            }
            _ => None,
        })
        .collect()
}

fn with_wait(id: u64, voters: u64, wait_ms: u64) -> Lone {
    let mut settings = Settings::new(NodeId(id), (1..=voters).map(NodeId));
    settings.finalize_wait = Duration::from_millis(wait_ms);
    Lone::start_with(settings, disk(&[], 0, 0))
}

use ServerState::{Following, Leading, Looking};

#[test]
fn a_server_begins_with_a_vote_for_itself_by_its_epoch_and_last_zxid() {
    let mut server = Lone::start(2, 3, disk(&[1, 3, 3], 4, 3));
    let zxid = consensus_zab::Zxid { epoch: consensus_zab::Epoch(3), counter: 2 };
    let own = Vote { peer_epoch: consensus_zab::Epoch(3), zxid, leader: NodeId(2) };
    assert_eq!(server.sent_to(1), [looking(1, own)]);
    assert_eq!(server.sent_to(3), [looking(1, own)]);
}

/// FLEPredicateTest: by epoch, then zxid, then number.
#[test]
fn a_better_vote_is_adopted_and_passed_on_and_a_worse_one_is_not() {
    let mut server = Lone::start(2, 5, disk(&[1], 1, 1));
    server.sent.clear();
    server.say(5, looking(1, vote(5, 0, 9)));
    assert_eq!(votes(&mut server, 1), [], "a later zxid of an earlier epoch");
    server.say(1, looking(1, vote(1, 1, 1)));
    assert_eq!(votes(&mut server, 3), [], "an equal zxid of a smaller number");
    server.say(3, looking(1, vote(3, 1, 1)));
    assert_eq!(votes(&mut server, 1), [(Looking, 1, 3)], "a larger number");
    server.sent.clear();
    server.say(1, looking(1, vote(1, 1, 2)));
    assert_eq!(votes(&mut server, 3), [(Looking, 1, 1)], "a later zxid");
    server.say(3, looking(1, vote(3, 2, 1)));
    assert_eq!(votes(&mut server, 4), [(Looking, 1, 1), (Looking, 1, 3)], "a later epoch");
    let voted = Event::Voted { candidate: NodeId(3), term: Term(1) };
    assert_eq!(server.events.last(), Some(&voted));
}

#[test]
fn a_quorum_of_equal_votes_elects() {
    let mut server = Lone::start(1, 5, disk(&[], 0, 0));
    server.say(2, looking(1, vote(4, 0, 0)));
    assert_eq!(server.role(), "LOOKING");
    server.say(3, looking(1, vote(5, 0, 0)));
    assert_eq!(server.role(), "LOOKING", "2 does not repeat the better vote yet");
    server.say(2, looking(1, vote(5, 0, 0)));
    assert_eq!(server.role(), "FOLLOWING");
}

/// FLENewEpochTest: a server that was left a round behind.
#[test]
fn a_later_round_makes_the_earlier_votes_void() {
    let mut server = Lone::start(3, 5, disk(&[], 0, 0));
    server.say(4, looking(1, vote(5, 0, 0)));
    server.sent.clear();
    server.say(1, looking(4, vote(1, 0, 0)));
    // Its own first vote, not the one adopted in the round that is over, is compared.
    assert_eq!(votes(&mut server, 1), [(Looking, 4, 3)]);
    server.say(2, looking(1, vote(3, 0, 0)));
    assert_eq!(votes(&mut server, 2), [(Looking, 4, 3)], "told once: the one behind will hear it");
    server.say(2, looking(4, vote(3, 0, 0)));
    assert_eq!(server.role(), "LOOKING", "4's vote of round 1 does not count");
}

/// FLEOutOfElectionTest, FLETest (testJoin): a late server joins what a quorum follows.
#[test]
fn a_late_server_joins_an_established_leader_whatever_the_round() {
    for rounds in [[7, 7], [7, 6]] {
        let mut server = Lone::start(1, 5, disk(&[], 0, 0));
        // 1732, 1805: zxid and round may differ between those who follow one leader.
        server.say(2, notification(Following, rounds[1], vote(3, 5, 1)));
        assert_eq!(server.role(), "LOOKING");
        server.say(3, notification(Leading, rounds[0], vote(3, 5, 2)));
        assert_eq!(server.role(), "FOLLOWING");
        assert_eq!(server.zab.status().leadership, consensus::Leadership::None);
    }
}

/// checkLeader: the word of followers alone may be out of date.
#[test]
fn a_leader_must_say_itself_that_it_leads() {
    let mut server = Lone::start(1, 5, disk(&[], 0, 0));
    for follower in [2, 3, 4] {
        server.say(follower, notification(Following, 1, vote(5, 1, 0)));
    }
    assert_eq!(server.role(), "LOOKING");
    server.say(5, notification(Leading, 1, vote(5, 1, 0)));
    assert_eq!(server.role(), "FOLLOWING");
}

/// The voters' epochs must be those of one reign.
#[test]
fn followers_of_another_epoch_do_not_count() {
    let mut server = Lone::start(1, 5, disk(&[], 0, 0));
    server.say(2, notification(Following, 4, vote(3, 1, 0)));
    server.say(3, notification(Leading, 4, vote(3, 2, 0)));
    assert_eq!(server.role(), "LOOKING", "the leader and the one that joins are two of five");
    server.say(2, notification(Following, 4, vote(3, 2, 0)));
    assert_eq!(server.role(), "FOLLOWING");
}

/// A departure: in ZooKeeper the others must be a quorum.
#[test]
fn the_server_that_joins_completes_the_quorum_of_a_leader() {
    let mut server = Lone::start(1, 3, disk(&[], 0, 0));
    server.say(3, notification(Leading, 4, vote(3, 2, 0)));
    assert_eq!(server.role(), "FOLLOWING");
    let mut server = Lone::start(3, 3, disk(&[], 0, 0));
    server.say(1, looking(4, vote(1, 0, 0)));
    server.say(2, notification(Following, 4, vote(3, 2, 0)));
    assert_eq!(server.role(), "LOOKING", "but it never makes itself leader so");
}

/// 975, 1514 (FLEBackwardElectionRoundTest).
#[test]
fn zookeeper_1514_followers_of_an_earlier_round_do_not_make_a_server_leader() {
    let mut server = Lone::start(3, 3, disk(&[], 0, 0));
    server.say(1, looking(5, vote(1, 0, 0)));
    server.say(1, notification(Following, 2, vote(3, 1, 0)));
    server.say(2, notification(Following, 2, vote(3, 1, 0)));
    assert_eq!(server.role(), "LOOKING");
    // In its own round the same word does.
    server.say(1, notification(Following, 5, vote(3, 0, 0)));
    assert_eq!(server.role(), "LEADING");
    assert!(server.events.iter().any(|event| event.to_string().contains("in round 5")));
}

#[test]
fn the_election_ends_early_when_every_connected_voter_agrees() {
    let mut server = with_wait(1, 3, 200);
    server.say(3, looking(1, vote(3, 0, 0)));
    assert_eq!(server.role(), "LOOKING", "2 is connected and has not answered");
    server.say(2, looking(1, vote(3, 0, 0)));
    assert_eq!(server.role(), "FOLLOWING");

    let mut server = with_wait(1, 3, 200);
    server.say(3, looking(1, vote(3, 0, 0)));
    server.lose(2);
    assert_eq!(server.role(), "FOLLOWING", "nobody is left to wait for");
}

#[test]
fn otherwise_it_ends_after_a_short_wait() {
    let mut server = with_wait(1, 3, 40);
    server.say(3, looking(1, vote(3, 0, 0)));
    server.pass(39);
    assert_eq!(server.role(), "LOOKING");
    server.pass(1);
    assert_eq!(server.role(), "FOLLOWING");
}

/// Rule 12: ZooKeeper throws votes away that arrive meanwhile and are not better.
#[test]
fn every_vote_counts_while_the_short_wait_runs() {
    let mut server = with_wait(2, 5, 40);
    server.say(1, looking(1, vote(2, 0, 0)));
    server.say(3, looking(1, vote(2, 0, 0)));
    server.pass(30);
    // 3 changes its mind for the worse: the quorum is gone, and the wait with it.
    server.say(3, looking(1, vote(1, 0, 0)));
    server.pass(15);
    assert_eq!(server.role(), "LOOKING");
    // A better vote begins the wait anew.
    server.say(4, looking(1, vote(4, 0, 0)));
    server.say(3, looking(1, vote(4, 0, 0)));
    server.pass(39);
    assert_eq!(server.role(), "LOOKING");
    server.pass(1);
    assert_eq!(server.role(), "FOLLOWING");
    assert!(server.events.iter().any(|event| event.to_string().contains("proposes n4")));
}

/// FLELostMessageTest: what is lost with a connection is said again, and so is all else, after pauses
/// that double.
/// It may lead by then and listens to no votes, so that it would wait for a quorum that never comes. In
/// ZooKeeper it does.
#[test]
fn whoever_was_voted_for_at_any_time_is_told_who_was_elected() {
    let mut server = with_wait(1, 3, 20);
    server.say(2, looking(1, vote(2, 0, 0)));
    server.say(3, looking(1, vote(3, 0, 0)));
    assert_eq!(votes(&mut server, 2), [(Looking, 1, 1), (Looking, 1, 2), (Looking, 1, 3)]);
    server.sent.clear();
    server.pass(20);
    assert_eq!(server.role(), "FOLLOWING");
    assert_eq!(votes(&mut server, 2), [(Following, 1, 3)]);
    assert_eq!(votes(&mut server, 3), []);
}

#[test]
fn a_vote_is_repeated_after_pauses_that_double() {
    let mut server = Lone::start(2, 3, disk(&[], 0, 0));
    server.sent.clear();
    let mut pauses = Vec::new();
    let mut quiet = 0;
    for _ in 0..6_000 {
        server.pass(1);
        quiet += 1;
        if !votes(&mut server, 1).is_empty() {
            pauses.push(quiet);
            quiet = 0;
        }
    }
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1_200, 1_200, 1_200]);
}

#[test]
fn a_peer_that_connects_is_told_the_vote() {
    let mut server = Lone::start(2, 3, disk(&[], 0, 0));
    server.lose(1);
    server.sent.clear();
    server.step(Input::PeerConnected {
        peer: NodeId(1),
        generation: Generation(2),
        standing: Standing::Voter,
    });
    assert_eq!(votes(&mut server, 1), [(Looking, 1, 2)]);
}

/// A peer that did not take notice because it followed at the time is told again when it looks.
#[test]
fn a_peer_that_begins_to_look_later_is_told_the_vote_at_once() {
    let mut server = Lone::start(3, 3, disk(&[], 0, 0));
    server.say(1, notification(Following, 0, vote(2, 0, 0)));
    server.sent.clear();
    server.say(1, looking(1, vote(1, 0, 0)));
    assert_eq!(votes(&mut server, 1), [(Looking, 1, 3)]);
    server.say(1, looking(1, vote(1, 0, 0)));
    assert_eq!(votes(&mut server, 1), [], "it has been told while it was LOOKING");
}

/// Votes of, and for, servers that are no voters are not counted (LeaderWithObserverTest,
/// testLeaderOutOfView).
#[test]
fn votes_for_strangers_are_ignored() {
    let mut server = Lone::start(1, 3, disk(&[], 0, 0));
    server.sent.clear();
    server.say(2, looking(1, vote(9, 9, 9)));
    server.say(9, looking(1, vote(3, 9, 9)));
    assert_eq!(votes(&mut server, 3), []);
}

/// A message of a broken connection, or of none, is not heard.
#[test]
fn votes_of_an_older_connection_are_dropped() {
    let mut server = Lone::start(1, 3, disk(&[], 0, 0));
    server.step(Input::PeerConnected {
        peer: NodeId(2),
        generation: Generation(2),
        standing: Standing::Voter,
    });
    server.sent.clear();
    server.say(2, looking(1, vote(3, 9, 9)));
    server.step(Input::PeerLost { peer: NodeId(2), generation: Generation(1) });
    assert_eq!((votes(&mut server, 3), server.role()), (vec![], "LOOKING"));
    let message = looking(1, vote(3, 9, 9));
    server.step(Input::Received { peer: NodeId(2), generation: Generation(2), message });
    assert_eq!(votes(&mut server, 3), [(Looking, 1, 3)]);
}

/// A would-be leader that starts anew frees those who wait for it.
#[test]
fn a_learner_whose_leader_looks_in_a_later_round_looks_too() {
    let mut server = Lone::start(1, 3, disk(&[], 0, 0));
    server.make_follower(3, &[2, 3]);
    server.say(3, looking(1, vote(3, 0, 0)));
    assert_eq!(server.role(), "FOLLOWING", "it just has not finished this round");
    server.say(3, looking(2, vote(3, 0, 0)));
    assert_eq!(server.role(), "LOOKING");
}

/// A learner that is refused again and again does not run through elections without a pause.
#[test]
fn repeated_failures_put_off_the_next_election() {
    let mut server = Lone::start(1, 3, disk(&[], 9, 0));
    let mut delays = Vec::new();
    for _ in 0..6 {
        let session = server.make_follower(3, &[2, 3]);
        let epoch = consensus_zab::Epoch(5);
        server.say(3, ZabMessage::LeaderInfo { session, epoch });
        server.sent.clear();
        let mut delay = 0;
        while votes(&mut server, 2).is_empty() && delay < 1_000 {
            // The first election after a failure is held at once: what it tells is sent already.
            server.pass(1);
            delay += 1;
        }
        delays.push(delay);
    }
    // Without a delay the first repetition of the vote is seen, after 50 ms.
    assert_eq!(delays, [50, 50, 100, 200, 300, 300]);
}

/// 4712, rule 9: what is being written counts, so it is waited for.
#[test]
fn zookeeper_4712_a_vote_waits_for_what_is_being_written() {
    let mut follower = Lone::start(1, 3, disk(&[], 0, 0));
    let session = follower.join(1);
    follower.say(3, lone::proposal(session, 0, lone::entries(&[1, 1])));
    follower.lose(3);
    follower.fire(Timer::Election);
    assert_eq!((follower.role(), votes(&mut follower, 2)), ("LOOKING", vec![]));
    // What arrives meanwhile is not lost.
    follower.say(2, looking(2, vote(2, 1, 1)));
    follower.persist();
    let told = follower.told(2);
    assert_eq!(told[0], "NOTIFICATION LOOKING round=2 vote=n1 peerEpoch=1 zxid=0x100000002");
    assert_eq!(follower.disk.entries.len(), 2);
}
