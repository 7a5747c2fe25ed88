//! Random walks through everything that can happen to a cluster.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;

use super::mixture::{ACTIONS, Action, choose, options, weight_factor};
use super::{Outcome, agree, elect, put, words};
use crate::script::{Cluster, Detail, Options};
use crate::{Consensus, Index, NodeId, Random, Standing, Timer};

/// How many seeds a test walks unless the environment says otherwise.
const SEEDS: u64 = 300;

/// How many steps a walk has.
const STEPS: u64 = 3_000;

/// Walks many seeds.
///
/// # Panics
/// When a walk breaks a law, or the walks together reach too little to mean anything.
pub fn random_walks<C: Consensus>(nodes: u64) {
    walk_many::<C>(nodes, false);
}

/// As [`random_walks`], with one or two observers, and voters that lose their disks.
///
/// # Panics
/// As [`random_walks`].
pub fn random_walks_with_observers<C: Consensus>(voters: u64) {
    walk_many::<C>(voters, true);
}

fn walk_many<C: Consensus>(nodes: u64, observed: bool) {
    if let Some(seed) = number_from_environment("CONFORMANCE_SEED") {
        walk_and_tell::<C>(seed, nodes, observed, Detail::Steps);
        return;
    }
    let seeds = number_from_environment("CONFORMANCE_SEEDS").unwrap_or(SEEDS);
    let (mut committed, mut terms, mut barriers) = (0, 0, 0);
    let (mut installed, mut handovers, mut wiped) = (0, 0, 0);
    for seed in 0..seeds {
        let cluster = walk_and_tell::<C>(seed, nodes, observed, Detail::Nothing);
        committed += cluster.invariants().committed().0;
        terms += cluster.invariants().leaders().len() as u64;
        barriers += cluster.answered().len() as u64;
        installed += cluster.installed();
        handovers += cluster.handovers();
        wiped += wiped_voters(&cluster).count() as u64;
    }
    assert!(committed > 20 * seeds, "the walks commit, not only {committed} entries");
    assert!(terms > 2 * seeds, "the walks change leaders, not only {terms} times");
    assert!(barriers > seeds, "the walks answer barriers, not only {barriers}");
    if nodes > 1 {
        assert!(2 * installed > seeds, "the walks install snapshots, not only {installed}");
        // Some ask for an observer, or for a voter that lost its disk, and are refused.
        let least = if observed { seeds / 6 } else { seeds / 4 };
        assert!(handovers > least, "the walks hand over, not only {handovers} times");
    }
    if observed {
        assert!(2 * wiped > seeds, "the walks lose disks, not only {wiped}");
    }
}

/// A number for the test run as a whole.
#[expect(
    clippy::disallowed_methods,
    reason = "it chooses which walks a test takes, not their steps"
)]
fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Walks one seed. When it fails, walks it again with a transcript.
fn walk_and_tell<C: Consensus>(
    seed: u64,
    nodes: u64,
    observed: bool,
    detail: Detail,
) -> Cluster<C> {
    let mut walk = Walk::new(seed, nodes, observed, detail);
    let result = catch_unwind(AssertUnwindSafe(|| walk.go()));
    let failure = match result {
        Ok(Ok(())) => return walk.cluster,
        Ok(Err(violation)) => violation.to_string(),
        Err(panic) => words(panic.as_ref()),
    };
    if detail == Detail::Nothing {
        walk_and_tell::<C>(seed, nodes, observed, Detail::Steps);
        panic!("seed {seed} fails only without a transcript: {failure}");
    }
    panic!("seed {seed} with {nodes} nodes: {failure}\n{}", walk.cluster.last_lines());
}

struct Walk<C: Consensus> {
    cluster: Cluster<C>,
    random: Random,
    /// Actions and the running sums of their weights.
    actions: Vec<(Action, u64)>,
    /// The most milliseconds that pass in one step.
    pass_ms_max: u64,
    command: u64,
}

impl<C: Consensus> Walk<C> {
    fn new(seed: u64, nodes: u64, observed: bool, detail: Detail) -> Self {
        let mut random = Random::new(seed);
        let observers = if observed { 1 + random.below(2) } else { 0 };
        let fresh = Options::with_observers(nodes, observers);
        let cluster = Cluster::new(Options { detail, ..options(&mut random, seed, fresh) })
            .expect("a fresh cluster breaks no law");
        let turbulent = random.one_in(2);
        let mut sum = 0;
        let mut actions = Vec::new();
        for (action, weight) in ACTIONS {
            let factor = weight_factor(action, turbulent, &mut random);
            // Without observers no disk is lost: some laws of a cluster are about what it remembers.
            let allowed = observed || action != Action::Wipe;
            sum += if allowed { weight * factor / 2 } else { 0 };
            actions.push((action, sum));
        }
        let pass_ms_max = [5, 20, 60][choose(&mut random, 3)];
        Self { cluster, random, actions, pass_ms_max, command: 0 }
    }

    fn go(&mut self) -> Outcome {
        for _ in 0..STEPS {
            let sum = self.actions.last().expect("there are actions").1;
            let drawn = self.random.below(sum);
            let action = self.actions.iter().find(|&&(_, sum)| drawn < sum).expect("below the sum");
            self.act(action.0)?;
        }
        self.recover()
    }

    fn act(&mut self, action: Action) -> Outcome {
        match action {
            Action::Deliver => self.deliver(),
            Action::Persist => self.with_running(|walk, id| {
                let count = 1 + choose(&mut walk.random, 3);
                walk.cluster.persist(id, count)?;
                walk.cluster.rest(id)
            }),
            Action::Apply => self.with_running(|walk, id| {
                let count = 1 + choose(&mut walk.random, 5);
                walk.cluster.apply(id, count)?;
                walk.cluster.rest(id)
            }),
            Action::Fetch => self.with_running(|walk, id| {
                walk.cluster.answer_fetch(id)?;
                walk.cluster.rest(id)
            }),
            Action::Time => {
                let millis = self.random.below(self.pass_ms_max) + 1;
                if self.random.one_in(50) {
                    self.cluster.skip(Duration::from_millis(10 * millis));
                }
                self.cluster.tick(Duration::from_millis(millis))
            }
            Action::Propose => self.propose(),
            Action::Read => self.ask(Cluster::read),
            Action::Sync => self.ask(Cluster::sync),
            Action::Transfer => self.transfer(),
            Action::Connect => {
                let (a, b) = (self.any_node(), self.any_node());
                self.cluster.connect(a, b)
            }
            Action::Notice => self.with_running(|walk, id| {
                let peer = walk.any_node();
                walk.cluster.notice(id, peer).map(|_| ())
            }),
            Action::Compact => self.with_running(Self::compact),
            Action::Snapshot => self.snapshot(),
            Action::Calm => self.calm(),
            _ => self.fail(action),
        }
    }

    /// One of the faults.
    fn fail(&mut self, action: Action) -> Outcome {
        match action {
            Action::Break => {
                let (a, b) = (self.any_node(), self.any_node());
                if a != b {
                    self.cluster.break_connection(a, b);
                }
                for (from, to) in [(a, b), (b, a)] {
                    self.cluster.deliver_late(from, to)?;
                    self.cluster.deliver_late_snapshots(from, to)?;
                }
                Ok(())
            }
            Action::Crash => {
                // Most is lost by a node that has just promised something.
                let mut ids = self.cluster.running();
                if self.random.one_in(2) {
                    ids.retain(|&id| self.cluster.pending_writes(id) > 0);
                }
                if let Some(&id) = ids.get(choose(&mut self.random, ids.len())) {
                    let kept = [0, 0, 1, usize::MAX][choose(&mut self.random, 4)];
                    self.cluster.crash_unnoticed(id, kept);
                }
                Ok(())
            }
            Action::Restart => {
                let id = self.any_node();
                if self.cluster.is_running(id) {
                    return Ok(());
                }
                self.cluster.restart(id)
            }
            Action::Partition => {
                let mut groups = vec![Vec::new(), Vec::new()];
                for id in self.cluster.ids() {
                    groups[choose(&mut self.random, 2)].push(id);
                }
                self.cluster.unblock_all();
                if self.random.one_in(2) {
                    self.cluster.partition_unnoticed(&groups);
                }
                Ok(())
            }
            Action::Pause => self.with_running(|walk, id| {
                if walk.cluster.is_active(id) && walk.random.one_in(2) {
                    walk.cluster.pause(id);
                } else {
                    walk.cluster.resume(id);
                }
                Ok(())
            }),
            // Frames of one direction wait, perhaps through several elections, and then come.
            Action::Stall => {
                let (from, to) = (self.any_node(), self.any_node());
                if self.cluster.is_held(from, to) || self.random.one_in(2) {
                    self.cluster.release(from, to);
                } else {
                    self.cluster.hold(from, to);
                }
                Ok(())
            }
            Action::Wipe => {
                let id = self.any_node();
                // A cluster survives the loss of a minority of its voters' disks.
                let voter = self.cluster.voters().contains(&id);
                let minority = (self.cluster.voters().len() - 1) / 2;
                let fresh = wiped_voters(&self.cluster).all(|wiped| wiped != id);
                if voter && fresh && wiped_voters(&self.cluster).count() >= minority {
                    return Ok(());
                }
                if self.cluster.is_running(id) {
                    self.cluster.crash_unnoticed(id, 0);
                }
                self.cluster.wipe(id);
                Ok(())
            }
            Action::Depose => {
                let leaders = self.cluster.established();
                let Some(&(id, _)) = leaders.first() else { return Ok(()) };
                if self.random.one_in(2) {
                    self.cluster.crash_unnoticed(id, 0);
                } else {
                    for peer in self.cluster.ids() {
                        if peer != id {
                            self.cluster.break_connection(id, peer);
                        }
                    }
                }
                Ok(())
            }
            _ => self.with_running(|walk, id| {
                let timers = [
                    Timer::Election,
                    Timer::Election,
                    Timer::Election,
                    Timer::Heartbeat,
                    Timer::Quorum,
                    Timer::Finalize,
                    Timer::Phase,
                    Timer::Transfer,
                ];
                walk.cluster.fire(id, timers[choose(&mut walk.random, timers.len())])
            }),
        }
    }

    /// One or more frames of one direction, with one flush, as a driver reads them from a socket.
    fn deliver(&mut self) -> Outcome {
        let mut directions = self.cluster.deliverable();
        directions.retain(|&(from, to)| !self.cluster.is_held(from, to));
        if directions.is_empty() {
            return Ok(());
        }
        let (from, to) = directions[choose(&mut self.random, directions.len())];
        let mut any = false;
        for _ in 0..=choose(&mut self.random, 3) {
            any |= self.cluster.receive(from, to)?;
        }
        if any {
            self.cluster.flush(to)?;
            self.cluster.rest(to)?;
        }
        Ok(())
    }

    /// A log forgets a part of what it may, or all of it.
    fn compact(&mut self, id: NodeId) -> Outcome {
        let first = self.cluster.core(id).view().log.first();
        let Some(count) = self.cluster.compactable(id).0.checked_sub(first.0) else {
            return Ok(());
        };
        let back = if self.random.one_in(3) { 0 } else { self.random.below(count + 1) };
        self.cluster.compact(id, Index(first.0 + count - back))
    }

    /// A snapshot that is under way arrives, or breaks off, or its sender learns of either.
    fn snapshot(&mut self) -> Outcome {
        let ended = self.cluster.ended_snapshots();
        if !ended.is_empty() && self.random.one_in(2) {
            let (from, to) = ended[choose(&mut self.random, ended.len())];
            return self.cluster.end_snapshot(from, to).map(|_| ());
        }
        let snapshots = self.cluster.snapshots();
        if snapshots.is_empty() {
            return Ok(());
        }
        let (from, to) = snapshots[choose(&mut self.random, snapshots.len())];
        if self.random.one_in(6) {
            self.cluster.fail_snapshot(from, to);
            return Ok(());
        }
        self.cluster.complete_snapshot(from, to).map(|_| ())
    }

    fn propose(&mut self) -> Outcome {
        let Some(id) = self.leader_or_any() else { return Ok(()) };
        let mut commands = Vec::new();
        for _ in 0..=choose(&mut self.random, 3) {
            self.command += 1;
            let padding = [0, 10, 100][choose(&mut self.random, 3)];
            commands.push(Bytes::from(format!("{:0>padding$}", self.command)));
        }
        self.cluster.propose(id, commands).map(|_| ())
    }

    fn transfer(&mut self) -> Outcome {
        let Some(id) = self.leader_or_any() else { return Ok(()) };
        let to = if self.random.one_in(4) { None } else { Some(self.any_node()) };
        self.cluster.transfer(id, to).map(|_| ())
    }

    fn ask(
        &mut self,
        request: impl Fn(&mut Cluster<C>, NodeId) -> Result<crate::Token, crate::Violation>,
    ) -> Outcome {
        let Some(id) = self.leader_or_any() else { return Ok(()) };
        request(&mut self.cluster, id).map(|_| ())
    }

    /// A while without faults, so that walks get somewhere.
    fn calm(&mut self) -> Outcome {
        let millis = self.random.below(600);
        self.cluster.notice_all()?;
        self.cluster.connect_all()?;
        self.cluster.run(Duration::from_millis(millis))
    }

    /// All faults end. A leader, agreement and progress must follow.
    fn recover(&mut self) -> Outcome {
        let cluster = &mut self.cluster;
        cluster.set_auto_persist(true);
        cluster.set_auto_apply(true);
        cluster.set_auto_fetch(true);
        cluster.set_auto_snapshot(true);
        for id in cluster.ids() {
            cluster.resume(id);
            if cluster.is_running(id) {
                cluster.rest(id)?;
            } else {
                cluster.restart(id)?;
            }
        }
        for from in cluster.ids() {
            for to in cluster.ids() {
                cluster.release(from, to);
            }
        }
        cluster.heal()?;
        // A transfer that is still under way ends within that time.
        cluster.run(cluster.options().settings.election_timeout)?;
        let (leader, _) = elect(cluster)?;
        put(cluster, leader, "after all")?;
        agree(cluster)?;
        assert!(cluster.open_barriers().is_empty(), "every barrier is answered or refused");
        assert!(cluster.open_transfers().is_empty(), "every transfer ends");
        self.check_commands(leader);
        Ok(())
    }

    /// What was applied was proposed, once, and not refused.
    fn check_commands(&self, id: NodeId) {
        let refused: BTreeSet<&Bytes> = self.cluster.refused().iter().collect();
        let mut applied = BTreeSet::new();
        for command in self.cluster.applied(id).iter().filter_map(crate::Entry::command) {
            assert!(applied.insert(command), "{command:?} was applied twice");
            assert!(!refused.contains(command), "{command:?} was refused and applied");
        }
        let entries = Index(self.cluster.applied(id).len() as u64);
        assert_eq!(
            entries,
            self.cluster.invariants().committed(),
            "all that is committed is applied"
        );
    }

    fn with_running(&mut self, action: impl FnOnce(&mut Self, NodeId) -> Outcome) -> Outcome {
        let running = self.cluster.running();
        if running.is_empty() {
            return Ok(());
        }
        let id = running[choose(&mut self.random, running.len())];
        action(self, id)
    }

    fn any_node(&mut self) -> NodeId {
        let ids = self.cluster.ids();
        ids[choose(&mut self.random, ids.len())]
    }

    /// Mostly an established leader, sometimes anybody; only nodes that are not paused.
    fn leader_or_any(&mut self) -> Option<NodeId> {
        let mut ids: Vec<NodeId> = self.cluster.established().iter().map(|&(id, _)| id).collect();
        if ids.is_empty() || self.random.one_in(8) {
            ids = self.cluster.running();
        }
        ids.retain(|&id| self.cluster.is_active(id));
        if ids.is_empty() { None } else { Some(ids[choose(&mut self.random, ids.len())]) }
    }
}

/// The voters that lost their disks.
fn wiped_voters<C: Consensus>(cluster: &Cluster<C>) -> impl Iterator<Item = NodeId> + '_ {
    let voters = cluster.voters().into_iter();
    voters.filter(|&id| cluster.standing(id) == Standing::Observer)
}
