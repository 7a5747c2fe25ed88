//! From SIGKILL of a leader to the next acknowledged write, in the way of [`crate::failover`] and with any
//! client: paced writes to the nodes that survive, each begun at a moment fixed in advance, whatever becomes of
//! those before it.
//!
//! The outage lasts until the first acknowledgement of a write that was begun when the old leader could
//! certainly do nothing more. It is known to within one period.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use consensus::Random;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Subject;
use super::client::Connection;
use super::ensemble::Ensemble;
use crate::Error;
use crate::cluster::Fault;
use crate::failover::{Failover, FailoverOptions, Probe, Timeline};
use crate::load::Outcome;

/// The most probes that may be under way; those that would be more are counted as not sent.
const PROBES_UNDER_WAY_MAX: usize = 1_024;
/// How long a probe waits for its answer. etcd gives up after 7 s.
const PROBE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long it is tried to open a connection.
const OPEN_TIMEOUT: Duration = Duration::from_secs(1);

/// A probe's outcome as it comes in.
struct Sample {
    intended: Instant,
    done: Instant,
    /// The error's name and whether the outcome is unknown.
    error: Option<(String, bool)>,
}

/// Kills the leader under paced writes and watches the cluster come back. The dead node stays dead.
pub(super) async fn measure(
    ensemble: &mut Ensemble,
    subject: Subject,
    options: &FailoverOptions,
    random: &mut Random,
) -> Result<Failover, Error> {
    let (leader, survivors) = ensemble.leader().await?;
    let mut doors = Vec::new();
    for address in survivors {
        doors.push(Arc::new(Door::open(subject, address, options.value_bytes, random).await));
    }
    let (samples, mut incoming) = mpsc::channel(2 * PROBES_UNDER_WAY_MAX);
    let pacing =
        tokio::spawn(pace(doors, options.clone(), Random::new(random.next_u64()), samples));
    tokio::time::sleep(options.before + random.duration_up_to(options.before_jitter)).await;

    let (struck, dead) = ensemble.kill(leader).await?;
    let limit = tokio::time::Instant::from_std(struck + options.limit);
    let (mut end, mut back, mut all) = (limit, None, Vec::new());
    while let Ok(Some(sample)) = tokio::time::timeout_at(end, incoming.recv()).await {
        if back.is_none() && sample.error.is_none() && sample.intended >= dead {
            back = Some(sample.done);
            end = limit.min(tokio::time::Instant::now() + options.after);
        }
        all.push(sample);
    }
    // The pacer ends when nobody listens any more.
    drop(incoming);
    let counts = pacing.await.expect("the pacer does not panic");
    let mut failover = Failover {
        fault: Fault::Kill,
        node: leader.0,
        outage_ms: back.map(|back| millis(back - struck)),
        refused: None,
        probes: Vec::with_capacity(all.len()),
        errors: BTreeMap::new(),
        unknown_outcomes: 0,
        not_sent: counts.not_sent,
        unanswered: counts.unanswered,
        load: None,
        // Others do not tell when they elected.
        timeline: Timeline::default(),
        healing_gap_ms: None,
        turns: Vec::new(),
    };
    all.sort_by_key(|sample| sample.intended);
    for Sample { intended, done, error } in all {
        if let Some((name, outcome_unknown)) = &error {
            *failover.errors.entry(name.clone()).or_default() += 1;
            failover.unknown_outcomes += u64::from(*outcome_unknown);
        }
        let since = millis(intended.saturating_duration_since(struck));
        failover.probes.push(Probe {
            intended_ms: since - millis(struck.saturating_duration_since(intended)),
            latency_ms: millis(done - intended),
            error: error.map(|(name, _)| name),
        });
    }
    Ok(failover)
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    not_sent: u64,
    unanswered: u64,
}

/// Sends a probe every period, to the doors in turn, until nobody listens any more.
async fn pace(
    doors: Vec<Arc<Door>>,
    options: FailoverOptions,
    mut random: Random,
    samples: mpsc::Sender<Sample>,
) -> Counts {
    let start = Instant::now();
    let mut under_way = JoinSet::new();
    let mut not_sent = 0;
    for number in 0u32.. {
        let intended = start + options.period * number;
        tokio::select! {
            () = samples.closed() => break,
            () = tokio::time::sleep_until(intended.into()) => {}
        }
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= PROBES_UNDER_WAY_MAX {
            not_sent += 1;
            continue;
        }
        let doors: Vec<Arc<Door>> = (0..doors.len())
            .map(|turn| Arc::clone(&doors[(number as usize + turn) % doors.len()]))
            .collect();
        let (key, stamp, seed) = (random.below(options.keys), random.next_u64(), random.next_u64());
        let samples = samples.clone();
        under_way.spawn(async move {
            let error = probe(&doors, key, stamp, Random::new(seed)).await.err();
            // The receiver is gone only when the measurement is over.
            let _ = samples.send(Sample { intended, done: Instant::now(), error }).await;
        });
    }
    while under_way.try_join_next().is_some() {}
    Counts { not_sent, unanswered: under_way.len() as u64 }
}

/// Sends one probe through the first door that opens. The error is its name and whether the outcome is
/// unknown.
async fn probe(
    doors: &[Arc<Door>],
    key: u64,
    stamp: u64,
    mut random: Random,
) -> Result<(), (String, bool)> {
    for door in doors {
        let Some((mut connection, opened)) = door.take(&mut random).await else { continue };
        let answered = tokio::time::timeout(PROBE_TIMEOUT, connection.write(key, stamp)).await;
        let error = match answered {
            Err(_) => return Err(("client_timeout".to_owned(), true)),
            Ok(Outcome::Success) => None,
            Ok(Outcome::NotFound) => Some(("not_found".to_owned(), false)),
            Ok(Outcome::Failed { name, outcome_unknown }) => Some((name, outcome_unknown)),
        };
        door.give_back(connection, opened, error.is_some());
        return error.map_or(Ok(()), Err);
    }
    Err(("connection_failed".to_owned(), false))
}

/// One node that survives, and the connections to it that wait for the next probe.
struct Door {
    subject: Subject,
    address: SocketAddr,
    value_bytes: usize,
    waiting: Mutex<Waiting>,
    /// Held by who opens a connection that all will share, so that nobody opens another meanwhile.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Waiting {
    /// Of a protocol that carries several requests at once there is at most one, which is copied.
    connections: Vec<Connection>,
    /// How many were opened to be shared.
    opened: u64,
}

impl Door {
    async fn open(
        subject: Subject,
        address: SocketAddr,
        value_bytes: usize,
        random: &mut Random,
    ) -> Self {
        let door = Self {
            subject,
            address,
            value_bytes,
            waiting: Mutex::default(),
            opening: tokio::sync::Mutex::new(()),
        };
        // The first connection is there before the first probe.
        if let Some((connection, opened)) = door.take(random).await {
            door.give_back(connection, opened, false);
        }
        door
    }

    /// A connection for one probe, and which of the shared ones it is; none when the node takes none, or
    /// while somebody else opens the one that all share.
    async fn take(&self, random: &mut Random) -> Option<(Connection, u64)> {
        if let Some(waiting) = self.waiting() {
            return Some(waiting);
        }
        if !matches!(self.subject, Subject::EtcdGrpc | Subject::ZooKeeper) {
            return Some((self.connect(random).await?, 0));
        }
        let _opening = self.opening.try_lock().ok()?;
        let connection = self.connect(random).await?;
        let shared = connection.shared()?;
        let mut waiting = self.waiting.lock().expect("no holder panics");
        waiting.opened += 1;
        waiting.connections = vec![connection];
        Some((shared, waiting.opened))
    }

    /// A connection that is there already. No await while the lock is held, so a mutex of the
    /// standard library will do.
    fn waiting(&self) -> Option<(Connection, u64)> {
        let mut waiting = self.waiting.lock().expect("no holder panics");
        let opened = waiting.opened;
        if let Some(shared) = waiting.connections.last()?.shared() {
            return Some((shared, opened));
        }
        Some((waiting.connections.pop()?, opened))
    }

    async fn connect(&self, random: &mut Random) -> Option<Connection> {
        let opening = Connection::open(self.subject, self.address, self.value_bytes, random);
        tokio::time::timeout(OPEN_TIMEOUT, opening).await.ok()?.ok()
    }

    /// A probe is done with its connection.
    fn give_back(&self, connection: Connection, opened: u64, failed: bool) {
        let mut waiting = self.waiting.lock().expect("no holder panics");
        if connection.shared().is_none() {
            waiting.connections.push(connection);
        } else if failed && self.subject == Subject::ZooKeeper && waiting.opened == opened {
            // A session that lost its server would wait before it tries again; a new one does not. The
            // others connect anew by themselves.
            waiting.connections.clear();
        }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
