//! A report from its file, so that its page and table can be made again.

use std::fs;
use std::path::Path;

use serde_json::Value;
use serde_json::error::Category;

use super::Report;
use crate::Error;
use crate::compare::{Analysis, FORMAT};

/// The largest file that is read.
const REPORT_BYTES_MAX: u64 = 512 << 20;

/// Without these nobody can judge the figures. What is not known is there as well, and says so.
const MANIFEST: [&str; 24] = [
    "command",
    "began_at_seconds",
    "machine.cores",
    "machine.cpu",
    "machine.frequency_governor",
    "machine.memory_bytes",
    "machine.kernel",
    "machine.load_average",
    "machine.rustc",
    "machine.duorum",
    "machine.commit",
    "machine.optimized",
    "machine.features",
    "file_system.kind",
    "file_system.options",
    "file_system.super_options",
    "disk_before",
    "disk_after",
    "loopback_before",
    "loopback_after",
    "stolen_percent",
    "settings",
    "failover_options",
    "plan",
];

impl Report {
    /// Reads `report.json`. What may be concluded is concluded anew from what was measured.
    ///
    /// # Errors
    /// [`Error::Io`] when the file can not be read, [`Error::Usage`] when it is no report of this version, or not a
    /// whole one: with its manifest missing, cut off, or with what can not have been measured.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = fs::metadata(path).map_err(|source| Error::path("read", path, source))?.len();
        let refused = |why: String| Error::Usage(format!("{}: {why}", path.display()));
        if bytes > REPORT_BYTES_MAX {
            return Err(refused(format!(
                "{bytes} bytes are no report: allowed are {REPORT_BYTES_MAX}"
            )));
        }
        let text = fs::read(path).map_err(|source| Error::path("read", path, source))?;
        Self::from_json(&text).map_err(refused)
    }

    fn from_json(text: &[u8]) -> Result<Self, String> {
        let value: Value =
            serde_json::from_slice(text).map_err(|error| match error.classify() {
                Category::Eof => format!("the report is cut off: {error}"),
                _ => format!("no report of `duorum compare`: {error}"),
            })?;
        let comparison = &value["comparison"];
        match comparison["format"].as_u64() {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) => {
                let version = comparison["machine"]["duorum"].as_str().unwrap_or("unknown");
                return Err(format!(
                    "the report has format {format}, and this version reads {FORMAT}: render it with the version that \
                     wrote it (duorum {version}), or measure again"
                ));
            }
            None => {
                return Err(
                    "no report of `duorum compare`: it has no `comparison.format`".to_owned()
                );
            }
        }
        let is_missing = |name: &&&str| {
            let pointer = format!("/{}", name.replace('.', "/"));
            comparison.pointer(&pointer).is_none()
        };
        if let Some(name) = MANIFEST.iter().find(is_missing) {
            return Err(format!(
                "the report has lost its manifest: there is no `comparison.{name}`. Figures without their machine \
                 and settings say nothing, so no page is made of them; measure again"
            ));
        }
        let mut report: Self = serde_path_to_error::deserialize(value).map_err(|error| {
            format!("the report is damaged at `{}`: {}", error.path(), error.inner())
        })?;
        report.comparison.check().map_err(|why| format!("the report is damaged: {why}"))?;
        report.analysis = Analysis::of(&report.comparison);
        Ok(report)
    }
}
