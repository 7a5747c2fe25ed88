//! A store of many keys: what it takes of memory, how soon a node serves again, and what it costs to
//! read all of it.
//!
//! A fresh cluster is filled with keys that are written once each. Then every node reads out all of
//! them, by pages of `/v1` and by one answer of `/v3` (`ranges`), and is restarted: told to end, and
//! killed in the middle of writes, so that what the store does not have yet is the most that it can be.
//! At last all nodes go at once, as in a power failure.

mod ranges;

use std::time::{Duration, Instant};

use consensus::NodeId;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::cluster::{Agreement, Cluster, Fault, NodeMemory, get};
use crate::load::{self, LoadOptions, Until, Workload};
pub use ranges::{RangeApi, RangeRun};

/// How long a node may take to serve again.
const SERVING_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a read may take that shows that a node serves, and the time between two.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
const READ_PAUSE: Duration = Duration::from_millis(5);
/// How long nothing happens before memory is looked at: the store and the allocator finish what they
/// put off.
const REST: Duration = Duration::from_secs(3);

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoreOptions {
    /// How many keys there are.
    pub keys: u64,
    /// The size of a value in bytes.
    pub value_bytes: usize,
    /// The clients that write them.
    pub connections: usize,
    /// Writes at full speed right before a node is killed.
    pub burst: u64,
    /// Where values come from.
    pub seed: u64,
}

impl StoreOptions {
    /// Refuses what can not be run.
    ///
    /// # Errors
    /// [`Error::Usage`] with what is allowed.
    pub fn check(&self) -> Result<(), Error> {
        if self.burst == 0 {
            return Err(Error::Usage("a burst of 0 writes: allowed are 1 or more".to_owned()));
        }
        self.load(vec![([127, 0, 0, 1], 1).into()]).check()
    }

    fn load(&self, endpoints: Vec<std::net::SocketAddr>) -> LoadOptions {
        LoadOptions {
            endpoints,
            connections: self.connections,
            workload: Workload::Put,
            warmup: Duration::ZERO,
            until: Until::Operations(self.burst),
            value_bytes: self.value_bytes,
            keys: self.keys,
            key_distribution: load::KeyDistribution::Uniform,
            per_second: None,
            seed: self.seed,
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// SIGTERM.
    Clean,
    /// SIGKILL, right after a burst of writes.
    Killed,
}

/// Nodes that were started again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restart {
    /// How they had ended.
    pub ending: Ending,
    /// Which: one, or all at once.
    pub nodes: Vec<u64>,
    /// From the start until the last of them answered a linearizable read, in milliseconds.
    pub serving_ms: f64,
    /// Their memory then.
    pub memory: Vec<NodeMemory>,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoreReport {
    /// How long it took to write all keys.
    pub fill_seconds: f64,
    /// Each node's memory: now is a while after the last write, the peak is of the filling.
    pub filled: Vec<NodeMemory>,
    /// What a node's files occupy then, at most.
    pub disk_bytes: u64,
    /// Everything read out, by every node.
    pub ranges: Vec<RangeRun>,
    /// Every restart.
    pub restarts: Vec<Restart>,
    /// Each node's memory at the end, and the peak since its last start.
    pub end: Vec<NodeMemory>,
    /// Whether all replicas have the same at the end.
    pub agreement: Agreement,
}

impl StoreReport {
    /// The promises that were broken.
    #[must_use]
    pub fn broken(&self, keys: u64) -> Vec<String> {
        let short = self.ranges.iter().filter(|range| range.keys != keys).map(|range| {
            let RangeRun { node, keys: found, .. } = range;
            format!("node {node} told {found} of {keys} keys")
        });
        short.chain(self.agreement.broken()).collect()
    }
}

/// Fills a fresh cluster, and takes it through all of it.
///
/// # Errors
/// [`Error::Usage`] for impossible options, [`Error::Node`] when a node fails or does not come back.
pub async fn measure(
    cluster: &mut Cluster,
    options: &StoreOptions,
    bar: &ProgressBar,
) -> Result<StoreReport, Error> {
    options.check()?;
    let ids = cluster.ids();
    bar.set_length(1 + 4 * ids.len() as u64 + 2);
    bar.set_message("writing all keys");
    let began = Instant::now();
    load::fill(&options.load(cluster.endpoints())).await?;
    let fill_seconds = began.elapsed().as_secs_f64();
    bar.inc(1);
    tokio::time::sleep(REST).await;
    let filled = cluster.memories();
    let disk_bytes = ids.iter().map(|id| cluster.disk(*id).total_bytes()).max().unwrap_or(0);
    let mut ranges = Vec::new();
    for &id in &ids {
        for api in [RangeApi::Pages, RangeApi::Whole] {
            bar.set_message(format!("reading all keys at node {}", id.0));
            ranges.push(ranges::read_all(cluster, id, api).await?);
            bar.inc(1);
        }
    }
    let mut restarts = Vec::new();
    for ending in [Ending::Clean, Ending::Killed] {
        for &id in &ids {
            restarts.push(restart(cluster, options, &[id], ending, bar).await?);
        }
    }
    for ending in [Ending::Clean, Ending::Killed] {
        restarts.push(restart(cluster, options, &ids, ending, bar).await?);
    }
    cluster.settle().await?;
    bar.set_message("do all replicas have the same?");
    let agreement = cluster.agreement().await?;
    let end = cluster.memories();
    Ok(StoreReport { fill_seconds, filled, disk_bytes, ranges, restarts, end, agreement })
}

/// Ends nodes, starts them again and waits until each serves.
async fn restart(
    cluster: &mut Cluster,
    options: &StoreOptions,
    ids: &[NodeId],
    ending: Ending,
    bar: &ProgressBar,
) -> Result<Restart, Error> {
    let nodes: Vec<u64> = ids.iter().map(|id| id.0).collect();
    let how = if ending == Ending::Clean { "SIGTERM" } else { "SIGKILL" };
    bar.set_message(format!("{how} to {nodes:?}"));
    cluster.settle().await?;
    match ending {
        Ending::Clean => {
            for &id in ids {
                cluster.terminate(id).await?;
            }
        }
        Ending::Killed => {
            load::run(&options.load(cluster.endpoints())).await?;
            for &id in ids {
                cluster.strike(id, Fault::Kill).await?;
            }
        }
    }
    let began = Instant::now();
    for &id in ids {
        cluster.start_node(id)?;
    }
    for &id in ids {
        cluster.wait_until_ready(id, SERVING_TIMEOUT).await?;
        wait_for_read(cluster, id, began).await?;
    }
    let serving_ms = began.elapsed().as_secs_f64() * 1e3;
    let memory = cluster.memories().into_iter().filter(|node| nodes.contains(&node.node)).collect();
    bar.inc(1);
    Ok(Restart { ending, nodes, serving_ms, memory })
}

/// Waits until a node has answered a linearizable read of a key that is there.
async fn wait_for_read(cluster: &Cluster, id: NodeId, began: Instant) -> Result<(), Error> {
    while !matches!(
        get(cluster.endpoint(id), "/v1/kv/bench/000000", READ_TIMEOUT).await,
        Ok((200, _))
    ) {
        if began.elapsed() > SERVING_TIMEOUT {
            let waited = SERVING_TIMEOUT.as_secs();
            let what = format!("node {} has answered no read after {waited} s", id.0);
            return Err(Error::node(what));
        }
        tokio::time::sleep(READ_PAUSE).await;
    }
    Ok(())
}
