//! Snapshots (§7 of the paper), one rule a test, and what other implementations got wrong with them.

mod node;

use consensus::{
    Consensus, Effects, Fetch, Generation, Index, Input, NodeId, Position, Snapshot, SnapshotOffer,
    Standing, Term, Timer,
};
use consensus_raft::{AppendOutcome, RaftMessage};
use node::*;

/// A snapshot with these terms and their first indexes, up to an index of the last of them.
fn snapshot(terms: &[(u64, u64)], index: u64) -> Snapshot {
    let position = Position::new(terms.last().map_or(0, |&(term, _)| term), index);
    let terms = terms.iter().map(|&(term, first)| (Index(first), Term(term))).collect();
    Snapshot { position, terms, handle: 7 }
}

fn snapshot_received(from: u64, term: u64, snapshot: Snapshot) -> Input<RaftMessage> {
    let message = RaftMessage::InstallSnapshot { term: Term(term) };
    Input::SnapshotReceived { peer: NodeId(from), generation: FIRST, snapshot, message }
}

fn installs(effects: &Effects<RaftMessage>) -> Vec<Snapshot> {
    effects.persists.iter().filter_map(|persist| persist.install.clone()).collect()
}

/// Figure 13, steps 7 and 8: the whole log is discarded, and the state machine is reset.
#[test]
fn paper_7_a_log_that_does_not_hold_the_position_is_replaced() {
    for terms in [&[][..], &[1], &[1, 1, 1, 1, 1], &[1, 1, 1, 1, 1, 1, 1]] {
        let mut node = Start::of(3).log(terms).start();
        let snapshot = snapshot(&[(1, 1), (2, 4)], 5);
        let effects = node.step(snapshot_received(2, 2, snapshot.clone()));
        assert_eq!(installs(&effects), std::slice::from_ref(&snapshot));
        assert!(effects.persists[0].promise.is_some(), "the newer term is in the same write");
        assert_eq!(only(&effects).after, effects.persists[0].sequence, "the answer waits for it");
        assert_eq!(acknowledged(&effects), 5);
        assert_eq!((effects.install, effects.deliveries), (None, vec![]), "nothing before that");
        assert_eq!(node.status().last, Position::new(2, 5));
        let effects = node.persist();
        assert_eq!(effects.install, Some(snapshot));
        assert_eq!((node.commit(), node.status().durable), (5, Index(5)));
    }
}

/// Figure 13, step 6: what follows the position is retained, and answered for.
#[test]
fn paper_7_a_log_that_holds_the_position_keeps_what_is_behind_it() {
    let mut node = Start::of(3).log(&[1, 1, 1, 1]).start();
    let effects = node.step(snapshot_received(2, 1, snapshot(&[(1, 1)], 2)));
    assert_eq!(installs(&effects), []);
    assert_eq!(node.log(), [1, 1, 1, 1]);
    assert_eq!(acknowledged(&effects), 2);
    assert_eq!(node.commit(), 2, "what is in a snapshot is committed");
    assert_eq!(delivered(&effects), [1, 2], "as entries");
}

/// A snapshot that was overtaken by entries says nothing new.
#[test]
fn paper_7_a_snapshot_of_what_is_committed_already_is_only_answered() {
    let mut node = Start::of(3).log(&[1, 1, 1, 1]).commit(3).start();
    let effects = node.step(snapshot_received(2, 1, snapshot(&[(1, 1)], 2)));
    assert!(effects.persists.is_empty());
    assert_eq!((node.commit(), acknowledged(&effects)), (3, 2));
}

/// Figure 13, step 1.
#[test]
fn paper_7_a_snapshot_of_an_earlier_term_is_refused() {
    let mut node = Start::of(3).term(3).start();
    let effects = node.step(snapshot_received(2, 2, snapshot(&[(1, 1)], 9)));
    assert_eq!(outcome(&effects), AppendOutcome::Stale);
    assert!(effects.persists.is_empty());
    assert_eq!(node.status().last, Position::ZERO);
}

/// Entries follow the state as they follow an entry.
#[test]
fn paper_7_entries_follow_the_position() {
    let mut node = Start::of(3).log(&[1]).start();
    node.step(snapshot_received(2, 2, snapshot(&[(1, 1), (2, 4)], 5)));
    let effects = node.receive(2, append(2, (2, 5), entries(6, &[2, 2]), 7));
    assert_eq!(acknowledged(&effects), 7);
    assert_eq!(effects.deliveries, [], "the state comes first");
    let effects = node.persist();
    assert!(effects.install.is_some());
    assert_eq!(delivered(&effects), [6, 7]);
    // A probe within what was never seen here as entries is answered by the terms.
    let effects = node.receive(2, append(2, (1, 3), vec![], 7));
    assert_eq!(acknowledged(&effects), 3);
}

/// What is heard from the leader with a snapshot is a sign of life.
#[test]
fn a_snapshot_is_heard_like_any_message_of_a_leader() {
    let mut node = Start::of(3).start();
    node.become_candidate();
    node.step(snapshot_received(2, 1, snapshot(&[(1, 1)], 5)));
    assert_eq!(node.role(), "follower");
    assert_eq!(node.status().leadership.term(), Some(Term(1)));
    node.pass(299);
    node.step(snapshot_received(2, 1, snapshot(&[(1, 1)], 5)));
    node.pass(299);
    node.fire(Timer::Heartbeat);
    assert!(node.deadline().expect("a timer runs").0 > node.now.time);
}

/// The message alone, or with a state that is none, or on a connection that is over.
#[test]
fn what_is_no_whole_snapshot_of_this_connection_is_ignored() {
    let good = || snapshot(&[(1, 1)], 5);
    let of = |snapshot, message, generation| Input::SnapshotReceived {
        peer: NodeId(2),
        generation,
        snapshot,
        message,
    };
    let word = RaftMessage::InstallSnapshot { term: Term(1) };
    let later = Generation(2);
    for input in [
        received(2, word.clone()),
        of(good(), word.clone(), later),
        of(good(), heartbeat(1, 0), FIRST),
        of(good(), RaftMessage::InstallSnapshot { term: Term(0) }, FIRST),
        of(good(), RaftMessage::InstallSnapshot { term: Term(1 << 40) }, FIRST),
        of(snapshot(&[(1, 2)], 5), word.clone(), FIRST),
        of(snapshot(&[(1, 1), (2, 3)], 5), word.clone(), FIRST),
        of(snapshot(&[(1, 1)], 1 << 63), word.clone(), FIRST),
        of(Snapshot::default(), word.clone(), FIRST),
    ] {
        let mut node = Start::of(3).start();
        let before = node.raft.clone();
        let effects = node.step(input);
        assert!(effects.messages.is_empty() && effects.persists.is_empty(), "{effects:?}");
        assert_eq!(node.raft, before);
    }
    let mut node = Start::of(3).start();
    node.step(Input::PeerConnected {
        peer: NodeId(2),
        generation: later,
        standing: Standing::Voter,
    });
    let before = node.raft.clone();
    node.step(of(good(), word, FIRST));
    assert_eq!(node.raft, before);
}

/// A leader in term 2 whose log of four entries before its own is forgotten. Node 3 has all of it,
/// node 2 was not heard yet.
fn forgetful_leader() -> Node {
    let mut node = Start::of(3).log(&[1, 1, 1, 1]).commit(4).start();
    node.become_leader();
    node.persist();
    node.receive(3, matched(2, 5));
    assert_eq!(node.commit(), 5);
    let effects = node.step(Input::Compact(Index(4)));
    assert_eq!(effects.persists[0].compact_to, Some(Index(4)));
    node.persist();
    node
}

fn offer(to: u64, term: u64) -> SnapshotOffer<RaftMessage> {
    SnapshotOffer { to: NodeId(to), message: RaftMessage::InstallSnapshot { term: Term(term) } }
}

/// A follower that lacks what is forgotten is offered a snapshot, once, and sent nothing but heartbeats.
#[test]
fn paper_7_a_leader_offers_what_it_can_not_send() {
    let mut node = forgetful_leader();
    let effects = node.receive(2, conflict(2, 4, (1, 2)));
    assert_eq!(effects.snapshots, [offer(2, 2)]);
    assert!(sent(&effects, 2).is_empty());
    let effects = node.propose("x");
    assert_eq!((sent(&effects, 2).len(), sent(&effects, 3).len()), (0, 1));
    assert_eq!(effects.snapshots, []);
    node.pass(1_000);
    let effects = node.fire(Timer::Heartbeat);
    assert!(matches!(sent(&effects, 2)[..], [RaftMessage::Heartbeat { .. }]), "{effects:?}");
    // A late refusal is one of what was asked before.
    let effects = node.receive(2, conflict(2, 4, (1, 1)));
    assert!(effects.messages.is_empty() && effects.snapshots.is_empty(), "{effects:?}");
    // The state is there: entries follow.
    let effects = node.receive(2, matched(2, 5));
    let [RaftMessage::AppendEntries { previous, entries, .. }] = sent(&effects, 2)[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((*previous, entries.len()), (Position::new(2, 5), 1));
}

/// A follower whose log reaches what is left gets entries.
#[test]
fn paper_7_a_leader_sends_entries_while_its_log_reaches() {
    let mut node = forgetful_leader();
    let effects = node.receive(2, conflict(2, 5, (1, 4)));
    assert_eq!(effects.snapshots, []);
    let effects =
        if sent(&effects, 2).is_empty() { node.receive(2, matched(2, 4)) } else { effects };
    let [RaftMessage::AppendEntries { previous, .. }] = sent(&effects, 2)[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(*previous, Position::new(1, 4), "the entry before is forgotten, its term is not");
}

/// A snapshot that broke off, or whose answer was lost, is followed by a probe.
#[test]
fn a_snapshot_that_ended_is_followed_by_a_probe() {
    let mut node = forgetful_leader();
    node.receive(2, conflict(2, 4, (1, 2)));
    let ended = |generation| Input::SnapshotEnded { peer: NodeId(2), generation };
    let effects = node.step(ended(Generation(9)));
    assert!(effects.messages.is_empty(), "of another connection");
    let effects = node.step(ended(FIRST));
    let [RaftMessage::AppendEntries { previous, entries, answer: true, .. }] =
        sent(&effects, 2)[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!((*previous, entries.len()), (Position::new(2, 5), 0));
    let effects = node.receive(2, conflict(2, 5, (1, 2)));
    assert_eq!(effects.snapshots, [offer(2, 2)]);
    // A snapshot of an earlier reign or need may still end.
    node.receive(2, matched(2, 5));
    let effects = node.step(ended(FIRST));
    assert!(effects.messages.is_empty(), "{effects:?}");
}

/// A new connection forgets the snapshot of the one before.
#[test]
fn a_lost_connection_ends_a_snapshot() {
    let mut node = forgetful_leader();
    node.receive(2, conflict(2, 4, (1, 2)));
    node.step(Input::PeerLost { peer: NodeId(2), generation: FIRST });
    assert_eq!(node.propose("x").snapshots, []);
    let generation = Generation(2);
    let effects =
        node.step(Input::PeerConnected { peer: NodeId(2), generation, standing: Standing::Voter });
    assert_eq!(effects.snapshots, [], "it is asked where it is");
    let message = conflict(2, 6, (1, 2));
    let effects = node.step(Input::Received { peer: NodeId(2), generation, message });
    assert_eq!(effects.snapshots, [offer(2, 2)]);
}

/// The log forgets what was being fetched for a follower.
#[test]
fn a_fetch_that_comes_back_empty_leads_to_a_snapshot() {
    let start = Start::of(3).log(&[1, 1, 1, 1]).commit(4);
    let mut node = start.settings(|settings| settings.memory_log_bytes_max = 1).start();
    node.become_leader();
    node.persist();
    node.receive(3, matched(2, 5));
    let effects = node.receive(2, conflict(2, 4, (1, 2)));
    let [Fetch { purpose, first: Index(3), .. }] = effects.fetches[..] else {
        panic!("{effects:?}")
    };
    let effects = node.step(Input::Compact(Index(4)));
    assert_eq!(effects.snapshots, [], "the fetch is under way");
    let effects = node.step(Input::Fetched { purpose, entries: vec![] });
    assert_eq!(effects.snapshots, [offer(2, 2)]);
}

/// etcd PR 10308: a snapshot at exactly the last index has to lead back to replication; and one that
/// is older than the last is as good, if it reaches what is left of the log.
#[test]
fn etcd_10308_a_snapshot_that_reaches_the_log_leads_back_to_replication() {
    for up_to in [4, 5] {
        let mut node = forgetful_leader();
        node.receive(2, conflict(2, 4, (1, 2)));
        let replication = |node: &Node| node.status().peers[0].replication;
        assert_eq!(replication(&node), Some("snapshot"));
        node.receive(2, matched(2, up_to));
        assert_eq!(replication(&node), Some("replicate"), "{up_to}");
    }
}

/// etcd 18055: two snapshots in quick succession. The second replaces the first before that is durable.
#[test]
fn etcd_18055_of_two_snapshots_in_quick_succession_the_second_is_installed() {
    let mut node = Start::of(3).log(&[1]).start();
    node.step(snapshot_received(2, 1, snapshot(&[(1, 1)], 5)));
    let second = Snapshot { handle: 8, ..snapshot(&[(1, 1)], 9) };
    let effects = node.step(snapshot_received(2, 1, second.clone()));
    assert_eq!(installs(&effects), std::slice::from_ref(&second));
    assert_eq!(acknowledged(&effects), 9);
    let effects = node.persist();
    assert_eq!(effects.install, Some(second));
    let effects = node.step(Input::Applied(Index(9)));
    assert_eq!((effects.install, effects.deliveries), (None, vec![]));
}

/// openraft #1892: a snapshot that conflicts with what is committed was accepted.
#[test]
#[should_panic(expected = "Leader Completeness")]
fn openraft_1892_a_snapshot_that_conflicts_with_what_is_committed_stops_the_node() {
    let mut node = Start::of(3).log(&[1, 1, 1]).commit(3).start();
    node.step(snapshot_received(2, 3, snapshot(&[(1, 1), (2, 3)], 3)));
}

/// openraft #1828: a leader whose log was purged as a whole never sent a snapshot.
#[test]
fn openraft_1828_a_leader_without_any_entry_left_offers_a_snapshot() {
    let mut node = forgetful_leader();
    node.step(Input::Applied(Index(5)));
    node.step(Input::Compact(Index(5)));
    assert_eq!(node.raft.view().log.in_memory().count(), 0);
    let effects = node.receive(2, conflict(2, 4, (1, 3)));
    assert_eq!(effects.snapshots, [offer(2, 2)]);
}

/// The terms of what was forgotten outlive the snapshot, a restart and an election: a vote goes by them.
#[test]
fn a_log_without_entries_votes_by_its_last_position() {
    let mut node = Start::of(3).start();
    node.step(snapshot_received(2, 2, snapshot(&[(1, 1), (2, 4)], 5)));
    node.persist();
    node.pass(1_000);
    node.sleep();
    assert!(!granted(&node.receive(3, request_vote(9, (2, 4)))));
    assert!(granted(&node.receive(3, request_vote(10, (2, 5)))));
}
