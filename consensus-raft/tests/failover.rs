//! How long a cluster is without a leader, on links and disks that take time. Virtual time: the
//! figures are the same on every machine, and a change of the protocol that makes elections slower
//! or votes split shows here.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::{
    Consensus, Effects, Generation, Index, Input, Leadership, NodeId, Now, PersistSequence, Random,
    Recovered, Settings, Standing, Term, Time, Timer, WallTime,
};
use consensus_raft::{Raft, RaftMessage};

enum Event {
    Arrives { from: NodeId, to: NodeId, message: RaftMessage },
    Durable { id: NodeId, sequence: PersistSequence },
    Lost { id: NodeId, peer: NodeId },
}

struct Node {
    raft: Raft,
    deadline: Option<(Time, Timer)>,
    durable: PersistSequence,
    disk_free: Time,
    held: Vec<(PersistSequence, NodeId, RaftMessage)>,
    running: bool,
}

/// A cluster on links of 0.1 to 0.4 ms and disks of 1 to 8 ms a write.
struct World {
    random: Random,
    time: Time,
    nodes: BTreeMap<NodeId, Node>,
    events: BTreeMap<(Time, u64), Event>,
    links: BTreeMap<(NodeId, NodeId), Time>,
    count: u64,
}

impl World {
    fn new(voters: u64, seed: u64) -> Self {
        let mut world = Self {
            random: Random::new(seed),
            time: Time(0),
            nodes: BTreeMap::new(),
            events: BTreeMap::new(),
            links: BTreeMap::new(),
            count: 0,
        };
        let ids: Vec<NodeId> = (1..=voters).map(NodeId).collect();
        for &id in &ids {
            let mut settings = Settings::new(id, ids.clone());
            settings.seed = world.random.next_u64();
            let raft = Raft::start(Now::default(), settings, Recovered::default()).expect("empty");
            let node = Node {
                raft,
                deadline: None,
                durable: PersistSequence(0),
                disk_free: Time(0),
                held: Vec::new(),
                running: true,
            };
            world.nodes.insert(id, node);
        }
        for &id in &ids {
            for &peer in ids.iter().filter(|&&peer| peer != id) {
                world.input(
                    id,
                    Input::PeerConnected {
                        peer,
                        generation: Generation(1),
                        standing: Standing::Voter,
                    },
                );
            }
        }
        world
    }

    fn micros(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(from + self.random.below(to - from))
    }

    fn schedule(&mut self, time: Time, event: Event) {
        self.count += 1;
        self.events.insert((time, self.count), event);
    }

    fn input(&mut self, id: NodeId, input: Input<RaftMessage>) {
        let now = Now { time: self.time, wall: WallTime(self.time.0 / 1_000) };
        let node = self.nodes.get_mut(&id).expect("a node");
        if !node.running {
            return;
        }
        let mut effects = Effects::default();
        node.raft.step(now, input, &mut effects);
        node.raft.step(now, Input::Flush, &mut effects);
        node.deadline = effects.deadline;
        for persist in effects.persists {
            let write = self.micros(1_000, 8_000);
            let node = self.nodes.get_mut(&id).expect("a node");
            node.disk_free = node.disk_free.max(self.time) + write;
            let time = node.disk_free;
            self.schedule(time, Event::Durable { id, sequence: persist.sequence });
        }
        for outbound in effects.messages {
            let node = self.nodes.get_mut(&id).expect("a node");
            if outbound.after > node.durable {
                node.held.push((outbound.after, outbound.to, outbound.message));
            } else {
                self.send(id, outbound.to, outbound.message);
            }
        }
        if let Some(last) = effects.deliveries.last() {
            self.input(id, Input::Applied(last.index()));
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: RaftMessage) {
        let delay = self.micros(100, 400);
        let link = self.links.entry((from, to)).or_default();
        *link = (*link).max(self.time + delay);
        let time = *link;
        self.schedule(time, Event::Arrives { from, to, message });
    }

    fn carry_out(&mut self, event: Event) {
        match event {
            Event::Arrives { from, to, message } => {
                let generation = Generation(1);
                self.input(to, Input::Received { peer: from, generation, message });
            }
            Event::Durable { id, sequence } => {
                let node = self.nodes.get_mut(&id).expect("a node");
                node.durable = sequence;
                let (free, held) = std::mem::take(&mut node.held)
                    .into_iter()
                    .partition(|&(after, ..)| after <= sequence);
                node.held = held;
                for (_, to, message) in free {
                    self.send(id, to, message);
                }
                self.input(id, Input::Persisted(sequence));
            }
            Event::Lost { id, peer } => {
                self.input(id, Input::PeerLost { peer, generation: Generation(1) });
            }
        }
    }

    /// Runs until the condition holds. Returns how long that took.
    fn until(&mut self, condition: impl Fn(&Self) -> bool) -> Duration {
        let start = self.time;
        while !condition(self) {
            assert!(self.time.since(start) < Duration::from_secs(20), "an election ends");
            let deadlines = self.nodes.iter().filter(|(_, node)| node.running);
            let timer = deadlines
                .filter_map(|(&id, node)| node.deadline.map(|(due, t)| (due, id, t)))
                .min();
            let event = self.events.first_key_value().map(|(&(time, _), _)| time);
            match (timer, event) {
                (Some((due, id, timer)), event) if event.is_none_or(|time| due < time) => {
                    self.time = self.time.max(due);
                    self.input(id, Input::Timer(timer));
                }
                (_, Some(_)) => {
                    let ((time, _), event) = self.events.pop_first().expect("looked at just now");
                    self.time = self.time.max(time);
                    self.carry_out(event);
                }
                (_, None) => panic!("nothing goes on"),
            }
        }
        self.time.since(start)
    }

    /// The running leader that has committed an entry of its own term.
    fn ready(&self) -> Option<(NodeId, Term)> {
        self.nodes.iter().filter(|(_, node)| node.running).find_map(|(&id, node)| {
            let status = node.raft.status();
            let Leadership::Established { term } = status.leadership else { return None };
            let view = node.raft.view();
            (view.log.term(view.log.commit()) == Some(term) && view.log.commit() > Index(0))
                .then_some((id, term))
        })
    }

    /// The leader stops, and its peers' connections break a moment later, or stay up.
    fn stop_leader(&mut self, connections_break: bool) -> Term {
        let (leader, term) = self.ready().expect("a leader");
        self.nodes.get_mut(&leader).expect("a node").running = false;
        let peers: Vec<NodeId> = self.nodes.keys().copied().filter(|&id| id != leader).collect();
        if connections_break {
            for id in peers {
                let time = self.time + self.micros(50, 2_000);
                self.schedule(time, Event::Lost { id, peer: leader });
            }
        }
        term
    }
}

/// The median and the worst of many stops of a leader, in milliseconds, and how often more than one
/// term was needed.
fn measure(voters: u64, connections_break: bool) -> (u64, u64, usize) {
    let mut split = 0;
    let mut millis: Vec<u64> = (0..300)
        .map(|seed| {
            let mut world = World::new(voters, seed);
            world.until(|world| world.ready().is_some());
            let pause = world.time + world.micros(60_000, 200_000);
            world.until(|world| world.time >= pause);
            let former = world.stop_leader(connections_break);
            let duration = world.until(|world| world.ready().is_some());
            split += usize::from(world.ready().expect("waited for").1 > former.next());
            duration.as_millis() as u64
        })
        .collect();
    millis.sort_unstable();
    (millis[millis.len() / 2], millis[millis.len() - 1], split)
}

#[test]
fn a_killed_leader_is_replaced_within_a_tenth_of_a_second() {
    for voters in [3, 5] {
        let (median, worst, split) = measure(voters, true);
        assert!(median <= 40, "{voters} voters: median {median} ms");
        assert!(worst <= 150, "{voters} voters: worst {worst} ms");
        assert!(split <= 3, "{voters} voters: {split} of 300 needed another term");
    }
}

#[test]
fn a_silent_leader_is_replaced_soon_after_the_election_timeout() {
    for voters in [3, 5] {
        let (median, worst, split) = measure(voters, false);
        assert!(median <= 360, "{voters} voters: median {median} ms");
        assert!(worst <= 700, "{voters} voters: worst {worst} ms");
        assert!(split <= 3, "{voters} voters: {split} of 300 needed another term");
    }
}
