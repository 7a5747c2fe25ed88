//! `duorum bench soak`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::super::target::FreshCluster;
use super::super::{print, warn_of_memory};
use super::fresh::ClusterArgs;
use super::{errors_or_none, line, progress_bar, unless_broken};
use crate::Error;
use crate::cluster::Disk;
use crate::machine::Machine;
use crate::report::format::{bytes, count_words, figure};
use crate::soak::{self, Look, Soak, SoakOptions};

const EXAMPLES: &str = "\
Examples:
  duorum bench soak --protocol raft                       20 million writes to 100,000 keys
  duorum bench soak --protocol zab --count 1000000 --interval 2s --json > soak.ndjson

History is compacted and the log forgets by itself, as the servers do by default. The store holds every
revision that can still be read, so that its size depends on --retain-revisions.
With --json each look is a line of its own, and so is the report at the end.
It ends with 1 if an acknowledged write is lost, a refused one happened, or the replicas differ.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SoakArgs {
    #[command(flatten)]
    cluster: ClusterArgs,

    /// How many writes are to be acknowledged
    #[arg(long, env = "DUORUM_COUNT", default_value_t = 20_000_000)]
    count: u64,

    /// How many keys there are
    #[arg(long, env = "DUORUM_KEYS", default_value_t = 100_000)]
    keys: u64,

    /// Clients, each a connection with one write under way
    #[arg(long, env = "DUORUM_CONNECTIONS", default_value_t = 256)]
    connections: usize,

    /// The size of a value in bytes
    #[arg(long, env = "DUORUM_VALUE_BYTES", default_value_t = 256)]
    value_bytes: usize,

    /// Revisions that the servers keep readable besides the live data [default: the servers']
    #[arg(long, value_name = "NUMBER")]
    retain_revisions: Option<u64>,

    /// How often the nodes are looked at
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    interval: Duration,

    /// How long the beginning is that does not count
    #[arg(long, env = "DUORUM_WARMUP", default_value = "10s", value_parser = humantime::parse_duration)]
    warmup: Duration,
}

pub(super) async fn run_soak(args: SoakArgs, logs: PathBuf) -> Result<ExitCode, Error> {
    let ClusterArgs { protocol, nodes, data_dir, seed, json } = args.cluster;
    let options = SoakOptions {
        count: args.count,
        keys: args.keys,
        connections: args.connections,
        value_bytes: args.value_bytes,
        interval: args.interval,
        warmup: args.warmup,
        seed,
    };
    options.check()?;
    let retain = args.retain_revisions.map(|number| number.to_string());
    let flags = retain.into_iter().flat_map(|number| ["--retain-revisions".to_owned(), number]);
    let flags: Vec<String> = flags.collect();
    let data_dir = data_dir.as_ref();
    let mut fresh =
        FreshCluster::start_with(protocol, nodes, data_dir, logs, flags.clone()).await?;
    let bar = progress_bar();
    if !json {
        print(&format!(
            "{protocol}: {} writes to {} keys by {}\n\n{HEADING}",
            figure(options.count as f64),
            figure(options.keys as f64),
            count_words(options.connections, "client")
        ));
    }
    let soak = soak::measure(&mut fresh.cluster, &options, &bar, |look| {
        bar.suspend(|| print(&if json { json_line("look", look) } else { look_text(look) }));
    });
    let soak = soak.await?;
    bar.finish_and_clear();
    warn_of_memory(fresh.data());
    if json {
        print(&json_line(
            "report",
            &serde_json::json!({
                "machine": Machine::inspect(),
                "protocol": protocol.name(),
                "nodes": nodes,
                "serve_flags": flags,
                "options": options,
                "soak": soak,
                "throughput_ratio": soak.throughput_ratio(),
                "disk_ratio": soak.disk_ratio(),
            }),
        ));
    } else {
        print(&soak_text(&soak));
    }
    unless_broken(&soak.broken())
}

fn json_line(name: &str, value: &impl serde::Serialize) -> String {
    let mut text = serde_json::json!({ name: value }).to_string();
    text.push('\n');
    text
}

// Each column is as wide as in `look_text`.
const HEADING: &str = concat!(
    "      time        writes   writes/s   p99 ms   ",
    "each node: memory, log + store on disk\n"
);

fn look_text(look: &Look) -> String {
    let nodes: Vec<String> = look
        .nodes
        .iter()
        .map(|node| {
            let Disk { log_bytes, store_bytes, .. } = node.disk;
            let [memory, log, store] =
                [node.memory.resident_bytes, log_bytes, store_bytes].map(bytes);
            format!("{memory}, {log} + {store}")
        })
        .collect();
    format!(
        "{:>8.1} s  {:>12}  {:>9}  {:>7}   {}\n",
        look.seconds,
        figure(look.acknowledged as f64),
        figure(look.window.per_second),
        figure(look.window.latency.p99_ms),
        nodes.join("  |  ")
    )
}

fn soak_text(soak: &Soak) -> String {
    let mut text = "\n".to_owned();
    let or_not = |value: Option<f64>| value.map_or_else(|| "too short to tell".to_owned(), figure);
    let memory = |value: Option<u64>| value.map_or_else(|| "too short to tell".to_owned(), bytes);
    line(
        &mut text,
        "writes",
        format!(
            "{} in {} s, {}/s",
            figure(soak.acknowledged as f64),
            figure(soak.seconds),
            figure(soak.per_second)
        ),
    );
    line(&mut text, "first tenth, writes/s", or_not(soak.first_tenth_per_second));
    line(&mut text, "last tenth, writes/s", or_not(soak.last_tenth_per_second));
    line(&mut text, "last / first", or_not(soak.throughput_ratio()));
    line(&mut text, "memory, peak of a node", bytes(soak.memory_peak_bytes));
    line(&mut text, "  in the first tenth", memory(soak.memory_first_tenth_bytes));
    line(&mut text, "  in the last tenth", memory(soak.memory_last_tenth_bytes));
    let disk = |disk: Disk| {
        let [log, store] = [disk.log_bytes, disk.store_bytes].map(bytes);
        format!("{}: log {log}, store {store}", bytes(disk.total_bytes()))
    };
    line(&mut text, "disk of a node, at most", disk(soak.disk_max));
    line(&mut text, "  at the end", disk(soak.disk_end));
    line(&mut text, "live data", bytes(soak.live_bytes));
    line(&mut text, "log to be retained", bytes(soak.retained_log_bytes));
    line(&mut text, "disk / (3 live + retained)", figure(soak.disk_ratio()));
    line(&mut text, "errors", errors_or_none(&soak.errors()));
    line(
        &mut text,
        "acknowledged writes",
        format!(
            "{} to {} keys, {} keys not as they must be",
            figure(soak.verdict.acknowledged as f64),
            figure(soak.verdict.keys as f64),
            soak.verdict.broken_keys
        ),
    );
    text
}
