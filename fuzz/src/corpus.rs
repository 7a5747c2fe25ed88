//! The inputs that are kept.

#![expect(clippy::disallowed_methods, reason = "the corpus is on disk")]

use std::fs;
use std::path::{Path, PathBuf};

/// The directory of a target's inputs.
#[must_use]
pub fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// The inputs of a target with the names of their files, in the order of the names.
///
/// # Panics
/// If they can not be read.
#[must_use]
pub fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = directory(target);
    let files = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{} can not be read: {error}", directory.display()));
    let mut inputs: Vec<(String, Vec<u8>)> = files
        .map(|file| {
            let path = file.expect("a directory is read to its end").path();
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            (name, fs::read(&path).expect("a file of the corpus can be read"))
        })
        .collect();
    inputs.sort();
    inputs
}
