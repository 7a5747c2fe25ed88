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

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use consensus::{NodeId, Random};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::Error;
use crate::cluster::{Cluster, Fault};
use crate::load::error_of_body;
use crate::load::http::HttpConnection;
use crate::load::request::Request;

/// The most probes that may be under way; those that would be more are counted as not sent.
const PROBES_UNDER_WAY_MAX: usize = 1_024;
/// How long a probe waits for its answer. Servers give up after 5 s.
const PROBE_TIMEOUT: Duration = Duration::from_secs(8);

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
        }
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
    /// From the signal to the next acknowledged write, in milliseconds; `None` when no write was
    /// acknowledged before the limit.
    pub outage_ms: Option<f64>,
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

/// Does the fault to the leader under paced writes and watches the cluster come back. The node that
/// was hit is left as the fault left it.
///
/// # Errors
/// When the cluster has no agreed leader or the fault can not be done.
pub async fn measure(
    cluster: &mut Cluster,
    options: &FailoverOptions,
    random: &mut Random,
) -> Result<(NodeId, Failover), Error> {
    let leader = cluster.settle().await?;
    let survivors = cluster.endpoints_without(leader);
    if survivors.is_empty() {
        return Err(Error::Usage("a single node has nobody to take over from it".to_owned()));
    }
    let (samples, mut incoming) = mpsc::channel(2 * PROBES_UNDER_WAY_MAX);
    let (stop, stopped) = oneshot::channel();
    let pacing = tokio::spawn(pace(Pacer::new(survivors, options, random), samples, stopped));
    tokio::time::sleep(options.before + random.duration_up_to(options.before_jitter)).await;
    let (struck, dead) = cluster.strike(leader, options.fault).await?;

    let mut samples = Vec::new();
    let limit = tokio::time::Instant::from_std(struck + options.limit);
    let mut end = limit;
    let mut outage = None;
    while let Ok(Some(sample)) = tokio::time::timeout_at(end, incoming.recv()).await {
        if outage.is_none() && sample.error.is_none() && sample.intended >= dead {
            outage = Some(sample.done - struck);
            end = limit.min(tokio::time::Instant::now() + options.after);
        }
        samples.push(sample);
    }
    // The pacer may have ended before it was told to; then its counts are there all the same.
    let _ = stop.send(());
    let counts = pacing.await.expect("the pacer does not panic");
    while let Ok(sample) = incoming.try_recv() {
        samples.push(sample);
    }
    let mut failover = Failover {
        fault: options.fault,
        node: leader.0,
        outage_ms: outage.map(millis),
        probes: Vec::with_capacity(samples.len()),
        errors: BTreeMap::new(),
        unknown_outcomes: 0,
        not_sent: counts.not_sent,
        unanswered: counts.unanswered,
    };
    samples.sort_by_key(|sample| sample.intended);
    for sample in samples {
        failover.add(sample, struck);
    }
    Ok((leader, failover))
}

impl Failover {
    /// The outage in milliseconds, or the limit where the measurement was given up: the outage was
    /// at least that long. Leaving it out would favour whoever did worst.
    #[must_use]
    pub fn outage_at_least_ms(&self, options: &FailoverOptions) -> f64 {
        self.outage_ms.unwrap_or_else(|| options.limit_ms())
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

/// The connections that wait for the next probe, by server.
type Idle = Arc<Mutex<Vec<Vec<HttpConnection>>>>;

/// Sends probes on time.
struct Pacer {
    targets: Vec<SocketAddr>,
    requests: Vec<Request>,
    period: Duration,
    keys: u64,
    random: Random,
    idle: Idle,
}

#[derive(Clone, Copy, Debug, Default)]
struct PacerCounts {
    not_sent: u64,
    unanswered: u64,
}

impl Pacer {
    fn new(targets: Vec<SocketAddr>, options: &FailoverOptions, random: &mut Random) -> Self {
        let mut random = Random::new(random.next_u64());
        let requests = targets
            .iter()
            .map(|target| Request::put(&target.to_string(), options.value_bytes, &mut random))
            .collect();
        let idle = Arc::new(Mutex::new(targets.iter().map(|_| Vec::new()).collect()));
        Self { targets, requests, period: options.period, keys: options.keys, random, idle }
    }

    /// The bytes of the next probe to this server.
    fn request(&mut self, target: usize) -> Vec<u8> {
        let request = &mut self.requests[target];
        request.set_key(self.random.below(self.keys));
        request.set_stamp(self.random.next_u64());
        request.bytes().to_vec()
    }
}

/// Sends a probe every period, to the servers in turn, until told to stop.
async fn pace(
    mut pacer: Pacer,
    samples: mpsc::Sender<Sample>,
    mut stopped: oneshot::Receiver<()>,
) -> PacerCounts {
    let start = Instant::now();
    let mut under_way = JoinSet::new();
    let mut not_sent = 0;
    for number in 0u32.. {
        let intended = start + pacer.period * number;
        tokio::select! {
            _ = &mut stopped => break,
            () = tokio::time::sleep_until(intended.into()) => {}
        }
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= PROBES_UNDER_WAY_MAX {
            not_sent += 1;
            continue;
        }
        let target = number as usize % pacer.targets.len();
        let bytes = pacer.request(target);
        let (idle, samples) = (Arc::clone(&pacer.idle), samples.clone());
        let address = pacer.targets[target];
        under_way.spawn(async move {
            let error = probe(&idle, target, address, &bytes).await.err();
            // The receiver is gone only when the measurement is over.
            let _ = samples.send(Sample { intended, done: Instant::now(), error }).await;
        });
    }
    while under_way.try_join_next().is_some() {}
    PacerCounts { not_sent, unanswered: under_way.len() as u64 }
}

/// Sends one probe on an idle connection or a new one. The error is its name and whether the
/// outcome is unknown.
async fn probe(
    idle: &Idle,
    target: usize,
    address: SocketAddr,
    bytes: &[u8],
) -> Result<(), (String, bool)> {
    // No await while the lock is held, so a mutex of the standard library will do.
    let waiting = idle.lock().expect("no holder panics")[target].pop();
    let mut connection = match waiting {
        Some(connection) => connection,
        None => HttpConnection::connect(address)
            .await
            .map_err(|_| ("connection_failed".to_owned(), false))?,
    };
    let answer = match tokio::time::timeout(PROBE_TIMEOUT, connection.exchange(bytes)).await {
        Err(_) => return Err(("client_timeout".to_owned(), true)),
        Ok(Err(_)) => return Err(("connection_lost".to_owned(), true)),
        Ok(Ok(answer)) => answer,
    };
    let result = if answer.status < 300 {
        Ok(())
    } else {
        let (name, definite) = error_of_body(answer.status, connection.body(&answer));
        Err((name, !definite))
    };
    if !answer.closes {
        idle.lock().expect("no holder panics")[target].push(connection);
    }
    result
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
