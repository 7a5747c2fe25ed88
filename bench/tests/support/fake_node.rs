//! A node without consensus that answers as a node of Duorum does.
//!
//! The live node with the lowest number leads. A node is alive when its peer port echoes a byte,
//! which a killed process does not and a stopped one does not either. After a change of leader
//! nobody takes writes for [`INTERREGNUM`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long nobody takes writes after a change of leader.
pub(crate) const INTERREGNUM: Duration = Duration::from_millis(60);
/// How often a node looks who is alive, and how long it waits for a sign.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_millis(100);

/// The flags of `serve`.
#[derive(clap::Args)]
pub(crate) struct ServeArgs {
    #[arg(long)]
    protocol: String,
    #[arg(long)]
    id: u64,
    #[arg(long)]
    data_dir: PathBuf,
    #[arg(long)]
    http: SocketAddr,
    #[arg(long)]
    peer: SocketAddr,
    #[arg(long)]
    cluster: String,
    #[arg(long)]
    stop_with_parent: u32,
}

struct Node {
    id: u64,
    members: BTreeMap<u64, SocketAddr>,
    leader: Option<u64>,
    since: Instant,
    /// Whether reads find nothing.
    forgets: bool,
    writes: u64,
}

type Shared = Arc<Mutex<Node>>;

/// Serves until killed.
pub(crate) fn run(args: ServeArgs) -> ExitCode {
    bench::cluster::stop_with_parent(args.stop_with_parent).expect("the parent is there");
    let members: BTreeMap<u64, SocketAddr> = args
        .cluster
        .split(',')
        .filter_map(|member| member.split_once('='))
        .map(|(id, address)| (id.parse().expect("an id"), address.parse().expect("an address")))
        .collect();
    let complaint = if args.protocol == "null" && members.len() > 1 {
        Some("the null protocol does not replicate")
    } else if std::env::var("FAKE_NODE_FAILS").is_ok_and(|protocol| protocol == args.protocol) {
        Some("this fake node fails on purpose")
    } else {
        None
    };
    if let Some(complaint) = complaint {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "{complaint}");
        return ExitCode::FAILURE;
    }
    std::fs::create_dir_all(&args.data_dir).expect("a data directory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(serve(args, members));
    ExitCode::SUCCESS
}

async fn serve(args: ServeArgs, members: BTreeMap<u64, SocketAddr>) {
    let node: Shared = Arc::new(Mutex::new(Node {
        id: args.id,
        members: members.clone(),
        leader: None,
        since: Instant::now(),
        forgets: std::env::var("FAKE_NODE_FORGETS").is_ok_and(|name| name == args.protocol),
        writes: 0,
    }));
    let peers = TcpListener::bind(args.peer).await.expect("the peer port");
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = peers.accept().await.expect("a peer");
            tokio::spawn(async move {
                let byte = stream.read_u8().await.unwrap_or(0);
                let _ = stream.write_u8(byte).await;
            });
        }
    });
    tokio::spawn(look(Arc::clone(&node), members));
    let router = Router::new()
        .route("/readyz", get(ready))
        .route("/v1/status", get(status))
        .route("/v1/agree", get(agree))
        .route("/v1/elections", get(elections))
        .route("/metrics", get(metrics))
        .route("/v1/kv/{*key}", get(read).put(write))
        .with_state(node);
    let listener = TcpListener::bind(args.http).await.expect("the HTTP port");
    loop {
        let (stream, _) = listener.accept().await.expect("a client");
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Follows the live node with the lowest number.
async fn look(node: Shared, members: BTreeMap<u64, SocketAddr>) {
    loop {
        let mut leader = None;
        for (&id, &address) in &members {
            if id == node.lock().expect("not poisoned").id || is_alive(address).await {
                leader = Some(id);
                break;
            }
        }
        {
            let mut node = node.lock().expect("not poisoned");
            if node.leader != leader {
                node.leader = leader;
                node.since = Instant::now();
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

async fn is_alive(address: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_u8(7).await?;
        stream.read_u8().await
    };
    matches!(tokio::time::timeout(PATIENCE, ask).await, Ok(Ok(7)))
}

fn leader_of(node: &Node) -> Option<u64> {
    node.leader.filter(|_| node.since.elapsed() > INTERREGNUM)
}

async fn ready(State(node): State<Shared>) -> StatusCode {
    match leader_of(&node.lock().expect("not poisoned")) {
        Some(_) => StatusCode::OK,
        None => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn status(State(node): State<Shared>) -> String {
    let node = node.lock().expect("not poisoned");
    let leader = leader_of(&node);
    let role = if leader == Some(node.id) { "leader" } else { "follower" };
    serde_json::json!({"id": node.id, "role": role, "leader": leader}).to_string()
}

/// Nothing is kept, so all have the same.
async fn agree() -> &'static str {
    r#"{"agree": true, "answered": 3, "members": 3}"#
}

/// There are none.
async fn elections() -> &'static str {
    r#"{"elections": []}"#
}

/// Claims half an fdatasync for each write.
async fn metrics(State(node): State<Shared>) -> String {
    let writes = node.lock().expect("not poisoned").writes;
    format!("# TYPE duorum_wal_fsyncs counter\nduorum_wal_fsyncs_total {}\n", writes as f64 / 2.0)
}

/// Values are not kept, so every key is there with the same one, or none is if asked so.
async fn read(State(node): State<Shared>) -> (StatusCode, &'static str) {
    if node.lock().expect("not poisoned").forgets {
        (StatusCode::NOT_FOUND, "")
    } else {
        (StatusCode::OK, "a value")
    }
}

/// A write is acknowledged only while the leader lives.
async fn write(State(node): State<Shared>, _value: Bytes) -> (StatusCode, &'static str) {
    const NO_LEADER: &str = r#"{"error": {"name": "no_leader", "definite": true}}"#;
    let leader = {
        let node = node.lock().expect("not poisoned");
        leader_of(&node).map(|leader| (leader == node.id, node.members[&leader]))
    };
    let Some((is_self, address)) = leader else {
        return (StatusCode::SERVICE_UNAVAILABLE, NO_LEADER);
    };
    if !is_self && !is_alive(address).await {
        return (StatusCode::SERVICE_UNAVAILABLE, NO_LEADER);
    }
    node.lock().expect("not poisoned").writes += 1;
    (StatusCode::OK, "{}")
}
