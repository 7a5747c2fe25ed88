//! The closed loop that drives every subject alike: each client waits for its answer before it asks
//! again, as in [`crate::load`], whose notes and whose rules of counting it uses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use consensus::Random;
use tokio::task::JoinSet;

use super::client::Connection;
use super::{Consistency, Subject};
use crate::Error;
use crate::load::{LoadReport, Outcome, Recorder};

/// How long a client pauses after an error, as the load generator does.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(5);
/// How long after the end of the run an answer may still come. etcd gives up after 7 s.
const GRACE: Duration = Duration::from_secs(8);
/// How long a fill may take, and each key of it, however often it is tried.
const FILL_TIME_MAX: Duration = Duration::from_secs(120);
const KEY_TIME_MAX: Duration = Duration::from_secs(20);
/// How long it is tried to open all connections. A ZooKeeper that has just chosen its leader may still refuse
/// sessions.
const OPEN_TIME_MAX: Duration = Duration::from_secs(10);

/// What the clients do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// Write every key once, in order.
    Fill,
    /// Write keys drawn at random.
    Write,
    /// Read keys drawn at random.
    Read(Consistency),
}

/// One run of the loop.
#[derive(Clone, Debug)]
pub(super) struct Drive {
    pub(super) work: Work,
    /// The beginning that does not count, and what comes after it and does.
    pub(super) warmup: Duration,
    pub(super) window: Duration,
    pub(super) keys: u64,
    pub(super) seed: u64,
}

/// Opens the connections of a run, spread evenly over the nodes.
pub(super) async fn open_all(
    subject: Subject,
    endpoints: &[SocketAddr],
    connections: usize,
    value_bytes: usize,
    seed: u64,
) -> Result<Vec<Connection>, Error> {
    let mut random = Random::new(seed);
    let deadline = Instant::now() + OPEN_TIME_MAX;
    let mut all = Vec::with_capacity(connections);
    for number in 0..connections {
        let address = endpoints[number % endpoints.len()];
        let connection = loop {
            let opening = Connection::open(subject, address, value_bytes, &mut random);
            let why = match tokio::time::timeout_at(deadline.into(), opening).await {
                Ok(Ok(connection)) => break connection,
                Ok(Err(why)) => why,
                Err(_) => "no answer".to_owned(),
            };
            if Instant::now() >= deadline {
                return Err(Error::node(format!("connection {number} to {address}: {why}")));
            }
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
        };
        all.push(connection);
    }
    Ok(all)
}

/// Runs the loop on these connections and waits until the last answer is in or given up.
pub(super) async fn run(connections: &mut Vec<Connection>, drive: &Drive) -> LoadReport {
    let begun = Arc::new(AtomicU64::new(0));
    let mut seeds = Random::new(drive.seed);
    let mut workers = JoinSet::new();
    let start = Instant::now();
    for connection in connections.drain(..) {
        let client = Client {
            connection,
            drive: drive.clone(),
            random: Random::new(seeds.next_u64()),
            begun: Arc::clone(&begun),
            recorder: recorder(drive, start),
        };
        workers.spawn(client.run(start));
    }
    let mut merged = recorder(drive, start);
    while let Some(joined) = workers.join_next().await {
        let (connection, notes) = joined.expect("a client of the loop does not panic");
        merged.merge(&notes);
        connections.push(connection);
    }
    merged.report()
}

fn recorder(drive: &Drive, start: Instant) -> Recorder {
    match drive.work {
        Work::Fill => Recorder::new(start, Duration::ZERO, None),
        Work::Write | Work::Read(_) => Recorder::new(start, drive.warmup, Some(drive.window)),
    }
}

/// One client of the loop.
struct Client {
    connection: Connection,
    drive: Drive,
    random: Random,
    /// How many keys of a fill were begun by all clients.
    begun: Arc<AtomicU64>,
    recorder: Recorder,
}

impl Client {
    async fn run(mut self, start: Instant) -> (Connection, Recorder) {
        let limit = match self.drive.work {
            Work::Fill => FILL_TIME_MAX,
            Work::Write | Work::Read(_) => self.drive.warmup + self.drive.window + GRACE,
        };
        let all = async {
            match self.drive.work {
                Work::Fill => self.fill().await,
                Work::Write | Work::Read(_) => self.ask_until_the_end(start).await,
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            self.recorder.error("client_timeout", true);
        }
        (self.connection, self.recorder)
    }

    /// Writes keys that nobody has begun yet, each until it is acknowledged or there is no hope.
    async fn fill(&mut self) {
        loop {
            let key = self.begun.fetch_add(1, Ordering::Relaxed);
            if key >= self.drive.keys {
                return;
            }
            let began = Instant::now();
            let create = async |client: &mut Self| {
                let stamp = client.random.next_u64();
                client.connection.create(key, stamp).await
            };
            while !self.note(Instant::now(), create).await {
                if began.elapsed() > KEY_TIME_MAX {
                    return;
                }
            }
        }
    }

    async fn ask_until_the_end(&mut self, start: Instant) {
        let end = start + self.drive.warmup + self.drive.window;
        loop {
            let now = Instant::now();
            if now >= end {
                return;
            }
            let key = self.random.below(self.drive.keys);
            self.note(now, async |client: &mut Self| match client.drive.work {
                Work::Read(consistency) => client.connection.read(key, consistency).await,
                Work::Write | Work::Fill => {
                    let stamp = client.random.next_u64();
                    client.connection.write(key, stamp).await
                }
            })
            .await;
        }
    }

    /// Makes one request and notes how it went; false if it failed.
    async fn note(
        &mut self,
        sent: Instant,
        request: impl AsyncFnOnce(&mut Self) -> Outcome,
    ) -> bool {
        let outcome = request(self).await;
        let done = Instant::now();
        match outcome {
            Outcome::Success => self.recorder.success(sent, done),
            Outcome::NotFound => {
                self.recorder.success(sent, done);
                self.recorder.not_found();
            }
            Outcome::Failed { name, outcome_unknown } => {
                self.recorder.error(&name, outcome_unknown);
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                return false;
            }
        }
        true
    }
}
