//! `duorum bench`: one measurement at a time.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use consensus::{Protocol, Random};
use serde::Serialize;

use super::target::{FreshCluster, TargetArgs, parse_endpoint};
use super::{
    keep_logs, new_directory, on_own_thread, print, protocol_parser, this_program, time_bar,
};
use crate::Error;
use crate::cluster::{Fault, stop_with_parent};
use crate::echo::{self, EchoProcess};
use crate::failover::{self, Failover, FailoverOptions};
use crate::load::{self, LoadOptions, LoadReport, Until, Workload};
use crate::machine::{BackgroundDiskProbe, DiskProbe, Machine};
use crate::report::format::{count_words, figure, seconds};
use crate::stats::{extent, median};

/// The arguments of `duorum bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    verb: BenchVerb,
}

#[derive(Clone, Debug, Subcommand)]
enum BenchVerb {
    /// Write keys drawn at random
    Put(LoadArgs),
    /// Read keys drawn at random, linearizably
    Get(LoadArgs),
    /// Write a key, then read it: one operation
    Pairs(LoadArgs),
    /// Reads and writes mixed
    Mixed(MixedArgs),
    /// The floor: a bare HTTP echo of the same bodies, in a process of its own
    Echo(EchoArgs),
    /// Kill or stop the leader of a fresh cluster again and again under paced writes
    Failover(FailoverArgs),
    /// Be the echo that `bench echo` measures
    #[command(hide = true)]
    EchoServer {
        /// The address to listen on
        #[arg(long)]
        http: SocketAddr,

        /// End when the process of this number ends, which started this one
        #[arg(long, value_name = "PID")]
        stop_with_parent: Option<u32>,
    },
}

/// How much load, for how long.
#[derive(Clone, Debug, Args)]
struct VolumeArgs {
    /// Clients, each a connection with one request under way, spread evenly over the servers
    #[arg(long, env = "DUORUM_CONNECTIONS", default_value_t = 64)]
    connections: usize,

    /// How long to measure, not counting the warm-up
    #[arg(long, env = "DUORUM_DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    duration: Duration,

    /// How long the beginning is that does not count
    #[arg(long, env = "DUORUM_WARMUP", default_value = "1s", value_parser = humantime::parse_duration)]
    warmup: Duration,

    /// The size of a value in bytes
    #[arg(long, env = "DUORUM_VALUE_BYTES", default_value_t = 256)]
    value_bytes: usize,

    /// Where keys and values come from
    #[arg(long, env = "DUORUM_SEED", default_value_t = 1)]
    seed: u64,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, Args)]
struct LoadArgs {
    #[command(flatten)]
    target: TargetArgs,

    #[command(flatten)]
    volume: VolumeArgs,

    /// End after this many operations instead of after a time
    #[arg(long, env = "DUORUM_COUNT")]
    count: Option<u64>,

    /// How many keys there are
    #[arg(long, env = "DUORUM_KEYS", default_value_t = 10_000)]
    keys: u64,

    /// Write every key once before measuring (a fresh cluster is filled before reads anyway)
    #[arg(long)]
    fill: bool,

    /// Ask the leader of the fresh cluster only
    #[arg(long, requires = "protocol")]
    at_leader: bool,

    /// Meanwhile measure fdatasync in this directory, every 20 ms, on the disk under the same load
    #[arg(long, env = "DUORUM_FDATASYNC_IN", value_name = "DIR")]
    fdatasync_in: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
struct MixedArgs {
    #[command(flatten)]
    load: LoadArgs,

    /// How many of 100 operations are reads
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u8).range(0..=100))]
    read_percent: u8,
}

#[derive(Clone, Debug, Args)]
struct EchoArgs {
    #[command(flatten)]
    volume: VolumeArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FaultName {
    /// SIGKILL
    Kill,
    /// SIGSTOP
    Stop,
}

#[derive(Clone, Debug, Args)]
struct FailoverArgs {
    /// What the cluster runs
    #[arg(long, value_parser = protocol_parser(&["raft", "zab"]))]
    protocol: Protocol,

    /// Nodes of the cluster
    #[arg(long, env = "DUORUM_NODES", default_value_t = 3)]
    nodes: usize,

    /// What happens to the leader
    #[arg(long, value_enum, default_value_t = FaultName::Kill)]
    fault: FaultName,

    /// How often
    #[arg(long, default_value_t = 20)]
    count: usize,

    /// Where the cluster keeps its data
    #[arg(long, env = "DUORUM_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Where the moments of the faults come from
    #[arg(long, env = "DUORUM_SEED", default_value_t = 1)]
    seed: u64,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `duorum bench`.
///
/// # Errors
/// Whatever kept the measurement from being made.
pub fn run_bench(args: BenchArgs) -> Result<ExitCode, Error> {
    match args.verb {
        BenchVerb::Put(args) => run_load(args, Workload::Put),
        BenchVerb::Get(args) => run_load(args, Workload::Get),
        BenchVerb::Pairs(args) => run_load(args, Workload::Pairs),
        BenchVerb::Mixed(MixedArgs { load, read_percent }) => {
            run_load(load, Workload::Mixed { read_percent })
        }
        BenchVerb::Echo(args) => on_own_thread(run_echo(args)),
        BenchVerb::Failover(args) => {
            let logs = new_directory(&std::env::temp_dir(), "duorum-logs-")?;
            keep_logs(on_own_thread(run_failover(args, logs.path().to_owned())), logs)
        }
        BenchVerb::EchoServer { http, stop_with_parent: parent } => {
            if let Some(parent) = parent {
                stop_with_parent(parent).map_err(|source| Error::Io {
                    what: "--stop-with-parent".to_owned(),
                    source,
                })?;
            }
            match serve_echo(http)? {}
        }
    }
}

/// The echo runs as the server does, on as many threads as there are cores.
fn serve_echo(http: SocketAddr) -> Result<std::convert::Infallible, Error> {
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(|source| Error::Io { what: "start a runtime".to_owned(), source })?
                .block_on(echo::serve(http))
        });
        serving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// One measurement with its circumstances, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Measurement<'a, T> {
    machine: Machine,
    options: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    fdatasync: Option<DiskProbe>,
    report: &'a LoadReport,
}

impl VolumeArgs {
    fn options(&self, endpoints: Vec<SocketAddr>, workload: Workload, keys: u64) -> LoadOptions {
        LoadOptions {
            endpoints,
            connections: self.connections,
            workload,
            warmup: self.warmup,
            until: Until::Elapsed(self.duration),
            value_bytes: self.value_bytes,
            keys,
            seed: self.seed,
        }
    }
}

fn run_load(args: LoadArgs, workload: Workload) -> Result<ExitCode, Error> {
    let logs = new_directory(&std::env::temp_dir(), "duorum-logs-")?;
    keep_logs(on_own_thread(load_verb(args, workload, logs.path().to_owned())), logs)
}

async fn load_verb(args: LoadArgs, workload: Workload, logs: PathBuf) -> Result<ExitCode, Error> {
    let target = &args.target;
    let mut fresh = None;
    let endpoints = if let Some(protocol) = target.protocol {
        let started = FreshCluster::start(protocol, target.nodes, target.data_dir.as_ref(), logs);
        let fresh = fresh.insert(started.await?);
        if args.at_leader {
            let leader = fresh.cluster.settle().await?;
            vec![fresh.cluster.endpoint(leader)]
        } else {
            fresh.cluster.endpoints()
        }
    } else {
        let parsed: Result<Vec<_>, Error> =
            target.endpoints.iter().map(|text| parse_endpoint(text)).collect();
        parsed?
    };
    let mut options = args.volume.options(endpoints, workload, args.keys);
    if let Some(count) = args.count {
        options.until = Until::Operations(count);
    }
    options.check()?;
    let reads = matches!(workload, Workload::Get | Workload::Mixed { .. });
    if args.fill || (fresh.is_some() && reads) {
        load::fill(&options).await?;
    }
    let disk = match &args.fdatasync_in {
        Some(directory) => Some(BackgroundDiskProbe::start(directory)?),
        None => None,
    };
    let bar = match options.until {
        Until::Elapsed(duration) => time_bar(options.warmup + duration, "measuring"),
        Until::Operations(_) => indicatif::ProgressBar::new_spinner().with_message("measuring"),
    };
    let report = load::run(&options).await?;
    bar.finish_and_clear();
    let fdatasync = disk.map(BackgroundDiskProbe::finish).transpose()?;
    if let Some(fresh) = &fresh {
        super::warn_of_memory(fresh.data());
    }
    show(&options, &report, fdatasync, args.volume.json);
    Ok(ExitCode::SUCCESS)
}

async fn run_echo(args: EchoArgs) -> Result<ExitCode, Error> {
    let process = EchoProcess::start(&this_program()?).await?;
    let options = args.volume.options(vec![process.address()], Workload::Echo, 1);
    let bar = time_bar(options.warmup + args.volume.duration, "measuring the echo");
    let report = load::run(&options).await?;
    bar.finish_and_clear();
    show(&options, &report, None, args.volume.json);
    Ok(ExitCode::SUCCESS)
}

fn show(options: &LoadOptions, report: &LoadReport, fdatasync: Option<DiskProbe>, json: bool) {
    if json {
        let measurement = Measurement { machine: Machine::inspect(), options, fdatasync, report };
        let text = serde_json::to_string_pretty(&measurement).expect("plain data");
        print(&format!("{text}\n"));
        return;
    }
    print(&load_text(options, report, fdatasync));
}

fn load_text(options: &LoadOptions, report: &LoadReport, fdatasync: Option<DiskProbe>) -> String {
    let what = match options.workload {
        Workload::Put | Workload::Fill => "writes".to_owned(),
        Workload::Get => "linearizable reads".to_owned(),
        Workload::Pairs => "pairs of a write and a read".to_owned(),
        Workload::Mixed { read_percent } => format!("operations, {read_percent} % reads"),
        Workload::Echo => "echoes".to_owned(),
    };
    let latency = &report.latency;
    let mut text = format!(
        "{} on {}, values of {} bytes, {} measured after {} of warm-up\n\n",
        what,
        count_words(options.connections, "connection"),
        options.value_bytes,
        seconds(Duration::from_secs_f64((report.window_ms / 1e3 * 10.0).round() / 10.0)),
        seconds(options.warmup),
    );
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<14} {value:>12}");
    };
    line("per second", figure(report.per_second));
    line("operations", figure(report.operations as f64));
    line("mean", format!("{} ms", figure(latency.mean_ms)));
    line("p50", format!("{} ms", figure(latency.p50_ms)));
    line("p99", format!("{} ms", figure(latency.p99_ms)));
    line("p99.9", format!("{} ms", figure(latency.p999_ms)));
    line("max", format!("{} ms", figure(latency.max_ms)));
    if let Some(disk) = fdatasync {
        line("fdatasync p50", format!("{} ms", figure(disk.p50_ms)));
        line("fdatasync p99", format!("{} ms", figure(disk.p99_ms)));
    }
    if report.not_found > 0 {
        line("not found", figure(report.not_found as f64));
    }
    let errors = load::errors_text(&report.errors);
    let errors = if errors.is_empty() { "none" } else { &errors };
    let _ = writeln!(text, "{:<14} {errors:>12}", "errors");
    if report.unknown_outcomes > 0 {
        let count = report.unknown_outcomes;
        let _ = writeln!(text, "{count} of them are writes of unknown outcome");
    }
    text
}

async fn run_failover(args: FailoverArgs, logs: PathBuf) -> Result<ExitCode, Error> {
    if args.nodes < 3 {
        return Err(Error::Usage(format!(
            "--nodes {}: fewer than 3 nodes do not survive the loss of one",
            args.nodes
        )));
    }
    let fault = match args.fault {
        FaultName::Kill => Fault::Kill,
        FaultName::Stop => Fault::Stop,
    };
    let options = FailoverOptions::new(fault);
    let mut fresh =
        FreshCluster::start(args.protocol, args.nodes, args.data_dir.as_ref(), logs).await?;
    let mut random = Random::new(args.seed);
    let bar = indicatif::ProgressBar::new(args.count as u64);
    let mut failovers = Vec::new();
    for _ in 0..args.count {
        let (node, failover) = failover::measure(&mut fresh.cluster, &options, &mut random).await?;
        failovers.push(failover);
        fresh.cluster.heal(node, fault)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    super::warn_of_memory(fresh.data());
    if args.json {
        let text = serde_json::to_string_pretty(&serde_json::json!({
            "machine": Machine::inspect(),
            "protocol": args.protocol.name(),
            "nodes": args.nodes,
            "options": options,
            "failovers": failovers,
        }))
        .expect("plain data");
        print(&format!("{text}\n"));
    } else {
        print(&failover_text(args.protocol, &options, &failovers));
    }
    Ok(ExitCode::SUCCESS)
}

fn failover_text(protocol: Protocol, options: &FailoverOptions, failovers: &[Failover]) -> String {
    // Those that were given up count as long as the limit, which is the least that they took, so
    // that the worst do not improve the median by being left out.
    let outages: Vec<f64> = failovers.iter().map(|one| one.outage_at_least_ms(options)).collect();
    let fault = match options.fault {
        Fault::Kill => "SIGKILL",
        Fault::Stop => "SIGSTOP",
    };
    let mut text = format!(
        "{protocol}: from {fault} of the leader to the next acknowledged write, {}\n\n",
        count_words(failovers.len(), "time")
    );
    if let (Some(median), Some((min, max))) = (median(&outages), extent(&outages)) {
        let [median, min, max] = [median, min, max].map(|ms| options.outage_text(ms, figure));
        let _ = writeln!(text, "median {median} ms, {min} to {max} ms");
    }
    let whole = |ms| format!("{ms:.0}");
    let list: Vec<String> =
        outages.iter().map(|&outage| options.outage_text(outage, whole)).collect();
    let _ = writeln!(text, "each, in ms: {}", list.join(" "));
    let never = failovers.iter().filter(|failover| failover.outage_ms.is_none()).count();
    if never > 0 {
        let limit = seconds(options.limit);
        let _ = writeln!(text, "{never} took longer than {limit} and count as that long");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failover(outage_ms: Option<f64>) -> Failover {
        Failover {
            fault: Fault::Kill,
            node: 1,
            outage_ms,
            probes: Vec::new(),
            errors: std::collections::BTreeMap::new(),
            unknown_outcomes: 0,
            not_sent: 0,
            unanswered: 0,
        }
    }

    #[test]
    fn an_outage_beyond_the_limit_counts_in_the_median_and_is_marked() {
        let options = FailoverOptions::new(Fault::Kill);
        let outages = [Some(20.0), Some(30.0), None, None, Some(40.0)].map(failover);
        let text = failover_text(Protocol::Zab, &options, &outages);
        assert!(text.contains("median 40.0 ms, 20.0 to > 15,000 ms"), "{text}");
        assert!(text.contains("each, in ms: 20 30 > 15000 > 15000 40"), "{text}");
        assert!(text.contains("2 took longer than 15 s"), "{text}");

        let outages = [None, Some(20.0), None].map(failover);
        let text = failover_text(Protocol::Zab, &options, &outages);
        assert!(text.contains("median > 15,000 ms"), "{text}");
    }
}
