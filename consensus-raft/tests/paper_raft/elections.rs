//! Terms, roles and elections: §5.1 and §5.2.

use std::collections::BTreeSet;

use consensus::{Index, Leadership, NodeId, Position, Term, Timer};
use consensus_raft::{AppendOutcome, RaftMessage};

use crate::following;
use crate::node::*;

/// A node in each role, in term 1 (a follower and a pre-candidate know of no leader there).
fn each_role() -> [Node; 4] {
    let mut pre_candidate = Start::of(3).term(1).start();
    pre_candidate.fire(Timer::Election);
    let mut candidate = Start::of(3).start();
    candidate.become_candidate();
    let mut leader = Start::of(3).start();
    leader.become_leader();
    [Start::of(3).term(1).start(), pre_candidate, candidate, leader]
}

#[test]
fn a_newer_term_makes_everybody_its_follower_section_5_1() {
    for mut node in each_role() {
        let role = node.role();
        node.receive(2, append(2, (0, 0), vec![], 0));
        assert_eq!((node.role(), node.term()), ("follower", 2), "was {role}");
        assert_eq!(node.status().leadership, following(2, 2));
    }
}

#[test]
fn a_newer_term_in_an_answer_deposes_candidates_and_leaders_section_5_1() {
    for mut node in each_role().into_iter().skip(1) {
        let effects = node.receive(2, vote_response(7, false));
        assert_eq!((node.role(), node.term()), ("follower", 7));
        assert_eq!(node.status().leadership, Leadership::None);
        let promised = effects.persists.iter().any(|persist| persist.promise.is_some());
        assert!(promised, "the new term is written");
    }
}

#[test]
fn a_request_of_an_older_term_is_refused_with_the_current_one_section_5_1() {
    let mut node = Start::of(3).term(5).start();
    let effects = node.receive(2, append(4, (0, 0), entries(1, &[4]), 0));
    let RaftMessage::AppendEntriesResponse { term, outcome } = only(&effects).message else {
        panic!("{effects:?}")
    };
    assert_eq!((term, outcome), (Term(5), AppendOutcome::Stale));
    assert!(node.log().is_empty());

    let effects = node.receive(2, request_vote(4, (3, 9)));
    assert!(!granted(&effects));
    assert_eq!(node.status().leadership, Leadership::None);

    let effects = node.receive(2, heartbeat(4, 0));
    let answered =
        |term| matches!(term, RaftMessage::HeartbeatResponse { term, .. } if term == Term(5));
    assert!(answered(only(&effects).message.clone()));
    assert_eq!(node.status().leadership, Leadership::None);
}

#[test]
fn an_answer_of_an_older_term_counts_for_nothing_section_5_1() {
    let mut node = Start::of(3).start();
    node.become_leader();
    node.persist();
    node.receive(2, append(4, (0, 0), vec![], 0));
    node.become_leader();
    assert_eq!(node.term(), 5);
    node.receive(2, matched(1, 1));
    node.receive(3, matched(1, 1));
    assert_eq!(node.commit(), 0);
    assert_eq!(node.status().peers[0].matched, Some(Index(0)));
}

#[test]
fn nodes_start_as_followers_section_5_2() {
    let node = Start::of(3).start();
    assert_eq!(node.role(), "follower");
    assert_eq!(node.status().leadership, Leadership::None);
}

#[test]
fn a_leader_sends_heartbeats_to_all_section_5_2() {
    let mut node = Start::of(3).start();
    node.become_ready_leader();
    let interval = Start::of(3).settings.heartbeat_interval;
    let before = node.now.time;
    let effects = node.sleep();
    assert_eq!(node.now.time, before + interval);
    for peer in [2, 3] {
        let [RaftMessage::Heartbeat { term: Term(1), .. }] = sent(&effects, peer)[..] else {
            panic!("{effects:?}")
        };
    }
}

#[test]
fn a_follower_that_hears_nobody_becomes_a_candidate_of_the_next_term_section_5_2() {
    let mut node = Start::of(3).term(1).start();
    // The silence, then the random delay.
    node.sleep();
    assert_eq!(node.role(), "follower");
    let asked = node.sleep();
    let attempt = attempt(&asked).expect("it asks for PreVotes");
    let effects = node.receive(2, pre_vote_response(1, attempt, true));
    assert_eq!((node.role(), node.term()), ("candidate", 2));
    // Its own vote is in the write; the requests wait for that.
    let [persist] = &effects.persists[..] else { panic!("{effects:?}") };
    assert!(persist.promise.is_some());
    for outbound in &effects.messages {
        assert_eq!(outbound.after, persist.sequence);
        let expected =
            RaftMessage::RequestVote { term: Term(2), last: Position::ZERO, transfer: false };
        assert_eq!(outbound.message, expected);
    }
    assert_eq!(effects.messages.len(), 2);
}

#[test]
fn a_follower_that_hears_its_leader_stays_a_follower_section_5_2() {
    let mut node = Start::of(3).term(1).start();
    for _ in 0..100 {
        node.pass(50);
        node.receive(2, heartbeat(1, 0));
        let (due, _) = node.deadline().expect("it watches");
        assert_eq!(due, node.now.time + Start::of(3).settings.election_timeout);
    }
    assert_eq!(node.role(), "follower");
}

#[test]
fn a_candidate_without_an_answer_begins_a_new_election_section_5_2() {
    let mut node = Start::of(3).start();
    node.become_candidate();
    node.persist();
    assert_eq!(node.term(), 1);
    let asked = node.sleep();
    let attempt = attempt(&asked).expect("it asks again");
    node.receive(3, pre_vote_response(1, attempt, true));
    assert_eq!((node.role(), node.term()), ("candidate", 2));
}

#[test]
fn a_majority_of_votes_makes_a_leader_section_5_2() {
    // Voters, votes besides its own, refusals, and what comes of it.
    let cases = [
        (1, 0, 0, "leader"),
        (3, 1, 0, "leader"),
        (3, 2, 0, "leader"),
        (3, 0, 0, "candidate"),
        (3, 0, 1, "candidate"),
        (3, 0, 2, "pre-candidate"),
        (5, 1, 0, "candidate"),
        (5, 1, 2, "candidate"),
        (5, 2, 0, "leader"),
        (5, 1, 3, "pre-candidate"),
        (5, 2, 2, "leader"),
    ];
    for (voters, votes, refusals, role) in cases {
        let mut node = Start::of(voters).start();
        node.become_candidate();
        node.persist();
        for peer in 2..2 + votes {
            node.receive(peer, vote_response(1, true));
        }
        for peer in 2 + votes..2 + votes + refusals {
            node.receive(peer, vote_response(1, false));
        }
        assert_eq!(node.role(), role, "{votes} votes and {refusals} refusals of {voters}");
        assert_eq!(node.term(), 1);
    }
}

#[test]
fn a_node_votes_once_in_a_term_section_5_2() {
    // For whom it has voted, who asks, whether it votes.
    let cases = [(None, 2, true), (None, 3, true), (Some(2), 2, true), (Some(2), 3, false)];
    for (vote, candidate, votes) in cases {
        let mut start = Start::of(3).term(1);
        start.promise.vote = vote.map(NodeId);
        let mut node = start.start();
        let effects = node.receive(candidate, request_vote(1, (0, 0)));
        assert_eq!(granted(&effects), votes, "voted for {vote:?}, n{candidate} asks");
    }
}

#[test]
fn a_vote_is_durable_before_it_leaves_section_5_2() {
    let mut node = Start::of(3).start();
    let effects = node.receive(2, request_vote(1, (0, 0)));
    let [persist] = &effects.persists[..] else { panic!("{effects:?}") };
    assert!(persist.promise.is_some());
    assert!(granted(&effects));
    assert_eq!(only(&effects).after, persist.sequence);
}

#[test]
fn a_candidate_follows_a_leader_of_its_term_section_5_2() {
    for message in [append(1, (0, 0), vec![], 0), heartbeat(1, 0)] {
        let mut node = Start::of(3).start();
        node.become_candidate();
        node.receive(2, message);
        assert_eq!((node.role(), node.term()), ("follower", 1));
        assert_eq!(node.status().leadership, following(2, 1));
    }
}

#[test]
fn a_candidate_ignores_a_leader_of_an_older_term_section_5_2() {
    let mut node = Start::of(3).term(4).start();
    node.become_candidate();
    node.receive(2, append(4, (0, 0), vec![], 0));
    assert_eq!((node.role(), node.term()), ("candidate", 5));
}

/// How long a node waits, with that seed, from the last sign of life to its question.
fn wait(seed: u64, until_silent: impl Fn(&mut Node)) -> u64 {
    let mut node = Start::of(3).settings(|settings| settings.seed = seed).start();
    until_silent(&mut node);
    let start = node.now.time;
    for _ in 0..10 {
        if attempt(&node.sleep()).is_some() {
            return node.now.time.since(start).as_millis() as u64;
        }
    }
    panic!("it never asks")
}

#[test]
fn waits_of_followers_are_random_and_bounded_section_5_2() {
    let waits: BTreeSet<u64> =
        (0..200).map(|seed| wait(seed, |node| drop(node.receive(2, heartbeat(1, 0))))).collect();
    assert!(waits.iter().all(|wait| (300..=330).contains(wait)), "{waits:?}");
    assert!(waits.len() > 20, "{waits:?}");
}

#[test]
fn waits_of_candidates_are_random_and_bounded_section_5_2() {
    let split = |node: &mut Node| {
        node.become_candidate();
        node.persist();
        node.receive(2, vote_response(1, false));
        node.receive(3, vote_response(1, false));
        assert_eq!(node.role(), "pre-candidate");
    };
    let waits: BTreeSet<u64> = (0..200).map(|seed| wait(seed, split)).collect();
    assert!(waits.iter().all(|wait| (1..=30).contains(wait)), "{waits:?}");
    assert!(waits.len() > 20, "{waits:?}");
}

#[test]
fn simultaneous_timeouts_are_rare_section_5_2() {
    let conflicts = (0..300u64)
        .filter(|round| {
            let wait =
                |id: u64| wait(round * 5 + id, |node| drop(node.receive(2, heartbeat(1, 0))));
            let mut waits: Vec<u64> = (0..5).map(wait).collect();
            waits.sort_unstable();
            waits[0] == waits[1]
        })
        .count();
    // Two of five within the same millisecond of thirty, and first.
    assert!(conflicts <= 75, "{conflicts} of 300");
}
