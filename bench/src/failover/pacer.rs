//! Probes that leave on time, whatever becomes of those before them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use consensus::Random;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::{FailoverOptions, Sample};
use crate::load::error_of_body;
use crate::load::http::HttpConnection;
use crate::load::request::Request;

/// The most probes that may be under way; those that would be more are counted as not sent.
pub(super) const PROBES_UNDER_WAY_MAX: usize = 1_024;
/// How long a probe waits for its answer. Servers give up after 5 s.
const PROBE_TIMEOUT: Duration = Duration::from_secs(8);

/// The connections that wait for the next probe, by server.
type Idle = Arc<Mutex<Vec<Vec<HttpConnection>>>>;

/// Sends probes on time.
pub(super) struct Pacer {
    targets: Arc<[SocketAddr]>,
    requests: Vec<Request>,
    period: Duration,
    keys: u64,
    random: Random,
    idle: Idle,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PacerCounts {
    pub(super) not_sent: u64,
    pub(super) unanswered: u64,
}

impl Pacer {
    pub(super) fn new(
        targets: Vec<SocketAddr>,
        options: &FailoverOptions,
        random: &mut Random,
    ) -> Self {
        let mut random = Random::new(random.next_u64());
        let requests = targets
            .iter()
            .map(|target| Request::put(&target.to_string(), options.value_bytes, &mut random))
            .collect();
        let idle = Arc::new(Mutex::new(targets.iter().map(|_| Vec::new()).collect()));
        Self {
            targets: targets.into(),
            requests,
            period: options.period,
            keys: options.keys,
            random,
            idle,
        }
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
pub(super) async fn pace(
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
        let targets = Arc::clone(&pacer.targets);
        under_way.spawn(async move {
            let error = probe(&idle, &targets, target, &bytes).await.err();
            // The receiver is gone only when the measurement is over.
            let _ = samples.send(Sample { intended, done: Instant::now(), error }).await;
        });
    }
    while under_way.try_join_next().is_some() {}
    PacerCounts { not_sent, unanswered: under_way.len() as u64 }
}

/// Sends one probe on an idle connection or a new one; to another server if the one whose turn it is
/// can not be reached, as nothing was sent then. The error is its name and whether the outcome is
/// unknown.
async fn probe(
    idle: &Idle,
    targets: &[SocketAddr],
    mut target: usize,
    bytes: &[u8],
) -> Result<(), (String, bool)> {
    let mut attempts = targets.len();
    let mut connection = loop {
        // No await while the lock is held, so a mutex of the standard library will do.
        let waiting = idle.lock().expect("no holder panics")[target].pop();
        // One that the server has closed is of no use, and neither a sign of anything.
        match waiting {
            Some(connection) if connection.is_open() => break connection,
            Some(_) => continue,
            None => {}
        }
        if let Ok(connection) = HttpConnection::connect(targets[target]).await {
            break connection;
        }
        attempts -= 1;
        if attempts == 0 {
            return Err(("connection_failed".to_owned(), false));
        }
        target = (target + 1) % targets.len();
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
