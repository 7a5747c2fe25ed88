//! One server: a node with its HTTP API, from start to stop. Several can live in one process.

use std::fmt;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use consensus::Leadership;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use crate::config::ServeConfig;
use crate::http::Listener;
use crate::node::faults::CrashOrder;
use crate::node::handle::{Consistency, Failure, NodeHandle};
use crate::node::{Node, StartError};

/// How long one attempt to find out whether the node is ready takes.
const READY_ATTEMPT: Duration = Duration::from_secs(1);
/// How long a stopping leader tries to hand over its office.
const HAND_OVER_TIME_MAX: Duration = Duration::from_secs(1);
/// How long a stopping node that has handed over goes on as a follower: the others may have forwarded
/// writes to it before they knew, and what it refuses in time they hand to the new leader.
const HANDED_OVER_WAIT: Duration = Duration::from_millis(50);
/// Descriptors that a server needs besides those of its client connections.
const DESCRIPTORS_OWN: u64 = 256;

/// Why a server did not start, or stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServeError {
    /// It could not be started: what, where, and what to do.
    Start(String),
    /// It ran and had to stop, to keep what clients were promised.
    Failed(String),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(cause) => f.write_str(cause),
            Self::Failed(cause) => write!(f, "the node had to stop: {cause}"),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<StartError> for ServeError {
    fn from(error: StartError) -> Self {
        Self::Start(error.to_string())
    }
}

/// A running server.
pub struct Server {
    node: Node,
    http_address: SocketAddr,
    /// Set to true to stop the HTTP side.
    stop_http: watch::Sender<bool>,
    http: JoinHandle<()>,
}

impl Server {
    /// Binds the addresses, starts the node and answers HTTP.
    ///
    /// # Errors
    /// [`ServeError::Start`] when an address or the data directory can not be used.
    pub async fn start(config: ServeConfig) -> Result<Self, ServeError> {
        // First the address, so that a second server by mistake does not get as far as the data.
        let address = config.http_address;
        let in_use = |cause: io::Error| {
            ServeError::Start(format!(
                "can not answer HTTP on {address}: {cause}; stop whatever uses that address, or \
                 choose another with --http"
            ))
        };
        let listener = Listener::bind(address).map_err(in_use)?;
        let http_address = listener.local_addr().map_err(in_use)?;
        let node = Node::start(config.node).await?;
        let (stop_http, stop) = watch::channel(false);
        let listener = Listener::new(listener, node.handle(), config.limits, stop);
        let http = tokio::spawn(listener.run().in_current_span());
        Ok(Self { node, http_address, stop_http, http })
    }

    /// Where HTTP is answered.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Where the node listens for its peers.
    #[must_use]
    pub fn peer_address(&self) -> SocketAddr {
        self.node.peer_address()
    }

    /// The node.
    #[must_use]
    pub fn handle(&self) -> NodeHandle {
        self.node.handle()
    }

    /// Waits until the node can confirm a read with a quorum, and says who leads.
    pub async fn ready(&self) {
        let handle = self.node.handle();
        while handle.barrier(Consistency::Linearizable, READY_ATTEMPT).await.is_err()
            || handle.status().consensus.leadership == Leadership::None
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the node fails, and says why.
    pub fn failed(&self) -> impl Future<Output = String> + Send + use<> {
        self.node.failed()
    }

    /// Waits until a fault wants this server to end as if it were killed.
    pub fn crashes(&self) -> impl Future<Output = CrashOrder> + Send + use<> {
        self.node.crashes()
    }

    /// Ends everything as if this server were killed, as far as that is possible within a process: no
    /// request is answered any more, nothing more is written.
    pub async fn crash(self) {
        self.http.abort();
        // What still holds requests hears that nobody answers them.
        let _ = self.stop_http.send(true);
        self.node.crash().await;
    }

    /// Ends the faults of this server, so that it can stop as it should.
    pub fn heal_faults(&self) {
        self.node.handle().heal_faults();
    }

    /// Hands the leader's office over, if this node has it, and waits until another one leads, for a
    /// second at most. Requests are answered meanwhile as ever.
    pub async fn hand_over(&self) {
        let handle = self.node.handle();
        let began = tokio::time::Instant::now();
        let attempts = async {
            while let Leadership::Established { .. } = handle.status().consensus.leadership {
                match handle.transfer(None, HAND_OVER_TIME_MAX).await {
                    Ok(leader) => {
                        let millis = began.elapsed().as_millis();
                        tracing::info!("{leader} leads now, {millis} ms after it was asked to");
                        tokio::time::sleep(HANDED_OVER_WAIT).await;
                    }
                    // Somebody else has asked, a moment ago.
                    Err(Failure::TransferUnderWay) => {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    Err(failure) => return Some(failure),
                }
            }
            None
        };
        let failure = match tokio::time::timeout(HAND_OVER_TIME_MAX, attempts).await {
            Ok(None) => return,
            Ok(Some(failure)) => failure,
            Err(_) => Failure::TransferFailed,
        };
        let facts = handle.facts();
        if facts.members.len() - facts.observers.len() > 1 {
            tracing::warn!("leadership is not handed over, the others will elect: {failure:?}");
        }
    }

    /// Takes no more requests, lets those under way end, and stops the node.
    pub async fn stop(self) {
        // The receiver is gone only if the listener is.
        let _ = self.stop_http.send(true);
        if let Err(panic) = self.http.await {
            tracing::error!("the HTTP listener failed: {panic}");
        }
        self.node.stop().await;
    }
}

/// Runs a server until told to stop, as `duorum serve` does: a line on stdout when it has started,
/// and another when it is ready. A leader that is told to stop hands over first.
///
/// # Errors
/// When it can not be started, or had to stop because it failed.
pub async fn serve(
    config: ServeConfig,
    shutdown: impl Future<Output = &'static str>,
) -> Result<(), ServeError> {
    raise_descriptor_limit(config.limits.connections_max);
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let node = config.node.clone();
    let server = Server::start(config).await?;
    say(&format!(
        "duorum {} {} {} {} of {}: http {}, peer {}, data {}",
        env!("CARGO_PKG_VERSION"),
        node.protocol,
        if node.observers.contains(&node.id) { "observer" } else { "node" },
        node.id.0,
        node.members.len(),
        server.http_address(),
        server.peer_address(),
        node.data_directory.display(),
    ));
    let tell_ready = async {
        server.ready().await;
        say("ready");
        std::future::pending().await
    };
    let failure = tokio::select! {
        cause = shutdown => {
            tracing::info!("stopping: {cause}");
            server.heal_faults();
            server.hand_over().await;
            None
        }
        cause = server.failed() => Some(cause),
        never = tell_ready => never,
    };
    server.stop().await;
    match failure {
        Some(cause) => Err(ServeError::Failed(cause)),
        None => {
            tracing::info!("stopped");
            Ok(())
        }
    }
}

/// Writes a line to stdout. That nobody reads it is no reason to stop.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Asks the system for as many descriptors as the connections need, as far as it gives them.
pub(crate) fn raise_descriptor_limit(connections_max: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = connections_max as u64 + DESCRIPTORS_OWN;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let result = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
    if result.is_err() || raised < wanted {
        tracing::warn!(
            "the system allows {raised} open files, fewer than {connections_max} client \
             connections may need; raise it with `ulimit -n {wanted}`"
        );
    }
}
