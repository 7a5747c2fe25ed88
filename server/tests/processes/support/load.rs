//! Clients that write without pause, and what becomes of each of their writes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Processes, request};

/// Clients at each node that write at once.
const WRITERS: usize = 2;

/// What a client has seen of one write.
pub(crate) struct Seen {
    pub(crate) key: String,
    pub(crate) answered: Instant,
    /// The revision, or the error.
    pub(crate) result: Result<u64, Value>,
}

/// Writers at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Vec<Seen>>>,
}

impl Load {
    /// Starts writers at these nodes.
    pub(crate) fn start(cluster: &Processes, nodes: &[usize]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let each = |&node: &usize| {
            let address = cluster.addresses()[node];
            (0..WRITERS)
                .map(|writer| (format!("{node}-{writer}-{:?}", Instant::now()), address))
                .map(|(name, address)| {
                    let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
                    start_writer(name, address, Arc::clone(&stop))
                })
                .collect::<Vec<_>>()
        };
        let writers = nodes.iter().flat_map(each).collect();
        Self { stop, writers }
    }

    /// Ends them. Returns what they saw.
    pub(crate) fn stop(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.writers.into_iter().flat_map(|writer| writer.join().expect("a writer")).collect()
    }
}

/// Every acknowledged write is there, on every node.
pub(crate) fn assert_kept(cluster: &Processes, seen: &[Seen]) {
    cluster.wait_until_all_agree();
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
