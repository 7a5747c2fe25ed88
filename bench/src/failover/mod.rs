//! How long a cluster takes no writes after its leader fails.
//!
//! A probe is a small write sent at a moment fixed in advance, every few milliseconds, to the nodes
//! that will survive, whether or not earlier probes are answered. Its latency counts from that
//! intended moment. A closed loop would send nothing while it waits and so hide the outage from
//! itself, which is called coordinated omission.
//!
//! The outage lasts from the signal to the first acknowledgement of a write that was begun when the
//! old leader could certainly do nothing more, so that an acknowledgement of the old leader that was
//! still on its way can not end it. It is known to within one period of the probes.
//!
//! A leader that hands over ([`Fault::hands_over`]) takes writes until it does, so there the outage is
//! the longest time in which no probe was acknowledged, from the last acknowledgement before the leader
//! was asked to a while after another one leads. All nodes are probed then, the old leader as well.

mod pacer;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use consensus::{NodeId, Random};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::Error;
use crate::cluster::{Cluster, Fault};
use crate::load::{Background, BackgroundOptions, CONNECTIONS_MAX, Ledger, Window};
use pacer::{PROBES_UNDER_WAY_MAX, Pacer, pace};

/// How many keys each writer beside the probes has.
const KEYS_PER_WRITER: u64 = 32;

/// How a fault is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailoverOptions {
    /// What happens to the leader.
    pub fault: Fault,
    /// The time between two probes.
    pub period: Duration,
    /// How long probes run before the fault, at least.
    pub before: Duration,
    /// A random time up to this is added, so that the fault hits any point between two heartbeats.
    pub before_jitter: Duration,
    /// How long probes go on after the first acknowledged write.
    pub after: Duration,
    /// When to give up.
    pub limit: Duration,
    /// The size of a value in bytes.
    pub value_bytes: usize,
    /// How many keys there are.
    pub keys: u64,
    /// How many writers write beside the probes, as fast as they can.
    #[serde(default)]
    pub load: usize,
}

impl FailoverOptions {
    /// The measurement of a comparison: light, so that the outage is the election's and not that of
    /// a queue.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            period: Duration::from_millis(2),
            before: Duration::from_millis(150),
            before_jitter: Duration::from_millis(100),
            after: Duration::from_millis(100),
            limit: Duration::from_secs(15),
            value_bytes: 256,
            keys: 1_000,
            load: 0,
        }
    }

    /// Refuses what can not be run.
    ///
    /// # Errors
    /// [`Error::Usage`] with what is allowed.
    pub fn check(&self) -> Result<(), Error> {
        if self.load <= CONNECTIONS_MAX {
            return Ok(());
        }
        Err(Error::Usage(format!("--load {}: allowed are 0 to {CONNECTIONS_MAX}", self.load)))
    }

    /// The limit in milliseconds.
    #[must_use]
    pub fn limit_ms(&self) -> f64 {
        millis(self.limit)
    }

    /// An outage as text; one that was given up, or a median among such, is marked as longer than
    /// the limit.
    #[must_use]
    pub fn outage_text(&self, outage_ms: f64, format: impl Fn(f64) -> String) -> String {
        let longer = if outage_ms >= self.limit_ms() { "> " } else { "" };
        format!("{longer}{}", format(outage_ms))
    }
}

/// What one fault did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failover {
    /// What happened to the leader.
    pub fault: Fault,
    /// Which node it was.
    pub node: u64,
    /// From the signal to the next acknowledged write, in milliseconds, or of a leader that hands over
    /// the longest time without one; `None` when no write was acknowledged before the limit.
    pub outage_ms: Option<f64>,
    /// Why leadership was not handed over, if that was asked for and refused.
    #[serde(default)]
    pub refused: Option<String>,
    /// Every probe, in the order of the intended times.
    pub probes: Vec<Probe>,
    /// Failed probes by the name of the error.
    pub errors: BTreeMap<String, u64>,
    /// Failed probes of which nobody knows whether they took effect.
    pub unknown_outcomes: u64,
    /// Probes that were not sent because too many were under way.
    pub not_sent: u64,
    /// Probes still under way when the measurement ended.
    pub unanswered: u64,
    /// What the writers beside the probes saw, if there were any.
    #[serde(default)]
    pub load: Option<Window>,
}

/// One paced write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// When it was to be sent, in milliseconds after the fault; negative before it.
    pub intended_ms: f64,
    /// From that moment to the answer.
    pub latency_ms: f64,
    /// The name of the error, if the answer was one.
    pub error: Option<String>,
}

/// A probe's outcome as it comes in.
struct Sample {
    intended: Instant,
    done: Instant,
    /// The error's name and whether the outcome is unknown.
    error: Option<(String, bool)>,
}

/// What the writers beside the probes write to. Their keys lie behind those of the probes, which
/// come and go in no order.
#[must_use]
pub fn ledger(options: &FailoverOptions) -> Arc<Ledger> {
    Arc::new(Ledger::behind(options.keys, options.load as u64 * KEYS_PER_WRITER))
}

/// Does the fault to the leader under paced writes and watches the cluster come back. The node that
/// was hit is left as the fault left it. The writers beside the probes note in the ledger what was
/// acknowledged.
///
/// # Errors
/// When the cluster has no agreed leader or the fault can not be done.
pub async fn measure(
    cluster: &mut Cluster,
    options: &FailoverOptions,
    ledger: &Arc<Ledger>,
    random: &mut Random,
) -> Result<(NodeId, Failover), Error> {
    let leader = cluster.settle().await?;
    let survivors = cluster.endpoints_without(leader);
    if survivors.is_empty() {
        return Err(Error::Usage("a single node has nobody to take over from it".to_owned()));
    }
    let targets = if options.fault.hands_over() { cluster.endpoints() } else { survivors };
    let load = match options.load {
        0 => None,
        connections => Some(Background::start(
            BackgroundOptions {
                endpoints: targets.clone(),
                connections,
                value_bytes: options.value_bytes,
                per_second: None,
                enough: None,
                seed: random.next_u64(),
            },
            ledger,
        )?),
    };
    let (samples, mut incoming) = mpsc::channel(2 * PROBES_UNDER_WAY_MAX);
    let (stop, stopped) = oneshot::channel();
    let pacing = tokio::spawn(pace(Pacer::new(targets, options, random), samples, stopped));
    tokio::time::sleep(options.before + random.duration_up_to(options.before_jitter)).await;
    let (watched, mut samples) = watch(cluster, leader, options, &mut incoming).await?;

    // The pacer may have ended before it was told to; then its counts are there all the same.
    let _ = stop.send(());
    let counts = pacing.await.expect("the pacer does not panic");
    while let Ok(sample) = incoming.try_recv() {
        samples.push(sample);
    }
    let load = match load {
        Some(load) => Some(load.stop().await),
        None => None,
    };
    let mut failover = Failover {
        fault: options.fault,
        node: leader.0,
        outage_ms: watched.outage(options.fault, &samples).map(millis),
        refused: watched.refused,
        probes: Vec::with_capacity(samples.len()),
        errors: BTreeMap::new(),
        unknown_outcomes: 0,
        not_sent: counts.not_sent,
        unanswered: counts.unanswered,
        load,
    };
    samples.sort_by_key(|sample| sample.intended);
    for sample in samples {
        failover.add(sample, watched.struck);
    }
    Ok((leader, failover))
}

/// When what happened.
struct Watched {
    struck: Instant,
    /// When the first write was acknowledged that was begun after the fault was done; `None` when none
    /// was before the limit.
    back: Option<Instant>,
    refused: Option<String>,
}

/// Does the fault and collects the probes until a while after the cluster is back.
async fn watch(
    cluster: &mut Cluster,
    leader: NodeId,
    options: &FailoverOptions,
    incoming: &mut mpsc::Receiver<Sample>,
) -> Result<(Watched, Vec<Sample>), Error> {
    let mut watched = Watched { struck: Instant::now(), back: None, refused: None };
    let mut samples: Vec<Sample> = Vec::new();
    let mut strike = pin!(cluster.strike(leader, options.fault));
    // Until when the old leader may have done something.
    let mut dead = None;
    let limit = tokio::time::Instant::from_std(watched.struck + options.limit);
    let mut end = limit;
    loop {
        tokio::select! {
            struck = &mut strike, if dead.is_none() => {
                dead = Some(match struck {
                    Ok((struck, dead)) => {
                        watched.struck = struck;
                        dead
                    }
                    Err(Error::Node { what, .. }) if options.fault == Fault::Transfer => {
                        watched.refused = Some(what);
                        Instant::now()
                    }
                    Err(error) => return Err(error),
                });
            }
            sample = incoming.recv() => match sample {
                Some(sample) => samples.push(sample),
                None => break,
            },
            () = tokio::time::sleep_until(end) => break,
        }
        if let (Some(dead), None) = (dead, watched.back) {
            let acknowledged = |sample: &&Sample| sample.error.is_none() && sample.intended >= dead;
            watched.back = samples.iter().find(acknowledged).map(|sample| sample.done);
            if watched.back.is_some() {
                end = limit.min(tokio::time::Instant::now() + options.after);
            }
        }
    }
    Ok((watched, samples))
}

impl Watched {
    fn outage(&self, fault: Fault, samples: &[Sample]) -> Option<Duration> {
        let back = self.back?;
        if !fault.hands_over() {
            return Some(back - self.struck);
        }
        let acknowledged = samples.iter().filter(|sample| sample.error.is_none());
        let mut moments: Vec<Instant> = acknowledged.map(|sample| sample.done).collect();
        moments.sort();
        let before = moments.iter().rposition(|&moment| moment <= self.struck).unwrap_or(0);
        moments[before..].windows(2).map(|two| two[1] - two[0]).max()
    }
}

impl Failover {
    /// The outage in milliseconds, or the limit where the measurement was given up: the outage was
    /// at least that long. Leaving it out would favour whoever did worst.
    #[must_use]
    pub fn outage_at_least_ms(&self, options: &FailoverOptions) -> f64 {
        self.outage_ms.unwrap_or_else(|| options.limit_ms())
    }

    /// How long the probes took that were to be sent after the fault, in milliseconds.
    #[must_use]
    pub fn latencies_after_ms(&self) -> Vec<f64> {
        let after = self.probes.iter().filter(|probe| probe.intended_ms >= 0.0);
        after.filter(|probe| probe.error.is_none()).map(|probe| probe.latency_ms).collect()
    }

    /// Failed writes of the probes and of the writers beside them, by the name of the error.
    #[must_use]
    pub fn all_errors(&self) -> BTreeMap<String, u64> {
        let mut errors = self.errors.clone();
        for (name, count) in self.load.iter().flat_map(Window::errors) {
            *errors.entry(name).or_default() += count;
        }
        errors
    }

    /// Failed writes of unknown outcome, of the probes and of the writers beside them.
    #[must_use]
    pub fn all_unknown_outcomes(&self) -> u64 {
        let load = self.load.iter().flat_map(|load| load.unknown_outcomes.values()).sum::<u64>();
        self.unknown_outcomes + load
    }

    fn add(&mut self, sample: Sample, struck: Instant) {
        let since = sample.intended.saturating_duration_since(struck);
        let until = struck.saturating_duration_since(sample.intended);
        if let Some((name, outcome_unknown)) = &sample.error {
            *self.errors.entry(name.clone()).or_default() += 1;
            self.unknown_outcomes += u64::from(*outcome_unknown);
        }
        self.probes.push(Probe {
            intended_ms: millis(since) - millis(until),
            latency_ms: millis(sample.done - sample.intended),
            error: sample.error.map(|(name, _)| name),
        });
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
