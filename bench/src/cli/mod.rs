//! The verbs `duorum bench` and `duorum compare`: their flags, and what they print.

mod ablate;
mod bench;
mod choices;
mod compare;
mod fault;
mod target;

use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use consensus::Protocol;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::Error;
use crate::machine::FileSystem;
pub use bench::{BenchArgs, run_bench};
pub use compare::{CompareArgs, run_compare};

/// Runs a measurement on a runtime and a thread of its own, until it is done or the user asks to
/// stop. Either way no child process is left when this returns.
///
/// One thread is the cheapest for the load generator, and the thread is a fresh one because the
/// caller may already run a runtime.
fn on_own_thread<T: Send>(
    measurement: impl Future<Output = Result<T, Error>> + Send,
) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|source| Error::Io { what: "start a runtime".to_owned(), source })?;
            runtime.block_on(async {
                tokio::select! {
                    done = measurement => done,
                    error = interrupted() => Err(error),
                }
            })
        });
        running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Waits for Ctrl-C or any other polite request to end.
async fn interrupted() -> Error {
    let listen = |kind| {
        signal(kind).map_err(|source| Error::Io { what: "listen for signals".to_owned(), source })
    };
    let all = (
        listen(SignalKind::interrupt()),
        listen(SignalKind::terminate()),
        listen(SignalKind::hangup()),
    );
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = all else {
        // Without signals the measurement can still be made; it only can not be stopped politely.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Error::Interrupted
}

/// A flag that takes the name of a protocol.
fn protocol_parser(names: &'static [&'static str]) -> impl TypedValueParser<Value = Protocol> {
    PossibleValuesParser::new(names)
        .map(|name| Protocol::from_name(&name).expect("only names of protocols are possible"))
}

/// The program that the children run: this one.
fn this_program() -> Result<PathBuf, Error> {
    std::env::current_exe()
        .map_err(|source| Error::Io { what: "find this program's own file".to_owned(), source })
}

/// A new directory inside one that is made if need be; removed when dropped.
fn new_directory(inside: &Path, prefix: &str) -> Result<tempfile::TempDir, Error> {
    std::fs::create_dir_all(inside).map_err(|source| Error::path("create", inside, source))?;
    tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in(inside)
        .map_err(|source| Error::path("create a directory in", inside, source))
}

/// Where the data of clusters goes unless the user says: the system's directory for temporary
/// files, or the given fallback where that lies in memory.
fn default_data_base(fallback: &Path) -> PathBuf {
    let temporary = std::env::temp_dir();
    match FileSystem::of(&temporary) {
        Ok(file_system) if !file_system.is_memory() => temporary,
        _ => fallback.to_owned(),
    }
}

/// Keeps the logs of the nodes when a measurement failed; they go with it otherwise.
fn keep_logs<T>(result: Result<T, Error>, logs: tempfile::TempDir) -> Result<T, Error> {
    let failed =
        matches!(&result, Err(error) if !matches!(error, Error::Interrupted | Error::Usage(_)));
    // Servers that somebody else started have theirs elsewhere.
    let any = std::fs::read_dir(logs.path()).is_ok_and(|mut files| files.next().is_some());
    if failed && any {
        let kept = logs.keep();
        // An error that does not name the logs itself gets them named here.
        return result.map_err(|error| match error {
            Error::Node { what, tail, .. } => Error::Node { what, tail, logs: Some(kept) },
            error => Error::Node { what: error.to_string(), tail: String::new(), logs: Some(kept) },
        });
    }
    result
}

/// A number of bytes with its unit: `500MB`, `64MiB`, `4096`.
fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 7] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
    ];
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (unit, factor) = unit.copied().unwrap_or(("", 1));
    let number = text.strip_suffix(unit).unwrap_or(text).trim_end();
    let number: u64 = number
        .parse()
        .map_err(|_| "expected a whole number with a unit: B, kB, MB, GB, KiB, MiB or GiB")?;
    number.checked_mul(factor).ok_or_else(|| "that is more than there is".to_owned())
}

/// Warns when what is measured on this directory says nothing about disks.
fn warn_of_memory(directory: &Path) {
    if let Ok(file_system) = FileSystem::of(directory)
        && file_system.is_memory()
    {
        remark(&format!(
            "warning: {} is on {}, in memory: fdatasync does nothing there; choose a disk with \
             --data-dir",
            directory.display(),
            file_system.kind
        ));
    }
}

/// Prints to the standard output. A reader that went away early, like `head`, is no error.
fn print(text: &str) {
    let mut output = io::stdout().lock();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

/// Says something that is no result.
fn remark(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A bar that fills as things are done.
fn counting_bar(count: u64, things: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:32} {pos} of {len} {msg}")
        .expect("the template is a constant that indicatif accepts");
    ProgressBar::new(count).with_style(style).with_message(things.to_owned())
}

/// A bar that fills as time passes.
fn time_bar(length: Duration, message: &str) -> ProgressBar {
    const TICK: Duration = Duration::from_millis(200);
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:32} {msg}")
        .expect("the template is a constant that indicatif accepts");
    let bar = ProgressBar::new(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
        .with_style(style)
        .with_message(message.to_owned());
    let moving = bar.clone();
    tokio::spawn(async move {
        let begin = std::time::Instant::now();
        while !moving.is_finished() {
            moving.set_position(u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX));
            tokio::time::sleep(TICK).await;
        }
    });
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit_or_none() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4_096),
            ("12B", 12),
            ("500MB", 500_000_000),
            ("64 MiB", 64 << 20),
            ("3kB", 3_000),
            ("2GiB", 2 << 30),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "MB", "-1", "1.5MB", "5mb", "99999999999999GiB"] {
            parse_bytes(text).expect_err(text);
        }
    }
}
