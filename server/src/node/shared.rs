//! What the threads of a node share: the requests that wait, the state machine, the live links.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus::codec::Wire;
use consensus::{Index, NodeId, Now, Time, WallTime};
use kvcore::replica::{Conclusion, Failure, LeaseAnswer, LeaseQuestion};
use kvcore::{
    Command, Envelope, Idempotency, IdempotencyKey, LeaseCommand, LeaseId, Outcome, Progress,
    RequestId, Revision,
};
use storage::{RedbStore, Retained};
use tokio::sync::{oneshot, watch};
use tracing::{error, info};

use super::faults::{CrashOrder, FaultSettings, Faults, LabInput};
use super::formation::NodeFormation;
use super::handle::{Consistency, NodeFacts, NodeStatus, Reply, SharedMachine, Written};
use super::snapshots::Receiver;
use super::trace::{HostClock, Ring};
use super::transport::{Hello, HelloPurpose, Links};
use super::waiting::WaitingRequests;
use crate::metrics::Metrics;

/// What the consensus loop takes from the clients of this node.
#[derive(Debug)]
pub(crate) enum ClientInput {
    /// A write, already encoded.
    Write { request: RequestId, envelope: Bytes, deadline: Time },
    /// A read that waits for a barrier.
    Read { request: RequestId, confirmed: bool, deadline: Time },
    /// A wish that another node leads.
    Transfer { request: RequestId, to: Option<NodeId>, deadline: Time },
    /// A question about a lease.
    Lease { request: RequestId, question: LeaseQuestion, deadline: Time },
    /// Something about faults or timers. Nobody waits for it.
    Lab(LabInput),
}

/// How a request of a client ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Written(Written),
    ReadReady,
    Transferred(NodeId),
    Lease(LeaseAnswer),
    Failed(Failure),
}

/// The node's two clocks: the only place where they are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    host: HostClock,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), host: HostClock::start() }
    }

    pub(crate) fn now(self) -> Now {
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        Now { time: self.time(), wall: WallTime(wall) }
    }

    pub(crate) fn time(self) -> Time {
        Time::default() + self.started.elapsed()
    }

    /// How the node's time is turned into the host's.
    pub(crate) fn host(self) -> HostClock {
        self.host
    }

    pub(crate) fn instant(self, time: Time) -> Instant {
        self.started + Duration::from_micros(time.0)
    }
}

/// What the threads of a node share.
pub(crate) struct Shared {
    pub(crate) facts: NodeFacts,
    pub(crate) formation: NodeFormation,
    pub(crate) clock: Clock,
    pub(crate) incarnation: u64,
    pub(crate) clients: Box<dyn Fn(ClientInput) -> Result<(), Failure> + Send + Sync>,
    pub(crate) stopping: AtomicBool,
    pub(crate) machine: SharedMachine,
    /// The store below the machine. Locked only to take a handle.
    pub(crate) store: RwLock<Arc<RedbStore>>,
    /// Where a snapshot takes the place of that store.
    pub(crate) receiver: Receiver,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) revisions: watch::Sender<Revision>,
    /// The last index known durable in the log here; the flusher never goes beyond.
    pub(crate) durable: AtomicU64,
    /// The last index whose effects the store holds durably; the log forgets nothing beyond.
    pub(crate) flushed: AtomicU64,
    /// The bytes of all rows and records that the state machine keeps.
    pub(crate) stored_bytes: AtomicU64,
    /// The most that there shall be.
    pub(crate) quota_bytes: Option<u64>,
    /// Whether an alarm stands.
    pub(crate) is_corrupt: AtomicBool,
    /// What of the log is kept for peers that lag.
    pub(crate) retained: Retained,
    pub(crate) status: RwLock<Arc<NodeStatus>>,
    pub(crate) last_fsync_micros: AtomicU64,
    pub(crate) links: Links,
    pub(crate) waiting: Arc<WaitingRequests>,
    pub(crate) requests: AtomicU64,
    /// What happened here lately.
    pub(crate) ring: Arc<Ring>,
    pub(crate) questions: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    pub(crate) question_numbers: AtomicU64,
    /// What goes wrong here on purpose.
    pub(crate) faults: Arc<Faults>,
    pub(crate) fault_settings: FaultSettings,
    /// Tells whoever started this node that it is to end as if it were killed.
    pub(crate) crash_orders: watch::Sender<Option<CrashOrder>>,
    /// Whether election timers fire together with those of the others.
    pub(crate) aligned: AtomicBool,
    /// How far apart they fire then.
    pub(crate) timer_step: Duration,
}

impl Shared {
    pub(crate) async fn write(
        &self,
        command: Command,
        key: Option<IdempotencyKey>,
        timeout: Duration,
    ) -> Result<Written, Failure> {
        if !matches!(command, Command::Alarm(_)) {
            self.check_corruption()?;
        }
        if command.stores() && self.is_full() {
            return Err(Failure::NoSpace);
        }
        let request = self.next_request();
        // Somewhat old is as good: what counts is that nothing of this request stands before it.
        let idempotency = key.map(|key| Idempotency { key, since: self.status().applied });
        let (origin, incarnation) = (self.facts.id, self.incarnation);
        let envelope = Envelope { origin, incarnation, request, idempotency, command }.to_bytes();
        let deadline = self.clock.time() + timeout;
        let input = ClientInput::Write { request, envelope, deadline };
        match self.wait_for(request, input, deadline).await {
            Ended::Written(written) => Ok(written),
            Ended::Failed(failure) => {
                self.metrics.proposals_failed.inc();
                Err(failure)
            }
            other => unreachable!("a write does not end as {other:?}"),
        }
    }

    /// Notes how much the state machine keeps, and whether an alarm stands.
    pub(crate) fn note(&self, progress: &Progress) {
        self.note_stored_bytes(progress.stored_bytes);
        let is_corrupt = !progress.alarms.is_empty();
        if self.is_corrupt.swap(is_corrupt, Ordering::Relaxed) != is_corrupt {
            match is_corrupt {
                true => error!(
                    "replicas differ: alarms about nodes {:?}; keys and leases are neither read nor \
                     changed while they stand. See /v1/alarms",
                    progress.alarms.iter().map(|node| node.0).collect::<Vec<u64>>()
                ),
                false => info!("no alarm stands any more"),
            }
        }
    }

    /// Notes how much the state machine keeps.
    pub(crate) fn note_stored_bytes(&self, stored_bytes: u64) {
        self.stored_bytes.store(stored_bytes, Ordering::Relaxed);
    }

    /// Refuses while an alarm stands, as far as this node has applied the log.
    fn check_corruption(&self) -> Result<(), Failure> {
        if self.is_corrupt.load(Ordering::Relaxed) { Err(Failure::Corrupt) } else { Ok(()) }
    }

    /// Whether the store has as much as it may have, as far as this node has applied the log. What other
    /// nodes take at the same moment goes beyond the quota by as much.
    pub(crate) fn is_full(&self) -> bool {
        self.quota_bytes.is_some_and(|quota| self.stored_bytes.load(Ordering::Relaxed) >= quota)
    }

    pub(crate) async fn barrier(
        &self,
        consistency: Consistency,
        timeout: Duration,
    ) -> Result<(), Failure> {
        self.check_corruption()?;
        let confirmed = match consistency {
            Consistency::Linearizable => true,
            Consistency::Sync => false,
            Consistency::Local => return Ok(()),
        };
        self.confirm(confirmed, timeout).await?;
        // It may have been raised by what the read waited for.
        self.check_corruption()
    }

    /// Waits until this node has applied what the leader had committed, confirmed by a quorum or not. What
    /// alarms stand makes no difference.
    pub(crate) async fn confirm(&self, confirmed: bool, timeout: Duration) -> Result<(), Failure> {
        let request = self.next_request();
        let deadline = self.clock.time() + timeout;
        let input = ClientInput::Read { request, confirmed, deadline };
        match self.wait_for(request, input, deadline).await {
            Ended::ReadReady => Ok(()),
            Ended::Failed(failure) => Err(failure),
            other => unreachable!("a read does not end as {other:?}"),
        }
    }

    pub(crate) async fn transfer(
        &self,
        to: Option<NodeId>,
        timeout: Duration,
    ) -> Result<NodeId, Failure> {
        let request = self.next_request();
        let deadline = self.clock.time() + timeout;
        let input = ClientInput::Transfer { request, to, deadline };
        match self.wait_for(request, input, deadline).await {
            Ended::Transferred(leader) => Ok(leader),
            Ended::Failed(failure) => Err(failure),
            other => unreachable!("a transfer does not end as {other:?}"),
        }
    }

    /// Asks the leader about a lease.
    pub(crate) async fn ask_about_lease(
        &self,
        question: LeaseQuestion,
        timeout: Duration,
    ) -> Result<LeaseAnswer, Failure> {
        self.check_corruption()?;
        let request = self.next_request();
        let deadline = self.clock.time() + timeout;
        let input = ClientInput::Lease { request, question, deadline };
        match self.wait_for(request, input, deadline).await {
            Ended::Lease(answer) => self.check_corruption().map(|()| answer),
            Ended::Failed(failure) => Err(failure),
            other => unreachable!("a question about a lease does not end as {other:?}"),
        }
    }

    /// Renews a lease; `None` if there is no such lease. Returns how long it lives from the moment on that
    /// this was asked, in milliseconds.
    pub(crate) async fn keep_alive(
        &self,
        lease: LeaseId,
        timeout: Duration,
    ) -> Result<Option<u64>, Failure> {
        let began = self.clock.time();
        let question = LeaseQuestion { lease, renew: true };
        match self.ask_about_lease(question, timeout).await? {
            LeaseAnswer::Renewed { ttl_millis } => return Ok(Some(ttl_millis)),
            LeaseAnswer::Unknown => return Ok(None),
            LeaseAnswer::MustLog => {}
            LeaseAnswer::Remaining { .. } => unreachable!("a lease is to be renewed"),
        }
        let timeout = timeout.saturating_sub(self.clock.time().since(began));
        let command = Command::Lease(LeaseCommand::Renew { lease });
        match self.write(command, None, timeout).await?.outcome {
            Outcome::Renewed { ttl_millis, .. } => Ok(Some(ttl_millis)),
            Outcome::LeaseNotFound { .. } => Ok(None),
            other => unreachable!("a lease is renewed or not there, and not {other:?}"),
        }
    }

    fn next_request(&self) -> RequestId {
        // Number 0 is for commands that nobody waits for.
        RequestId(self.requests.fetch_add(1, Ordering::Relaxed) + 1)
    }

    async fn wait_for(&self, request: RequestId, input: ClientInput, deadline: Time) -> Ended {
        if self.stopping.load(Ordering::Relaxed) {
            return Ended::Failed(Failure::ShuttingDown);
        }
        let unanswered = match input {
            ClientInput::Write { .. } => Failure::UnknownOutcome,
            ClientInput::Read { .. } | ClientInput::Lease { .. } => Failure::NoQuorum,
            ClientInput::Transfer { .. } => Failure::TransferFailed,
            ClientInput::Lab(_) => unreachable!("nobody waits for it"),
        };
        let wait = self.waiting.add(request, deadline);
        if let Err(failure) = (self.clients)(input) {
            return Ended::Failed(failure);
        }
        wait.over().await.unwrap_or(Ended::Failed(unanswered))
    }

    /// What time it is, for the protocol. A fault may have put the wall clock off.
    pub(crate) fn now(&self) -> Now {
        let mut now = self.clock.now();
        now.wall = WallTime(now.wall.0.saturating_add_signed(self.faults.skew_ms()));
        now
    }

    /// The greeting to a peer. What it says of the data directory is durable.
    pub(crate) fn hello(&self, to: NodeId, connection: u64, purpose: HelloPurpose) -> Hello {
        Hello {
            cluster: self.facts.cluster.clone(),
            protocol: self.facts.protocol,
            from: self.facts.id,
            to,
            connection,
            purpose,
            announcement: self.formation.announcement(),
        }
    }

    /// The file of the store in use.
    pub(crate) fn store_file(&self) -> PathBuf {
        self.facts.data_directory.join(storage::store_file(self.receiver.number()))
    }

    /// The store below the state machine. Another may take its place at any time; rows that were
    /// located before are then found in that one, or have vanished.
    pub(crate) fn store(&self) -> Arc<RedbStore> {
        Arc::clone(&self.store.read().expect("no holder of this lock panics"))
    }

    /// The last index known durable in the log here, for the flusher.
    pub(crate) fn durable(&self) -> Index {
        Index(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn status(&self) -> Arc<NodeStatus> {
        Arc::clone(&self.status.read().expect("no holder of this lock panics"))
    }
}

impl From<Conclusion> for Ended {
    fn from(conclusion: Conclusion) -> Self {
        match conclusion {
            Conclusion::ReadReady => Self::ReadReady,
            Conclusion::Transferred { leader } => Self::Transferred(leader),
            Conclusion::Lease(answer) => Self::Lease(answer),
            Conclusion::Failed(failure) => Self::Failed(failure),
        }
    }
}
