//! Loads: what so many clients can do, and the echo that no server can beat.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::super::choices::{Keys, parse_mix};
use super::super::target::{FreshCluster, TargetArgs, parse_endpoint};
use super::super::{print, this_program, time_bar, warn_of_memory};
use super::{in_directory_of_logs, print_json};
use crate::Error;
use crate::echo::{self, EchoProcess};
use crate::load::{self, Freshness, LoadOptions, LoadReport, Mix, Until, Workload};
use crate::machine::{BackgroundDiskProbe, DiskProbe, Machine};
use crate::report::format::{count_words, figure, seconds};

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

    /// Requests a second that are due whether or not earlier ones are answered; latencies count from when each
    /// was due. Without it each client asks again as soon as it has its answer
    #[arg(long, env = "DUORUM_RATE", value_name = "REQUESTS")]
    rate: Option<f64>,

    /// Which keys are chosen
    #[arg(long, value_enum, default_value_t = Keys::Uniform)]
    key_distribution: Keys,

    /// Where keys and values come from
    #[arg(long, env = "DUORUM_SEED", default_value_t = 1)]
    seed: u64,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Consistency {
    /// Sees everything that was acknowledged anywhere
    Linearizable,
    /// Sees everything that the leader had committed, by its own word
    Sync,
    /// Sees what the node has
    Local,
}

impl From<Consistency> for Freshness {
    fn from(consistency: Consistency) -> Self {
        match consistency {
            Consistency::Linearizable => Self::Linearizable,
            Consistency::Sync => Self::Sync,
            Consistency::Local => Self::Local,
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(super) struct LoadArgs {
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
pub(super) struct GetArgs {
    #[command(flatten)]
    pub(super) load: LoadArgs,

    /// How fresh the answers must be
    #[arg(long, value_enum, default_value_t = Consistency::Linearizable)]
    pub(super) consistency: Consistency,
}

#[derive(Clone, Debug, Args)]
pub(super) struct RangeArgs {
    #[command(flatten)]
    pub(super) get: GetArgs,

    /// How many keys each reads
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(super) limit: u64,
}

#[derive(Clone, Debug, Args)]
pub(super) struct TransactionArgs {
    #[command(flatten)]
    pub(super) load: LoadArgs,

    /// How many keys each writes, 1 to 128
    #[arg(long, default_value_t = 32)]
    pub(super) operations: usize,
}

#[derive(Clone, Debug, Args)]
pub(super) struct MixedArgs {
    #[command(flatten)]
    pub(super) load: LoadArgs,

    /// How many parts of the operations are writes, reads of one key, and reads of a hundred keys
    #[arg(long, default_value = "10:90:0", value_name = "PUT:GET:RANGE", value_parser = parse_mix)]
    pub(super) mix: Mix,
}

#[derive(Clone, Debug, Args)]
pub(super) struct EchoArgs {
    #[command(flatten)]
    volume: VolumeArgs,
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
            key_distribution: self.key_distribution.into(),
            per_second: self.rate,
            seed: self.seed,
        }
    }
}

pub(super) fn run_load(args: LoadArgs, workload: Workload) -> Result<ExitCode, Error> {
    in_directory_of_logs(|logs| load_verb(args, workload, logs))
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
    if args.fill || (fresh.is_some() && workload.reads()) {
        load::fill(&options).await?;
    }
    let disk = match &args.fdatasync_in {
        Some(directory) => Some(BackgroundDiskProbe::start(directory)?),
        None => None,
    };
    let bar = match options.until {
        Until::Elapsed(duration) => time_bar(options.warmup + duration, "measuring"),
        Until::Operations(_) | Until::Stopped => {
            indicatif::ProgressBar::new_spinner().with_message("measuring")
        }
    };
    let report = load::run(&options).await?;
    bar.finish_and_clear();
    let fdatasync = disk.map(BackgroundDiskProbe::finish).transpose()?;
    if let Some(fresh) = &fresh {
        warn_of_memory(fresh.data());
    }
    show(&options, &report, fdatasync, args.volume.json);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn run_echo(args: EchoArgs) -> Result<ExitCode, Error> {
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
        print_json(&measurement);
        return;
    }
    print(&load_text(options, report, fdatasync));
}

fn load_text(options: &LoadOptions, report: &LoadReport, fdatasync: Option<DiskProbe>) -> String {
    let what = match options.workload {
        Workload::Put | Workload::Fill => "writes".to_owned(),
        Workload::Get { freshness } => format!("{} reads", freshness.name()),
        Workload::Range { limit, freshness } => {
            format!("{} reads of {limit} keys", freshness.name())
        }
        Workload::Pairs => "pairs of a write and a read".to_owned(),
        Workload::Transactions { operations } => format!("transactions of {operations} writes"),
        Workload::Mixed(Mix { put, get, range }) => {
            format!("operations, writes to reads to ranges as {put} to {get} to {range},")
        }
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
    if let Some(rate) = options.per_second {
        line("due per second", figure(rate));
    }
    line("per second", figure(report.per_second));
    let operations = options.workload.operations_of_request();
    if operations > 1 {
        line("writes/s", figure(report.per_second * operations as f64));
    }
    line("operations", figure(report.operations as f64));
    line("mean", format!("{} ms", figure(latency.mean_ms)));
    line("p50", format!("{} ms", figure(latency.p50_ms)));
    line("p99", format!("{} ms", figure(latency.p99_ms)));
    line("p99.9", format!("{} ms", figure(latency.p999_ms)));
    line("max", format!("{} ms", figure(latency.max_ms)));
    for (kind, latency) in &report.latency_by_kind {
        line(&format!("{} p50", kind.name()), format!("{} ms", figure(latency.p50_ms)));
        line(&format!("{} p99", kind.name()), format!("{} ms", figure(latency.p99_ms)));
    }
    if let Some(disk) = fdatasync {
        line("fdatasync p50", format!("{} ms", figure(disk.p50_ms)));
        line("fdatasync p99", format!("{} ms", figure(disk.p99_ms)));
    }
    if report.not_sent > 0 {
        line("not sent", figure(report.not_sent as f64));
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

/// The echo runs as the server does, on as many threads as there are cores.
pub(super) fn serve_echo(http: SocketAddr) -> Result<std::convert::Infallible, Error> {
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
