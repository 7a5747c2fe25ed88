//! A client that speaks Duorum's HTTP API: what it asks, and what the answers mean.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use consensus::Random;
use serde::Deserialize;

use super::crowd::{Ask, Outcome, Turn};
use super::http::{Answer, HttpConnection};
use super::keys::KeyDraw;
use super::recorder::Recorder;
use super::request::{Freshness, Kind, Request, stamp_of};
use super::{LoadOptions, Mix, Workload};

/// How many keys a range of a mixed load reads.
const MIXED_RANGE_LIMIT: u64 = 100;

/// A client: where it asks, and its connection while it has one.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    /// Who is asked instead when nobody takes a connection there: nothing was sent, so nothing failed.
    pub(crate) others: Arc<[SocketAddr]>,
    pub(crate) connection: Option<HttpConnection>,
}

/// A client with what it does.
#[derive(Debug)]
pub(crate) struct HttpClient {
    client: Client,
    requests: Requests,
    workload: Workload,
}

impl HttpClient {
    /// Values say when their writes were due or begun, counted from the epoch.
    pub(super) fn new(
        client: Client,
        options: &LoadOptions,
        keys: KeyDraw,
        random: Random,
        epoch: Instant,
    ) -> Self {
        let requests = Requests::new(options, keys, client.address, random, epoch);
        Self { client, requests, workload: options.workload }
    }
}

impl Ask for HttpClient {
    async fn ask(&mut self, turn: Turn, _: &mut Recorder) -> Outcome {
        self.requests.begin(turn);
        operation(&mut self.client, &mut self.requests, self.workload).await
    }

    fn kind(&self) -> Option<Kind> {
        self.requests.kind
    }
}

/// The prepared requests of one client.
#[derive(Debug)]
struct Requests {
    put: Request,
    get: Request,
    range: Request,
    transaction: Request,
    echo: Request,
    keys: KeyDraw,
    keys_max: u64,
    random: Random,
    /// The moment from which values count when they were written.
    epoch: Instant,
    /// When the operation was due or begun, counted as values say it.
    after: Duration,
    /// The number of the operation in a run that ends after a number of them.
    number: u64,
    /// Which kind the last operation of a mixed load was.
    kind: Option<Kind>,
}

impl Requests {
    fn new(
        options: &LoadOptions,
        keys: KeyDraw,
        address: SocketAddr,
        mut random: Random,
        epoch: Instant,
    ) -> Self {
        let (host, value_bytes) = (address.to_string(), options.value_bytes);
        let (mut freshness, mut limit) = (Freshness::default(), MIXED_RANGE_LIMIT);
        match options.workload {
            Workload::Get { freshness: asked } => freshness = asked,
            Workload::Range { limit: keys, freshness: asked } => (freshness, limit) = (asked, keys),
            _ => {}
        }
        let operations = options.workload.operations_of_request();
        Self {
            put: Request::put(&host, value_bytes, &mut random),
            get: Request::get(&host, freshness),
            range: Request::range(&host, limit, freshness),
            transaction: Request::transaction(&host, operations, value_bytes, &mut random),
            echo: Request::echo(&host, value_bytes, &mut random),
            keys,
            keys_max: options.keys,
            random,
            epoch,
            after: Duration::ZERO,
            number: 0,
            kind: None,
        }
    }

    fn begin(&mut self, turn: Turn) {
        self.after = turn.since.saturating_duration_since(self.epoch);
        self.number = turn.number;
    }

    fn draw(&mut self) -> u64 {
        self.keys.draw(&mut self.random)
    }

    /// A write to this key with a value that no other write has, and that says when this one was due or begun.
    fn put(&mut self, key: u64) -> &[u8] {
        self.put.set_key(key);
        self.put.set_stamp(stamp_of(self.after, self.random.next_u64()));
        self.put.bytes()
    }

    fn get(&mut self, key: u64) -> &[u8] {
        self.get.set_key(key);
        self.get.bytes()
    }

    fn range(&mut self, from: u64) -> &[u8] {
        self.range.set_key(from);
        self.range.bytes()
    }

    /// Writes to this key and those behind it.
    fn transaction(&mut self, first: u64) -> &[u8] {
        for place in 0..self.transaction.keys() {
            self.transaction.set_key_at(place, (first + place as u64) % self.keys_max);
            self.transaction.set_stamp_at(place, self.random.next_u64());
        }
        self.transaction.bytes()
    }

    fn echo(&mut self) -> &[u8] {
        self.echo.set_stamp(self.random.next_u64());
        self.echo.bytes()
    }
}

/// Does one operation of the workload, which may be two requests.
async fn operation(client: &mut Client, requests: &mut Requests, workload: Workload) -> Outcome {
    match workload {
        Workload::Fill => {
            let key = requests.number % requests.keys_max;
            request(client, requests.put(key), true).await
        }
        Workload::Put => {
            let key = requests.draw();
            request(client, requests.put(key), true).await
        }
        Workload::Get { .. } => {
            let key = requests.draw();
            request(client, requests.get(key), false).await
        }
        Workload::Range { .. } => {
            let from = requests.draw();
            request(client, requests.range(from), false).await
        }
        Workload::Transactions { .. } => {
            let first = requests.draw();
            request(client, requests.transaction(first), true).await
        }
        Workload::Echo => request(client, requests.echo(), false).await,
        Workload::Mixed(mix) => mixed(client, requests, mix).await,
        Workload::Pairs => pair(client, requests).await,
    }
}

async fn mixed(client: &mut Client, requests: &mut Requests, mix: Mix) -> Outcome {
    let kind = mix.kind(requests.random.below(mix.parts()));
    requests.kind = Some(kind);
    let key = requests.draw();
    match kind {
        Kind::Put => request(client, requests.put(key), true).await,
        Kind::Get => request(client, requests.get(key), false).await,
        Kind::Range => request(client, requests.range(key), false).await,
    }
}

async fn pair(client: &mut Client, requests: &mut Requests) -> Outcome {
    let key = requests.draw();
    match request(client, requests.put(key), true).await {
        Outcome::Success => match request(client, requests.get(key), false).await {
            // The key was acknowledged just now and nobody deletes: its absence is a fault.
            Outcome::NotFound => {
                Outcome::Failed { name: "lost_write".to_owned(), outcome_unknown: false }
            }
            outcome => outcome,
        },
        outcome => outcome,
    }
}

impl Client {
    /// Connects to its server, or else to one of the others. The error is its own server's.
    async fn connect(&self) -> io::Result<HttpConnection> {
        let error = match HttpConnection::connect(self.address).await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        for &other in self.others.iter().filter(|&&other| other != self.address) {
            if let Ok(connection) = HttpConnection::connect(other).await {
                return Ok(connection);
            }
        }
        Err(error)
    }
}

/// Sends one request, connecting anew if the last connection broke.
pub(crate) async fn request(client: &mut Client, bytes: &[u8], writes: bool) -> Outcome {
    if client.connection.is_none() {
        match client.connect().await {
            Ok(connection) => client.connection = Some(connection),
            Err(error) => return refused(&error),
        }
    }
    let connection = client.connection.as_mut().expect("connected above");
    match connection.exchange(bytes).await {
        Ok(answer) => {
            let outcome = judge(&answer, connection, writes);
            if answer.closes {
                client.connection = None;
            }
            outcome
        }
        Err(_) => {
            client.connection = None;
            Outcome::Failed { name: "connection_lost".to_owned(), outcome_unknown: writes }
        }
    }
}

fn judge(answer: &Answer, connection: &HttpConnection, writes: bool) -> Outcome {
    match answer.status {
        200..=299 => Outcome::Success,
        404 if !writes => Outcome::NotFound,
        status => {
            let (name, definite) = error_of_body(status, connection.body(answer));
            Outcome::Failed { name, outcome_unknown: writes && !definite }
        }
    }
}

/// No connection, so nothing was sent and nothing can have happened.
fn refused(error: &io::Error) -> Outcome {
    let name = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection_refused",
        _ => "connection_failed",
    };
    Outcome::Failed { name: name.to_owned(), outcome_unknown: false }
}

/// The name of an error and whether its outcome is definite, from the body of the answer.
pub(crate) fn error_of_body(status: u16, body: &[u8]) -> (String, bool) {
    #[derive(Deserialize)]
    struct Body {
        error: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        name: String,
        #[serde(default)]
        definite: bool,
    }
    match serde_json::from_slice::<Body>(body) {
        Ok(Body { error }) => (error.name, error.definite),
        Err(_) => (format!("http_{status}"), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_named_by_its_body_or_else_by_its_status() {
        let body = br#"{"error": {"name": "no_leader", "definite": true, "message": "x"}}"#;
        assert_eq!(error_of_body(503, body), ("no_leader".to_owned(), true));
        let body = br#"{"error": {"name": "unknown_outcome"}}"#;
        assert_eq!(error_of_body(504, body), ("unknown_outcome".to_owned(), false));
        assert_eq!(error_of_body(500, b"<html>"), ("http_500".to_owned(), false));
    }
}
