//! Ten thousand idle connections: the node goes on, and forgets them when they are gone.
//!
//! This test has a process of its own, because it needs nearly all file descriptors of one: both
//! ends of every connection are in it.

use std::time::{Duration, Instant};

use consensus::Protocol;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use server::config::ServeConfig;
use server::serve::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const CONNECTIONS: usize = 10_000;
/// Descriptors that are not connections.
const RESERVE: usize = 200;

/// Asks for enough descriptors, and says how many connections those that there are allow.
fn connections_allowed() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let needed = 2 * CONNECTIONS + RESERVE;
    let wanted = maximum.map_or(needed as u64, |maximum| maximum.min(needed as u64));
    let raised = current.is_some_and(|current| current < wanted)
        && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok();
    let allowed = if raised { Some(wanted) } else { current };
    let allowed = allowed.map_or(needed, |allowed| usize::try_from(allowed).unwrap_or(needed));
    CONNECTIONS.min((allowed - RESERVE) / 2)
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
        println!("the system allows only {count} connections in one process; these are tested");
    }
    let data = tempfile::tempdir().expect("a directory");
    let config = ServeConfig::alone(Protocol::Null, data.path().join("node"));
    let server = Server::start(config).await.expect("a server");
    server.ready().await;
    let metrics = server.handle().metrics().clone();
    let open = || usize::try_from(metrics.http_connections_open.get()).expect("a count");
    let mut idle = Vec::with_capacity(count);
    for number in 0..count {
        let mut stream = TcpStream::connect(server.http_address()).await.expect("a connection");
        // A part of them have sent half a request, as slow or hostile clients do.
        if number % 10 == 0 {
            stream.write_all(b"PUT /v1/kv/k HTTP/1.1\r\nhost").await.expect("sent");
        }
        idle.push(stream);
    }
    let mut active = TcpStream::connect(server.http_address()).await.expect("a connection");
    let mut slowest = Duration::ZERO;
    for number in 0..200 {
        let began = Instant::now();
        let put = format!("PUT /v1/kv/k{number} HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nv");
        let answer = request(&mut active, &put).await;
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        slowest = slowest.max(began.elapsed());
    }
    assert_eq!(open(), count + 1);
    assert!(slowest < Duration::from_secs(2), "a write took {slowest:?}");
    // Those that are idle are served when they ask.
    let read = "GET /v1/kv/k7 HTTP/1.1\r\nhost: x\r\n\r\n";
    for number in [1, count / 2 + 1, count - 1] {
        let answer = request(&mut idle[number], read).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop(idle);
    let began = Instant::now();
    while open() > 1 {
        assert!(began.elapsed() < Duration::from_secs(10), "{} are left", open());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let answer = request(&mut active, read).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.stop().await;
}
