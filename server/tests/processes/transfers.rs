//! Transfers of leadership under load, by call and by SIGTERM, on three real processes: clients meet no
//! error that is not definite, and go on at once.
//!
//! The measured times are printed (`--nocapture` shows them); the bounds here are generous, because
//! the machine may be busy.

#![allow(clippy::disallowed_methods, reason = "a test of real processes, in real time")]
#![allow(clippy::print_stderr, reason = "the measured times are worth reading")]

mod processes;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use processes::{Processes, eventually, request};
use serde_json::Value;

/// Clients at each node that write at once.
const WRITERS: usize = 2;

/// No write waits as long for a leader, on however busy a machine.
const GAP_MAX: Duration = Duration::from_secs(5);

/// What a client has seen of one write.
struct Seen {
    key: String,
    answered: Instant,
    /// The revision, or the error.
    result: Result<u64, Value>,
}

/// A client with one connection.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Stores a value; an error of the connection is one.
    fn put(&mut self, key: &str) -> std::io::Result<Value> {
        let head = format!("PUT /v1/kv/{key} HTTP/1.1\r\nhost: test\r\ncontent-length: 1\r\n\r\nv");
        self.stream.get_mut().write_all(head.as_bytes())?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(serde_json::from_slice(&body).expect("JSON"))
    }
}

/// Writes at one node without pause until told to stop, or until the node closes the connection.
fn start_writer(name: String, address: SocketAddr, stop: Arc<AtomicBool>) -> JoinHandle<Vec<Seen>> {
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        let mut client = Client::connect(address).expect("a connection");
        for number in 0_usize.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let key = format!("{name}/{number}");
            let Ok(json) = client.put(&key) else { break };
            let answered = Instant::now();
            let result = match json["error"].is_null() {
                true => Ok(json["revision"].as_u64().expect("a revision")),
                false => Err(json["error"].clone()),
            };
            seen.push(Seen { key, answered, result });
        }
        seen
    })
}

/// Starts writers at these nodes.
fn start_writers(
    cluster: &Processes,
    nodes: &[usize],
    stop: &Arc<AtomicBool>,
) -> Vec<JoinHandle<Vec<Seen>>> {
    let each = |&node: &usize| {
        let address = cluster.addresses()[node];
        (0..WRITERS)
            .map(move |writer| (format!("{node}-{writer}-{:?}", Instant::now()), address))
            .map(|(name, address)| {
                let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
                start_writer(name, address, Arc::clone(stop))
            })
            .collect::<Vec<_>>()
    };
    nodes.iter().flat_map(each).collect()
}

/// The longest time between two acknowledgements that ends after this moment: how long clients waited.
fn longest_gap(seen: &[Seen], from: Instant) -> Duration {
    let mut times: Vec<Instant> =
        seen.iter().filter(|seen| seen.result.is_ok()).map(|seen| seen.answered).collect();
    times.sort_unstable();
    let gaps = times.windows(2).filter(|pair| pair[1] >= from).map(|pair| pair[1] - pair[0]);
    gaps.max().expect("writes were acknowledged afterwards")
}

/// Every acknowledged write is there, on every node.
fn assert_kept(cluster: &Processes, seen: &[Seen]) {
    eventually("all replicas agree", || {
        let answer = request(cluster.addresses()[0], "GET", "/v1/agree", b"").expect("an answer");
        answer.json()["agree"] == true && answer.json()["answered"] == 3
    });
    let acknowledged: Vec<_> =
        seen.iter().filter_map(|seen| Some((&seen.key, *seen.result.as_ref().ok()?))).collect();
    assert!(acknowledged.len() > 20, "only {} writes were acknowledged", acknowledged.len());
    // A sample over the whole time, for each request is a connection.
    for (key, revision) in acknowledged.iter().step_by(1 + acknowledged.len() / 200) {
        for address in cluster.addresses() {
            let path = format!("/v1/kv/{key}?consistency=local");
            let found = request(*address, "GET", &path, b"").expect("an answer").json();
            assert_eq!(found["mod_revision"], *revision, "{key}: {found}");
        }
    }
}

fn a_transfer_under_load_costs_clients_no_error(protocol: &'static str) {
    let cluster = Processes::start(protocol, 3);
    let stop = Arc::new(AtomicBool::new(false));
    let writers = start_writers(&cluster, &[0, 1, 2], &stop);
    std::thread::sleep(Duration::from_millis(300));
    let mut asked_at = Vec::new();
    for round in 0..6 {
        let leader = cluster.leader();
        let to = (leader + 1 + round % 2) % 3;
        // Any node takes it, also the one that is to lead.
        let asked = cluster.addresses()[(leader + round) % 3];
        let body = format!("{{\"to\": {}}}", to + 1);
        asked_at.push(Instant::now());
        let answer = request(asked, "POST", "/v1/cluster/transfer?timeout=20s", body.as_bytes())
            .expect("an answer");
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.json()["leader"], to + 1);
        assert_eq!(cluster.leader(), to);
        std::thread::sleep(Duration::from_millis(200));
    }
    stop.store(true, Ordering::Relaxed);
    let seen: Vec<Seen> =
        writers.into_iter().flat_map(|writer| writer.join().expect("a writer")).collect();
    for write in &seen {
        assert!(write.result.is_ok(), "{}: {:?}", write.key, write.result);
    }
    for at in asked_at {
        let after = seen.iter().filter(|seen| seen.result.is_ok() && seen.answered > at);
        let next = after.map(|seen| seen.answered - at).min().expect("writes went on");
        assert!(next < GAP_MAX, "{next:?}");
    }
    let gap = longest_gap(&seen, Instant::now() - Duration::from_secs(60));
    eprintln!("{protocol}: 6 transfers, {} writes, longest pause {gap:?}", seen.len());
    assert!(gap < GAP_MAX, "{gap:?}");
    assert_kept(&cluster, &seen);
}

fn a_leader_that_is_told_to_stop_hands_over_first(protocol: &'static str) {
    let mut cluster = Processes::start(protocol, 3);
    for _ in 0..3 {
        let leader = cluster.leader();
        let others: Vec<usize> = (0..3).filter(|&node| node != leader).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let writers = start_writers(&cluster, &others, &stop);
        let of_leader = start_writers(&cluster, &[leader], &stop);
        std::thread::sleep(Duration::from_millis(300));
        let began = Instant::now();
        assert!(cluster.terminate(leader).success(), "it stops cleanly");
        let took = began.elapsed();
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        let join = |writers: Vec<JoinHandle<Vec<Seen>>>| -> Vec<Seen> {
            writers.into_iter().flat_map(|writer| writer.join().expect("a writer")).collect()
        };
        let (seen, seen_at_leader) = (join(writers), join(of_leader));
        let failed: Vec<_> = seen
            .iter()
            .chain(&seen_at_leader)
            .filter_map(|seen| seen.result.as_ref().err())
            .collect();
        for error in &failed {
            assert_eq!(error["definite"], true, "{error}");
        }
        let gap = longest_gap(&seen, began);
        eprintln!(
            "{protocol}: SIGTERM of the leader, {} writes elsewhere, longest pause {gap:?}, \
             {} definite errors, stopped after {took:?}",
            seen.len(),
            failed.len(),
        );
        assert!(gap < GAP_MAX, "{gap:?}");
        let log = cluster.logs();
        assert!(log.contains("leads now"), "it handed over: {log}");
        cluster.start_node(leader);
        cluster.wait_until_ready();
        assert_kept(&cluster, &seen);
        assert_kept(&cluster, &seen_at_leader);
    }
}

#[test]
fn a_transfer_of_raft_under_load_costs_clients_no_error() {
    a_transfer_under_load_costs_clients_no_error("raft");
}

#[test]
fn a_transfer_of_zab_under_load_costs_clients_no_error() {
    a_transfer_under_load_costs_clients_no_error("zab");
}

#[test]
fn a_leader_of_raft_that_is_told_to_stop_hands_over_first() {
    a_leader_that_is_told_to_stop_hands_over_first("raft");
}

#[test]
fn a_leader_of_zab_that_is_told_to_stop_hands_over_first() {
    a_leader_that_is_told_to_stop_hands_over_first("zab");
}

#[test]
fn the_command_line_transfers_and_says_who_leads() {
    let cluster = Processes::start("zab", 3);
    let leader = cluster.leader();
    let to = (leader + 1) % 3 + 1;
    let run = |words: &[&str]| {
        let endpoint = format!("http://{}", cluster.addresses()[leader]);
        std::process::Command::new(processes::PROGRAM)
            .args(["members", "transfer", "--endpoint", &endpoint])
            .args(words)
            .output()
            .expect("the program runs")
    };
    let done = run(&["--to", &to.to_string()]);
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(text.starts_with(&format!("node {to} leads now, in term ")), "{done:?}");
    assert_eq!(cluster.leader(), to - 1);
    let unknown = run(&["--to", "9"]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("not a member"), "{unknown:?}");
    let anybody = run(&[]);
    assert!(anybody.status.success(), "{anybody:?}");
    assert_ne!(cluster.leader(), to - 1);
}
