//! The ends of the counter and of the epochs, at the real boundaries. Servers start from a log that has
//! forgotten four thousand million entries and kept the last one, so that the epoch's base is zero and the
//! next zxids are the counter's last.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use consensus::{
    Answer, Consensus, Effects, Entry, Event, Generation, Index, Input, Leadership, NodeId, Now,
    Payload, Position, Recovered, Refusal, Settings, Standing, Term, Time, Timer, Token, WallTime,
    Wire,
};

use super::continues;
use crate::message::ZabMessage;
use crate::node::Zab;
use crate::promise::Promise;
use crate::zxid::Epoch;

/// The last index that the first epoch has a zxid for.
const END: u64 = u32::MAX as u64;

const EPOCH: Epoch = Epoch(1);

/// Servers of a cluster of three, with instant disks and FIFO channels.
struct Servers {
    servers: BTreeMap<NodeId, Zab>,
    network: VecDeque<(NodeId, NodeId, ZabMessage)>,
    /// From whom messages wait.
    held: Option<NodeId>,
    time: Time,
    deadlines: BTreeMap<NodeId, Option<(Time, Timer)>>,
    delivered: BTreeMap<NodeId, Vec<Position>>,
    answers: Vec<(NodeId, Answer)>,
    events: Vec<(NodeId, Event)>,
}

/// A log of one epoch with one entry left of it.
fn recovered(epoch: Epoch, last: u64) -> Recovered {
    let position = Position { term: epoch.term(), index: Index(last) };
    Recovered {
        promise: Some(Promise { accepted: epoch, current: epoch }.to_bytes()),
        terms: [(Index(1), epoch.term())].into(),
        compacted: Index(last - 1),
        last: Index(last),
        tail: vec![Entry { position, wall: WallTime(0), payload: Payload::Empty }],
        commit: Index(last),
    }
}

impl Servers {
    /// Servers that start from such a log, not connected.
    fn start(ids: &[u64], epoch: Epoch, last: u64) -> Self {
        let start = |id: u64| {
            let settings = Settings::new(NodeId(id), (1..=3).map(NodeId));
            Zab::start(Now::default(), settings, recovered(epoch, last)).expect("a sound log")
        };
        let mut servers = Self {
            servers: ids.iter().map(|&id| (NodeId(id), start(id))).collect(),
            network: VecDeque::new(),
            held: None,
            time: Time(0),
            deadlines: BTreeMap::new(),
            delivered: BTreeMap::new(),
            answers: Vec::new(),
            events: Vec::new(),
        };
        for &id in ids {
            servers.step(NodeId(id), Input::Flush);
        }
        servers
    }

    fn now(&self) -> Now {
        Now { time: self.time, wall: WallTime(0) }
    }

    fn step(&mut self, id: NodeId, input: Input<ZabMessage>) {
        let mut inputs = VecDeque::from([input, Input::Flush]);
        while let Some(input) = inputs.pop_front() {
            let now = self.now();
            let mut effects = Effects::default();
            self.servers.get_mut(&id).expect("a server").step(now, input, &mut effects);
            self.take(id, effects, &mut inputs);
        }
    }

    fn take(
        &mut self,
        id: NodeId,
        effects: Effects<ZabMessage>,
        inputs: &mut VecDeque<Input<ZabMessage>>,
    ) {
        if let Some(last) = effects.persists.last() {
            inputs.extend([Input::Persisted(last.sequence), Input::Flush]);
        }
        if let Some(last) = effects.deliveries.last() {
            inputs.extend([Input::Applied(last.index()), Input::Flush]);
        }
        let positions = effects.deliveries.iter().map(|entry| entry.position);
        self.delivered.entry(id).or_default().extend(positions);
        self.network.extend(effects.messages.into_iter().map(|out| (id, out.to, out.message)));
        self.answers.extend(effects.answers.into_iter().map(|answer| (id, answer)));
        self.events.extend(effects.events.into_iter().map(|event| (id, event)));
        self.deadlines.insert(id, effects.deadline);
    }

    fn connect(&mut self, a: u64, b: u64) {
        for (id, peer) in [(NodeId(a), NodeId(b)), (NodeId(b), NodeId(a))] {
            let (generation, standing) = (Generation(1), Standing::Voter);
            self.step(id, Input::PeerConnected { peer, generation, standing });
        }
    }

    /// Delivers what does not wait.
    fn settle(&mut self) {
        let mut waiting = VecDeque::new();
        while let Some((from, to, message)) = self.network.pop_front() {
            if self.held == Some(from) {
                waiting.push_back((from, to, message));
            } else {
                let generation = Generation(1);
                self.step(to, Input::Received { peer: from, generation, message });
            }
        }
        self.network = waiting;
    }

    /// Lets time pass. Returns how many timers fired.
    fn run(&mut self, millis: u64) -> usize {
        let end = Time(self.time.0 + 1_000 * millis);
        let mut fired = 0;
        loop {
            self.settle();
            let due =
                self.deadlines.iter().filter_map(|(&id, due)| due.map(|due| (due.0, id, due.1)));
            let Some((due, id, timer)) = due.min().filter(|&(due, ..)| due <= end) else { break };
            self.time = self.time.max(due);
            self.step(id, Input::Timer(timer));
            fired += 1;
        }
        self.time = end;
        fired
    }

    fn propose(&mut self, id: u64, token: u64) {
        let command = Bytes::from(token.to_string());
        self.step(NodeId(id), Input::Propose { token: Token(token), command });
    }

    fn server(&self, id: u64) -> &Zab {
        &self.servers[&NodeId(id)]
    }

    fn last(&self, id: u64) -> String {
        self.server(id).describe(self.server(id).status().last)
    }

    fn leader(&self) -> Option<NodeId> {
        let established = |id: &&NodeId| self.servers[id].view().established.is_some();
        self.servers.keys().find(established).copied()
    }
}

/// n1 leads epoch 1, whose counter is three before its end, and n2 follows it.
fn near_the_end() -> Servers {
    let mut servers = Servers::start(&[1, 2, 3], EPOCH, END - 3);
    servers.connect(1, 2);
    servers.settle();
    let now = servers.now();
    servers.step(NodeId(1), Input::Timer(Timer::Election));
    let mut effects = Effects::default();
    let leader = servers.servers.get_mut(&NodeId(1)).expect("n1");
    leader.continue_to_lead(now, EPOCH, Index(0), &mut effects);
    servers.take(NodeId(1), effects, &mut VecDeque::new());
    servers.run(500);
    let following = Leadership::Following { leader: NodeId(1), term: EPOCH.term() };
    assert_eq!(servers.server(2).status().leadership, following);
    servers
}

/// Rule 11, the counter's half, with the pipeline full: the last three zxids are under way when the
/// fourth proposal finds none left. That one is refused and nothing else is; what was under way is the
/// initial history of the next epoch, whose counter begins anew while the index goes on.
#[test]
fn a_counter_that_is_used_up_ends_the_epoch_and_loses_nothing() {
    let mut servers = near_the_end();
    servers.held = Some(NodeId(2));
    for token in 1..=3 {
        servers.propose(1, token);
    }
    servers.settle();
    assert_eq!(servers.last(1), "zxid=0x1ffffffff");
    assert_eq!(servers.last(2), "zxid=0x1ffffffff");
    assert_eq!(servers.server(1).status().commit, Index(END - 3), "nothing is acknowledged yet");
    servers.step(NodeId(1), Input::ReadBarrier { token: Token(9) });
    servers.propose(1, 4);
    let reason = Refusal::NotLeader;
    let refused = [4, 9].map(|token| (NodeId(1), Answer::Refused { token: Token(token), reason }));
    assert_eq!(servers.answers, refused, "the proposal's refusal is the first, and no other's");
    assert_eq!((servers.server(1).status().role, servers.leader()), ("LOOKING", None));
    assert_eq!(servers.last(1), "zxid=0x1ffffffff", "no zxid is given twice");

    servers.held = None;
    servers.run(500);
    let leader = servers.leader().expect("the next epoch has a leader");
    servers.propose(leader.0, 5);
    servers.run(500);
    servers.connect(1, 3);
    servers.connect(2, 3);
    servers.run(2_000);
    let expected =
        [(1, END - 2), (1, END - 1), (1, END), (2, END + 1)].map(|(e, i)| Position::new(e, i));
    for id in 1..=3 {
        assert_eq!(servers.last(id), "zxid=0x200000001");
        assert_eq!(servers.delivered[&NodeId(id)], expected, "each once, in order, at n{id}");
    }
    assert_eq!(servers.answers.len(), 2, "nothing that was applied was refused");
}

/// Without its leader's word a follower joins the epoch again in its last zxids, and is not confused by
/// them.
#[test]
fn a_follower_joins_again_at_the_end_of_a_counter() {
    let mut servers = near_the_end();
    for token in 1..=3 {
        servers.propose(1, token);
    }
    servers.run(100);
    servers.connect(1, 3);
    servers.run(1_000);
    assert_eq!(servers.last(3), "zxid=0x1ffffffff");
    assert_eq!(servers.server(3).status().commit, Index(END));
    assert_eq!(servers.leader(), Some(NodeId(1)), "the epoch ends when a zxid is missing");
}

/// The follower's half: what has no zxid is not taken, whoever sends it.
#[test]
fn an_entry_beyond_the_counter_does_not_continue_a_log() {
    let servers = Servers::start(&[1], EPOCH, END - 1);
    let log = servers.server(1).view().log;
    let next = |term, index| Position { term: Term(term), index: Index(index) };
    assert!(continues(log, Index(0), next(1, END)));
    assert!(continues(log, Index(END - 1), next(2, END)), "a new epoch counts from its base");
    assert!(!continues(log, Index(0), next(1, END + 1)), "a gap");
    assert!(!continues(log, Index(0), next(2, END)), "another base");
    let mut log = log.clone();
    let payload = Payload::Empty;
    log.append(Entry { position: next(1, END), wall: WallTime(0), payload });
    assert!(!continues(&log, Index(0), next(1, END + 1)), "no zxid is left");
    assert!(continues(&log, Index(END), next(2, END + 1)));
}

/// Rule 11, the epochs' half: the last epoch is as good as any. After it nobody leads, says why and
/// what to do, and does not spend its days with elections.
#[test]
fn after_the_last_epoch_nobody_leads_and_everybody_says_why() {
    let last = Epoch(u32::MAX - 1);
    let mut servers = Servers::start(&[1, 2, 3], last, 7);
    for (a, b) in [(1, 2), (1, 3), (2, 3)] {
        servers.connect(a, b);
    }
    servers.run(500);
    let leader = servers.leader().expect("one epoch is left");
    servers.propose(leader.0, 1);
    servers.run(100);
    assert_eq!(servers.last(1), "zxid=0xffffffff00000001");
    assert_eq!(servers.server(1).status().trouble, None, "all is well as long as it lasts");

    servers.step(leader, Input::Timer(Timer::Quorum));
    servers.run(3_000);
    servers.events.clear();
    servers.run(10_000);
    assert_eq!(servers.leader(), None);
    assert!(servers.events.len() < 1_000, "{} events in ten seconds", servers.events.len());
    for id in 1..=3 {
        let trouble = servers.server(id).status().trouble.expect("it says why");
        assert!(trouble.contains("4294967295") && trouble.contains("new cluster"), "{trouble}");
        assert_eq!(servers.last(id), "zxid=0xffffffff00000001", "and what is there stays");
    }
    let causes = servers.events.iter().filter_map(|(_, event)| match event {
        Event::RoleChanged { cause, .. } => Some(cause),
        _ => None,
    });
    assert!(causes.into_iter().any(|cause| cause.contains("the epochs are used up")));
}
