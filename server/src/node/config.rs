//! What a node is started with.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use consensus::{NodeId, Protocol, Standing};
use kvcore::replica::{DIGEST_INTERVAL_DEFAULT, LEASE_CHECKPOINT_INTERVAL_DEFAULT};
use storage::Retained;

use super::faults::FaultSettings;
use super::mechanisms::Mechanisms;

/// The recent entries kept in memory: a second or so of full load, so that a peer that lags a little
/// costs no reads of the disk. They pin the buffers that they arrived in.
const MEMORY_LOG_BYTES_MAX: usize = 8 << 20;
/// The most bytes of rows and records by default: what etcd suggests as the most for itself.
pub const QUOTA_BYTES_DEFAULT: u64 = 8 << 30;

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// This node's number.
    pub id: NodeId,
    /// The protocol that the whole cluster runs.
    pub protocol: Protocol,
    /// The cluster's name: nodes of another cluster are turned away.
    pub cluster_name: String,
    /// The peer address of every node, this one included.
    pub members: BTreeMap<NodeId, String>,
    /// The members that only observe: they do not vote, and nobody waits for them.
    pub observers: BTreeSet<NodeId>,
    /// Where to listen for peers. Port 0 takes any free one.
    pub peer_address: SocketAddr,
    /// Where everything durable lives.
    pub data_directory: PathBuf,
    /// How often a leader gives a sign of life.
    pub heartbeat_interval: Duration,
    /// How long a leader may be silent before it is suspected.
    pub election_timeout: Duration,
    /// What it does to be durable, fast and soon back.
    pub mechanisms: Mechanisms,
    /// Compact automatically so that about this many revisions stay readable.
    pub retain_revisions: Option<u64>,
    /// Compact automatically so that what was readable within this time stays so.
    pub retain_for: Option<Duration>,
    /// The most bytes of rows, all retained revisions together, and of records, before writes that store something are
    /// refused; `None` refuses none.
    pub quota_bytes: Option<u64>,
    /// How much more time than it has a lease may have in the log: so much longer it may live after a change
    /// of leader.
    pub lease_checkpoint_interval: Duration,
    /// How long after a change the replicas' digests are compared; `None` never compares them.
    pub digest_interval: Option<Duration>,
    /// What of the log is kept for peers that lag, although the store holds its effects.
    pub retained_log: Retained,
    /// The memory that the store may use for its pages.
    pub store_cache_bytes: usize,
    /// The most requests of clients that may wait at once.
    pub requests_pending_max: usize,
    /// Whether and how it takes faults.
    pub faults: FaultSettings,
}

impl NodeConfig {
    /// The defaults for a node of this cluster.
    #[must_use]
    pub fn new(
        id: NodeId,
        protocol: Protocol,
        members: BTreeMap<NodeId, String>,
        peer_address: SocketAddr,
        data_directory: PathBuf,
    ) -> Self {
        let settings = consensus::Settings::new(id, []);
        Self {
            id,
            protocol,
            cluster_name: "duorum".to_owned(),
            members,
            observers: BTreeSet::new(),
            peer_address,
            data_directory,
            heartbeat_interval: settings.heartbeat_interval,
            election_timeout: settings.election_timeout,
            mechanisms: Mechanisms::of(&settings),
            retain_revisions: Some(100_000),
            retain_for: None,
            quota_bytes: Some(QUOTA_BYTES_DEFAULT),
            lease_checkpoint_interval: LEASE_CHECKPOINT_INTERVAL_DEFAULT,
            digest_interval: Some(DIGEST_INTERVAL_DEFAULT),
            retained_log: Retained { entries: 200_000, bytes_max: 256 << 20 },
            store_cache_bytes: 12 << 20,
            requests_pending_max: 10_000,
            faults: FaultSettings::default(),
        }
    }

    /// The members that vote.
    pub(crate) fn voters(&self) -> impl Iterator<Item = NodeId> {
        self.members.keys().filter(|id| !self.observers.contains(id)).copied()
    }

    /// What the protocol is started with.
    pub(crate) fn settings(&self, seed: u64) -> consensus::Settings {
        let observes = self.observers.contains(&self.id);
        self.mechanisms.in_settings(consensus::Settings {
            observers: self.observers.clone(),
            standing: if observes { Standing::Observer } else { Standing::Voter },
            seed,
            heartbeat_interval: self.heartbeat_interval,
            election_timeout: self.election_timeout,
            memory_log_bytes_max: MEMORY_LOG_BYTES_MAX,
            ..consensus::Settings::new(self.id, self.voters())
        })
    }
}
