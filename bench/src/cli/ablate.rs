//! `duorum compare --ablate`.

use std::path::Path;
use std::process::ExitCode;

use clap::ValueEnum;

use super::{
    default_data_base, keep_logs, new_directory, on_own_thread, print, remark, this_program,
    warn_of_memory,
};
use crate::Error;
use crate::ablations::{self, Ablated, Ablation, Ablations};
use crate::compare::{self, Environment, Settings};
use crate::report::Report;

/// What `--ablate` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum AblationName {
    /// Every one of these, in a quarter of an hour
    All,
    /// Syncing the log
    Fsync,
    /// Sharing records, syncs and messages
    Batching,
    /// Sending on without waiting for acknowledgements
    Pipelining,
    /// Telling followers of commits at once
    CommitNotices,
    /// Raft's question before a campaign
    #[value(alias = "prevote")]
    PreVote,
    /// Raft's random waits
    Timeouts,
    /// ZAB's wait for a better vote
    FinalizeWait,
    /// Taking a broken connection for a dead leader
    Detector,
}

impl AblationName {
    fn ablations(self) -> Vec<Ablation> {
        vec![match self {
            Self::All => return Ablation::ALL.to_vec(),
            Self::Fsync => Ablation::Fsync,
            Self::Batching => Ablation::Batching,
            Self::Pipelining => Ablation::Pipelining,
            Self::CommitNotices => Ablation::CommitNotices,
            Self::PreVote => Ablation::PreVote,
            Self::Timeouts => Ablation::Timeouts,
            Self::FinalizeWait => Ablation::FinalizeWait,
            Self::Detector => Ablation::Detector,
        }]
    }
}

/// Measures both protocols as they are and with what is named changed, each pair as the settings say.
///
/// # Errors
/// Impossible settings, and what kept all of it from being measured. A pair that fails is told among the
/// results.
pub(super) fn run_ablate(
    names: &[AblationName],
    wanted: &Settings,
    out: &Path,
    data_dir: Option<&Path>,
) -> Result<ExitCode, Error> {
    let chosen: Vec<Ablation> = names.iter().flat_map(|name| name.ablations()).collect();
    let pairs = ablations::pairs(&chosen);
    let settings: Vec<Settings> =
        pairs.iter().map(|pair| pair.settings(wanted)).collect::<Result<_, _>>()?;
    let logs = new_directory(out, "logs-").map_err(|error| error.or_choose("--out"))?;
    Ablations::check_writable(out).map_err(|error| error.or_choose("--out"))?;
    let base = data_dir.map_or_else(|| default_data_base(out), Path::to_owned);
    let data =
        new_directory(&base, "duorum-compare-").map_err(|error| error.or_choose("--data-dir"))?;
    warn_of_memory(data.path());
    print(&ablations::plan_text(&pairs, &settings));
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let mut results = Ablations::new(command.clone());
    let mut first_failure = None;
    for (number, (pair, settings)) in pairs.iter().zip(&settings).enumerate() {
        remark(&format!("{} of {}: {}", number + 1, pairs.len(), pair.title()));
        let environment = Environment {
            executable: this_program()?,
            data: data.path().join(number.to_string()),
            logs: logs.path().join(number.to_string()),
            command: command.clone(),
        };
        for directory in [&environment.data, &environment.logs] {
            std::fs::create_dir_all(directory)
                .map_err(|source| Error::path("create", directory, source))?;
        }
        let mut ablated = Ablated { pair: pair.clone(), report: None, failure: None };
        match on_own_thread(compare::compare(&environment, settings, true)) {
            Ok(comparison) => ablated.report = Some(Report::new(comparison)),
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => {
                remark(&format!("not measured: {error}"));
                ablated.failure = Some(error.to_string());
                first_failure.get_or_insert(error);
            }
        }
        results.pairs.push(ablated);
    }
    if results.pairs.iter().all(|ablated| ablated.report.is_none())
        && let Some(error) = first_failure
    {
        return keep_logs(Err(error), logs);
    }
    let (json, html) = results.write(out)?;
    print(&format!("\n{}", ablations::table_text(&results)));
    remark(&format!("\nreport: {} and {}", html.display(), json.display()));
    if results.is_complete() {
        return Ok(ExitCode::SUCCESS);
    }
    remark(&format!("logs of what failed: {}", logs.keep().display()));
    Ok(ExitCode::FAILURE)
}
