//! The load generator against a small HTTP server that counts what it is asked, so that every figure
//! of a report can be compared with the other side's.

#![allow(clippy::disallowed_methods, reason = "these tests measure real time on real sockets")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bench::load::{
    Freshness, KeyDistribution, LoadOptions, LoadReport, Mix, Until, Workload, fill, run,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// How a server treats its writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// It stores them.
    Good,
    /// Every tenth is refused: certainly nothing happened.
    RefusesEveryTenth,
    /// The first ten are refused, as while the leader changes.
    RefusesTheFirstTen,
    /// Every tenth is answered: nobody knows.
    UnsureOfEveryTenth,
    /// Every tenth gets no answer but a closed connection.
    HangsUpOnEveryTenth,
    /// Every tenth answer says that the connection closes.
    ClosesAfterEveryTenth,
    /// Writes are acknowledged and forgotten.
    Forgets,
    /// From the fiftieth write on nothing is answered for a while.
    StandsStill,
}

/// How long a server stands still.
const STANDSTILL: Duration = Duration::from_millis(300);

struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    manner: Manner,
    store: BTreeMap<String, Bytes>,
    puts: u64,
    gets: u64,
    under_way: usize,
    under_way_max: usize,
    connections: usize,
    stands_until: Option<tokio::time::Instant>,
}

impl Server {
    async fn start(manner: Manner) -> Self {
        let state = Arc::new(Mutex::new(State {
            manner,
            store: BTreeMap::new(),
            puts: 0,
            gets: 0,
            under_way: 0,
            under_way_max: 0,
            connections: 0,
            stands_until: None,
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                shared.lock().expect("not poisoned").connections += 1;
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                    let connection = http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, state }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }
}

/// An error of the service makes hyper close the connection without an answer.
async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    {
        let mut state = state.lock().expect("not poisoned");
        state.under_way += 1;
        state.under_way_max = state.under_way_max.max(state.under_way);
    }
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    // Long enough for the requests of other connections to arrive meanwhile.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let stands_until = {
        let mut state = state.lock().expect("not poisoned");
        if state.manner == Manner::StandsStill && state.puts >= 49 {
            state.stands_until.get_or_insert(tokio::time::Instant::now() + STANDSTILL);
        }
        state.stands_until
    };
    if let Some(until) = stands_until {
        tokio::time::sleep_until(until).await;
    }
    let mut state = state.lock().expect("not poisoned");
    state.under_way -= 1;
    let key = head.uri.path().strip_prefix("/v1/kv/").expect("only keys are asked for").to_owned();
    if head.method == Method::GET {
        state.gets += 1;
        return Ok(match state.store.get(&key) {
            Some(value) => page(200, value.clone()),
            None => page(404, Bytes::from_static(br#"{"error": {"name": "not_found"}}"#)),
        });
    }
    assert_eq!(head.method, Method::PUT);
    state.puts += 1;
    let tenth = state.puts.is_multiple_of(10);
    match state.manner {
        Manner::RefusesEveryTenth if tenth => return Ok(refusal()),
        Manner::RefusesTheFirstTen if state.puts <= 10 => return Ok(refusal()),
        Manner::UnsureOfEveryTenth if tenth => {
            let body = br#"{"error": {"name": "unknown_outcome", "definite": false}}"#;
            return Ok(page(504, body.as_ref()));
        }
        Manner::HangsUpOnEveryTenth if tenth => {
            return Err(std::io::Error::other("hang up"));
        }
        Manner::Forgets => {}
        _ => {
            state.store.insert(key, body);
        }
    }
    let mut answer = page(200, b"{}".as_ref());
    if state.manner == Manner::ClosesAfterEveryTenth && tenth {
        answer.headers_mut().insert("connection", "close".parse().expect("a value"));
    }
    Ok(answer)
}

fn refusal() -> Response<Full<Bytes>> {
    page(503, br#"{"error": {"name": "no_leader", "definite": true}}"#.as_ref())
}

fn page(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let body: Full<Bytes> = Full::new(body.into());
    Response::builder().status(status).body(body).expect("a valid answer")
}

fn options(endpoints: Vec<SocketAddr>, workload: Workload, until: Until) -> LoadOptions {
    LoadOptions {
        endpoints,
        connections: 8,
        workload,
        warmup: Duration::ZERO,
        until,
        value_bytes: 100,
        keys: 50,
        key_distribution: KeyDistribution::Uniform,
        per_second: None,
        seed: 1,
    }
}

async fn run_count(server: &Server, workload: Workload, count: u64) -> LoadReport {
    run(&options(vec![server.address], workload, Until::Operations(count))).await.expect("a report")
}

#[tokio::test]
async fn the_report_counts_what_the_server_counted() {
    let server = Server::start(Manner::Good).await;
    let report = run_count(&server, Workload::Put, 400).await;
    assert_eq!((report.operations, server.state().puts), (400, 400));
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    assert_eq!(report.timeline.iter().map(|&bar| u64::from(bar)).sum::<u64>(), 400);
    let latency = &report.latency;
    assert!(latency.p50_ms >= 1.0 && latency.p50_ms <= latency.p99_ms, "{latency:?}");
    assert!(latency.p99_ms <= latency.max_ms && latency.max_ms < 10_000.0, "{latency:?}");
    let state = server.state();
    assert!(state.store.keys().all(|key| key.len() == "bench/000000".len()), "{:?}", state.store);
    assert!(state.store.keys().any(|key| key.as_str() > "bench/000025"), "keys are drawn widely");
    assert!(state.store.values().all(|value| value.len() == 100));
    let distinct: std::collections::BTreeSet<&Bytes> = state.store.values().collect();
    assert_eq!(distinct.len(), state.store.len(), "every write has a value of its own");
}

#[tokio::test]
async fn a_closed_loop_has_one_request_under_way_on_each_connection() {
    let server = Server::start(Manner::Good).await;
    run_count(&server, Workload::Put, 400).await;
    let state = server.state();
    assert_eq!(state.connections, 8);
    assert_eq!(state.under_way_max, 8);
}

#[tokio::test]
async fn a_fill_writes_every_key_once_and_then_every_read_finds_its_key() {
    let server = Server::start(Manner::Good).await;
    run_count(&server, Workload::Fill, 50).await;
    assert_eq!(server.state().puts, 50);
    assert_eq!(server.state().store.len(), 50);
    let report =
        run_count(&server, Workload::Get { freshness: Freshness::Linearizable }, 200).await;
    assert_eq!((report.operations, report.not_found), (200, 0));
    assert_eq!(server.state().gets, 200);
}

#[tokio::test]
async fn a_fill_leaves_no_key_out_or_fails() {
    let put = |server: &Server| {
        options(vec![server.address], Workload::Put, Until::Elapsed(Duration::from_secs(1)))
    };
    let server = Server::start(Manner::RefusesTheFirstTen).await;
    let report = fill(&put(&server)).await.expect("the second attempt succeeds");
    assert_eq!((report.operations, report.errors["no_leader"]), (50, 10));
    assert_eq!(server.state().store.len(), 50);

    let server = Server::start(Manner::RefusesEveryTenth).await;
    let error = fill(&put(&server)).await.expect_err("some keys are never there").to_string();
    assert!(error.contains("not every key could be written"), "{error}");
    assert!(error.contains("no_leader × 15"), "the errors of three attempts: {error}");
}

#[tokio::test]
async fn a_read_of_an_absent_key_is_an_answer_and_is_counted() {
    let server = Server::start(Manner::Good).await;
    let report = run_count(&server, Workload::Get { freshness: Freshness::Linearizable }, 30).await;
    assert_eq!((report.operations, report.not_found), (30, 30));
    assert!(report.errors.is_empty());
}

#[tokio::test]
async fn a_pair_is_a_write_and_a_read_of_the_same_key() {
    let server = Server::start(Manner::Good).await;
    let report = run_count(&server, Workload::Pairs, 100).await;
    assert_eq!((report.operations, report.not_found), (100, 0));
    assert_eq!(server.state().puts, 100);
    assert_eq!(server.state().gets, 100);
    assert!(report.latency.p50_ms >= 2.0, "two requests of 1 ms each: {:?}", report.latency);
}

#[tokio::test]
async fn a_pair_notices_that_an_acknowledged_write_is_gone() {
    let server = Server::start(Manner::Forgets).await;
    let report = run_count(&server, Workload::Pairs, 20).await;
    assert_eq!(report.operations, 0);
    assert_eq!(report.errors["lost_write"], 20);
}

#[tokio::test]
async fn a_mix_has_about_the_share_of_reads_that_was_asked_for() {
    let server = Server::start(Manner::Good).await;
    run_count(&server, Workload::Mixed(Mix { put: 20, get: 80, range: 0 }), 1_000).await;
    let gets = server.state().gets;
    assert!((740..860).contains(&gets), "{gets} of 1000");
}

#[tokio::test]
async fn errors_are_counted_by_name_and_unknown_outcomes_apart() {
    for (manner, name, unknown) in [
        (Manner::RefusesEveryTenth, "no_leader", 0),
        (Manner::UnsureOfEveryTenth, "unknown_outcome", 20),
        (Manner::HangsUpOnEveryTenth, "connection_lost", 20),
    ] {
        let server = Server::start(manner).await;
        let report = run_count(&server, Workload::Put, 200).await;
        assert_eq!(report.errors, BTreeMap::from([(name.to_owned(), 20)]));
        assert_eq!((report.operations, report.unknown_outcomes), (180, unknown), "{name}");
    }
}

#[tokio::test]
async fn a_connection_that_the_server_closes_after_an_answer_is_opened_anew() {
    let server = Server::start(Manner::ClosesAfterEveryTenth).await;
    let report = run_count(&server, Workload::Put, 200).await;
    assert_eq!(report.operations, 200);
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    assert!(server.state().connections > 8);
}

#[tokio::test]
async fn an_open_loop_feels_a_standstill_as_long_as_it_is() {
    let window = Until::Elapsed(Duration::from_secs(1));
    let server = Server::start(Manner::StandsStill).await;
    let put = options(vec![server.address], Workload::Put, window);
    let open = LoadOptions { per_second: Some(200.0), ..put.clone() };
    let report = run(&open).await.expect("a report");
    assert!((150..=200).contains(&report.operations_with_warmup), "{report:?}");
    // Twelve of two hundred were due in the first 60 ms of it.
    assert!(report.latency.p99_ms >= 240.0, "{:?}", report.latency);
    assert_eq!(report.not_sent, 0);

    // Eight clients of a closed loop wait once each, among a thousand requests.
    let server = Server::start(Manner::StandsStill).await;
    let closed = LoadOptions { endpoints: vec![server.address], ..put };
    let report = run(&closed).await.expect("a report");
    assert!(report.latency.max_ms >= 240.0, "{:?}", report.latency);
    assert!(report.latency.p99_ms < 240.0 || report.operations < 800, "{:?}", report.latency);
}

#[tokio::test]
async fn an_open_loop_that_ends_in_a_standstill_has_all_latencies_of_what_was_due() {
    let server = Server::start(Manner::StandsStill).await;
    let window = Duration::from_millis(400);
    let put = options(vec![server.address], Workload::Put, Until::Elapsed(window));
    let open = LoadOptions { per_second: Some(200.0), ..put };
    // From 245 ms on nothing is answered, to the end and beyond: thirty were due by then, and eight were under way.
    let report = run(&open).await.expect("a report");
    assert_eq!((report.not_sent, report.latency.samples.count()), (0, 80), "{report:?}");
    assert_eq!(report.operations_with_warmup, 80);
    assert!(report.operations < 80, "not all were answered inside the window: {report:?}");
    let waited = report.latency.samples.exceeded_by(0.25).expect("some");
    assert!(waited >= 150.0, "a quarter waited for the end of it: {waited}");
}

#[tokio::test]
async fn what_is_due_and_finds_no_connection_is_counted() {
    let server = Server::start(Manner::Good).await;
    let window = Until::Elapsed(Duration::from_millis(300));
    let put = options(vec![server.address], Workload::Put, window);
    // Eight connections, at least a millisecond for each answer, and a second more than the window to be sent in.
    let open = LoadOptions { per_second: Some(60_000.0), ..put };
    let report = run(&open).await.expect("a report");
    assert!(report.not_sent >= 18_000 - 8 * 1_400, "{report:?}");
    assert_eq!(report.not_sent + report.operations_with_warmup, 18_000);
}

#[tokio::test]
async fn the_connections_are_spread_evenly_over_the_servers() {
    let servers = [Server::start(Manner::Good).await, Server::start(Manner::Good).await];
    let endpoints = servers.iter().map(|server| server.address).collect();
    run(&options(endpoints, Workload::Put, Until::Operations(100))).await.expect("a report");
    assert_eq!(servers.each_ref().map(|server| server.state().connections), [4, 4]);
}

#[tokio::test]
async fn timing_sensitive_warm_up_is_discarded_and_the_window_is_as_long_as_asked() {
    let server = Server::start(Manner::Good).await;
    let mut options =
        options(vec![server.address], Workload::Put, Until::Elapsed(Duration::from_millis(600)));
    options.warmup = Duration::from_millis(300);
    let report = run(&options).await.expect("a report");
    assert_eq!((report.warmup_ms, report.window_ms), (300.0, 600.0));
    assert_eq!(report.operations_with_warmup, server.state().puts);
    assert!(report.operations < report.operations_with_warmup);
    let early: u64 = report.timeline[..3].iter().map(|&bar| u64::from(bar)).sum();
    assert!(early > 0, "the timeline shows the warm-up");
    assert_eq!(report.per_second, report.operations as f64 / 0.6);
}

#[tokio::test]
async fn what_can_not_be_run_is_refused_with_a_reason() {
    let address: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    let good = options(vec![address], Workload::Put, Until::Operations(1));
    let refusal = async |change: fn(&mut LoadOptions)| {
        let mut options = good.clone();
        change(&mut options);
        run(&options).await.expect_err("refused").to_string()
    };
    assert!(refusal(|options| options.endpoints.clear()).await.contains("at least one endpoint"));
    assert!(refusal(|options| options.connections = 0).await.contains("1 to 10000"));
    assert!(refusal(|options| options.keys = 0).await.contains("1 to 1000000"));
    // Port 1 is reserved and nobody listens there.
    assert!(refusal(|_| {}).await.contains("127.0.0.1:1"));
}

#[tokio::test]
async fn the_echo_echoes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let serving = tokio::spawn(async move {
        let never: Infallible = bench::echo::serve_on(listener).await;
        match never {}
    });
    let report = run(&options(vec![address], Workload::Echo, Until::Operations(500)))
        .await
        .expect("a report");
    assert_eq!(report.operations, 500);
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    serving.abort();
}
