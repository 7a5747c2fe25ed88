//! Ten thousand idle connections: the node goes on, and forgets them when they are gone.
//!
//! The server is a process of its own, because each end of a connection needs a file descriptor of
//! its process.

#![allow(clippy::print_stdout, reason = "what was measured, for whoever asks with --nocapture")]

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Place, Served};

const CONNECTIONS: usize = 10_000;
/// Descriptors of this process and of the server that are not connections.
const RESERVE: usize = 300;

async fn connect(served: &Served) -> TcpStream {
    TcpStream::connect(served.address).await.expect("a connection")
}

/// The value of a metric.
async fn metric(served: &Served, name: &str) -> u64 {
    let mut stream = connect(served).await;
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an answer");
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    let number = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("{name} is not in {text}"))
}

/// Asks for enough descriptors, and says how many connections those that there are allow.
fn connections_allowed() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let needed = (CONNECTIONS + RESERVE) as u64;
    let wanted = maximum.map_or(needed, |maximum| maximum.min(needed));
    let raised = current.is_some_and(|current| current < wanted)
        && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok();
    let allowed = if raised { wanted } else { current.unwrap_or(needed) };
    CONNECTIONS.min(usize::try_from(allowed).expect("a number of files") - RESERVE)
}

async fn request(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut bytes = vec![0; 4096];
    let count = stream.read(&mut bytes).await.expect("an answer");
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

#[tokio::test]
async fn ten_thousand_idle_connections_cost_little_and_leave_nothing_behind() {
    let count = connections_allowed();
    if count < CONNECTIONS {
        println!("the system allows only {count} connections of one process; these are tested");
    }
    // Descriptors and ports on this scale are what others would lack.
    let _place = Place::take_all();
    let data = tempfile::tempdir().expect("a directory");
    let served = Served::start(data.path(), &["--protocol", "null"]);
    let files_before = metric(&served, "process_open_fds").await;
    let memory_before = metric(&served, "process_resident_memory_bytes").await;
    let mut idle = Vec::with_capacity(count);
    for number in 0..count {
        let mut stream = connect(&served).await;
        // A part of them have sent half a request, as slow or hostile clients do.
        if number % 10 == 0 {
            stream.write_all(b"PUT /v1/kv/k HTTP/1.1\r\nhost").await.expect("sent");
        }
        idle.push(stream);
    }
    let mut active = connect(&served).await;
    let mut slowest = Duration::ZERO;
    for number in 0..200 {
        let began = Instant::now();
        let put = format!("PUT /v1/kv/k{number} HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nv");
        let answer = request(&mut active, &put).await;
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        slowest = slowest.max(began.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "a write took {slowest:?}");
    // These, the active one, and the one that asks.
    assert_eq!(metric(&served, "duorum_http_connections_open").await, count as u64 + 2);
    let memory = metric(&served, "process_resident_memory_bytes").await - memory_before;
    let each = memory / count as u64;
    assert!(each < 40_000, "{each} bytes of memory for each idle connection");
    // Those that are idle are served when they ask.
    let read = "GET /v1/kv/k7 HTTP/1.1\r\nhost: x\r\n\r\n";
    for number in [1, count / 2 + 1, count - 1] {
        let answer = request(&mut idle[number], read).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop(idle);
    let began = Instant::now();
    while metric(&served, "duorum_http_connections_open").await > 2 {
        assert!(began.elapsed() < Duration::from_secs(10), "connections are left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let files = metric(&served, "process_open_fds").await;
    assert!(files <= files_before + 4, "{files} files are open, {files_before} were");
    let answer = request(&mut active, read).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    println!("{count} idle connections, {each} bytes of memory each; slowest write {slowest:?}");
}
