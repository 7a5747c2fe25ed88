//! Probes by Duorum's HTTP API.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use consensus::Random;

use super::FailoverOptions;
use super::pacer::{ProbeError, Prober};
use crate::load::http::HttpConnection;
use crate::load::request::Request;
use crate::load::{KeyDraw, error_of_body};

/// How long a probe waits for its answer. Servers give up after 5 s.
const PROBE_TIMEOUT: Duration = Duration::from_secs(8);

/// The connections that wait for the next probe, by server.
type Idle = Arc<Mutex<Vec<Vec<HttpConnection>>>>;

/// The servers that are probed.
pub(super) struct Doors {
    targets: Arc<[SocketAddr]>,
    requests: Vec<Request>,
    keys: KeyDraw,
    random: Random,
    idle: Idle,
}

impl Doors {
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
        let keys = KeyDraw::new(options.key_distribution, options.keys);
        Self { targets: targets.into(), requests, keys, random, idle }
    }

    /// The bytes of the next probe to this server.
    fn request(&mut self, target: usize) -> Vec<u8> {
        let request = &mut self.requests[target];
        request.set_key(self.keys.draw(&mut self.random));
        request.set_stamp(self.random.next_u64());
        request.bytes().to_vec()
    }
}

impl Prober for Doors {
    fn probe(
        &mut self,
        turn: usize,
    ) -> impl Future<Output = Result<(), ProbeError>> + Send + use<> {
        let target = turn % self.targets.len();
        let bytes = self.request(target);
        let (idle, targets) = (Arc::clone(&self.idle), Arc::clone(&self.targets));
        async move { probe(&idle, &targets, target, &bytes).await }
    }
}

/// Sends one probe on an idle connection or a new one; to another server if the one whose turn it is
/// can not be reached, as nothing was sent then. The error is its name and whether the outcome is
/// unknown.
async fn probe(
    idle: &Idle,
    targets: &[SocketAddr],
    mut target: usize,
    bytes: &[u8],
) -> Result<(), ProbeError> {
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
