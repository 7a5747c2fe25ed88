//! The puts that watchers are told: each begins when it is its turn, whatever became of those before.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use consensus::Random;
use indicatif::ProgressBar;
use tokio::task::JoinSet;

use super::WatchOptions;
use super::tally::Key;
use crate::load::request::Request;
use crate::load::{Client, LoadReport, Outcome, Recorder, exchange};

/// How long a client waits for an answer. Servers give up after 5 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

/// When which put is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    start: Instant,
    period: Duration,
}

impl Schedule {
    /// So many a second from a moment on.
    pub(super) fn new(start: Instant, per_second: f64) -> Self {
        Self { start, period: Duration::from_secs_f64(1.0 / per_second) }
    }

    /// When the put of this number is due. The first has number 0.
    pub(super) fn due(&self, number: u64) -> Instant {
        self.start + self.period.mul_f64(number as f64)
    }
}

/// Puts the keys one after the other, and returns what the clients saw.
pub(super) async fn put_all(
    options: &WatchOptions,
    schedule: Schedule,
    keys: &[Arc<Key>],
    endpoints: &[SocketAddr],
    bar: &ProgressBar,
) -> LoadReport {
    let recorder = || Recorder::new(schedule.start, options.warmup, None);
    let mut random = Random::new(options.seed);
    let mut clients = JoinSet::new();
    let next = Arc::new(AtomicU64::new(0));
    for number in 0..options.connections {
        let address = endpoints[number % endpoints.len()];
        let writer = Writer {
            schedule,
            keys: keys.to_vec(),
            next: Arc::clone(&next),
            end: options.writes(),
            recorder: recorder(),
            request: Request::put(&address.to_string(), options.value_bytes, &mut random),
            client: Client { address, others: Arc::default(), connection: None },
            bar: bar.clone(),
        };
        clients.spawn(writer.run());
    }
    let mut merged = recorder();
    while let Some(joined) = clients.join_next().await {
        merged.merge(&joined.expect("a client that puts does not panic"));
    }
    merged.report()
}

/// One client.
struct Writer {
    schedule: Schedule,
    keys: Vec<Arc<Key>>,
    /// The number of the next put of all clients, and where they end.
    next: Arc<AtomicU64>,
    end: u64,
    recorder: Recorder,
    request: Request,
    client: Client,
    bar: ProgressBar,
}

impl Writer {
    async fn run(mut self) -> Recorder {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.end {
                return self.recorder;
            }
            let due = self.schedule.due(number);
            tokio::time::sleep_until(due.into()).await;
            let key = number % self.keys.len() as u64;
            self.request.set_key(key);
            self.request.set_stamp(number);
            let answer = exchange(&mut self.client, self.request.bytes(), true);
            match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
                Ok(Outcome::Success) => {
                    self.keys[usize::try_from(key).expect("an index")].acknowledge();
                    self.recorder.success(due, Instant::now());
                }
                Ok(Outcome::Failed { name, outcome_unknown }) => {
                    self.recorder.error(&name, outcome_unknown);
                }
                Ok(Outcome::NotFound) => self.recorder.error("not_found", true),
                Err(_) => {
                    self.client.connection = None;
                    self.recorder.error("client_timeout", true);
                }
            }
            self.bar.inc(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_is_due_at_its_turn() {
        let start = Instant::now();
        let schedule = Schedule::new(start, 100.0);
        let due = [0, 1, 250].map(|number| schedule.due(number) - start);
        assert_eq!(due, [0, 10, 2_500].map(Duration::from_millis));
    }
}
