//! Real servers as child processes, and a client of a few lines, for tests that need real signals.

#![allow(clippy::print_stderr, reason = "a test that failed shows what the servers logged")]

mod client;
mod cluster;
mod dev_process;
mod load;
mod place;
mod served;
mod strace;

use std::time::{Duration, Instant};

pub(crate) use client::{
    Answer, etcd_number, etcd_revisions, etcd_watch, history, lines_of_watch, request,
    request_with, request_within, watch,
};
pub(crate) use cluster::Processes;
pub(crate) use dev_process::{DevProcess, refused};
pub(crate) use load::{Load, Seen, assert_kept};
pub(crate) use place::Place;
pub(crate) use served::Served;
pub(crate) use strace::{complete_calls, is_sync};

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_duorum");

/// How long anything may take that has to happen. Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
