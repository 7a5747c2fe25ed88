//! Rules of this implementation that the paper leaves open, one a test.

mod node;

use consensus::{
    Generation, Index, Input, Leadership, Message, NodeId, Standing, Term, Timer, Token,
};
use consensus_raft::{AppendOutcome, RaftMessage};
use node::*;

const SECOND: Generation = Generation(2);

fn reconnect(node: &mut Node, peer: u64) -> consensus::Effects<RaftMessage> {
    let peer = NodeId(peer);
    node.step(Input::PeerLost { peer, generation: FIRST });
    node.step(Input::PeerConnected { peer, generation: SECOND, standing: Standing::Voter })
}

#[test]
fn an_answer_owed_to_a_broken_connection_is_not_sent_on_the_next() {
    let mut node = Start::of(3).term(1).start();
    let peer = NodeId(2);
    let effects = node.steps([
        received(2, append(1, (0, 0), entries(1, &[1]), 0)),
        Input::PeerLost { peer, generation: FIRST },
        Input::PeerConnected { peer, generation: SECOND, standing: Standing::Voter },
    ]);
    assert_eq!(effects.persists.len(), 1);
    assert!(effects.messages.is_empty(), "{effects:?}");
}

#[test]
fn a_refusal_of_another_probe_than_the_last_is_ignored() {
    let mut node = Start::of(3).log(&[1, 1, 1]).start();
    node.become_leader();
    assert!(sent(&node.receive(2, conflict(2, 2, (1, 1))), 2).is_empty());
    let effects = node.receive(2, conflict(2, 3, (1, 1)));
    assert_eq!(appended(sent(&effects, 2)[0])[0].index(), Index(2));
    assert!(sent(&node.receive(2, conflict(2, 3, (1, 1))), 2).is_empty(), "answered already");
}

#[test]
fn a_peer_that_lost_what_it_acknowledged_is_not_asked_without_end() {
    let mut node = Start::of(3).log(&[1, 1, 1]).start();
    node.become_leader();
    node.receive(2, matched(2, 3));
    reconnect(&mut node, 2);
    let message = conflict(2, 3, (1, 1));
    let effects = node.step(Input::Received { peer: NodeId(2), generation: SECOND, message });
    assert!(sent(&effects, 2).is_empty());
}

#[test]
fn a_probe_without_an_answer_is_sent_again_after_the_election_timeout() {
    let mut node = Start::of(3).start();
    let effects = node.become_leader();
    assert_eq!(appended(sent(&effects, 2)[0]).len(), 1);
    let probes = |effects: &consensus::Effects<RaftMessage>| {
        let probe = |message: &&RaftMessage| matches!(message, RaftMessage::AppendEntries { .. });
        sent(effects, 2).into_iter().filter(probe).count()
    };
    node.pass(299);
    assert_eq!(probes(&node.fire(Timer::Heartbeat)), 0);
    node.pass(1);
    assert_eq!(probes(&node.fire(Timer::Heartbeat)), 1);
    assert_eq!(probes(&node.fire(Timer::Heartbeat)), 0);
}

#[test]
fn a_read_is_confirmed_only_by_connections_that_still_stand() {
    let mut node = Start::of(5).start();
    node.become_ready_leader();
    node.step(Input::ReadBarrier { token: Token(1) });
    node.receive(2, heartbeat_response(1, 1));
    reconnect(&mut node, 2);
    assert_eq!(node.receive(3, heartbeat_response(1, 1)).answers, []);
    assert_eq!(node.receive(4, heartbeat_response(1, 1)).answers.len(), 1);
}

#[test]
fn a_deposed_leader_campaigns_again_soon() {
    let mut node = Start::of(3).start();
    node.become_ready_leader();
    node.receive(2, heartbeat_response(7, 1));
    let deposed = node.now.time;
    assert!(attempt(&node.sleep()).is_some());
    assert!(node.now.time.since(deposed) <= Start::of(3).settings.election_jitter);
}

#[test]
fn a_vote_is_refused_in_a_term_that_has_a_leader() {
    let mut node = Start::of(3).start();
    node.receive(2, heartbeat(1, 0));
    node.pass(301);
    assert!(!granted(&node.receive(3, request_vote(1, (0, 0)))));
    assert!(granted(&node.receive(3, request_vote(2, (1, 1)))));
}

#[test]
fn an_answer_to_an_earlier_attempt_at_a_pre_vote_counts_for_nothing() {
    let mut node = Start::of(5).start();
    let first = attempt(&node.fire(Timer::Election)).expect("it asks");
    node.receive(2, pre_vote_response(0, first, true));
    let second = attempt(&node.fire(Timer::Election)).expect("it asks again");
    node.receive(3, pre_vote_response(0, first, true));
    node.receive(4, pre_vote_response(0, second, true));
    assert_eq!(node.role(), "pre-candidate");
    node.receive(5, pre_vote_response(0, second, true));
    assert_eq!(node.role(), "candidate");
}

#[test]
fn a_new_connection_is_asked_for_what_the_campaign_needs() {
    let mut node = Start::of(3).start();
    let asked = attempt(&node.fire(Timer::Election)).expect("it asks");
    assert_eq!(attempt(&reconnect(&mut node, 2)), Some(asked));
    let mut node = Start::of(3).start();
    let requests = node.become_candidate();
    let effects = reconnect(&mut node, 2);
    assert_eq!(sent(&effects, 2), sent(&requests, 2));
    assert_eq!(only(&effects).after, only_to(&requests, 2).after);
}

fn only_to(
    effects: &consensus::Effects<RaftMessage>,
    to: u64,
) -> &consensus::Outbound<RaftMessage> {
    effects.messages.iter().find(|outbound| outbound.to == NodeId(to)).expect("one to that peer")
}

#[test]
fn nobody_is_asked_while_too_few_are_connected() {
    let mut node = Start::of(5).start();
    for peer in [2, 3, 4].map(NodeId) {
        node.step(Input::PeerLost { peer, generation: FIRST });
    }
    let effects = node.fire(Timer::Election);
    assert!(effects.messages.is_empty());
    assert_eq!(node.role(), "pre-candidate");
    let before = node.now.time;
    let peer = NodeId(2);
    let (due, _) = node
        .step(Input::PeerConnected { peer, generation: SECOND, standing: Standing::Voter })
        .deadline
        .expect("a new connection is new hope");
    assert!(due.since(before) <= Start::of(5).settings.election_jitter);
    assert!(attempt(&node.sleep()).is_some());
}

#[test]
fn a_suspected_leader_that_is_heard_again_is_followed_again() {
    let mut node = Start::of(3).start();
    node.receive(2, heartbeat(1, 0));
    reconnect(&mut node, 2);
    assert_eq!(node.status().leadership, Leadership::None);
    let message = heartbeat(1, 0);
    node.step(Input::Received { peer: NodeId(2), generation: SECOND, message });
    let Leadership::Following { leader: NodeId(2), .. } = node.status().leadership else {
        panic!("{:?}", node.status())
    };
    let (due, _) = node.deadline().expect("it watches");
    assert_eq!(due, node.now.time + Start::of(3).settings.election_timeout);
}

#[test]
fn a_connection_loss_is_no_suspicion_where_that_is_switched_off() {
    let start = Start::of(3).settings(|settings| settings.suspect_on_connection_loss = false);
    let mut node = start.start();
    node.receive(2, heartbeat(1, 0));
    reconnect(&mut node, 2);
    assert_ne!(node.status().leadership, Leadership::None);
}

#[test]
fn a_loop_that_wakes_late_suspects_nobody_at_once() {
    let mut node = Start::of(3).start();
    node.receive(2, heartbeat(1, 0));
    node.pass(700);
    let effects = node.fire(Timer::Election);
    assert!(effects.events.is_empty(), "{effects:?}");
    assert_eq!(node.deadline().expect("it goes on watching").0, node.now.time + timeout());
    let mut leader = Start::of(3).start();
    leader.become_ready_leader();
    leader.pass(700);
    leader.fire(Timer::Quorum);
    assert_eq!(leader.role(), "leader");
    leader.pass(300);
    leader.fire(Timer::Quorum);
    assert_eq!(leader.role(), "follower");
}

fn timeout() -> std::time::Duration {
    Start::of(3).settings.election_timeout
}

#[test]
fn a_commit_index_alone_is_not_answered() {
    let mut node = Start::of(3).term(1).start();
    node.receive(2, append(1, (0, 0), entries(1, &[1]), 0));
    let RaftMessage::AppendEntries { term, previous, entries, commit, .. } =
        append(1, (1, 1), vec![], 1)
    else {
        unreachable!("as it was made")
    };
    let message = RaftMessage::AppendEntries { term, previous, entries, commit, answer: false };
    let effects = node.receive(2, message);
    assert!(effects.messages.is_empty());
    assert_eq!(delivered(&effects), [1]);
}

#[test]
fn what_one_flush_received_is_acknowledged_once() {
    let mut node = Start::of(3).term(1).start();
    let effects = node.steps([
        received(2, append(1, (0, 0), entries(1, &[1]), 0)),
        received(2, append(1, (1, 1), entries(2, &[1]), 0)),
        received(2, append(1, (1, 2), entries(3, &[1]), 1)),
    ]);
    assert_eq!(effects.persists.len(), 1);
    let range = AppendOutcome::Matched { first: Index(1), up_to: Index(3) };
    assert_eq!(outcome(&effects), range, "the frame stands for all that it answers");
}

#[test]
fn a_frame_counts_for_as_many_messages_as_its_range_holds() {
    let weights = [
        (append(1, (0, 0), vec![], 0), 1),
        (append(1, (0, 0), vec![], 7), 1),
        (append(1, (0, 0), entries(1, &[1, 1, 1]), 0), 3),
        // The commit index rides with the entries, as in the paper.
        (append(1, (0, 0), entries(1, &[1, 1, 1]), 7), 3),
        (matched(1, 3), 3),
        (acknowledgement(1, 3, 3), 1),
        (acknowledgement(1, 4, 3), 1),
        (conflict(1, 3, (1, 1)), 1),
        (heartbeat(1, 7), 1),
        (heartbeat_response(1, 1), 1),
    ];
    for (message, weight) in weights {
        assert_eq!(message.weight(), weight, "{message}");
    }
}

fn acknowledgement(term: u64, first: u64, up_to: u64) -> RaftMessage {
    let outcome = AppendOutcome::Matched { first: Index(first), up_to: Index(up_to) };
    RaftMessage::AppendEntriesResponse { term: Term(term), outcome }
}

/// A leads term 1, and a heartbeat to B stalls. A is deposed, leads again in term 3, and B is in term
/// 3 too when it hears the old heartbeat. Its answer must confirm no read of term 3.
#[test]
fn the_answer_to_a_heartbeat_of_an_earlier_reign_confirms_no_read() {
    let mut node = Start::of(3).term(2).start();
    node.become_ready_leader();
    assert_eq!(node.term(), 3);
    node.step(Input::ReadBarrier { token: Token(1) });
    let late = node.receive(2, late_heartbeat_response(3, 1, 1));
    assert_eq!(late.answers, [], "it was asked in term 1");
    assert_eq!(node.receive(2, heartbeat_response(3, 1)).answers.len(), 1);
}

/// Nor does it prove that the follower still hears this leader (CheckQuorum, thesis §6.2), and as
/// little does the refusal of entries that were sent in an earlier reign.
#[test]
fn the_answer_to_an_earlier_reign_is_no_sign_of_a_quorum() {
    let stale = AppendOutcome::Stale;
    let refusal = RaftMessage::AppendEntriesResponse { term: Term(3), outcome: stale };
    for late in [late_heartbeat_response(3, 1, 1), refusal] {
        let mut node = Start::of(3).term(2).start();
        node.become_ready_leader();
        node.pass(200);
        node.receive(2, late);
        node.pass(100);
        node.fire(Timer::Quorum);
        assert_eq!(node.role(), "follower", "nobody answered for an election timeout");
    }
}

#[test]
fn a_heartbeat_of_an_earlier_term_is_answered_as_such() {
    let mut node = Start::of(3).term(3).start();
    let effects = node.receive(2, heartbeat(1, 0));
    assert_eq!(only(&effects).message, late_heartbeat_response(3, 1, 1));
}

#[test]
fn a_vote_for_an_earlier_candidacy_counts_for_nothing() {
    let mut node = Start::of(3).start();
    node.become_candidate();
    let asked = node.fire(Timer::Election);
    let attempt = attempt(&asked).expect("its campaign was not answered, so it asks again");
    node.receive(3, pre_vote_response(1, attempt, true));
    node.persist();
    assert_eq!((node.role(), node.term()), ("candidate", 2));
    node.receive(2, vote_response(1, true));
    assert_eq!(node.role(), "candidate", "that vote was given in term 1");
    node.receive(2, vote_response(2, true));
    assert_eq!(node.role(), "leader");
}

#[test]
fn a_vote_that_is_repeated_waits_for_the_same_write() {
    let mut node = Start::of(3).start();
    let first = node.receive(2, request_vote(1, (0, 0)));
    assert_eq!(only(&first).after, first.persists[0].sequence);
    // The candidate asks again on a new connection, say, and the disk is slow.
    let again = node.receive(2, request_vote(1, (0, 0)));
    assert!(granted(&again) && again.persists.is_empty());
    assert_eq!(only(&again).after, first.persists[0].sequence);
}
