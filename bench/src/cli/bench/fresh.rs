//! Measurements of a fresh cluster: the flags that many of them have, and what all of them do before and
//! after they measure.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use consensus::Protocol;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::target::FreshCluster;
use super::super::{print, protocol_parser, warn_of_memory};
use super::{print_json, progress_bar};
use crate::Error;
use crate::machine::Machine;

/// A fresh cluster that a verb starts and removes.
#[derive(Clone, Debug, Args)]
pub(super) struct ClusterArgs {
    /// What the cluster runs
    #[arg(long, value_parser = protocol_parser(&["raft", "zab"]))]
    pub(super) protocol: Protocol,

    /// Nodes of the cluster
    #[arg(long, env = "DUORUM_NODES", default_value_t = 3)]
    pub(super) nodes: usize,

    /// Where the cluster keeps its data; must be on a disk for durability to mean anything
    #[arg(long, env = "DUORUM_DATA_DIR", value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,

    /// Where keys, values and the moments of faults come from
    #[arg(long, env = "DUORUM_SEED", default_value_t = 1)]
    pub(super) seed: u64,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl ClusterArgs {
    /// Refuses a cluster that stops when one node does.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.nodes >= 3 {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "--nodes {}: fewer than 3 nodes do not survive the loss of one",
            self.nodes
        )))
    }
}

/// What is written. A verb for which another number of keys is usual says so with `mut_arg`.
#[derive(Clone, Debug, Args)]
pub(super) struct ValueArgs {
    /// The size of a value in bytes
    #[arg(long, env = "DUORUM_VALUE_BYTES", default_value_t = 256)]
    pub(super) value_bytes: usize,

    /// How many keys there are
    #[arg(long, env = "DUORUM_KEYS", default_value_t = 10_000)]
    pub(super) keys: u64,
}

/// Clients that write while something happens to a cluster.
#[derive(Clone, Debug, Args)]
pub(super) struct WriterArgs {
    /// Clients that write all the time
    #[arg(long, value_name = "CONNECTIONS", default_value_t = 16)]
    pub(super) load: usize,

    /// How many writes a second they begin together, whatever happens meanwhile; without it, as many
    /// as they can
    #[arg(long, value_name = "WRITES")]
    pub(super) rate: Option<f64>,

    #[command(flatten)]
    pub(super) values: ValueArgs,
}

/// Clients whose writes are what is measured.
#[derive(Clone, Debug, Args)]
pub(super) struct ClientArgs {
    /// Clients, each a connection with one write under way
    #[arg(long, env = "DUORUM_CONNECTIONS", default_value_t = 64)]
    pub(super) connections: usize,

    #[command(flatten)]
    pub(super) values: ValueArgs,
}

/// How long it is measured.
#[derive(Clone, Debug, Args)]
pub(super) struct TimeArgs {
    /// How long each measurement is, not counting the warm-up
    #[arg(long, env = "DUORUM_DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    pub(super) duration: Duration,

    /// How long the beginning of each is that does not count
    #[arg(long, env = "DUORUM_WARMUP", default_value = "1s", value_parser = humantime::parse_duration)]
    pub(super) warmup: Duration,
}

/// Watchers of etcd's API.
#[derive(Clone, Debug, Args)]
pub(super) struct WatcherArgs {
    /// How many watchers there are
    #[arg(long, default_value_t = 1_000)]
    pub(super) watchers: usize,

    /// The connections that they are on
    #[arg(long, default_value_t = 100)]
    pub(super) streams: usize,
}

/// A measurement of a fresh cluster, from its start to what is printed of it.
pub(super) struct Measurement {
    pub(super) fresh: FreshCluster,
    /// How far it is.
    pub(super) bar: ProgressBar,
    protocol: Protocol,
    nodes: usize,
    json: bool,
    serve_flags: Vec<String>,
}

impl Measurement {
    /// Starts the cluster, with more flags of `serve`.
    pub(super) async fn start(
        args: ClusterArgs,
        logs: PathBuf,
        serve_flags: &[String],
    ) -> Result<Self, Error> {
        let ClusterArgs { protocol, nodes, data_dir, json, .. } = args;
        let flags = serve_flags.to_vec();
        let fresh =
            FreshCluster::start_with(protocol, nodes, data_dir.as_ref(), logs, flags.clone())
                .await?;
        Ok(Self { fresh, bar: progress_bar(), protocol, nodes, json, serve_flags: flags })
    }

    /// Tells what came out: its circumstances and the members of `results` as JSON, or a text for people.
    pub(super) fn tell(
        self,
        options: &impl Serialize,
        results: &Value,
        text: impl FnOnce(Protocol) -> String,
    ) {
        self.bar.finish_and_clear();
        warn_of_memory(self.fresh.data());
        if !self.json {
            return print(&text(self.protocol));
        }
        let mut told = json!({
            "machine": Machine::inspect(),
            "protocol": self.protocol.name(),
            "nodes": self.nodes,
            "options": options,
        });
        if !self.serve_flags.is_empty() {
            told["serve_flags"] = json!(self.serve_flags);
        }
        for (name, value) in results.as_object().into_iter().flatten() {
            told[name] = value.clone();
        }
        print_json(&told);
    }
}
