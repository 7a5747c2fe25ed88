//! The HTTP API over real sockets: a server of one node in this process, and a client that speaks
//! HTTP by hand, so that it can also speak it badly.

#![allow(clippy::disallowed_methods, reason = "these tests run in real time")]

mod agreement;
mod alarms;
mod bodies;
mod client;
mod conditions;
mod description;
#[path = "../diagrams/mod.rs"]
mod diagrams;
mod directories;
mod errors;
mod etcd;
mod idempotency;
mod keys;
mod leases;
mod observers;
mod operations;
mod quorum;
mod quota;
mod ranges;
mod retention;
mod sequential;
mod stats;
mod stopping;
mod strangers;
mod traces;
mod transactions;
mod transfers;
mod watches;
mod wrong_requests;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use consensus::{NodeId, Protocol};
use server::config::ServeConfig;
use server::serve::Server;
use tempfile::TempDir;

use client::Http;

/// Clusters that did not get the ports that were free just before.
const STARTS_MAX: usize = 10;

/// How long server-sent events are silent: no test waits for a quarter of a minute.
const SILENCE_MAX: Duration = Duration::from_millis(300);

/// A running server and its data, and perhaps the others of its cluster.
struct Fixture {
    /// Node 1, which is asked.
    server: Server,
    http: Http,
    others: Vec<Server>,
    _data: TempDir,
}

impl Fixture {
    /// A server with the defaults.
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A server with something changed.
    async fn start_with(change: impl FnOnce(&mut ServeConfig)) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let mut config = ServeConfig::alone(Protocol::Null, data.path().join("1"));
        config.limits.silence_max = SILENCE_MAX;
        change(&mut config);
        let server = Server::start(config).await.expect("a server");
        server.ready().await;
        let http = Http::new(server.http_address());
        Self { server, http, others: Vec::new(), _data: data }
    }

    /// Three nodes of a protocol; of the null protocol one.
    async fn start_on(protocol: Protocol) -> Self {
        if protocol == Protocol::Null { Self::start().await } else { Self::cluster(protocol).await }
    }

    /// Three nodes.
    async fn cluster(protocol: Protocol) -> Self {
        Self::cluster_with_observers(protocol, 0).await
    }

    /// The same as [`Fixture::start_on`], each node with something changed.
    async fn start_on_with(protocol: Protocol, change: impl Fn(&mut ServeConfig)) -> Self {
        match protocol {
            Protocol::Null => Self::start_with(change).await,
            _ => Self::cluster_with(protocol, 0, change).await,
        }
    }

    /// Three nodes that vote, and observers with the numbers behind theirs.
    async fn cluster_with_observers(protocol: Protocol, observers: usize) -> Self {
        Self::cluster_with(protocol, observers, |_| {}).await
    }

    async fn cluster_with(
        protocol: Protocol,
        observers: usize,
        change: impl Fn(&mut ServeConfig),
    ) -> Self {
        for _ in 0..STARTS_MAX {
            let data = tempfile::tempdir().expect("a directory");
            let configs = cluster_of(protocol, data.path(), observers);
            let mut servers = Vec::new();
            for mut config in configs {
                change(&mut config);
                servers.extend(Server::start(config).await);
            }
            if servers.len() < 3 + observers {
                // Somebody else took a port in the meantime.
                for server in servers {
                    server.stop().await;
                }
                continue;
            }
            for server in &servers {
                server.ready().await;
                linked(server).await;
            }
            let server = servers.remove(0);
            let http = Http::new(server.http_address());
            return Self { server, http, others: servers, _data: data };
        }
        panic!("the ports of {STARTS_MAX} clusters were taken");
    }

    /// The clients of all nodes.
    fn all(&self) -> Vec<Http> {
        let others = self.others.iter().map(|server| Http::new(server.http_address()));
        std::iter::once(self.http).chain(others).collect()
    }

    /// Stops the server. Every test ends with it, so that stopping is tested most of all.
    async fn stop(self) {
        self.server.stop().await;
        for server in self.others {
            server.stop().await;
        }
    }
}

/// Waits until a node is connected with all others: it may be ready before, with a quorum of them.
async fn linked(server: &Server) {
    let began = Instant::now();
    while !server.handle().status().consensus.peers.iter().all(|peer| peer.connected) {
        assert!(began.elapsed() < Duration::from_secs(30), "a node does not reach all others");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What three nodes are started with. Their timers are slow, because the machine may be busy and a
/// test shall see no election that it does not ask for.
fn cluster_of_three(protocol: Protocol, data: &Path) -> Vec<ServeConfig> {
    cluster_of(protocol, data, 0)
}

/// The same, with observers.
fn cluster_of(protocol: Protocol, data: &Path, observers: usize) -> Vec<ServeConfig> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let held: Vec<_> = (0..3 + observers).map(bind).collect();
    let peers: Vec<SocketAddr> =
        held.iter().map(|listener| listener.local_addr().expect("bound")).collect();
    let members: BTreeMap<_, _> =
        (1..).map(NodeId).zip(peers.iter().map(ToString::to_string)).collect();
    (1..)
        .zip(&peers)
        .map(|(id, peer)| {
            let mut config = ServeConfig::alone(protocol, data.join(format!("{id}")));
            config.node.id = NodeId(id);
            config.node.members = members.clone();
            config.node.observers = members.keys().skip(3).copied().collect();
            config.node.peer_address = *peer;
            config.node.heartbeat_interval = Duration::from_millis(100);
            config.node.election_timeout = Duration::from_secs(1);
            config.limits.silence_max = SILENCE_MAX;
            config
        })
        .collect()
}

/// Runs tests on one node of the null protocol and on three of each of the others.
macro_rules! on_every_protocol {
    ($($test:ident),* $(,)?) => {
        super::on_every_protocol!(@ null Null: $($test),*);
        super::on_every_protocol!(@ raft Raft: $($test),*);
        super::on_every_protocol!(@ zab Zab: $($test),*);
    };
    (@ $module:ident $protocol:ident: $($test:ident),*) => {
        mod $module {
            use consensus::Protocol;

            use super::Fixture;

            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(Fixture::start_on(Protocol::$protocol).await).await;
                }
            )*
        }
    };
}

use on_every_protocol;
