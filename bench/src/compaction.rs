//! Much history compacted at once: what do those notice who write meanwhile?
//!
//! Writers fill a fresh cluster that keeps all history. Then they write at a fixed rate, and their
//! latencies count from when a write was due. A while later everything before is compacted with one call.
//! The time until no node has any of it left is held against the time before, and so is a while after
//! that, in which the store still removes rows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::cluster::{Agreement, Cluster, NodeMemory, post_json};
use crate::load::{Background, BackgroundOptions, Ledger, Verdict, Window};

/// How often it is looked how far the writers, and the nodes, are.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long the paced writes go on before they count: what full speed left behind is done then.
const CALM: Duration = Duration::from_secs(5);
/// How long a compaction may take to be taken, and to be done.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const DONE_TIMEOUT: Duration = Duration::from_secs(300);

/// The revision of a store in which nothing was ever written.
const FIRST_REVISION: u64 = 1;

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompactionOptions {
    /// How many revisions there are when it is compacted, at least.
    pub revisions: u64,
    /// How many keys they are of.
    pub keys: u64,
    /// The clients that write.
    pub connections: usize,
    /// Writes a second before, during and after.
    pub per_second: f64,
    /// How long is measured before, after, and at least during the compaction.
    pub window: Duration,
    /// The size of a value in bytes.
    pub value_bytes: usize,
    /// Where keys and values come from.
    pub seed: u64,
}

impl CompactionOptions {
    /// Refuses what can not be run.
    ///
    /// # Errors
    /// [`Error::Usage`] with what is allowed.
    pub fn check(&self) -> Result<(), Error> {
        let paced =
            BackgroundOptions { per_second: Some(self.per_second), ..self.writers(Vec::new()) };
        paced.check(self.keys)
    }

    fn writers(&self, endpoints: Vec<SocketAddr>) -> BackgroundOptions {
        BackgroundOptions {
            endpoints,
            connections: self.connections,
            value_bytes: self.value_bytes,
            per_second: None,
            enough: None,
            seed: self.seed,
        }
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompactionReport {
    /// The revision that was compacted.
    pub revision: u64,
    /// Versions that the call gave up.
    pub forgotten: u64,
    /// How long the call took, in milliseconds.
    pub call_ms: f64,
    /// From the call until no node had any of the history left, in seconds.
    pub done_seconds: f64,
    /// What the writers saw before.
    pub before: Window,
    /// What they saw from the call until it was done, and at least for the time that was asked for.
    pub during: Window,
    /// What they saw afterwards.
    pub after: Window,
    /// Each node's memory before, and its peak of filling.
    pub memory_before: Vec<NodeMemory>,
    /// Each node's memory at the end, and its peak since the call.
    pub memory_after: Vec<NodeMemory>,
    /// Whether all replicas have the same at the end.
    pub agreement: Agreement,
    /// Whether everything acknowledged is there.
    pub verdict: Verdict,
}

impl CompactionReport {
    /// The 99th percentile of latencies during or after it, whichever is worse, to that before.
    #[must_use]
    pub fn p99_ratio(&self) -> f64 {
        let worse = self.during.latency.p99_ms.max(self.after.latency.p99_ms);
        worse / self.before.latency.p99_ms.max(1e-3)
    }

    /// The promises that were broken.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        self.verdict.broken_promises(&self.agreement)
    }
}

/// Fills a fresh cluster with history, and compacts it under paced writes.
///
/// # Errors
/// [`Error::Usage`] for impossible options, [`Error::Node`] when a node fails, refuses or never gets done.
pub async fn measure(
    cluster: &mut Cluster,
    options: &CompactionOptions,
    bar: &ProgressBar,
) -> Result<CompactionReport, Error> {
    options.check()?;
    let ledger = Arc::new(Ledger::new(options.keys));
    let load = Background::start(options.writers(cluster.endpoints()), &ledger)?;
    bar.set_length(options.revisions);
    bar.set_message("revisions");
    while load.acknowledged() < options.revisions {
        tokio::time::sleep(LOOK_INTERVAL).await;
        check_running(cluster)?;
        bar.set_position(load.acknowledged().min(options.revisions));
    }
    load.set_rate(Some(options.per_second));
    bar.set_message("before the compaction");
    tokio::time::sleep(CALM).await;
    let memory_before = cluster.memories();
    cluster.ids().into_iter().for_each(|id| cluster.reset_memory_peak(id));
    load.window();
    tokio::time::sleep(options.window).await;
    let before = load.window();
    bar.set_message("compacting");
    let revision = revision(cluster).await?;
    // Every write so far is a version; of each key one stays.
    let forgotten = (revision - FIRST_REVISION).saturating_sub(options.keys);
    let called = Instant::now();
    compact(cluster, revision).await?;
    let call_ms = called.elapsed().as_secs_f64() * 1e3;
    while versions_before(cluster, revision, options.keys).await? > 0 {
        if called.elapsed() > DONE_TIMEOUT {
            let waited = DONE_TIMEOUT.as_secs();
            return Err(Error::node(format!("the compaction is not done after {waited} s")));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
        check_running(cluster)?;
    }
    let done_seconds = called.elapsed().as_secs_f64();
    tokio::time::sleep(options.window.saturating_sub(called.elapsed())).await;
    let during = load.window();
    bar.set_message("after the compaction");
    tokio::time::sleep(options.window).await;
    let after = load.window();
    load.stop().await;
    let memory_after = cluster.memories();
    bar.set_message("do all replicas have the same?");
    let agreement = cluster.agreement().await?;
    bar.set_message("is everything there that was acknowledged?");
    let verdict = ledger.verify(&cluster.endpoints(), bar).await?;
    Ok(CompactionReport {
        revision,
        forgotten,
        call_ms,
        done_seconds,
        before,
        during,
        after,
        memory_before,
        memory_after,
        agreement,
        verdict,
    })
}

fn check_running(cluster: &mut Cluster) -> Result<(), Error> {
    cluster.ids().into_iter().try_for_each(|id| cluster.check_running(id))
}

/// The newest revision that every node has.
async fn revision(cluster: &Cluster) -> Result<u64, Error> {
    let mut revision = u64::MAX;
    for id in cluster.ids() {
        revision = revision.min(cluster.progress(id).await?.revision);
    }
    Ok(revision)
}

/// How many versions some node has at least that are older than what is retained from a revision on:
/// one of each key, and one for each write since.
async fn versions_before(cluster: &Cluster, revision: u64, keys: u64) -> Result<u64, Error> {
    let mut left = 0;
    for id in cluster.ids() {
        let now = cluster.progress(id).await?;
        let retained = keys + now.revision.saturating_sub(revision);
        left = left.max(now.store.versions.saturating_sub(retained));
    }
    Ok(left)
}

async fn compact(cluster: &Cluster, revision: u64) -> Result<(), Error> {
    let body = format!("{{\"revision\": {revision}}}");
    let asked = cluster.ids().into_iter().next().expect("a cluster has a node");
    let answer = post_json(cluster.endpoint(asked), "/v1/compact", &body, CALL_TIMEOUT).await;
    match answer {
        Ok((200, _)) => Ok(()),
        Ok((status, said)) => {
            let said = String::from_utf8_lossy(&said);
            Err(Error::node(format!("/v1/compact answered {status}: {said}")))
        }
        Err(error) => Err(Error::node(format!("/v1/compact: {error}"))),
    }
}
