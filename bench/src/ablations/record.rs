//! What was measured, as it is written to `ablations.json`, and beside it the page.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::page;
use super::pair::Pair;
use crate::Error;
use crate::report::Report;

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
        for path in FILES.map(|name| directory.join(name)).iter().filter(|path| path.exists()) {
            let opened = fs::OpenOptions::new().append(true).open(path);
            opened.map_err(|source| Error::path("write", path, source))?;
        }
        Ok(())
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
        let [json, html] = FILES.map(|name| directory.join(name));
        let mut text = serde_json::to_vec(self).expect("a report is made of plain data");
        text.push(b'\n');
        fs::write(&json, text).map_err(|source| Error::path("write", &json, source))?;
        fs::write(&html, self.html()).map_err(|source| Error::path("write", &html, source))?;
        Ok((json, html))
    }
}
