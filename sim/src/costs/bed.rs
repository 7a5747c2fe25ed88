//! A cluster at rest, of which one thing is asked at a time.

use std::time::Duration;

use bytes::Bytes;
use consensus::{Consensus, Leadership, NodeId, Time, Violation};
use kvcore::{Command, Keys, Range};

use super::{Asked, Cost, Counted, Delays, Shape};
use crate::agenda::Happening;
use crate::client::ClientId;
use crate::cluster::Cluster;
use crate::history::{Action, Consistency, OperationId, Query};
use crate::options::{Depth, Profile, SimOptions, Surroundings};

/// How long a leader may be silent. Heartbeats are a sixth of that apart, so nothing is counted beside one.
pub(crate) const ELECTION_TIMEOUT: Duration = Duration::from_secs(600);
/// How long anything may take that a bed waits for.
const PATIENCE: Duration = Duration::from_secs(6_000);
/// How long after anything nothing follows from it any more.
const REST: Duration = Duration::from_secs(2);
/// How many keys are written to.
const KEYS: u64 = 10;
/// The bytes of a value.
pub(crate) const VALUE_BYTES: usize = 256;

/// How long the parts of a write take. Whatever is not said takes no time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) link: Duration,
    pub(super) sync: Duration,
}

/// How long a message takes, in microseconds.
const LINK_MICROS: u64 = 1_000;

impl Timing {
    /// A message and a sync take as long as each other, but for a microsecond: so many that it shows how many of
    /// what took some time were syncs.
    pub(super) const USUAL: Self = Self {
        link: Duration::from_micros(LINK_MICROS),
        sync: Duration::from_micros(LINK_MICROS + 1),
    };
}

impl Delays {
    /// What took so long by the usual timing.
    ///
    /// # Panics
    /// If anything else took time.
    pub(super) fn of(took: Duration) -> Self {
        let micros = u64::try_from(took.as_micros()).expect("minutes at most");
        let (all, syncs) = (micros / LINK_MICROS, micros % LINK_MICROS);
        let messages = all.checked_sub(syncs);
        Self { messages: messages.expect("nothing but messages and syncs takes time"), syncs }
    }
}

pub(super) struct Bed<C: Consensus> {
    pub(super) cluster: Cluster<C>,
    shape: Shape,
    writes: u64,
}

impl<C: Consensus> Bed<C> {
    /// A cluster that has a leader whom everybody follows, and where nothing is left to do.
    pub(super) fn new(seed: u64, shape: Shape, timing: Timing) -> Result<Self, Violation> {
        let options = SimOptions {
            profile: Profile::Calm,
            depth: Depth::Protocol,
            nodes: shape.voters,
            observers: shape.observers,
            clients: 1,
            watchers: 0,
            ..SimOptions::new(seed)
        };
        let surroundings = Surroundings::for_costs(timing.link, timing.sync);
        let mut cluster = Cluster::new(&options, Some(surroundings), false)?;
        cluster.clients_stop = true;
        let mut bed = Self { cluster, shape, writes: 0 };
        bed.settle()?;
        // The first write of a reign commits what came before it.
        bed.write(Asked::Leader)?;
        bed.settle()?;
        Ok(bed)
    }

    /// Waits until everybody follows one leader and has applied all that it has, and then some more.
    pub(super) fn settle(&mut self) -> Result<(), Violation> {
        self.wait("a cluster comes to rest", Self::is_level)?;
        self.rest(REST)
    }

    /// Waits for the next heartbeat, so that none comes soon.
    pub(super) fn wait_for_heartbeat(&mut self) -> Result<(), Violation> {
        let before = self.cluster.ledger.signs_of_life();
        self.wait("a leader tells that it lives", |cluster| {
            cluster.ledger.signs_of_life() > before
        })?;
        self.rest(REST)
    }

    /// What something costs that is done to a cluster at rest, with all that follows from it; and how long it
    /// took by its own word.
    pub(super) fn cost_of(
        &mut self,
        happen: impl FnOnce(&mut Self) -> Result<Duration, Violation>,
    ) -> Result<(Cost, Duration), Violation> {
        self.wait_for_heartbeat()?;
        let before = self.cost();
        let took = happen(self)?;
        self.settle()?;
        Ok((self.cost() - &before, took))
    }

    /// What something costs in the usual timing, and what it waits for.
    pub(super) fn count(
        mut self,
        happen: impl FnOnce(&mut Self) -> Result<Duration, Violation>,
    ) -> Result<Counted, Violation> {
        let (cost, took) = self.cost_of(happen)?;
        Ok(Counted { cost, delays: Delays::of(took), happenings: self.cluster.happened })
    }

    pub(super) fn now(&self) -> Time {
        self.cluster.agenda.now()
    }

    pub(super) fn rest(&mut self, time: Duration) -> Result<(), Violation> {
        let until = self.now() + time;
        self.cluster.run_until(until, |_| false)?;
        Ok(())
    }

    /// Lets things happen until this holds.
    pub(super) fn wait(
        &mut self,
        law: &'static str,
        mut holds: impl FnMut(&Cluster<C>) -> bool,
    ) -> Result<(), Violation> {
        let until = self.now() + PATIENCE;
        match self.cluster.run_until(until, |cluster| holds(cluster))? {
            true => Ok(()),
            false => Err(Violation::new(law, format!("not within {PATIENCE:?}"))),
        }
    }

    /// Whether all nodes that run follow one leader and have applied everything that it has.
    pub(super) fn is_level(cluster: &Cluster<C>) -> bool {
        let running = || cluster.nodes.values().filter_map(|node| node.process.as_ref());
        let Some(leader) = cluster.leader.and_then(|id| cluster.nodes[&id].process.as_ref()) else {
            return false;
        };
        let last = leader.replica.core().view().log.last().index;
        running().all(|process| {
            let follows = match process.replica.leadership() {
                Leadership::Established { .. } => process.life == leader.life,
                Leadership::Following { leader, .. } => Some(leader) == cluster.leader,
                Leadership::None => false,
            };
            follows && process.machine.applied().index == last
        })
    }

    pub(super) fn leader(&self) -> NodeId {
        self.cluster.leader.expect("a bed at rest has a leader")
    }

    /// The node that is meant; the first of several.
    pub(super) fn node(&self, asked: Asked) -> NodeId {
        let mut voters = (1..=self.shape.voters).map(NodeId);
        match asked {
            Asked::Leader => self.leader(),
            Asked::Follower => {
                voters.find(|&id| id != self.leader()).expect("a cluster has followers")
            }
            Asked::Observer => NodeId(self.shape.voters + 1),
        }
    }

    /// Asks a node for something, now.
    pub(super) fn ask(&mut self, node: NodeId, action: Action) -> OperationId {
        let now = self.now();
        let operation = self.cluster.history.begin(ClientId(0), action, now);
        self.cluster.agenda.at(now, Happening::Request { node, operation });
        operation
    }

    pub(super) fn ask_to_write(&mut self, node: NodeId) -> OperationId {
        self.writes += 1;
        // Names of one length, so that all writes have as many bytes; and few, because the oracle's model looks at all
        // keys for each write.
        let key = Bytes::from(format!("key-{:06}", self.writes % KEYS));
        let command = Command::put(key, Bytes::from(vec![b'v'; VALUE_BYTES]));
        self.ask(node, Action::Write(command, None))
    }

    pub(super) fn ask_to_read(&mut self, node: NodeId, consistency: Consistency) -> OperationId {
        let keys = Keys::One(Bytes::from_static(b"key-000001"));
        let query = Query { range: Range::of(keys), bytes_max: None };
        self.ask(node, Action::Read(query, consistency))
    }

    /// Waits for an answer.
    pub(super) fn answer(&mut self, operation: OperationId) -> Result<(), Violation> {
        self.wait("what is asked is answered", |cluster| {
            cluster.history.get(operation).success().is_some()
        })
    }

    pub(super) fn write(&mut self, asked: Asked) -> Result<(), Violation> {
        let operation = self.ask_to_write(self.node(asked));
        self.answer(operation)
    }

    /// What everything so far cost.
    fn cost(&self) -> Cost {
        self.cluster.ledger.clone()
    }
}
