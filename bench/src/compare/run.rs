//! Carries out a comparison.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use consensus::Random;
use indicatif::{ProgressBar, ProgressStyle};

use super::contender::Side;
use super::floor;
use super::loads;
use super::plan::{Block, Part, Plan, Settings};
use super::record::{Comparison, Exclusion, Floor, Run};
use super::strikes;
use crate::Error;
use crate::cluster::{Cluster, ClusterOptions, Fault};
use crate::failover::{self, Failover, FailoverOptions};
use crate::load::LoadReport;
use crate::loopback::LoopbackProbe;
use crate::machine::{CpuTimes, DiskProbe, FileSystem, Machine};

/// The version of the format of `report.json`.
pub(crate) const FORMAT: u32 = 3;
/// Steps of the progress bar: the phases of a run and of a floor.
const STEPS_OF_RUN: u64 = 4;
const STEPS_OF_FLOOR: u64 = 4;
/// More blocks than this may not fail: then something is wrong that the user should know.
const FAILED_BLOCKS_MAX: usize = 1;

/// Where a comparison runs.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The program that understands `serve` and `bench echo-server`.
    pub executable: PathBuf,
    /// A directory of its own for the nodes' data.
    pub data: PathBuf,
    /// A directory for the nodes' logs.
    pub logs: PathBuf,
    /// How the comparison was called, for the report.
    pub command: String,
}

/// Tells the user how far it is.
pub(super) struct Progress(ProgressBar);

impl Progress {
    fn new(plan: &Plan, shown: bool) -> Self {
        if !shown {
            return Self(ProgressBar::hidden());
        }
        let steps = plan.blocks.len() as u64 * 4 * STEPS_OF_RUN + 2 * STEPS_OF_FLOOR;
        let style = ProgressStyle::with_template("{elapsed_precise} {bar:32} {percent:>3} % {msg}")
            .expect("the template is a constant that indicatif accepts");
        let bar = ProgressBar::new(steps).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(250));
        Self(bar)
    }

    /// A phase begins.
    pub(super) fn phase(&self, what: &str) {
        self.0.inc(1);
        self.0.set_message(what.to_owned());
    }

    /// Goes to where the bar would be after this many runs, whether or not all were made.
    fn after_runs(&self, runs: usize) {
        self.0.set_position(STEPS_OF_FLOOR + runs as u64 * STEPS_OF_RUN);
    }
}

/// Runs the whole comparison.
///
/// # Errors
/// [`Error::Usage`] for impossible settings; otherwise whatever kept the first block or a second one
/// from being measured.
pub async fn compare(
    environment: &Environment,
    settings: &Settings,
    show_progress: bool,
) -> Result<Comparison, Error> {
    settings.check()?;
    let began = Instant::now();
    let began_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let cpu_before = CpuTimes::now();
    let machine = Machine::inspect();
    let file_system = FileSystem::of(&environment.data)?;
    let disk_before = DiskProbe::run(&environment.data)?;
    let loopback_before = LoopbackProbe::run()?;
    let plan = Plan::toss(settings);
    let progress = Progress::new(&plan, show_progress);
    let mut session = Session {
        environment,
        settings,
        failover_options: settings.failover_options(),
        progress: &progress,
        began,
        runs: Vec::new(),
        floors: Vec::new(),
        exclusions: Vec::new(),
    };
    session.floor().await?;
    session.blocks(&plan).await?;
    session.floor().await?;
    progress.0.finish_and_clear();
    let disk_after = DiskProbe::run(&environment.data)?;
    let loopback_after = LoopbackProbe::run()?;
    let stolen_percent =
        cpu_before.zip(CpuTimes::now()).map(|(before, now)| now.stolen_percent_since(before));
    Ok(Comparison {
        format: FORMAT,
        began_at_seconds: began_at.as_secs(),
        took_seconds: began.elapsed().as_secs_f64(),
        command: environment.command.clone(),
        machine,
        file_system,
        disk_before,
        disk_after,
        loopback_before,
        loopback_after,
        stolen_percent,
        settings: settings.clone(),
        failover_options: session.failover_options,
        runs: session.runs,
        floors: session.floors,
        exclusions: session.exclusions,
        plan,
    })
}

/// A comparison under way.
struct Session<'a> {
    environment: &'a Environment,
    settings: &'a Settings,
    failover_options: FailoverOptions,
    progress: &'a Progress,
    began: Instant,
    runs: Vec<Run>,
    floors: Vec<Floor>,
    exclusions: Vec<Exclusion>,
}

impl Session<'_> {
    async fn floor(&mut self) -> Result<(), Error> {
        if !self.settings.floors {
            return Ok(());
        }
        let after_runs = self.runs.len();
        let floor =
            floor::measure(self.environment, self.settings, after_runs, self.progress).await?;
        self.floors.push(floor);
        Ok(())
    }

    async fn blocks(&mut self, plan: &Plan) -> Result<(), Error> {
        let floor_took = self.began.elapsed();
        let mut longest = Duration::ZERO;
        let mut failed = 0;
        for (number, block) in plan.blocks.iter().enumerate() {
            self.progress.after_runs(number * 4);
            let block_began = Instant::now();
            let end = self.began.elapsed() + longest + floor_took;
            if self.settings.budget.is_some_and(|budget| number > 0 && end > budget) {
                let reason = "not begun: there was no time left for a whole block".to_owned();
                self.exclusions.push(Exclusion { block: number, reason });
                continue;
            }
            let runs_before = self.runs.len();
            if let Err(error) = self.block(number, *block).await {
                failed += 1;
                if number == 0 || failed > FAILED_BLOCKS_MAX {
                    return Err(error);
                }
                self.runs.truncate(runs_before);
                self.exclusions.push(Exclusion { block: number, reason: error.to_string() });
            }
            longest = longest.max(block_began.elapsed());
        }
        Ok(())
    }

    async fn block(&mut self, number: usize, block: Block) -> Result<(), Error> {
        for (place, side) in block.order().into_iter().enumerate() {
            let run = self.run(number, place, side, block.seed).await?;
            self.runs.push(run);
        }
        Ok(())
    }

    async fn run(&self, block: usize, place: usize, side: Side, seed: u64) -> Result<Run, Error> {
        let blocks = self.settings.blocks;
        let contender = self.settings.contender(side);
        self.progress.phase(&format!(
            "block {} of {blocks}, run {} of 4: {}",
            block + 1,
            place + 1,
            contender.name
        ));
        let name = format!("run-{:03}-{}", block * 4 + place + 1, contender.protocol);
        let starting = Instant::now();
        let mut cluster = Cluster::start(ClusterOptions {
            executable: self.environment.executable.clone(),
            protocol: contender.protocol,
            nodes: self.settings.nodes,
            data: self.environment.data.join(&name),
            logs: self.environment.logs.clone(),
            name,
            flags: [contender.flags.clone(), Fault::serve_flags(&self.settings.faults)].concat(),
        })
        .await?;
        let start_ms = starting.elapsed().as_secs_f64() * 1e3;
        let loads = loads::measure(&mut cluster, self.settings, seed, self.progress).await?;
        let statuses = cluster.statuses().await?;
        let commands = cluster.command_lines();
        self.progress.phase(&format!(
            "block {} of {blocks}: {}, failover",
            block + 1,
            contender.name
        ));
        let (failovers, beside_faults) = self.faults(&mut cluster, seed, place).await?;
        cluster.remove()?;
        Ok(Run {
            block,
            place,
            side,
            start_ms,
            commands,
            statuses,
            loads,
            failovers,
            beside_faults,
        })
    }

    /// Does fault after fault to leader after leader; each is undone before the next. Returns as well what other clients
    /// saw of each, if there were any.
    async fn faults(
        &self,
        cluster: &mut Cluster,
        seed: u64,
        place: usize,
    ) -> Result<(Vec<Failover>, Vec<LoadReport>), Error> {
        let (mut failovers, mut beside) = (Vec::new(), Vec::new());
        if !self.settings.measures(Part::Failover) {
            return Ok((failovers, beside));
        }
        let mut random = Random::new(seed ^ place as u64);
        let ledger = failover::ledger(&self.failover_options);
        for &fault in &self.settings.faults {
            let options = self.failover_options.with_fault(fault);
            for _ in 0..self.settings.phases.kills {
                let clients = strikes::beside(cluster, self.settings, seed).await?;
                failovers.push(failover::measure(cluster, &options, &ledger, &mut random).await?);
                if let Some(clients) = clients {
                    clients.stop();
                    beside.push(clients.finish().await.0);
                }
            }
        }
        Ok((failovers, beside))
    }
}
