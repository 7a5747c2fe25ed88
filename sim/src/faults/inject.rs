//! Carrying out what breaks, and repairing it; processes that end, stop and start.

use std::time::Duration;

use consensus::{Consensus, NodeId, Time, Violation};
use kvcore::RequestId;
use kvcore::replica::ReplicaInput;

use super::{Crash, Fault, Occasion, Step, Who};
use crate::agenda::{Happening, Life};
use crate::cluster::Cluster;
use crate::history::OperationResult;
use crate::network::ConnectionId;
use crate::node::{DISK_WORKS, Node};
use crate::options::Span;

/// How long whoever wants another leader waits.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(2);

/// Where something happened that a fault comes with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scene {
    /// The node that it happened to; of a snapshot the sender.
    pub(crate) there: Option<Life>,
    /// Of a snapshot, the receiver.
    pub(crate) receiver: Option<Life>,
    /// Of a snapshot, its connection.
    pub(crate) connection: Option<ConnectionId>,
}

impl<C: Consensus> Cluster<C> {
    /// The steps of this moment.
    pub(crate) fn timed_faults(&mut self) -> Result<(), Violation> {
        for step in self.script.at(self.agenda.now()) {
            self.strike(step, Scene::default())?;
        }
        Ok(())
    }

    /// Something happened that is a bad moment for a fault: now and then one comes with it.
    pub(crate) fn disturb(&mut self, occasion: Occasion, scene: Scene) {
        if self.healed {
            return;
        }
        for (delay, step) in self.script.occurred(occasion) {
            self.agenda.after(delay, Happening::Fault(Box::new((step, scene))));
        }
    }

    /// One thing breaks.
    pub(crate) fn strike(&mut self, step: Step, scene: Scene) -> Result<(), Violation> {
        if self.healed {
            return Ok(());
        }
        self.counters.faults += 1;
        self.trace.fold(&step);
        self.trace.line(self.agenda.now(), || format!("✗ {}", step.fault));
        let fault = step.fault.clone();
        self.script.came.push(step);
        let now = self.agenda.now();
        match fault {
            Fault::Crash { who, how, down } => {
                if let Some(id) = self.whom(who, scene)
                    && self.crash(id, how)
                {
                    self.plan_restart(id, down);
                }
            }
            Fault::Pause { who, lasts } => {
                if let Some(id) = self.whom(who, scene) {
                    self.pause(id, lasts);
                }
            }
            Fault::JumpClock { node, millis } => self.node(node).clock.wall_skew_millis = millis,
            Fault::DriftClock { node, millionths } => {
                self.tenancies.drift(millionths);
                self.node(node).clock.drift(now, millionths);
            }
            Fault::LateTimers { node, up_to } => self.node(node).lateness = up_to,
            Fault::Transfer { asked, to } => {
                if let Some(asked) = self.whom(asked, scene) {
                    self.ask_for_transfer(asked, to);
                }
            }
            Fault::Wipe { node, directory, down } => self.wipe_disk(node, directory, down),
            Fault::SlowDisk { node, times, lasts } => self.slow_disk(node, times, lasts),
            Fault::FailSync { node } => self.node(node).disk.fail_sync(),
            Fault::FailWrite { node } => self.node(node).disk.fail_write(),
            Fault::FullDisk { node, lasts } => self.fill_disk(node, lasts),
            Fault::StuckDisk { node, lasts } => self.node(node).disk_stuck_until = now + lasts,
            Fault::FlipBit { node, place, down } => self.flip_bit(node, place, down)?,
            link => self.strike_link(link, scene),
        }
        Ok(())
    }

    /// Something breaks between nodes.
    fn strike_link(&mut self, fault: Fault, scene: Scene) {
        let now = self.agenda.now();
        match fault {
            Fault::Partition { side, lasts, breaks, late } => {
                let side: Vec<NodeId> =
                    side.into_iter().filter_map(|who| self.whom(who, scene)).collect();
                self.partition(&side, lasts, breaks, late);
            }
            Fault::Sever { a, b, lasts } => self.sever(a, b, lasts),
            Fault::Isolate { who, hears, lasts } => {
                if let Some(id) = self.whom(who, scene) {
                    self.isolate(id, hears, lasts);
                }
            }
            Fault::Disconnect { a, b } => self.break_connection(a, b, Span::millis(0, 300)),
            Fault::CutOff { who } => {
                if let Some(id) = self.whom(who, scene) {
                    self.cut_off(id);
                }
            }
            Fault::Stall { from, to, lasts } => {
                if let Some(to) = self.whom(to, scene) {
                    self.network.stall(from, to, now + lasts);
                }
            }
            Fault::SlowLink { from, to, by, lasts } => {
                self.network.slow(from, to, now + lasts, by);
            }
            Fault::BreakSnapshot => {
                if let Some(connection) = scene.connection {
                    self.break_stream(connection, Span::millis(0, 300));
                }
            }
            other => unreachable!("{other} does not strike between nodes"),
        }
    }

    fn node(&mut self, id: NodeId) -> &mut Node<C> {
        self.nodes.get_mut(&id).expect("a node of the cluster")
    }

    /// Whom a fault strikes: nobody if it was to strike a process that has ended meanwhile.
    fn whom(&self, who: Who, scene: Scene) -> Option<NodeId> {
        let alive = |life: Option<Life>| {
            let life = life?;
            let process = self.nodes[&life.node].process.as_ref()?;
            (process.life == life).then_some(life.node)
        };
        match who {
            Who::Node(id) => Some(id),
            Who::Leader(otherwise) => Some(self.leader.unwrap_or(otherwise)),
            Who::There => alive(scene.there),
            Who::Receiver => alive(scene.receiver),
        }
    }

    /// Somebody wants another leader, which is as bad a moment as a change of roles.
    pub(crate) fn ask_for_transfer(&mut self, asked: NodeId, to: Option<NodeId>) {
        let now = self.agenda.now();
        let node = self.nodes.get_mut(&asked).expect("a node of the cluster");
        let clock = node.clock;
        let Some(process) = node.process.as_mut() else { return };
        let life = process.life;
        process.requests_taken += 1;
        let request = RequestId(process.requests_taken);
        let deadline = clock.now(now).time + TRANSFER_TIMEOUT;
        self.trace.line(now, || format!("{asked} is asked for a transfer to {to:?}"));
        self.tell(life, ReplicaInput::Transfer { request, to, deadline });
        self.disturb(Occasion::RoleChange, Scene { there: Some(life), ..Scene::default() });
    }

    pub(super) fn plan_restart(&mut self, id: NodeId, downtime: Duration) {
        let number = self.nodes[&id].starts;
        self.agenda.after(downtime, Happening::Restart(Life { node: id, number }));
    }

    /// Ends a node's process. Returns whether there was one.
    pub(crate) fn crash(&mut self, id: NodeId, crash: Crash) -> bool {
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        if node.process.is_none() {
            return false;
        }
        self.counters.crashes += 1;
        self.trace.line(self.agenda.now(), || format!("{id} stops: {crash:?}"));
        node.write_last_gasps(&mut self.random);
        match crash {
            Crash::Kill => node.disk.kill(),
            Crash::PowerCut => node.disk.crash(self.random.next_u64()),
        }
        let process = node.process.take().expect("it runs");
        node.paused = None;
        node.lateness = Duration::ZERO;
        let deferred = std::mem::take(&mut node.deferred);
        self.invariants.crashed(id);
        if self.leader == Some(id) {
            self.leader = None;
        }
        let peers: Vec<NodeId> = self.nodes.keys().copied().filter(|&peer| peer != id).collect();
        for peer in peers {
            // A killed process's connections are closed by its system. A machine without power says
            // nothing: its peers find out by themselves, or when it is back.
            let notice = match crash {
                Crash::Kill => self.surroundings.kill_notice,
                Crash::PowerCut => Span::millis(100, 2_000),
            };
            self.break_connection(id, peer, notice);
            self.break_streams(id, peer, notice);
        }
        for operation in process.requests.values() {
            self.reply(*operation, OperationResult::Unknown);
        }
        drop(process);
        for happening in deferred {
            // Nobody is left to whom it could happen; requests are refused.
            if let Happening::Request { operation, .. } = happening {
                self.reply(operation, OperationResult::Unknown);
            }
        }
        true
    }

    /// A node starts after a crash. Sometimes the power fails during the recovery itself.
    pub(crate) fn restart(&mut self, id: NodeId) -> Result<(), Violation> {
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        if node.process.is_some() {
            return Ok(());
        }
        while self.random.one_in(6) {
            node.disk.power_lasts(self.random.below(6));
            // Whatever it came to, the power fails now.
            let _ = node.open_log();
            node.disk.crash(self.random.next_u64());
        }
        match self.start(id) {
            // The disk failed it, as it was made to. Its supervisor tries again.
            Err(violation) if violation.law == DISK_WORKS && self.nodes[&id].disk.may_fail() => {
                self.node(id).disk.kill();
                self.plan_restart(id, Duration::from_millis(100));
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn pause(&mut self, id: NodeId, lasts: Duration) {
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        if node.process.is_none() || node.paused.is_some() {
            return;
        }
        self.pauses += 1;
        node.paused = Some(self.pauses);
        self.agenda.after(lasts, Happening::Resume { node: id, pause: self.pauses });
    }

    /// A stopped process goes on, with everything that piled up meanwhile, in order.
    pub(crate) fn resume(&mut self, id: NodeId, pause: u64) -> Result<(), Violation> {
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        if node.paused != Some(pause) {
            return Ok(());
        }
        node.paused = None;
        let deferred = std::mem::take(&mut node.deferred);
        let now = self.agenda.now();
        self.trace.line(now, || format!("{id} goes on"));
        // What piled up for its threads they take up at once, and its loop before or behind that.
        let loop_is_last = self.random.one_in(2);
        let is_loop = |happening: &Happening| matches!(happening, Happening::Wake(_));
        let (last, first): (Vec<_>, Vec<_>) =
            deferred.into_iter().partition(|happening| loop_is_last && is_loop(happening));
        // A round that was due runs now; it was planned for the time that is over.
        for happening in first.into_iter().chain(last) {
            match happening {
                Happening::Wake(life) => {
                    if let Some(process) = self.process(life) {
                        process.wake_at = Some(now);
                    }
                    self.look(life)?;
                }
                other => self.happen(other)?,
            }
        }
        Ok(())
    }

    /// Repairs everything. What was stalled or stopped goes on at its own time.
    pub(crate) fn heal(&mut self) {
        let now = self.agenda.now();
        (self.healed, self.healed_at) = (true, now);
        self.trace.line(now, || "everything is repaired");
        self.network.unblock_all();
        self.network.quicken_all();
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            let node = self.nodes.get_mut(&id).expect("a node of the cluster");
            node.slow_disk.0 = 1;
            node.disk_stuck_until = Time(0);
            node.disk.fill(false);
            node.lateness = Duration::ZERO;
            node.clock.wall_skew_millis = 0;
            node.clock.drift(now, 0);
            let (is_down, number) = (node.process.is_none(), node.starts);
            if is_down {
                self.agenda
                    .after(Duration::from_millis(1), Happening::Restart(Life { node: id, number }));
            }
        }
    }
}
