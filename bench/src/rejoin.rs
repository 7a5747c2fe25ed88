//! How a follower that was away comes back: by the log, or by a snapshot where the log has forgotten
//! what it lacks.
//!
//! 1. Writers write, and their latency is noted while all nodes are there.
//! 2. A follower is killed, and the writers write as fast as they can until it lacks what was asked
//!    for. For a snapshot, until every segment is gone that the leader's log had when the follower
//!    fell.
//! 3. The writers go on as in the beginning, and the follower is started again. For a snapshot it is
//!    killed once more when about half of it is there, and started again.
//! 4. It has caught up when it has applied what the leader had when it was started, and lags by no
//!    more than a few entries of what is written meanwhile.
//! 5. The writers stop, and all replicas must have the same.
//!
//! The writers write to the nodes that stay, so that only what the others do for the one that comes
//! back can slow them down.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use consensus::NodeId;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::cluster::{Agreement, Cluster, Counters, Fault};
use crate::load::{Background, BackgroundOptions, Ledger, Verdict, Window};

/// Who lags by no more entries than this while others write has caught up.
pub const LAG_ENTRIES_MAX: u64 = 1_000;
/// How long the writers write before anything is noted.
const WARMUP: Duration = Duration::from_secs(1);
/// How long after a change of pace nothing is noted: what the faster pace left behind is worked off.
const SETTLING: Duration = Duration::from_millis(500);
/// How often the nodes are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// What a version of a key takes of a snapshot besides its value, about.
const ROW_OVERHEAD_BYTES: u64 = 50;
const LEADER_CHANGES: &str = "etcd_server_leader_changes_seen_total";
const SNAPSHOTS_SENT: &str = "etcd_network_snapshot_send_success_total";
const SNAPSHOTS_RECEIVED: &str = "etcd_network_snapshot_receive_success_total";
const SNAPSHOT_SENT_BYTES: &str = "duorum_snapshot_sent_bytes_total";

/// How much the follower is to lack, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behind {
    /// Entries of the log.
    Entries(u64),
    /// Bytes of values written.
    Bytes(u64),
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RejoinOptions {
    /// How much the follower is to lack.
    pub behind: Behind,
    /// Whether it is to come back by a snapshot.
    pub snapshot: bool,
    /// How many writers there are.
    pub connections: usize,
    /// Writes a second before and during the return; `None` for as many as they can.
    pub per_second: Option<f64>,
    /// The size of a value in bytes.
    pub value_bytes: usize,
    /// How many keys there are.
    pub keys: u64,
    /// How long latency is noted before.
    pub before: Duration,
    /// How long the follower may stay away, and how long its return may take.
    pub limit: Duration,
    /// Where keys and values come from.
    pub seed: u64,
}

impl RejoinOptions {
    /// Refuses what can not be run.
    ///
    /// # Errors
    /// [`Error::Usage`] with what is allowed.
    pub fn check(&self) -> Result<(), Error> {
        self.writers(Vec::new()).check(self.keys)
    }

    fn writers(&self, endpoints: Vec<SocketAddr>) -> BackgroundOptions {
        BackgroundOptions {
            endpoints,
            connections: self.connections,
            value_bytes: self.value_bytes,
            per_second: self.per_second,
            enough: None,
            seed: self.seed,
        }
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejoin {
    /// Who led.
    pub leader: u64,
    /// Who was away.
    pub follower: u64,
    /// Entries that the leader had applied and the follower had not when it was started.
    pub behind_entries: u64,
    /// Bytes of values written while it was away.
    pub behind_bytes: u64,
    /// How long it was away.
    pub away_seconds: f64,
    /// From its first start to its having caught up, in milliseconds.
    pub caught_up_ms: f64,
    /// The same from its last start; the same number if it was not killed half way.
    pub caught_up_after_last_start_ms: f64,
    /// How much of a snapshot was sent when it was killed half way, if it was.
    pub killed_after_bytes: Option<f64>,
    /// The term or epoch when the follower fell.
    pub term_before: u64,
    /// The term or epoch at the end.
    pub term_after: u64,
    /// Changes of the leader that those saw that stayed.
    pub leader_changes: f64,
    /// Snapshots that the leader sent as a whole meanwhile.
    pub snapshots_sent: f64,
    /// Bytes of snapshots that it sent, those that broke off included.
    pub snapshot_sent_bytes: f64,
    /// Snapshots that the follower received as a whole since its last start.
    pub snapshots_received: f64,
    /// The leader's memory meanwhile.
    pub sender: MemoryUse,
    /// The follower's memory since it was started first.
    pub receiver: MemoryUse,
    /// What the writers saw before.
    pub before: Window,
    /// What the writers saw while the follower was away.
    pub away: Window,
    /// What the writers saw from its first start until it had caught up.
    pub during: Window,
    /// Whether all replicas have the same at the end.
    pub agreement: Agreement,
    /// Whether everything acknowledged is there.
    pub verdict: Verdict,
}

/// What a process occupied of memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryUse {
    /// At the beginning.
    pub first_bytes: u64,
    /// The most that was seen by looking every few milliseconds (`VmRSS`).
    pub sampled_max_bytes: u64,
    /// The most according to the kernel (`VmHWM`), which was reset at the beginning.
    pub peak_bytes: u64,
}

impl MemoryUse {
    fn look(&mut self, cluster: &Cluster, id: NodeId) {
        let Some(memory) = cluster.memory(id) else { return };
        if self.first_bytes == 0 {
            self.first_bytes = memory.resident_bytes;
        }
        self.sampled_max_bytes = self.sampled_max_bytes.max(memory.resident_bytes);
        self.peak_bytes = self.peak_bytes.max(memory.peak_bytes);
    }
}

impl Rejoin {
    /// How much slower 99 of 100 writes were while the follower came back.
    #[must_use]
    pub fn slowdown(&self) -> Option<f64> {
        let before = self.before.latency.p99_ms;
        (before > 0.0).then(|| self.during.latency.p99_ms / before)
    }

    /// The promises that were broken.
    #[must_use]
    pub fn broken(&self, options: &RejoinOptions) -> Vec<String> {
        let mut broken = Vec::new();
        if self.leader_changes > 0.0 || self.term_after != self.term_before {
            broken.push(format!(
                "the leader changed meanwhile: {} changes were seen, and term {} became {}",
                self.leader_changes, self.term_before, self.term_after
            ));
        }
        if options.snapshot && self.snapshots_sent < 1.0 {
            broken.push("the follower came back without a snapshot".to_owned());
        }
        if !options.snapshot && self.snapshot_sent_bytes > 0.0 {
            broken.push("the follower came back by a snapshot, not by the log".to_owned());
        }
        broken.extend(self.agreement.broken());
        broken.extend(self.verdict.broken());
        broken
    }
}

/// Measures one return.
///
/// # Errors
/// [`Error::Usage`] for impossible options, [`Error::Node`] when the follower does not come back in
/// time or a node fails.
pub async fn measure(
    cluster: &mut Cluster,
    options: &RejoinOptions,
    bar: &ProgressBar,
) -> Result<Rejoin, Error> {
    let leader = cluster.settle().await?;
    let follower = cluster.ids().into_iter().find(|&id| id != leader);
    let follower =
        follower.ok_or_else(|| Error::Usage("a single node has no follower".to_owned()))?;
    options.check()?;
    let writers = options.writers(cluster.endpoints_without(follower));
    let ledger = Arc::new(Ledger::new(options.keys));
    let load = Background::start(writers, &ledger)?;
    let mut run = Run { cluster, options, bar, leader, follower, load };

    bar.set_message("writes with all nodes");
    tokio::time::sleep(WARMUP).await;
    run.load.window();
    tokio::time::sleep(options.before).await;
    let before = run.load.window();
    let away = run.stay_away().await?;
    let back = run.come_back(&away).await?;

    let Run { cluster, load, .. } = run;
    bar.set_message("do all replicas have the same?");
    load.stop().await;
    let agreement = cluster.agreement().await?;
    bar.set_message("is everything there that was acknowledged?");
    let verdict = ledger.verify(&cluster.endpoints(), bar).await?;
    let leader_changes = back.others_after.since(&away.others_before).sum(LEADER_CHANGES);
    let leader_after = back.leader_after.since(&away.leader_before);
    let sum = |counters: &Counters, name| counters.sum(name).unwrap_or(0.0);
    Ok(Rejoin {
        leader: leader.0,
        follower: follower.0,
        behind_entries: back.behind_entries,
        behind_bytes: away.bytes,
        away_seconds: away.seconds,
        caught_up_ms: back.caught_up_ms,
        caught_up_after_last_start_ms: back.caught_up_after_last_start_ms,
        killed_after_bytes: back.killed_after_bytes,
        term_before: away.term,
        term_after: cluster.progress(leader).await?.term,
        leader_changes: leader_changes.unwrap_or(0.0),
        snapshots_sent: sum(&leader_after, SNAPSHOTS_SENT),
        snapshot_sent_bytes: sum(&leader_after, SNAPSHOT_SENT_BYTES),
        snapshots_received: sum(&back.follower_after, SNAPSHOTS_RECEIVED),
        sender: back.sender,
        receiver: back.receiver,
        before,
        away: away.window,
        during: back.window,
        agreement,
        verdict,
    })
}

/// A measurement under way.
struct Run<'a> {
    cluster: &'a mut Cluster,
    options: &'a RejoinOptions,
    bar: &'a ProgressBar,
    leader: NodeId,
    follower: NodeId,
    load: Background,
}

/// What was seen while the follower was away.
struct Away {
    /// What the leader had applied when it fell.
    applied: u64,
    bytes: u64,
    seconds: f64,
    term: u64,
    window: Window,
    /// What those that stay had counted when it fell.
    others_before: Counters,
    leader_before: Counters,
}

/// What was seen while it came back.
struct Back {
    behind_entries: u64,
    caught_up_ms: f64,
    caught_up_after_last_start_ms: f64,
    killed_after_bytes: Option<f64>,
    window: Window,
    others_after: Counters,
    leader_after: Counters,
    follower_after: Counters,
    sender: MemoryUse,
    receiver: MemoryUse,
}

impl Run<'_> {
    /// Kills the follower and lets the others write until it lacks what was asked for.
    async fn stay_away(&mut self) -> Result<Away, Error> {
        let began = Instant::now();
        let term = self.cluster.progress(self.leader).await?.term;
        let (others_before, leader_before) = self.count().await?;
        self.cluster.strike(self.follower, Fault::Kill).await?;
        let applied = self.cluster.progress(self.leader).await?.applied_index;
        let had = self.cluster.log_segments(self.leader);
        let acknowledged = self.load.acknowledged();
        self.load.set_rate(None);
        let (wanted, what) = match self.options.behind {
            Behind::Entries(entries) => (entries, "entries"),
            Behind::Bytes(bytes) => (bytes, "bytes"),
        };
        self.bar.set_length(wanted);
        let (mut bytes, mut is_forgotten) = (0, false);
        loop {
            self.check_time(began, "the follower does not lack enough yet")?;
            let now = self.cluster.progress(self.leader).await?.applied_index;
            let writes = self.load.acknowledged() - acknowledged;
            bytes = bytes.max(writes * self.options.value_bytes as u64);
            let lacks = match self.options.behind {
                Behind::Entries(_) => now.saturating_sub(applied),
                Behind::Bytes(_) => bytes,
            };
            is_forgotten |= self.options.snapshot && self.forgot(&had);
            self.bar.set_position(lacks.min(wanted));
            if lacks >= wanted && (is_forgotten || !self.options.snapshot) {
                break;
            }
            self.bar.set_message(if lacks < wanted {
                format!("{what} written while node {} is away", self.follower.0)
            } else {
                "until the leader's log forgets what it lacks".to_owned()
            });
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        let window = self.load.window();
        if self.options.per_second.is_some() {
            self.load.set_rate(self.options.per_second);
            tokio::time::sleep(SETTLING).await;
        }
        self.load.window();
        let seconds = began.elapsed().as_secs_f64();
        Ok(Away { applied, bytes, seconds, term, window, others_before, leader_before })
    }

    /// Whether nothing is left of what the leader's log was.
    fn forgot(&self, had: &BTreeSet<String>) -> bool {
        self.cluster.log_segments(self.leader).is_disjoint(had)
    }

    /// Starts the follower and waits until it has caught up.
    async fn come_back(&mut self, away: &Away) -> Result<Back, Error> {
        let (leader, follower) = (self.leader, self.follower);
        let at_start = self.cluster.progress(leader).await?;
        let row_bytes = self.options.value_bytes as u64 + ROW_OVERHEAD_BYTES;
        let half_bytes = (at_start.store.versions * row_bytes / 2) as f64;
        let (mut sender, mut receiver) = (MemoryUse::default(), MemoryUse::default());
        self.cluster.reset_memory_peak(leader);
        sender.look(self.cluster, leader);
        self.load.window();
        let started = Instant::now();
        let (mut last_start, mut killed_after_bytes) = (started, None);
        self.cluster.start_node(follower)?;
        let lacked = at_start.applied_index.saturating_sub(away.applied);
        self.bar.set_length(lacked);
        self.bar.set_position(0);
        self.bar.set_message(format!("entries that node {} has caught up", follower.0));
        loop {
            self.check_time(started, "the follower has not caught up")?;
            self.cluster.check_running(follower)?;
            sender.look(self.cluster, leader);
            receiver.look(self.cluster, follower);
            if self.options.snapshot && killed_after_bytes.is_none() {
                let counted = self.cluster.counters_of(leader).await?;
                let sent = counted.since(&away.leader_before).sum(SNAPSHOT_SENT_BYTES);
                if let Some(sent) = sent.filter(|&sent| sent >= half_bytes) {
                    receiver.look(self.cluster, follower);
                    self.cluster.strike(follower, Fault::Kill).await?;
                    self.cluster.start_node(follower)?;
                    (last_start, killed_after_bytes) = (Instant::now(), Some(sent));
                }
            }
            // It does not answer before it has read its log.
            if let Ok(own) = self.cluster.progress(follower).await {
                self.bar.set_position(own.applied_index.saturating_sub(away.applied).min(lacked));
                if own.applied_index >= at_start.applied_index {
                    let leads = self.cluster.progress(leader).await?.applied_index;
                    if leads.saturating_sub(own.applied_index) <= LAG_ENTRIES_MAX {
                        break;
                    }
                }
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        let window = self.load.window();
        let (caught_up, after_last_start) = (started.elapsed(), last_start.elapsed());
        receiver.look(self.cluster, follower);
        let (others_after, leader_after) = self.count().await?;
        Ok(Back {
            behind_entries: lacked,
            caught_up_ms: millis(caught_up),
            caught_up_after_last_start_ms: millis(after_last_start),
            killed_after_bytes,
            window,
            others_after,
            leader_after,
            follower_after: self.cluster.counters_of(follower).await?,
            sender,
            receiver,
        })
    }

    /// What those that stay, and what the leader, have counted.
    async fn count(&self) -> Result<(Counters, Counters), Error> {
        let mut all = Counters::default();
        for id in self.cluster.ids().into_iter().filter(|&id| id != self.follower) {
            all.add(&self.cluster.counters_of(id).await?);
        }
        Ok((all, self.cluster.counters_of(self.leader).await?))
    }

    fn check_time(&self, began: Instant, what: &str) -> Result<(), Error> {
        if began.elapsed() < self.options.limit {
            return Ok(());
        }
        Err(Error::node(format!("after {} s: {what}", self.options.limit.as_secs())))
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Window {
        Window {
            seconds: 1.0,
            acknowledged: 10,
            per_second: 10.0,
            latency: crate::load::LatencyReport { p99_ms: 4.0, ..Default::default() },
            gap_max_ms: 0.0,
            definite_errors: std::collections::BTreeMap::new(),
            unknown_outcomes: std::collections::BTreeMap::new(),
        }
    }

    fn rejoin(snapshot: bool) -> (RejoinOptions, Rejoin) {
        let options = RejoinOptions {
            behind: Behind::Entries(100),
            snapshot,
            connections: 1,
            per_second: None,
            value_bytes: 16,
            keys: 10,
            before: Duration::ZERO,
            limit: Duration::ZERO,
            seed: 1,
        };
        let (agree, answered, members, digest_revision) = (Some(true), 3, 3, Some(9));
        let rejoin = Rejoin {
            leader: 1,
            follower: 2,
            behind_entries: 100,
            behind_bytes: 1_600,
            away_seconds: 1.0,
            caught_up_ms: 10.0,
            caught_up_after_last_start_ms: 10.0,
            killed_after_bytes: None,
            term_before: 1,
            term_after: 1,
            leader_changes: 0.0,
            snapshots_sent: f64::from(u8::from(snapshot)),
            snapshot_sent_bytes: f64::from(u8::from(snapshot)) * 100.0,
            snapshots_received: f64::from(u8::from(snapshot)),
            sender: MemoryUse::default(),
            receiver: MemoryUse::default(),
            before: window(),
            away: window(),
            during: window(),
            agreement: Agreement { agree, answered, members, digest_revision },
            verdict: Verdict::default(),
        };
        (options, rejoin)
    }

    #[test]
    fn what_was_promised_is_held_against_what_happened() {
        for snapshot in [false, true] {
            let (options, good) = rejoin(snapshot);
            assert_eq!(good.broken(&options), Vec::<String>::new());
            assert_eq!(good.slowdown(), Some(1.0));
            let says = |change: &dyn Fn(&mut Rejoin), expected: &str| {
                let mut bad = good.clone();
                change(&mut bad);
                let broken = bad.broken(&options);
                assert!(broken.len() == 1 && broken[0].contains(expected), "{broken:?}");
            };
            says(&|bad| bad.leader_changes = 1.0, "the leader changed");
            says(&|bad| bad.term_after = 2, "term 1 became 2");
            says(&|bad| bad.agreement.agree = Some(false), "agree is false");
            says(&|bad| bad.agreement.agree = None, "agree is not known");
            says(&|bad| bad.agreement.answered = 2, "2 of 3 answered");
            says(&|bad| bad.verdict.broken_keys = 1, "as they were acknowledged");
        }
        let (options, _) = rejoin(true);
        assert!(rejoin(false).1.broken(&options)[0].contains("without a snapshot"));
        let (options, _) = rejoin(false);
        assert!(rejoin(true).1.broken(&options)[0].contains("not by the log"));
    }
}
