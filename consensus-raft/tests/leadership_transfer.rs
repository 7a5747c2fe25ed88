//! Leadership transfer (thesis §3.10), one node at a time. etcd's tests of the same are named, and where
//! we differ: a second transfer is refused, not preferred to the first.

mod node;

use consensus::{
    Answer, Effects, Generation, Input, NodeId, Position, Refusal, Settings, Standing, Term, Timer,
    Token,
};
use consensus_raft::RaftMessage;
use node::*;

const ASKED: Token = Token(77);

fn transfer(to: Option<u64>) -> Input<RaftMessage> {
    Input::TransferLeadership { token: ASKED, to: to.map(NodeId) }
}

fn timeout_now(term: u64) -> RaftMessage {
    RaftMessage::TimeoutNow { term: Term(term) }
}

/// A request for a vote by a candidate that the leader told to campaign.
fn told_request(term: u64, last: (u64, u64)) -> RaftMessage {
    let last = Position::new(last.0, last.1);
    RaftMessage::RequestVote { term: Term(term), last, transfer: true }
}

fn refused(reason: Refusal) -> Vec<Answer> {
    vec![Answer::Refused { token: ASKED, reason }]
}

fn tells(effects: &Effects<RaftMessage>, to: u64) -> bool {
    sent(effects, to).contains(&&timeout_now(1))
}

/// A leader of three whose followers have everything.
fn leader() -> Node {
    let mut node = Start::of(3).start();
    node.become_ready_leader();
    node
}

/// etcd: TestLeaderTransferToUpToDateNode.
#[test]
fn a_level_successor_is_told_at_once() {
    let mut node = leader();
    let effects = node.step(transfer(Some(3)));
    assert!(tells(&effects, 3) && sent(&effects, 2).is_empty(), "{effects:?}");
    assert_eq!(effects.answers, [], "it still leads");
    let effects = node.receive(3, told_request(2, (1, 1)));
    assert_eq!(effects.answers, [Answer::HandedOver { token: ASKED, to: NodeId(3) }]);
    let vote =
        RaftMessage::RequestVoteResponse { term: Term(2), candidacy: Term(2), granted: true };
    assert_eq!(sent(&effects, 3), [&vote], "the former leader votes for its successor");
    assert_eq!(node.role(), "follower");
}

/// etcd: TestLeaderTransferToSlowFollower, TestLeaderTransferIgnoreProposal.
#[test]
fn a_lagging_successor_is_told_when_it_has_everything() {
    let mut node = leader();
    node.propose("a");
    node.persist();
    node.receive(2, matched(1, 2));
    assert!(!tells(&node.step(transfer(Some(3))), 3));
    let effects = node.propose("b");
    let token = Token(node.token);
    let reason = Refusal::Transferring;
    assert_eq!(effects.answers, [Answer::Refused { token, reason }]);
    assert_eq!(node.log(), [1, 1]);
    assert!(tells(&node.receive(3, matched(1, 2)), 3));
    assert!(!tells(&node.receive(3, matched(1, 2)), 3), "once");
}

/// etcd: TestLeaderTransferToSelf, TestLeaderTransferToNonExistingNode, TestTransferNonMember.
#[test]
fn a_transfer_to_nobody_is_refused() {
    let mut node = leader();
    node.step(Input::PeerLost { peer: NodeId(2), generation: FIRST });
    for to in [1, 2, 9] {
        let effects = node.step(transfer(Some(to)));
        assert_eq!(effects.answers, refused(Refusal::NoSuccessor), "to {to}");
    }
    assert!(!node.propose("a").persists.is_empty(), "it leads as ever");
    assert!(node.step(transfer(None)).answers.is_empty(), "there is n3");
    assert_eq!(Start::of(3).start().step(transfer(None)).answers, refused(Refusal::NotLeader));
    let mut alone = Start::of(1).start();
    alone.fire(Timer::Election);
    alone.persist();
    assert_eq!(alone.step(transfer(None)).answers, refused(Refusal::NoSuccessor));
}

/// etcd: TestLeaderTransferTimeout.
#[test]
fn a_transfer_ends_after_an_election_timeout() {
    let mut node = leader();
    node.propose("a");
    node.step(transfer(Some(3)));
    let bound = Settings::new(NodeId(1), [NodeId(1)]).election_timeout;
    let began = node.now.time;
    let mut answers = Vec::new();
    while answers.is_empty() && node.now.time.since(began) <= bound {
        node.receive(2, heartbeat_response(1, 1));
        answers = node.sleep().answers;
    }
    assert_eq!(answers, [Answer::TransferFailed { token: ASKED }]);
    assert_eq!(node.now.time.since(began), bound);
    assert!(node.propose("b").answers.is_empty(), "it takes proposals again");
    assert!(!tells(&node.receive(3, matched(1, 3)), 3), "nobody is told any more");
}

/// etcd: TestLeaderTransferSecondTransferToSameNode, …ToAnotherNode: there the second wins.
#[test]
fn a_second_transfer_is_refused() {
    let mut node = leader();
    node.propose("a");
    node.step(transfer(Some(3)));
    for to in [Some(3), Some(2), None] {
        assert_eq!(node.step(transfer(to)).answers, refused(Refusal::Transferring));
    }
    node.persist();
    assert!(tells(&node.receive(3, matched(1, 2)), 3));
}

/// etcd: TestLeaderTransferReceiveHigherTermVote, TestLeaderTransferBack. What an earlier reign was
/// asked for binds no later one.
#[test]
fn a_leader_that_steps_down_forgets_the_transfer() {
    let mut node = leader();
    node.propose("a");
    node.persist();
    node.step(transfer(Some(3)));
    let effects = node.receive(2, matched(2, 2));
    assert_eq!(node.role(), "follower");
    assert_eq!(effects.answers, refused(Refusal::NotLeader), "n3 was never told");
    node.become_leader();
    assert!(node.propose("b").answers.is_empty());
    node.persist();
    assert!(sent(&node.receive(3, matched(3, 4)), 3).iter().all(|sent| **sent != timeout_now(3)));
}

/// The connection to the successor is the only way to tell it, and to hear from it.
#[test]
fn a_transfer_fails_with_the_successors_connection() {
    let failed = [Answer::TransferFailed { token: ASKED }];
    let peer = NodeId(3);
    for told in [false, true] {
        let mut node = leader();
        if !told {
            node.propose("a");
        }
        assert_eq!(tells(&node.step(transfer(Some(3))), 3), told);
        let lost = node.step(Input::PeerLost { peer, generation: FIRST });
        assert_eq!(lost.answers, failed);
        let generation = Generation(2);
        let back = node.step(Input::PeerConnected { peer, generation, standing: Standing::Voter });
        assert_eq!(back.answers, []);
        assert!(node.propose("b").answers.is_empty());
        node.step(transfer(Some(3)));
        let replaced = node.step(Input::PeerConnected {
            peer,
            generation: Generation(3),
            standing: Standing::Voter,
        });
        assert_eq!(replaced.answers, failed, "a newer connection ends the older one");
    }
}

/// etcd: TestLeaderTransferWithCheckQuorum. Whoever hears the leader refuses others, but not a
/// successor; and a successor gets no vote that its log does not deserve.
#[test]
fn whoever_hears_the_leader_votes_for_its_successor() {
    let follower = || {
        let mut node = Start::of(3).log(&[1, 1]).start();
        node.receive(3, heartbeat(1, 0));
        node
    };
    assert!(!granted(&follower().receive(2, request_vote(2, (1, 2)))));
    assert!(granted(&follower().receive(2, told_request(2, (1, 2)))));
    assert!(!granted(&follower().receive(2, told_request(2, (1, 1)))), "an older log");
    let mut voted = follower();
    assert!(granted(&voted.receive(3, told_request(2, (1, 2)))));
    assert!(!granted(&voted.receive(2, told_request(2, (1, 2)))), "one vote in a term");
    let mut later = Start::of(3).log(&[1, 1]).term(5).start();
    assert!(!granted(&later.receive(2, told_request(2, (1, 2)))), "of a term that is over");
    assert_eq!(later.term(), 5);
}

/// The successor campaigns without PreVote, and says so.
#[test]
fn the_successor_campaigns_at_once() {
    let mut node = Start::of(3).log(&[1]).start();
    node.receive(3, heartbeat(1, 0));
    let effects = node.receive(3, timeout_now(1));
    assert_eq!((node.role(), node.term()), ("candidate", 2));
    assert_eq!(causes(&effects), ["n3 tells it to take over"]);
    for peer in [2, 3] {
        assert_eq!(sent(&effects, peer), [&told_request(2, (1, 1))]);
    }
    let after: Vec<_> = effects.messages.iter().map(|outbound| outbound.after).collect();
    assert_eq!(after, [node.asked; 2], "its own vote is durable first");
    // A campaign that comes to nothing is followed by an ordinary one.
    let effects = node.sleep();
    assert_eq!(node.role(), "pre-candidate");
    assert!(attempt(&effects).is_some());
}

/// etcd: a candidate ignores MsgTimeoutNow, and so does everybody whose term is later.
#[test]
fn only_a_follower_is_told_by_its_leader() {
    let mut node = Start::of(3).log(&[1]).term(4).start();
    let effects = node.receive(3, timeout_now(3));
    assert_eq!((node.role(), node.term()), ("follower", 4));
    assert!(effects.messages.is_empty(), "{effects:?}");
    node.become_candidate();
    let term = node.term();
    node.receive(3, timeout_now(term - 1));
    assert_eq!((node.role(), node.term()), ("candidate", term));
    node.receive(3, timeout_now(term));
    assert_eq!((node.role(), node.term()), ("candidate", term));
    // Of two followers of n3, only n3 can tell them.
    let mut node = Start::of(3).log(&[1]).start();
    node.receive(3, heartbeat(1, 0));
    node.receive(2, timeout_now(1));
    assert_eq!((node.role(), node.term()), ("follower", 1));
}
