//! A step of the protocol may answer more than it was asked: a leader whose office ends with a
//! proposal refuses everything else that it still owes.

use std::time::Duration;

use bytes::Bytes;
use consensus::{
    Answer, CodecError, Consensus, Effects, Input, NodeId, Now, Null, NullMessage, Pledge,
    Position, Protocol, Recovered, Refusal, Settings, StartError, Status, Time, Token, View,
    WallTime, Wire,
};
use kvcore::replica::{
    Conclusion, LEASE_CHECKPOINT_INTERVAL_DEFAULT, Replica, ReplicaEffects, ReplicaInput,
    ReplicaSettings, ReplicaTimer,
};
use kvcore::{Command, Envelope, Progress, RequestId, Restored, Revision};

/// The null protocol, but a barrier waits, and the first proposal after one is refused together with
/// it, the proposal first: as ZAB does when the counter of its epoch is used up.
#[derive(Clone, Debug, PartialEq, Hash)]
struct EndingOffice {
    core: Null,
    waiting: Option<Token>,
    ended: bool,
}

impl Consensus for EndingOffice {
    const PROTOCOL: Protocol = Protocol::Null;

    type Message = NullMessage;

    fn start(now: Now, settings: Settings, recovered: Recovered) -> Result<Self, StartError> {
        let core = Null::start(now, settings, recovered)?;
        Ok(Self { core, waiting: None, ended: false })
    }

    fn step(&mut self, now: Now, input: Input<NullMessage>, effects: &mut Effects<NullMessage>) {
        match (input, self.waiting) {
            (Input::ReadBarrier { token }, None) if !self.ended => self.waiting = Some(token),
            (Input::Propose { token, .. }, Some(barrier)) => {
                let reason = Refusal::NotLeader;
                effects.answers.push(Answer::Refused { token, reason });
                effects.answers.push(Answer::Refused { token: barrier, reason });
                (self.waiting, self.ended) = (None, true);
            }
            (input, _) => self.core.step(now, input, effects),
        }
    }

    fn status(&self) -> Status {
        self.core.status()
    }

    fn describe(&self, position: Position) -> String {
        self.core.describe(position)
    }

    fn view(&self) -> View<'_> {
        self.core.view()
    }

    fn pledge(&self, to: NodeId, message: &NullMessage) -> Pledge {
        self.core.pledge(to, message)
    }

    fn read_promise(promise: Bytes) -> Result<Pledge, CodecError> {
        Null::read_promise(promise)
    }
}

/// One replica on an instant disk.
struct Alone {
    replica: Replica<EndingOffice>,
    effects: ReplicaEffects<NullMessage>,
    time: Time,
    delivered: Vec<RequestId>,
    conclusions: Vec<(RequestId, Conclusion)>,
}

impl Alone {
    fn established() -> Self {
        let now = Now { time: Time::default(), wall: WallTime(0) };
        let settings = Settings::new(NodeId(1), [NodeId(1)]);
        let core = EndingOffice::start(now, settings, Recovered::default()).expect("a new log");
        let settings = ReplicaSettings {
            id: NodeId(1),
            incarnation: 1,
            requests_max: 10,
            request_bytes_max: 1 << 20,
            retain_revisions: None,
            retain_for: None,
            quota_bytes: None,
            lease_checkpoint_interval: LEASE_CHECKPOINT_INTERVAL_DEFAULT,
            digest_interval: None,
        };
        let mut alone = Self {
            replica: Replica::new(
                core,
                settings,
                Restored { revision: Revision(1), ..Restored::default() },
            ),
            effects: ReplicaEffects::default(),
            time: Time::default(),
            delivered: Vec::new(),
            conclusions: Vec::new(),
        };
        alone.round(vec![ReplicaInput::Flush]);
        alone.advance(Duration::from_millis(1));
        alone
    }

    /// Lets time pass, a millisecond at a time.
    fn advance(&mut self, duration: Duration) {
        let until = self.time + duration;
        while self.time < until {
            self.time = self.time + Duration::from_millis(1);
            if let Some((due, timer)) = self.effects.deadline
                && due <= self.time
            {
                self.round(vec![ReplicaInput::Timer(timer)]);
            }
        }
    }

    /// Takes these inputs and a flush, and what follows from them.
    fn round(&mut self, mut inputs: Vec<ReplicaInput<NullMessage>>) {
        while !inputs.is_empty() {
            inputs.push(ReplicaInput::Flush);
            let now = Now { time: self.time, wall: WallTime(0) };
            for input in inputs.drain(..) {
                self.replica.step(now, input, &mut self.effects);
            }
            let persisted = self.effects.consensus.persists.last().map(|last| last.sequence);
            inputs.extend(persisted.map(ReplicaInput::Persisted));
            for entry in &self.effects.consensus.deliveries {
                let header = entry.command().and_then(|bytes| Envelope::header(bytes).ok());
                self.delivered.extend(header.map(|header| header.request));
                let progress = Progress { index: entry.index(), ..Progress::default() };
                inputs.push(ReplicaInput::Applied(progress));
            }
            self.conclusions.append(&mut self.effects.conclusions);
            self.effects.clear();
        }
    }
}

fn write(request: RequestId, deadline: Time) -> ReplicaInput<NullMessage> {
    let command = Command::put("key", "value");
    let (origin, incarnation, idempotency) = (NodeId(1), 1, None);
    let envelope = Envelope { origin, incarnation, request, idempotency, command }.to_bytes();
    ReplicaInput::Write { request, envelope, deadline }
}

#[test]
fn a_proposal_finds_its_own_refusal_among_others_and_the_others_find_theirs() {
    let mut alone = Alone::established();
    let deadline = alone.time + Duration::from_secs(5);
    let (read, first, second) = (RequestId(1), RequestId(2), RequestId(3));
    alone.round(vec![ReplicaInput::Read { request: read, confirmed: true, deadline }]);
    alone.round(vec![write(first, deadline), write(second, deadline)]);
    assert_eq!(alone.conclusions, [], "both the write and the read are tried again");
    assert_eq!(alone.delivered, []);
    let due = alone.effects.deadline.expect("another attempt is due");
    assert_eq!(due, (alone.time + Duration::from_millis(10), ReplicaTimer::Requests));
    alone.advance(Duration::from_millis(20));
    assert_eq!(alone.delivered, [first, second]);
    assert_eq!(alone.conclusions, [(read, Conclusion::ReadReady)]);
}
