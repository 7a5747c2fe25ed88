//! How long a cluster takes no writes after its leader fails, and what happened meanwhile.
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
//! A leader that hands over ([`Fault::hands_over`]), or whose disk stalls, takes writes meanwhile, so there the
//! outage is the longest time in which no probe was acknowledged, from the last acknowledgement before the leader
//! was asked to the end. All nodes are probed then, the old leader as well.
//!
//! When writes succeed again the fault is undone, and the probes go on until every node has caught up: what is healed
//! may do harm, too. The [`Timeline`] of it all is put together from what the nodes and the clients saw.

mod course;
mod doors;
mod pacer;
mod timeline;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use consensus::{NodeId, Random};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::Error;
use crate::cluster::{Cluster, Fault, HostClock, Struck, Turn, boot_id};
use crate::load::{
    Background, BackgroundOptions, CONNECTIONS_MAX, KeyDistribution, Ledger, Window,
};
use course::{Course, Signals};
use doors::Doors;
pub(crate) use pacer::{Counts, Pacing, ProbeError, Prober, Sample};
use timeline::Witnessed;
pub use timeline::{Phase, Span, Timeline};

/// How many keys each writer beside the probes has.
const KEYS_PER_WRITER: u64 = 32;
/// The most probes that may be under way, and how much their values may be together; those that would be more are
/// counted as not sent.
const PROBES_UNDER_WAY_MAX: usize = 1_024;
const BYTES_UNDER_WAY_MAX: usize = 64 << 20;
/// How much all probes of a second write at most, unless somebody says how many there are: values of 8 KiB and less
/// are as many as ever.
const PROBE_BYTES_PER_SECOND_MAX: f64 = 4_194_304.0;
/// So many periods are before the fault at least, and after the first acknowledged write.
const PERIODS_MIN: u32 = 3;

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
    /// How they are drawn.
    #[serde(default)]
    pub key_distribution: KeyDistribution,
    /// How many writers write beside the probes, as fast as they can.
    #[serde(default)]
    pub load: usize,
    /// How long a disk that stalls does so: ten election timeouts unless the nodes are told another one, time
    /// enough for anybody to notice.
    #[serde(default = "stall")]
    pub stall: Duration,
}

fn stall() -> Duration {
    Duration::from_secs(3)
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
            key_distribution: KeyDistribution::Uniform,
            load: 0,
            stall: stall(),
        }
    }

    /// The same for another fault.
    #[must_use]
    pub fn with_fault(&self, fault: Fault) -> Self {
        Self { fault, ..self.clone() }
    }

    /// The same with so many probes a second; without a number with as many as there are, or of large values with
    /// fewer, or the outage would be that of the queue that they make.
    #[must_use]
    pub fn paced(self, per_second: Option<f64>) -> Self {
        let bytes = Duration::from_secs_f64(self.value_bytes as f64 / PROBE_BYTES_PER_SECOND_MAX);
        let period = match per_second {
            Some(rate) => Duration::from_secs_f64(1.0 / rate),
            None => self.period.max(bytes),
        };
        let several = period * PERIODS_MIN;
        Self { period, before: self.before.max(several), after: self.after.max(several), ..self }
    }

    /// How many probes leave in a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        1.0 / self.period.as_secs_f64()
    }

    /// The most probes that may be under way.
    pub(crate) fn under_way_max(&self) -> usize {
        (BYTES_UNDER_WAY_MAX / self.value_bytes.max(1)).clamp(1, PROBES_UNDER_WAY_MAX)
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
    /// From the signal to the next acknowledged write, in milliseconds, or of a leader that may take writes
    /// meanwhile the longest time without one; `None` when no write was acknowledged before the limit.
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
    /// What happened when.
    #[serde(default)]
    pub timeline: Timeline,
    /// From when the fault was undone, the longest time in which no probe was acknowledged, in milliseconds.
    #[serde(default)]
    pub healing_gap_ms: Option<f64>,
    /// The turns of a rolling restart.
    #[serde(default)]
    pub turns: Vec<TurnSeen>,
}

/// One node's turn in a rolling restart, as the clients saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TurnSeen {
    /// The node.
    pub node: u64,
    /// When it got SIGTERM, in milliseconds after the fault, which is the leader's SIGTERM.
    pub sent_ms: f64,
    /// When its process had ended.
    pub ended_ms: f64,
    /// When it was ready again.
    pub ready_ms: f64,
    /// The longest time in which no probe was acknowledged, in milliseconds.
    pub gap_ms: Option<f64>,
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

/// What the writers beside the probes write to. Their keys lie behind those of the probes, which
/// come and go in no order.
#[must_use]
pub fn ledger(options: &FailoverOptions) -> Arc<Ledger> {
    Arc::new(Ledger::behind(options.keys, options.load as u64 * KEYS_PER_WRITER))
}

/// Does the fault to the leader under paced writes, watches the cluster come back, and undoes it. The writers beside
/// the probes note in the ledger what was acknowledged.
///
/// # Errors
/// When the cluster has no agreed leader or the fault can not be done or undone.
pub async fn measure(
    cluster: &mut Cluster,
    options: &FailoverOptions,
    ledger: &Arc<Ledger>,
    random: &mut Random,
) -> Result<Failover, Error> {
    let leader = cluster.settle().await?;
    let survivors = cluster.endpoints_without(leader);
    if survivors.is_empty() {
        return Err(Error::Usage("a single node has nobody to take over from it".to_owned()));
    }
    let targets = if options.fault.leaves_clients() { cluster.endpoints() } else { survivors };
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
    let clock = HostClock::read();
    let doors = Doors::new(targets, options, random);
    let mut pacing = Pacing::start(doors, options.period, options.under_way_max());
    tokio::time::sleep(options.before + random.duration_up_to(options.before_jitter)).await;
    let mut watch = Watch::default();
    let course = watch.accompany(&mut pacing, cluster, leader, options, clock).await?;

    let (mut incoming, counts) = pacing.stop().await;
    while let Ok(sample) = incoming.try_recv() {
        watch.samples.push(sample);
    }
    let load = match load {
        Some(load) => Some(load.stop().await),
        None => None,
    };
    let witnessed = course.witnessed(leader, cluster.ids().len(), clock);
    let failover = watch.finish(&course, options.fault, clock, witnessed, counts);
    Ok(Failover { load, ..failover })
}

/// Collects the probes' outcomes.
#[derive(Default)]
struct Watch {
    samples: Vec<Sample>,
    struck: Option<Struck>,
    /// When the first write was acknowledged that was begun after the fault was done.
    back: Option<Instant>,
}

impl Watch {
    /// Collects while the cluster goes through it.
    async fn accompany(
        &mut self,
        pacing: &mut Pacing,
        cluster: &mut Cluster,
        leader: NodeId,
        options: &FailoverOptions,
        clock: HostClock,
    ) -> Result<Course, Error> {
        let (struck, mut struck_done) = oneshot::channel();
        let (is_back, back) = oneshot::channel();
        let mut is_back = Some(is_back);
        let signals = Signals { struck, back };
        let mut course = pin!(course::run(cluster, leader, options, clock, signals));
        loop {
            tokio::select! {
                done = &mut course => return done,
                Ok(struck) = &mut struck_done, if self.struck.is_none() => {
                    self.back = self.samples.iter().find_map(|sample| sample.ends_outage(struck.over));
                    self.struck = Some(struck);
                }
                Some(sample) = pacing.incoming.recv() => {
                    if let (Some(struck), None) = (&self.struck, self.back) {
                        self.back = sample.ends_outage(struck.over);
                    }
                    self.samples.push(sample);
                }
            }
            if self.back.is_some()
                && let Some(is_back) = is_back.take()
            {
                // The course is over only when this loop is.
                let _ = is_back.send(());
            }
        }
    }

    /// What came of it.
    fn finish(
        self,
        course: &Course,
        fault: Fault,
        clock: HostClock,
        mut witnessed: Witnessed,
        counts: Counts,
    ) -> Failover {
        let Struck { began, at, ref turns, .. } = course.struck;
        let acknowledged = self.samples.iter().filter(|sample| sample.error.is_none());
        let mut moments: Vec<Instant> = acknowledged.map(|sample| sample.done).collect();
        moments.sort();
        let outage = self.back.and_then(|back| match fault.spares_writes() {
            false => Some(back - at),
            // What healing does to the clients is told by itself.
            true => gap(&moments, began, course.healed),
        });
        witnessed.back_us = self.back.filter(|_| !fault.hands_over()).map(|at| clock.us(at));
        witnessed.acknowledged_us = moments
            .iter()
            .filter(|&&moment| moment >= at)
            .map(|&moment| clock.us(moment))
            .collect();
        let mut timeline = Timeline::of(&witnessed, &course.elections, boot_id().as_deref());
        timeline.violations.extend(course.missed.iter().cloned());
        Failover {
            refused: course.refused.clone(),
            timeline,
            healing_gap_ms: course.healed.and_then(|at| gap(&moments, at, None)).map(millis),
            turns: turns.iter().map(|turn| TurnSeen::new(turn, at, &moments)).collect(),
            ..Failover::of_probes(fault, witnessed.node, at, outage, self.samples, counts)
        }
    }
}

impl Sample {
    /// When it was acknowledged, if it was begun after the fault was done, which it was at this moment.
    pub(crate) fn ends_outage(&self, over: Instant) -> Option<Instant> {
        (self.error.is_none() && self.intended >= over).then_some(self.done)
    }
}

/// The longest time between two of these moments, which are in order, from the last before `from` to the first after
/// `to`, or to the end.
fn gap(moments: &[Instant], from: Instant, to: Option<Instant>) -> Option<Duration> {
    let first = moments.iter().rposition(|&moment| moment <= from).unwrap_or(0);
    let after = to.and_then(|to| moments.iter().position(|&moment| moment >= to));
    let end = after.map_or(moments.len(), |after| after + 1);
    let within = moments.get(first..end)?;
    within.windows(2).map(|two| two[1] - two[0]).max()
}

impl TurnSeen {
    fn new(turn: &Turn, zero: Instant, moments: &[Instant]) -> Self {
        Self {
            node: turn.node.0,
            sent_ms: signed_millis(turn.sent, zero),
            ended_ms: signed_millis(turn.ended, zero),
            ready_ms: signed_millis(turn.ready, zero),
            gap_ms: gap(moments, turn.sent, Some(turn.ready)).map(millis),
        }
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
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// How long after `zero` a moment is; negative before it.
fn signed_millis(at: Instant, zero: Instant) -> f64 {
    millis(at.saturating_duration_since(zero)) - millis(zero.saturating_duration_since(at))
}
