//! Bugs that other implementations shipped, one a test, each named after where it was found.

mod node;

use std::time::Duration;

use consensus::script::{Cluster, Options};
use consensus::{
    Answer, Generation, Index, Input, Leadership, NodeId, PersistSequence, Position, Refusal,
    Standing, Term, Timer, Token,
};
use consensus_raft::{Raft, RaftMessage};
use node::*;

/// openraft ee460f37: replies to AppendEntries and RequestVote left before the fsync.
#[test]
fn openraft_ee460f37_no_promise_leaves_before_it_is_durable() {
    let mut node = Start::of(3).start();
    let effects = node.receive(2, append(1, (0, 0), entries(1, &[1]), 0));
    assert_eq!(only(&effects).after, effects.persists[0].sequence);
    // Nothing is to be written now, but what the answer promises is not durable yet.
    let effects = node.receive(2, append(1, (0, 0), entries(1, &[1]), 0));
    assert!(effects.persists.is_empty());
    assert_eq!(only(&effects).after, node.asked);
    // Even an answer without entries promises the new term.
    let effects = node.receive(3, append(2, (1, 1), vec![], 0));
    assert_eq!(only(&effects).after, effects.persists[0].sequence);
}

/// openraft a9f696a9: a new leader counted its blank entry before it was flushed.
#[test]
fn openraft_a9f696a9_the_first_entry_of_a_leader_counts_once_durable() {
    let mut node = Start::of(3).log(&[1]).start();
    node.become_leader();
    node.receive(2, matched(2, 2));
    assert_eq!(node.commit(), 0);
    node.persist();
    assert_eq!(node.commit(), 2);
}

/// openraft #1802: an incremental count "committed" with two of five.
#[test]
fn openraft_1802_two_of_five_commit_nothing() {
    let mut node = Start::of(5).start();
    node.become_ready_leader();
    node.propose("a");
    node.persist();
    for _ in 0..3 {
        node.receive(2, matched(1, 2));
        assert_eq!(node.commit(), 1);
    }
    node.receive(4, matched(1, 2));
    assert_eq!(node.commit(), 2);
}

/// openraft #1795: a failed read of the leader's log became an append behind nothing.
#[test]
fn openraft_1795_a_fetch_that_brings_nothing_or_something_else_sends_nothing() {
    let start = Start::of(3).log(&[1, 1, 1]).settings(|settings| settings.memory_log_bytes_max = 1);
    let mut node = start.start();
    node.become_leader();
    node.persist();
    let effects = node.receive(2, conflict(2, 3, (0, 0)));
    let [fetch] = effects.fetches[..] else { panic!("{effects:?}") };
    assert_eq!((fetch.first, fetch.last), (Index(1), Index(4)));
    let fetched = |entries| Input::Fetched { purpose: fetch.purpose, entries };
    for wrong in [vec![], entries(2, &[1]), entries(1, &[2])] {
        let effects = node.step(fetched(wrong));
        assert!(sent(&effects, 2).is_empty(), "{effects:?}");
        assert_eq!(effects.fetches, [fetch], "it asks again");
    }
    let effects = node.step(fetched(entries(1, &[1, 1])));
    let RaftMessage::AppendEntries { previous, entries, .. } = sent(&effects, 2)[0] else {
        panic!("{effects:?}")
    };
    assert_eq!((*previous, entries.len()), (Position::ZERO, 2));
}

/// openraft cecb5de8: acknowledgements from before a log was reverted formed a false quorum.
#[test]
fn openraft_cecb5de8_an_acknowledgement_counts_only_on_its_connection_and_in_its_term() {
    let mut node = Start::of(3).start();
    node.become_ready_leader();
    node.propose("a");
    node.persist();
    let peer = NodeId(2);
    node.step(Input::PeerLost { peer, generation: FIRST });
    node.step(Input::PeerConnected { peer, generation: Generation(2), standing: Standing::Voter });
    node.receive(2, matched(1, 2));
    assert_eq!(node.commit(), 1, "of the connection that broke");
    let message = matched(0, 2);
    node.step(Input::Received { peer, generation: Generation(2), message });
    assert_eq!(node.commit(), 1, "of an earlier term");
    let message = matched(1, 2);
    node.step(Input::Received { peer, generation: Generation(2), message });
    assert_eq!(node.commit(), 2);
}

/// openraft 2024-07-04: a vote was overwritten on merely seeing a higher one.
#[test]
fn openraft_a_refused_request_does_not_replace_a_vote() {
    let mut node = Start::of(3).log(&[1, 1]).term(2).vote(2).start();
    assert!(!granted(&node.receive(3, request_vote(2, (1, 9)))));
    assert!(granted(&node.receive(2, request_vote(2, (1, 9)))), "the vote still stands");
    assert!(!granted(&node.receive(3, pre_vote(2, (1, 9)))));
    let effects = node.receive(3, request_vote(3, (1, 1)));
    assert!(!granted(&effects), "its log is older");
    assert!(granted(&node.receive(2, request_vote(3, (1, 9)))), "in term 3 nobody was voted for");
}

/// openraft 2024-08-02: a vote equal to the leader's was taken for leadership.
#[test]
fn openraft_a_vote_is_not_leadership() {
    let mut node = Start::of(3).start();
    node.receive(2, request_vote(1, (0, 0)));
    node.persist();
    assert_eq!(node.status().leadership, Leadership::None);
    // A node that voted for itself and restarted leads nothing.
    let mut node = Start::of(3).term(3).vote(1).start();
    assert_eq!((node.role(), node.status().leadership), ("follower", Leadership::None));
    let token = Token(1);
    let refused = [Answer::Refused { token, reason: Refusal::NotLeader }];
    assert_eq!(node.step(Input::ReadBarrier { token }).answers, refused);
    assert_eq!(node.step(Input::Sync { token }).answers, refused);
    assert_eq!(node.propose("a").answers, refused);
}

/// openraft #1960: completions of writes out of order stranded progress.
#[test]
fn openraft_1960_completions_may_skip_and_come_late() {
    let mut node = Start::of(3).start();
    node.become_ready_leader();
    let first = node.propose("a").persists[0].sequence;
    let second = node.propose("b").persists[0].sequence;
    let third = node.propose("c").persists[0].sequence;
    node.receive(2, matched(1, 4));
    node.step(Input::Persisted(second));
    assert_eq!(node.commit(), 3);
    node.step(Input::Persisted(first));
    assert_eq!(node.commit(), 3);
    node.step(Input::Persisted(third));
    assert_eq!(node.commit(), 4);
}

/// async-raft: every append removed what came behind its previous entry.
#[test]
fn async_raft_an_append_that_the_log_holds_removes_nothing() {
    let mut node = Start::of(3).term(1).start();
    node.receive(2, append(1, (0, 0), entries(1, &[1, 1, 1]), 0));
    node.persist();
    let effects = node.receive(2, append(1, (0, 0), entries(1, &[1]), 0));
    assert_eq!(node.log(), [1, 1, 1]);
    assert!(effects.persists.is_empty());
    assert_eq!(acknowledged(&effects), 1, "no more than it was told");
    let effects = node.receive(2, append(1, (1, 1), vec![], 0));
    assert_eq!(node.log(), [1, 1, 1]);
    assert!(effects.persists.is_empty());
}

/// async-raft: the wrong quorum for reads.
#[test]
fn async_raft_a_read_needs_a_majority_of_all() {
    let mut node = Start::of(4).start();
    node.become_ready_leader();
    let token = Token(1);
    node.step(Input::ReadBarrier { token });
    assert_eq!(node.receive(2, heartbeat_response(1, 1)).answers, [], "two of four");
    let effects = node.receive(3, heartbeat_response(1, 1));
    assert_eq!(effects.answers, [Answer::Barrier { token, index: Index(1) }]);
}

/// etcd #20418: a retry reused the number of a read, and late answers confirmed newer reads.
#[test]
fn etcd_20418_a_late_answer_confirms_no_later_read() {
    let mut node = Start::of(3).start();
    node.become_ready_leader();
    let (early, late) = (Token(1), Token(2));
    node.step(Input::ReadBarrier { token: early });
    let effects = node.step(Input::ReadBarrier { token: late });
    let RaftMessage::Heartbeat { round, .. } = *sent(&effects, 2)[0] else { panic!("{effects:?}") };
    assert_eq!(round.0, 2, "each has a round of its own");
    let effects = node.receive(2, heartbeat_response(1, 1));
    assert_eq!(effects.answers, [Answer::Barrier { token: early, index: Index(1) }]);
    assert_eq!(node.receive(2, heartbeat_response(1, 1)).answers, []);
    assert_eq!(node.receive(3, heartbeat_response(1, 1)).answers, []);
    let effects = node.receive(3, heartbeat_response(1, 2));
    assert_eq!(effects.answers, [Answer::Barrier { token: late, index: Index(1) }]);
}

/// etcd #20418 again: answers to heartbeats from before a pause, or made up, confirm nothing.
#[test]
fn etcd_20418_answers_from_the_past_or_the_future_confirm_nothing() {
    let mut node = Start::of(3).start();
    node.become_ready_leader();
    node.fire(Timer::Heartbeat);
    node.step(Input::ReadBarrier { token: Token(1) });
    assert_eq!(node.receive(2, heartbeat_response(1, 1)).answers, []);
    assert_eq!(node.receive(2, heartbeat_response(1, 99)).answers, []);
    assert_eq!(node.receive(2, heartbeat_response(1, 2)).answers.len(), 1);
}

/// etcd #7331: a leader that had not committed in its term yet answered reads.
#[test]
fn etcd_7331_a_read_before_the_first_commit_of_the_term_is_refused() {
    let mut node = Start::of(3).log(&[1, 1]).commit(1).start();
    node.become_leader();
    node.persist();
    let token = Token(1);
    let refused = [Answer::Refused { token, reason: Refusal::NotReady }];
    assert_eq!(node.step(Input::ReadBarrier { token }).answers, refused);
    node.receive(2, matched(2, 2));
    assert_eq!(node.step(Input::ReadBarrier { token }).answers, refused);
}

/// etcd #14370: the only member of a cluster acknowledged a write before it was on disk.
#[test]
fn etcd_14370_alone_a_node_commits_what_is_durable() {
    let mut node = Start::of(1).start();
    node.sleep();
    assert_eq!(node.role(), "candidate", "its own vote is not durable");
    node.persist();
    assert_eq!((node.role(), node.commit()), ("leader", 0));
    node.persist();
    assert_eq!(node.commit(), 1);
    let effects = node.propose("a");
    assert!(effects.deliveries.is_empty());
    assert_eq!(delivered(&node.persist()), [2]);
}

/// etcd's interaction test `async_storage_writes_append_aba_race`: a write of entries that were
/// replaced meanwhile completes late, and says nothing about those that stand there now.
#[test]
fn etcd_aba_race_a_late_completion_does_not_count_for_what_was_written_over_it() {
    let mut node = Start::of(3).term(1).start();
    let first = node.receive(2, append(1, (0, 0), entries(1, &[1, 1]), 0));
    let second = node.receive(3, append(2, (0, 0), entries(1, &[2]), 0));
    let third = node.receive(2, append(3, (0, 0), entries(1, &[3, 3]), 0));
    assert_eq!(node.status().durable, Index(0));
    node.step(Input::Persisted(first.persists[0].sequence));
    assert_eq!(node.status().durable, Index(0), "1@1 and 2@1 are durable, but gone");
    node.step(Input::Persisted(second.persists[0].sequence));
    assert_eq!(node.status().durable, Index(0));
    node.step(Input::Persisted(third.persists[0].sequence));
    assert_eq!(node.status().durable, Index(2));
    assert_eq!(node.log(), [3, 3]);
}

/// hashicorp/raft #661: the term and the vote were persisted by two writes.
#[test]
fn hashicorp_661_term_and_vote_are_one_write() {
    let mut node = Start::of(3).start();
    let effects = node.receive(2, request_vote(7, (0, 0)));
    let [persist] = &effects.persists[..] else { panic!("{effects:?}") };
    assert_eq!(effects.persists.len(), 1);
    let promise = persist.promise.clone().expect("a promise");
    let mut start = Start::of(3);
    start.promise = consensus::Wire::from_bytes(promise).expect("as it was written");
    let mut restarted = start.start();
    assert_eq!(restarted.term(), 7);
    assert!(!granted(&restarted.receive(3, request_vote(7, (6, 9)))));
    assert!(granted(&restarted.receive(2, request_vote(7, (0, 0)))));
}

/// hashicorp/raft #606: the followers refused the PreVote of their own former leader, and with two of
/// three up there was no leader any more.
#[test]
fn hashicorp_606_the_former_leader_itself_may_be_voted_for() {
    let mut node = Start::of(3).start();
    node.receive(2, heartbeat(1, 0));
    assert!(granted(&node.receive(2, pre_vote(2, (1, 1)))));
    assert!(granted(&node.receive(2, request_vote(2, (1, 1)))));
}

/// NodeDB #161: the term and vote were not persisted at all.
#[test]
fn nodedb_161_a_vote_survives_a_restart() {
    let mut cluster = Cluster::<Raft>::new(Options::new(3)).expect("started");
    let [one, two, three] = [1, 2, 3].map(NodeId);
    cluster.run(Duration::from_secs(1)).expect("lawful");
    let term = cluster.status(three).term;
    cluster.crash(three, 0).expect("lawful");
    cluster.restart(three).expect("lawful");
    assert_eq!(cluster.status(three).term, term);
    // Both others ask for a vote in the next term: only the first one gets it, restart or not.
    cluster.partition(&[vec![three], vec![one, two]]).expect("lawful");
    cluster.heal().expect("lawful");
    let term = term.next();
    let last = cluster.status(three).last;
    let ask = |cluster: &mut Cluster<Raft>, peer| {
        let generation = cluster.connection(three, peer).expect("connected");
        let message = RaftMessage::RequestVote { term, last, transfer: false };
        cluster.input(three, Input::Received { peer, generation, message }).expect("lawful");
        cluster.under_way(three, peer).last().cloned()
    };
    let response = |granted| RaftMessage::RequestVoteResponse { term, candidacy: term, granted };
    assert_eq!(ask(&mut cluster, one), Some(response(true)));
    cluster.crash(three, 0).expect("lawful");
    cluster.restart(three).expect("lawful");
    assert_eq!(ask(&mut cluster, two), Some(response(false)));
    assert_eq!(ask(&mut cluster, one), Some(response(true)));
}

/// logcabin #44: an entry of an earlier term was committed because a majority had it.
#[test]
fn logcabin_44_an_entry_of_an_earlier_term_is_not_committed_by_counting() {
    let mut node = Start::of(3).log(&[1, 1]).start();
    node.become_leader();
    node.persist();
    node.receive(2, matched(2, 2));
    node.receive(3, matched(2, 2));
    assert_eq!(node.commit(), 0);
}

/// raft-rs #345: reads waited forever although the quorum was there.
#[test]
fn raft_rs_345_a_read_outlives_the_connections_that_it_began_on() {
    let mut node = Start::of(3).start();
    node.become_ready_leader();
    let token = Token(1);
    node.step(Input::ReadBarrier { token });
    for peer in [2, 3].map(NodeId) {
        node.step(Input::PeerLost { peer, generation: FIRST });
        let effects = node.step(Input::PeerConnected {
            peer,
            generation: Generation(2),
            standing: Standing::Voter,
        });
        assert!(effects.messages.iter().any(|sent| sent.to == peer), "{effects:?}");
    }
    node.fire(Timer::Heartbeat);
    let (peer, generation) = (NodeId(2), Generation(2));
    let message = heartbeat_response(1, 2);
    let effects = node.step(Input::Received { peer, generation, message });
    assert_eq!(effects.answers, [Answer::Barrier { token, index: Index(1) }]);
}

/// A heartbeat of etcd's early raft let a follower commit beyond what it shared with the leader.
#[test]
fn etcd_a_heartbeat_commits_only_what_matches() {
    let mut node = Start::of(3).log(&[1, 1, 1]).start();
    node.receive(2, heartbeat(2, 3));
    assert_eq!(node.commit(), 0, "nothing is known to match");
    node.receive(2, append(2, (1, 1), vec![], 0));
    node.receive(2, heartbeat(2, 3));
    assert_eq!(node.commit(), 1);
    assert_eq!(node.status().term, Term(2));
    assert_eq!(node.asked, PersistSequence(1));
}
