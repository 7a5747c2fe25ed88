//! What the rest of the server knows of a running node: writes, read barriers, the state machine to
//! read from, status, questions to the other nodes. It does not say which protocol runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus::{Index, NodeId, Position, Protocol, Standing, Status};
pub use kvcore::replica::Failure;
use kvcore::replica::{LeaseAnswer, LeaseQuestion};
use kvcore::store::StoreState;
use kvcore::{Command, IdempotencyKey, LeaseId, Machine, Outcome, Revision};
use storage::RedbStore;
use tokio::sync::{oneshot, watch};

use super::faults::{LabReply, LabWord};
pub use super::formation::FormationStatus;
use super::mechanisms::Mechanisms;
use super::trace::{NodeTrace, TraceQuestion};
use crate::metrics::Metrics;

/// The state machine of a server: shared by the applier, which writes, and the readers.
pub type SharedMachine = Arc<RwLock<Machine<Arc<RedbStore>>>>;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Includes every write acknowledged before the read began, confirmed by a quorum.
    #[default]
    Linearizable,
    /// ZooKeeper's `sync`: as fresh as the leader's own word, not confirmed by a quorum.
    Sync,
    /// Whatever this node has applied.
    Local,
}

/// A write that was applied on this node.
#[derive(Clone, Debug)]
pub struct Written {
    /// What came of it; a refused condition is an outcome too.
    pub outcome: Outcome,
    /// The store's revision after it.
    pub revision: Revision,
    /// Whether it was done before, by an earlier request with the same idempotency key.
    pub repeated: bool,
}

/// How it stands with a lease's time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRemaining {
    /// How long it lives when it is renewed.
    pub ttl_millis: u64,
    /// How long it lives if it is not.
    pub remaining_millis: u64,
}

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct NodeHandle {
    pub(crate) shared: Arc<Shared>,
}

/// The facts about a node that never change while it runs.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// This node.
    pub id: NodeId,
    /// The protocol it runs.
    pub protocol: Protocol,
    /// The cluster's name.
    pub cluster: String,
    /// The peer addresses of all nodes as configured, this one among them.
    pub members: BTreeMap<NodeId, String>,
    /// The members that only observe.
    pub observers: BTreeSet<NodeId>,
    /// The random identity of the data directory.
    pub directory: u128,
    /// Where everything durable is.
    pub data_directory: PathBuf,
    /// When the node started.
    pub started: Instant,
    /// What it does to be durable, fast and soon back.
    pub mechanisms: Mechanisms,
}

impl NodeFacts {
    /// What a member counts as unless it loses its data directory.
    #[must_use]
    pub fn configured_standing(&self, id: NodeId) -> Standing {
        if self.observers.contains(&id) { Standing::Observer } else { Standing::Voter }
    }
}

/// The changing facts about a node, as of a moment ago.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// The protocol's state.
    pub consensus: Status,
    /// The last position in the protocol's own words: `term=3 index=42`, `zxid=0x300000029`.
    pub position: String,
    /// The last applied index.
    pub applied: Index,
    /// The duration of the last fdatasync of the log.
    pub last_fsync: Duration,
    /// Requests of this node's clients that wait for an answer.
    pub requests_pending: usize,
    /// Writes of the log that are queued or under way.
    pub persists_pending: usize,
    /// Why the node can not serve writes just now, if it can not: for `/readyz` and `/health`.
    pub trouble: Option<String>,
}

/// Something to ask of the other nodes, answered from what each has applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The key's present row.
    Key(Bytes),
    /// The state of the whole store after this entry, or after the node's last when `None`.
    State(Option<Index>),
    /// What happened there lately.
    Trace(TraceQuestion),
}

/// A node's answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The answering node's revision.
    pub revision: Revision,
    /// The answering node's last applied position.
    pub applied: Position,
    /// The oldest revision that can be read there.
    pub compacted: Revision,
    /// The answer itself.
    pub content: ReplyContent,
}

/// What a [`Reply`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyContent {
    /// The key; `None` when it is absent.
    Key(Option<KeyReply>),
    /// The state after the entry asked for; `None` when the node is not there yet or no longer
    /// remembers it.
    State(Option<StoreState>),
    /// What happened there lately.
    Trace(NodeTrace),
    /// The node could not read its store.
    Failed,
}

/// A key's present row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyReply {
    /// The revision that wrote it.
    pub mod_revision: Revision,
    /// How many times the key was written since it was created.
    pub version: u64,
    /// The value.
    pub value: ValueReply,
}

/// A value, as far as it is worth sending. Equal values are equal here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueReply {
    /// All of it.
    Whole(Bytes),
    /// Of a long value only what it takes to compare it.
    Digest {
        /// Its length.
        bytes: u64,
        /// Its XXH3 of 128 bits.
        digest: u128,
    },
}

pub(crate) use super::shared::Shared;

impl NodeHandle {
    /// Replicates a command and waits until this node has applied it. Under an idempotency key it takes
    /// effect at most once, and is sent again when its leader is lost.
    ///
    /// # Errors
    /// [`Failure`] says why there is no answer and whether that is definite.
    pub async fn write(
        &self,
        command: Command,
        key: Option<IdempotencyKey>,
        timeout: Duration,
    ) -> Result<Written, Failure> {
        self.shared.write(command, key, timeout).await
    }

    /// Waits until a read of the local state machine is as fresh as asked for.
    ///
    /// # Errors
    /// [`Failure::NoLeader`], [`Failure::NoQuorum`], [`Failure::Overloaded`] or
    /// [`Failure::ShuttingDown`]; all definite, a read changes nothing.
    pub async fn barrier(
        &self,
        consistency: Consistency,
        timeout: Duration,
    ) -> Result<(), Failure> {
        self.shared.barrier(consistency, timeout).await
    }

    /// Has a quorum confirm who leads, and waits until what was committed by then is applied here. Unlike a
    /// read this is done under an alarm as well.
    ///
    /// # Errors
    /// As for a read, but [`Failure::Corrupt`].
    pub async fn confirm_with_quorum(&self, timeout: Duration) -> Result<(), Failure> {
        self.shared.confirm(true, timeout).await
    }

    /// How it stands with a lease's time, by the leader's clock. `None` if there is no such lease. Not by
    /// this to be renewed.
    ///
    /// # Errors
    /// As for a read.
    pub async fn lease_time(
        &self,
        lease: LeaseId,
        timeout: Duration,
    ) -> Result<Option<LeaseRemaining>, Failure> {
        let question = LeaseQuestion { lease, renew: false };
        Ok(match self.shared.ask_about_lease(question, timeout).await? {
            LeaseAnswer::Unknown => None,
            LeaseAnswer::Remaining { ttl_millis, remaining_millis } => {
                Some(LeaseRemaining { ttl_millis, remaining_millis })
            }
            other => unreachable!("a lease is looked at, and not {other:?}"),
        })
    }

    /// Renews a lease; `None` if there is no such lease. Returns how long it lives from now on, in
    /// milliseconds.
    ///
    /// # Errors
    /// As for a write; it may be renewed all the same, which does no harm.
    pub async fn keep_alive(
        &self,
        lease: LeaseId,
        timeout: Duration,
    ) -> Result<Option<u64>, Failure> {
        self.shared.keep_alive(lease, timeout).await
    }

    /// Has another node lead, and waits until it does: `to`, or whomever the leader chooses. Returns who
    /// leads.
    ///
    /// # Errors
    /// [`Failure::NoSuccessor`], [`Failure::TransferUnderWay`], [`Failure::TransferFailed`], and as for
    /// a read. No key is touched, and no write lost.
    pub async fn transfer(&self, to: Option<NodeId>, timeout: Duration) -> Result<NodeId, Failure> {
        self.shared.transfer(to, timeout).await
    }

    /// The state machine. Hold its lock only to locate, never across an await or a store access.
    #[must_use]
    pub fn machine(&self) -> &SharedMachine {
        &self.shared.machine
    }

    /// The store below the state machine, for rows that it located there.
    #[must_use]
    pub fn store(&self) -> Arc<RedbStore> {
        self.shared.store()
    }

    /// The file of that store.
    #[must_use]
    pub fn store_file(&self) -> PathBuf {
        self.shared.store_file()
    }

    /// The revision applied on this node, and each change of it.
    #[must_use]
    pub fn revisions(&self) -> watch::Receiver<Revision> {
        self.shared.revisions.subscribe()
    }

    /// What never changes.
    #[must_use]
    pub fn facts(&self) -> &NodeFacts {
        &self.shared.facts
    }

    /// What does. Read from a snapshot that the consensus loop refreshes after each round.
    #[must_use]
    pub fn status(&self) -> Arc<NodeStatus> {
        self.shared.status()
    }

    /// Why the node does not serve as it should, if it does not, apart from [`Self::corruption`]: for
    /// `/readyz`, `/health` and `/v1/status`.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let formation = self.shared.formation.trouble();
        formation.or_else(|| self.status().trouble.clone())
    }

    /// Which replicas differ, if an alarm stands.
    #[must_use]
    pub fn corruption(&self) -> Option<String> {
        // The machine is asked only if there is something to tell.
        self.shared.is_corrupt.load(Ordering::Relaxed).then_some(())?;
        let machine = self.machine().read().expect("no holder of this lock panics");
        let nodes: Vec<String> = machine.alarms().keys().map(|node| node.0.to_string()).collect();
        let nodes = nodes.join(", ");
        let told = format!("replicas differ: an alarm stands about node {nodes}; see /v1/alarms");
        (!nodes.is_empty()).then_some(told)
    }

    /// What this node knows of the forming of its cluster.
    #[must_use]
    pub fn formation(&self) -> FormationStatus {
        self.shared.formation.status()
    }

    /// The voters that lost their data directories, as far as this node sees, and so do not count.
    #[must_use]
    pub fn lost_voters(&self) -> BTreeSet<NodeId> {
        if !self.formation().formed {
            return BTreeSet::new();
        }
        let (facts, now) = (self.facts(), self.status());
        let peers = now.consensus.peers.iter().filter(|peer| peer.connected);
        let standings = peers.map(|peer| (peer.id, peer.standing));
        standings
            .chain([(facts.id, now.consensus.standing)])
            .filter(|&(id, standing)| standing != facts.configured_standing(id))
            .map(|(id, _)| id)
            .collect()
    }

    /// Counters, gauges and histograms.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// The most bytes of rows and records before writes that store something are refused, if there is a most.
    #[must_use]
    pub fn quota_bytes(&self) -> Option<u64> {
        self.shared.quota_bytes
    }

    /// Whether the store has as much as it may have.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.is_full()
    }

    /// Whether this node takes faults.
    #[must_use]
    pub fn takes_faults(&self) -> bool {
        self.shared.fault_settings.enabled
    }

    /// How many faults there are at this node.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.shared.faults.count()
    }

    /// Ends all faults of this node, which is about to stop.
    pub fn heal_faults(&self) {
        self.shared.heal_faults(super::OVER);
    }

    /// Asks a node, this one or another, something about faults and timers.
    ///
    /// # Errors
    /// Why it did not answer. It may have done all the same what it was asked.
    pub async fn lab(
        &self,
        node: NodeId,
        word: LabWord,
        timeout: Duration,
    ) -> Result<LabReply, String> {
        self.shared.lab_at(node, word, timeout).await
    }

    /// Lets this node start an election now, whatever it hears of its leader. Whoever waits hears when
    /// its loop does so, which a paused one does not; `None` when the loop is too busy to hear of it.
    #[must_use]
    pub fn campaign(&self) -> Option<oneshot::Receiver<()>> {
        self.shared.campaign()
    }

    /// Puts a question to every member, this node included. Those that do not answer in time, or
    /// are not connected, have `None`.
    pub async fn ask(
        &self,
        question: Question,
        timeout: Duration,
    ) -> BTreeMap<NodeId, Option<Reply>> {
        self.shared.ask(question, timeout).await
    }
}
