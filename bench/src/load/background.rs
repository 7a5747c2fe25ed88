//! Writers beside another measurement: they write until they are told to stop, remember what was
//! acknowledged, and can be asked at any time what they saw since they were asked last.
//!
//! At full speed each writer is a closed loop. Paced, the moments at which writes begin are fixed in
//! advance and latencies count from them, so that a server that stalls can not slow down its own
//! measurement; the number of writers only bounds how many are under way.
//!
//! A writer that can not connect to its node asks another one: nothing was sent, so that is no
//! failed write.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use consensus::Random;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::http::HttpConnection;
use super::ledger::Ledger;
use super::recorder::{LatencyReport, Recorder};
use super::request::Request;
use super::{CONNECTIONS_MAX, error_of_body};
use crate::Error;

/// How long a writer pauses after an error.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(5);
/// How long a writer waits for an answer. Servers give up after 5 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

/// How background writers write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackgroundOptions {
    /// The servers; the writers are spread over them evenly.
    pub endpoints: Vec<SocketAddr>,
    /// How many writers there are.
    pub connections: usize,
    /// The size of a value in bytes.
    pub value_bytes: usize,
    /// Writes a second of all together; `None` for as many as they can.
    pub per_second: Option<f64>,
    /// How many acknowledged writes are enough; `None` for no end.
    pub enough: Option<u64>,
    /// Where keys and values come from.
    pub seed: u64,
}

impl BackgroundOptions {
    /// Refuses what can not be run.
    ///
    /// # Errors
    /// [`Error::Usage`] with what is allowed.
    pub fn check(&self, keys: u64) -> Result<(), Error> {
        let usage = |what: String| Err(Error::Usage(what));
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            return usage(format!(
                "{} connections: allowed are 1 to {CONNECTIONS_MAX}",
                self.connections
            ));
        }
        if keys < self.connections as u64 || keys > super::KEYS_MAX {
            return usage(format!(
                "{keys} keys: each of {} connections needs keys of its own, and {} are the most",
                self.connections,
                super::KEYS_MAX
            ));
        }
        if self.value_bytes > 8 << 20 {
            return usage(format!("a value of {} bytes: allowed are 0 to 8 MiB", self.value_bytes));
        }
        if self.per_second.is_some_and(|rate| !(0.1..=1e6).contains(&rate)) {
            return usage("a rate: allowed are 0.1 to 1000000 writes a second".to_owned());
        }
        Ok(())
    }
}

/// What the writers saw since they were asked last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// How long that is.
    pub seconds: f64,
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Writes acknowledged a second.
    pub per_second: f64,
    /// How long they took.
    pub latency: LatencyReport,
    /// The longest time in which no write was acknowledged, in milliseconds.
    pub gap_max_ms: f64,
    /// Failed writes that certainly did not happen, by the name of the error.
    pub definite_errors: BTreeMap<String, u64>,
    /// Failed writes of which nobody knows whether they happened, by the name of the error.
    pub unknown_outcomes: BTreeMap<String, u64>,
}

impl Window {
    /// All failed writes, by the name of the error.
    #[must_use]
    pub fn errors(&self) -> BTreeMap<String, u64> {
        let mut errors = self.definite_errors.clone();
        for (name, count) in &self.unknown_outcomes {
            *errors.entry(name.clone()).or_default() += count;
        }
        errors
    }
}

/// Writers at work. Dropping it ends them at once.
#[derive(Debug)]
pub struct Background {
    shared: Arc<Shared>,
    writers: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    options: BackgroundOptions,
    ledger: Arc<Ledger>,
    stopping: AtomicBool,
    acknowledged: AtomicU64,
    pace: Mutex<Pace>,
    notes: Mutex<Notes>,
}

/// When writes begin.
#[derive(Debug)]
struct Pace {
    period: Option<Duration>,
    next: Instant,
}

/// What was seen since somebody asked.
#[derive(Debug)]
struct Notes {
    since: Instant,
    definite: Recorder,
    unknown: Recorder,
    last_acknowledged: Instant,
    gap_max: Duration,
}

impl Notes {
    fn new(now: Instant, last_acknowledged: Instant) -> Self {
        let recorder = || Recorder::new(now, Duration::ZERO, None);
        let (definite, unknown) = (recorder(), recorder());
        Self { since: now, definite, unknown, last_acknowledged, gap_max: Duration::ZERO }
    }

    fn success(&mut self, sent: Instant, done: Instant) {
        self.definite.success(sent, done);
        self.gap_max = self.gap_max.max(done - self.last_acknowledged);
        self.last_acknowledged = done;
    }

    fn window(&self, now: Instant) -> Window {
        let report = self.definite.report();
        let seconds = (now - self.since).as_secs_f64();
        Window {
            seconds,
            acknowledged: report.operations,
            per_second: if seconds > 0.0 { report.operations as f64 / seconds } else { 0.0 },
            latency: report.latency,
            gap_max_ms: self.gap_max.max(now - self.last_acknowledged).as_secs_f64() * 1e3,
            definite_errors: report.errors,
            unknown_outcomes: self.unknown.report().errors,
        }
    }
}

impl Background {
    /// Starts the writers.
    ///
    /// # Errors
    /// [`Error::Usage`] for options that [`BackgroundOptions::check`] refuses.
    pub fn start(options: BackgroundOptions, ledger: &Arc<Ledger>) -> Result<Self, Error> {
        let keys = ledger.writable_keys();
        options.check(keys.len() as u64)?;
        if options.endpoints.is_empty() {
            return Err(Error::Usage("at least one endpoint is needed".to_owned()));
        }
        let now = Instant::now();
        let shared = Arc::new(Shared {
            ledger: Arc::clone(ledger),
            stopping: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            pace: Mutex::new(Pace::new(options.per_second, now)),
            notes: Mutex::new(Notes::new(now, now)),
            options,
        });
        let mut writers = JoinSet::new();
        let mut seeds = Random::new(shared.options.seed);
        for number in 0..shared.options.connections {
            let own = keys.iter().copied().skip(number).step_by(shared.options.connections);
            let random = Random::new(seeds.next_u64());
            writers.spawn(Writer::new(Arc::clone(&shared), number, own.collect(), random).run());
        }
        Ok(Self { shared, writers })
    }

    /// How many writes were acknowledged since the start.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Whether so many writes were acknowledged that the writers stopped by themselves.
    #[must_use]
    pub fn has_enough(&self) -> bool {
        self.shared.options.enough.is_some_and(|enough| self.acknowledged() >= enough)
    }

    /// Changes how fast they write from now on.
    pub fn set_rate(&self, per_second: Option<f64>) {
        *self.shared.pace() = Pace::new(per_second, Instant::now());
    }

    /// What was seen since the start or since this was asked last.
    #[expect(clippy::must_use_candidate, reason = "asking alone begins a new window")]
    pub fn window(&self) -> Window {
        let now = Instant::now();
        let mut notes = self.shared.notes();
        let next = Notes::new(now, notes.last_acknowledged);
        std::mem::replace(&mut *notes, next).window(now)
    }

    /// Begins no more writes, waits for the answers, and tells what was seen since this was asked
    /// last.
    pub async fn stop(mut self) -> Window {
        self.shared.stopping.store(true, Ordering::Relaxed);
        let now = Instant::now();
        while let Some(joined) = self.writers.join_next().await {
            joined.expect("a writer does not panic");
        }
        self.shared.notes().window(now)
    }
}

impl Shared {
    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().expect("no holder panics")
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().expect("no holder panics")
    }

    fn is_over(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
            || self
                .options
                .enough
                .is_some_and(|enough| self.acknowledged.load(Ordering::Relaxed) >= enough)
    }
}

impl Pace {
    fn new(per_second: Option<f64>, now: Instant) -> Self {
        Self { period: per_second.map(|rate| Duration::from_secs_f64(1.0 / rate)), next: now }
    }

    /// When the next write is to begin; `None` at once.
    fn turn(&mut self) -> Option<Instant> {
        let turn = self.next;
        self.next += self.period?;
        Some(turn)
    }
}

/// How one write went.
enum Outcome {
    Acknowledged,
    Refused(String),
    Unknown(String),
}

/// One client.
struct Writer {
    shared: Arc<Shared>,
    home: usize,
    connection: Option<HttpConnection>,
    request: Request,
    keys: Vec<u64>,
    random: Random,
}

impl Writer {
    fn new(shared: Arc<Shared>, number: usize, keys: Vec<u64>, mut random: Random) -> Self {
        let home = number % shared.options.endpoints.len();
        let host = shared.options.endpoints[home].to_string();
        let request = Request::put(&host, shared.options.value_bytes, &mut random);
        Self { shared, home, connection: None, request, keys, random }
    }

    async fn run(mut self) {
        while !self.shared.is_over() {
            let turn = self.shared.pace().turn();
            if let Some(turn) = turn {
                tokio::time::sleep_until(turn.into()).await;
                if self.shared.is_over() {
                    return;
                }
            }
            let place = usize::try_from(self.random.below(self.keys.len() as u64));
            let place = place.expect("an index");
            let key = self.keys[place];
            let number = self.shared.ledger.begin(key);
            self.request.set_key(key);
            self.request.set_stamp(number);
            let sent = turn.unwrap_or_else(Instant::now);
            match self.write().await {
                Outcome::Acknowledged => {
                    self.shared.ledger.acknowledge(key, number);
                    self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                    self.shared.notes().success(sent, Instant::now());
                    continue;
                }
                Outcome::Refused(name) => self.shared.notes().definite.error(&name, false),
                Outcome::Unknown(name) => {
                    self.shared.notes().unknown.error(&name, true);
                    self.shared.ledger.doubt(key, number);
                    match self.shared.ledger.new_key() {
                        Some(fresh) => self.keys[place] = fresh,
                        None => drop(self.keys.swap_remove(place)),
                    }
                    if self.keys.is_empty() {
                        self.shared.notes().definite.error("no_keys_left", false);
                        return;
                    }
                }
            }
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
        }
    }

    /// Sends the request to the writer's own node, or to another one if that can not be reached.
    async fn write(&mut self) -> Outcome {
        let idle = self.connection.take().filter(HttpConnection::is_open);
        let mut connection = match idle {
            Some(connection) => connection,
            None => match self.connect().await {
                Some(connection) => connection,
                None => return Outcome::Refused("connection_failed".to_owned()),
            },
        };
        let exchange = connection.exchange(self.request.bytes());
        let answer = match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
            Err(_) => return Outcome::Unknown("client_timeout".to_owned()),
            Ok(Err(_)) => return Outcome::Unknown("connection_lost".to_owned()),
            Ok(Ok(answer)) => answer,
        };
        let outcome = if answer.status < 300 {
            Outcome::Acknowledged
        } else {
            match error_of_body(answer.status, connection.body(&answer)) {
                (name, true) => Outcome::Refused(name),
                (name, false) => Outcome::Unknown(name),
            }
        };
        if !answer.closes {
            self.connection = Some(connection);
        }
        outcome
    }

    async fn connect(&self) -> Option<HttpConnection> {
        let endpoints = &self.shared.options.endpoints;
        for offset in 0..endpoints.len() {
            let address = endpoints[(self.home + offset) % endpoints.len()];
            if let Ok(connection) = HttpConnection::connect(address).await {
                return Some(connection);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(connections: usize) -> BackgroundOptions {
        BackgroundOptions {
            endpoints: vec!["127.0.0.1:1".parse().expect("an address")],
            connections,
            value_bytes: 16,
            per_second: None,
            enough: None,
            seed: 1,
        }
    }

    #[test]
    fn a_paced_write_begins_when_it_is_its_turn_however_late_the_others_are() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(100.0), start);
        let turns: Vec<Duration> = (0..3).map(|_| pace.turn().expect("a turn") - start).collect();
        assert_eq!(turns, [0, 10, 20].map(Duration::from_millis));
        assert_eq!(Pace::new(None, start).turn(), None);
    }

    #[test]
    fn the_longest_time_without_an_acknowledgement_may_reach_into_the_next_window() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut notes = Notes::new(start, start);
        notes.success(at(0), at(10));
        notes.success(at(10), at(40));
        let window = notes.window(at(60));
        assert_eq!((window.acknowledged, window.gap_max_ms), (2, 30.0));
        let mut next = Notes::new(at(60), at(40));
        assert_eq!(next.window(at(100)).gap_max_ms, 60.0, "nothing was acknowledged at all");
        next.success(at(20), at(240));
        assert_eq!(next.window(at(250)).gap_max_ms, 200.0);
        assert_eq!(next.window(at(250)).latency.max_ms.round(), 220.0);
    }

    #[test]
    fn definite_errors_and_unknown_outcomes_are_told_apart() {
        let start = Instant::now();
        let mut notes = Notes::new(start, start);
        notes.definite.error("no_leader", false);
        notes.definite.error("no_leader", false);
        notes.unknown.error("connection_lost", true);
        let window = notes.window(start);
        assert_eq!(window.definite_errors, BTreeMap::from([("no_leader".to_owned(), 2)]));
        assert_eq!(window.unknown_outcomes, BTreeMap::from([("connection_lost".to_owned(), 1)]));
        assert_eq!(window.errors().len(), 2);
    }

    #[test]
    fn impossible_options_are_refused() {
        options(4).check(4).expect("a key each");
        assert!(options(5).check(4).is_err(), "not a key each");
        assert!(options(0).check(4).is_err());
        let rate = |rate| BackgroundOptions { per_second: Some(rate), ..options(1) }.check(4);
        rate(100.0).expect("possible");
        assert!(rate(0.0).is_err() && rate(f64::NAN).is_err());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn writers_that_reach_nobody_say_so_and_can_be_stopped() {
        let ledger = Arc::new(Ledger::new(4));
        let writers = Background::start(options(2), &ledger).expect("started");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(writers.acknowledged(), 0);
        let window = writers.stop().await;
        assert_eq!(window.acknowledged, 0);
        assert!(window.definite_errors["connection_failed"] >= 2);
        assert!(window.unknown_outcomes.is_empty());
    }
}
