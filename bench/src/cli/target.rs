//! What a load is aimed at: servers that run already, or a cluster made for the occasion.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::Args;
use consensus::Protocol;

use super::{default_data_base, new_directory, protocol_parser, this_program};
use crate::Error;
use crate::cluster::{Cluster, ClusterOptions};

/// The flags that name the servers. Those that need another flag do not read the environment, where
/// a setting meant for another verb would make this one impossible.
#[derive(Clone, Debug, Args)]
pub(super) struct TargetArgs {
    /// Servers to ask, `http://HOST:PORT`, separated by commas
    #[arg(
        long,
        alias = "endpoint",
        env = "DUORUM_ENDPOINT",
        value_delimiter = ',',
        value_name = "URL",
        default_value = "http://127.0.0.1:2379"
    )]
    pub(super) endpoints: Vec<String>,

    /// Measure a fresh cluster of this protocol, removed afterwards, instead of the endpoints
    #[arg(long, value_parser = protocol_parser(&["raft", "zab", "null"]))]
    pub(super) protocol: Option<Protocol>,

    /// Nodes of the fresh cluster (null: always 1)
    #[arg(long, default_value_t = 3, requires = "protocol")]
    pub(super) nodes: usize,

    /// Where the fresh cluster keeps its data; must be on a disk for durability to mean anything
    #[arg(long, value_name = "DIR", requires = "protocol")]
    pub(super) data_dir: Option<PathBuf>,
}

/// A fresh cluster with its directories. The cluster goes first, then what it wrote.
#[derive(Debug)]
pub(super) struct FreshCluster {
    pub(super) cluster: Cluster,
    data: tempfile::TempDir,
}

impl FreshCluster {
    /// Starts a cluster in new directories.
    pub(super) async fn start(
        protocol: Protocol,
        nodes: usize,
        data_dir: Option<&PathBuf>,
        logs: PathBuf,
    ) -> Result<Self, Error> {
        Self::start_with(protocol, nodes, data_dir, logs, Vec::new()).await
    }

    /// Starts a cluster in new directories, with more flags of `serve`.
    pub(super) async fn start_with(
        protocol: Protocol,
        nodes: usize,
        data_dir: Option<&PathBuf>,
        logs: PathBuf,
        flags: Vec<String>,
    ) -> Result<Self, Error> {
        if !(1..=9).contains(&nodes) {
            return Err(Error::Usage(format!("--nodes {nodes}: allowed are 1 to 9")));
        }
        let fallback = PathBuf::from(".");
        let base = data_dir.cloned().unwrap_or_else(|| default_data_base(&fallback));
        let data = new_directory(&base, "duorum-bench-")?;
        let cluster = Cluster::start(ClusterOptions {
            executable: this_program()?,
            protocol,
            nodes: if protocol == Protocol::Null { 1 } else { nodes },
            data: data.path().join("nodes"),
            logs,
            name: protocol.to_string(),
            flags,
        })
        .await?;
        Ok(Self { cluster, data })
    }

    /// Where the data lies.
    pub(super) fn data(&self) -> &std::path::Path {
        self.data.path()
    }
}

/// The address of `http://HOST:PORT`; the scheme may be left out.
pub(super) fn parse_endpoint(text: &str) -> Result<SocketAddr, Error> {
    let wrong =
        |why: &str| Error::Usage(format!("endpoint `{text}`: {why}; expected http://HOST:PORT"));
    if text.starts_with("https:") {
        return Err(wrong("the load generator speaks plain HTTP only"));
    }
    let authority = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let mut addresses = authority.to_socket_addrs().map_err(|error| wrong(&error.to_string()))?;
    // Servers listen on IPv4 unless told otherwise, and a name may stand for both.
    let first = addresses.next().ok_or_else(|| wrong("the name has no address"))?;
    Ok(if first.is_ipv4() { first } else { addresses.find(SocketAddr::is_ipv4).unwrap_or(first) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_parsed_or_refused_with_a_reason() {
        let address: SocketAddr = "127.0.0.1:2379".parse().expect("an address");
        for text in ["http://127.0.0.1:2379", "http://127.0.0.1:2379/", "127.0.0.1:2379"] {
            assert_eq!(parse_endpoint(text).expect("valid"), address);
        }
        assert_eq!(parse_endpoint("http://localhost:2379").expect("valid").port(), 2379);
        for text in ["", "http://", "127.0.0.1", "https://127.0.0.1:2379", "http://127.0.0.1:x"] {
            let error = parse_endpoint(text).expect_err(text).to_string();
            assert!(error.contains("expected http://HOST:PORT"), "{error}");
        }
    }
}
