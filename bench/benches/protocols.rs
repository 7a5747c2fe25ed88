//! Election time and write throughput of each protocol, on real clusters (three nodes in this process,
//! real sockets, real disk) and in the simulator, where time is virtual and a figure depends on the code
//! alone.
//!
//! `duorum compare` measures the same over separate processes, and puts an interval around the ratio;
//! these benchmarks are for comparing a change with what was before it.

#![allow(missing_docs, reason = "criterion's macros make public items without docs")]
#![allow(clippy::disallowed_methods, reason = "real clusters take real time")]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use consensus::{Consensus, Leadership, NodeId, Protocol};
use consensus_raft::Raft;
use consensus_zab::Zab;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use kvcore::Command;
use server::node::Node;
use server::node::config::NodeConfig;
use server::node::handle::NodeHandle;
use sim::Links;
use sim::costs::{failover, throughput};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const NODES: u64 = 3;
/// Clients that write at once.
const CLIENTS: u64 = 64;
const VALUE_BYTES: usize = 256;
const TIMEOUT: Duration = Duration::from_secs(10);
/// Simulated elections, of which one figure is the mean.
const SIMULATED_SEEDS: u64 = 16;

/// Three nodes that have a leader.
struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    /// Held for its end: it removes the data.
    _directory: TempDir,
}

impl Cluster {
    async fn start(protocol: Protocol) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let ports: Vec<TcpListener> =
            (0..NODES).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let members: BTreeMap<NodeId, String> = (1..=NODES)
            .map(NodeId)
            .zip(ports.iter().map(|port| port.local_addr().expect("bound").to_string()))
            .collect();
        drop(ports);
        let mut nodes = BTreeMap::new();
        for (&id, address) in &members {
            let address = address.parse().expect("an address that was bound");
            let data = directory.path().join(id.to_string());
            let config = NodeConfig::new(id, protocol, members.clone(), address, data);
            nodes.insert(id, Node::start(config).await.expect("the node starts"));
        }
        let cluster = Self { nodes, _directory: directory };
        cluster.write("first").await;
        cluster
    }

    fn leader(&self) -> NodeId {
        let leads = |node: &Node| {
            matches!(node.handle().status().consensus.leadership, Leadership::Established { .. })
        };
        *self.nodes.iter().find(|(_, node)| leads(node)).expect("one of the nodes leads").0
    }

    /// Writes at the first node that is there.
    async fn write(&self, key: &str) {
        let handle = self.nodes.values().next().expect("a node").handle();
        put(&handle, key.to_owned()).await;
    }

    async fn stop(self) {
        for node in self.nodes.into_values() {
            node.stop().await;
        }
    }
}

/// Writes until it is acknowledged, as a client does: while leaders change, a write may be refused or
/// lose its leader on the way. Doing it twice makes no difference.
async fn put(handle: &NodeHandle, key: String) {
    let command = Command::put(key, vec![b'v'; VALUE_BYTES]);
    let began = Instant::now();
    while let Err(error) = handle.write(command.clone(), None, TIMEOUT).await {
        assert!(began.elapsed() < TIMEOUT, "no leader acknowledges a write: {error:?}");
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

/// From the moment at which the leader is told to stop until another node acknowledges a write.
async fn election(protocol: Protocol) -> Duration {
    let mut cluster = Cluster::start(protocol).await;
    let leader = cluster.leader();
    let leading = cluster.nodes.remove(&leader).expect("one of the nodes");
    let began = Instant::now();
    let stopped = tokio::spawn(leading.stop());
    // Not before the others notice: what they still hand to the old leader has no definite end.
    while cluster.nodes.values().all(|node| follows(node, leader)) {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    let survivor = cluster.nodes.values().find(|node| !follows(node, leader)).expect("just seen");
    put(&survivor.handle(), "after".to_owned()).await;
    let took = began.elapsed();
    stopped.await.expect("the leader stops");
    cluster.stop().await;
    took
}

fn follows(node: &Node, leader: NodeId) -> bool {
    let leadership = node.handle().status().consensus.leadership;
    matches!(leadership, Leadership::Following { leader: followed, .. } if followed == leader)
}

/// How long so many writes take, by clients spread over all nodes.
async fn writes(cluster: &Cluster, count: u64) -> Duration {
    let handles: Vec<NodeHandle> = cluster.nodes.values().map(Node::handle).collect();
    let began = Instant::now();
    let clients: Vec<_> = (0..CLIENTS.min(count))
        .map(|client| {
            let handle = handles[usize::try_from(client % NODES).expect("small")].clone();
            tokio::spawn(async move {
                for number in (client..count).step_by(usize::try_from(CLIENTS).expect("small")) {
                    put(&handle, format!("key-{:05}", number % 10_000)).await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("a client that wrote everything");
    }
    began.elapsed()
}

fn elections(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("election");
    // An election takes milliseconds, but the cluster around it a second, which criterion does not
    // see: so one election a sample.
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_millis(20));
    for protocol in [Protocol::Raft, Protocol::Zab] {
        group.bench_function(format!("{protocol}/real"), |bencher| {
            bencher.iter_custom(|count| {
                (0..count).map(|_| runtime.block_on(election(protocol))).sum()
            });
        });
    }
    group.bench_function("raft/simulated", |bencher| {
        bencher.iter_custom(simulated_elections::<Raft>);
    });
    group
        .bench_function("zab/simulated", |bencher| bencher.iter_custom(simulated_elections::<Zab>));
    group.finish();
}

/// The virtual time of so many elections, at the mean of the same seeds each time: an election depends
/// on its seed, and a figure must not depend on how many times criterion asks.
fn simulated_elections<C: Consensus>(count: u64) -> Duration {
    let election = |seed| failover::<C>(seed, Links::Lan).expect("no law is violated").acknowledged;
    let mean = (0..SIMULATED_SEEDS).map(election).sum::<Duration>().div_f64(SIMULATED_SEEDS as f64);
    mean.mul_f64(count as f64)
}

fn write_throughput(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("writes");
    group.sampling_mode(SamplingMode::Flat).sample_size(10).throughput(Throughput::Elements(1));
    for protocol in [Protocol::Raft, Protocol::Zab] {
        let cluster = runtime.block_on(Cluster::start(protocol));
        group.bench_function(format!("{protocol}/real"), |bencher| {
            bencher.iter_custom(|count| runtime.block_on(writes(&cluster, count)));
        });
        runtime.block_on(cluster.stop());
    }
    // Each call simulates half a second, whatever the count.
    group.warm_up_time(Duration::from_millis(1));
    group.bench_function("raft/simulated", |bencher| bencher.iter_custom(simulated_writes::<Raft>));
    group.bench_function("zab/simulated", |bencher| bencher.iter_custom(simulated_writes::<Zab>));
    group.finish();
}

/// The virtual time that so many writes take, at the rate of one seed, which stands for thousands of
/// writes.
fn simulated_writes<C: Consensus>(count: u64) -> Duration {
    let measured = throughput::<C>(1).expect("no law is violated");
    Duration::from_secs_f64(count as f64 / measured.writes_per_second())
}

criterion_group!(benches, elections, write_throughput);
criterion_main!(benches);
