//! The report of a comparison: `report.json` with everything measured, and `index.html`, which
//! needs nothing but itself.

pub mod format;
mod html;
mod page;
mod plots;
mod svg;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::compare::{Analysis, Comparison};
use crate::stats::BLOCKS_TO_CONCLUDE;

/// What `report.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What may be concluded.
    pub analysis: Analysis,
    /// Everything that was measured.
    pub comparison: Comparison,
}

impl Report {
    /// Analyses a comparison.
    #[must_use]
    pub fn new(comparison: Comparison) -> Self {
        Self { analysis: Analysis::of(&comparison), comparison }
    }

    /// The HTML page.
    #[must_use]
    pub fn html(&self) -> String {
        page::page(self)
    }

    /// Writes both files into an existing directory and returns the paths, JSON first.
    ///
    /// # Errors
    /// [`Error::Io`] when a file can not be written.
    pub fn write(&self, directory: &Path) -> Result<(PathBuf, PathBuf), Error> {
        let json = directory.join("report.json");
        let html = directory.join("index.html");
        let mut text = serde_json::to_vec_pretty(self).expect("a report is made of plain data");
        text.push(b'\n');
        fs::write(&json, text).map_err(|source| Error::path("write", &json, source))?;
        fs::write(&html, self.html()).map_err(|source| Error::path("write", &html, source))?;
        Ok((json, html))
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
    let blocks = comparison.plan.blocks.len();
    if blocks < BLOCKS_TO_CONCLUDE {
        warnings.push(format!(
            "{blocks} blocks are too few for an interval that means what it says; \
             {BLOCKS_TO_CONCLUDE} are the least"
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
