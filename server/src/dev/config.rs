//! What `duorum dev` is started with, and which node is where.
//!
//! Everything is on the loopback interface and follows from the base port:
//!
//! | what | port, of 7000 |
//! |---|---|
//! | HTTP of Raft's nodes | 7001, 7002, … |
//! | HTTP of ZAB's nodes | 7011, 7012, … |
//! | peers of Raft's nodes | 7101, 7102, … |
//! | peers of ZAB's nodes | 7111, 7112, … |
//!
//! The base port itself stays free: it belongs to the page that shows all of them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use consensus::{NodeId, Protocol};

use crate::config::{ConfigError, ServeConfig};
use crate::node::faults::FaultSettings;

/// The most nodes of one protocol: their ports lie ten apart.
pub const NODES_MAX: u16 = 9;
/// Where the HTTP ports of each protocol begin, above the base port.
const ZAB_OFFSET: u16 = 10;
/// How far the peer port of a node is above its HTTP port.
const PEER_OFFSET: u16 = 100;
/// The lowest base port: those below are the system's.
const BASE_PORT_MIN: u16 = 1024;
/// The highest base port: the last peer port is still one.
const BASE_PORT_MAX: u16 = u16::MAX - PEER_OFFSET - ZAB_OFFSET - NODES_MAX;
/// The most client connections of one node; all nodes share the descriptors of one process.
const CONNECTIONS_MAX: usize = 1_000;
/// How long requests that are under way may go on when a node stops. Somebody waits at a terminal.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// One of the nodes: its protocol and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeName {
    /// The protocol that it runs.
    pub protocol: Protocol,
    /// Its number within the cluster of that protocol.
    pub id: NodeId,
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol, self.id.0)
    }
}

/// What `duorum dev` is started with, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevConfig {
    protocols: Vec<Protocol>,
    nodes: u16,
    base_port: u16,
    data_directory: Option<PathBuf>,
}

impl DevConfig {
    /// Checks what was asked for: `raft`, `zab` or `both`; nodes of each; the base port; a directory
    /// to keep, or a temporary one.
    ///
    /// # Errors
    /// What is impossible and what is allowed.
    pub fn new(
        protocol: &str,
        nodes: u64,
        base_port: u64,
        data_directory: Option<PathBuf>,
    ) -> Result<Self, ConfigError> {
        let protocols = match protocol {
            "raft" => vec![Protocol::Raft],
            "zab" => vec![Protocol::Zab],
            "both" => vec![Protocol::Raft, Protocol::Zab],
            other => {
                return Err(ConfigError(format!(
                    "--protocol is `{other}`; allowed: raft, zab or both"
                )));
            }
        };
        let nodes = within("--nodes", nodes, 1, NODES_MAX)?;
        let base_port = within("--base-port", base_port, BASE_PORT_MIN, BASE_PORT_MAX)?;
        Ok(Self { protocols, nodes, base_port, data_directory })
    }

    /// The protocols, each with a cluster of its own.
    #[must_use]
    pub fn protocols(&self) -> &[Protocol] {
        &self.protocols
    }

    /// The nodes of each protocol.
    #[must_use]
    pub fn nodes(&self) -> u16 {
        self.nodes
    }

    /// The directory to keep everything in; `None` for a temporary one.
    #[must_use]
    pub fn data_directory(&self) -> Option<&Path> {
        self.data_directory.as_deref()
    }

    /// All nodes of all protocols.
    pub fn names(&self) -> impl Iterator<Item = NodeName> {
        self.protocols.iter().flat_map(|&protocol| self.members(protocol))
    }

    /// The nodes of one protocol.
    pub fn members(&self, protocol: Protocol) -> impl Iterator<Item = NodeName> + use<> {
        (1..=u64::from(self.nodes)).map(move |id| NodeName { protocol, id: NodeId(id) })
    }

    /// Where a node answers HTTP.
    #[must_use]
    pub fn http_address(&self, name: NodeName) -> SocketAddr {
        let id = u16::try_from(name.id.0).ok().filter(|id| (1..=NODES_MAX).contains(id));
        let id = id.expect("nodes are numbered from 1 to 9");
        let offset = match name.protocol {
            Protocol::Raft => 0,
            Protocol::Zab => ZAB_OFFSET,
            Protocol::Null => unreachable!("dev runs raft and zab"),
        };
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.base_port + offset + id))
    }

    /// Where a node listens for the others of its cluster.
    #[must_use]
    pub fn peer_address(&self, name: NodeName) -> SocketAddr {
        let mut address = self.http_address(name);
        address.set_port(address.port() + PEER_OFFSET);
        address
    }

    /// What a node is started with, all of whose data is in this directory.
    #[must_use]
    pub fn serve_config(&self, name: NodeName, data_directory: PathBuf) -> ServeConfig {
        let members: BTreeMap<_, _> = self
            .members(name.protocol)
            .map(|member| (member.id, self.peer_address(member).to_string()))
            .collect();
        let mut config = ServeConfig::alone(name.protocol, data_directory);
        config.node.id = name.id;
        config.node.members = members;
        config.node.peer_address = self.peer_address(name);
        config.http_address = self.http_address(name);
        config.node.faults = FaultSettings { enabled: true, supervised: true };
        config.limits.connections_max = CONNECTIONS_MAX;
        config.limits.stop_timeout = STOP_TIMEOUT;
        config
    }

    /// The client connections that all nodes together may have.
    #[must_use]
    pub fn connections_max(&self) -> usize {
        self.names().count() * CONNECTIONS_MAX
    }
}

fn within(flag: &str, value: u64, least: u16, most: u16) -> Result<u16, ConfigError> {
    let allowed = u16::try_from(value).ok().filter(|value| (least..=most).contains(value));
    allowed.ok_or_else(|| ConfigError(format!("{flag} is {value}; allowed: {least} to {most}")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_ports_are_those_that_the_documents_name() {
        let config = DevConfig::new("both", 3, 7000, None).expect("possible");
        let ports: Vec<_> = config
            .names()
            .map(|name| (config.http_address(name).port(), config.peer_address(name).port()))
            .collect();
        let wanted =
            [(7001, 7101), (7002, 7102), (7003, 7103), (7011, 7111), (7012, 7112), (7013, 7113)];
        assert_eq!(ports, wanted);
    }

    #[test]
    fn no_two_addresses_are_the_same_however_many_nodes() {
        for base_port in [BASE_PORT_MIN, 7000, BASE_PORT_MAX] {
            for nodes in 1..=NODES_MAX {
                let config = DevConfig::new("both", nodes.into(), base_port.into(), None);
                let config = config.expect("possible");
                let addresses: BTreeSet<_> = config
                    .names()
                    .flat_map(|name| [config.http_address(name), config.peer_address(name)])
                    .collect();
                assert_eq!(addresses.len(), 4 * usize::from(nodes));
                assert!(addresses.iter().all(|address| address.port() > base_port));
            }
        }
    }

    #[test]
    fn impossible_values_say_what_is_allowed() {
        for (protocol, nodes, base_port, words) in [
            ("paxos", 3, 7000, "--protocol is `paxos`; allowed: raft, zab or both"),
            ("null", 3, 7000, "allowed: raft, zab or both"),
            ("raft", 0, 7000, "--nodes is 0; allowed: 1 to 9"),
            ("raft", 10, 7000, "--nodes is 10; allowed: 1 to 9"),
            ("raft", 3, 80, "--base-port is 80; allowed: 1024 to 65416"),
            ("raft", 3, 65_417, "allowed: 1024 to 65416"),
            ("raft", 3, 1 << 40, "allowed: 1024 to 65416"),
        ] {
            let error = DevConfig::new(protocol, nodes, base_port, None).expect_err(words);
            assert!(error.0.contains(words), "{error}");
        }
    }

    #[test]
    fn every_node_knows_the_whole_cluster_of_its_protocol_only() {
        let config = DevConfig::new("both", 3, 7000, None).expect("possible");
        let name = NodeName { protocol: Protocol::Zab, id: NodeId(2) };
        let serve = config.serve_config(name, PathBuf::from("x"));
        assert_eq!(serve.http_address.to_string(), "127.0.0.1:7012");
        assert_eq!(serve.node.peer_address.to_string(), "127.0.0.1:7112");
        let members: Vec<_> = serve.node.members.values().map(String::as_str).collect();
        assert_eq!(members, ["127.0.0.1:7111", "127.0.0.1:7112", "127.0.0.1:7113"]);
        assert!(serve.node.faults.enabled && serve.node.faults.supervised);
    }
}
