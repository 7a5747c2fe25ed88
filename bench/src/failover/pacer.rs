//! Probes that leave on time, whatever becomes of those before them, and what one failover's came to. Who sends them,
//! and in which language, is for others to say ([`Prober`]).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::{Failover, Probe, Timeline, millis, signed_millis};
use crate::cluster::Fault;

/// A probe's outcome as it comes in.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) intended: Instant,
    pub(crate) done: Instant,
    /// The error's name and whether the outcome is unknown.
    pub(crate) error: Option<(String, bool)>,
}

/// How a probe failed: the error's name, and whether the outcome is unknown.
pub(crate) type ProbeError = (String, bool);

/// Whoever sends probes.
pub(crate) trait Prober: Send + 'static {
    /// The next probe, which is sent when it is polled, through whichever door has its turn.
    fn probe(
        &mut self,
        turn: usize,
    ) -> impl Future<Output = Result<(), ProbeError>> + Send + use<Self>;
}

/// Probes that left, or should have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Were not sent because too many were under way.
    pub(crate) not_sent: u64,
    /// Were still under way at the end.
    pub(crate) unanswered: u64,
}

/// Probes under way.
pub(crate) struct Pacing {
    /// What comes in.
    pub(crate) incoming: mpsc::Receiver<Sample>,
    stop: oneshot::Sender<()>,
    pacing: tokio::task::JoinHandle<Counts>,
}

impl Pacing {
    /// Has a probe sent every period, in turn, until it is stopped; no more than so many are under way.
    pub(crate) fn start(prober: impl Prober, period: Duration, under_way_max: usize) -> Self {
        let (samples, incoming) = mpsc::channel(2 * under_way_max);
        let (stop, stopped) = oneshot::channel();
        let pacing = tokio::spawn(pace(prober, period, under_way_max, samples, stopped));
        Self { incoming, stop, pacing }
    }

    /// Sends no more. Returns what is left to be taken in, and the counts.
    pub(crate) async fn stop(self) -> (mpsc::Receiver<Sample>, Counts) {
        // It may have ended before it was told to; then its counts are there all the same.
        let _ = self.stop.send(());
        let counts = self.pacing.await.expect("the pacer does not panic");
        (self.incoming, counts)
    }
}

async fn pace(
    mut prober: impl Prober,
    period: Duration,
    under_way_max: usize,
    samples: mpsc::Sender<Sample>,
    mut stopped: oneshot::Receiver<()>,
) -> Counts {
    let start = Instant::now();
    let mut under_way = JoinSet::new();
    let mut not_sent = 0;
    for number in 0u32.. {
        let intended = start + period * number;
        tokio::select! {
            _ = &mut stopped => break,
            () = tokio::time::sleep_until(intended.into()) => {}
        }
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= under_way_max {
            not_sent += 1;
            continue;
        }
        let probe = prober.probe(number as usize);
        let samples = samples.clone();
        under_way.spawn(async move {
            let error = probe.await.err();
            // The receiver is gone only when the measurement is over.
            let _ = samples.send(Sample { intended, done: Instant::now(), error }).await;
        });
    }
    while under_way.try_join_next().is_some() {}
    Counts { not_sent, unanswered: under_way.len() as u64 }
}

impl Failover {
    /// What the probes saw of a fault that struck this node then, whether or not anything else is known.
    pub(crate) fn of_probes(
        fault: Fault,
        node: u64,
        struck: Instant,
        outage: Option<Duration>,
        mut samples: Vec<Sample>,
        counts: Counts,
    ) -> Self {
        let mut failover = Self {
            fault,
            node,
            outage_ms: outage.map(millis),
            refused: None,
            probes: Vec::with_capacity(samples.len()),
            errors: BTreeMap::new(),
            unknown_outcomes: 0,
            not_sent: counts.not_sent,
            unanswered: counts.unanswered,
            load: None,
            timeline: Timeline::default(),
            healing_gap_ms: None,
            turns: Vec::new(),
        };
        samples.sort_by_key(|sample| sample.intended);
        for sample in samples {
            failover.add(sample, struck);
        }
        failover
    }

    fn add(&mut self, sample: Sample, struck: Instant) {
        if let Some((name, outcome_unknown)) = &sample.error {
            *self.errors.entry(name.clone()).or_default() += 1;
            self.unknown_outcomes += u64::from(*outcome_unknown);
        }
        self.probes.push(Probe {
            intended_ms: signed_millis(sample.intended, struck),
            latency_ms: millis(sample.done - sample.intended),
            error: sample.error.map(|(name, _)| name),
        });
    }
}
