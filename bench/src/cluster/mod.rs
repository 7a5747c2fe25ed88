//! Clusters of child processes: `duorum serve`, started from nothing and gone afterwards.
//!
//! A cluster lives in one directory of its own, on ports that were free a moment ago. Whatever
//! becomes of the measurement, dropping the cluster kills its processes, and the kernel ends them when
//! the measurement itself is killed ([`stop_with_parent`]). The children have a process
//! group of their own, so that Ctrl-C reaches the measurement first, which then ends them: a node
//! that stops on its own in the middle of a run would look like a fault.

mod control;
mod counters;
mod elections;
mod fault;
mod node;
mod observe;
mod parent;
mod ports;

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use consensus::{NodeId, Protocol};
use rustix::process::Signal;

use crate::Error;
pub use control::NodeStatus;
pub(crate) use control::{delete, get, post, post_json};
pub use counters::Counters;
pub use elections::{Election, Follower, Moment};
pub(crate) use elections::{HostClock, boot_id};
pub use fault::{Fault, Struck, Turn};
pub(crate) use node::Node;
pub use node::ResourceUse;
pub(crate) use node::own_cpu_seconds;
pub use observe::{Agreement, Disk, Memory, NodeMemory, Progress, StoreProgress};
pub use parent::stop_with_parent;
pub(crate) use parent::{flag as stop_with_parent_flag, launch, without_settings_of_others};

/// How often a cluster is begun anew with other ports when some were taken in the meantime.
const PORT_ATTEMPTS: usize = 3;
/// How long a node may take until it is ready: an election, and on a busy machine a slow start.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a waiting measurement asks a node for its state.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long one question about a node's state may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a transfer of leadership may take. Servers give up after 5 s.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a node may take to end after SIGTERM.
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked whether a process has ended.
const REAP_INTERVAL: Duration = Duration::from_millis(1);

/// A loopback address on which nobody listens.
///
/// # Errors
/// When there is none.
pub(crate) fn free_address() -> Result<SocketAddr, Error> {
    Ok(ports::free(1)?[0])
}

/// So many distinct loopback addresses on which nobody listens.
///
/// # Errors
/// When there are not so many.
pub(crate) fn free_addresses(count: usize) -> Result<Vec<SocketAddr>, Error> {
    ports::free(count)
}

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The program that understands `serve`.
    pub executable: PathBuf,
    /// What the nodes run.
    pub protocol: Protocol,
    /// How many nodes there are.
    pub nodes: usize,
    /// An empty directory for the nodes' data.
    pub data: PathBuf,
    /// An existing directory for the nodes' logs.
    pub logs: PathBuf,
    /// What the names of the logs begin with.
    pub name: String,
    /// More flags of `serve`, the same for every node.
    pub flags: Vec<String>,
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    options: ClusterOptions,
    nodes: Vec<Node>,
}

impl Cluster {
    /// Starts every node and waits until all are ready and name the same leader.
    ///
    /// # Errors
    /// [`Error::Node`] when a node ends or is not ready in time, with its last words.
    pub async fn start(options: ClusterOptions) -> Result<Self, Error> {
        let mut attempt = 1;
        loop {
            match Self::start_on_free_ports(&options).await {
                Err(Error::Node { tail, .. })
                    if attempt < PORT_ATTEMPTS && tail.to_lowercase().contains("in use") =>
                {
                    attempt += 1;
                    let _ = std::fs::remove_dir_all(&options.data);
                }
                started => return started,
            }
        }
    }

    async fn start_on_free_ports(options: &ClusterOptions) -> Result<Self, Error> {
        let ports = ports::free(2 * options.nodes)?;
        let (http, peer) = ports.split_at(options.nodes);
        let members = peer
            .iter()
            .enumerate()
            .map(|(index, address)| format!("{}={address}", index + 1))
            .collect::<Vec<_>>()
            .join(",");
        let mut cluster = Self { options: options.clone(), nodes: Vec::new() };
        for (index, (&http, &peer)) in http.iter().zip(peer).enumerate() {
            let mut node = Node::new(NodeId(index as u64 + 1), http, peer, &members, options);
            node.start()?;
            cluster.nodes.push(node);
        }
        cluster.settle().await?;
        Ok(cluster)
    }

    /// Where the running nodes answer HTTP.
    #[must_use]
    pub fn endpoints(&self) -> Vec<SocketAddr> {
        self.nodes.iter().filter(|node| node.is_running()).map(|node| node.http).collect()
    }

    /// Where the running nodes but this one answer HTTP.
    #[must_use]
    pub fn endpoints_without(&self, id: NodeId) -> Vec<SocketAddr> {
        let others = self.nodes.iter().filter(|node| node.is_running() && node.id != id);
        others.map(|node| node.http).collect()
    }

    /// Where one node answers HTTP.
    #[must_use]
    pub fn endpoint(&self, id: NodeId) -> SocketAddr {
        self.node(id).http
    }

    /// The command line of every node.
    #[must_use]
    pub fn command_lines(&self) -> Vec<String> {
        self.nodes.iter().map(Node::command_line).collect()
    }

    /// What each running node says of itself at `/v1/status`.
    ///
    /// # Errors
    /// [`Error::Node`] when one does not answer.
    pub async fn statuses(&self) -> Result<Vec<serde_json::Value>, Error> {
        let mut statuses = Vec::new();
        for endpoint in self.endpoints() {
            let (_, body) = get(endpoint, "/v1/status", ASK_TIMEOUT).await.map_err(|error| {
                self.complaint(&format!("http://{endpoint}/v1/status: {error}"), self.at(endpoint))
            })?;
            statuses.push(serde_json::from_slice(&body).map_err(|error| {
                self.complaint(&format!("http://{endpoint}/v1/status is no JSON: {error}"), None)
            })?);
        }
        Ok(statuses)
    }

    /// Waits until every running node is ready and all name the same leader; returns it.
    ///
    /// # Errors
    /// [`Error::Node`] when a node ends or it takes too long.
    pub async fn settle(&mut self) -> Result<NodeId, Error> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let ended = self.nodes.iter_mut().find_map(|node| {
                node.ended().map(|status| (node.id, format!("node {} ended: {status}", node.id.0)))
            });
            if let Some((id, what)) = ended {
                return Err(self.complaint(&what, Some(id)));
            }
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

    /// The leader that all running nodes name, or what is missing.
    async fn agreed_leader(&self) -> Result<NodeId, String> {
        let mut agreed = None;
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            match get(node.http, "/readyz", ASK_TIMEOUT).await {
                Ok((200, _)) => {}
                Ok((status, body)) => {
                    let body = String::from_utf8_lossy(&body);
                    return Err(format!("node {} is not ready: {status} {body}", node.id.0));
                }
                Err(error) => {
                    return Err(format!("node {} does not answer /readyz: {error}", node.id.0));
                }
            }
            let status = NodeStatus::ask(node.http, ASK_TIMEOUT)
                .await
                .map_err(|error| format!("node {}: {error}", node.id.0))?;
            match (status.leader, agreed) {
                (None, _) => return Err(format!("node {} knows no leader", node.id.0)),
                (Some(one), Some(other)) if one != other => {
                    return Err(format!("the nodes disagree whether {one} or {other} leads"));
                }
                (Some(leader), _) => agreed = Some(leader),
            }
        }
        let leader = NodeId(agreed.ok_or("no node runs")?);
        if self.nodes.iter().any(|node| node.id == leader && node.is_running()) {
            Ok(leader)
        } else {
            Err(format!("the nodes still name node {} as leader, which does not run", leader.0))
        }
    }

    /// SIGTERM, and waits until the process has ended.
    ///
    /// # Errors
    /// [`Error::Node`] when it does not end in time or not cleanly.
    pub async fn terminate(&mut self, id: NodeId) -> Result<(), Error> {
        self.node(id).signal(Signal::TERM)?;
        let status = self.wait_until_ended(id).await?;
        // A program without a handler of its own ends by the signal, which is as good.
        if status.success() || status.signal() == Some(Signal::TERM.as_raw()) {
            return Ok(());
        }
        Err(self.complaint(&format!("node {} ended badly: {status}", id.0), Some(id)))
    }

    /// Waits until a process that was told to end has ended.
    async fn wait_until_ended(&mut self, id: NodeId) -> Result<ExitStatus, Error> {
        let deadline = Instant::now() + END_TIMEOUT;
        loop {
            if let Some(status) = self.node_mut(id).reap()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                let what =
                    format!("node {} runs {} s after its signal", id.0, END_TIMEOUT.as_secs());
                return Err(self.complaint(&what, Some(id)));
            }
            tokio::time::sleep(REAP_INTERVAL).await;
        }
    }

    /// Starts a node that does not run again on its data, without waiting for it.
    ///
    /// # Errors
    /// [`Error::Io`] when that is not possible.
    pub fn start_node(&mut self, id: NodeId) -> Result<(), Error> {
        self.node_mut(id).start()
    }

    /// What all running nodes together have counted since they started.
    ///
    /// # Errors
    /// [`Error::Node`] when one does not answer.
    pub async fn counters(&self) -> Result<Counters, Error> {
        let mut counters = Counters::default();
        for endpoint in self.endpoints() {
            let (_, page) = get(endpoint, "/metrics", ASK_TIMEOUT).await.map_err(|error| {
                self.complaint(&format!("http://{endpoint}/metrics: {error}"), self.at(endpoint))
            })?;
            counters.add_page(&String::from_utf8_lossy(&page));
        }
        Ok(counters)
    }

    /// What all running nodes together have used of the machine since they started.
    #[must_use]
    pub fn resource_use(&self) -> ResourceUse {
        ResourceUse::sum(self.nodes.iter().filter_map(Node::resource_use))
    }

    /// Kills every node and removes the data.
    ///
    /// # Errors
    /// [`Error::Io`] when the data can not be removed.
    pub fn remove(mut self) -> Result<(), Error> {
        self.nodes.clear();
        let data = &self.options.data;
        std::fs::remove_dir_all(data).map_err(|source| Error::path("remove", data, source))
    }

    /// An error that shows the last words of one node, or of the first if none is to blame.
    fn complaint(&self, what: &str, id: Option<NodeId>) -> Error {
        let node = self.nodes.iter().find(|node| Some(node.id) == id).or(self.nodes.first());
        let protocol = self.options.protocol;
        Error::Node {
            what: format!("a cluster of {} {protocol} nodes: {what}", self.options.nodes),
            logs: Some(self.options.logs.clone()),
            tail: node.map(Node::last_words).unwrap_or_default(),
        }
    }

    /// The node that answers HTTP there.
    fn at(&self, endpoint: SocketAddr) -> Option<NodeId> {
        self.nodes.iter().find(|node| node.http == endpoint).map(|node| node.id)
    }

    fn node(&self, id: NodeId) -> &Node {
        self.nodes.iter().find(|node| node.id == id).expect("the cluster has this node")
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.id == id).expect("the cluster has this node")
    }
}
