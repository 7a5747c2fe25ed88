//! `duorum bench watch`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use consensus::Protocol;

use super::super::target::FreshCluster;
use super::super::{print, warn_of_memory};
use super::{
    ClusterArgs, errors_or_none, latency_text, line, memories_text, print_json, progress_bar,
    unless_broken,
};
use crate::Error;
use crate::machine::Machine;
use crate::report::format::{count_words, figure, seconds};
use crate::watch::{self, WatchOptions, WatchReport};

const EXAMPLES: &str = "\
Examples:
  duorum bench watch --protocol raft
  duorum bench watch --protocol zab --watchers 10000 --rate 10

Each connection is one POST /v3/watch with many create requests; the connections are spread over all nodes.
Every put is told to every watcher (with --keys, to those of its key), so that there are watchers x rate
events a second. An event's latency counts from the moment when its put was due until the client has read
it. The client reads on one thread of the same machine; what it takes of the processor is shown.
It ends with 1 if a watcher missed an event, was told one again, or was told those of another key.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct WatchArgs {
    #[command(flatten)]
    cluster: ClusterArgs,

    /// How many watchers there are
    #[arg(long, default_value_t = 1_000)]
    watchers: usize,

    /// The connections that they are on
    #[arg(long, default_value_t = 100)]
    streams: usize,

    /// Puts a second
    #[arg(long, value_name = "PUTS", default_value_t = 100.0)]
    rate: f64,

    /// How many keys are put, one after the other; each watcher watches one of them
    #[arg(long, env = "DUORUM_KEYS", default_value_t = 1)]
    keys: u64,

    /// Clients that put, which bounds how many puts are under way
    #[arg(long, env = "DUORUM_CONNECTIONS", default_value_t = 16)]
    connections: usize,

    /// How long to measure, not counting the warm-up
    #[arg(long, env = "DUORUM_DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    duration: Duration,

    /// How long the beginning is whose latencies do not count; its events do
    #[arg(long, env = "DUORUM_WARMUP", default_value = "2s", value_parser = humantime::parse_duration)]
    warmup: Duration,

    /// The size of a value in bytes
    #[arg(long, env = "DUORUM_VALUE_BYTES", default_value_t = 256)]
    value_bytes: usize,
}

pub(super) async fn run_watch(args: WatchArgs, logs: PathBuf) -> Result<ExitCode, Error> {
    let ClusterArgs { protocol, nodes, data_dir, seed, json } = args.cluster;
    let options = WatchOptions {
        watchers: args.watchers,
        streams: args.streams,
        per_second: args.rate,
        keys: args.keys,
        warmup: args.warmup,
        duration: args.duration,
        value_bytes: args.value_bytes,
        connections: args.connections,
        seed,
    };
    options.check()?;
    let fresh = FreshCluster::start(protocol, nodes, data_dir.as_ref(), logs).await?;
    let bar = progress_bar();
    let report = watch::measure(&fresh.cluster, &options, &bar).await?;
    bar.finish_and_clear();
    warn_of_memory(fresh.data());
    if json {
        print_json(&serde_json::json!({
            "machine": Machine::inspect(),
            "protocol": protocol.name(),
            "nodes": nodes,
            "options": options,
            "watch": report,
        }));
    } else {
        print(&watch_text(protocol, &options, &report));
    }
    unless_broken(&report.broken())
}

fn watch_text(protocol: Protocol, options: &WatchOptions, report: &WatchReport) -> String {
    let mut text = format!(
        "{protocol}: {} on {}, {} puts/s of {} bytes for {}\n\n",
        count_words(options.watchers, "watcher"),
        count_words(options.streams, "connection"),
        figure(options.per_second),
        options.value_bytes,
        seconds(options.warmup + options.duration),
    );
    let told = &report.told;
    let each = |count: u64| figure(count as f64);
    line(
        &mut text,
        "events",
        format!("{}, {}/s", each(told.events), figure(report.events_per_second)),
    );
    line(&mut text, "due", each(report.events_due));
    line(
        &mut text,
        "not as they must be",
        format!("{} missed, {} repeated, {} foreign", told.missed, told.repeated, told.foreign),
    );
    line(&mut text, "put due to event read", latency_text(&report.latency));
    line(&mut text, "put due to answer", latency_text(&report.write_latency));
    line(&mut text, "errors of puts", errors_or_none(&report.errors));
    line(&mut text, "memory of each, peak", memories_text(&report.nodes));
    line(
        &mut text,
        "cores busy",
        format!(
            "{} with all nodes, {} with the client",
            figure(report.server_cores),
            figure(report.client_cores)
        ),
    );
    text
}
