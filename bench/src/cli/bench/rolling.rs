//! `duorum bench rolling`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use consensus::Protocol;

use super::fresh::{ClusterArgs, Measurement, WriterArgs};
use super::{errors_or_none, latency_text, line, unless_broken};
use crate::Error;
use crate::report::format::{count_words, figure};
use crate::rolling::{self, Restart, Rolling, RollingOptions};
use crate::stats::quantile;

const EXAMPLES: &str = "\
Examples:
  duorum bench rolling --protocol raft --times 10
  duorum bench rolling --protocol zab --times 10 --load 64 --rate 2000

Each node gets SIGTERM, ends, is started again and is ready before the next one's turn. At the end every
key is read: it must have as many versions as writes of it were acknowledged, and the last value. A key
of which a write has an unknown outcome is written no more, and may be with or without it.
A client that can not connect asks the next node: nothing was sent, so that is no error.
It ends with 1 if an acknowledged write is lost, a refused one happened, or the replicas differ.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RollingArgs {
    #[command(flatten)]
    cluster: ClusterArgs,

    /// How often every node is restarted
    #[arg(long, value_name = "ROUNDS", default_value_t = 10)]
    times: usize,

    /// How long to wait after each restart
    #[arg(long, default_value = "200ms", value_parser = humantime::parse_duration)]
    pause: Duration,

    #[command(flatten)]
    writers: WriterArgs,
}

pub(super) async fn run_rolling(args: RollingArgs, logs: PathBuf) -> Result<ExitCode, Error> {
    args.cluster.check()?;
    let options = RollingOptions {
        times: args.times,
        pause: args.pause,
        connections: args.writers.load,
        per_second: args.writers.rate,
        value_bytes: args.writers.values.value_bytes,
        keys: args.writers.values.keys,
        seed: args.cluster.seed,
    };
    options.check()?;
    let mut measurement = Measurement::start(args.cluster, logs, &[]).await?;
    let Measurement { fresh, bar, .. } = &mut measurement;
    let rolling = rolling::measure(&mut fresh.cluster, &options, bar).await?;
    let results = serde_json::json!({ "rolling": rolling });
    measurement.tell(&options, &results, |protocol| rolling_text(protocol, &options, &rolling));
    unless_broken(&rolling.broken())
}

fn rolling_text(protocol: Protocol, options: &RollingOptions, rolling: &Rolling) -> String {
    let mut text = format!(
        "{protocol}: all nodes restarted one after another, {}, while {} write\n\n",
        count_words(options.times, "time"),
        count_words(options.connections, "client")
    );
    let times = |what: &dyn Fn(&Restart) -> f64| {
        let times: Vec<f64> = rolling.restarts.iter().map(what).collect();
        let [p50, p99, max] = [0.5, 0.99, 1.0]
            .map(|share| quantile(&times, share).map_or_else(|| "–".to_owned(), figure));
        format!("p50 {p50} ms, p99 {p99} ms, max {max} ms")
    };
    let led = rolling.restarts.iter().filter(|restart| restart.led).count();
    line(&mut text, "restarts", format!("{}, {led} of them of the leader", rolling.restarts.len()));
    line(&mut text, "SIGTERM to end", times(&|restart| restart.stop_ms));
    line(&mut text, "start to ready", times(&|restart| restart.ready_ms));
    let gap = |windows: &mut dyn Iterator<Item = &crate::load::Window>| {
        windows.map(|window| window.gap_max_ms).fold(0.0, f64::max)
    };
    let of_leaders = rolling.restarts.iter().filter(|restart| restart.led);
    let of_followers = rolling.restarts.iter().filter(|restart| !restart.led);
    line(
        &mut text,
        "longest without a write",
        format!(
            "{} ms when the leader was restarted, {} ms when a follower was",
            figure(gap(&mut of_leaders.map(|restart| &restart.window))),
            figure(gap(&mut of_followers.map(|restart| &restart.window)))
        ),
    );
    let (mut definite, mut unknown) = (BTreeMap::new(), BTreeMap::new());
    for window in rolling.windows() {
        for (sum, errors) in
            [(&mut definite, &window.definite_errors), (&mut unknown, &window.unknown_outcomes)]
        {
            for (name, count) in errors {
                *sum.entry(name.clone()).or_default() += count;
            }
        }
    }
    let before = &rolling.before;
    let speed = |per_second: f64| format!("{}/s", figure(per_second));
    line(
        &mut text,
        "writes before",
        format!("{}, {}", speed(before.per_second), latency_text(&before.latency)),
    );
    let seconds: f64 = rolling.restarts.iter().map(|restart| restart.window.seconds).sum();
    let writes: u64 = rolling.restarts.iter().map(|restart| restart.window.acknowledged).sum();
    line(&mut text, "writes meanwhile", speed(writes as f64 / seconds.max(1e-3)));
    line(&mut text, "failed definitely", errors_or_none(&definite));
    line(&mut text, "outcome unknown", errors_or_none(&unknown));
    line(
        &mut text,
        "acknowledged writes",
        format!(
            "{} to {} keys, {} keys not as they must be",
            figure(rolling.verdict.acknowledged as f64),
            figure(rolling.verdict.keys as f64),
            rolling.verdict.broken_keys
        ),
    );
    text
}
