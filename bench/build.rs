//! Records which compiler and which commit a binary is built from, for the report of a measurement.

#![allow(clippy::disallowed_methods, reason = "cargo speaks to a build script by its environment")]

use std::path::Path;
use std::process::Command;

/// Everything that the program is made of, relative to this crate.
const SOURCES: [&str; 10] = [
    "../Cargo.lock",
    "../Cargo.toml",
    "../bench",
    "../consensus",
    "../consensus-raft",
    "../consensus-zab",
    "../kvcore",
    "../server",
    "../sim",
    "../storage",
];

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = answer(Command::new(rustc).arg("--version"));
    let version = version.unwrap_or_else(|| "rustc of unknown version".to_owned());
    emit(&format!("cargo:rustc-env=DUORUM_BUILD_RUSTC={version}"));
    emit("cargo:rerun-if-changed=build.rs");
    // Whoever changes a line and tests it should not wait for this crate to be built again, and
    // measures nothing worth a commit's name: only the optimised build carries it.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        name_the_commit();
    }
}

/// Says which commit is checked out, and marks it if what is built is not what was committed.
fn name_the_commit() {
    let Some(head) = answer(Command::new("git").args(["rev-parse", "--short=12", "HEAD"])) else {
        return;
    };
    let mut status = Command::new("git");
    status.args(["status", "--porcelain", "--"]).args(SOURCES);
    let modified = answer(&mut status).is_some();
    let mark = if modified { "-dirty" } else { "" };
    emit(&format!("cargo:rustc-env=DUORUM_BUILD_COMMIT={head}{mark}"));
    // The mark comes and goes with any of the sources, and the commit with the log of HEAD, which
    // grows with every commit and checkout. Cargo takes a file that is not there as always changed,
    // so it is named only where it is.
    for path in SOURCES.iter().chain(&["../.git/logs/HEAD"]) {
        if Path::new(path).exists() {
            emit(&format!("cargo:rerun-if-changed={path}"));
        }
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
