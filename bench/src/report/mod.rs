//! The report of a comparison: `report.json` with everything measured, and `index.html`, which
//! needs nothing but itself.

mod answer;
mod calibration;
mod exact;
mod failover;
mod figures;
pub mod format;
pub(crate) mod html;
mod latency;
mod manifest;
mod marks;
mod method;
mod opening;
mod page;
mod read;
mod runs;
mod svg;
mod systems;
mod tails;
mod throughput;
mod timelines;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::compare::{Analysis, Comparison};
use crate::exact::Brief;
use crate::stats::BLOCKS_TO_CONCLUDE;
use crate::systems::Systems;

/// The files of a report, JSON first.
const FILES: [&str; 2] = ["report.json", "index.html"];

/// What `report.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What may be concluded.
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
        for name in FILES {
            let path = directory.join(name);
            if path.exists() {
                let opened = fs::OpenOptions::new().append(true).open(&path);
                opened.map_err(|source| Error::path("write", &path, source))?;
            }
        }
        Ok(())
    }

    /// Writes both files into an existing directory and returns the paths, JSON first.
    ///
    /// # Errors
    /// [`Error::Io`] when a file can not be written.
    pub fn write(&self, directory: &Path) -> Result<(PathBuf, PathBuf), Error> {
        let [json, html] = FILES.map(|name| directory.join(name));
        // With every sample in it, it is for programs; indented it would be several times as large.
        let mut text = serde_json::to_vec(self).expect("a report is made of plain data");
        text.push(b'\n');
        fs::write(&json, text).map_err(|source| Error::path("write", &json, source))?;
        fs::write(&html, self.html()).map_err(|source| Error::path("write", &html, source))?;
        Ok((json, html))
    }

    /// Writes the page alone, into a directory that is made if need be, and returns its path.
    ///
    /// # Errors
    /// [`Error::Io`] when it can not be written.
    pub fn write_page(&self, directory: &Path) -> Result<PathBuf, Error> {
        fs::create_dir_all(directory).map_err(|source| Error::path("create", directory, source))?;
        let [_, html] = FILES.map(|name| directory.join(name));
        fs::write(&html, self.html()).map_err(|source| Error::path("write", &html, source))?;
        Ok(html)
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
