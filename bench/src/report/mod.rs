//! The report of a comparison: `report.json` with everything measured, and `index.html`, which
//! needs nothing but itself.

mod answer;
pub(crate) mod calibration;
pub(crate) mod cells;
mod exact;
mod failover;
mod figures;
pub(crate) mod files;
pub mod format;
pub(crate) mod html;
mod latency;
pub(crate) mod manifest;
mod marks;
mod method;
mod opening;
mod page;
pub(crate) mod read;
mod runs;
mod svg;
mod systems;
mod tails;
mod throughput;
mod timelines;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::cluster::Fault;
use crate::compare::{Analysis, Comparison, Run, Side, table_text};
use crate::exact::Brief;
use crate::failover::Failover;
use crate::stats::BLOCKS_TO_CONCLUDE;
use crate::systems::{self as other_systems, Systems};

/// The files of a report, JSON first.
const FILES: [&str; 2] = ["report.json", "index.html"];

/// What `report.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "read::Measured")]
pub struct Report {
    /// What may be concluded. It is written for programs; whoever reads the file concludes anew.
    pub analysis: Analysis,
    /// Everything that was measured.
    pub comparison: Comparison,
    /// What the protocols cost exactly, if different ones were compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<Brief>,
    /// Systems that others wrote, if any were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub systems: Option<Systems>,
}

impl Report {
    /// Analyses a comparison.
    #[must_use]
    pub fn new(comparison: Comparison) -> Self {
        Self { analysis: Analysis::of(&comparison), comparison, exact: None, systems: None }
    }

    /// The runs of one side in blocks that count, in the order in which they were made.
    fn valid_runs_of(&self, side: Side) -> impl Iterator<Item = &Run> {
        let runs = self.comparison.all_runs_of(side);
        runs.filter(|run| self.analysis.valid.contains(&run.block))
    }

    /// The failovers of one kind in those runs.
    fn valid_failovers_of(&self, side: Side, fault: Fault) -> impl Iterator<Item = &Failover> {
        let failovers = self.valid_runs_of(side).flat_map(|run| &run.failovers);
        failovers.filter(move |failover| failover.fault == fault)
    }

    /// The tables for a terminal: what was compared, and the systems that others wrote.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = table_text(&self.comparison, &self.analysis);
        if let Some(systems) = &self.systems {
            text.push('\n');
            text.push_str(&other_systems::table_text(systems));
        }
        text
    }

    /// The HTML page.
    #[must_use]
    pub fn html(&self) -> String {
        page::page(self)
    }

    /// Refuses a directory into which the report could not be written, so that nobody waits for
    /// minutes to learn it.
    ///
    /// # Errors
    /// [`Error::Io`] when one of the files is there and can not be written.
    pub fn check_writable(directory: &Path) -> Result<(), Error> {
        files::check_writable(directory, FILES)
    }

    /// Writes both files into an existing directory and returns the paths, JSON first.
    ///
    /// # Errors
    /// [`Error::Io`] when a file can not be written.
    pub fn write(&self, directory: &Path) -> Result<(PathBuf, PathBuf), Error> {
        files::write(directory, FILES, self, &self.html())
    }

    /// Writes the page alone, into a directory that is made if need be, and returns its path.
    ///
    /// # Errors
    /// [`Error::Io`] when it can not be written.
    pub fn write_page(&self, directory: &Path) -> Result<PathBuf, Error> {
        files::write_page(directory, FILES, &self.html())
    }
}

/// What a reader must know before believing the figures of a comparison.
#[must_use]
pub fn warnings(comparison: &Comparison) -> Vec<String> {
    let mut warnings = Vec::new();
    let file_system = &comparison.file_system;
    if file_system.is_memory() {
        warnings.push(format!(
            "the nodes' data lay on {}, in memory: fdatasync did nothing there, and neither did \
             durability; choose a disk with --data-dir",
            file_system.kind
        ));
    }
    if !comparison.machine.optimized {
        warnings.push("the binary was built without optimisation".to_owned());
    }
    let in_blocks =
        (0..comparison.plan.blocks.len()).map(|block| comparison.reads_not_found(block));
    let at_floors = comparison.floors.iter().map(|floor| floor.null.reads_not_found());
    let not_found: u64 = in_blocks.chain(at_floors).sum();
    if not_found > 0 {
        warnings.push(format!(
            "{not_found} reads found no key, though every key was written before: acknowledged \
             writes were lost or a read was stale; what they belong to is left out"
        ));
    }
    let blocks = comparison.plan.blocks.len();
    if blocks < BLOCKS_TO_CONCLUDE {
        warnings.push(format!(
            "{} too few for an interval that means what it says; {BLOCKS_TO_CONCLUDE} are the least",
            if blocks == 1 { "1 block is".to_owned() } else { format!("{blocks} blocks are") }
        ));
    }
    if let Some(stolen) = comparison.stolen_percent.filter(|&stolen| stolen >= 2.0) {
        warnings.push(format!("a hypervisor gave {stolen:.1} % of the cores' time to others"));
    }
    let cores = comparison.machine.cores as f64;
    if let Some(load) = comparison.machine.load_average.filter(|&load| load > 0.5 * cores) {
        warnings.push(format!("the machine was busy before the start: load average {load}"));
    }
    let (before, after) = (comparison.disk_before.p50_ms, comparison.disk_after.p50_ms);
    if before.max(after) > 2.0 * before.min(after) {
        warnings.push(format!(
            "the disk changed meanwhile: fdatasync p50 was {} ms before and {} ms after",
            format::figure(before),
            format::figure(after)
        ));
    }
    warnings
}
