//! `duorum compare`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::Value;

use super::ablate::{AblationName, run_ablate};
use super::choices::ChoiceArgs;
use super::{
    counting_bar, default_data_base, keep_logs, new_directory, on_own_thread, print, remark,
    this_program, warn_of_memory,
};
use crate::Error;
use crate::ablations::{self, Ablations};
use crate::compare::{self, Environment, Part, Plan, Settings};
use crate::exact::{self, Brief, ELECTIONS_DEFAULT};
use crate::report::{Report, read};
use crate::scenario::Scenario;
use crate::systems::{self, Options, Subjects, Systems, With};

/// Where the report goes unless the user says.
const OUT: &str = "report";
/// The simulated elections of a report, of each protocol in each place: as many as take a few seconds.
const BRIEF_ELECTIONS: u64 = 300;
const BRIEF_ELECTIONS_FEW: u64 = 40;

/// The flags that mean nothing where nothing is measured. Those that the environment can set as well are not among
/// them, or whoever set it could not do anything else.
const FLAGS_OF_MEASURING: [&str; 11] = [
    "quick",
    "a",
    "b",
    "only",
    "faults",
    "ablate",
    "placement",
    "key_distribution",
    "mix",
    "watchers",
    "scenario",
];

const EXAMPLES: &str = "\
Examples:
  duorum compare                                     both protocols, in three minutes
  duorum compare --only writes --placement leader    writes alone, all clients at the leader
  duorum compare --only writes --rate 5000           what clients see of 5,000 writes a second
  duorum compare --mix 20:75:5:4 --key-distribution zipf
  duorum compare --only watch --watchers 1000
  duorum compare --a raft --b raft                   what the method makes of no difference
  duorum compare --ablate all                        each protocol as it is and without each mechanism
  duorum compare --ablate batching,pipelining --quick
  duorum compare --scenario docs/scenarios/failover.toml
  duorum compare --render report/report.json         page and tables again, from the file alone
  duorum compare --render report/ablations.json";

/// The arguments of `duorum compare`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompareArgs {
    #[command(flatten)]
    choices: ChoiceArgs,

    /// What the flags leave open, from a file; `duorum sim --scenario` runs the same in virtual time
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,

    /// Measure each protocol as it is and without each of these mechanisms, or with more or less of it
    /// (docs/ablations.md), instead of one protocol against the other
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "MECHANISM",
        conflicts_with_all = ["a", "b", "only", "faults", "mix", "watchers", "placement", "scenario", "with"]
    )]
    ablate: Vec<AblationName>,

    /// Measure nothing, but count: print the cost sheet, which is the same on every machine
    #[arg(long, conflicts_with_all = FLAGS_OF_MEASURING)]
    exact: bool,

    /// Measure nothing, but make the page and the table of a report again, from its report.json or ablations.json alone;
    /// the page goes beside it, or where --out says
    #[arg(long, value_name = "FILE", conflicts_with_all = FLAGS_OF_MEASURING, conflicts_with = "exact")]
    render: Option<PathBuf>,

    /// Measure etcd and ZooKeeper as well, as they are installed (`--with etcd,zookeeper`) or unpacked
    /// (`--with etcd=/opt/etcd`): a comparison of systems, not of protocols
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "etcd[=PATH],zookeeper[=PATH]",
        conflicts_with_all = ["exact", "render"]
    )]
    with: Vec<With>,

    /// With --exact, so many elections of each protocol in each place
    #[arg(long, value_name = "NUMBER", default_value_t = ELECTIONS_DEFAULT, requires = "exact",
        value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    elections: u64,
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

/// Counts in the simulator what the protocols cost, if different ones are compared. What was measured is worth
/// more than that, and is not lost if it fails.
fn count_exactly(settings: &Settings, quick: bool) -> Option<Brief> {
    if settings.contenders[0].protocol == settings.contenders[1].protocol {
        return None;
    }
    // Who asked for writes alone waits for no elections.
    let few = quick || !settings.measures(Part::Failover);
    let elections = if few { BRIEF_ELECTIONS_FEW } else { BRIEF_ELECTIONS };
    let bar = counting_bar(4 * elections, "elections, simulated");
    let brief = exact::brief(elections, &|more| bar.inc(more));
    bar.finish_and_clear();
    brief
        .inspect_err(|violation| {
            remark(&format!("warning: no exact costs: in the simulator, {violation}"));
        })
        .ok()
}

/// Makes the page and the table of a report again.
fn render(json: &Path, out: Option<&Path>) -> Result<ExitCode, Error> {
    let beside = json.parent().filter(|parent| !parent.as_os_str().is_empty());
    let out = out.or(beside).unwrap_or(Path::new("."));
    let (page, text) = match read::read(json, Rendered::of)? {
        Rendered::Report(report) => (report.write_page(out), report.text()),
        Rendered::Ablations(results) => (results.write_page(out), ablations::table_text(&results)),
    };
    let page = page.map_err(|error| error.or_choose("--out"))?;
    print(&text);
    remark(&format!("\npage: {}", page.display()));
    Ok(ExitCode::SUCCESS)
}

/// What a page can be made of.
enum Rendered {
    Report(Box<Report>),
    Ablations(Ablations),
}

impl Rendered {
    fn of(value: Value) -> Result<Self, String> {
        match Ablations::is_in(&value) {
            true => Ablations::of(value).map(Self::Ablations),
            false => Report::of(value).map(|report| Self::Report(Box::new(report))),
        }
    }
}

/// Runs `duorum compare`.
///
/// # Errors
/// Whatever kept the comparison from being made.
pub fn run_compare(args: CompareArgs) -> Result<ExitCode, Error> {
    if args.exact {
        return print_cost_sheet(args.elections);
    }
    if let Some(json) = &args.render {
        return render(json, args.choices.out.as_deref());
    }
    let choices = match &args.scenario {
        Some(path) => args.choices.or_scenario(&Scenario::read(path)?)?,
        None => args.choices,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let settings = choices.settings(now.as_secs())?;
    let out = choices.out.clone().unwrap_or_else(|| PathBuf::from(OUT));
    if !args.ablate.is_empty() {
        return run_ablate(&args.ablate, &settings, &out, choices.data_dir.as_deref());
    }
    let with = match args.with.is_empty() {
        true => None,
        false => Some(find_systems(&args.with, &choices, &settings)?),
    };
    // Whatever the report needs is tried before the minutes that come before it.
    let logs = new_directory(&out, "logs-").map_err(|error| error.or_choose("--out"))?;
    Report::check_writable(&out).map_err(|error| error.or_choose("--out"))?;
    let base = choices.data_dir.clone().unwrap_or_else(|| default_data_base(&out));
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
    report.exact = count_exactly(&settings, choices.quick);
    let (json, html) = report.write(&out)?;
    print(&format!("\n{}", report.text()));
    if let Some((subjects, options)) = &with {
        let systems = keep_logs(measure_systems(&environment, options, subjects), logs)?;
        print(&format!("\n{}", systems::table_text(&systems)));
        report.systems = Some(systems);
        report.write(&out)?;
    }
    remark(&format!("\nreport: {} and {}", html.display(), json.display()));
    Ok(ExitCode::SUCCESS)
}

/// Finds the systems that were asked for, before anything is measured.
fn find_systems(
    with: &[With],
    choices: &ChoiceArgs,
    settings: &Settings,
) -> Result<(Subjects, Options), Error> {
    let options = Options::beside(settings, choices.blocks, choices.quick);
    let options = match choices.duration() {
        Some(each) => options.lasting(each),
        None => options,
    };
    Ok((Subjects::find(with, &options)?, options))
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
