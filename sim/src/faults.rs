//! What breaks: drawn from the seed, one thing at a time, each for a while.

use std::time::Duration;

use consensus::{Consensus, NodeId, Time, Violation};
use kvcore::RequestId;
use kvcore::replica::ReplicaInput;

use crate::agenda::{Happening, Item, Life};
use crate::cluster::Cluster;
use crate::history::OperationResult;
use crate::network::pair;
use crate::options::{Profile, Span};

/// How long whoever wants another leader waits.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(2);

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    CrashOne,
    CrashLeader,
    CrashAll,
    Partition,
    IsolateLeader,
    BreakConnection,
    StallDirection,
    Pause,
    PauseLeader,
    SlowDisk,
    FailSync,
    JumpClock,
    LateTimers,
    Transfer,
    WipeDisk,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Crash {
    /// It is killed; the system keeps what it wrote and closes its connections.
    Kill,
    /// The machine loses its power: what was not synced is lost or torn, and nobody is told.
    PowerCut,
}

impl Profile {
    pub(crate) fn faults(self) -> &'static [Fault] {
        use Fault::*;
        match self {
            Self::Calm => &[],
            Self::Crashes => {
                &[CrashOne, CrashOne, CrashLeader, CrashLeader, CrashAll, Transfer, Transfer]
            }
            Self::Partitions => &[
                Partition,
                IsolateLeader,
                BreakConnection,
                StallDirection,
                Pause,
                PauseLeader,
                Transfer,
                Transfer,
            ],
            Self::SlowDisks => {
                &[SlowDisk, SlowDisk, SlowDisk, FailSync, CrashOne, CrashAll, Transfer]
            }
            Self::WipedDisks => &[
                WipeDisk,
                CrashOne,
                CrashLeader,
                CrashAll,
                IsolateLeader,
                Partition,
                StallDirection,
                Transfer,
            ],
            Self::Everything => &[
                CrashOne,
                CrashLeader,
                CrashAll,
                Partition,
                IsolateLeader,
                BreakConnection,
                StallDirection,
                Pause,
                PauseLeader,
                SlowDisk,
                FailSync,
                JumpClock,
                LateTimers,
                Transfer,
                Transfer,
            ],
        }
    }
}

impl<C: Consensus> Cluster<C> {
    /// Something breaks, and the next fault is planned.
    pub(crate) fn fault(&mut self) {
        let faults = self.options.profile.faults();
        if self.healed || faults.is_empty() {
            return;
        }
        let interval = self.surroundings.fault_interval.draw(&mut self.random);
        self.agenda.after(interval, Happening::Fault);
        let choice = usize::try_from(self.random.below(faults.len() as u64)).expect("a few");
        let fault = faults[choice];
        self.counters.faults += 1;
        self.trace.fold(fault);
        let any = self.options.any_member(&mut self.random);
        let leader = self.leader.unwrap_or(any);
        match fault {
            Fault::CrashOne => self.crash_for_a_while(any),
            Fault::WipeDisk => self.wipe_disk(any),
            Fault::CrashLeader => self.crash_for_a_while(leader),
            Fault::CrashAll => {
                let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
                for id in ids {
                    self.crash_for_a_while(id);
                }
            }
            Fault::Partition => {
                let side: Vec<NodeId> =
                    self.nodes.keys().copied().filter(|id| (any.0 ^ id.0) & 1 == 0).collect();
                self.partition(&side);
            }
            Fault::IsolateLeader => self.partition(&[leader]),
            Fault::BreakConnection => {
                let other = self.options.any_member(&mut self.random);
                self.break_connection(any, other, Span::millis(0, 300));
            }
            Fault::StallDirection => {
                let other = self.options.any_member(&mut self.random);
                // Some stalls outlive several reigns, so that what was said in one comes in another.
                let most = if self.random.one_in(4) { 5_000 } else { 1_500 };
                let until = self.agenda.now() + Span::millis(50, most).draw(&mut self.random);
                self.network.stall(any, other, until);
                self.trace
                    .line(self.agenda.now(), || format!("{any} → {other} stalls until {until}"));
            }
            Fault::Pause => self.pause(any),
            Fault::PauseLeader => self.pause(leader),
            Fault::SlowDisk => self.slow_disk(any),
            Fault::FailSync => {
                let node = self.nodes.get_mut(&any).expect("a node of the cluster");
                if node.process.is_some() {
                    node.disk.fail_sync();
                    node.disk_fails = true;
                    self.trace.line(self.agenda.now(), || format!("{any} its next sync fails"));
                }
            }
            Fault::JumpClock => {
                let node = self.nodes.get_mut(&any).expect("a node of the cluster");
                let millis = i64::try_from(self.random.below(20_000)).expect("small");
                node.clock.wall_skew_millis = millis - 10_000;
            }
            Fault::Transfer => {
                let to = self.options.any_member(&mut self.random);
                let to = (!self.random.one_in(3)).then_some(to);
                let asked = if self.random.one_in(3) { any } else { leader };
                self.ask_for_transfer(asked, to);
            }
            Fault::LateTimers => {
                let lateness = Duration::from_millis(self.random.below(400));
                self.nodes.get_mut(&any).expect("a node of the cluster").lateness = lateness;
            }
        }
    }

    /// Somebody wants another leader. Now and then the next thing to break is one of the two.
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
        self.disturb(life);
    }

    pub(crate) fn crash_for_a_while(&mut self, id: NodeId) {
        let crash = if self.random.one_in(2) { Crash::Kill } else { Crash::PowerCut };
        if self.crash(id, crash) {
            let downtime = Span::millis(1, 1_200).draw(&mut self.random);
            self.plan_restart(id, downtime);
        }
    }

    /// A node loses its disk and starts anew. What the peers say to each other before they use a
    /// connection is that this is not the disk with which the cluster formed: so it does not count any
    /// more. Fewer lose theirs than would leave no quorum, for nothing brings one back.
    fn wipe_disk(&mut self, id: NodeId) {
        let is_voter = |id: NodeId| id.0 <= self.options.nodes;
        let wiped = self.nodes.values().filter(|node| node.wiped && node.id != id);
        let wiped = wiped.filter(|node| is_voter(node.id)).count() as u64;
        if is_voter(id) && (wiped + 1) * 2 >= self.options.nodes {
            return;
        }
        if self.crash(id, Crash::Kill) {
            let downtime = Span::millis(1, 300).draw(&mut self.random);
            self.plan_restart(id, downtime);
        }
        let directory = self.random.next_u64();
        self.counters.wipes += 1;
        self.trace.line(self.agenda.now(), || format!("{id} loses its disk"));
        self.nodes.get_mut(&id).expect("a node of the cluster").wipe(directory);
        self.invariants.wiped(id);
    }

    /// A node's role changes, which is when faults hurt most: now and then one comes just then.
    pub(crate) fn disturb(&mut self, life: Life) {
        let faults = self.options.profile.faults();
        if self.healed || faults.is_empty() || !self.random.one_in(16) {
            return;
        }
        let delay = self.surroundings.link_delay.draw(&mut self.random);
        let delay = self.random.duration_up_to(delay * 4);
        let crashes = faults.contains(&Fault::CrashOne);
        let cuts = faults.contains(&Fault::BreakConnection);
        let happening = if crashes && (!cuts || self.random.one_in(2)) {
            Happening::CrashSoon(life)
        } else {
            Happening::CutOffSoon(life)
        };
        self.agenda.after(delay, happening);
    }

    /// All connections of a node break.
    pub(crate) fn cut_off(&mut self, life: Life) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for peer in ids.into_iter().filter(|&peer| peer != life.node) {
            self.break_connection(life.node, peer, Span::millis(0, 50));
        }
    }

    /// After a failed sync a node stops, and its supervisor starts it again.
    pub(crate) fn stop_for_disk_failure(&mut self, id: NodeId) {
        self.crash(id, Crash::Kill);
        let downtime = Span::millis(1, 500).draw(&mut self.random);
        self.plan_restart(id, downtime);
    }

    fn plan_restart(&mut self, id: NodeId, downtime: Duration) {
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
        node.disk_fails = false;
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
                Crash::Kill => Span::millis(0, 5),
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
        self.start(id)
    }

    fn partition(&mut self, side: &[NodeId]) {
        let duration = Span::millis(50, 2_000).draw(&mut self.random);
        let until = self.agenda.now() + duration;
        let breaks = self.random.one_in(2);
        let soon = Span::millis(0, 400);
        // Nobody tells that side: it may believe for long that it is connected.
        let side_notices = if self.random.one_in(2) { soon } else { Span::millis(400, 2_000) };
        self.trace.line(self.agenda.now(), || format!("partition of {side:?} until {until}"));
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for &a in side {
            for &b in ids.iter().filter(|id| !side.contains(id)) {
                self.network.block(a, b);
                if breaks {
                    self.break_connection_noticed((a, side_notices), (b, soon));
                    self.break_streams(a, b, soon);
                } else {
                    self.network.stall(a, b, until);
                    self.network.stall(b, a, until);
                }
            }
        }
        self.partitions += 1;
        self.agenda.after(duration, Happening::HealPartition(self.partitions));
    }

    /// Breaks the connection of a pair, if it has one; each end notices after a while of its own.
    pub(crate) fn break_connection(&mut self, a: NodeId, b: NodeId, notice: Span) {
        self.break_connection_noticed((a, notice), (b, notice));
    }

    fn break_connection_noticed(&mut self, (a, a_notices): (NodeId, Span), b: (NodeId, Span)) {
        let (b, b_notices) = b;
        let lost = [!self.random.one_in(3), !self.random.one_in(3)];
        let Some((connection, ends)) = self.network.break_connection(a, b, lost) else { return };
        let now = self.agenda.now();
        self.trace.line(now, || format!("{a} ⇹ {b} their connection breaks"));
        if self.random.one_in(2) {
            self.break_streams(a, b, a_notices);
        }
        for (to, everything) in ends {
            let (from, notice) = if to == a { (b, a_notices) } else { (a, b_notices) };
            let at = (now + notice.draw(&mut self.random)).max(everything);
            self.agenda.at(at, Happening::Arrive { connection, from, to, item: Item::Down });
        }
        self.plan_dial(a, b);
    }

    pub(crate) fn plan_dial(&mut self, a: NodeId, b: NodeId) {
        let (a, b) = pair(a, b);
        let delay = self.surroundings.redial.draw(&mut self.random);
        self.agenda.after(delay, Happening::Dial(a, b));
    }

    /// Two nodes try to connect; if they can not, they try again.
    pub(crate) fn dial(&mut self, a: NodeId, b: NodeId) {
        if self.network.intact(a, b).is_some() {
            return;
        }
        let life = |id: NodeId| {
            let node = &self.nodes[&id];
            node.process.as_ref().filter(|_| node.paused.is_none()).map(|process| process.life)
        };
        let blocked = self.network.is_blocked(a, b);
        let (Some(end_a), Some(end_b), false) = (life(a), life(b), blocked) else {
            self.plan_dial(a, b);
            return;
        };
        let connection = self.network.connect(end_a, end_b);
        let now = self.agenda.now();
        for (from, to) in [(a, b), (b, a)] {
            let delay = self.surroundings.link_delay.draw(&mut self.random);
            let at = self.network.arrival(connection, from, to, now + delay);
            let at = at.expect("the connection is new");
            self.agenda.at(at, Happening::Arrive { connection, from, to, item: Item::Up });
        }
    }

    fn pause(&mut self, id: NodeId) {
        let duration = Span::millis(20, 2_500).draw(&mut self.random);
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        if node.process.is_none() || node.paused.is_some() {
            return;
        }
        self.pauses += 1;
        node.paused = Some(self.pauses);
        self.trace.line(self.agenda.now(), || format!("{id} is stopped for {duration:?}"));
        self.agenda.after(duration, Happening::Resume { node: id, pause: self.pauses });
    }

    /// A stopped process goes on, with everything that piled up meanwhile, in order.
    pub(crate) fn resume(&mut self, id: NodeId, pause: u64) -> Result<(), Violation> {
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        if node.paused != Some(pause) {
            return Ok(());
        }
        node.paused = None;
        let deferred = std::mem::take(&mut node.deferred);
        self.trace.line(self.agenda.now(), || format!("{id} goes on"));
        // A round that was due runs now; it was planned for the time that is over.
        for happening in deferred {
            match happening {
                Happening::Wake(life) => {
                    if let Some(process) = self.process(life) {
                        process.wake_at = Some(Time(0));
                    }
                    self.overdue_round(life)?;
                }
                other => self.happen(other)?,
            }
        }
        Ok(())
    }

    fn slow_disk(&mut self, id: NodeId) {
        let duration = Span::millis(100, 2_000).draw(&mut self.random);
        let factor = 1 + u32::try_from(self.random.below(300)).expect("small");
        self.slownesses += 1;
        let number = self.slownesses;
        self.nodes.get_mut(&id).expect("a node of the cluster").slow_disk = (factor, number);
        self.trace.line(self.agenda.now(), || format!("{id} its disk is {factor} times slower"));
        self.agenda.after(duration, Happening::HealSlowness { node: id, slowness: number });
    }

    pub(crate) fn heal_slowness(&mut self, id: NodeId, number: u64) {
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        if node.slow_disk.1 == number {
            node.slow_disk.0 = 1;
        }
    }

    pub(crate) fn heal_partition(&mut self, number: u64) {
        // Of partitions that overlap, the last one ends them all.
        if number == self.partitions {
            self.network.unblock_all();
        }
    }

    /// Repairs everything. What was stalled or stopped goes on at its own time.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        self.healed_at = self.agenda.now();
        self.trace.line(self.agenda.now(), || "everything is repaired");
        self.network.unblock_all();
        self.network.unstall_all();
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            let node = self.nodes.get_mut(&id).expect("a node of the cluster");
            node.slow_disk.0 = 1;
            node.lateness = Duration::ZERO;
            let (is_down, number) = (node.process.is_none(), node.starts);
            if is_down {
                self.agenda
                    .after(Duration::from_millis(1), Happening::Restart(Life { node: id, number }));
            }
        }
    }
}
