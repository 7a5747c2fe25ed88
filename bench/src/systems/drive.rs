//! The loads that drive every subject alike, by the loops and the rules of counting of [`crate::load`].

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use consensus::Random;

use super::client::Connection;
use super::{Consistency, Subject};
use crate::Error;
use crate::load::{
    Ask, Course, Crowd, KeyDistribution, KeyDraw, LoadReport, Outcome, PAUSE_AFTER_ERROR, Recorder,
    Turn, Until,
};

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

/// One load.
#[derive(Clone, Debug)]
pub(super) struct Drive {
    pub(super) work: Work,
    /// The beginning that does not count, and what comes after it and does.
    pub(super) warmup: Duration,
    pub(super) window: Duration,
    pub(super) keys: u64,
    pub(super) key_distribution: KeyDistribution,
    /// Operations a second that are due; `None` for a closed loop.
    pub(super) per_second: Option<f64>,
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

/// Runs the load on these connections and waits until the last answer is in or given up.
pub(super) async fn run(connections: &mut Vec<Connection>, drive: &Drive) -> LoadReport {
    let keys = KeyDraw::new(drive.key_distribution, drive.keys);
    let mut seeds = Random::new(drive.seed);
    let client = |connection| {
        let random = Random::new(seeds.next_u64());
        Client { connection, work: drive.work, keys, random }
    };
    let clients = connections.drain(..).map(client).collect();
    let (warmup, until) = match drive.work {
        Work::Fill => (Duration::ZERO, Until::Operations(drive.keys)),
        Work::Write | Work::Read(_) => (drive.warmup, Until::Elapsed(drive.window)),
    };
    let course = Course { warmup, until, per_second: drive.per_second, patience: FILL_TIME_MAX };
    let (report, clients) = Crowd::start(clients, course).finish().await;
    connections.extend(clients.into_iter().map(|client| client.connection));
    report
}

/// One client.
struct Client {
    connection: Connection,
    work: Work,
    keys: KeyDraw,
    random: Random,
}

impl Ask for Client {
    async fn ask(&mut self, turn: Turn, notes: &mut Recorder) -> Outcome {
        match self.work {
            Work::Fill => self.create(turn, notes).await,
            Work::Write => {
                let (key, stamp) = (self.keys.draw(&mut self.random), self.random.next_u64());
                self.connection.write(key, stamp).await
            }
            Work::Read(consistency) => {
                let key = self.keys.draw(&mut self.random);
                self.connection.read(key, consistency).await
            }
        }
    }
}

impl Client {
    /// Writes a key until it is acknowledged or there is no hope.
    async fn create(&mut self, turn: Turn, notes: &mut Recorder) -> Outcome {
        loop {
            let stamp = self.random.next_u64();
            match self.connection.create(turn.number, stamp).await {
                Outcome::Failed { name, outcome_unknown }
                    if turn.since.elapsed() <= KEY_TIME_MAX =>
                {
                    notes.error(&name, outcome_unknown);
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
                outcome => return outcome,
            }
        }
    }
}
