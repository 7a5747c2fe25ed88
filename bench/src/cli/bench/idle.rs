//! `duorum bench idle-watchers`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use consensus::Protocol;

use super::super::target::FreshCluster;
use super::super::{print, warn_of_memory};
use super::{
    ClusterArgs, latency_text, line, memories_text, print_json, progress_bar, unless_broken,
};
use crate::Error;
use crate::machine::Machine;
use crate::report::format::{count_words, figure, seconds};
use crate::watch::{self, IdleOptions, IdleReport};

const EXAMPLES: &str = "\
Examples:
  duorum bench idle-watchers --protocol raft
  duorum bench idle-watchers --protocol zab --watchers 1000 --streams 1000 --pairs 10

Each watcher watches a key of its own that nobody writes. As many writes as the clients can, with the
watchers and without, in pairs of which every other one begins with the watchers. The ratio is the mean of
the pairs', with its 95 % interval. It ends with 1 if a watcher is told anything.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct IdleArgs {
    #[command(flatten)]
    cluster: ClusterArgs,

    /// How many watchers there are
    #[arg(long, default_value_t = 1_000)]
    watchers: usize,

    /// The connections that they are on
    #[arg(long, default_value_t = 100)]
    streams: usize,

    /// How often it is measured with them and without
    #[arg(long, default_value_t = 6)]
    pairs: usize,

    /// Clients, each a connection with one write under way
    #[arg(long, env = "DUORUM_CONNECTIONS", default_value_t = 64)]
    connections: usize,

    /// How long each measurement is, not counting the warm-up
    #[arg(long, env = "DUORUM_DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    duration: Duration,

    /// How long the beginning of each is that does not count
    #[arg(long, env = "DUORUM_WARMUP", default_value = "1s", value_parser = humantime::parse_duration)]
    warmup: Duration,

    /// The size of a value in bytes
    #[arg(long, env = "DUORUM_VALUE_BYTES", default_value_t = 256)]
    value_bytes: usize,

    /// How many keys there are
    #[arg(long, env = "DUORUM_KEYS", default_value_t = 10_000)]
    keys: u64,
}

pub(super) async fn run_idle(args: IdleArgs, logs: PathBuf) -> Result<ExitCode, Error> {
    let ClusterArgs { protocol, nodes, data_dir, seed, json } = args.cluster;
    let options = IdleOptions {
        watchers: args.watchers,
        streams: args.streams,
        pairs: args.pairs,
        connections: args.connections,
        warmup: args.warmup,
        duration: args.duration,
        value_bytes: args.value_bytes,
        keys: args.keys,
        seed,
    };
    options.check()?;
    let fresh = FreshCluster::start(protocol, nodes, data_dir.as_ref(), logs).await?;
    let bar = progress_bar();
    let report = watch::measure_idle(&fresh.cluster, &options, &bar).await?;
    bar.finish_and_clear();
    warn_of_memory(fresh.data());
    if json {
        print_json(&serde_json::json!({
            "machine": Machine::inspect(),
            "protocol": protocol.name(),
            "nodes": nodes,
            "options": options,
            "idle_watchers": report,
        }));
    } else {
        print(&idle_text(protocol, &options, &report));
    }
    unless_broken(&report.broken())
}

fn idle_text(protocol: Protocol, options: &IdleOptions, report: &IdleReport) -> String {
    let mut text = format!(
        "{protocol}: writes by {}, with {} on {} and without, {} each\n\n",
        count_words(options.connections, "client"),
        count_words(options.watchers, "idle watcher"),
        count_words(options.streams, "connection"),
        seconds(options.duration),
    );
    for (number, pair) in report.pairs.iter().enumerate() {
        line(
            &mut text,
            &format!("pair {}, writes/s", number + 1),
            format!(
                "{} with, {} without",
                figure(pair.with.per_second),
                figure(pair.without.per_second)
            ),
        );
    }
    if let Some(ratio) = report.ratio {
        let [mean, low, high] = [ratio.ratio, ratio.low, ratio.high].map(figure);
        line(&mut text, "with / without", format!("{mean} [{low}, {high}]"));
    }
    if let Some(pair) = report.pairs.last() {
        line(&mut text, "latency with", latency_text(&pair.with.latency));
        line(&mut text, "latency without", latency_text(&pair.without.latency));
    }
    line(&mut text, "memory of each, peak", memories_text(&report.nodes));
    text
}
