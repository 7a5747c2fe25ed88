//! The load generator: a closed loop, or an open one.
//!
//! Picture a number of clients at a counter, each of whom asks, waits for the answer and asks again
//! at once. That closed loop answers "what can N clients do", the question of throughput. It is the wrong
//! instrument for what a client sees of a service that is not saturated or that stalls, because a client that
//! waits asks nothing. In the open loop (`pace.rs`) requests are due at a fixed rate, whatever becomes of
//! those before, and take as long as it is from then to their answers. `crowd.rs` is both loops, for clients of any
//! kind.
//!
//! Every client is one connection with one request under way, and all of them live on the thread of
//! the runtime that calls [`run`]. One thread is enough to keep the servers on the other cores busy
//! and is the cheapest per request.

mod background;
mod crowd;
pub(crate) mod http;
mod keys;
mod ledger;
mod pace;
mod recorder;
pub(crate) mod request;
mod samples;
pub(crate) mod stream;
mod worker;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use consensus::Random;
use serde::{Deserialize, Serialize};

use crate::Error;
pub use background::{Background, BackgroundOptions, Window};
pub(crate) use crowd::{Ask, Course, Crowd, Outcome, PAUSE_AFTER_ERROR, Turn};
pub use keys::KeyDistribution;
pub(crate) use keys::KeyDraw;
pub use ledger::{Ledger, Verdict};
pub(crate) use recorder::Recorder;
pub use recorder::{LatencyReport, LoadReport, TIMELINE_STEP};
#[cfg(test)]
pub(crate) use request::stamp_of;
pub use request::{Freshness, Kind};
pub(crate) use request::{KEY_PREFIX, KEYS_MAX, STAMP_BYTES, sent_after};
pub use samples::Samples;
pub(crate) use worker::{Client, HttpClient, error_of_body, request as exchange};

/// The most connections of one run.
pub const CONNECTIONS_MAX: usize = 10_000;
/// The most writes of one transaction, as the servers have it.
pub const TRANSACTION_OPERATIONS_MAX: usize = 128;
/// How long a client of a run without an end in time goes on.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// How often a fill is tried.
const FILL_ATTEMPTS: usize = 3;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// Write a value under a key drawn at random.
    Put,
    /// Read a key drawn at random.
    Get {
        /// How fresh the answer must be.
        freshness: Freshness,
    },
    /// Write a key drawn at random, then read it, linearizably: one operation.
    Pairs,
    /// Read so many keys from one on that is drawn at random.
    Range {
        /// How many.
        limit: u64,
        /// How fresh the answer must be.
        freshness: Freshness,
    },
    /// Write several keys in one transaction: one drawn at random and those behind it.
    Transactions {
        /// How many.
        operations: usize,
    },
    /// Several kinds of operations.
    Mixed(Mix),
    /// Write every key once, in order, to fill the store before a measurement.
    Fill,
    /// Have a body echoed by [`crate::echo`].
    Echo,
}

/// How many parts of all operations are of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mix {
    /// Writes.
    pub put: u32,
    /// Linearizable reads.
    pub get: u32,
    /// Linearizable reads of a hundred keys.
    pub range: u32,
}

impl Mix {
    /// All parts together.
    #[must_use]
    pub fn parts(&self) -> u64 {
        u64::from(self.put) + u64::from(self.get) + u64::from(self.range)
    }

    /// The kind that a part is of, of all of them counted from 0.
    fn kind(&self, part: u64) -> Kind {
        if part < u64::from(self.put) {
            Kind::Put
        } else if part < u64::from(self.put) + u64::from(self.get) {
            Kind::Get
        } else {
            Kind::Range
        }
    }
}

impl Workload {
    /// Whether any of it reads keys that should be there.
    #[must_use]
    pub fn reads(&self) -> bool {
        match self {
            Self::Get { .. } | Self::Range { .. } => true,
            Self::Mixed(mix) => mix.get + mix.range > 0,
            Self::Put | Self::Pairs | Self::Transactions { .. } | Self::Fill | Self::Echo => false,
        }
    }

    /// How many operations of the store one request is.
    #[must_use]
    pub fn operations_of_request(&self) -> usize {
        match self {
            Self::Transactions { operations } => *operations,
            _ => 1,
        }
    }
}

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// After this time, warm-up not included.
    Elapsed(Duration),
    /// After this many operations by all clients together, warm-up included.
    Operations(u64),
    /// When it is told to end, warm-up included.
    Stopped,
}

/// One run of the load generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadOptions {
    /// The servers; the connections are spread over them evenly.
    pub endpoints: Vec<SocketAddr>,
    /// How many clients there are.
    pub connections: usize,
    /// What they do.
    pub workload: Workload,
    /// How long the beginning is that does not count. Fixed before the run, so that nobody can cut
    /// where it suits.
    pub warmup: Duration,
    /// When the run ends.
    pub until: Until,
    /// The size of a value in bytes.
    pub value_bytes: usize,
    /// How many keys there are.
    pub keys: u64,
    /// How they are drawn.
    #[serde(default)]
    pub key_distribution: KeyDistribution,
    /// Requests a second that are due whether or not earlier ones are answered; `None` for a closed loop, in
    /// which each client asks as soon as it has its answer.
    #[serde(default)]
    pub per_second: Option<f64>,
    /// Where all randomness comes from.
    pub seed: u64,
}

impl LoadOptions {
    /// Refuses what can not be run.
    ///
    /// # Errors
    /// [`Error::Usage`] with what is allowed.
    pub fn check(&self) -> Result<(), Error> {
        let usage = |what: String| Err(Error::Usage(what));
        if self.endpoints.is_empty() {
            return usage("at least one endpoint is needed".to_owned());
        }
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            return usage(format!(
                "{} connections: allowed are 1 to {CONNECTIONS_MAX}",
                self.connections
            ));
        }
        if !(1..=KEYS_MAX).contains(&self.keys) {
            return usage(format!("{} keys: allowed are 1 to {KEYS_MAX}", self.keys));
        }
        if self.value_bytes > 8 << 20 {
            return usage(format!("a value of {} bytes: allowed are 0 to 8 MiB", self.value_bytes));
        }
        match self.workload {
            Workload::Mixed(mix) if mix.parts() == 0 => {
                return usage("a mix of nothing: at least one part must be more than 0".to_owned());
            }
            Workload::Transactions { operations }
                if operations == 0
                    || operations > TRANSACTION_OPERATIONS_MAX
                    || operations as u64 > self.keys =>
            {
                return usage(format!(
                    "transactions of {operations} puts of {} keys: allowed are 1 to {} of different keys",
                    self.keys, TRANSACTION_OPERATIONS_MAX
                ));
            }
            _ => {}
        }
        match (self.per_second, self.until) {
            (Some(rate), _) if !(0.1..=1e6).contains(&rate) => {
                usage(format!("{rate} requests a second: allowed are 0.1 to 1000000"))
            }
            (Some(_), Until::Operations(_)) => {
                usage("a fixed rate goes on for a time, not for a number of operations".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Runs the load on the current runtime and waits until the last answer is in or given up.
///
/// # Errors
/// [`Error::Usage`] for options that [`LoadOptions::check`] refuses, [`Error::Io`] when no client
/// could connect.
pub async fn run(options: &LoadOptions) -> Result<LoadReport, Error> {
    run_since(options, Instant::now()).await
}

/// The same; values say when their writes were due or sent, counted from this moment on.
pub(crate) async fn run_since(options: &LoadOptions, epoch: Instant) -> Result<LoadReport, Error> {
    let crowd = start(options, epoch, &[]).await?;
    Ok(crowd.finish().await.0)
}

/// Begins it. A client whose server takes no connection asks one of the others, if there are any.
pub(crate) async fn start(
    options: &LoadOptions,
    epoch: Instant,
    others: &[SocketAddr],
) -> Result<Crowd<HttpClient>, Error> {
    options.check()?;
    let keys = KeyDraw::new(options.key_distribution, options.keys);
    let mut seeds = Random::new(options.seed);
    let client =
        |client| HttpClient::new(client, options, keys, Random::new(seeds.next_u64()), epoch);
    let clients = connect_all(options, others).await?.into_iter().map(client).collect();
    let course = Course {
        warmup: options.warmup,
        until: options.until,
        per_second: options.per_second,
        patience: PATIENCE,
    };
    Ok(Crowd::start(clients, course))
}

/// Writes every key once, so that a measurement after it finds each of them. Keys that could not be
/// written, as when the leader changes just then, get another chance; the errors of all attempts are
/// in the report.
///
/// # Errors
/// As [`run`], and [`Error::Node`] when a key is still missing after several attempts.
pub async fn fill(options: &LoadOptions) -> Result<LoadReport, Error> {
    let mut options = options.clone();
    options.workload = Workload::Fill;
    options.warmup = Duration::ZERO;
    options.until = Until::Operations(options.keys);
    options.per_second = None;
    let mut errors = BTreeMap::new();
    for _ in 0..FILL_ATTEMPTS {
        let mut report = run(&options).await?;
        for (name, count) in &report.errors {
            *errors.entry(name.clone()).or_default() += count;
        }
        if report.operations_with_warmup == options.keys {
            report.errors = errors;
            return Ok(report);
        }
    }
    Err(Error::node(format!(
        "not every key could be written before the measurement, in {FILL_ATTEMPTS} attempts: {}",
        errors_text(&errors)
    )))
}

/// How often each error came: `no_leader × 3, overloaded × 1`.
pub(crate) fn errors_text(errors: &BTreeMap<String, u64>) -> String {
    let list: Vec<String> =
        errors.iter().map(|(name, count)| format!("{name} × {count}")).collect();
    list.join(", ")
}

/// Opens every connection before the clock starts.
async fn connect_all(options: &LoadOptions, others: &[SocketAddr]) -> Result<Vec<Client>, Error> {
    let others: Arc<[SocketAddr]> = others.into();
    let mut clients = Vec::with_capacity(options.connections);
    for number in 0..options.connections {
        let address = options.endpoints[number % options.endpoints.len()];
        let connection = http::HttpConnection::connect(address).await.map_err(|source| {
            let what = match source.kind() {
                io::ErrorKind::ConnectionRefused => format!(
                    "connection {number} to http://{address}: no server listens there; start one, name \
                     others with --endpoints, or have a cluster made for this with --protocol raft or zab"
                ),
                _ => format!("connection {number} to http://{address}"),
            };
            Error::Io { what, source }
        })?;
        let others = Arc::clone(&others);
        clients.push(Client { address, others, connection: Some(connection) });
    }
    Ok(clients)
}
