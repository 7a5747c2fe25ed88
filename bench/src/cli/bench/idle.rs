//! `duorum bench idle-watchers`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use consensus::Protocol;

use super::fresh::{ClientArgs, ClusterArgs, Measurement, TimeArgs, WatcherArgs};
use super::{latency_text, line, memories_text, unless_broken};
use crate::Error;
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

    #[command(flatten)]
    watchers: WatcherArgs,

    /// How often it is measured with them and without
    #[arg(long, default_value_t = 6)]
    pairs: usize,

    #[command(flatten)]
    clients: ClientArgs,

    #[command(flatten)]
    times: TimeArgs,
}

pub(super) async fn run_idle(args: IdleArgs, logs: PathBuf) -> Result<ExitCode, Error> {
    let options = IdleOptions {
        watchers: args.watchers.watchers,
        streams: args.watchers.streams,
        pairs: args.pairs,
        connections: args.clients.connections,
        warmup: args.times.warmup,
        duration: args.times.duration,
        value_bytes: args.clients.values.value_bytes,
        keys: args.clients.values.keys,
        seed: args.cluster.seed,
    };
    options.check()?;
    let measurement = Measurement::start(args.cluster, logs, &[]).await?;
    let Measurement { fresh, bar, .. } = &measurement;
    let report = watch::measure_idle(&fresh.cluster, &options, bar).await?;
    let results = serde_json::json!({ "idle_watchers": report });
    measurement.tell(&options, &results, |protocol| idle_text(protocol, &options, &report));
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
