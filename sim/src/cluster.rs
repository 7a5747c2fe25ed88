//! A whole cluster in virtual time: the nodes, what is between them, and whoever looks at them.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::{Consensus, Event, Invariants, NodeId, Random, Time, Violation};

use crate::agenda::{Agenda, Happening, Life};
use crate::alarms;
use crate::client::{Client, ClientId};
use crate::costs::Cost;
use crate::faults::{self, Occasion, Scene, Script};
use crate::history::History;
use crate::network::Network;
use crate::node::{Node, Start};
use crate::options::{SimOptions, Surroundings};
use crate::oracle::Oracle;
use crate::quorums::Quorums;
use crate::report::Counters;
use crate::tenancies::Tenancies;
use crate::trace::Trace;
use crate::watchers::Watcher;

/// The most things that may happen in one run: more is a loop without end.
const HAPPENINGS_MAX: u64 = 20_000_000;

/// The cluster.
pub(crate) struct Cluster<C: Consensus> {
    pub(crate) options: SimOptions,
    pub(crate) surroundings: Surroundings,
    pub(crate) random: Random,
    pub(crate) agenda: Agenda,
    pub(crate) nodes: BTreeMap<NodeId, Node<C>>,
    pub(crate) network: Network,
    pub(crate) clients: Vec<Client>,
    pub(crate) watchers: Vec<Watcher>,
    /// Where each watcher was after its last pull.
    pub(crate) watched: Vec<kvcore::Revision>,
    pub(crate) invariants: Invariants,
    pub(crate) quorums: Quorums,
    pub(crate) oracle: Oracle,
    pub(crate) tenancies: Tenancies,
    pub(crate) history: History,
    pub(crate) trace: Trace,
    /// What breaks.
    pub(crate) script: Script,
    pub(crate) counters: Counters,
    /// What was sent.
    pub(crate) ledger: Cost,
    /// Who was seen leading last.
    pub(crate) leader: Option<NodeId>,
    /// When the last acknowledged write was asked for, and when it was acknowledged.
    pub(crate) last_acknowledged: Option<(Time, Time)>,
    /// When somebody first suspected the leader since this was last cleared.
    pub(crate) suspected: Option<Time>,
    pub(crate) partitions: u64,
    pub(crate) pauses: u64,
    pub(crate) slownesses: u64,
    pub(crate) offers: u64,
    /// When the clients' time began: of a workload, when the cluster first served.
    pub(crate) began: Time,
    /// Faults are over.
    pub(crate) healed: bool,
    /// Since when.
    pub(crate) healed_at: Time,
    pub(crate) clients_stop: bool,
    /// Clients write and do nothing else.
    pub(crate) only_puts: bool,
    /// How many things happened.
    pub(crate) happened: u64,
}

impl<C: Consensus> Cluster<C> {
    /// A cluster with every node started.
    pub(crate) fn new(
        options: &SimOptions,
        surroundings: Option<Surroundings>,
        transcript: bool,
    ) -> Result<Self, Violation> {
        let mut random = Random::new(options.seed ^ 0x5EED_0000);
        let surroundings = surroundings.unwrap_or_else(|| {
            let drawn = Surroundings::draw(&mut random)
                .with_profile(options.profile, &mut random)
                .with_links(options.links, &mut random)
                .with_think(options.think)
                .with_quota(&mut random);
            Surroundings { alarms: alarms::are_raised(options.seed), ..drawn }
        });
        let nodes = (1..=options.members()).map(NodeId);
        let nodes =
            nodes.map(|id| (id, Node::new(id, options, &surroundings, &mut random))).collect();
        let clients =
            (0..options.clients).map(|id| Client::new(ClientId(id), &mut random)).collect();
        let watchers = (0..options.watchers)
            .map(|_| Watcher::new(&mut random, options.workload.is_some()))
            .collect();
        let beginning = options.begins_after();
        let remembers = surroundings.remembers(None);
        // Of a workload it is known when the cluster serves.
        let mut script = match &options.workload {
            Some(_) => Vec::new(),
            None => faults::draw(options, &surroundings),
        };
        if let Some(only) = &options.only_faults {
            script.retain(|step| only.contains(&step.number()));
        }
        let mut cluster = Self {
            surroundings,
            random,
            agenda: Agenda::default(),
            nodes,
            network: Network::default(),
            clients,
            watchers,
            watched: vec![kvcore::Revision(1); options.watchers],
            invariants: Invariants::begin_after(beginning),
            quorums: Quorums::new((1..=options.nodes).map(NodeId), beginning.index),
            oracle: Oracle::new(remembers, beginning),
            tenancies: Tenancies::default(),
            history: History::default(),
            trace: Trace::new(transcript),
            script: Script::new(script),
            counters: Counters::default(),
            ledger: Cost::default(),
            leader: None,
            last_acknowledged: None,
            suspected: None,
            partitions: 0,
            pauses: 0,
            slownesses: 0,
            offers: 0,
            began: Time(0),
            healed: false,
            healed_at: Time(0),
            clients_stop: false,
            only_puts: false,
            happened: 0,
            options: options.clone(),
        };
        cluster.begin()?;
        Ok(cluster)
    }

    fn begin(&mut self) -> Result<(), Violation> {
        if let Some(beginning) = &self.options.beginning {
            for node in self.nodes.values_mut() {
                node.begin_after(beginning).map_err(|what| {
                    Violation::new("a node starts after any crash", format!("{}: {what}", node.id))
                })?;
            }
        }
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for &id in &ids {
            self.start(id)?;
        }
        for &a in &ids {
            for &b in ids.iter().filter(|&&b| a < b) {
                self.plan_dial(a, b);
            }
        }
        for client in 0..self.clients.len() {
            self.agenda.after(
                Duration::from_millis(1 + client as u64),
                Happening::ClientTurn(ClientId(client)),
            );
        }
        for watcher in 0..self.watchers.len() {
            self.agenda.after(Duration::from_millis(1), Happening::WatchTurn(watcher));
        }
        for time in self.script.times() {
            self.agenda.at(time, Happening::Faults);
        }
        Ok(())
    }

    /// Starts a node's process.
    pub(crate) fn start(&mut self, id: NodeId) -> Result<(), Violation> {
        let seed = self.random.next_u64();
        let start = Start {
            options: &self.options,
            surroundings: &self.surroundings,
            time: self.agenda.now(),
            seed,
        };
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        let found = node.start(&start, &mut self.oracle)?;
        if !node.wiped {
            self.quorums.promised(id, &found.promise);
        }
        self.counters.unacknowledged_found += u64::from(found.unacknowledged);
        self.counters.torn_tails += u64::from(found.torn);
        self.counters.installed_by_start += u64::from(found.installed);
        let life = Life { node: id, number: node.starts };
        self.trace.fold(life);
        self.trace.line(self.agenda.now(), || format!("{id} starts for the {}. time", life.number));
        self.note_leases()?;
        // A node that starts is looked at before its first step.
        self.check_laws()?;
        self.agenda.after(Duration::ZERO, Happening::FlushStore(life));
        let first = self.surroundings.loop_delay.draw(&mut self.random);
        self.wake(life, self.agenda.now() + first);
        Ok(())
    }

    /// Lets things happen up to a time, or until something holds after one of them. Returns whether
    /// it held.
    pub(crate) fn run_until(
        &mut self,
        until: Time,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> Result<bool, Violation> {
        loop {
            if holds(self) {
                return Ok(true);
            }
            let Some(happening) = self.agenda.next(until) else { return Ok(false) };
            self.happened += 1;
            if self.happened > HAPPENINGS_MAX {
                let details = format!("{HAPPENINGS_MAX} things happened by {until}");
                return Err(Violation::new("time goes on", details));
            }
            let paused = happening.node().is_some_and(|id| self.nodes[&id].paused.is_some());
            if paused && let Some(id) = happening.node() {
                let node = self.nodes.get_mut(&id).expect("it is stopped");
                node.deferred.push_back(happening);
                continue;
            }
            self.happen(happening)?;
        }
    }

    /// One thing happens.
    pub(crate) fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        self.trace.fold((self.agenda.now(), happening.code()));
        match happening {
            Happening::Wake(life) => self.look(life)?,
            Happening::LogWritten(life) => self.log_written(life)?,
            Happening::Apply(life) => self.apply(life)?,
            Happening::Fetched(life, fetch) => self.fetched(life, fetch)?,
            Happening::FlushStore(life) => self.flush_store(life),
            Happening::StoreWritten(life) => self.store_written(life)?,
            Happening::Arrive { connection, from, to, item } => {
                self.arrive(connection, from, to, item)?;
            }
            Happening::Late { to, connection, from, frame } => {
                self.arrive_late(to, connection, from, frame)?;
            }
            Happening::Dial(a, b) => self.dial(a, b),
            Happening::Request { node, operation } => self.take_request(node, operation),
            Happening::Serve { life, request } => self.serve(life, request),
            Happening::ReadOn { life, request } => self.read_on(life, request),
            Happening::Reply { operation, result } => self.complete(operation, *result)?,
            Happening::ClientTurn(client) => self.client_turn(client),
            Happening::Patience(client) => self.patience(client),
            Happening::WatchTurn(watcher) => self.watch_turn(watcher)?,
            Happening::Faults => self.timed_faults()?,
            Happening::Fault(fault) => self.strike(fault.0, fault.1)?,
            Happening::Restart(life) => {
                if self.nodes[&life.node].starts == life.number {
                    self.restart(life.node)?;
                }
            }
            Happening::Resume { node, pause } => self.resume(node, pause)?,
            Happening::Stream(offer) => self.begin_stream(offer)?,
            Happening::SendPart(offer, connection) => self.send_part(offer, connection)?,
            Happening::ArrivePart { connection, from, to, part } => {
                self.arrive_part(connection, from, to, part);
            }
            Happening::TakePart(life, connection) => self.take_part(life, connection)?,
            Happening::SnapshotOver(offer) => self.end_snapshot(offer),
            Happening::HealPartition(number) => self.heal_partition(number),
            Happening::HealSlowness { node, slowness } => self.heal_slowness(node, slowness),
            Happening::HealFullness(node) => self.free_disk(node),
        }
        Ok(())
    }

    /// Notes what measurements and faults are about.
    pub(crate) fn observe(&mut self, life: Life, event: &Event) {
        match event {
            Event::LeaderSuspected { .. } => {
                self.suspected = self.suspected.or(Some(self.agenda.now()));
            }
            Event::Truncated { .. } => self.counters.truncations += 1,
            Event::RoleChanged { leader, .. } => {
                let scene = Scene { there: Some(life), ..Scene::default() };
                self.disturb(Occasion::RoleChange, scene);
                if *leader == Some(life.node) {
                    self.disturb(Occasion::Leads, scene);
                }
            }
            _ => {}
        }
    }
}
