//! `duorum compare`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};

use super::fault::fault_parser;
use super::{
    counting_bar, default_data_base, keep_logs, new_directory, on_own_thread, print, remark,
    this_program, warn_of_memory,
};
use crate::Error;
use crate::cluster::Fault;
use crate::compare::{self, Contender, Environment, Part, Plan, Settings};
use crate::exact::{self, ELECTIONS_DEFAULT};
use crate::report::Report;
use crate::systems::{self, Options, Subjects, Systems, With};

/// The arguments of `duorum compare`.
#[derive(Clone, Debug, Args)]
pub struct CompareArgs {
    /// Two short blocks: enough to see that everything works, too few to name a winner
    #[arg(long)]
    quick: bool,

    /// The first contender: raft or zab, with flags of `duorum serve` behind it
    #[arg(long, value_name = "CONTENDER", default_value = "raft")]
    a: String,

    /// The second one, as `zab`, or `"raft --finalize-wait 0ms"`; the same as the first to see what the method
    /// makes of no difference
    #[arg(long, value_name = "CONTENDER", default_value = "zab")]
    b: String,

    /// Measure only this, in more blocks, within a minute; may be given more than once
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<PartName>,

    /// What happens to the leaders where failover is measured, one after another
    #[arg(long, value_parser = fault_parser(), value_delimiter = ',', value_name = "FAULT", default_value = "kill")]
    faults: Vec<Fault>,

    /// Nodes of each cluster
    #[arg(long, env = "DUORUM_NODES", default_value_t = 3)]
    nodes: usize,

    /// Clients, each a connection with one request under way
    #[arg(long, env = "DUORUM_CONNECTIONS", default_value_t = 64)]
    connections: usize,

    /// The size of a value in bytes
    #[arg(long, env = "DUORUM_VALUE_BYTES", default_value_t = 256)]
    value_bytes: usize,

    /// Blocks of four runs; without it six, as far as they fit into three minutes
    #[arg(long, env = "DUORUM_BLOCKS")]
    blocks: Option<usize>,

    /// Where coins, keys, values and moments of faults come from; without it, the time of day
    #[arg(long, env = "DUORUM_SEED")]
    seed: Option<u64>,

    /// Where the report goes
    #[arg(long, env = "DUORUM_OUT", value_name = "DIR", default_value = "report")]
    out: PathBuf,

    /// Where the nodes keep their data; must be on a disk for durability to mean anything
    #[arg(long, env = "DUORUM_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Measure nothing, but count: print the cost sheet, which is the same on every machine
    #[arg(long, conflicts_with_all = ["a", "b", "only", "faults", "value_bytes", "quick", "nodes", "connections", "blocks", "seed", "out", "data_dir"])]
    exact: bool,

    /// Measure etcd and ZooKeeper as well, as they are installed (`--with etcd,zookeeper`) or unpacked
    /// (`--with etcd=/opt/etcd`): a comparison of systems, not of protocols
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "etcd[=PATH],zookeeper[=PATH]",
        conflicts_with = "exact"
    )]
    with: Vec<With>,

    /// With --exact, so many elections of each protocol in each place
    #[arg(long, value_name = "NUMBER", default_value_t = ELECTIONS_DEFAULT,
        value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    elections: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PartName {
    /// Writes on all connections, as fast as they can
    Writes,
    /// Linearizable reads on all connections, as fast as they can
    Reads,
    /// From a fault of the leader, SIGKILL unless --faults says otherwise, to the next acknowledged write
    Failover,
    /// Writes by 1 to 256 clients, each as fast as it can: throughput over clients; takes minutes
    Sweep,
    /// Writes that are due at 500 to 32,000 a second: latency over rates; takes minutes
    Paced,
}

impl From<PartName> for Part {
    fn from(name: PartName) -> Self {
        match name {
            PartName::Writes => Self::Writes,
            PartName::Reads => Self::Reads,
            PartName::Failover => Self::Failover,
            PartName::Sweep => Self::Sweep,
            PartName::Paced => Self::Paced,
        }
    }
}

/// Counts in the simulator what the protocols cost.
fn print_cost_sheet(elections: u64) -> Result<ExitCode, Error> {
    let bar = counting_bar(4 * elections, "elections");
    let held = exact::chances(elections, &|more| bar.inc(more));
    bar.finish_and_clear();
    let sheet = held.and_then(|chances| exact::sheet(&chances));
    print(&sheet.map_err(|violation| Error::Broken(violation.to_string()))?);
    Ok(ExitCode::SUCCESS)
}

/// Runs `duorum compare`.
///
/// # Errors
/// Whatever kept the comparison from being made.
pub fn run_compare(args: CompareArgs) -> Result<ExitCode, Error> {
    if args.exact {
        return print_cost_sheet(args.elections);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut settings = Settings::new(args.seed.unwrap_or(now.as_secs()), args.quick);
    settings.contenders = Contender::pair(Contender::parse(&args.a)?, Contender::parse(&args.b)?);
    if !args.only.is_empty() {
        settings = settings.only(args.only.iter().map(|&part| part.into()).collect());
    }
    settings = settings.with_faults(args.faults.clone());
    settings.nodes = args.nodes;
    settings.connections = args.connections;
    settings.value_bytes = args.value_bytes;
    if let Some(blocks) = args.blocks {
        // Who asks for a number of blocks gets them, however long they take.
        settings.blocks = blocks;
        settings.budget = None;
    }
    settings.check()?;
    let with = match args.with.is_empty() {
        true => None,
        false => Some(find_systems(&args, &settings)?),
    };
    // Whatever the report needs is tried before the minutes that come before it.
    let logs = new_directory(&args.out, "logs-").map_err(|error| error.or_choose("--out"))?;
    Report::check_writable(&args.out).map_err(|error| error.or_choose("--out"))?;
    let base = args.data_dir.clone().unwrap_or_else(|| default_data_base(&args.out));
    let data =
        new_directory(&base, "duorum-compare-").map_err(|error| error.or_choose("--data-dir"))?;
    warn_of_memory(data.path());
    print(&compare::plan_text(&settings, &Plan::toss(&settings)));
    if let Some((subjects, options)) = &with {
        print(&systems::plan_text(subjects, options));
    }

    let environment = Environment {
        executable: this_program()?,
        data: data.path().to_owned(),
        logs: logs.path().to_owned(),
        command: std::env::args().collect::<Vec<_>>().join(" "),
    };
    let measured = on_own_thread(compare::compare(&environment, &settings, true));
    // The logs stay where they are until the systems have been measured as well.
    let measured = match measured {
        Ok(measured) => measured,
        Err(error) => return keep_logs(Err(error), logs),
    };
    let mut report = Report::new(measured);
    let (json, html) = report.write(&args.out)?;
    print(&format!("\n{}", compare::table_text(&report.comparison, &report.analysis)));
    if let Some((subjects, options)) = &with {
        let systems = keep_logs(measure_systems(&environment, options, subjects), logs)?;
        print(&format!("\n{}", systems::table_text(&systems)));
        report.systems = Some(systems);
        report.write(&args.out)?;
    }
    remark(&format!("\nreport: {} and {}", html.display(), json.display()));
    Ok(ExitCode::SUCCESS)
}

/// Finds the systems that were asked for, before anything is measured.
fn find_systems(args: &CompareArgs, settings: &Settings) -> Result<(Subjects, Options), Error> {
    let options = Options::beside(settings, args.blocks, args.quick);
    Ok((Subjects::find(&args.with, &options)?, options))
}

/// Measures the systems that were asked for, which the report of the comparison does not have to wait
/// for.
fn measure_systems(
    environment: &Environment,
    options: &Options,
    subjects: &Subjects,
) -> Result<Systems, Error> {
    let runs = (options.blocks * subjects.count()) as u64;
    let bar = counting_bar(runs, "");
    bar.enable_steady_tick(Duration::from_millis(250));
    let begun = AtomicU64::new(0);
    let progress = |what: &str| {
        bar.set_position(begun.fetch_add(1, Ordering::Relaxed));
        bar.set_message(what.to_owned());
    };
    let measured = on_own_thread(systems::measure(environment, options, subjects, &progress));
    bar.finish_and_clear();
    measured
}
