//! How long the loopback interface takes there and back, which is part of every latency that is measured over it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::stats::quantile;

/// How many round trips are made at most, and for how long.
const ROUND_TRIPS_MAX: usize = 2_000;
const TIME_MAX: Duration = Duration::from_millis(300);
/// The first ones do not count: both threads and the connection have to get going.
const WARMUP: usize = 50;
/// What goes there and back.
const BYTES: usize = 64;

/// How long a few bytes take over 127.0.0.1 and back, from one thread to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoopbackProbe {
    /// How many round trips were made.
    pub round_trips: usize,
    /// How many bytes went there and back.
    pub bytes: usize,
    /// The median, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 were no slower.
    pub p99_ms: f64,
    /// Each of them, in the order in which they were made.
    #[serde(default)]
    pub times_ms: Vec<f64>,
}

impl LoopbackProbe {
    /// Measures it, which takes less than half a second.
    ///
    /// # Errors
    /// [`Error::Io`] when there is no loopback interface to connect over.
    pub fn run() -> Result<Self, Error> {
        let times_ms = round_trips().map_err(|source| Error::Io {
            what: "send bytes over 127.0.0.1 and back".to_owned(),
            source,
        })?;
        let at = |share| quantile(&times_ms, share).expect("at least one round trip was made");
        let (round_trips, p50_ms, p99_ms) = (times_ms.len(), at(0.5), at(0.99));
        Ok(Self { round_trips, bytes: BYTES, p50_ms, p99_ms, times_ms })
    }
}

/// The time of each, in milliseconds.
fn round_trips() -> io::Result<Vec<f64>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut stream = TcpStream::connect(listener.local_addr()?)?;
    stream.set_nodelay(true)?;
    let (mut far, _) = listener.accept()?;
    far.set_nodelay(true)?;
    let echo = thread::spawn(move || {
        let mut bytes = [0; BYTES];
        // It ends with the connection.
        while far.read_exact(&mut bytes).and_then(|()| far.write_all(&bytes)).is_ok() {}
    });
    let mut bytes = [0x5a; BYTES];
    let mut round_trip = || {
        let start = Instant::now();
        stream.write_all(&bytes)?;
        stream.read_exact(&mut bytes)?;
        Ok::<f64, io::Error>(start.elapsed().as_nanos() as f64 / 1e6)
    };
    for _ in 0..WARMUP {
        round_trip()?;
    }
    let begin = Instant::now();
    let mut times = vec![round_trip()?];
    while times.len() < ROUND_TRIPS_MAX && begin.elapsed() < TIME_MAX {
        times.push(round_trip()?);
    }
    drop(stream);
    echo.join().expect("an echo does not panic");
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back() {
        let probe = LoopbackProbe::run().expect("there is a loopback interface");
        assert!((1..=ROUND_TRIPS_MAX).contains(&probe.round_trips));
        assert_eq!(probe.times_ms.len(), probe.round_trips);
        assert!(probe.p50_ms > 0.0 && probe.p50_ms <= probe.p99_ms, "{probe:?}");
    }
}
