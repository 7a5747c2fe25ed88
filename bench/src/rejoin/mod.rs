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

mod record;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use consensus::NodeId;
use indicatif::ProgressBar;

use crate::Error;
use crate::cluster::{Cluster, Counters, Fault};
use crate::load::{Background, Ledger, Window};
pub use record::{Behind, MemoryUse, Rejoin, RejoinOptions};

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
const SNAPSHOTS_RECEIVED: &str = "etcd_network_snapshot_receive_success_total";
const SNAPSHOT_SENT_BYTES: &str = "duorum_snapshot_sent_bytes_total";

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
