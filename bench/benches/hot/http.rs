//! What a server does around its state machine: a request on its way in, an answer on its way out, and
//! one change told to many.
//!
//! All of it is the server's own code on real sockets: its listener runs on a runtime in this thread, over a
//! node whose threads do not ([`StillNode`]). The kernel's part is timed and not counted. The runtime begins
//! each of its choices between several events at a random place and keeps timers by the clock, so that the
//! counts of these paths differ a little from run to run: by a thousandth at most or little more, because each
//! is about many requests.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use consensus::{NodeId, Protocol};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use server::http::{Limits, Listener};
use server::node::config::NodeConfig;
use server::node::measuring::StillNode;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::yield_now;

use super::{BATCH, Path, VALUE_BYTES, key_name, put};

/// Watchers that are told of one change.
const WATCHERS: u64 = 1_000;
/// After so many writes the node begins anew: what it applied waits in memory for a store.
const WRITES_MAX: u64 = 20_000;
/// How often whatever is ready to run is let run, about sixty tasks each time: more than it takes until
/// everybody is answered.
const ROUNDS: u64 = 8;
const ROUNDS_OF_WATCHERS: u64 = 64;

/// A node, its listener, and clients that are connected.
struct Server {
    runtime: Runtime,
    node: StillNode,
    clients: Vec<TcpStream>,
    writes: u64,
    /// Held for its end, which stops the listener.
    _stop: watch::Sender<bool>,
    /// Held for its end: it removes the files.
    _directory: TempDir,
}

impl Server {
    fn start(connections: u64) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let members = BTreeMap::from([(NodeId(1), "127.0.0.1:1".to_owned())]);
        let data = directory.path().to_path_buf();
        let config = NodeConfig::new(NodeId(1), Protocol::Null, members, address, data);
        let node = StillNode::open(&config).expect("a new directory opens");
        let (stop, stops) = watch::channel(false);
        let at = runtime.block_on(async {
            let listener = Listener::bind(address).expect("a free port");
            let at = listener.local_addr().expect("it is bound");
            let handle = node.handle();
            tokio::spawn(Listener::new(listener, handle, Limits::default(), stops).run());
            at
        });
        let clients = (0..connections).map(|_| {
            let client = TcpStream::connect(at).expect("the listener waits");
            client.set_nodelay(true).expect("it is a socket");
            client.set_read_timeout(Some(Duration::from_secs(10))).expect("it is a socket");
            client
        });
        let clients = clients.collect();
        Self { runtime, node, clients, writes: 0, _stop: stop, _directory: directory }
    }

    /// Lets the server do what it can.
    fn turn(&self, rounds: u64) {
        self.runtime.block_on(async {
            for _ in 0..rounds {
                yield_now().await;
            }
        });
    }

    /// Every client sends a put of another key.
    fn send_puts(&mut self) {
        let value = [b'v'; VALUE_BYTES];
        for client in &mut self.clients {
            self.writes += 1;
            let key = key_name(self.writes * 6_007);
            let mut request = format!(
                "PUT /v1/kv/{key} HTTP/1.1\r\nhost: 127.0.0.1:2379\r\nuser-agent: bench\r\naccept: \
                 */*\r\ncontent-length: {VALUE_BYTES}\r\n\r\n"
            )
            .into_bytes();
            request.extend_from_slice(&value);
            client.write_all(&request).expect("the server reads");
        }
    }

    /// Takes what the clients asked for out of the inbox: as many writes as there are clients.
    fn take_writes(&mut self) -> Vec<Bytes> {
        let Self { runtime, node, clients, .. } = self;
        runtime.block_on(async {
            let mut writes = Vec::with_capacity(clients.len());
            for _ in 0..clients.len() {
                writes.push(node.next_write().await);
            }
            writes
        })
    }

    /// Reads what every client was sent, in one piece.
    fn read_all(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; 16 << 10];
        let read = |client: &mut TcpStream| {
            let length = client.read(&mut buffer).expect("the server answers");
            buffer[..length].to_vec()
        };
        self.clients.iter_mut().map(read).collect()
    }

    fn check_answers(&mut self) {
        for answer in self.read_all() {
            let answer = String::from_utf8_lossy(&answer);
            let done = answer.starts_with("HTTP/1.1 20") && answer.contains("\"revision\":");
            assert!(done, "a put is answered: {answer}");
        }
    }
}

/// Requests on their way in.
pub(crate) struct PutIn(Server);

impl Path for PutIn {
    type Work = ();
    type Done = Vec<Bytes>;

    const ELEMENTS: u64 = BATCH;

    fn prepare() -> Self {
        Self(Server::start(BATCH))
    }

    fn next(&mut self) {
        if self.0.writes > WRITES_MAX {
            *self = Self::prepare();
        }
        self.0.send_puts();
    }

    fn run(&mut self, (): ()) -> Vec<Bytes> {
        self.0.take_writes()
    }

    fn check(&mut self, done: Vec<Bytes>) {
        assert_eq!(done.len() as u64, BATCH);
        self.0.node.apply(done);
        self.0.turn(ROUNDS);
        self.0.check_answers();
    }
}

/// Answers on their way out.
pub(crate) struct PutOut(Server);

impl Path for PutOut {
    type Work = Vec<Bytes>;
    type Done = ();

    const ELEMENTS: u64 = BATCH;

    fn prepare() -> Self {
        Self(Server::start(BATCH))
    }

    fn next(&mut self) -> Vec<Bytes> {
        if self.0.writes > WRITES_MAX {
            *self = Self::prepare();
        }
        self.0.send_puts();
        self.0.take_writes()
    }

    fn run(&mut self, work: Vec<Bytes>) {
        self.0.node.apply(work);
        self.0.turn(ROUNDS);
    }

    fn check(&mut self, (): ()) {
        self.0.check_answers();
    }
}

/// One change, told to everybody who watches.
pub(crate) struct FanOut(Server);

impl Path for FanOut {
    type Work = Bytes;
    type Done = ();

    const ELEMENTS: u64 = WATCHERS;

    fn prepare() -> Self {
        raise_descriptor_limit(2 * WATCHERS + 256);
        let mut server = Server::start(WATCHERS);
        let request = "GET /v1/watch?prefix=key-&from_revision=2 HTTP/1.1\r\nhost: \
                       127.0.0.1:2379\r\n\r\n";
        for client in &mut server.clients {
            client.write_all(request.as_bytes()).expect("the server reads");
        }
        // They are accepted first, and served bit by bit.
        server.turn(10 * ROUNDS_OF_WATCHERS);
        for begun in server.read_all() {
            let begun = String::from_utf8_lossy(&begun);
            assert!(begun.contains("\"started\":true"), "a watch begins: {begun}");
        }
        Self(server)
    }

    fn next(&mut self) -> Bytes {
        if self.0.writes > WRITES_MAX {
            *self = Self::prepare();
        }
        self.0.writes += 1;
        put(self.0.writes)
    }

    fn run(&mut self, work: Bytes) {
        self.0.node.apply([work]);
        self.0.turn(ROUNDS_OF_WATCHERS);
    }

    fn check(&mut self, (): ()) {
        for line in self.0.read_all() {
            let line = String::from_utf8_lossy(&line);
            let told = line.contains("{\"type\":\"put\",") && line.contains("]}\n");
            assert!(told, "every watcher is told: {line}");
        }
    }
}

/// Asks the system for as many descriptors as both ends of the connections need.
fn raise_descriptor_limit(wanted: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted));
        // Where the system does not give them, the connections say so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
    }
}
