//! One running node: its threads, its data directory, its connections with the other nodes.
//!
//! ```text
//!   clients ──▶ HTTP workers ──▶┌──────────────┐──▶ log writer ──▶ disk
//!      ▲                        │ consensus    │      │ persisted
//!      │   peers ◀──────────────│ thread: loop │◀─────┘
//!      │         ──────────────▶│ and peer I/O │──▶ applier ──▶ state machine ──▶ flusher ──▶ store
//!      │                        └──────────────┘      │ applied, answers
//!      └──────────────────────────────────────────────┘
//! ```

mod applier;
pub mod config;
pub(crate) mod driver;
pub mod faults;
pub mod formation;
mod giving_way;
pub mod handle;
#[cfg(feature = "measuring")]
pub mod measuring;
pub mod mechanisms;
mod open;
pub(crate) mod shared;
pub(crate) mod snapshots;
pub mod trace;
pub(crate) mod transport;
mod waiting;
mod workers;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc as thread_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use consensus::{Consensus, Null, Protocol};
use consensus_raft::Raft;
use consensus_zab::Zab;
use kvcore::replica::Replica;
use storage::{RealDisk, Wal, WalReader};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tracing::Span;

use applier::Applier;
use config::NodeConfig;
use driver::{Driver, DriverInput, INBOX_INPUTS_MAX, Workers};
use handle::NodeHandle;
use shared::Shared;
use transport::{Peers, accept_peers, dial_peers};
use waiting::give_up_in_time;

/// How long a stopping node lets the requests under way come to an end.
const STOP_WAIT: Duration = Duration::from_secs(3);

/// How faults end when their node does.
pub(crate) const OVER: &str = "over with its node";

/// Why a node could not be started: what is wrong, where, and what to do.
#[derive(Clone, Debug)]
pub struct StartError(pub String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// A node that runs until it is stopped, or until it fails.
pub struct Node {
    handle: NodeHandle,
    peer_address: SocketAddr,
    stop_driver: Pin<Box<dyn Future<Output = ()> + Send>>,
    stop_flusher: thread_channel::Sender<()>,
    threads: Vec<JoinHandle<()>>,
    failure: watch::Receiver<Option<String>>,
}

impl Node {
    /// Opens the data directory and starts the node.
    ///
    /// # Errors
    /// When the directory can not be used, or the peer address not be listened on.
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        match config.protocol {
            Protocol::Raft => Self::start_with::<Raft>(config).await,
            Protocol::Zab => Self::start_with::<Zab>(config).await,
            Protocol::Null => Self::start_with::<Null>(config).await,
        }
    }

    async fn start_with<C: Consensus>(config: NodeConfig) -> Result<Self, StartError> {
        let listener = listen(config.peer_address).await?;
        let peer_address = listener.local_addr().map_err(|error| StartError(error.to_string()))?;
        let (inbox_sender, inbox) = mpsc::channel(INBOX_INPUTS_MAX);
        let opened = tokio::task::spawn_blocking({
            let (inbox, span) = (inbox_sender.clone(), Span::current());
            move || span.in_scope(|| open::open::<C>(&config, inbox))
        });
        let opened = opened.await.map_err(|error| StartError(error.to_string()))??;
        let (replica, parts) = (opened.replica, opened.parts);
        let shared = Arc::clone(&parts.shared);
        let waiting = Arc::downgrade(&shared.waiting);
        tokio::spawn(give_up_in_time(waiting, shared.clock));
        let (failure_sender, failure) = watch::channel(None);
        let (stop_flusher, flusher_stops) = thread_channel::channel();
        let mut threads = Threads { failure: failure_sender, handles: Vec::new() };
        let workers = start_workers(&mut threads, parts, &inbox_sender, flusher_stops)?;
        start_consensus(
            &mut threads,
            replica,
            inbox,
            inbox_sender.clone(),
            workers,
            &shared,
            listener,
        )?;
        Ok(Self {
            handle: NodeHandle { shared },
            peer_address,
            stop_driver: Box::pin(tell_to_stop(inbox_sender)),
            stop_flusher,
            threads: threads.handles,
            failure,
        })
    }

    /// What the rest of the server knows of the node.
    #[must_use]
    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// Where the node listens for peers.
    #[must_use]
    pub fn peer_address(&self) -> SocketAddr {
        self.peer_address
    }

    /// Waits until the node fails, and says why. It never recovers from a failure by itself: a disk
    /// that lied or a violated law is nothing to go on with.
    pub fn failed(&self) -> impl Future<Output = String> + Send + use<> {
        let mut failure = self.failure.clone();
        async move {
            if let Ok(reason) = failure.wait_for(Option::is_some).await {
                return reason.clone().unwrap_or_default();
            }
            std::future::pending().await
        }
    }

    /// Waits until a fault wants this node to end as if it were killed.
    pub fn crashes(&self) -> impl Future<Output = faults::CrashOrder> + Send + use<> {
        let mut orders = self.handle.shared.crash_orders.subscribe();
        async move {
            loop {
                if let Some(order) = orders.borrow_and_update().clone() {
                    return order;
                }
                if orders.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Ends all threads as if the node were killed: nothing more is written to its log, nothing
    /// flushed, nobody told. Only what the system holds for the whole process it must give back
    /// itself: locks, sockets, and the file of the store.
    pub async fn crash(self) {
        let shared = &self.handle.shared;
        shared.stopping.store(true, Ordering::Relaxed);
        shared.faults.crash();
        // The loop wakes for it, and goes no further.
        self.stop_driver.await;
        Self::end_threads(self.stop_flusher, self.threads).await;
    }

    /// Takes no more requests, lets those under way end, brings the store up to date, and ends all
    /// threads.
    pub async fn stop(self) {
        let shared = &self.handle.shared;
        shared.stopping.store(true, Ordering::Relaxed);
        shared.heal_faults(OVER);
        let deadline = tokio::time::Instant::now() + STOP_WAIT;
        while !shared.waiting.is_empty()
            && tokio::time::Instant::now() < deadline
            && self.failure.borrow().is_none()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.stop_driver.await;
        Self::end_threads(self.stop_flusher, self.threads).await;
    }

    async fn end_threads(stop_flusher: thread_channel::Sender<()>, threads: Vec<JoinHandle<()>>) {
        let _ = stop_flusher.send(());
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // One that panicked has said so already.
                let _ = thread.join();
            }
        });
        let _ = joined.await;
    }
}

/// Tells the loop to stop, also when its inbox is full: the loop empties it, and places are given in
/// the order in which they were asked for.
async fn tell_to_stop<M>(inbox: mpsc::Sender<DriverInput<M>>) {
    // A loop that is gone needs no telling.
    let _ = inbox.send(DriverInput::Stop).await;
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| {
        StartError(format!(
            "cannot listen for peers on {address}: {error}; stop whatever uses that address, or \
             choose another with --peer and in --cluster"
        ))
    })
}

/// The threads of a node; the first that fails says why the node must stop.
struct Threads {
    failure: watch::Sender<Option<String>>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    fn start(
        &mut self,
        name: &str,
        work: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Result<(), StartError> {
        let failed = FailureGuard { thread: name.to_owned(), failure: self.failure.clone() };
        // What the threads log belongs to whatever the node was started for.
        let span = Span::current();
        let handle = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _within = span.entered();
                if let Err(problem) = work() {
                    failed.report(problem);
                }
            })
            .map_err(|error| StartError(format!("cannot start the thread {name:?}: {error}")))?;
        self.handles.push(handle);
        Ok(())
    }
}

/// Reports the end of a thread that panicked.
struct FailureGuard {
    thread: String,
    failure: watch::Sender<Option<String>>,
}

impl FailureGuard {
    fn report(&self, problem: String) {
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert(problem);
            first
        });
    }
}

impl Drop for FailureGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.report(format!("the thread {:?} found a law violated; see above", self.thread));
        }
    }
}

/// Starts the threads beside the loop; what they need was opened before.
fn start_workers<M: Send + 'static>(
    threads: &mut Threads,
    parts: open::Parts,
    inbox: &mpsc::Sender<DriverInput<M>>,
    flusher_stops: thread_channel::Receiver<()>,
) -> Result<Workers, StartError> {
    let open::Parts { wal, reader, disk, shared } = parts;
    let (log, log_queue) = thread_channel::channel();
    let (applier, applier_queue) = thread_channel::channel();
    let (fetcher, fetcher_queue) = thread_channel::channel();
    let (wanted, wanted_queue) = thread_channel::channel();
    let (prepared, prepared_queue) = thread_channel::channel();
    threads.start("segments", move || workers::keep_segments(&disk, &wanted_queue, &prepared))?;
    let (driver, its_shared): (_, Arc<Shared>) = (inbox.clone(), Arc::clone(&shared));
    threads.start("log", move || {
        let wal: Wal<RealDisk> = wal;
        workers::write_log(wal, &log_queue, (&wanted, &prepared_queue), &driver, &its_shared)
    })?;
    let (driver, its_shared) = (inbox.clone(), Arc::clone(&shared));
    threads.start("applier", move || Applier::new(its_shared).run(&applier_queue, &driver))?;
    let driver = inbox.clone();
    threads.start("fetcher", move || {
        let reader: WalReader<RealDisk> = reader;
        workers::fetch(reader, &fetcher_queue, &driver)
    })?;
    threads.start("flusher", move || workers::flush(&flusher_stops, &shared))?;
    Ok(Workers { log, applier, fetcher })
}

/// Starts the consensus thread: the loop and all peer connections, on one thread.
fn start_consensus<C: Consensus>(
    threads: &mut Threads,
    replica: Replica<C>,
    inbox: mpsc::Receiver<DriverInput<C::Message>>,
    inbox_sender: mpsc::Sender<DriverInput<C::Message>>,
    workers: Workers,
    shared: &Arc<Shared>,
    listener: TcpListener,
) -> Result<(), StartError> {
    let listener = listener.into_std().map_err(|error| StartError(error.to_string()))?;
    let shared = Arc::clone(shared);
    threads.start("consensus", move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start the consensus runtime: {error}"))?;
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async move {
            let listener = TcpListener::from_std(listener).map_err(|error| error.to_string())?;
            let (lost, lost_queue) = mpsc::unbounded_channel();
            let (failed, mut failures) = mpsc::unbounded_channel();
            let peers = Rc::new(Peers {
                members: shared.facts.members.clone(),
                driver: inbox_sender.clone(),
                lost,
                shared: Arc::clone(&shared),
                connections: RefCell::new(BTreeMap::new()),
                incoming: RefCell::new(None),
                // Random, so that no connection of an earlier start has the same number.
                dialled: Cell::new(shared.incarnation),
                failed,
                stragglers: RefCell::default(),
                turned_away: RefCell::default(),
            });
            tokio::task::spawn_local(accept_peers(Rc::clone(&peers), listener));
            dial_peers(&peers);
            let driver = Driver::new(replica, (inbox_sender, inbox), lost_queue, workers, shared);
            tokio::select! {
                ended = driver.run() => ended,
                Some(problem) = failures.recv() => Err(problem),
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_whose_inbox_is_full_is_told_to_stop_all_the_same() {
        let (sender, mut inbox) = mpsc::channel::<DriverInput<()>>(1);
        let flood = sender.clone();
        let persisted = || DriverInput::Persisted(consensus::PersistSequence(1));
        assert!(flood.try_send(persisted()).is_ok(), "there is one place");
        let telling = tokio::spawn(tell_to_stop(sender));
        // The teller waits for its place before the flood goes on.
        tokio::task::yield_now().await;
        let flooding = tokio::spawn(async move { while flood.send(persisted()).await.is_ok() {} });
        assert!(matches!(inbox.recv().await, Some(DriverInput::Persisted(_))));
        assert!(matches!(inbox.recv().await, Some(DriverInput::Stop)));
        drop(inbox);
        telling.await.expect("told");
        flooding.await.expect("refused");
    }
}
