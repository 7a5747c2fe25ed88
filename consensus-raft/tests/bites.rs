//! The conformance suite is worth something only if it finds what it is for: a rule of the protocol is
//! taken away, and the suite must notice.

use bytes::Bytes;
use consensus::conformance;
use consensus::{
    CodecError, Consensus, Effects, Input, NodeId, Now, Pledge, Position, Protocol, Recovered,
    Settings, StartError, Status, View,
};
use consensus_raft::{Raft, RaftMessage};

/// Raft that takes every answer to a heartbeat for one to a heartbeat of its present term.
#[derive(Clone, Debug, PartialEq, Hash)]
struct TermlessHeartbeats(Raft);

impl Consensus for TermlessHeartbeats {
    const PROTOCOL: Protocol = Protocol::Raft;

    type Message = RaftMessage;

    fn start(now: Now, settings: Settings, recovered: Recovered) -> Result<Self, StartError> {
        Raft::start(now, settings, recovered).map(Self)
    }

    fn step(&mut self, now: Now, input: Input<RaftMessage>, effects: &mut Effects<RaftMessage>) {
        let input = match input {
            Input::Received {
                peer,
                generation,
                message: RaftMessage::HeartbeatResponse { term, round, sent, .. },
            } => {
                let message = RaftMessage::HeartbeatResponse { term, heartbeat: term, round, sent };
                Input::Received { peer, generation, message }
            }
            other => other,
        };
        self.0.step(now, input, effects);
    }

    fn status(&self) -> Status {
        self.0.status()
    }

    fn describe(&self, position: Position) -> String {
        self.0.describe(position)
    }

    fn view(&self) -> View<'_> {
        self.0.view()
    }

    fn pledge(&self, to: NodeId, message: &RaftMessage) -> Pledge {
        self.0.pledge(to, message)
    }

    fn read_promise(promise: Bytes) -> Result<Pledge, CodecError> {
        Raft::read_promise(promise)
    }
}

#[test]
#[should_panic(expected = "a barrier includes everything committed before it was asked for")]
fn an_answer_of_an_earlier_reign_that_confirms_a_read_is_noticed() {
    conformance::told::<TermlessHeartbeats>(3, |cluster| {
        conformance::reigns::confirmations_of_an_earlier_reign_do_not_answer_barriers(cluster)
    });
}
