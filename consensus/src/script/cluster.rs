//! A cluster of bare protocol cores, with everything around them under control.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::disk::Disk;
use super::drive::state_hash;
use super::network::Network;
use super::node::Node;
use super::options::Options;
use super::snapshots::Stream;
use super::transcript::{Detail, Transcript};
use crate::invariants::Durability;
use crate::{
    Consensus, Entry, Generation, Index, Input, Invariants, Leadership, NodeId, Now, Refusal,
    Settings, Standing, Status, Time, Timer, Token, View, Violation, WallTime,
};

/// A cluster of cores. Every method that makes a core do something checks the invariants and
/// returns the first one that broke.
#[derive(Clone, Debug)]
pub struct Cluster<C: Consensus> {
    pub(super) options: Options,
    pub(super) time: Time,
    pub(super) nodes: BTreeMap<NodeId, Node<C>>,
    pub(super) network: Network<C::Message>,
    pub(super) invariants: Invariants,
    pub(super) transcript: Transcript,
    pub(super) last_token: Token,
    /// Open barriers: the node asked, and what was committed then.
    pub(super) barriers: BTreeMap<Token, (NodeId, Index)>,
    /// Proposals neither refused nor known to be delivered.
    pub(super) proposals: BTreeMap<Token, (NodeId, Bytes)>,
    /// How often a leader has handed over its office.
    pub(super) handovers: u64,
    /// Transfers of leadership under way, with the node asked.
    pub(super) transfers: BTreeMap<Token, NodeId>,
    /// Commands that were refused, and so must never be delivered.
    pub(super) refused: Vec<Bytes>,
    /// Why requests were refused.
    pub(super) refusals: Vec<Refusal>,
    /// Barriers answered: token and index.
    pub(super) answered: Vec<(Token, Index)>,
    pub(super) samples: BTreeMap<&'static str, Vec<C::Message>>,
    /// The weights of all messages that left, by direction.
    pub(super) weights: BTreeMap<(NodeId, NodeId), u64>,
    /// The snapshots that were offered, by sender and receiver.
    pub(super) streams: BTreeMap<(NodeId, NodeId), Stream<C::Message>>,
    /// Those that were not received while their connection stood.
    pub(super) late_snapshots: BTreeMap<(NodeId, NodeId), VecDeque<Stream<C::Message>>>,
    /// The last number that a received state was given.
    pub(super) last_handle: u64,
    /// How many states were installed.
    pub(super) installed: u64,
}

impl<C: Consensus> Cluster<C> {
    /// A cluster with all nodes started and all pairs connected, at time zero.
    ///
    /// # Errors
    /// A broken law.
    pub fn new(options: Options) -> Result<Self, Violation> {
        let settings = &options.settings;
        let first = if options.formed { Standing::Voter } else { Standing::Observer };
        let ids: Vec<NodeId> = settings.voters.union(&settings.observers).copied().collect();
        let nodes = ids.iter().map(|&id| (id, Node::new(settings.standing_of(id, first))));
        let nodes = nodes.collect();
        let mut cluster = Self {
            time: Time(0),
            nodes,
            network: Network::new(),
            invariants: Invariants::new(),
            transcript: Transcript::new(options.detail),
            last_token: Token(0),
            barriers: BTreeMap::new(),
            proposals: BTreeMap::new(),
            transfers: BTreeMap::new(),
            handovers: 0,
            refused: Vec::new(),
            refusals: Vec::new(),
            answered: Vec::new(),
            samples: BTreeMap::new(),
            weights: BTreeMap::new(),
            streams: BTreeMap::new(),
            late_snapshots: BTreeMap::new(),
            last_handle: 0,
            installed: 0,
            options,
        };
        for &id in &ids {
            cluster.start_core(id)?;
        }
        cluster.connect_all()?;
        Ok(cluster)
    }

    /// The virtual time.
    #[must_use]
    pub fn time(&self) -> Time {
        self.time
    }

    /// All nodes, in order.
    #[must_use]
    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// The nodes that run.
    #[must_use]
    pub fn running(&self) -> Vec<NodeId> {
        self.ids().into_iter().filter(|&id| self.is_running(id)).collect()
    }

    /// Whether the node runs.
    #[must_use]
    pub fn is_running(&self, id: NodeId) -> bool {
        self.nodes[&id].core.is_some()
    }

    /// The core of a node.
    ///
    /// # Panics
    /// If the node does not run.
    #[must_use]
    pub fn core(&self, id: NodeId) -> &C {
        self.nodes[&id].core.as_ref().expect("the node runs")
    }

    /// The state of a node.
    ///
    /// # Panics
    /// If the node does not run.
    #[must_use]
    pub fn status(&self, id: NodeId) -> Status {
        self.core(id).status()
    }

    /// What the node last said of leadership.
    #[must_use]
    pub fn leadership(&self, id: NodeId) -> Leadership {
        self.nodes[&id].leadership
    }

    /// The running nodes that are established, with their terms.
    #[must_use]
    pub fn established(&self) -> Vec<(NodeId, crate::Term)> {
        self.views().iter().filter_map(|view| Some((view.id, view.established?))).collect()
    }

    /// What the node has applied, from index 1 on, be it entry by entry or by a snapshot.
    #[must_use]
    pub fn applied(&self, id: NodeId) -> &[Entry] {
        &self.nodes[&id].applied
    }

    /// The entry at an index of a node's log, as it is on disk or on its way there; none that was
    /// forgotten.
    #[must_use]
    pub fn entry(&self, id: NodeId, index: Index) -> Option<&Entry> {
        self.nodes[&id].disk.entry(index)
    }

    /// How many writes of a node are under way.
    #[must_use]
    pub fn pending_writes(&self, id: NodeId) -> usize {
        self.nodes[&id].disk.pending()
    }

    /// The connection of a node to a peer, as the node sees it.
    #[must_use]
    pub fn connection(&self, id: NodeId, peer: NodeId) -> Option<Generation> {
        self.nodes[&id].connections.get(&peer).copied()
    }

    /// When which timer of a node is due.
    #[must_use]
    pub fn deadline(&self, id: NodeId) -> Option<(Time, Timer)> {
        self.nodes[&id].deadline
    }

    /// Barriers and syncs answered so far: token and index.
    #[must_use]
    pub fn answered(&self) -> &[(Token, Index)] {
        &self.answered
    }

    /// Commands that were refused.
    #[must_use]
    pub fn refused(&self) -> &[Bytes] {
        &self.refused
    }

    /// Why proposals and barriers were refused, in order.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// Barriers and syncs that are neither answered nor refused, at nodes that run.
    #[must_use]
    pub fn open_barriers(&self) -> Vec<Token> {
        self.barriers.keys().copied().collect()
    }

    /// A fingerprint of everything in a node's core that can influence later steps.
    ///
    /// # Panics
    /// If the node does not run.
    #[must_use]
    pub fn state_hash(&self, id: NodeId) -> u64 {
        state_hash(self.core(id))
    }

    /// The laws and what they have seen.
    #[must_use]
    pub fn invariants(&self) -> &Invariants {
        &self.invariants
    }

    /// The messages under way from one node to another.
    pub fn under_way(&self, from: NodeId, to: NodeId) -> impl Iterator<Item = &C::Message> {
        self.network.under_way(from, to).map(|frame| &frame.message)
    }

    /// Messages kept as samples, by name.
    #[must_use]
    pub fn samples(&self) -> &BTreeMap<&'static str, Vec<C::Message>> {
        &self.samples
    }

    /// How many protocol messages have left in a direction; see [`crate::Message::weight`].
    #[must_use]
    pub fn weight_sent(&self, from: NodeId, to: NodeId) -> u64 {
        self.weights.get(&(from, to)).copied().unwrap_or(0)
    }

    /// The settings of all nodes.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Sets whether writes are durable as soon as they are asked for.
    pub fn set_auto_persist(&mut self, on: bool) {
        self.options.auto_persist = on;
    }

    /// Sets whether delivered entries are applied at once.
    pub fn set_auto_apply(&mut self, on: bool) {
        self.options.auto_apply = on;
    }

    /// Sets whether fetches are answered at once.
    pub fn set_auto_fetch(&mut self, on: bool) {
        self.options.auto_fetch = on;
    }

    /// Sets how much is written down. Returns what it was before.
    pub fn set_detail(&mut self, detail: Detail) -> Detail {
        self.transcript.set_detail(detail)
    }

    /// The lines written since the last call.
    pub fn take_lines(&mut self) -> Vec<String> {
        self.transcript.take()
    }

    /// The last lines, to be shown with a failure.
    #[must_use]
    pub fn last_lines(&self) -> String {
        self.transcript.last_lines()
    }

    /// Stops a node at once. Of its writes under way the oldest `kept` become durable all the same,
    /// which the node never learns; the others are lost. Its peers notice.
    ///
    /// # Errors
    /// A broken law.
    pub fn crash(&mut self, id: NodeId, kept: usize) -> Result<(), Violation> {
        self.crash_unnoticed(id, kept);
        self.notice_all()
    }

    /// As [`Cluster::crash`], but its peers notice nothing yet.
    pub fn crash_unnoticed(&mut self, id: NodeId, kept: usize) {
        let node = self.node(id);
        node.disk.complete(kept);
        let lost = node.disk.pending();
        node.disk.crash();
        node.stop();
        self.line(Detail::Everything, || format!("{id} crashes, {lost} writes are lost"));
        self.stop_snapshots(id);
        self.invariants.crashed(id);
        self.barriers.retain(|_, (asked, _)| *asked != id);
        self.proposals.retain(|_, (asked, _)| *asked != id);
        self.transfers.retain(|_, asked| *asked != id);
        for peer in self.ids() {
            if peer != id
                && let Some(generation) = self.network.break_connection(id, peer)
            {
                self.node(peer).unnoticed.insert((id, generation));
            }
            for generation in (1..=self.network.last_generation(id, peer).0).map(Generation) {
                self.network.lose(peer, id, generation);
            }
        }
    }

    /// Starts a crashed node from its disk and connects it to whomever it can reach.
    ///
    /// # Errors
    /// A broken law.
    pub fn restart(&mut self, id: NodeId) -> Result<(), Violation> {
        self.start_core(id)?;
        for peer in self.running() {
            self.connect(id, peer)?;
        }
        Ok(())
    }

    /// A crashed node loses its disk. When it starts again it remembers nothing, so that it does not
    /// count any more; the laws see it as the same node that begins anew.
    ///
    /// # Panics
    /// If it runs.
    pub fn wipe(&mut self, id: NodeId) {
        let node = self.node(id);
        assert!(node.core.is_none(), "only a node that does not run loses its disk");
        (node.disk, node.durability) = (Disk::default(), Durability::default());
        node.standing = Standing::Observer;
        self.line(Detail::Everything, || format!("{id} loses its disk"));
        self.invariants.wiped(id);
    }

    /// A voter that was none so far counts from now on. Its peers learn that with their next
    /// connection to it.
    ///
    /// # Errors
    /// A broken law.
    pub fn become_voter(&mut self, id: NodeId) -> Result<(), Violation> {
        self.node(id).standing = Standing::Voter;
        self.line(Detail::Everything, || format!("{id} becomes a voter"));
        self.input(id, Input::BecomeVoter)
    }

    /// Whether a node counts.
    #[must_use]
    pub fn standing(&self, id: NodeId) -> Standing {
        self.nodes[&id].standing
    }

    /// The nodes that vote, those that lost their disk among them.
    #[must_use]
    pub fn voters(&self) -> Vec<NodeId> {
        self.options.settings.voters.iter().copied().collect()
    }

    /// Stops a node in its tracks, as SIGSTOP does: it neither reads nor runs timers, and its
    /// connections stay up.
    pub fn pause(&mut self, id: NodeId) {
        self.node(id).paused = true;
        self.line(Detail::Everything, || format!("{id} is paused"));
    }

    /// Lets a paused node go on.
    pub fn resume(&mut self, id: NodeId) {
        self.node(id).paused = false;
        self.line(Detail::Everything, || format!("{id} goes on"));
    }

    /// Whether the node runs and is not paused.
    #[must_use]
    pub fn is_active(&self, id: NodeId) -> bool {
        self.is_running(id) && !self.nodes[&id].paused
    }

    pub(super) fn node(&mut self, id: NodeId) -> &mut Node<C> {
        self.nodes.get_mut(&id).expect("the node is one of the cluster")
    }

    /// Both clocks of a node.
    pub(super) fn now(&self, id: NodeId) -> Now {
        let wall = (self.time.0 / 1_000).saturating_add_signed(self.nodes[&id].skew_ms);
        Now { time: self.time, wall: WallTime(wall) }
    }

    pub(super) fn line<D: std::fmt::Display>(&mut self, detail: Detail, text: impl FnOnce() -> D) {
        self.transcript.line(detail, self.time, text);
    }

    pub(super) fn views(&self) -> Vec<View<'_>> {
        self.nodes.values().filter_map(|node| node.core.as_ref().map(C::view)).collect()
    }

    pub(super) fn check(&mut self) -> Result<(), Violation> {
        let views: Vec<View<'_>> =
            self.nodes.values().filter_map(|node| node.core.as_ref().map(C::view)).collect();
        self.invariants.check(&views)
    }

    fn start_core(&mut self, id: NodeId) -> Result<(), Violation> {
        let now = self.now(id);
        let (seed, tail_max, twins) =
            (self.options.seed, self.options.tail_max, self.options.twins);
        let settings = self.options.settings.clone();
        let node = self.node(id);
        assert!(node.core.is_none(), "only a node that does not run can be started");
        node.starts += 1;
        let seed = seed.wrapping_add(id.0 + 1_000 * (node.starts - 1));
        let settings = Settings { id, standing: node.standing, seed, ..settings };
        let start = || C::start(now, settings.clone(), node.disk.recovered(tail_max));
        let failed = |error: &dyn std::fmt::Display| {
            Violation::new("a node starts from what it wrote", format!("{id}: {error}"))
        };
        let core = start().map_err(|error| failed(&error))?;
        let recovered = node.disk.recovered(0);
        let promise = recovered.promise.clone().map(C::read_promise).transpose();
        let promise = promise.map_err(|error| failed(&error))?.unwrap_or_default();
        node.durability.started(&core.view(), &recovered, promise)?;
        node.twin = if twins { start().ok() } else { None };
        node.core = Some(core);
        node.applied = node.disk.committed();
        let starts = node.starts;
        if starts > 1 {
            self.line(Detail::Everything, || format!("{id} starts"));
        }
        self.check()?;
        self.flush(id)?;
        self.rest(id)
    }
}
