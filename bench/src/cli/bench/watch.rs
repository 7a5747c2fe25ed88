//! `duorum bench watch`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use consensus::Protocol;

use super::fresh::{ClientArgs, ClusterArgs, Measurement, TimeArgs, WatcherArgs};
use super::{errors_or_none, latency_text, line, memories_text, unless_broken};
use crate::Error;
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
#[command(
    after_help = EXAMPLES,
    mut_arg("connections", |arg| arg
        .default_value("16")
        .help("Clients that put, which bounds how many puts are under way")),
    mut_arg("keys", |arg| arg
        .default_value("1")
        .help("How many keys are put, one after the other; each watcher watches one of them")),
    mut_arg("duration", |arg| arg
        .default_value("30s")
        .help("How long to measure, not counting the warm-up")),
    mut_arg("warmup", |arg| arg
        .default_value("2s")
        .help("How long the beginning is whose latencies do not count; its events do")),
)]
pub(super) struct WatchArgs {
    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    watchers: WatcherArgs,

    /// Puts a second
    #[arg(long, value_name = "PUTS", default_value_t = 100.0)]
    rate: f64,

    #[command(flatten)]
    clients: ClientArgs,

    #[command(flatten)]
    times: TimeArgs,
}

pub(super) async fn run_watch(args: WatchArgs, logs: PathBuf) -> Result<ExitCode, Error> {
    let options = WatchOptions {
        watchers: args.watchers.watchers,
        streams: args.watchers.streams,
        per_second: args.rate,
        keys: args.clients.values.keys,
        warmup: args.times.warmup,
        duration: args.times.duration,
        value_bytes: args.clients.values.value_bytes,
        connections: args.clients.connections,
        seed: args.cluster.seed,
    };
    options.check()?;
    let measurement = Measurement::start(args.cluster, logs, &[]).await?;
    let Measurement { fresh, bar, .. } = &measurement;
    let report = watch::measure(&fresh.cluster, &options, &fresh.cluster.endpoints(), bar).await?;
    let results = serde_json::json!({ "watch": report });
    measurement.tell(&options, &results, |protocol| watch_text(protocol, &options, &report));
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
