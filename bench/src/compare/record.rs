//! Everything that a comparison measured, as it is written to `report.json`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::contender::Side;
use super::plan::{Plan, Settings};
use crate::cluster::{Counters, ResourceUse};
use crate::failover::{Failover, FailoverOptions};
use crate::load::LoadReport;
use crate::loopback::LoopbackProbe;
use crate::machine::{DiskProbe, FileSystem, Machine};
use crate::report::format::listed;
use crate::watch::{Delivery, WatchReport};

/// A whole comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The version of this format.
    pub format: u32,
    /// When it began, in seconds since the Unix epoch.
    pub began_at_seconds: u64,
    /// How long it took.
    pub took_seconds: f64,
    /// The command line.
    pub command: String,
    /// The machine.
    pub machine: Machine,
    /// The file system under the nodes' data.
    pub file_system: FileSystem,
    /// fdatasync before the first run.
    pub disk_before: DiskProbe,
    /// fdatasync after the last run.
    pub disk_after: DiskProbe,
    /// The loopback interface before the first run.
    pub loopback_before: LoopbackProbe,
    /// The loopback interface after the last run.
    pub loopback_after: LoopbackProbe,
    /// The share of all cores' time that a hypervisor gave to others meanwhile, in percent.
    pub stolen_percent: Option<f64>,
    /// What was asked for.
    pub settings: Settings,
    /// How the faults were measured.
    pub failover_options: FailoverOptions,
    /// The coins.
    pub plan: Plan,
    /// The runs of both sides in the order in which they were made.
    pub runs: Vec<Run>,
    /// The floors in the order in which they were measured.
    pub floors: Vec<Floor>,
    /// What is missing or was left out, and why.
    pub exclusions: Vec<Exclusion>,
}

/// One cluster from its start to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The block, counted from 0.
    pub block: usize,
    /// The place in the block, 0 to 3.
    pub place: usize,
    /// Whose it is.
    pub side: Side,
    /// From starting the processes to the first agreed leader, in milliseconds.
    pub start_ms: f64,
    /// The command line of each node.
    pub commands: Vec<String>,
    /// What each node said of itself after the writes.
    pub statuses: Vec<serde_json::Value>,
    /// What the closed loops measured.
    pub loads: Loads,
    /// The faults, in order.
    pub failovers: Vec<Failover>,
    /// What the other clients saw while each of the faults struck, if there were any.
    #[serde(default)]
    pub beside_faults: Vec<LoadReport>,
}

/// What the closed loops measured of a cluster. What was not asked for is not there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Loads {
    /// Writing every key once, which does not count.
    pub fill: Option<LoadReport>,
    /// Writes of keys drawn at random.
    pub write: Option<Writes>,
    /// Linearizable reads of keys drawn at random.
    pub read: Option<LoadReport>,
    /// Several kinds of operations at once.
    pub mixed: Option<Mixed>,
    /// Many watchers of one key.
    pub watch: Option<WatchReport>,
    /// Writes by closed loops of more and more clients.
    #[serde(default)]
    pub sweep: Vec<Step>,
    /// Writes at higher and higher rates.
    #[serde(default)]
    pub paced: Vec<Step>,
}

/// A step of a curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// How many clients there were, or how many requests a second were due.
    pub at: f64,
    /// What the clients saw.
    pub report: LoadReport,
}

/// Several kinds of operations at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mixed {
    /// What the clients saw.
    pub report: LoadReport,
    /// What those were told who watched every key, if there were any.
    pub delivery: Option<Delivery>,
}

/// Writes, and what they cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Writes {
    /// What the clients saw.
    pub report: LoadReport,
    /// What the nodes used meanwhile, warm-up included.
    pub used: ResourceUse,
    /// What the nodes counted meanwhile, warm-up included.
    pub counters: Counters,
}

impl Loads {
    /// What the clients saw of the writes.
    #[must_use]
    pub fn write_report(&self) -> Option<&LoadReport> {
        self.write.as_ref().map(|write| &write.report)
    }

    /// What the clients saw of several kinds of operations at once.
    fn mixed_report(&self) -> Option<&LoadReport> {
        self.mixed.as_ref().map(|mixed| &mixed.report)
    }

    /// What the clients saw of everything, in the order in which it was done.
    pub fn reports(&self) -> impl Iterator<Item = &LoadReport> {
        let steps = self.sweep.iter().chain(&self.paced).map(|step| &step.report);
        self.fill.iter().chain(self.timed()).chain(steps)
    }

    /// What watchers were promised and was not kept.
    #[must_use]
    pub fn watches_broken(&self) -> Vec<String> {
        let delivery = self.mixed.as_ref().and_then(|mixed| mixed.delivery.as_ref());
        let broken = self.watch.iter().flat_map(WatchReport::broken);
        broken.chain(delivery.into_iter().flat_map(Delivery::broken)).collect()
    }

    /// What the clients saw of everything whose latencies are compared; curves are looked at step by step.
    fn timed(&self) -> impl Iterator<Item = &LoadReport> {
        [self.write_report(), self.mixed_report(), self.read.as_ref()].into_iter().flatten()
    }

    /// What failed, by name, and reads that found no key: every key was written before, so that is a fault.
    pub fn errors(&self) -> impl Iterator<Item = (String, u64)> {
        let watch = self.watch.iter().flat_map(|watch| watch.errors.clone());
        self.reports().flat_map(errors_of).chain(watch)
    }

    /// How many reads found no key.
    #[must_use]
    pub fn reads_not_found(&self) -> u64 {
        self.read.iter().chain(self.mixed_report()).map(|report| report.not_found).sum()
    }
}

/// What failed of a load, by name, and reads that found no key.
fn errors_of(report: &LoadReport) -> impl Iterator<Item = (String, u64)> {
    let not_found = (report.not_found > 0).then(|| ("not_found".to_owned(), report.not_found));
    report.errors.clone().into_iter().chain(not_found)
}

impl Run {
    /// What failed of what went on beside the faults, by name.
    pub fn errors_beside_faults(&self) -> impl Iterator<Item = (String, u64)> {
        self.beside_faults.iter().flat_map(errors_of)
    }
}

/// Both floors, measured one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// How many runs came before.
    pub after_runs: usize,
    /// Bodies of the same size, echoed.
    pub echo: LoadReport,
    /// The same as of both sides, of one node of the null protocol.
    pub null: Loads,
}

/// Something that is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// The block, counted from 0.
    pub block: usize,
    /// What is missing and why.
    pub reason: String,
}

impl Exclusion {
    /// What is missing, each reason once with all blocks that it is of: `blocks 2 and 7 to 9: a node ended`.
    #[must_use]
    pub fn texts(exclusions: &[Self]) -> Vec<String> {
        let mut reasons: Vec<(&str, BTreeSet<usize>)> = Vec::new();
        for Self { block, reason } in exclusions {
            match reasons.iter_mut().find(|(known, _)| known == reason) {
                Some((_, blocks)) => drop(blocks.insert(block + 1)),
                None => reasons.push((reason, BTreeSet::from([block + 1]))),
            }
        }
        let text = |(reason, blocks): (&str, BTreeSet<usize>)| {
            let word = if blocks.len() == 1 { "block" } else { "blocks" };
            format!("{word} {}: {reason}", numbers_text(&blocks))
        };
        reasons.into_iter().map(text).collect()
    }
}

/// `2, 5 and 7 to 9`.
fn numbers_text(numbers: &BTreeSet<usize>) -> String {
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => spans.push((number, number)),
        }
    }
    let text = |(first, last): (usize, usize)| match last - first {
        0 => vec![first.to_string()],
        1 => vec![first.to_string(), last.to_string()],
        _ => vec![format!("{first} to {last}")],
    };
    listed(spans.into_iter().flat_map(text))
}

impl Comparison {
    /// The runs of one side in one block.
    pub fn runs_of(&self, side: Side, block: usize) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.side == side && run.block == block)
    }

    /// Reads of one block that found no key. Every key was written before, and a read without a value
    /// is a faster one, so a block with any is not valid.
    #[must_use]
    pub fn reads_not_found(&self, block: usize) -> u64 {
        let runs = self.runs.iter().filter(|run| run.block == block);
        let beside = |run: &Run| run.beside_faults.iter().map(|load| load.not_found).sum::<u64>();
        runs.map(|run| run.loads.reads_not_found() + beside(run)).sum()
    }

    /// Why a block has no latencies, of which some would be too good.
    pub(super) fn latencies_too_good(&self, block: usize) -> Option<Exclusion> {
        let runs = self.runs.iter().filter(|run| run.block == block);
        let what = LoadReport::unanswered(runs.flat_map(|run| run.loads.timed()))?;
        Some(Exclusion { block, reason: format!("{what}, so latencies would be too good") })
    }

    /// What makes a block worthless: a promise that was not kept in one of its runs.
    #[must_use]
    pub fn broken(&self, block: usize) -> Vec<String> {
        let runs = self.runs.iter().filter(|run| run.block == block);
        let mut broken: Vec<String> = runs.flat_map(|run| run.loads.watches_broken()).collect();
        match self.reads_not_found(block) {
            0 => {}
            count => {
                broken.push(format!("{count} reads found no key, though every key was written"));
            }
        }
        broken
    }

    /// All runs of one side.
    pub fn all_runs_of(&self, side: Side) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.side == side)
    }

    /// The name of a side.
    #[must_use]
    pub fn name(&self, side: Side) -> &str {
        self.settings.name(side)
    }

    /// What both sides are called.
    #[must_use]
    pub fn names(&self) -> [&str; 2] {
        Side::BOTH.map(|side| self.name(side))
    }
}
