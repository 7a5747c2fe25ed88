//! `duorum dev`: all nodes of one or both protocols in one process, with real sockets and real disk.
//!
//! Each node is a whole [`Server`], with its own threads, directory and addresses, as `duorum serve`
//! runs it; they know of one another only through their sockets. What this adds: the addresses
//! ([`config`]), the directory, one screen to begin with, one log, and a few typed commands that stop
//! and start single nodes.
//!
//! Faults are enabled here ([`crate::node::faults`]). A node that is stopped by a typed line is stopped
//! cleanly; one that a fault crashes ends without writing or flushing anything more, but as its process
//! lives on, the file of its store is closed. It is not: a way to lose what the disk was not told; only
//! `kill -9` of `duorum serve` is a crash of everything.

mod command;
pub mod config;
mod directory;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub mod log;
mod screen;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use consensus::Protocol;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;

use self::command::Command;
use self::config::{DevConfig, NodeName};
use self::directory::DataDirectory;
use self::log::Loudness;
use crate::config::ServeConfig;
use crate::http::{self, Listener};
use crate::node::handle::{Consistency, NodeHandle};
use crate::serve::{Server, raise_descriptor_limit, say};

/// How often to look whether there are leaders.
const LEADER_PAUSE: Duration = Duration::from_millis(10);
/// How long one attempt to confirm a read takes.
const READY_ATTEMPT: Duration = Duration::from_secs(1);
/// After how long without a leader that is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the nodes could not be started: which, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevError(String);

impl fmt::Display for DevError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DevError {}

/// How the outside world speaks with a running `dev`.
pub struct Controls {
    /// Lines that somebody types; the end of them means to quit. `None` when nobody can.
    pub lines: Option<mpsc::Receiver<String>>,
    /// Signals to stop, by name. The second one means at once.
    pub signals: mpsc::Receiver<&'static str>,
    /// How much of the log is shown.
    pub loudness: Loudness,
}

/// A node that runs.
struct Running {
    handle: NodeHandle,
    stop: oneshot::Sender<()>,
    /// Ends when the node has stopped.
    task: JoinHandle<()>,
}

/// A node that had to stop by itself.
struct Failed {
    name: NodeName,
    cause: String,
    /// When to start it again, if a fault says that.
    restart_after: Option<Duration>,
}

/// All nodes.
struct Dev {
    config: DevConfig,
    /// Those that run.
    nodes: BTreeMap<NodeName, Running>,
    failures: mpsc::UnboundedSender<Failed>,
    takes_commands: bool,
    /// Behind the nodes, so that it goes after them.
    directory: DataDirectory,
}

/// Starts all nodes, says what to try, and runs until told to stop.
///
/// # Errors
/// When the nodes can not be started. Then none of them runs, and a temporary directory is gone.
pub async fn run(config: DevConfig, controls: Controls) -> Result<(), DevError> {
    let Controls { lines, mut signals, loudness } = controls;
    raise_descriptor_limit(config.connections_max());
    // The addresses before the data: a second one by mistake shall not get as far as that.
    check_addresses(&config)?;
    let directory = DataDirectory::open(&config).map_err(DevError)?;
    // Each node says at most once between its start and its end that it failed.
    let (failures, mut failed) = mpsc::unbounded_channel();
    let takes_commands = lines.is_some();
    let mut dev = Dev { config, nodes: BTreeMap::new(), failures, takes_commands, directory };
    let begun = dev.begin(&mut signals, &mut failed).await;
    if begun == Ok(true) {
        say(&screen::first(&dev));
        loudness.running();
        dev.serve(lines, &mut signals, &mut failed).await;
    }
    loudness.stopping();
    let words = tokio::select! {
        () = dev.stop_all() => "all nodes are stopped",
        // Somebody is impatient: what is durable is durable all the same.
        _ = signals.recv() => "not all nodes were stopped cleanly",
    };
    let fate = if dev.directory.is_temporary() {
        "their data are removed".to_owned()
    } else {
        format!("their data stay in {}", dev.directory.path().display())
    };
    drop(dev);
    begun.map(|_| say(&format!("{words}; {fate}")))
}

/// Finds out which address somebody else uses, before anything is started.
fn check_addresses(config: &DevConfig) -> Result<(), DevError> {
    for name in config.names() {
        let addresses = [(config.http_address(name), "HTTP"), (config.peer_address(name), "peer")];
        for (address, purpose) in addresses {
            Listener::bind(address).map_err(|cause| {
                DevError(format!(
                    "the {purpose} address of {name}, {address}, can not be used: {cause}; stop \
                     what uses it, perhaps another `duorum dev`, or choose other ports with \
                     --base-port"
                ))
            })?;
        }
    }
    Ok(())
}

impl Dev {
    /// Starts all nodes, and waits until each cluster has a leader; returns whether it has, and
    /// nobody wants them stopped before.
    async fn begin(
        &mut self,
        signals: &mut mpsc::Receiver<&'static str>,
        failed: &mut mpsc::UnboundedReceiver<Failed>,
    ) -> Result<bool, DevError> {
        // To open kept data may take long. To open new ones does not, and a node that was not waited
        // for could make its directory again behind the removal.
        let may_take_long = !self.directory.is_temporary();
        tokio::select! {
            started = self.start_all() => started?,
            _ = signals.recv(), if may_take_long => return Ok(false),
        }
        tokio::select! {
            () = self.led() => Ok(true),
            Some(Failed { name, cause, .. }) = failed.recv() => {
                Err(DevError(format!("{name} had to stop: {cause}")))
            }
            _ = signals.recv() => Ok(false),
        }
    }

    /// Starts all nodes at the same time.
    async fn start_all(&mut self) -> Result<(), DevError> {
        let mut starts = JoinSet::new();
        for name in self.config.names() {
            let serve = self.config.serve_config(name, self.directory.of(name));
            starts.spawn(start(name, serve, self.failures.clone()));
        }
        let mut errors = BTreeMap::new();
        while let Some(started) = starts.join_next().await {
            let (name, started) = started.expect("the start of a node does not panic");
            match started {
                Ok(node) => drop(self.nodes.insert(name, node)),
                Err(error) => drop(errors.insert(name, error)),
            }
        }
        errors.pop_first().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Does what is typed until told to stop.
    async fn serve(
        &mut self,
        mut lines: Option<mpsc::Receiver<String>>,
        signals: &mut mpsc::Receiver<&'static str>,
        failed: &mut mpsc::UnboundedReceiver<Failed>,
    ) {
        let mut restarts = JoinSet::new();
        loop {
            tokio::select! {
                _ = signals.recv() => return,
                Some(Ok(name)) = restarts.join_next() => self.start_again(name).await,
                line = next_line(&mut lines) => match line {
                    Some(line) if self.obey(&line).await => {}
                    _ => return,
                },
                Some(failed) = failed.recv() => {
                    let name = failed.name;
                    tracing::error!("{failed}");
                    self.forget(name);
                    if let Some(wait) = failed.restart_after {
                        restarts.spawn(async move {
                            sleep(wait).await;
                            name
                        });
                    }
                }
            }
        }
    }

    /// Does what one line says. Returns whether to go on.
    async fn obey(&mut self, line: &str) -> bool {
        let answer = match command::parse(line, &self.config) {
            Ok(Some(Command::Quit)) => return false,
            Ok(Some(Command::Status)) => screen::nodes(self),
            Ok(Some(Command::Help)) => command::help(&self.config),
            Ok(Some(Command::Stop(name))) => self.stop_node(name).await,
            Ok(Some(Command::Start(name))) => self.start_node(name).await,
            Ok(None) => return true,
            Err(wrong) => wrong,
        };
        say(answer.trim_end());
        true
    }

    /// Lets go of a node that failed; not of the same one if it was started again meanwhile.
    fn forget(&mut self, name: NodeName) {
        if self.nodes.get(&name).is_some_and(|node| node.stop.is_closed()) {
            self.nodes.remove(&name);
        }
    }

    /// Starts a node that a fault ended, unless somebody did so before.
    async fn start_again(&mut self, name: NodeName) {
        if !self.nodes.contains_key(&name) {
            let answer = self.start_node(name).await;
            tracing::info!("{answer}");
        }
    }

    async fn stop_node(&mut self, name: NodeName) -> String {
        let Some(node) = self.nodes.remove(&name) else {
            return format!("{name} is not running; `start {name}` starts it");
        };
        stop(node).await;
        format!("{name} is stopped; `start {name}` starts it again")
    }

    async fn start_node(&mut self, name: NodeName) -> String {
        if self.nodes.contains_key(&name) {
            return format!("{name} is running; `stop {name}` stops it");
        }
        let path = self.directory.of(name);
        let is_known = self.directory.is_known(name);
        let serve = self.config.serve_config(name, path);
        match start(name, serve, self.failures.clone()).await.1 {
            Ok(node) => {
                self.nodes.insert(name, node);
                if is_known {
                    format!("{name} is started")
                } else {
                    format!("{name} is started without its data: it follows, but never votes again")
                }
            }
            Err(error) => error.to_string(),
        }
    }

    /// Stops all nodes at the same time.
    async fn stop_all(&mut self) {
        let mut stops: JoinSet<()> =
            std::mem::take(&mut self.nodes).into_values().map(stop).collect();
        while stops.join_next().await.is_some() {}
    }

    /// Waits until each cluster has a leader that all its nodes know, and each node can be asked.
    async fn led(&self) {
        let began = Instant::now();
        let mut told = false;
        while let Some(protocol) =
            self.config.protocols().iter().find(|&&protocol| self.leader(protocol).is_none())
        {
            if !told && began.elapsed() > PATIENCE {
                tracing::warn!("{protocol} has no leader after {PATIENCE:?}; still waiting");
                told = true;
            }
            sleep(LEADER_PAUSE).await;
        }
        for node in self.nodes.values() {
            while node.handle.barrier(Consistency::Linearizable, READY_ATTEMPT).await.is_err() {
                sleep(LEADER_PAUSE).await;
            }
        }
    }

    /// The leader of a cluster, if all its nodes that run agree on it.
    fn leader(&self, protocol: Protocol) -> Option<NodeName> {
        let running = self.config.members(protocol).filter_map(|name| self.handle(name));
        let mut known = running
            .map(|handle| http::leader(handle.status().consensus.leadership, handle.facts().id));
        let id = known.next()??;
        known.all(|other| other == Some(id)).then_some(NodeName { protocol, id })
    }

    /// A node, if it runs.
    fn handle(&self, name: NodeName) -> Option<&NodeHandle> {
        self.nodes.get(&name).map(|node| &node.handle)
    }
}

/// Starts a node that lives until it is told to stop, or fails.
async fn start(
    name: NodeName,
    config: ServeConfig,
    failures: mpsc::UnboundedSender<Failed>,
) -> (NodeName, Result<Running, DevError>) {
    let span = log::span(name);
    let server = match Server::start(config).instrument(span.clone()).await {
        Ok(server) => server,
        Err(error) => return (name, Err(DevError(format!("{name} can not start: {error}")))),
    };
    let (stop, stopped) = oneshot::channel();
    let handle = server.handle();
    let life = async move {
        let failed = tokio::select! {
            _ = stopped => None,
            cause = server.failed() => Some(Failed { name, cause, restart_after: None }),
            order = server.crashes() => {
                let cause = format!("{} crashed it", order.fault);
                Some(Failed { name, cause, restart_after: Some(order.restart_after) })
            }
        };
        match &failed {
            Some(Failed { restart_after: Some(_), .. }) => server.crash().await,
            _ => server.stop().await,
        }
        if let Some(failed) = failed {
            // Without a listener everything is being stopped anyway.
            let _ = failures.send(failed);
        }
    };
    (name, Ok(Running { handle, stop, task: tokio::spawn(life.instrument(span)) }))
}

/// Stops a node and waits for its end.
async fn stop(node: Running) {
    let Running { handle, stop, task } = node;
    // What is held of a node keeps its directory locked.
    drop(handle);
    // A node that failed is stopping already.
    let _ = stop.send(());
    if let Err(panic) = task.await {
        tracing::error!("a node did not stop cleanly: {panic}");
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, cause, restart_after } = self;
        write!(f, "{name} had to stop: {cause}; ")?;
        match restart_after {
            None => write!(f, "`start {name}` starts it again"),
            Some(wait) => write!(f, "it starts again in {}", humantime::format_duration(*wait)),
        }
    }
}

/// The next line that somebody types; `None` when there will be none any more.
async fn next_line(lines: &mut Option<mpsc::Receiver<String>>) -> Option<String> {
    match lines {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    }
}
