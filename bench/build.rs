//! Records which compiler and which commit a binary is built from, for the report of a measurement.

#![allow(clippy::disallowed_methods, reason = "cargo speaks to a build script by its environment")]

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = answer(Command::new(rustc).arg("--version"));
    let version = version.unwrap_or_else(|| "rustc of unknown version".to_owned());
    emit(&format!("cargo:rustc-env=DUORUM_BUILD_RUSTC={version}"));
    if let Some(commit) = answer(Command::new("git").args(["rev-parse", "--short=12", "HEAD"])) {
        emit(&format!("cargo:rustc-env=DUORUM_BUILD_COMMIT={commit}"));
    }
    emit("cargo:rerun-if-changed=build.rs");
    // The log of HEAD grows with every commit and checkout. Cargo takes a file that is not there as
    // always changed, so it is named only where it is.
    let head = "../.git/logs/HEAD";
    if std::path::Path::new(head).exists() {
        emit(&format!("cargo:rerun-if-changed={head}"));
    }
}

/// The first line that a program prints, if it succeeds.
fn answer(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.lines().next()?.to_owned())
}

/// Cargo reads a build script's instructions from its standard output.
fn emit(instruction: &str) {
    println!("{instruction}");
}
