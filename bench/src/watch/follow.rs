//! Streams that watch everything that a load writes, and how long each write takes to them.
//!
//! A value says when its write was due or sent ([`crate::load`]), so that an event tells by itself how long it took.
//! Each stream is a connection with one watch of all keys. An event's `version` says which one of its key it is, by
//! which it is noticed if any is missing between two, or is told again.
//!
//! # Caveats
//! The streams are read on the thread of the load, which has that much less time for asking.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::stream::{Message, WatchStream, stamp};
use super::{BEGIN_TIMEOUT, LAST_EVENT_TIMEOUT};
use crate::Error;
use crate::load::{KEY_PREFIX, LatencyReport, Recorder, sent_after};

/// When nothing was told for so long, nothing more is on its way.
const QUIET: Duration = Duration::from_millis(200);

/// Who follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FollowOptions {
    /// How many streams there are, spread over all nodes.
    pub(crate) streams: usize,
    /// How long the beginning is whose latencies do not count.
    pub(crate) warmup: Duration,
}

/// What the streams were told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// How many streams there were.
    pub streams: usize,
    /// Events, each told to one stream.
    pub events: u64,
    /// Events that a stream was not told, though a later one of the key, or another stream, was.
    pub missed: u64,
    /// Events that a stream had been told already, or had been told a later one.
    pub repeated: u64,
    /// Watches that the server ended.
    pub cancelled: u64,
    /// From when a write was due, or sent, until an event of it was read.
    pub latency: LatencyReport,
}

impl Delivery {
    /// The promises that were broken.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let counts = [
            (self.missed, "events were not told"),
            (self.repeated, "events were told again, or out of order"),
            (self.cancelled, "watches were cancelled"),
        ];
        let broken = counts.into_iter().filter(|(count, _)| *count > 0);
        broken.map(|(count, what)| format!("{count} {what}")).collect()
    }
}

/// Streams that follow.
pub(crate) struct Followers {
    options: FollowOptions,
    stop: watch::Sender<bool>,
    readers: JoinSet<Result<Reader, Error>>,
}

impl Followers {
    /// Opens the streams and waits until their watches have begun. What values say counts from this moment.
    ///
    /// # Errors
    /// [`Error::Io`] when a stream can not be opened, [`Error::Node`] when a watch does not begin.
    pub(crate) async fn start(
        endpoints: &[SocketAddr],
        options: FollowOptions,
        epoch: Instant,
    ) -> Result<Self, Error> {
        let (stop, stopped) = watch::channel(false);
        let mut readers = JoinSet::new();
        for number in 0..options.streams {
            let address = endpoints[number % endpoints.len()];
            let failed = |source| Error::Io {
                what: format!("the watch of all keys {number} at http://{address}"),
                source,
            };
            let stream = WatchStream::open_prefix(address, KEY_PREFIX).await.map_err(failed)?;
            let mut reader = Reader {
                stream,
                newest: BTreeMap::new(),
                told: Told::default(),
                recorder: Recorder::new(epoch, options.warmup, None),
                epoch,
            };
            let begun = tokio::time::timeout(BEGIN_TIMEOUT, reader.begin()).await;
            begun.unwrap_or_else(|_| Err(Error::node("the watch of all keys does not begin")))?;
            readers.spawn(reader.run(stopped.clone()));
        }
        Ok(Self { options, stop, readers })
    }

    /// Waits until nothing more is told, and says what was.
    ///
    /// # Errors
    /// [`Error::Node`] when a node ended a stream.
    pub(crate) async fn finish(mut self) -> Result<Delivery, Error> {
        // Whoever does not listen has failed already, and says so.
        let _ = self.stop.send(true);
        let mut readers = Vec::new();
        while let Some(joined) = self.readers.join_next().await {
            readers.push(joined.expect("who reads a stream does not panic")?);
        }
        Ok(delivery(self.options.streams, &readers))
    }
}

fn delivery(streams: usize, readers: &[Reader]) -> Delivery {
    let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
    for (key, version) in readers.iter().flat_map(|reader| &reader.newest) {
        let known = newest.entry(key).or_default();
        *known = (*known).max(*version);
    }
    let mut told = Told::default();
    let mut recorder: Option<Recorder> = None;
    for reader in readers {
        // What another stream was told at the end, and this one was not. Of a key that it never heard of, the first
        // version that is missing is not known, and one stands for all.
        told.missed += newest
            .iter()
            .map(|(key, newest)| match reader.newest.get(*key) {
                Some(mine) => newest - mine,
                None => 1,
            })
            .sum::<u64>();
        told.add(&reader.told);
        match &mut recorder {
            Some(all) => all.merge(&reader.recorder),
            None => recorder = Some(reader.recorder.clone()),
        }
    }
    let latency = recorder.map(|recorder| recorder.report().latency).unwrap_or_default();
    let Told { events, missed, repeated, cancelled } = told;
    Delivery { streams, events, missed, repeated, cancelled, latency }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    events: u64,
    missed: u64,
    repeated: u64,
    cancelled: u64,
}

impl Told {
    fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.missed += other.missed;
        self.repeated += other.repeated;
        self.cancelled += other.cancelled;
    }
}

/// Who reads one stream.
struct Reader {
    stream: WatchStream,
    /// The newest version of each key that was told of.
    newest: BTreeMap<String, u64>,
    told: Told,
    recorder: Recorder,
    epoch: Instant,
}

impl Reader {
    async fn begin(&mut self) -> Result<(), Error> {
        let mut begun = false;
        while !begun {
            let received = self.stream.receive().await;
            let taken = received.and_then(|()| self.stream.take(|said| begun |= said.created));
            taken.map_err(|error| Error::node(format!("the watch of all keys: {error}")))?;
        }
        Ok(())
    }

    /// Reads until it is told to stop and nothing more comes.
    async fn run(mut self, mut stopped: watch::Receiver<bool>) -> Result<Self, Error> {
        let mut last = None;
        loop {
            let received = match last {
                None => tokio::select! {
                    received = self.stream.receive() => received,
                    _ = stopped.wait_for(|stopped| *stopped) => {
                        last = Some(Instant::now() + LAST_EVENT_TIMEOUT);
                        continue;
                    }
                },
                Some(last) => {
                    let quiet = tokio::time::timeout(QUIET, self.stream.receive()).await;
                    match quiet {
                        Ok(received) if Instant::now() < last => received,
                        _ => return Ok(self),
                    }
                }
            };
            let now = Instant::now();
            let Self { stream, newest, told, recorder, epoch } = &mut self;
            let taken = received
                .and_then(|()| stream.take(|said| take(said, newest, told, recorder, *epoch, now)));
            taken.map_err(|error| Error::node(format!("the watch of all keys: {error}")))?;
        }
    }
}

fn take(
    message: &Message<'_>,
    newest: &mut BTreeMap<String, u64>,
    told: &mut Told,
    recorder: &mut Recorder,
    epoch: Instant,
    now: Instant,
) {
    told.cancelled += u64::from(message.canceled);
    for event in &message.events {
        told.events += 1;
        let version = event.kv.version.parse().unwrap_or(0);
        match newest.get_mut(event.kv.key) {
            Some(known) if version <= *known => {
                told.repeated += 1;
                continue;
            }
            Some(known) => {
                told.missed += version - *known - 1;
                *known = version;
            }
            None => {
                newest.insert(event.kv.key.to_owned(), version);
            }
        }
        if let Some(stamp) = stamp(event.kv.value) {
            recorder.success(epoch + sent_after(stamp), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::{Event, KeyValue, to_base64};
    use super::*;

    /// Tells of these versions of keys, each written 3 ms and told 10 ms after the epoch.
    fn told(events: &[(&str, &str)]) -> (Told, BTreeMap<String, u64>, f64) {
        let epoch = Instant::now();
        let mut recorder = Recorder::new(epoch, Duration::ZERO, None);
        let (mut newest, mut told) = (BTreeMap::new(), Told::default());
        let stamp = crate::load::stamp_of(Duration::from_millis(3), 0xbeef);
        let value = to_base64(format!("{stamp:016x} and more").as_bytes());
        for &(key, version) in events {
            let kv = KeyValue { key, version, value: &value };
            let message = Message { events: vec![Event { kv }], ..Message::default() };
            let now = epoch + Duration::from_millis(10);
            take(&message, &mut newest, &mut told, &mut recorder, epoch, now);
        }
        (told, newest, recorder.report().latency.max_ms)
    }

    #[test]
    fn a_value_says_when_it_was_written_and_a_version_what_is_missing() {
        let (counted, newest, longest) = told(&[("a", "7"), ("b", "1"), ("a", "8")]);
        assert_eq!(counted, Told { events: 3, ..Told::default() });
        assert_eq!(newest, BTreeMap::from([("a".to_owned(), 8), ("b".to_owned(), 1)]));
        assert!((6.99..7.01).contains(&longest), "{longest}");
        let (gap, ..) = told(&[("a", "7"), ("a", "10")]);
        assert_eq!(gap, Told { events: 2, missed: 2, ..Told::default() });
        let (again, ..) = told(&[("a", "7"), ("a", "7"), ("a", "6")]);
        assert_eq!(again, Told { events: 3, repeated: 2, ..Told::default() });
    }

    #[test]
    fn broken_promises_are_told() {
        let latency = LatencyReport::default();
        let kept =
            Delivery { streams: 1, events: 9, missed: 0, repeated: 0, cancelled: 0, latency };
        assert!(kept.broken().is_empty());
        let broken = Delivery { missed: 2, cancelled: 1, ..kept };
        assert_eq!(broken.broken(), ["2 events were not told", "1 watches were cancelled"]);
    }
}
