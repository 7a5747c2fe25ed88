//! The flags of `duorum serve`, each also an environment variable and a key of the file.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::ConfigError;
use super::mechanisms::{CommitNotices, Detector, Switch};

/// Where `--help` lists what experiments do without.
const EXPERIMENTS: &str = "For experiments (docs/ablations.md)";

/// The flags of `duorum serve`. What is not given here may be in the file, or has a default.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeFlags {
    /// A TOML file with any of these flags as keys, as `data_dir = "/var/lib/duorum"`
    #[arg(long, env = "DUORUM_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,

    /// The protocol of the whole cluster: raft, zab, or null (no replication, one node) [default:
    /// raft]
    #[arg(long, env = "DUORUM_PROTOCOL", value_name = "PROTOCOL")]
    pub protocol: Option<String>,

    /// This node's number, which is in --cluster [default: 1]
    #[arg(long, env = "DUORUM_ID", value_name = "NUMBER")]
    pub id: Option<u64>,

    /// Where everything durable lives; made if it is missing [default: duorum-data/ID]
    #[arg(long, env = "DUORUM_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Where to answer HTTP [default: 127.0.0.1:2379]
    #[arg(long, env = "DUORUM_HTTP", value_name = "HOST:PORT")]
    pub http: Option<String>,

    /// Where to listen for the other nodes [default: this node's address in --cluster, or
    /// 127.0.0.1:2380]
    #[arg(long, env = "DUORUM_PEER", value_name = "HOST:PORT")]
    pub peer: Option<String>,

    /// The peer addresses of all nodes, this one included; /observer behind one that does not vote
    /// [default: this node alone]
    #[arg(long, env = "DUORUM_CLUSTER", value_name = "1=HOST:PORT,2=…,4=HOST:PORT/observer")]
    pub cluster: Option<String>,

    /// The cluster's name; nodes of another cluster are turned away [default: duorum]
    #[arg(long, env = "DUORUM_CLUSTER_NAME", value_name = "NAME")]
    pub cluster_name: Option<String>,

    /// How often a leader gives a sign of life [default: 50ms]
    #[arg(
        long,
        env = "DUORUM_HEARTBEAT",
        value_name = "TIME",
        value_parser = humantime::parse_duration
    )]
    #[serde(default, deserialize_with = "duration")]
    pub heartbeat: Option<Duration>,

    /// How long a leader may be silent before it is suspected [default: 300ms]
    #[arg(
        long,
        env = "DUORUM_ELECTION_TIMEOUT",
        value_name = "TIME",
        value_parser = humantime::parse_duration
    )]
    #[serde(default, deserialize_with = "duration")]
    pub election_timeout: Option<Duration>,

    /// ZAB: how long an election waits for a better vote once a quorum agrees [default: 20ms]
    #[arg(
        long,
        env = "DUORUM_FINALIZE_WAIT",
        value_name = "TIME",
        value_parser = humantime::parse_duration
    )]
    #[serde(default, deserialize_with = "duration")]
    pub finalize_wait: Option<Duration>,

    /// The longest value that is stored, at most 16 MiB [default: 1048576]
    #[arg(long, env = "DUORUM_MAX_VALUE_BYTES", value_name = "BYTES")]
    pub max_value_bytes: Option<usize>,

    /// The most client connections at a time [default: 16384]
    #[arg(long, env = "DUORUM_MAX_CONNECTIONS", value_name = "NUMBER")]
    pub max_connections: Option<usize>,

    /// Spend so much time on each request besides, to see what `duorum compare` makes of a side that is slower
    /// by a little: 2us are about 5 % of a write on two cores [default: 0s]
    #[arg(
        long,
        env = "DUORUM_HANDICAP",
        value_name = "TIME",
        value_parser = humantime::parse_duration
    )]
    #[serde(default, deserialize_with = "duration")]
    pub handicap: Option<Duration>,

    /// Off: write records of the log without syncing them, so that nothing is durable [default: on]
    #[arg(long, env = "DUORUM_FSYNC", value_enum, help_heading = EXPERIMENTS)]
    pub fsync: Option<Switch>,

    /// Off: give each entry a record of the log, a sync and a message of its own [default: on]
    #[arg(long, env = "DUORUM_BATCHING", value_enum, help_heading = EXPERIMENTS)]
    pub batching: Option<Switch>,

    /// The most AppendEntries or PROPOSALs under way to one peer; 1 waits for each to be acknowledged
    /// [default: 256]
    #[arg(
        long,
        env = "DUORUM_MAX_INFLIGHT_MESSAGES",
        value_name = "NUMBER",
        help_heading = EXPERIMENTS
    )]
    pub max_inflight_messages: Option<usize>,

    /// Raft, off: campaign without asking first [default: on]
    #[arg(long, env = "DUORUM_PRE_VOTE", value_enum, help_heading = EXPERIMENTS)]
    pub pre_vote: Option<Switch>,

    /// Raft: the most that randomness adds to a wait before a campaign; the paper's 150 to 300 ms are
    /// --election-timeout 150ms --election-jitter 150ms [default: a tenth of --election-timeout]
    #[arg(
        long,
        env = "DUORUM_ELECTION_JITTER",
        value_name = "TIME",
        value_parser = humantime::parse_duration,
        help_heading = EXPERIMENTS
    )]
    #[serde(default, deserialize_with = "duration")]
    pub election_jitter: Option<Duration>,

    /// What makes a leader suspected: the loss of its connection, or --election-timeout of silence alone
    /// [default: connection]
    #[arg(long, env = "DUORUM_FAILURE_DETECTOR", value_enum, help_heading = EXPERIMENTS)]
    pub failure_detector: Option<Detector>,

    /// When followers hear of a commit: at once, or with the next entries or sign of life [default:
    /// immediate]
    #[arg(long, env = "DUORUM_COMMIT_NOTICES", value_enum, help_heading = EXPERIMENTS)]
    pub commit_notices: Option<CommitNotices>,

    /// Compact automatically so that about so many revisions stay readable; 0 for never [default:
    /// 100000]
    #[arg(long, env = "DUORUM_RETAIN_REVISIONS", value_name = "NUMBER")]
    pub retain_revisions: Option<u64>,

    /// Compact automatically so that what was readable so long ago, or later, stays so. Together with
    /// --retain-revisions both are retained; 0s for never [default: 0s]
    #[arg(
        long,
        env = "DUORUM_RETAIN_FOR",
        value_name = "TIME",
        value_parser = humantime::parse_duration
    )]
    #[serde(default, deserialize_with = "duration")]
    pub retain_for: Option<Duration>,

    /// How long after a change the replicas compare digests of all that they have; a difference raises an
    /// alarm, which stops all of them; 0s for never [default: 30s]
    #[arg(
        long,
        env = "DUORUM_DIGEST_INTERVAL",
        value_name = "TIME",
        value_parser = humantime::parse_duration
    )]
    #[serde(default, deserialize_with = "duration")]
    pub digest_interval: Option<Duration>,

    /// Refuse writes that store something while all rows, those of retained revisions included, and all leases
    /// and counters have so many bytes; deletions are done all the same. History is kept short before; 0 for no end [default:
    /// 8589934592]
    #[arg(long, env = "DUORUM_QUOTA_BYTES", value_name = "BYTES")]
    pub quota_bytes: Option<u64>,

    /// Of the log, keep so many of the last entries for nodes that lag; whoever lags more gets a
    /// snapshot [default: 200000]
    #[arg(long, env = "DUORUM_RETAIN_LOG_ENTRIES", value_name = "NUMBER")]
    pub retain_log_entries: Option<u64>,

    /// But keep no more than about so many bytes of it, in segments of 4 MiB [default: 268435456]
    #[arg(long, env = "DUORUM_RETAIN_LOG_BYTES", value_name = "BYTES")]
    pub retain_log_bytes: Option<u64>,

    /// The memory that the store may use for its pages [default: 12582912]
    #[arg(long, env = "DUORUM_STORE_CACHE_BYTES", value_name = "BYTES")]
    pub store_cache_bytes: Option<usize>,

    /// How often a watch of /v3 that asks for progress_notify hears that nothing happened [default: 10m]
    #[arg(
        long,
        env = "DUORUM_WATCH_PROGRESS_INTERVAL",
        value_name = "TIME",
        value_parser = humantime::parse_duration
    )]
    #[serde(default, deserialize_with = "duration")]
    pub watch_progress_interval: Option<Duration>,

    /// The least time of a lease that is asked for as a session, as ZooKeeper's minSessionTimeout; the same on
    /// every node [default: 4s]
    #[arg(
        long,
        env = "DUORUM_SESSION_TIMEOUT_MIN",
        value_name = "TIME",
        value_parser = humantime::parse_duration
    )]
    #[serde(default, deserialize_with = "duration")]
    pub session_timeout_min: Option<Duration>,

    /// The most time of such a lease, as ZooKeeper's maxSessionTimeout [default: 40s]
    #[arg(
        long,
        env = "DUORUM_SESSION_TIMEOUT_MAX",
        value_name = "TIME",
        value_parser = humantime::parse_duration
    )]
    #[serde(default, deserialize_with = "duration")]
    pub session_timeout_max: Option<Duration>,

    /// Take faults on purpose from anybody who reaches the HTTP address: /v1/faults, /v1/lab. For
    /// experiments and tests, never for what you want to keep
    #[arg(
        long,
        env = "DUORUM_ENABLE_FAULTS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub enable_faults: Option<bool>,

    /// What is logged to stderr: error, warn, info, debug, trace or off [default: info]
    #[arg(long, env = "DUORUM_LOG", value_name = "LEVEL")]
    pub log: Option<String>,
}

impl ServeFlags {
    /// Adds what only the file says.
    pub(super) fn with_file(self) -> Result<Self, ConfigError> {
        let Some(path) = self.config.clone() else { return Ok(self) };
        let shown = path.display();
        let text = std::fs::read_to_string(&path)
            .map_err(|cause| ConfigError(format!("--config {shown} can not be read: {cause}")))?;
        let file: Self = toml::from_str(&text)
            .map_err(|cause| ConfigError(format!("--config {shown}: {cause}")))?;
        Ok(Self {
            config: self.config,
            protocol: self.protocol.or(file.protocol),
            id: self.id.or(file.id),
            data_dir: self.data_dir.or(file.data_dir),
            http: self.http.or(file.http),
            peer: self.peer.or(file.peer),
            cluster: self.cluster.or(file.cluster),
            cluster_name: self.cluster_name.or(file.cluster_name),
            heartbeat: self.heartbeat.or(file.heartbeat),
            election_timeout: self.election_timeout.or(file.election_timeout),
            finalize_wait: self.finalize_wait.or(file.finalize_wait),
            max_value_bytes: self.max_value_bytes.or(file.max_value_bytes),
            max_connections: self.max_connections.or(file.max_connections),
            handicap: self.handicap.or(file.handicap),
            fsync: self.fsync.or(file.fsync),
            batching: self.batching.or(file.batching),
            max_inflight_messages: self.max_inflight_messages.or(file.max_inflight_messages),
            pre_vote: self.pre_vote.or(file.pre_vote),
            election_jitter: self.election_jitter.or(file.election_jitter),
            failure_detector: self.failure_detector.or(file.failure_detector),
            commit_notices: self.commit_notices.or(file.commit_notices),
            retain_revisions: self.retain_revisions.or(file.retain_revisions),
            retain_for: self.retain_for.or(file.retain_for),
            digest_interval: self.digest_interval.or(file.digest_interval),
            quota_bytes: self.quota_bytes.or(file.quota_bytes),
            retain_log_entries: self.retain_log_entries.or(file.retain_log_entries),
            retain_log_bytes: self.retain_log_bytes.or(file.retain_log_bytes),
            store_cache_bytes: self.store_cache_bytes.or(file.store_cache_bytes),
            watch_progress_interval: self.watch_progress_interval.or(file.watch_progress_interval),
            session_timeout_min: self.session_timeout_min.or(file.session_timeout_min),
            session_timeout_max: self.session_timeout_max.or(file.session_timeout_max),
            enable_faults: self.enable_faults.or(file.enable_faults),
            log: self.log.or(file.log),
        })
    }
}

/// A duration in the file is written as in a flag: `"50ms"`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map(Some).map_err(|cause| {
        serde::de::Error::custom(format!(
            "`{text}` is no duration: {cause}; allowed: as 50ms or 2s"
        ))
    })
}
