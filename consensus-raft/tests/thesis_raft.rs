//! What Ongaro's dissertation (2014) claims beyond the paper, one claim a test: sharing rounds among
//! reads, giving up without a majority, PreVote, writing and sending beside one another.

mod node;

use consensus::{Consensus, Input, PersistSequence, Position, Token};
use node::*;

#[test]
fn reads_that_arrive_together_share_a_round_section_6_4() {
    let mut node = Start::of(3).start();
    node.become_ready_leader();
    let read = |token| Input::ReadBarrier { token: Token(token) };
    let effects = node.steps((1..=50).map(read));
    for peer in [2, 3] {
        assert_eq!(sent(&effects, peer).len(), 1);
    }
    assert_eq!(node.receive(3, heartbeat_response(1, 1)).answers.len(), 50);
}

#[test]
fn a_leader_without_a_majority_gives_up_section_6_2() {
    let mut node = Start::of(3).start();
    node.become_ready_leader();
    let since = node.now.time;
    // Heartbeats, and a check at the end of the timeout.
    for _ in 0..20 {
        if node.role() == "leader" {
            node.sleep();
        }
    }
    let waited = node.now.time.since(since);
    assert_eq!(waited, Start::of(3).settings.election_timeout);
    assert_eq!((node.role(), node.term()), ("follower", 1));
}

#[test]
fn a_leader_with_a_majority_goes_on_section_6_2() {
    let mut node = Start::of(5).start();
    node.become_ready_leader();
    for _ in 0..100 {
        node.sleep();
        let term = node.term();
        for peer in [2, 3] {
            node.receive(peer, heartbeat_response(term, 1));
        }
    }
    assert_eq!((node.role(), node.term()), ("leader", 1));
}

#[test]
fn a_pre_vote_changes_nothing_section_9_6() {
    let mut node = Start::of(3).term(3).vote(3).start();
    let before = node.status();
    let effects = node.receive(2, pre_vote(4, (0, 0)));
    assert!(granted(&effects));
    assert!(effects.persists.is_empty());
    assert_eq!(node.status(), before);
    assert_eq!(only(&effects).after, PersistSequence(0));
}

#[test]
fn a_pre_vote_is_refused_while_a_leader_is_heard_section_9_6() {
    let mut node = Start::of(3).start();
    node.receive(2, heartbeat(1, 0));
    assert!(!granted(&node.receive(3, pre_vote(2, (1, 9)))));
    node.pass(301);
    assert!(granted(&node.receive(3, pre_vote(2, (1, 9)))));
}

#[test]
fn a_node_that_can_not_win_does_not_raise_its_term_section_9_6() {
    let mut node = Start::of(3).term(1).start();
    for _ in 0..20 {
        let asked = node.sleep();
        if let Some(attempt) = attempt(&asked) {
            node.receive(2, pre_vote_response(1, attempt, false));
            node.receive(3, pre_vote_response(1, attempt, false));
        }
    }
    assert_eq!((node.role(), node.term()), ("pre-candidate", 1));
}

#[test]
fn a_leader_counts_itself_only_for_what_is_durable_section_10_2_1() {
    let mut node = Start::of(3).start();
    node.become_ready_leader();
    let effects = node.propose("some data");
    let sequence = effects.persists[0].sequence;
    assert!(
        effects.messages.iter().all(|outbound| outbound.after == PersistSequence(0)),
        "it sends while it writes"
    );
    node.receive(2, matched(1, 2));
    assert_eq!(node.commit(), 1);
    node.step(Input::Persisted(sequence));
    assert_eq!(node.commit(), 2);
}

#[test]
fn followers_alone_may_be_the_majority_section_10_2_1() {
    let mut node = Start::of(3).start();
    node.become_ready_leader();
    node.propose("some data");
    node.receive(2, matched(1, 2));
    node.receive(3, matched(1, 2));
    assert_eq!(node.commit(), 2, "the leader's own disk is slow");
}

#[test]
fn messages_are_pipelined_section_10_2_2() {
    let mut node = Start::of(3).start();
    node.become_ready_leader();
    for (index, command) in [(2, "a"), (3, "b"), (4, "c")] {
        let effects = node.propose(command);
        for peer in [2, 3] {
            let [message] = sent(&effects, peer)[..] else { panic!("{effects:?}") };
            let indexes: Vec<u64> = appended(message).iter().map(|entry| entry.index().0).collect();
            assert_eq!(indexes, [index], "nobody has answered yet");
        }
    }
}

#[test]
fn proposals_of_one_flush_share_a_write_and_a_message_section_10_2_2() {
    let mut node = Start::of(3).start();
    node.become_ready_leader();
    let propose = |token| Input::Propose { token: Token(token), command: "x".into() };
    let effects = node.steps((1..=50).map(propose));
    assert_eq!(effects.persists.len(), 1);
    assert_eq!(effects.persists[0].entries.len(), 50);
    for peer in [2, 3] {
        assert_eq!(sent(&effects, peer).len(), 1);
        assert_eq!(appended(sent(&effects, peer)[0]).len(), 50);
    }
    assert_eq!(node.raft.describe(Position::new(1, 51)), "term=1 index=51");
}
