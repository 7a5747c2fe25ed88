//! Looks for what is installed, and asks it for its version.

use std::io::{self, Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::choice::System;
use crate::Error;
use crate::cluster::without_settings_of_others;

/// Where distributions put programs, whatever the user's `PATH` says.
pub(super) const PLACES: [&str; 3] = ["/usr/bin", "/usr/sbin", "/usr/local/bin"];

/// How long a program may take to tell its version: a Java machine on a busy computer takes seconds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A path that means the same wherever it is read: a bare name would be looked for in `PATH`.
pub(super) fn absolute(path: &Path) -> PathBuf {
    // This fails only for an empty path or without a working directory.
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A program of this name in the user's `PATH` or in the usual places.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&path).filter(|directory| directory.is_absolute());
    own.chain(PLACES.map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| is_program(file))
}

/// Whether this is a file that can be run.
pub(super) fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// What a program that was asked for its version prints, on whichever of its outputs.
///
/// # Errors
/// [`Error::Usage`] when it can not be started, fails or does not end: then it is not what it was taken for.
pub(super) fn ask(system: System, command: &mut Command) -> Result<String, Error> {
    let name = command.get_program().to_string_lossy().into_owned();
    run(command, ANSWER_TIME_MAX).map_err(|why| {
        let flag = system.flag_value();
        Error::Usage(format!(
            "--with {flag}: {name} does not tell its version: {why}; name another with --with {flag}=PATH"
        ))
    })
}

/// Runs a program to its end, as the nodes will be run: without what the environment says to it.
fn run(command: &mut Command, time_max: Duration) -> Result<String, String> {
    let in_words = |error: io::Error| error.to_string();
    // A file takes whatever is printed, however much, without anybody who reads meanwhile.
    let mut printed = tempfile::tempfile().map_err(in_words)?;
    let output = || printed.try_clone().map_err(in_words);
    let (standard, errors) = (output()?, output()?);
    let command = without_settings_of_others(command).stdin(Stdio::null());
    let mut child = command.stdout(standard).stderr(errors).spawn().map_err(in_words)?;
    let deadline = Instant::now() + time_max;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(in_words)? {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill().and_then(|()| child.wait());
            return Err(format!("it does not end within {} s", time_max.as_secs()));
        }
        std::thread::sleep(POLL_INTERVAL);
    };
    let mut bytes = Vec::new();
    let rewound =
        printed.rewind().and_then(|()| printed.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes));
    rewound.map_err(in_words)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if status.success() {
        return Ok(text);
    }
    Err(format!("{status} {}", text.lines().last().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name_and_what_is_none_is_not() {
        let shell = program("sh").expect("every machine has a shell");
        assert!(shell.is_absolute() && is_program(&shell));
        assert_eq!(program("a-program-that-nobody-has-written"), None);
        assert!(!is_program(Path::new("/")));
        assert!(!is_program(Path::new("/proc/self/status")));
    }

    #[test]
    fn a_program_that_does_not_end_is_not_waited_for_and_one_that_prints_much_is_cut_short() {
        let shell = |script: &str| {
            run(Command::new("sh").args(["-c", script]), Duration::from_secs(1))
                .map(|text| text.len())
        };
        let error = shell("exec sleep 1000").expect_err("it sleeps");
        assert_eq!(error, "it does not end within 1 s");
        let much = shell("yes | head -c 300000");
        assert_eq!(much, Ok(usize::try_from(ANSWER_BYTES_MAX).expect("a length")));
    }

    #[test]
    fn a_version_is_read_from_either_output_and_a_failure_is_told() {
        let shell = |text: &str| ask(System::Etcd, Command::new("sh").args(["-c", text]));
        assert_eq!(shell("echo one; echo two >&2").expect("succeeds"), "one\ntwo\n");
        let error = shell("echo no such flag >&2; exit 3").expect_err("fails").to_string();
        assert!(error.starts_with("--with etcd: sh does not tell its version: "), "{error}");
        assert!(error.contains("3 no such flag"), "{error}");
        let error = ask(System::ZooKeeper, &mut Command::new("/nowhere/java"));
        assert!(
            error.expect_err("not there").to_string().contains("--with zookeeper: /nowhere/java")
        );
    }
}
