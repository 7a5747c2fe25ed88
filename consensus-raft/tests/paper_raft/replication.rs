//! The log, its safety, and clients: §5.3, §5.4, §6 and §8.

use consensus::{
    Answer, Index, Input, Leadership, PersistSequence, Position, Refusal, Term, Token,
};
use consensus_raft::{AppendOutcome, RaftMessage};

use crate::following;
use crate::node::*;

#[test]
fn a_leader_appends_a_command_and_sends_it_to_all_section_5_3() {
    let mut node = Start::of(3).start();
    node.become_ready_leader();
    let effects = node.propose("some data");
    assert_eq!(node.log(), [1, 1]);
    assert_eq!(node.commit(), 1);
    let [persist] = &effects.persists[..] else { panic!("{effects:?}") };
    assert_eq!(persist.entries.len(), 1);
    for peer in [2, 3] {
        let [message] = sent(&effects, peer)[..] else { panic!("{effects:?}") };
        let RaftMessage::AppendEntries { term, previous, entries, commit, .. } = message else {
            panic!("{message}")
        };
        assert_eq!((*term, *previous), (Term(1), Position::new(1, 1)));
        assert_eq!(entries[..], persist.entries[..]);
        assert_eq!(*commit, Index(1));
    }
}

#[test]
fn an_entry_on_a_majority_is_committed_and_told_section_5_3() {
    let mut node = Start::of(3).start();
    node.become_ready_leader();
    node.step(Input::Applied(Index(1)));
    node.propose("some data");
    node.persist();
    assert_eq!(node.commit(), 1);
    let effects = node.receive(2, matched(1, 2));
    assert_eq!(node.commit(), 2);
    assert_eq!(delivered(&effects), [2]);
    // Everybody learns of it at once.
    for peer in [2, 3] {
        let told = sent(&effects, peer)
            .into_iter()
            .any(|message| matches!(message, RaftMessage::AppendEntries { commit: Index(2), .. }));
        assert!(told, "{effects:?}");
    }
}

#[test]
fn commitment_needs_a_majority_of_all_nodes_section_5_3() {
    let cases = [
        (1, vec![], true),
        (3, vec![], false),
        (3, vec![2], true),
        (3, vec![2, 3], true),
        (5, vec![2], false),
        (5, vec![2, 3], true),
        (5, vec![2, 3, 4, 5], true),
        (4, vec![2], false),
        (4, vec![2, 3], true),
    ];
    for (voters, acknowledging, committed) in cases {
        let mut node = Start::of(voters).start();
        node.become_ready_leader();
        node.propose("some data");
        node.persist();
        for &peer in &acknowledging {
            node.receive(peer, matched(1, 2));
        }
        assert_eq!(node.commit() == 2, committed, "{acknowledging:?} of {voters}");
    }
}

#[test]
fn entries_of_earlier_leaders_are_committed_with_the_first_own_one_section_5_3() {
    for terms in [vec![], vec![2], vec![1, 2], vec![1]] {
        let mut node = Start::of(3).log(&terms).term(2).start();
        node.become_leader();
        node.persist();
        let last = terms.len() as u64 + 1;
        let effects = node.receive(2, matched(3, last));
        assert_eq!(node.commit(), last);
        assert_eq!(delivered(&effects), (1..=last).collect::<Vec<_>>());
    }
}

#[test]
fn a_follower_delivers_what_is_committed_in_order_section_5_3() {
    for (sent, commit, expected) in
        [(2, 1, vec![1]), (2, 2, vec![1, 2]), (2, 9, vec![1, 2]), (1, 1, vec![1]), (2, 0, vec![])]
    {
        let mut node = Start::of(3).term(1).start();
        let effects = node.receive(2, append(1, (0, 0), entries(1, &[1, 1][..sent]), commit));
        assert_eq!(delivered(&effects), expected, "{sent} sent, {commit} committed");
    }
}

#[test]
fn a_follower_refuses_entries_that_do_not_continue_its_log_section_5_3() {
    // A previous entry: whether the log 1, 2 holds it, and if not, the last that may be common.
    let cases = [
        ((0, 0), None),
        ((1, 1), None),
        ((2, 2), None),
        ((1, 2), Some((1, 1))),
        ((3, 3), Some((2, 2))),
        ((1, 3), Some((1, 1))),
        ((3, 2), Some((1, 1))),
    ];
    for ((term, index), hint) in cases {
        let mut node = Start::of(3).log(&[1, 2]).commit(1).start();
        let effects = node.receive(2, append(3, (term, index), vec![], 0));
        let expected = match hint {
            None => AppendOutcome::Matched { first: Index(index + 1), up_to: Index(index) },
            Some((term, hint)) => {
                AppendOutcome::Conflict { previous: Index(index), hint: Position::new(term, hint) }
            }
        };
        assert_eq!(outcome(&effects), expected, "{index}@{term}");
        assert_eq!(node.log(), [1, 2]);
    }
}

#[test]
fn a_conflicting_entry_and_all_after_it_are_replaced_section_5_3() {
    // The log 1, 2 and an AppendEntries: what the log is then, what is written.
    let cases = [
        ((2, 2), vec![3], vec![1, 2, 3], (None, 1)),
        ((1, 1), vec![3, 4], vec![1, 3, 4], (Some(2), 2)),
        ((0, 0), vec![1], vec![1, 2], (None, 0)),
        ((0, 0), vec![3], vec![3], (Some(1), 1)),
        ((0, 0), vec![1, 2], vec![1, 2], (None, 0)),
        ((0, 0), vec![1, 2, 4], vec![1, 2, 4], (None, 1)),
    ];
    for ((term, index), terms, log, (truncated, written)) in cases {
        let mut node = Start::of(3).log(&[1, 2]).term(4).start();
        let effects = node.receive(2, append(4, (term, index), entries(index + 1, &terms), 0));
        assert_eq!(node.log(), log);
        let (truncate_from, count) = match &effects.persists[..] {
            [] => (None, 0),
            [persist] => (persist.truncate_from, persist.entries.len()),
            more => panic!("removing and appending are one write: {more:?}"),
        };
        assert_eq!((truncate_from, count), (truncated.map(Index), written));
        assert_eq!(acknowledged(&effects), index + terms.len() as u64);
    }
}

#[test]
fn entries_are_acknowledged_once_they_are_durable_section_5_3() {
    let mut node = Start::of(3).term(1).start();
    let effects = node.receive(2, append(1, (0, 0), entries(1, &[1, 1]), 0));
    let [persist] = &effects.persists[..] else { panic!("{effects:?}") };
    assert_eq!(only(&effects).after, persist.sequence);
    assert_ne!(persist.sequence, PersistSequence(0));
}

#[test]
fn a_vote_is_asked_for_with_the_last_entry_section_5_4_1() {
    for terms in [vec![1], vec![1, 2], vec![]] {
        let mut node = Start::of(3).log(&terms).start();
        let effects = node.become_candidate();
        let position = Position::new(terms.last().copied().unwrap_or(0), terms.len() as u64);
        let term = Term(position.term.0 + 1);
        for peer in [2, 3] {
            let expected = RaftMessage::RequestVote { term, last: position, transfer: false };
            assert_eq!(sent(&effects, peer), [&expected]);
        }
    }
}

#[test]
fn a_node_votes_only_for_a_log_as_up_to_date_as_its_own_section_5_4_1() {
    let cases = [
        (vec![1], (1, 1), true),
        (vec![1], (1, 2), true),
        (vec![1, 1], (1, 1), false),
        (vec![1], (2, 1), true),
        (vec![1], (2, 2), true),
        (vec![1, 1], (2, 1), true),
        (vec![2], (1, 1), false),
        (vec![2], (1, 2), false),
        (vec![2, 2], (1, 1), false),
    ];
    for (terms, last, votes) in cases {
        let mut node = Start::of(3).log(&terms).start();
        assert_eq!(granted(&node.receive(2, pre_vote(3, last))), votes, "{terms:?} {last:?}");
        assert_eq!(granted(&node.receive(2, request_vote(3, last))), votes, "{terms:?} {last:?}");
    }
}

#[test]
fn a_leader_commits_by_counting_only_entries_of_its_term_section_5_4_2() {
    for (acknowledged, commit) in [(1, 0), (2, 0), (3, 3)] {
        let mut node = Start::of(3).log(&[1, 2]).start();
        node.become_leader();
        assert_eq!((node.log(), node.term()), (vec![1, 2, 3], 3));
        node.persist();
        node.receive(2, matched(3, acknowledged));
        assert_eq!(node.commit(), commit, "{acknowledged} acknowledged");
    }
}

/// Figure 8: S1 replicates an entry of term 2, loses its office, and comes back in term 4. The entry
/// of term 2 is then on a majority, and yet a node with an entry of term 3 could still overwrite it.
#[test]
fn an_old_entry_on_a_majority_is_not_committed_figure_8() {
    let mut leader = Start::of(5).log(&[1, 2]).term(3).start();
    leader.become_leader();
    assert_eq!((leader.term(), leader.log()), (4, vec![1, 2, 4]));
    leader.persist();
    for peer in [2, 3] {
        leader.receive(peer, matched(4, 2));
    }
    assert_eq!(leader.commit(), 0, "2@2 is on three of five, case (c)");
    // Case (d): S5, with its entry of term 3, is elected by S2, S3, S4 and overwrites 2@2.
    let mut follower = Start::of(5).log(&[1, 2]).term(4).start();
    assert!(granted(&follower.receive(5, request_vote(5, (3, 2)))));
    follower.receive(5, append(5, (1, 1), entries(2, &[3]), 1));
    assert_eq!(follower.log(), [1, 3]);
    // Case (e): the entry of term 4 on a majority decides it.
    for peer in [2, 3] {
        leader.receive(peer, matched(4, 3));
    }
    assert_eq!(leader.commit(), 3);
    let mut follower = Start::of(5).log(&[1, 2, 4]).start();
    assert!(!granted(&follower.receive(5, request_vote(5, (3, 2)))));
}

#[test]
fn a_leader_begins_its_term_with_an_empty_entry_section_8() {
    let mut node = Start::of(3).log(&[1]).start();
    let effects = node.become_leader();
    let [persist] = &effects.persists[..] else { panic!("{effects:?}") };
    let [entry] = &persist.entries[..] else { panic!("{persist:?}") };
    assert_eq!((entry.position, entry.command()), (Position::new(2, 2), None));
    assert_eq!(node.status().leadership, Leadership::Established { term: Term(2) });
}

#[test]
fn a_read_waits_until_the_leader_knows_what_is_committed_section_8() {
    let mut node = Start::of(3).log(&[1]).start();
    node.become_leader();
    node.persist();
    let token = Token(1);
    let effects = node.step(Input::ReadBarrier { token });
    assert_eq!(effects.answers, [Answer::Refused { token, reason: Refusal::NotReady }]);
    node.receive(2, matched(2, 2));
    let effects = node.step(Input::ReadBarrier { token });
    assert_eq!(effects.answers, []);
    assert!(effects.messages.iter().all(|sent| sent.message.to_string().starts_with("Heartbeat")));
}

#[test]
fn a_read_is_answered_once_a_majority_confirmed_the_leader_section_8() {
    let mut node = Start::of(5).start();
    node.become_ready_leader();
    let token = Token(1);
    let effects = node.step(Input::ReadBarrier { token });
    let RaftMessage::Heartbeat { round, .. } = *sent(&effects, 2)[0] else { panic!("{effects:?}") };
    assert_eq!(node.receive(2, heartbeat_response(1, round.0)).answers, []);
    assert_eq!(node.receive(2, heartbeat_response(1, round.0)).answers, [], "twice is once");
    let effects = node.receive(3, heartbeat_response(1, round.0));
    assert_eq!(effects.answers, [Answer::Barrier { token, index: Index(1) }]);
}

#[test]
fn a_vote_is_refused_while_a_leader_is_heard_section_6() {
    let mut node = Start::of(3).start();
    node.receive(2, heartbeat(1, 0));
    node.pass(299);
    let effects = node.receive(3, request_vote(2, (1, 9)));
    assert!(!granted(&effects));
    assert_eq!(node.term(), 1, "it does not even take the term over");
    assert_eq!(node.status().leadership, following(2, 1));
    node.pass(2);
    assert!(granted(&node.receive(3, request_vote(2, (1, 9)))));
}

#[test]
fn a_leader_refuses_votes_while_it_leads_section_6() {
    let mut node = Start::of(3).start();
    node.become_ready_leader();
    assert!(!granted(&node.receive(3, request_vote(2, (1, 9)))));
    assert_eq!((node.role(), node.term()), ("leader", 1));
}
