//! Ending with the process that started this one.
//!
//! A measurement that is killed with SIGKILL can not end its nodes any more. The kernel can: each
//! child asks it for a signal when its parent ends.

use std::io;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Asks the kernel to send this process SIGTERM when the process that started it ends; more exactly,
/// when the thread does that started it, so that thread must live as long as its children are wanted
/// (prctl(2), `PR_SET_PDEATHSIG`).
///
/// The parent passes its own number, by which a parent that ended before the kernel was asked is
/// found out.
///
/// # Errors
/// When the kernel refuses, or the parent is already gone: then this process must end by itself.
pub fn stop_with_parent(parent: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    let now = getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if now == Some(parent) {
        return Ok(());
    }
    Err(io::Error::other(format!("process {parent}, which started this one, is gone")))
}

/// The flag that tells a child to call [`stop_with_parent`], with this process as the parent.
pub(crate) fn flag() -> [String; 2] {
    ["--stop-with-parent".to_owned(), std::process::id().to_string()]
}
