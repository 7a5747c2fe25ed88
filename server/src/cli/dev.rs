//! `duorum dev`.

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;
use tokio::sync::mpsc;

use super::{Complaint, Exit, signals};
use crate::dev::config::DevConfig;
use crate::dev::{self, Controls};

const NOTES: &str = "\
Examples:
  duorum dev                            three nodes of Raft and three of ZAB
  duorum dev --protocol zab --nodes 5   five nodes of ZAB
  duorum dev --data-dir cluster         the data are kept, and found again

Ports, above the base port: HTTP of Raft's nodes from +1, of ZAB's from +11;
peers of Raft's nodes from +101, of ZAB's from +111. With the defaults: HTTP
7001, 7002, 7003 and 7011, 7012, 7013; peers 7101, 7102, 7103 and 7111, 7112,
7113. All of them on 127.0.0.1 only.

At a terminal you can type: stop raft 2, start raft 2, status, help, quit.
Ctrl-C, SIGTERM and the end of the terminal stop everything cleanly; a second
Ctrl-C does not wait for that.

The log goes to stderr: the time of day (UTC), the node, what happened there.

Faults are enabled: /v1/faults and `duorum faults` break links, disks, clocks and
nodes, and heal them.";

/// Threads that may wait for a disk on behalf of clients, of all nodes together.
const BLOCKING_THREADS_MAX: usize = 64;
/// The longest line that is read; what is longer is no command anyway.
const LINE_BYTES_MAX: u64 = 1024;
/// How many lines may wait to be obeyed.
const LINES_MAX: usize = 16;
/// How often to look whether this process is in the foreground of its terminal again.
const FOREGROUND_PAUSE: Duration = Duration::from_millis(500);

/// The flags.
#[derive(Args, Debug)]
#[command(after_help = NOTES)]
pub(super) struct Dev {
    /// Which protocols: raft, zab or both
    #[arg(long, env = "DUORUM_PROTOCOL", value_name = "PROTOCOL", default_value = "both")]
    protocol: String,

    /// The nodes of each protocol, 1 to 9
    #[arg(long, env = "DUORUM_NODES", value_name = "NUMBER", default_value_t = 3)]
    nodes: u64,

    /// The port above which all ports lie, 1024 to 65416
    #[arg(long, env = "DUORUM_BASE_PORT", value_name = "PORT", default_value_t = 7000)]
    base_port: u64,

    /// Where to keep the data of all nodes, as DIR/raft-1 [default: a temporary directory, removed
    /// at the end]
    #[arg(long, env = "DUORUM_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// What is logged to stderr: error, warn, info, debug, trace or off
    #[arg(long, env = "DUORUM_LOG", value_name = "LEVEL", default_value = "info")]
    log: String,

    /// Obey the lines on stdin also when it is no terminal.
    #[arg(long, hide = true)]
    commands_from_stdin: bool,
}

impl Dev {
    /// Runs the verb, until it is told to stop.
    pub(super) fn run(self) -> Result<(), Complaint> {
        let usage =
            |error: crate::config::ConfigError| Complaint::new(Exit::Usage, error.to_string());
        let config = DevConfig::new(&self.protocol, self.nodes, self.base_port, self.data_dir)
            .map_err(usage)?;
        let loudness = dev::log::start(&self.log).map_err(usage)?;
        let failed = |cause: String| Complaint::new(Exit::No, cause);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .build()
            .map_err(|cause| failed(format!("no runtime: {cause}")))?;
        let result = runtime.block_on(async {
            let signals = signals::all().map_err(|cause| cause.to_string())?;
            let lines = if self.commands_from_stdin {
                Some(read_lines(|| true)?)
            } else if std::io::stdin().is_terminal() {
                Some(read_lines(wait_for_terminal)?)
            } else {
                None
            };
            let controls = Controls { lines, signals, loudness };
            dev::run(config, controls).await.map_err(|error| error.to_string())
        });
        // Whatever an impatient user did not wait for ends with the process.
        runtime.shutdown_background();
        result.map_err(failed)
    }
}

/// Reads stdin line by line, each time once `ready` returns, until it ends or `ready` says that it
/// did. The thread ends with the process at the latest.
fn read_lines(ready: impl Fn() -> bool + Send + 'static) -> Result<mpsc::Receiver<String>, String> {
    let (sender, receiver) = mpsc::channel(LINES_MAX);
    let read = move || {
        while ready() {
            let mut line = Vec::new();
            let read = std::io::stdin().lock().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            let line = String::from_utf8_lossy(&line).into_owned();
            if !matches!(read, Ok(1..)) || sender.blocking_send(line).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(read)
        .map_err(|cause| format!("no thread for stdin: {cause}"))?;
    Ok(receiver)
}

/// Waits until something was typed at this process. In the background it does not even look: the
/// system would halt the whole process for that.
fn wait_for_terminal() -> bool {
    let stdin = std::io::stdin();
    let pause = Timespec::try_from(FOREGROUND_PAUSE).expect("half a second");
    loop {
        match tcgetpgrp(&stdin) {
            Ok(foreground) if foreground == getpgrp() => {
                let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
                match poll(&mut polled, Some(&pause)) {
                    Ok(0) => {}
                    Ok(_) => return true,
                    Err(error) if error == rustix::io::Errno::INTR => {}
                    Err(_) => return false,
                }
            }
            Ok(_) => std::thread::sleep(FOREGROUND_PAUSE),
            // Not this process's terminal at all: it can be read, and nobody is halted.
            Err(rustix::io::Errno::NOTTY) => return true,
            Err(_) => return false,
        }
    }
}
