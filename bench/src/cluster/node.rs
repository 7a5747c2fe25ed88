//! One node as a child process.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use consensus::NodeId;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::ClusterOptions;
use crate::Error;

/// How much of a log an error shows.
const LAST_WORDS_LINES: usize = 12;
const LAST_WORDS_BYTES: u64 = 4 << 10;
/// How long after a signal a process may still be doing something. The signal interrupts the core
/// that runs the process within microseconds, and a process that waits for a core gets the signal
/// before anything else.
const SIGNAL_MARGIN: Duration = Duration::from_millis(1);

/// One node of a cluster.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    /// Where it talks to its clients.
    pub(crate) http: SocketAddr,
    executable: PathBuf,
    arguments: Vec<String>,
    /// How our own program is told to become another one; none for a node of ours.
    launcher: Vec<String>,
    pub(super) data: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    /// A process that was killed and has not been reaped yet.
    dying: Option<Child>,
    paused: bool,
    /// What it was asked to do to itself, by name.
    pub(super) fault: Option<String>,
}

/// What processes used of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourceUse {
    /// Time on a core, in user and kernel mode together, in seconds.
    pub cpu_seconds: f64,
    /// The most memory that any of the processes ever occupied, in bytes.
    pub memory_peak_bytes_max: u64,
}

impl ResourceUse {
    /// What several processes used together; of memory it is the largest of them.
    pub(crate) fn sum(all: impl Iterator<Item = Self>) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            cpu_seconds: sum.cpu_seconds + one.cpu_seconds,
            memory_peak_bytes_max: sum.memory_peak_bytes_max.max(one.memory_peak_bytes_max),
        })
    }

    /// What was used since an earlier look; of memory there is only the peak.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds - earlier.cpu_seconds,
            memory_peak_bytes_max: self.memory_peak_bytes_max,
        }
    }
}

impl Node {
    pub(super) fn new(
        id: NodeId,
        http: SocketAddr,
        peer: SocketAddr,
        members: &str,
        options: &ClusterOptions,
    ) -> Self {
        let data = options.data.join(format!("node-{}", id.0));
        let arguments = [
            "serve".to_owned(),
            "--protocol".to_owned(),
            options.protocol.to_string(),
            "--id".to_owned(),
            id.0.to_string(),
            "--data-dir".to_owned(),
            data.display().to_string(),
            "--http".to_owned(),
            http.to_string(),
            "--peer".to_owned(),
            peer.to_string(),
            "--cluster".to_owned(),
            members.to_owned(),
        ];
        Self {
            id,
            http,
            executable: options.executable.clone(),
            launcher: Vec::new(),
            arguments: arguments.into_iter().chain(options.flags.iter().cloned()).collect(),
            data,
            log: options.logs.join(format!("{}-node-{}.log", options.name, id.0)),
            child: None,
            dying: None,
            paused: false,
            fault: None,
        }
    }

    /// Another program as a node: its path and arguments, and where it talks to its clients, keeps its
    /// data and says what it has to say. It is started through [`super::launch`] by our own program
    /// (`launcher`), so that it ends with this process as our own nodes do.
    pub(crate) fn of_program(
        id: NodeId,
        http: SocketAddr,
        launcher: &Path,
        command: Vec<String>,
        data: PathBuf,
        log: PathBuf,
    ) -> Self {
        let [flag, parent] = super::stop_with_parent_flag();
        Self {
            id,
            http,
            executable: launcher.to_owned(),
            launcher: ["bench", "launch", &flag, &parent, "--"].map(str::to_owned).into(),
            arguments: command,
            data,
            log,
            child: None,
            dying: None,
            paused: false,
            fault: None,
        }
    }

    /// Starts the process. Its settings come from the command line alone: what the user's own
    /// environment says about Duorum must not make one measurement differ from the next.
    pub(crate) fn start(&mut self) -> Result<(), Error> {
        if let Some(mut dying) = self.dying.take() {
            dying.wait().map_err(|source| Error::Io { what: "reap a node".to_owned(), source })?;
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(|source| Error::path("open the log", &self.log, source))?;
        let errors = log.try_clone().map_err(|source| Error::path("share", &self.log, source))?;
        let mut command = Command::new(&self.executable);
        command.args(&self.launcher).args(&self.arguments);
        if self.launcher.is_empty() {
            command.args(super::stop_with_parent_flag());
        }
        command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DUORUM_") {
                command.env_remove(name);
            }
        }
        let child =
            command.spawn().map_err(|source| Error::path("start", &self.executable, source))?;
        self.child = Some(child);
        self.paused = false;
        // A node that starts has none.
        self.fault = None;
        Ok(())
    }

    pub(crate) fn command_line(&self) -> String {
        if !self.launcher.is_empty() {
            return self.arguments.join(" ");
        }
        let name = self.executable.file_name().unwrap_or_default().to_string_lossy();
        format!("{name} {}", self.arguments.join(" "))
    }

    /// Whether the node was started and neither killed nor stopped.
    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some() && !self.paused
    }

    /// How the process ended, if it did so on its own.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    /// SIGKILL. The process is reaped later, before it is started again: giving back its memory
    /// takes longer than some elections.
    pub(crate) async fn kill(&mut self) -> Result<(Instant, Instant), Error> {
        let mut child = self.child.take().expect("only a running node is killed");
        let sent = Instant::now();
        let killed = child.kill();
        self.dying = Some(child);
        killed.map_err(|source| Error::Io { what: "SIGKILL".to_owned(), source })?;
        tokio::time::sleep(SIGNAL_MARGIN).await;
        Ok((sent, sent + SIGNAL_MARGIN))
    }

    /// SIGSTOP.
    pub(super) async fn pause(&mut self) -> Result<(Instant, Instant), Error> {
        let sent = Instant::now();
        self.signal(Signal::STOP)?;
        self.paused = true;
        tokio::time::sleep(SIGNAL_MARGIN).await;
        Ok((sent, sent + SIGNAL_MARGIN))
    }

    /// SIGCONT.
    pub(super) fn resume(&mut self) -> Result<(), Error> {
        self.signal(Signal::CONT)?;
        self.paused = false;
        Ok(())
    }

    /// How the process ended, if it has; then it is as if it had never been started.
    pub(super) fn reap(&mut self) -> Result<Option<ExitStatus>, Error> {
        let child = self.child.as_mut().expect("only a running node is waited for");
        let ended = child
            .try_wait()
            .map_err(|source| Error::Io { what: "wait for a node".to_owned(), source })?;
        if ended.is_some() {
            self.child = None;
        }
        Ok(ended)
    }

    /// The number of the process while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<(), Error> {
        let child = self.child.as_ref().expect("only a running node gets signals");
        kill_process(Pid::from_child(child), signal)
            .map_err(|source| Error::Io { what: format!("{signal:?}"), source: source.into() })
    }

    /// The end of the node's log.
    pub(crate) fn last_words(&self) -> String {
        let mut text = String::new();
        if let Ok(mut file) = File::open(&self.log) {
            let length = file.metadata().map(|metadata| metadata.len()).unwrap_or(0);
            let from = length.saturating_sub(LAST_WORDS_BYTES);
            let mut bytes = Vec::new();
            let read = file.seek(SeekFrom::Start(from)).and_then(|_| file.read_to_end(&mut bytes));
            if read.is_ok() {
                text = String::from_utf8_lossy(&bytes).into_owned();
            }
        }
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS_LINES)..].join("\n")
    }

    /// What the process used so far, from `/proc`; `None` when it is not there.
    pub(crate) fn resource_use(&self) -> Option<ResourceUse> {
        resource_use_of(&self.child.as_ref()?.id().to_string())
    }
}

/// The time that this process spent on a core so far, in seconds; 0 where `/proc` does not say.
pub(crate) fn own_cpu_seconds() -> f64 {
    resource_use_of("self").map_or(0.0, |used| used.cpu_seconds)
}

fn resource_use_of(process: &str) -> Option<ResourceUse> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program is in parentheses and may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let memory_peak_kib = || {
        let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.to_owned();
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(ResourceUse {
        // Linux reports in hundredths of a second on every architecture that it runs on here.
        cpu_seconds: ticks as f64 / 100.0,
        memory_peak_bytes_max: memory_peak_kib().unwrap_or(0) * 1024,
    })
}

impl Drop for Node {
    fn drop(&mut self) {
        for mut child in self.child.take().into_iter().chain(self.dying.take()) {
            // Either fails only when the process is already gone.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
