//! Many watchers of etcd's API while somebody writes: does each of them get every event, once and in
//! order, and how soon?
//!
//! The watchers live on few connections, as a client library opens them: each connection is one
//! `POST /v3/watch` whose body has all its create requests. The connections are spread over all nodes.
//! Puts go out at a fixed rate, to keys that nobody else writes. A put's value carries its number, by
//! which an event is matched with the moment that the put was due; an event's `version` says which one
//! of its key it is, so that a watcher that expects the next one notices any that is missing, repeated
//! or out of order.
//!
//! - `stream`: one connection's bytes as messages.
//! - `tally`: what the watchers of a connection were told, and what they should have been.
//! - `writers`: the puts.
//! - `follow`: streams that watch everything that a load writes.
//! - `idle`: what watchers cost that are told nothing.
//!
//! # Caveats
//! The client reads every event on one thread of the same machine. What it takes of the processor is in
//! the report; an event that waits for the client counts as late as one that waits for a server.

mod follow;
mod idle;
mod stream;
mod tally;
mod writers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Error;
use crate::cluster::{Cluster, NodeMemory, own_cpu_seconds};
use crate::load::{CONNECTIONS_MAX, LatencyReport, Recorder, STAMP_BYTES};
pub use follow::Delivery;
pub(crate) use follow::{FollowOptions, Followers};
pub use idle::{IdleOptions, IdleReport, Pair, measure_idle};
use stream::{WatchStream, stamp};
pub use tally::Told;
use tally::{Key, Tally};
use writers::Schedule;

/// The most watchers of one connection that the servers allow.
const WATCHERS_OF_STREAM_MAX: usize = 16_384;
/// The most puts of a run: their moments are kept in memory.
const WRITES_MAX: u64 = 10_000_000;
/// How long the watchers may take to be told of the last put.
const LAST_EVENT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long all watches may take to begin.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked whether the last event is there.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How long it is listened for events that are told too often.
const REPEATED_TIME: Duration = Duration::from_millis(300);

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchOptions {
    /// How many watchers there are.
    pub watchers: usize,
    /// On how many connections, spread over all nodes.
    pub streams: usize,
    /// Puts a second.
    pub per_second: f64,
    /// How many keys are put, one after the other; each watcher watches one of them.
    pub keys: u64,
    /// How long the beginning is whose latencies do not count. Its events do.
    pub warmup: Duration,
    /// How long is measured after that.
    pub duration: Duration,
    /// The size of a value in bytes.
    pub value_bytes: usize,
    /// The clients that put; they bound how many puts are under way.
    pub connections: usize,
    /// Where values come from.
    pub seed: u64,
}

impl WatchOptions {
    /// Refuses what can not be run.
    ///
    /// # Errors
    /// [`Error::Usage`] with what is allowed.
    pub fn check(&self) -> Result<(), Error> {
        let usage = |what: String| Err(Error::Usage(what));
        check_watchers(self.watchers, self.streams)?;
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            return usage(format!(
                "{} connections: allowed are 1 to {CONNECTIONS_MAX}",
                self.connections
            ));
        }
        if !(1..=self.watchers as u64).contains(&self.keys) {
            return usage(format!("{} keys: allowed are 1 to one for each watcher", self.keys));
        }
        if !(STAMP_BYTES..=1 << 20).contains(&self.value_bytes) {
            return usage(format!(
                "a value of {} bytes: allowed are {STAMP_BYTES}, which say which put it is, to 1 MiB",
                self.value_bytes
            ));
        }
        if !(0.1..=1e6).contains(&self.per_second) || self.writes() > WRITES_MAX {
            return usage(format!(
                "{} puts a second: allowed are 0.1 to 1000000, and {WRITES_MAX} in all",
                self.per_second
            ));
        }
        Ok(())
    }

    /// How many puts there are, and how many of them do not count.
    fn writes(&self) -> u64 {
        ((self.warmup + self.duration).as_secs_f64() * self.per_second).ceil() as u64
    }
}

/// Refuses more watchers than there can be, and connections without any.
fn check_watchers(watchers: usize, streams: usize) -> Result<(), Error> {
    if !(1..=CONNECTIONS_MAX).contains(&streams) || watchers < streams {
        return Err(Error::Usage(format!(
            "{watchers} watchers on {streams} streams: allowed are 1 to {CONNECTIONS_MAX} streams \
             with a watcher each"
        )));
    }
    if watchers.div_ceil(streams) > WATCHERS_OF_STREAM_MAX {
        return Err(Error::Usage(format!(
            "{watchers} watchers on {streams} streams: allowed are {WATCHERS_OF_STREAM_MAX} on one"
        )));
    }
    Ok(())
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchReport {
    /// From the first put until the last event was there, in seconds.
    pub seconds: f64,
    /// Puts acknowledged.
    pub acknowledged: u64,
    /// Puts whose outcome nobody knows; they may be told or not.
    pub unknown_outcomes: u64,
    /// Failed puts by the name of the error.
    pub errors: BTreeMap<String, u64>,
    /// How long puts took, from when they were due.
    pub write_latency: LatencyReport,
    /// What the watchers were told.
    pub told: Told,
    /// Events that all watchers together should have been told at least: those of acknowledged puts.
    pub events_due: u64,
    /// Events a second.
    pub events_per_second: f64,
    /// From when a put was due until its event was read, over all watchers.
    pub latency: LatencyReport,
    /// Cores that the clients kept busy, which the servers did not have.
    pub client_cores: f64,
    /// Cores that all nodes together kept busy.
    pub server_cores: f64,
    /// Each node's memory at its most during the run.
    pub nodes: Vec<NodeMemory>,
}

impl WatchReport {
    /// The promises that were broken.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let Told { missed, repeated, foreign, cancelled, .. } = self.told;
        let counts = [
            (missed, "events were not told"),
            (repeated, "events were told again, or out of order"),
            (foreign, "events were told to watchers of another key"),
            (cancelled, "watches were cancelled"),
        ];
        let broken = counts.into_iter().filter(|(count, _)| *count > 0);
        broken.map(|(count, what)| format!("{count} {what}")).collect()
    }
}

/// Puts at these nodes while the watchers are told, who are spread over all nodes.
///
/// # Errors
/// [`Error::Usage`] for impossible options, [`Error::Node`] when the watches do not begin or a node ends
/// one of their connections.
pub async fn measure(
    cluster: &Cluster,
    options: &WatchOptions,
    writers_at: &[SocketAddr],
    bar: &ProgressBar,
) -> Result<WatchReport, Error> {
    options.check()?;
    let endpoints = cluster.endpoints();
    let keys: Vec<Arc<Key>> = (0..options.keys).map(|key| Arc::new(Key::new(key))).collect();
    cluster.ids().into_iter().for_each(|id| cluster.reset_memory_peak(id));
    bar.set_message("beginning the watches");
    let streams = open(&endpoints, options.watchers, options.streams, &keys).await?;
    let (cpu, own_cpu) = (cluster.resource_use().cpu_seconds, own_cpu_seconds());
    let start = Instant::now();
    let schedule = Schedule::new(start, options.per_second);
    let (stop, stopped) = watch::channel(false);
    let mut readers = JoinSet::new();
    for (stream, tally) in streams {
        let recorder = Recorder::new(start, options.warmup, None);
        readers.spawn(Reader { stream, tally, recorder, schedule }.run(stopped.clone()));
    }
    bar.set_length(options.writes());
    bar.set_message("puts");
    let writes = writers::put_all(options, schedule, &keys, writers_at, bar).await;
    let due: Vec<u64> = (keys.iter().enumerate())
        .map(|(number, key)| {
            share(options.watchers, keys.len(), number) as u64 * key.acknowledged()
        })
        .collect();
    bar.set_message("waiting for the last events");
    let last_put = Instant::now();
    while keys.iter().zip(&due).any(|(key, due)| key.told() < *due) {
        if last_put.elapsed() > LAST_EVENT_TIMEOUT {
            break;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    let (cpu, own_cpu) = (cluster.resource_use().cpu_seconds - cpu, own_cpu_seconds() - own_cpu);
    // What is told too often would come now.
    tokio::time::sleep(REPEATED_TIME).await;
    // Whoever does not listen has failed already, and says so.
    let _ = stop.send(true);
    let (mut told, mut recorder) = (Told::default(), Recorder::new(start, options.warmup, None));
    while let Some(joined) = readers.join_next().await {
        let (tally, notes) = joined.expect("a reader does not panic")?;
        told.add(&tally.told());
        recorder.merge(&notes);
    }
    Ok(WatchReport {
        seconds,
        acknowledged: keys.iter().map(|key| key.acknowledged()).sum(),
        unknown_outcomes: writes.unknown_outcomes,
        errors: writes.errors,
        write_latency: writes.latency,
        told,
        events_due: due.iter().sum(),
        events_per_second: told.events as f64 / seconds.max(1e-3),
        latency: recorder.report().latency,
        client_cores: own_cpu / seconds.max(1e-3),
        server_cores: cpu / seconds.max(1e-3),
        nodes: cluster.memories(),
    })
}

/// Opens all connections and waits until all their watches have begun. Watchers are dealt out to the
/// connections in turn, and so are the keys to the watchers.
async fn open(
    endpoints: &[SocketAddr],
    watchers: usize,
    streams: usize,
    keys: &[Arc<Key>],
) -> Result<Vec<(WatchStream, Tally)>, Error> {
    let begin = async {
        let mut opened = Vec::with_capacity(streams);
        for number in 0..streams {
            let address = endpoints[number % endpoints.len()];
            let own = (number..watchers).step_by(streams);
            let tally = Tally::new(own.map(|watcher| Arc::clone(&keys[watcher % keys.len()])));
            let failed = |source| Error::Io {
                what: format!("watches on connection {number} to http://{address}"),
                source,
            };
            let stream = WatchStream::open(address, tally.keys()).await.map_err(failed)?;
            opened.push((stream, tally));
        }
        for (stream, tally) in &mut opened {
            while !tally.has_begun() {
                let received = stream.receive().await;
                let taken = received.and_then(|()| stream.take(|told| tally.take(told, |_| {})));
                taken.map_err(|error| Error::node(format!("watches do not begin: {error}")))?;
            }
        }
        Ok(opened)
    };
    tokio::time::timeout(BEGIN_TIMEOUT, begin).await.unwrap_or_else(|_| {
        let waited = BEGIN_TIMEOUT.as_secs();
        Err(Error::node(format!("not all watches have begun after {waited} s")))
    })
}

/// How many of `count` things dealt out to `places` in turn one place gets.
fn share(count: usize, places: usize, place: usize) -> usize {
    count / places + usize::from(place < count % places)
}

/// Who reads one connection.
struct Reader {
    stream: WatchStream,
    tally: Tally,
    recorder: Recorder,
    schedule: Schedule,
}

impl Reader {
    /// Reads until it is told to stop.
    async fn run(mut self, mut stopped: watch::Receiver<bool>) -> Result<(Tally, Recorder), Error> {
        loop {
            let received = tokio::select! {
                received = self.stream.receive() => received,
                _ = stopped.wait_for(|stopped| *stopped) => return Ok((self.tally, self.recorder)),
            };
            let now = Instant::now();
            let (tally, recorder, schedule) = (&mut self.tally, &mut self.recorder, &self.schedule);
            let mut is_new = |value: &str| {
                if let Some(number) = stamp(value) {
                    recorder.success(schedule.due(number), now);
                }
            };
            let taken =
                received.and_then(|()| self.stream.take(|said| tally.take(said, &mut is_new)));
            taken.map_err(|error| Error::node(format!("a connection of watches: {error}")))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> WatchOptions {
        WatchOptions {
            watchers: 10,
            streams: 3,
            per_second: 10.0,
            keys: 4,
            warmup: Duration::from_millis(500),
            duration: Duration::from_secs(2),
            value_bytes: 16,
            connections: 2,
            seed: 1,
        }
    }

    #[test]
    fn everybody_is_dealt_a_key_and_a_connection() {
        for (count, places) in [(10, 3), (10, 4), (3, 3), (1, 1), (1_000, 100)] {
            let dealt = |place| (0..count).filter(|number| number % places == place).count();
            for place in 0..places {
                assert_eq!(share(count, places, place), dealt(place), "{count} {places} {place}");
            }
        }
    }

    #[test]
    fn impossible_options_are_refused() {
        options().check().expect("possible");
        assert_eq!(options().writes(), 25);
        for wrong in [
            WatchOptions { streams: 11, ..options() },
            WatchOptions { streams: 0, ..options() },
            WatchOptions { watchers: 20_000, streams: 1, ..options() },
            WatchOptions { keys: 11, ..options() },
            WatchOptions { keys: 0, ..options() },
            WatchOptions { value_bytes: 15, ..options() },
            WatchOptions { per_second: f64::NAN, ..options() },
            WatchOptions { per_second: 1e6, duration: Duration::from_secs(60), ..options() },
            WatchOptions { connections: 0, ..options() },
        ] {
            wrong.check().expect_err(&format!("{wrong:?}"));
        }
    }
}
