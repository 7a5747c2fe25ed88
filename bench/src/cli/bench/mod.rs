//! `duorum bench`: one measurement at a time.

mod compaction;
mod failover;
mod fresh;
mod idle;
mod load;
mod rejoin;
mod rolling;
mod soak;
mod store;
mod watch;

use std::fmt::Write;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{keep_logs, new_directory, on_own_thread, print};
use crate::Error;
use crate::cluster::{NodeMemory, launch, stop_with_parent};
use crate::load::{LatencyReport, Workload, errors_text};
use crate::report::format::{bytes, figure};
use compaction::{CompactionArgs, run_compaction};
use failover::{FailoverArgs, run_failover};
use idle::{IdleArgs, run_idle};
use load::{
    EchoArgs, GetArgs, LoadArgs, MixedArgs, RangeArgs, TransactionArgs, run_echo, run_load,
    serve_echo,
};
use rejoin::{RejoinArgs, run_rejoin};
use rolling::{RollingArgs, run_rolling};
use soak::{SoakArgs, run_soak};
use store::{StoreArgs, run_store};
use watch::{WatchArgs, run_watch};

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
    /// Read keys drawn at random
    Get(GetArgs),
    /// Read many keys at once
    Range(RangeArgs),
    /// Write many keys in each transaction
    Txn(TransactionArgs),
    /// Write a key, then read it: one operation
    Pairs(LoadArgs),
    /// Reads and writes mixed
    Mixed(MixedArgs),
    /// The floor: a bare HTTP echo of the same bodies, in a process of its own
    Echo(EchoArgs),
    /// Kill, stop or end the leader of a fresh cluster, or have it hand over, again and again under
    /// paced writes
    Failover(FailoverArgs),
    /// Have a follower miss writes and come back, by log or by snapshot, under load
    Rejoin(RejoinArgs),
    /// Restart all nodes of a fresh cluster one after another, again and again, under load
    Rolling(RollingArgs),
    /// Write for long, and see whether the cluster stays as small and as fast as it was
    Soak(SoakArgs),
    /// Have watchers of etcd's API hear of paced writes, each of every one
    Watch(WatchArgs),
    /// Saturated writes with watchers that hear of nothing, and without, in turn
    IdleWatchers(IdleArgs),
    /// Fill a fresh cluster with many keys: its memory, restarts, and a range over all of them
    Store(StoreArgs),
    /// Compact much history of a fresh cluster at once, under paced writes
    Compaction(CompactionArgs),
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
    /// Become a program that others wrote, without what the environment says to it
    #[command(hide = true)]
    Launch {
        /// End when the process of this number ends, which started this one
        #[arg(long, value_name = "PID")]
        stop_with_parent: u32,

        /// The program with its arguments
        #[arg(last = true, required = true)]
        program: Vec<String>,
    },
}

/// Runs `duorum bench`.
///
/// # Errors
/// Whatever kept the measurement from being made.
pub fn run_bench(args: BenchArgs) -> Result<ExitCode, Error> {
    match args.verb {
        BenchVerb::Put(args) => run_load(args, Workload::Put),
        BenchVerb::Get(GetArgs { load, consistency }) => {
            run_load(load, Workload::Get { freshness: consistency.into() })
        }
        BenchVerb::Range(RangeArgs { get: GetArgs { load, consistency }, limit }) => {
            run_load(load, Workload::Range { limit, freshness: consistency.into() })
        }
        BenchVerb::Txn(TransactionArgs { load, operations }) => {
            run_load(load, Workload::Transactions { operations })
        }
        BenchVerb::Pairs(args) => run_load(args, Workload::Pairs),
        BenchVerb::Mixed(MixedArgs { load, mix }) => run_load(load, Workload::Mixed(mix)),
        BenchVerb::Echo(args) => on_own_thread(run_echo(args)),
        BenchVerb::Failover(args) => in_directory_of_logs(|logs| run_failover(args, logs)),
        BenchVerb::Rejoin(args) => in_directory_of_logs(|logs| run_rejoin(args, logs)),
        BenchVerb::Rolling(args) => in_directory_of_logs(|logs| run_rolling(args, logs)),
        BenchVerb::Soak(args) => in_directory_of_logs(|logs| run_soak(args, logs)),
        BenchVerb::Watch(args) => in_directory_of_logs(|logs| run_watch(args, logs)),
        BenchVerb::IdleWatchers(args) => in_directory_of_logs(|logs| run_idle(args, logs)),
        BenchVerb::Store(args) => in_directory_of_logs(|logs| run_store(args, logs)),
        BenchVerb::Compaction(args) => in_directory_of_logs(|logs| run_compaction(args, logs)),
        BenchVerb::EchoServer { http, stop_with_parent: parent } => {
            if let Some(parent) = parent {
                stop_with_parent(parent).map_err(|source| Error::Io {
                    what: "--stop-with-parent".to_owned(),
                    source,
                })?;
            }
            match serve_echo(http)? {}
        }
        BenchVerb::Launch { stop_with_parent: parent, program } => {
            let source = launch(parent, &program);
            Err(Error::Io { what: "bench launch".to_owned(), source })
        }
    }
}

/// Runs a measurement with a directory for the logs of the nodes, which is kept if it fails.
fn in_directory_of_logs<F>(measurement: impl FnOnce(PathBuf) -> F) -> Result<ExitCode, Error>
where
    F: Future<Output = Result<ExitCode, Error>> + Send,
{
    let logs = new_directory(&std::env::temp_dir(), "duorum-logs-")?;
    keep_logs(on_own_thread(measurement(logs.path().to_owned())), logs)
}

/// How a measurement ends that holds the nodes to their promises.
fn unless_broken(broken: &[String]) -> Result<ExitCode, Error> {
    if broken.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(Error::Broken(broken.join("; "))) }
}

/// A bar of things done, with how far it is and what is being done.
fn progress_bar() -> ProgressBar {
    let template = "{elapsed_precise} {bar:32} {human_pos} of {human_len} {msg}";
    let style = ProgressStyle::with_template(template)
        .expect("the template is a constant that indicatif accepts");
    let bar = ProgressBar::new(0).with_style(style);
    bar.enable_steady_tick(std::time::Duration::from_millis(250));
    bar
}

fn print_json(value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).expect("plain data");
    print(&format!("{text}\n"));
}

/// A line of a table: a name, and what there is to say of it.
fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{name:<24} {value}");
}

/// The usual figures of a distribution.
fn latency_text(latency: &LatencyReport) -> String {
    let [p50, p99, max] = [latency.p50_ms, latency.p99_ms, latency.max_ms].map(figure);
    format!("p50 {p50} ms, p99 {p99} ms, max {max} ms")
}

/// What each node occupies of memory.
fn memories_text(nodes: &[NodeMemory]) -> String {
    let each = nodes.iter().map(|node| bytes(node.memory.peak_bytes));
    each.collect::<Vec<_>>().join(", ")
}

/// Errors by name, or that there were none.
fn errors_or_none(errors: &std::collections::BTreeMap<String, u64>) -> String {
    if errors.is_empty() { "none".to_owned() } else { errors_text(errors) }
}
