//! Three processes of one subject, started from nothing and gone afterwards.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use consensus::NodeId;

use super::etcd::{self, Etcd};
use super::zookeeper::{self, ZooKeeper};
use crate::Error;
use crate::cluster::{Cluster, ClusterOptions, Fault, Node, ResourceUse, free_addresses};
use crate::compare::Contender;

/// How long a cluster may take until it has a leader. Three Java machines share two cores here.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is looked.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How often it is looked whether all nodes still run while they are driven: rarely, to take no time from them.
const FAILURE_POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How long one question about a node's state may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a cluster is begun anew with other ports when some were taken in the meantime.
const PORT_ATTEMPTS: usize = 3;

/// What runs.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Duorum(Contender),
    Etcd(Etcd),
    ZooKeeper(ZooKeeper),
}

/// What a cluster is made of, whoever wrote it.
#[derive(Clone, Debug)]
pub(super) struct Make {
    /// Our own program, which serves or becomes the others'.
    pub(super) executable: PathBuf,
    pub(super) nodes: usize,
    /// How many connections the load will have.
    pub(super) connections: usize,
    /// A directory for the data, which is not there yet.
    pub(super) data: PathBuf,
    /// An existing directory for the logs, and what their names begin with.
    pub(super) logs: PathBuf,
    pub(super) name: String,
}

/// A running cluster.
#[derive(Debug)]
pub(super) enum Ensemble {
    Duorum(Cluster),
    Others(Others),
}

/// A running cluster of a system that others wrote.
#[derive(Debug)]
pub(super) struct Others {
    kind: Kind,
    nodes: Vec<Node>,
    commands: Vec<String>,
    make: Make,
}

impl Ensemble {
    /// Starts every node and waits until they have a leader.
    pub(super) async fn start(kind: &Kind, make: &Make) -> Result<Self, Error> {
        let Kind::Duorum(contender) = kind else {
            return Others::start(kind, make).await.map(Self::Others);
        };
        let cluster = Cluster::start(ClusterOptions {
            executable: make.executable.clone(),
            protocol: contender.protocol,
            nodes: make.nodes,
            data: make.data.clone(),
            logs: make.logs.clone(),
            name: make.name.clone(),
            flags: contender.flags.clone(),
        });
        cluster.await.map(Self::Duorum)
    }

    /// Where the nodes talk to their clients.
    pub(super) fn endpoints(&self) -> Vec<SocketAddr> {
        match self {
            Self::Duorum(cluster) => cluster.endpoints(),
            Self::Others(others) => others.running().map(|node| node.http).collect(),
        }
    }

    /// The command line of each node, and what it reads if that is a file of ours.
    pub(super) fn commands(&self) -> Vec<String> {
        match self {
            Self::Duorum(cluster) => cluster.command_lines(),
            Self::Others(others) => others.commands.clone(),
        }
    }

    /// What all running nodes together have used since they started.
    pub(super) fn resource_use(&self) -> ResourceUse {
        match self {
            Self::Duorum(cluster) => cluster.resource_use(),
            Self::Others(others) => {
                ResourceUse::sum(others.running().filter_map(Node::resource_use))
            }
        }
    }

    /// Waits until there is a leader; returns it with the endpoints of the others.
    pub(super) async fn leader(&mut self) -> Result<(NodeId, Vec<SocketAddr>), Error> {
        match self {
            Self::Duorum(cluster) => {
                let leader = cluster.settle().await?;
                Ok((leader, cluster.endpoints_without(leader)))
            }
            Self::Others(others) => {
                let leader = others.settle().await?;
                let survivors = others.running().filter(|node| node.id != leader);
                Ok((leader, survivors.map(|node| node.http).collect()))
            }
        }
    }

    /// Waits until there is a leader; returns where it talks to its clients.
    pub(super) async fn endpoint_of_leader(&mut self) -> Result<SocketAddr, Error> {
        match self {
            Self::Duorum(cluster) => {
                let leader = cluster.settle().await?;
                Ok(cluster.endpoint(leader))
            }
            Self::Others(others) => {
                let leader = others.settle().await?;
                let leader = others.running().find(|node| node.id == leader);
                Ok(leader.expect("who leads is running").http)
            }
        }
    }

    /// Waits until a node ends that nobody has killed, and complains about it.
    pub(super) async fn failure(&mut self) -> Error {
        loop {
            let running = match self {
                Self::Duorum(cluster) => {
                    cluster.ids().into_iter().try_for_each(|id| cluster.check_running(id))
                }
                Self::Others(others) => others.check_running(),
            };
            if let Err(error) = running {
                return error;
            }
            tokio::time::sleep(FAILURE_POLL_INTERVAL).await;
        }
    }

    /// SIGKILL. Returns when the signal was sent, and the moment from which on the node certainly did
    /// nothing more.
    pub(super) async fn kill(&mut self, id: NodeId) -> Result<(Instant, Instant), Error> {
        match self {
            Self::Duorum(cluster) => {
                let struck = cluster.strike(id, Fault::Kill).await?;
                Ok((struck.at, struck.over))
            }
            Self::Others(others) => {
                let node = others.nodes.iter_mut().find(|node| node.id == id);
                node.expect("the cluster has this node").kill().await
            }
        }
    }

    /// Kills every node and removes the data.
    pub(super) fn remove(self) -> Result<(), Error> {
        match self {
            Self::Duorum(cluster) => cluster.remove(),
            Self::Others(mut others) => {
                others.nodes.clear();
                let data = &others.make.data;
                fs::remove_dir_all(data).map_err(|source| Error::path("remove", data, source))
            }
        }
    }
}

impl Others {
    async fn start(kind: &Kind, make: &Make) -> Result<Self, Error> {
        let mut attempt = 1;
        loop {
            let started = Self::start_on_free_ports(kind, make).await;
            match started {
                Err(Error::Node { tail, .. })
                    if attempt < PORT_ATTEMPTS && tail.to_lowercase().contains("in use") =>
                {
                    attempt += 1;
                    let _ = fs::remove_dir_all(&make.data);
                }
                started => return started,
            }
        }
    }

    async fn start_on_free_ports(kind: &Kind, make: &Make) -> Result<Self, Error> {
        let mut others = Self {
            kind: kind.clone(),
            nodes: Vec::new(),
            commands: Vec::new(),
            make: make.clone(),
        };
        let ports = free_addresses(4 * make.nodes)?;
        for number in 0..make.nodes {
            let directory = make.data.join(format!("node-{}", number + 1));
            fs::create_dir_all(&directory)
                .map_err(|source| Error::path("create", &directory, source))?;
            let (command, client) = others.command(number, &ports, &directory)?;
            let log = make.logs.join(format!("{}-node-{}.log", make.name, number + 1));
            let id = NodeId(number as u64 + 1);
            let mut node =
                Node::of_program(id, client, &make.executable, command, directory.clone(), log);
            node.start()?;
            others.commands.push(described(&node.command_line(), &directory));
            others.nodes.push(node);
        }
        others.settle().await?;
        Ok(others)
    }

    /// The command line of one node, and where it will talk to its clients.
    fn command(
        &self,
        number: usize,
        ports: &[SocketAddr],
        directory: &Path,
    ) -> Result<(Vec<String>, SocketAddr), Error> {
        match &self.kind {
            Kind::Etcd(etcd) => {
                let address =
                    |four: &[SocketAddr]| etcd::Addresses { client: four[0], peer: four[1] };
                let all: Vec<_> = ports.chunks(4).map(address).collect();
                Ok((etcd.command(number, &all, directory), all[number].client))
            }
            Kind::ZooKeeper(zookeeper) => {
                let address = |four: &[SocketAddr]| {
                    let (client, peer, election, admin) = (four[0], four[1], four[2], four[3]);
                    zookeeper::Addresses { client, peer, election, admin }
                };
                let all: Vec<_> = ports.chunks(4).map(address).collect();
                let connections = self.make.connections;
                let command = zookeeper.prepare(number, &all, connections, directory)?;
                Ok((command, all[number].client))
            }
            Kind::Duorum(_) => unreachable!("our own clusters are started by themselves"),
        }
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_running())
    }

    /// Waits until every running node serves and exactly one leads; returns it.
    async fn settle(&mut self) -> Result<NodeId, Error> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            self.check_running()?;
            let waiting_for = match self.agreed_leader().await {
                Ok(leader) => return Ok(leader),
                Err(waiting_for) => waiting_for,
            };
            if Instant::now() > deadline {
                let what = format!("after {} s, {waiting_for}", READY_TIMEOUT.as_secs());
                return Err(self.complaint(&what, None));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Complains about a node that ended by itself.
    fn check_running(&mut self) -> Result<(), Error> {
        let ended = self.nodes.iter_mut().find_map(|node| Some((node.id, node.ended()?)));
        ended.map_or(Ok(()), |(id, status)| {
            Err(self.complaint(&format!("node {} ended: {status}", id.0), Some(id)))
        })
    }

    /// The one node that leads, or what is missing.
    async fn agreed_leader(&self) -> Result<NodeId, String> {
        let mut leader = None;
        for node in self.running() {
            let leads = match self.kind {
                Kind::Etcd(_) => etcd::leads(node.http, ASK_TIMEOUT).await?,
                Kind::ZooKeeper(_) => zookeeper::leads(node.http, ASK_TIMEOUT).await?,
                Kind::Duorum(_) => unreachable!("our own clusters know their leaders"),
            };
            if leads && let Some(NodeId(other)) = leader.replace(node.id) {
                return Err(format!("nodes {other} and {} both say that they lead", node.id.0));
            }
        }
        leader.ok_or_else(|| "no node that runs leads".to_owned())
    }

    /// An error that shows the last words of one node, or of the first if none is to blame.
    fn complaint(&self, what: &str, id: Option<NodeId>) -> Error {
        let node = self.nodes.iter().find(|node| Some(node.id) == id).or(self.nodes.first());
        Error::Node {
            what: format!("a cluster of {} nodes, {}: {what}", self.make.nodes, self.make.name),
            logs: Some(self.make.logs.clone()),
            tail: node.map(Node::last_words).unwrap_or_default(),
        }
    }
}

/// A command line, and below it the settings that it names.
fn described(command: &str, directory: &Path) -> String {
    let settings = fs::read_to_string(directory.join(zookeeper::SETTINGS));
    settings.map_or_else(|_| command.to_owned(), |text| format!("{command}\n{}", text.trim_end()))
}
