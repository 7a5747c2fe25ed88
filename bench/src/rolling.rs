//! Restarts of all nodes, one after another, under load, and what became of the writes.
//!
//! Each node gets SIGTERM, has ended, is started again and is ready before the next one's turn. At the
//! end every key is read and compared with what was acknowledged ([`Ledger`]), and all replicas must
//! have the same.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use consensus::NodeId;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::cluster::{Agreement, Cluster};
use crate::load::{Background, BackgroundOptions, Ledger, Verdict, Window};

/// How long the writers write before the first restart and after the last.
const CALM: Duration = Duration::from_millis(500);
/// How long a node may take to be ready again.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RollingOptions {
    /// How often every node is restarted.
    pub times: usize,
    /// How long to wait after each restart.
    pub pause: Duration,
    /// How many writers there are.
    pub connections: usize,
    /// Writes a second of all together; `None` for as many as they can.
    pub per_second: Option<f64>,
    /// The size of a value in bytes.
    pub value_bytes: usize,
    /// How many keys there are.
    pub keys: u64,
    /// Where keys and values come from.
    pub seed: u64,
}

impl RollingOptions {
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

/// One restart of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restart {
    /// The node.
    pub node: u64,
    /// Whether it led.
    pub led: bool,
    /// From SIGTERM to the end of the process, in milliseconds.
    pub stop_ms: f64,
    /// From the start of the process to its being ready, in milliseconds.
    pub ready_ms: f64,
    /// What the writers saw from the end of the restart before to the end of this one, the pause
    /// behind it included.
    pub window: Window,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rolling {
    /// Every restart.
    pub restarts: Vec<Restart>,
    /// What the writers saw before the first.
    pub before: Window,
    /// What they saw after the last.
    pub after: Window,
    /// Whether all replicas have the same at the end.
    pub agreement: Agreement,
    /// Whether everything acknowledged is there.
    pub verdict: Verdict,
}

impl Rolling {
    /// All that the writers saw.
    pub fn windows(&self) -> impl Iterator<Item = &Window> {
        let restarts = self.restarts.iter().map(|restart| &restart.window);
        std::iter::once(&self.before).chain(restarts).chain(std::iter::once(&self.after))
    }

    /// The promises that were broken.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        self.verdict.broken_promises(&self.agreement)
    }
}

/// Restarts everything.
///
/// # Errors
/// [`Error::Usage`] for impossible options, [`Error::Node`] when a node does not end or come back.
pub async fn measure(
    cluster: &mut Cluster,
    options: &RollingOptions,
    bar: &ProgressBar,
) -> Result<Rolling, Error> {
    options.check()?;
    let writers = options.writers(cluster.endpoints());
    let ids = cluster.ids();
    bar.set_length((options.times * ids.len()) as u64);
    let ledger = Arc::new(Ledger::new(options.keys));
    let load = Background::start(writers, &ledger)?;
    tokio::time::sleep(CALM).await;
    let before = load.window();
    let mut restarts = Vec::new();
    for round in 0..options.times {
        for &id in &ids {
            bar.set_message(format!("round {} of {}: node {}", round + 1, options.times, id.0));
            restarts.push(restart(cluster, id, options.pause, &load).await?);
            bar.inc(1);
        }
    }
    tokio::time::sleep(CALM).await;
    let after = load.stop().await;
    cluster.settle().await?;
    bar.set_message("do all replicas have the same?");
    let agreement = cluster.agreement().await?;
    bar.set_message("is everything there that was acknowledged?");
    let verdict = ledger.verify(&cluster.endpoints(), bar).await?;
    Ok(Rolling { restarts, before, after, agreement, verdict })
}

async fn restart(
    cluster: &mut Cluster,
    id: NodeId,
    pause: Duration,
    load: &Background,
) -> Result<Restart, Error> {
    let leader = cluster.settle().await?;
    let began = Instant::now();
    cluster.terminate(id).await?;
    let ended = Instant::now();
    cluster.start_node(id)?;
    cluster.wait_until_ready(id, READY_TIMEOUT).await?;
    let ready = ended.elapsed();
    tokio::time::sleep(pause).await;
    Ok(Restart {
        node: id.0,
        led: id == leader,
        stop_ms: (ended - began).as_secs_f64() * 1e3,
        ready_ms: ready.as_secs_f64() * 1e3,
        window: load.window(),
    })
}
