//! What was measured, as it is written to `ablations.json`, and beside it the page.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::page;
use super::pair::Pair;
use crate::Error;
use crate::report::Report;
use crate::report::{files, read};

/// The version of the format of `ablations.json`.
pub(super) const FORMAT: u32 = 1;
/// The files of a report, JSON first.
const FILES: [&str; 2] = ["ablations.json", "ablations.html"];

/// Everything that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ablations {
    /// The version of this format.
    pub format: u32,
    /// The command line.
    pub command: String,
    /// The pairs in the order in which they were measured.
    pub pairs: Vec<Ablated>,
}

/// One pair, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ablated {
    /// Who was compared.
    pub pair: Pair,
    /// The comparison with every raw figure; `None` if it could not be made.
    pub report: Option<Report>,
    /// Why it could not be made.
    pub failure: Option<String>,
}

impl Ablations {
    /// Nothing measured yet.
    #[must_use]
    pub fn new(command: String) -> Self {
        Self { format: FORMAT, command, pairs: Vec::new() }
    }

    /// Whether every pair was measured.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.pairs.iter().all(|pair| pair.failure.is_none())
    }

    /// Refuses a directory into which the files could not be written, so that nobody waits for minutes to
    /// learn it.
    ///
    /// # Errors
    /// [`Error::Io`] when one of the files is there and can not be written.
    pub fn check_writable(directory: &Path) -> Result<(), Error> {
        files::check_writable(directory, FILES)
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
        files::write(directory, FILES, self, &self.html())
    }

    /// Writes the page alone, into a directory that is made if need be, and returns its path.
    ///
    /// # Errors
    /// [`Error::Io`] when it can not be written.
    pub fn write_page(&self, directory: &Path) -> Result<PathBuf, Error> {
        files::write_page(directory, FILES, &self.html())
    }

    /// Whether this is `ablations.json` rather than `report.json`.
    #[must_use]
    pub(crate) fn is_in(value: &Value) -> bool {
        value.get("pairs").is_some()
    }

    /// From JSON, with why it is refused: each pair's report must be a whole one, as a report of its own.
    pub(crate) fn of(value: Value) -> Result<Self, String> {
        let pairs = value["pairs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let reports = || pairs.iter().enumerate().filter(|(_, pair)| !pair["report"].is_null());
        let version = || {
            reports()
                .find_map(|(_, pair)| pair["report"]["comparison"]["machine"]["duorum"].as_str())
        };
        read::check_format(&value, "format", FORMAT, version())?;
        for (number, pair) in reports() {
            read::check(&pair["report"]).map_err(|why| format!("pairs[{number}]: {why}"))?;
        }
        let read: Self = read::typed(value)?;
        for (number, Ablated { pair, report, .. }) in read.pairs.iter().enumerate() {
            let is_another =
                |report: &Report| report.comparison.settings.contenders != pair.contenders;
            if report.as_ref().is_some_and(is_another) {
                return Err(format!(
                    "the report is damaged: pairs[{number}] is about {}, and its comparison about others",
                    pair.title()
                ));
            }
        }
        Ok(read)
    }

    /// Reads `ablations.json`.
    ///
    /// # Errors
    /// As [`Report::read`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        read::read(path, Self::of)
    }
}
