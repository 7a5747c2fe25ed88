//! The two files of a report: JSON for programs, and a page for people.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Error;

/// The names, JSON first.
type Names = [&'static str; 2];

/// Refuses a directory into which they could not be written.
pub(crate) fn check_writable(directory: &Path, names: Names) -> Result<(), Error> {
    for path in names.map(|name| directory.join(name)).iter().filter(|path| path.exists()) {
        let opened = fs::OpenOptions::new().append(true).open(path);
        opened.map_err(|source| Error::path("write", path, source))?;
    }
    Ok(())
}

/// Writes both into an existing directory and returns the paths, JSON first.
pub(crate) fn write(
    directory: &Path,
    names: Names,
    report: &impl Serialize,
    page: &str,
) -> Result<(PathBuf, PathBuf), Error> {
    let [json, html] = names.map(|name| directory.join(name));
    // With every sample in it, it is for programs; indented it would be several times as large.
    let mut text = serde_json::to_vec(report).expect("a report is made of plain data");
    text.push(b'\n');
    fs::write(&json, text).map_err(|source| Error::path("write", &json, source))?;
    fs::write(&html, page).map_err(|source| Error::path("write", &html, source))?;
    Ok((json, html))
}

/// Writes the page alone, into a directory that is made if need be, and returns its path.
pub(crate) fn write_page(directory: &Path, [_, html]: Names, page: &str) -> Result<PathBuf, Error> {
    fs::create_dir_all(directory).map_err(|source| Error::path("create", directory, source))?;
    let html = directory.join(html);
    fs::write(&html, page).map_err(|source| Error::path("write", &html, source))?;
    Ok(html)
}
