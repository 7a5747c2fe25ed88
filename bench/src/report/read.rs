//! A report from its file, so that its page and table can be made again.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use super::Report;
use crate::Error;
use crate::compare::{Comparison, FORMAT};
use crate::exact::Brief;
use crate::systems::Systems;

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

/// What is read of a report: what was measured, and nothing that was concluded from it.
#[derive(Deserialize)]
pub(crate) struct Measured {
    comparison: Comparison,
    #[serde(default)]
    exact: Option<Brief>,
    #[serde(default)]
    systems: Option<Systems>,
}

impl TryFrom<Measured> for Report {
    type Error = String;

    fn try_from(measured: Measured) -> Result<Self, String> {
        let Measured { comparison, exact, systems } = measured;
        comparison.check()?;
        Ok(Self { exact, systems, ..Self::new(comparison) })
    }
}

impl Report {
    /// Reads `report.json`. What may be concluded is concluded anew from what was measured.
    ///
    /// # Errors
    /// [`Error::Io`] when the file can not be read, [`Error::Usage`] when it is no report of this version, or not a
    /// whole one: with its manifest missing, cut off, or with what can not have been measured.
    pub fn read(path: &Path) -> Result<Self, Error> {
        read(path, Self::of)
    }

    /// From JSON, with why it is refused.
    pub(crate) fn of(value: Value) -> Result<Self, String> {
        check(&value)?;
        typed(value)
    }
}

/// Reads a file with JSON of a report and makes something of it.
pub(crate) fn read<T>(path: &Path, of: fn(Value) -> Result<T, String>) -> Result<T, Error> {
    let bytes = fs::metadata(path).map_err(|source| Error::path("read", path, source))?.len();
    let refused = |why: String| Error::Usage(format!("{}: {why}", path.display()));
    if bytes > REPORT_BYTES_MAX {
        return Err(refused(format!(
            "{bytes} bytes are no report: allowed are {REPORT_BYTES_MAX}"
        )));
    }
    let text = fs::read(path).map_err(|source| Error::path("read", path, source))?;
    let value = serde_json::from_slice(&text).map_err(|error| match error.classify() {
        Category::Eof => format!("the report is cut off: {error}"),
        _ => format!("no report of `duorum compare`: {error}"),
    });
    value.and_then(of).map_err(refused)
}

/// Refuses a report of another version, or without its manifest.
pub(crate) fn check(report: &Value) -> Result<(), String> {
    let comparison = &report["comparison"];
    let version = comparison["machine"]["duorum"].as_str();
    check_format(comparison, "comparison.format", FORMAT, version)?;
    let is_missing = |name: &&&str| {
        let pointer = format!("/{}", name.replace('.', "/"));
        comparison.pointer(&pointer).is_none()
    };
    match MANIFEST.iter().find(is_missing) {
        None => Ok(()),
        Some(name) => Err(format!(
            "the report has lost its manifest: there is no `comparison.{name}`. Figures without their machine \
             and settings say nothing, so no page is made of them; measure again"
        )),
    }
}

/// Refuses another format than this one, and says who reads that.
pub(crate) fn check_format(
    value: &Value,
    name: &str,
    expected: u32,
    version: Option<&str>,
) -> Result<(), String> {
    match value["format"].as_u64() {
        Some(format) if format == u64::from(expected) => Ok(()),
        Some(format) => Err(format!(
            "the report has format {format}, and this version reads {expected}: render it with the version that \
             wrote it (duorum {}), or measure again",
            version.unwrap_or("unknown")
        )),
        None => Err(format!("no report of `duorum compare`: it has no `{name}`")),
    }
}

/// JSON as what it stands for, or the place where it does not.
pub(crate) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| match error.path().to_string() {
        path if path == "." => format!("the report is damaged: {}", error.inner()),
        path => format!("the report is damaged at `{path}`: {}", error.inner()),
    })
}
