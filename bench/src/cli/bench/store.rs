//! `duorum bench store`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use consensus::Protocol;

use super::fresh::{ClientArgs, ClusterArgs, Measurement};
use super::{line, memories_text, unless_broken};
use crate::Error;
use crate::cluster::NodeMemory;
use crate::report::format::{bytes, figure};
use crate::store::{self, Ending, RangeApi, StoreOptions, StoreReport};

const EXAMPLES: &str = "\
Examples:
  duorum bench store --protocol raft                        a million keys of 256 bytes
  duorum bench store --protocol zab --keys 100000 --json

Every key is written once. Every node reads out all of them, by pages of /v1 and by one answer of /v3;
each is told to end and started again; each is killed right after a burst of writes and started again;
last, all go at once. A node serves again when it is ready and has answered a linearizable read.
It ends with 1 if a range does not have all keys, or the replicas differ.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES, mut_arg("keys", |arg| arg.default_value("1000000")))]
pub(super) struct StoreArgs {
    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    clients: ClientArgs,

    /// Writes at full speed right before a node is killed
    #[arg(long, value_name = "WRITES", default_value_t = 50_000)]
    burst: u64,
}

pub(super) async fn run_store(args: StoreArgs, logs: PathBuf) -> Result<ExitCode, Error> {
    args.cluster.check()?;
    let options = StoreOptions {
        keys: args.clients.values.keys,
        value_bytes: args.clients.values.value_bytes,
        connections: args.clients.connections,
        burst: args.burst,
        seed: args.cluster.seed,
    };
    options.check()?;
    let mut measurement = Measurement::start(args.cluster, logs, &[]).await?;
    let Measurement { fresh, bar, .. } = &mut measurement;
    let report = store::measure(&mut fresh.cluster, &options, bar).await?;
    let results = serde_json::json!({ "store": report });
    measurement.tell(&options, &results, |protocol| store_text(protocol, &options, &report));
    unless_broken(&report.broken(options.keys))
}

fn store_text(protocol: Protocol, options: &StoreOptions, report: &StoreReport) -> String {
    let keys = figure(options.keys as f64);
    let mut text = format!("{protocol}: {keys} keys of {} bytes\n\n", options.value_bytes);
    let now = |nodes: &[NodeMemory]| {
        let each = nodes.iter().map(|node| bytes(node.memory.resident_bytes));
        each.collect::<Vec<_>>().join(", ")
    };
    line(&mut text, "written in", format!("{} s", figure(report.fill_seconds)));
    line(&mut text, "memory of each, peak", memories_text(&report.filled));
    line(&mut text, "  after a rest", now(&report.filled));
    line(&mut text, "disk of a node, at most", bytes(report.disk_bytes));
    for range in &report.ranges {
        let what = match range.api {
            RangeApi::Pages => "pages of /v1",
            RangeApi::Whole => "range of /v3",
        };
        line(
            &mut text,
            &format!("{what}, node {}", range.node),
            format!(
                "{} keys, {} in {} s; memory rose by {}",
                figure(range.keys as f64),
                bytes(range.bytes),
                figure(range.seconds),
                bytes(range.rise_bytes())
            ),
        );
    }
    for restart in &report.restarts {
        let how = match restart.ending {
            Ending::Clean => "SIGTERM",
            Ending::Killed => "SIGKILL",
        };
        let who = match restart.nodes[..] {
            [one] => format!("node {one}"),
            _ => "all at once".to_owned(),
        };
        line(
            &mut text,
            &format!("{how}, {who}"),
            format!("serves after {} ms; {}", figure(restart.serving_ms), now(&restart.memory)),
        );
    }
    line(&mut text, "memory of each, end", now(&report.end));
    line(&mut text, "  peak since its start", memories_text(&report.end));
    text
}
