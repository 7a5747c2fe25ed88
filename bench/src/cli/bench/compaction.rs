//! `duorum bench compaction`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use consensus::Protocol;

use super::fresh::{ClientArgs, ClusterArgs, Measurement};
use super::{errors_or_none, latency_text, line, memories_text, unless_broken};
use crate::Error;
use crate::compaction::{self, CompactionOptions, CompactionReport};
use crate::load::Window;
use crate::report::format::{figure, seconds};

const EXAMPLES: &str = "\
Examples:
  duorum bench compaction --protocol raft                   a million revisions of 100,000 keys
  duorum bench compaction --protocol zab --rate 10000 --window 20s

The servers compact nothing by themselves here. The writes before, during and after have a fixed rate, and
their latencies count from when each was due. It is done when no node has a version left that the call gave
up; the store removes the last rows after that, while it is measured on.
It ends with 1 if an acknowledged write is lost, a refused one happened, or the replicas differ.";

#[derive(Clone, Debug, Args)]
#[command(
    after_help = EXAMPLES,
    mut_arg("keys", |arg| arg.default_value("100000").help("How many keys they are of")),
)]
pub(super) struct CompactionArgs {
    #[command(flatten)]
    cluster: ClusterArgs,

    /// How many revisions are written before
    #[arg(long, default_value_t = 1_000_000)]
    revisions: u64,

    #[command(flatten)]
    clients: ClientArgs,

    /// Writes a second before, during and after
    #[arg(long, value_name = "WRITES", default_value_t = 5_000.0)]
    rate: f64,

    /// How long to measure before, after, and at least during the compaction
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    window: Duration,
}

pub(super) async fn run_compaction(args: CompactionArgs, logs: PathBuf) -> Result<ExitCode, Error> {
    let options = CompactionOptions {
        revisions: args.revisions,
        keys: args.clients.values.keys,
        connections: args.clients.connections,
        per_second: args.rate,
        window: args.window,
        value_bytes: args.clients.values.value_bytes,
        seed: args.cluster.seed,
    };
    options.check()?;
    let flags = ["--retain-revisions", "0"].map(str::to_owned);
    let mut measurement = Measurement::start(args.cluster, logs, &flags).await?;
    let Measurement { fresh, bar, .. } = &mut measurement;
    let report = compaction::measure(&mut fresh.cluster, &options, bar).await?;
    let results = serde_json::json!({ "compaction": report, "p99_ratio": report.p99_ratio() });
    measurement.tell(&options, &results, |protocol| compaction_text(protocol, &options, &report));
    unless_broken(&report.broken())
}

fn compaction_text(
    protocol: Protocol,
    options: &CompactionOptions,
    report: &CompactionReport,
) -> String {
    let mut text = format!(
        "{protocol}: {} revisions of {} keys compacted at once, {} writes/s meanwhile\n\n",
        figure(report.revision as f64),
        figure(options.keys as f64),
        figure(options.per_second),
    );
    line(&mut text, "versions forgotten", figure(report.forgotten as f64));
    line(&mut text, "the call took", format!("{} ms", figure(report.call_ms)));
    line(&mut text, "done after", format!("{} s", figure(report.done_seconds)));
    let mut window = |name: &str, window: &Window| {
        line(
            &mut text,
            name,
            format!(
                "{}/s for {}, {}, errors: {}",
                figure(window.per_second),
                seconds(Duration::from_secs_f64((window.seconds * 10.0).round() / 10.0)),
                latency_text(&window.latency),
                errors_or_none(&window.errors())
            ),
        );
    };
    window("writes before", &report.before);
    window("writes meanwhile", &report.during);
    window("writes after", &report.after);
    line(&mut text, "p99 / p99 before", figure(report.p99_ratio()));
    line(&mut text, "memory, peak of filling", memories_text(&report.memory_before));
    line(&mut text, "memory, peak since", memories_text(&report.memory_after));
    line(
        &mut text,
        "acknowledged writes",
        format!(
            "{} to {} keys, {} keys not as they must be",
            figure(report.verdict.acknowledged as f64),
            figure(report.verdict.keys as f64),
            report.verdict.broken_keys
        ),
    );
    text
}
