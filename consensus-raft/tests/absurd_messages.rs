//! Whatever arrives, as long as it can be decoded, does not bring a node down; and what was encoded
//! is decoded as it was.

mod node;

use bytes::Bytes;
use consensus::{Consensus, Index, Input, NodeId, Position, Standing, Term, Time, Timer, Wire};
use consensus_raft::{AppendOutcome, Attempt, Promise, Raft, RaftMessage, Round};
use node::*;
use proptest::prelude::*;

/// Small numbers, so that they often mean something, and very large ones.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0u64..6, 1 => (u64::MAX - 3)..=u64::MAX, 1 => (1u64 << 62)..(1 << 62) + 2]
}

fn position() -> impl Strategy<Value = Position> {
    (number(), number()).prop_map(|(term, index)| Position::new(term, index))
}

/// Entries as a leader sends them, or any.
fn some_entries() -> impl Strategy<Value = Vec<consensus::Entry>> {
    prop_oneof![
        (number(), prop::collection::vec(0u64..4, 0..4)).prop_map(|(first, terms)| {
            (0u64..)
                .zip(terms)
                .map(|(offset, term)| entry(term, first.saturating_add(offset)))
                .collect()
        }),
        prop::collection::vec((number(), number()), 0..3)
            .prop_map(|all| all.into_iter().map(|(term, index)| entry(term, index)).collect()),
    ]
}

fn message() -> impl Strategy<Value = RaftMessage> {
    let outcome = prop_oneof![
        (number(), number()).prop_map(|(first, up_to)| AppendOutcome::Matched {
            first: Index(first),
            up_to: Index(up_to)
        }),
        (number(), position()).prop_map(|(previous, hint)| AppendOutcome::Conflict {
            previous: Index(previous),
            hint
        }),
        Just(AppendOutcome::Stale),
    ];
    prop_oneof![
        (number(), number(), position()).prop_map(|(term, attempt, last)| RaftMessage::PreVote {
            term: Term(term),
            attempt: Attempt(attempt),
            last
        }),
        (number(), number(), any::<bool>()).prop_map(|(term, attempt, granted)| {
            RaftMessage::PreVoteResponse { term: Term(term), attempt: Attempt(attempt), granted }
        }),
        (number(), position(), any::<bool>()).prop_map(|(term, last, transfer)| {
            RaftMessage::RequestVote { term: Term(term), last, transfer }
        }),
        number().prop_map(|term| RaftMessage::TimeoutNow { term: Term(term) }),
        (number(), number(), any::<bool>()).prop_map(|(term, candidacy, granted)| {
            RaftMessage::RequestVoteResponse {
                term: Term(term),
                candidacy: Term(candidacy),
                granted,
            }
        }),
        (number(), position(), some_entries(), number(), any::<bool>()).prop_map(
            |(term, previous, entries, commit, answer)| RaftMessage::AppendEntries {
                term: Term(term),
                previous,
                entries,
                commit: Index(commit),
                answer
            }
        ),
        (number(), outcome).prop_map(|(term, outcome)| RaftMessage::AppendEntriesResponse {
            term: Term(term),
            outcome
        }),
        (number(), number(), number(), number()).prop_map(|(term, commit, round, sent)| {
            RaftMessage::Heartbeat {
                term: Term(term),
                commit: Index(commit),
                round: Round(round),
                sent: Time(sent),
            }
        }),
        (number(), number(), number(), number()).prop_map(|(term, heartbeat, round, sent)| {
            RaftMessage::HeartbeatResponse {
                term: Term(term),
                heartbeat: Term(heartbeat),
                round: Round(round),
                sent: Time(sent),
            }
        }),
    ]
}

/// A node in one of the four roles, with a log.
fn some_node(role: u8) -> Node {
    let mut node = Start::of(3).log(&[1, 1, 2]).start();
    match role {
        0 => {}
        1 => drop(node.fire(Timer::Election)),
        2 => drop(node.become_candidate()),
        3 => drop(node.become_leader()),
        _ => node.become_ready_leader(),
    }
    node
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Only two laws stop a node because of what a peer says: two leaders in one term, and a leader
    /// without what is committed. Then going on would risk what clients were promised, so the peer
    /// that plays the leader here is always the same, and its entries do not conflict with what is
    /// committed.
    #[test]
    fn nothing_decodable_brings_a_node_down(
        role in 0u8..3,
        messages in prop::collection::vec((2u64..4, message()), 1..12),
    ) {
        let mut node = some_node(role);
        for (peer, message) in messages {
            let leads = matches!(
                message,
                RaftMessage::AppendEntries { .. } | RaftMessage::Heartbeat { .. }
            );
            let peer = if leads { 2 } else { peer };
            let message = match message {
                RaftMessage::AppendEntries { term, previous, entries, answer, .. } => {
                    RaftMessage::AppendEntries { term, previous, entries, commit: Index(0), answer }
                }
                other => other,
            };
            if leads && node.role() == "leader" {
                continue;
            }
            node.receive(peer, message);
            node.persist();
        }
        prop_assert!(node.term() < 1 << 62);
    }

    /// Answers reach a leader, who must believe none that can not be.
    #[test]
    fn no_answer_brings_a_leader_down(
        role in 3u8..5,
        messages in prop::collection::vec((2u64..4, message()), 1..12),
    ) {
        let mut node = some_node(role);
        for (peer, message) in messages {
            let leads = matches!(
                message,
                RaftMessage::AppendEntries { .. } | RaftMessage::Heartbeat { .. }
            );
            if !leads {
                node.receive(peer, message);
                node.persist();
            }
        }
        let view = node.raft.view();
        prop_assert!(view.log.commit() <= view.log.last().index);
    }

    #[test]
    fn messages_survive_the_wire(message in message()) {
        let bytes = message.to_bytes();
        prop_assert_eq!(RaftMessage::from_bytes(bytes.clone()), Ok(message));
        for length in 0..bytes.len() {
            prop_assert!(RaftMessage::from_bytes(bytes.slice(..length)).is_err());
        }
    }

    #[test]
    fn bytes_that_are_no_message_are_refused_or_decoded(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let bytes = Bytes::from(bytes);
        if let Ok(message) = RaftMessage::from_bytes(bytes.clone()) {
            prop_assert_eq!(message.to_bytes(), bytes);
        }
    }

    #[test]
    fn promises_survive_the_wire(term in any::<u64>(), vote in any::<Option<u64>>()) {
        let promise = Promise { term: Term(term), vote: vote.map(NodeId) };
        prop_assert_eq!(Promise::from_bytes(promise.to_bytes()), Ok(promise));
    }
}

#[test]
fn strangers_are_not_heard() {
    let mut node = Start::of(3).start();
    let (peer, generation) = (NodeId(9), FIRST);
    node.step(Input::PeerConnected { peer, generation, standing: Standing::Voter });
    for message in [append(5, (0, 0), vec![], 0), request_vote(5, (4, 4)), pre_vote(5, (4, 4))] {
        let effects = node.step(Input::Received { peer, generation, message });
        assert!(effects.messages.is_empty());
    }
    assert_eq!(node.term(), 0);
}

/// A term is durable and only grows: one frame must not be able to use all of them up.
#[test]
fn one_message_moves_the_term_no_further_than_is_plausible() {
    let far = (1 << 32) + 1;
    let messages = |term| {
        [
            heartbeat(term, 0),
            append(term, (0, 0), vec![], 0),
            request_vote(term, (0, 0)),
            vote_response(term, false),
            pre_vote_response(term, Attempt(1), false),
            heartbeat_response(term, 1),
            matched(term, 1),
        ]
    };
    for message in messages(far) {
        let mut node = Start::of(3).start();
        let effects = node.receive(2, message);
        assert_eq!(node.term(), 0);
        assert!(effects.persists.is_empty() && effects.messages.is_empty());
    }
    for message in messages(far - 1) {
        let mut node = Start::of(3).start();
        node.receive(2, message);
        assert_eq!(node.term(), far - 1);
    }
}

#[test]
#[should_panic(expected = "at most one leader in a term")]
fn a_second_leader_in_a_term_stops_the_node() {
    let mut node = Start::of(3).start();
    node.receive(2, heartbeat(1, 0));
    node.receive(3, heartbeat(1, 0));
}

#[test]
#[should_panic(expected = "a leader's log holds everything committed")]
fn a_leader_without_what_is_committed_stops_the_node() {
    let mut node = Start::of(3).term(1).start();
    node.receive(2, append(1, (0, 0), entries(1, &[1, 1]), 2));
    node.receive(3, append(2, (0, 0), entries(1, &[2]), 0));
}

#[test]
fn a_past_that_contradicts_itself_is_refused_at_the_start() {
    let refused = |start: Start| start.try_start().expect_err("contradicts itself").0;
    let mut start = Start::of(3).log(&[1, 2]);
    start.promise.term = Term(1);
    assert!(refused(start).contains("the last promise is term 1"));
    let mut start = Start::of(3);
    start.settings.id = NodeId(4);
    assert_eq!(refused(start), "n4 is neither among the voters nor among the observers");
    assert!(refused(Start::of(3).log(&[1]).commit(2)).contains("committed but the log ends at 1"));
    assert!(refused(Start::of(3).log(&[2, 1]).term(3)).contains("contradict"));
}

/// What a single node recovers whose log ends with this entry.
fn recovered_at(term: u64, last: u64) -> consensus::Recovered {
    consensus::Recovered {
        promise: Some(Promise { term: Term(term), vote: None }.to_bytes()),
        terms: [(Index(1), Term(term))].into(),
        compacted: Index(last - 1),
        last: Index(last),
        tail: vec![entry(term, last)],
        commit: Index(last),
    }
}

fn start_alone(recovered: consensus::Recovered) -> Result<Raft, consensus::StartError> {
    let settings = consensus::Settings::new(NodeId(1), [NodeId(1)]);
    Raft::start(consensus::Now::default(), settings, recovered)
}

/// Terms and indexes are 64 bits: where ZAB's counter and epoch end, nothing happens.
#[test]
fn terms_and_indexes_go_on_beyond_32_bits() {
    let end = u64::from(u32::MAX);
    let mut raft = start_alone(recovered_at(end, end)).expect("a sound log");
    let now = consensus::Now::default();
    let mut effects = consensus::Effects::default();
    let mut delivered = Vec::new();
    let propose =
        || Input::Propose { token: consensus::Token(1), command: Bytes::from_static(b"x") };
    for input in [Input::Timer(Timer::Election), Input::Flush, propose(), Input::Flush] {
        raft.step(now, input, &mut effects);
        while let Some(last) = effects.persists.last().map(|persist| persist.sequence) {
            delivered.append(&mut effects.deliveries);
            effects.clear();
            raft.step(now, Input::Persisted(last), &mut effects);
            raft.step(now, Input::Flush, &mut effects);
        }
    }
    delivered.append(&mut effects.deliveries);
    let positions: Vec<Position> = delivered.iter().map(|entry| entry.position).collect();
    let next = |index| Position::new(end + 1, index);
    assert_eq!(positions, [next(end + 1), next(end + 2)]);
    assert_eq!(raft.describe(next(end + 1)), "term=4294967296 index=4294967296");
}

/// At the end of 64 bits a node would stop in the middle of an election. No cluster gets there, so a
/// log that says so is damaged, and the node says that at its start.
#[test]
fn a_log_at_the_end_of_64_bits_is_refused_at_the_start() {
    for (term, last) in [(u64::MAX, 5), (1 << 62, 5), (5, u64::MAX), (5, 1 << 62)] {
        let error = start_alone(recovered_at(term, last)).expect_err("nobody gets there").0;
        assert!(error.contains("damaged") && error.contains("restore"), "{error}");
    }
    assert!(start_alone(recovered_at((1 << 62) - 1, 5)).is_ok());
}
