//! What watchers cost that are told nothing: saturated writes with them and without, in turn.

use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use super::tally::{Key, Told};
use super::{check_watchers, open};
use crate::Error;
use crate::cluster::{Cluster, NodeMemory};
use crate::load::{self, LoadOptions, LoadReport, Until, Workload};
use crate::stats::{RESAMPLES, RatioInterval, paired_ratio};

/// How long the servers may take to notice that watchers are gone before others are measured.
const LEAVE_TIME: Duration = Duration::from_millis(500);

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IdleOptions {
    /// How many watchers there are.
    pub watchers: usize,
    /// On how many connections, spread over all nodes.
    pub streams: usize,
    /// How often it is measured with them and without.
    pub pairs: usize,
    /// The clients that write, as many writes as they can.
    pub connections: usize,
    /// How long the beginning of each is that does not count.
    pub warmup: Duration,
    /// How long each is.
    pub duration: Duration,
    /// The size of a value in bytes.
    pub value_bytes: usize,
    /// How many keys are written.
    pub keys: u64,
    /// Where keys and values come from.
    pub seed: u64,
}

impl IdleOptions {
    /// Refuses what can not be run.
    ///
    /// # Errors
    /// [`Error::Usage`] with what is allowed.
    pub fn check(&self) -> Result<(), Error> {
        check_watchers(self.watchers, self.streams)?;
        if !(1..=1_000).contains(&self.pairs) {
            return Err(Error::Usage(format!("{} pairs: allowed are 1 to 1000", self.pairs)));
        }
        let anybody = vec![([127, 0, 0, 1], 1).into()];
        self.load(anybody, 0).check()
    }

    fn load(&self, endpoints: Vec<std::net::SocketAddr>, number: u64) -> LoadOptions {
        LoadOptions {
            endpoints,
            connections: self.connections,
            workload: Workload::Put,
            warmup: self.warmup,
            until: Until::Elapsed(self.duration),
            value_bytes: self.value_bytes,
            keys: self.keys,
            key_distribution: load::KeyDistribution::Uniform,
            per_second: None,
            seed: self.seed.wrapping_add(number),
        }
    }
}

/// Writes with watchers, and writes without, close together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// With them.
    pub with: LoadReport,
    /// Without.
    pub without: LoadReport,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IdleReport {
    /// Each pair.
    pub pairs: Vec<Pair>,
    /// Writes a second with watchers to those without; `None` of a single pair.
    pub ratio: Option<RatioInterval>,
    /// What the watchers were told, which should be nothing.
    pub told: Told,
    /// Each node's memory, at its most over all.
    pub nodes: Vec<NodeMemory>,
}

impl IdleReport {
    /// The promises that were broken.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let Told { events, cancelled, .. } = self.told;
        let counts = [
            (events, "events were told to watchers of other keys"),
            (cancelled, "watches were cancelled"),
        ];
        let broken = counts.into_iter().filter(|(count, _)| *count > 0);
        broken.map(|(count, what)| format!("{count} {what}")).collect()
    }
}

/// Writes with watchers and without. Every other pair begins with the watchers, so that what drifts does
/// not favour either.
///
/// # Errors
/// [`Error::Usage`] for impossible options, [`Error::Node`] when the watches do not begin or a node fails.
pub async fn measure_idle(
    cluster: &Cluster,
    options: &IdleOptions,
    bar: &ProgressBar,
) -> Result<IdleReport, Error> {
    options.check()?;
    bar.set_length(2 * options.pairs as u64);
    bar.set_message("writes to fill the store");
    load::fill(&options.load(cluster.endpoints(), 0)).await?;
    let (mut pairs, mut told) = (Vec::new(), Told::default());
    for number in 0..options.pairs {
        let load = options.load(cluster.endpoints(), number as u64 + 1);
        let pair = if number.is_multiple_of(2) {
            let without = without(&load, bar).await?;
            Pair { with: with(options, &load, &mut told, bar).await?, without }
        } else {
            let with = with(options, &load, &mut told, bar).await?;
            Pair { with, without: without(&load, bar).await? }
        };
        pairs.push(pair);
    }
    let speeds: Vec<(f64, f64)> =
        pairs.iter().map(|pair| (pair.with.per_second, pair.without.per_second)).collect();
    let wrote = speeds.iter().all(|(with, without)| *with > 0.0 && *without > 0.0);
    let ratio = if wrote { paired_ratio(&speeds, RESAMPLES, options.seed) } else { None };
    Ok(IdleReport { pairs, ratio, told, nodes: cluster.memories() })
}

async fn without(load: &LoadOptions, bar: &ProgressBar) -> Result<LoadReport, Error> {
    bar.set_message("writes without watchers");
    let report = load::run(load).await?;
    bar.inc(1);
    Ok(report)
}

async fn with(
    options: &IdleOptions,
    load: &LoadOptions,
    told: &mut Told,
    bar: &ProgressBar,
) -> Result<LoadReport, Error> {
    bar.set_message("writes with watchers");
    let keys: Vec<Arc<Key>> = (0..options.watchers)
        .map(|number| Arc::new(Key::named(&format!("idle/{number:06}"))))
        .collect();
    let mut streams = open(&load.endpoints, options.watchers, options.streams, &keys).await?;
    let report = load::run(load).await?;
    for (stream, tally) in &mut streams {
        // Nothing is there to be read, so it is not waited for.
        let received = tokio::time::timeout(Duration::ZERO, stream.receive()).await;
        let taken =
            received.unwrap_or(Ok(())).and_then(|()| stream.take(|said| tally.take(said, |_| {})));
        taken.map_err(|error| Error::node(format!("a connection of watches: {error}")))?;
        told.add(&tally.told());
    }
    drop(streams);
    tokio::time::sleep(LEAVE_TIME).await;
    bar.inc(1);
    Ok(report)
}
