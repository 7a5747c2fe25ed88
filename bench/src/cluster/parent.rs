//! Ending with the process that started this one.
//!
//! A measurement that is killed with SIGKILL can not end its nodes any more. The kernel can: each
//! child asks it for a signal when its parent ends.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// What the environment may say to the programs that others wrote begins so: settings of etcd's, of
/// ZooKeeper's scripts, and of any Java machine.
const SETTINGS_OF_OTHERS: [&str; 10] = [
    "ETCD_",
    "ZOO",
    "ZK_",
    "JMX",
    "JVMFLAGS",
    "SERVER_JVMFLAGS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
    "CLASSPATH",
];

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
    end_with_parent(parent, Signal::TERM)
}

fn end_with_parent(parent: u32, signal: Signal) -> io::Result<()> {
    set_parent_process_death_signal(Some(signal))?;
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

/// Becomes another program, which is killed when this process' parent ends: the kernel keeps the wish across
/// an exec, and SIGTERM would have an etcd look for another leader for many seconds. What the user's own environment says to that program is left out, so that one measurement
/// does not differ from the next.
///
/// # Errors
/// As [`stop_with_parent`]; when there is no such program, or none is named.
pub(crate) fn launch(parent: u32, command: &[String]) -> io::Error {
    if let Err(error) = end_with_parent(parent, Signal::KILL) {
        return error;
    }
    let Some((program, arguments)) = command.split_first() else {
        return io::Error::other("no program is named");
    };
    let error = without_settings_of_others(Command::new(program).args(arguments)).exec();
    io::Error::new(error.kind(), format!("start {program}: {error}"))
}

/// Leaves out of a program's environment what the user says there to programs that others wrote.
pub(crate) fn without_settings_of_others(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if SETTINGS_OF_OTHERS.iter().any(|setting| text.starts_with(setting)) {
            command.env_remove(name);
        }
    }
    command
}
