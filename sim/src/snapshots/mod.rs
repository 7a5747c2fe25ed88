//! Logs that forget, and snapshots: each on a connection of its own, part by part, from the store of
//! one node into the next store of another.
//!
//! ```text
//!   sender                                            receiver
//!     offer ▶ view of the store ▶ dial
//!     Offer (message, state, terms) ────────────────▶ Receiving::begin: what is left of an earlier one
//!     ◀─────────────────────────────────────── After    counts, whoever sent it
//!     Ids … up to there ────────────────────────────▶ keep_only
//!     Rows … behind them ───────────────────────────▶ take
//!     Remembered … ─────────────────────────────────▶ take_remembered
//!     Records …, End ───────────────────────────────▶ take_records, finish: a machine beside the
//!                                                     present one
//!                                                     SnapshotReceived ▶ Persist.install, durable
//!     ◀──────────────────────────────────────── Done  Effects.install ▶ the machines are swapped
//!     SnapshotEnded
//! ```

mod receive;
mod send;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use consensus::{
    Consensus, Index, Leadership, Mutant, NodeId, Persist, Snapshot, Term, Violation, mutant,
};
use kvcore::replica::{Failure, ReplicaInput};
use kvcore::retention::Holds;
use kvcore::store::{Revision, RowId, StoreState};
use kvcore::{Envelope, MachineOptions};

use crate::agenda::{Happening, Life};
use crate::cluster::Cluster;
use crate::faults::{Occasion, Scene};
use crate::history::OperationResult;
use crate::network::ConnectionId;
use crate::options::Span;
use crate::process::Process;
use crate::watchers;
use receive::{Incoming, Received};
use send::Offer;

/// In a repaired cluster no part takes longer.
const HEALED_PART_DELAY_MAX: Duration = Duration::from_micros(500);

/// An offer of a snapshot, by its number in the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OfferId {
    pub(crate) from: Life,
    pub(crate) to: NodeId,
    pub(crate) number: u64,
}

/// What comes out of a connection that carries a snapshot.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// What the snapshot is of.
    Offer(Box<Offered>),
    /// The receiver has all rows up to this revision, and maybe more of them than there are, and all
    /// idempotency keys up to that entry.
    After(Revision, Index),
    /// Rows that the sender has up to there; none: that is all of them.
    Ids(Vec<RowId>),
    /// Rows behind there.
    Rows(Bytes),
    /// What is remembered of idempotency keys behind there.
    Remembered(Bytes),
    /// Leases and counters.
    Records(Bytes),
    /// There are no more.
    End,
    /// The receiver has dealt with the snapshot.
    Done,
    /// The connection broke.
    Broken,
}

/// What a snapshot is of.
#[derive(Clone, Debug)]
pub(crate) struct Offered {
    /// The connection on which the protocol offered it.
    main: ConnectionId,
    /// What the protocol said with it.
    message: Bytes,
    state: StoreState,
    terms: BTreeMap<Index, Term>,
}

/// What a process has to do with snapshots.
#[derive(Default)]
pub(crate) struct Snapshots {
    /// The last one that was offered to each peer.
    offers: BTreeMap<NodeId, Offer>,
    /// What the log is held for.
    pub(crate) holds: Holds<()>,
    /// The one that is coming in.
    incoming: Option<Incoming>,
    /// One that is whole, until the protocol says what becomes of it.
    received: Option<Received>,
    /// One that is durable in the log and about to take the machine's place.
    pub(crate) installing: Option<Received>,
}

impl Snapshots {
    /// The power is about to fail while a part is being written.
    pub(crate) fn write_last_gasp(&mut self, options: MachineOptions) {
        if let Some(incoming) = self.incoming.take() {
            incoming.write_last_gasp(options);
        }
    }
}

impl<C: Consensus> Cluster<C> {
    /// After a write of the store the log may forget what is in it, but for a tail.
    pub(crate) fn compact_log(&mut self, life: Life) {
        let Some(retained) = self.surroundings.retain_entries else { return };
        let pressing = self.surroundings.pressing_entries;
        let ahead = mutant::on(Mutant::ForgetsAheadOfStore);
        let ends = mutant::on(Mutant::SnapshotEndsUntold);
        let process = self.process(life).expect("its store was just written");
        let log = process.replica.core().view().log;
        let first = log.first();
        let stored = process.machine.flushed_state().applied.index;
        let stored = if ahead { log.applied().min(log.durable()) } else { stored };
        let but_for = |entries| Index(stored.0.saturating_sub(entries));
        let (index, at_least) = (but_for(retained), but_for(retained.max(pressing)));
        let (leadership, peers) = (process.replica.leadership(), process.replica.status().peers);
        let Process { replica, snapshots, .. } = process;
        let is_established = matches!(leadership, Leadership::Established { .. });
        if ends && !is_established {
            snapshots.holds = Holds::default();
        }
        let log = replica.core().view().log;
        let target = snapshots.holds.target(log, (leadership, &peers), (index, at_least));
        let unheld: Vec<NodeId> = snapshots
            .offers
            .keys()
            .copied()
            .filter(|&peer| !snapshots.holds.is_for(peer))
            .collect();
        for peer in unheld {
            self.abandon(life, peer);
        }
        if let Some(index) = target {
            self.counters.forgotten += index.0 + 1 - first.0;
            self.tell(life, ReplicaInput::Compact(index));
        }
    }

    /// The protocol was told of a snapshot that came in as a whole: it takes effect if a write of
    /// the same round says so, and is of no use otherwise.
    pub(crate) fn judge_snapshot(
        &mut self,
        life: Life,
        persists: &[Persist],
    ) -> Result<(), Violation> {
        let now = self.agenda.now();
        let process = self.process(life).expect("the loop runs in a process");
        let Some(received) = &process.snapshots.received else { return Ok(()) };
        let mut installs = persists.iter().filter_map(|persist| persist.install.as_ref());
        if installs.any(|snapshot| snapshot.handle == received.handle) {
            let scene = Scene { there: Some(life), ..Scene::default() };
            self.disturb(Occasion::Install, scene);
            return Ok(());
        }
        let received = process.snapshots.received.take().expect("looked at just now");
        let (handle, connection) = (received.handle, received.connection);
        drop(received);
        self.counters.useless += 1;
        self.trace.line(now, || format!("{} has no use for the snapshot", life.node));
        if !self.remove_store(life, handle)? {
            return Ok(());
        }
        self.send(connection, life.node, Part::Done);
        Ok(())
    }

    /// A snapshot is durable in the log: what the applier has not come to yet is in it.
    pub(crate) fn install(&mut self, life: Life, snapshot: &Snapshot) -> Result<(), Violation> {
        self.invariants.installed(life.node, snapshot)?;
        let process = self.process(life).expect("the loop runs in a process");
        let received = process.snapshots.received.take();
        let received = received.filter(|received| received.handle == snapshot.handle);
        process.snapshots.installing = Some(received.ok_or_else(|| {
            let details = format!("{}: {snapshot:?}", life.node);
            Violation::new("only what was received is installed", details)
        })?);
        // Their clients are not told more than that: the outcome is in the snapshot, unnamed.
        for entry in std::mem::take(&mut process.unapplied) {
            let header = entry.command().and_then(|envelope| Envelope::header(envelope).ok());
            let Some(header) = header else { continue };
            let own = (header.origin, header.incarnation) == (life.node, life.number);
            let process = self.process(life).expect("it still runs");
            if own && let Some(operation) = process.requests.remove(&header.request) {
                self.counters.swallowed += 1;
                self.reply(operation, OperationResult::Failed(Failure::UnknownOutcome));
            }
        }
        Ok(())
    }

    /// The applier takes the machine that was received in place of its own.
    pub(crate) fn swap_machine(&mut self, life: Life) -> Result<(), Violation> {
        let now = self.agenda.now();
        let process = self.process(life).expect("the applier runs in a process");
        let received = process.snapshots.installing.take().expect("the caller has seen it");
        process.machine = received.machine;
        process.machine.announce_leases();
        process.flushing = None;
        let former = process.machine.state();
        let node = self.nodes.get_mut(&life.node).expect("every life has its node");
        let former_number = std::mem::replace(&mut node.store_number, received.handle);
        self.trace.line(now, || format!("{} installs {}", life.node, former.applied));
        self.trace.fold((life, former));
        self.counters.installed += 1;
        self.counters.observer_installs += u64::from(self.nodes[&life.node].observes);
        let machine = &self.nodes[&life.node].process.as_ref().expect("it runs").machine;
        self.oracle.opened(life.node, machine.state())?;
        watchers::check_whole(&self.oracle.model, machine).map_err(|what| {
            let details = format!("{} at {}: {what}", life.node, former.applied);
            Violation::new("a snapshot holds the rows and the history of its position", details)
        })?;
        if self.remove_store(life, former_number)? {
            self.send(received.connection, life.node, Part::Done);
        }
        Ok(())
    }

    /// How long it takes to read or to write a part, which is not long once everything is repaired.
    fn part_delay(&mut self) -> Duration {
        let Span { least, most } = self.surroundings.part_delay;
        let most = if self.healed { most.min(HEALED_PART_DELAY_MAX) } else { most };
        Span { least, most }.draw(&mut self.random)
    }

    /// Removes a store that does not count any more. Returns whether the disk works.
    fn remove_store(&mut self, life: Life, number: u64) -> Result<bool, Violation> {
        let node = self.nodes.get_mut(&life.node).expect("every life has its node");
        let Err(error) = node.stores.remove(&node.disk, number) else { return Ok(true) };
        self.store_failed(life, error.to_string()).map(|()| false)
    }

    /// A store failed: the node stops if its disk did.
    fn store_failed(&mut self, life: Life, error: String) -> Result<(), Violation> {
        if self.nodes[&life.node].disk.may_fail() {
            self.stop_for_disk_failure(life.node);
            return Ok(());
        }
        Err(Violation::new("the store works", format!("{}: {error}", life.node)))
    }

    /// Sends a part from one end of a connection, if that is up.
    fn send(&mut self, connection: ConnectionId, from: NodeId, part: Part) {
        let ends = self.network.ends(connection).map(|end| end.node);
        let to = if ends[0] == from { ends[1] } else { ends[0] };
        let delay = self.surroundings.link_delay.draw(&mut self.random);
        let earliest = self.agenda.now() + delay;
        if let Some(at) = self.network.arrival(connection, from, to, earliest) {
            self.agenda.at(at, Happening::ArrivePart { connection, from, to, part });
        }
    }

    /// A part comes out of a connection.
    pub(crate) fn arrive_part(
        &mut self,
        connection: ConnectionId,
        from: NodeId,
        to: NodeId,
        part: Part,
    ) {
        let life = self.network.end(connection, to).expect("a connection has two ends");
        let is_lost = self.network.loses(connection, to) && !matches!(part, Part::Broken);
        if is_lost || self.process(life).is_none() {
            return;
        }
        match part {
            Part::After(revision, index) => {
                self.go_on_after(life, connection, from, (revision, index));
            }
            Part::Done => self.snapshot_done(life, connection, from),
            Part::Broken => {
                self.sending_broke(life, connection, from);
                self.receiving_broke(life, connection);
            }
            part @ (Part::Offer(_)
            | Part::Ids(_)
            | Part::Rows(_)
            | Part::Remembered(_)
            | Part::Records(_)
            | Part::End) => {
                self.receive_part(life, connection, part);
            }
        }
    }

    /// Breaks a connection that carries a snapshot; each end notices after a while of its own.
    pub(crate) fn break_stream(&mut self, connection: ConnectionId, notice: Span) {
        if self.network.is_broken(connection) {
            return;
        }
        let lost = [!self.random.one_in(3), !self.random.one_in(3)];
        let [a, b] = self.network.ends(connection).map(|end| end.node);
        let now = self.agenda.now();
        self.trace.line(now, || format!("{a} ⇹ {b} the connection of their snapshot breaks"));
        for (to, everything) in self.network.break_off(connection, lost) {
            let from = if to == a { b } else { a };
            let at = (now + notice.draw(&mut self.random)).max(everything);
            self.agenda.at(at, Happening::ArrivePart { connection, from, to, part: Part::Broken });
        }
    }

    /// Breaks the snapshots between two nodes.
    pub(crate) fn break_streams(&mut self, a: NodeId, b: NodeId, notice: Span) {
        for connection in self.network.streams() {
            let ends = self.network.ends(connection).map(|end| end.node);
            if ends.contains(&a) && ends.contains(&b) {
                self.break_stream(connection, notice);
            }
        }
    }
}
