//! Counters, histograms and gauges of one node, typed, without a global registry, so that several
//! nodes can live in one process.
//!
//! Where the meaning is the same the names are etcd's, so that its dashboards and alerts work:
//! ZAB's proposals and epochs are counted where etcd counts Raft's. What only Duorum has is named
//! `duorum_…`. Counters and histograms are counted where things happen; gauges are taken from the
//! node when somebody asks ([`Metrics::render`]).

mod answers;
mod process;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use consensus::Leadership;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

pub(crate) use self::answers::AnswerCounters;
use crate::node::handle::NodeHandle;
use kvcore::Comparisons;

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A gauge of a number with a fraction.
type GaugeSeconds = Gauge<f64, AtomicU64>;

/// Names a protocol message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MessageLabel {
    /// The message's name in the protocol's own words.
    pub message: &'static str,
}

/// Names what was asked by HTTP and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabel {
    /// The call: its method and path with the parameters left out.
    pub route: &'static str,
    /// The HTTP status of the answer.
    pub status: u16,
}

/// Names what was asked by HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabel {
    /// The call: its method and path with the parameters left out.
    pub route: &'static str,
}

/// Names what came of a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ComparisonLabel {
    /// `equal`, `different` or `impossible`.
    pub result: &'static str,
}

/// Names a peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PeerLabel {
    /// The peer's number.
    pub peer: u64,
}

/// Everything that a node counts.
///
/// Incrementing a counter is one atomic addition; observing a histogram takes a short lock, so
/// histograms are for what happens at most once a request.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    gauges: Gauges,

    /// How long each fdatasync of the log for a record took, in seconds; the call alone, without
    /// encoding and writing.
    pub wal_fsync_seconds: Histogram,
    /// How many fdatasyncs of the log for a record there were. Those that prepare segments do not
    /// count: nobody waits for them.
    pub wal_fsyncs: Counter,
    /// Bytes written to the log.
    pub wal_write_bytes: Counter,
    /// How long each durable commit of the store took, in seconds.
    pub store_commit_seconds: Histogram,
    /// Rows written to the store.
    pub store_rows_written: Counter,
    /// Log entries applied to the state machine.
    pub applied_entries: Counter,
    /// Puts applied to the state machine, whoever asked for them.
    pub applied_puts: Counter,
    /// Deletes applied to the state machine, whoever asked for them.
    pub applied_deletes: Counter,

    /// Protocol messages sent, by name; a frame that stands for many counts each
    /// ([`consensus::Message::weight`]).
    pub messages_sent: Family<MessageLabel, Counter>,
    /// Protocol messages received, by name.
    pub messages_received: Family<MessageLabel, Counter>,
    /// Frames sent to peers.
    pub frames_sent: Counter,
    /// Frames received from peers.
    pub frames_received: Counter,
    /// Bytes sent to peers.
    pub peer_sent_bytes: Counter,
    /// Bytes received from peers.
    pub peer_received_bytes: Counter,

    /// Snapshots that peers took as a whole.
    pub snapshots_sent: Counter,
    /// Snapshots received as a whole.
    pub snapshots_received: Counter,
    /// Bytes of snapshots sent.
    pub snapshot_sent_bytes: Counter,
    /// Bytes of snapshots received as a whole.
    pub snapshot_received_bytes: Counter,

    /// Changes of the leader that this node saw.
    pub leader_changes: Counter,
    /// Proposals of this node's clients that failed or whose outcome stayed unknown.
    pub proposals_failed: Counter,

    /// Requests answered, by route and status.
    pub http_requests: Family<RequestLabel, Counter>,
    /// How long requests took until their answer began, by route, in seconds.
    pub http_seconds: Family<RouteLabel, Histogram, fn() -> Histogram>,
    /// Client connections accepted.
    pub http_connections_accepted: Counter,
    /// Client connections turned away because there were too many.
    pub http_connections_refused: Counter,
    /// Client connections open now.
    pub http_connections_open: Gauge,
    /// Reads of keys and ranges served by this node.
    pub ranges: Counter,
    /// Watches open now.
    pub watchers: Gauge,
    /// Events sent to watchers.
    pub watch_events: Counter,
}

/// What is read from the node when somebody asks.
#[derive(Debug, Default)]
struct Gauges {
    has_leader: Gauge,
    is_leader: Gauge,
    committed: Gauge,
    applied: Gauge,
    pending: Gauge,
    persists_pending: Gauge,
    term: Gauge,
    keys: Gauge,
    revision: Gauge,
    compact_revision: Gauge,
    alarms: Gauge,
    digest_comparisons: Family<ComparisonLabel, Gauge>,
    stored_bytes: Gauge,
    quota_bytes: Gauge,
    store_file_bytes: Gauge,
    overlay_bytes: Gauge,
    index_bytes: Gauge,
    unflushed_entries: Gauge,
    active_peers: Gauge,
    round_trip_seconds: Family<PeerLabel, GaugeSeconds>,
    resident_bytes: Gauge,
    open_descriptors: Gauge,
    cpu_seconds: Counter<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that start at zero.
    #[must_use]
    pub fn new() -> Self {
        // 0.1 ms to 3.3 s: from a good disk to one that makes leaders fall.
        let disk_seconds = || Histogram::new(exponential_buckets(0.000_1, 2.0, 16));
        let mut metrics = Self {
            registry: Registry::default(),
            gauges: Gauges::default(),
            wal_fsync_seconds: disk_seconds(),
            wal_fsyncs: Counter::default(),
            wal_write_bytes: Counter::default(),
            store_commit_seconds: disk_seconds(),
            store_rows_written: Counter::default(),
            applied_entries: Counter::default(),
            applied_puts: Counter::default(),
            applied_deletes: Counter::default(),
            messages_sent: Family::default(),
            messages_received: Family::default(),
            frames_sent: Counter::default(),
            frames_received: Counter::default(),
            peer_sent_bytes: Counter::default(),
            peer_received_bytes: Counter::default(),
            snapshots_sent: Counter::default(),
            snapshots_received: Counter::default(),
            snapshot_sent_bytes: Counter::default(),
            snapshot_received_bytes: Counter::default(),
            leader_changes: Counter::default(),
            proposals_failed: Counter::default(),
            http_requests: Family::default(),
            // 0.1 ms to 3.3 s.
            http_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.000_1, 2.0, 16))
            }),
            http_connections_accepted: Counter::default(),
            http_connections_refused: Counter::default(),
            http_connections_open: Gauge::default(),
            ranges: Counter::default(),
            watchers: Gauge::default(),
            watch_events: Counter::default(),
        };
        metrics.register_consensus();
        metrics.register_storage();
        metrics.register_network();
        metrics
    }

    /// Counts records of the log that were written, of so many bytes, and made durable by so many
    /// calls of fdatasync, which took that long together.
    pub fn wal_written(&self, bytes: u64, fsyncs: u64, fsync_time: Duration) {
        self.wal_write_bytes.inc_by(bytes);
        self.wal_fsyncs.inc_by(fsyncs);
        // Of several at once, which only very large batches need, each is taken for the mean.
        for _ in 0..fsyncs {
            self.wal_fsync_seconds.observe(fsync_time.as_secs_f64() / fsyncs as f64);
        }
    }

    // The registry adds `_total` to the names of counters.
    fn register_consensus(&mut self) {
        let Self { registry, gauges, .. } = self;
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| {
            registry.register(name, help, gauge.clone());
        };
        gauge("etcd_server_has_leader", "Whether a leader is known", &gauges.has_leader);
        gauge("etcd_server_is_leader", "Whether this node leads", &gauges.is_leader);
        gauge(
            "etcd_server_proposals_committed_total",
            "The last committed log index",
            &gauges.committed,
        );
        gauge("etcd_server_proposals_applied_total", "The last applied log index", &gauges.applied);
        gauge(
            "etcd_server_proposals_pending",
            "Requests of this node's clients that wait",
            &gauges.pending,
        );
        gauge("duorum_term", "The term (Raft) or epoch (ZAB) of this node", &gauges.term);
        gauge(
            "duorum_persists_pending",
            "Writes of the log that are queued or under way",
            &gauges.persists_pending,
        );
        registry.register(
            "etcd_server_leader_changes_seen",
            "Changes of the leader that this node saw",
            self.leader_changes.clone(),
        );
        registry.register(
            "etcd_server_proposals_failed",
            "Proposals that failed or whose outcome stayed unknown",
            self.proposals_failed.clone(),
        );
        registry.register(
            "duorum_applied_entries",
            "Log entries applied since the start",
            self.applied_entries.clone(),
        );
    }

    fn register_storage(&mut self) {
        let Self { registry, gauges, .. } = self;
        registry.register(
            "etcd_disk_wal_fsync_duration_seconds",
            "How long each fdatasync that made a record of the log durable took",
            self.wal_fsync_seconds.clone(),
        );
        registry.register(
            "etcd_disk_backend_commit_duration_seconds",
            "How long each durable commit of the store took",
            self.store_commit_seconds.clone(),
        );
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        let help = "Calls of fdatasync that made a record of the log durable";
        counter("duorum_wal_fsyncs", help, &self.wal_fsyncs);
        counter("etcd_disk_wal_write_bytes", "Bytes written to the log", &self.wal_write_bytes);
        counter("duorum_store_rows_written", "Rows written to the store", &self.store_rows_written);
        counter("etcd_mvcc_put", "Puts applied on this node", &self.applied_puts);
        counter("etcd_mvcc_delete", "Deletes applied on this node", &self.applied_deletes);
        counter("etcd_mvcc_range", "Reads served by this node", &self.ranges);
        counter("etcd_debugging_mvcc_events", "Events sent to watchers", &self.watch_events);
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| {
            registry.register(name, help, gauge.clone());
        };
        gauge("etcd_debugging_mvcc_watcher_total", "Watches open now", &self.watchers);
        gauge("etcd_debugging_mvcc_keys_total", "Keys that exist now", &gauges.keys);
        gauge("duorum_alarms", "Nodes about which an alarm stands", &gauges.alarms);
        gauge("etcd_debugging_mvcc_current_revision", "The store's revision", &gauges.revision);
        gauge(
            "etcd_debugging_mvcc_compact_revision",
            "The oldest revision that can be read",
            &gauges.compact_revision,
        );
        gauge(
            "etcd_mvcc_db_total_size_in_bytes",
            "The size of the store's file",
            &gauges.store_file_bytes,
        );
        gauge(
            "etcd_mvcc_db_total_size_in_use_in_bytes",
            "The bytes of all rows, leases and counters, which --quota-bytes limits",
            &gauges.stored_bytes,
        );
        gauge(
            "etcd_server_quota_backend_bytes",
            "How many those may be before writes are refused (--quota-bytes); 0 for no limit",
            &gauges.quota_bytes,
        );
        gauge("duorum_store_overlay_bytes", "Bytes of rows in memory", &gauges.overlay_bytes);
        gauge("duorum_store_index_bytes", "Bytes of the index, estimated", &gauges.index_bytes);
        gauge(
            "duorum_store_unflushed_entries",
            "Log entries applied that are not in the store yet",
            &gauges.unflushed_entries,
        );
    }

    fn register_network(&mut self) {
        let Self { registry, gauges, .. } = self;
        registry.register(
            "duorum_protocol_messages_sent",
            "Protocol messages sent; a frame of many counts each",
            self.messages_sent.clone(),
        );
        registry.register(
            "duorum_protocol_messages_received",
            "Protocol messages received; a frame of many counts each",
            self.messages_received.clone(),
        );
        registry.register("duorum_http_requests", "Requests answered", self.http_requests.clone());
        registry.register(
            "duorum_http_request_duration_seconds",
            "How long requests took until their answer began",
            self.http_seconds.clone(),
        );
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        counter("duorum_peer_frames_sent", "Frames sent to peers", &self.frames_sent);
        counter("duorum_peer_frames_received", "Frames received from peers", &self.frames_received);
        counter("etcd_network_peer_sent_bytes", "Bytes sent to peers", &self.peer_sent_bytes);
        counter(
            "etcd_network_peer_received_bytes",
            "Bytes received from peers",
            &self.peer_received_bytes,
        );
        counter(
            "etcd_network_snapshot_send_success",
            "Snapshots that peers took",
            &self.snapshots_sent,
        );
        counter(
            "etcd_network_snapshot_receive_success",
            "Snapshots received as a whole",
            &self.snapshots_received,
        );
        counter("duorum_snapshot_sent_bytes", "Bytes of snapshots sent", &self.snapshot_sent_bytes);
        counter(
            "duorum_snapshot_received_bytes",
            "Bytes of snapshots received as a whole",
            &self.snapshot_received_bytes,
        );
        counter(
            "duorum_http_connections_accepted",
            "Client connections accepted",
            &self.http_connections_accepted,
        );
        counter(
            "duorum_http_connections_refused",
            "Client connections turned away because there were too many",
            &self.http_connections_refused,
        );
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| {
            registry.register(name, help, gauge.clone());
        };
        gauge(
            "duorum_http_connections_open",
            "Open client connections",
            &self.http_connections_open,
        );
        gauge("etcd_network_active_peers", "Peers with a live connection", &gauges.active_peers);
        gauge("process_resident_memory_bytes", "Resident memory", &gauges.resident_bytes);
        gauge("process_open_fds", "Open file descriptors", &gauges.open_descriptors);
        registry.register(
            "duorum_digest_comparisons",
            "How many times this node's digest was compared with the leader's since its store was opened, by \
             the result; impossible where it did not know its digest of then any more",
            gauges.digest_comparisons.clone(),
        );
        registry.register(
            "duorum_peer_round_trip_seconds",
            "The last measured time from heartbeat to reply, at the leader",
            gauges.round_trip_seconds.clone(),
        );
        registry.register(
            "process_cpu_seconds",
            "Processor time used by the process",
            gauges.cpu_seconds.clone(),
        );
    }

    /// All metrics in the OpenMetrics text format.
    #[must_use]
    pub fn render(&self, handle: &NodeHandle) -> String {
        self.take_gauges(handle);
        let mut text = String::with_capacity(16 << 10);
        encode(&mut text, &self.registry).expect("a string takes everything written to it");
        text
    }

    fn take_gauges(&self, handle: &NodeHandle) {
        let gauges = &self.gauges;
        let status = handle.status();
        let consensus = &status.consensus;
        let leads = matches!(consensus.leadership, Leadership::Established { .. });
        gauges.has_leader.set((consensus.leadership != Leadership::None).into());
        gauges.is_leader.set(leads.into());
        gauges.committed.set(signed(consensus.commit.0));
        gauges.applied.set(signed(status.applied.0));
        gauges.term.set(signed(consensus.term.0));
        gauges.pending.set(signed(status.requests_pending as u64));
        gauges.persists_pending.set(signed(status.persists_pending as u64));
        gauges
            .active_peers
            .set(signed(consensus.peers.iter().filter(|p| p.connected).count() as u64));
        for peer in &consensus.peers {
            if let Some(round_trip) = peer.round_trip {
                let label = PeerLabel { peer: peer.id.0 };
                gauges.round_trip_seconds.get_or_create(&label).set(round_trip.as_secs_f64());
            }
        }
        {
            let machine = handle.machine().read().expect("no holder of the machine panics");
            let (statistics, alarms) = (machine.statistics(), machine.alarms().len());
            let stored_bytes = machine.stored_bytes();
            drop(machine);
            gauges.alarms.set(signed(alarms as u64));
            gauges.stored_bytes.set(signed(stored_bytes));
            gauges.quota_bytes.set(signed(handle.quota_bytes().unwrap_or(0)));
            let Comparisons { equal, different, impossible } = statistics.comparisons;
            for (result, count) in
                [("equal", equal), ("different", different), ("impossible", impossible)]
            {
                let label = ComparisonLabel { result };
                gauges.digest_comparisons.get_or_create(&label).set(signed(count));
            }
            gauges.keys.set(signed(statistics.keys as u64));
            gauges.revision.set(signed(statistics.revision.0));
            gauges.compact_revision.set(signed(statistics.compacted.0));
            gauges.overlay_bytes.set(signed(statistics.overlay_bytes as u64));
            gauges.index_bytes.set(signed(statistics.index_bytes as u64));
            gauges.unflushed_entries.set(signed(statistics.unflushed_entries as u64));
        }
        // A file that can not be looked at just now keeps the size that it had.
        if let Ok(file) = std::fs::metadata(handle.store_file()) {
            gauges.store_file_bytes.set(signed(file.len()));
        }
        let process = process::usage();
        gauges.resident_bytes.set(signed(process.resident_bytes));
        gauges.open_descriptors.set(signed(process.open_descriptors));
        gauges.cpu_seconds.inner().store(process.cpu_seconds.to_bits(), Ordering::Relaxed);
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fdatasync_counts_once_with_its_own_time() {
        let metrics = Metrics::new();
        metrics.wal_written(300, 1, Duration::from_millis(4));
        metrics.wal_written(20 << 20, 3, Duration::from_millis(60));
        metrics.wal_written(0, 0, Duration::ZERO);
        let mut text = String::new();
        encode(&mut text, &metrics.registry).expect("a string takes everything written to it");
        for line in [
            "duorum_wal_fsyncs_total 4",
            "etcd_disk_wal_fsync_duration_seconds_count 4",
            "etcd_disk_wal_fsync_duration_seconds_sum 0.064",
            "etcd_disk_wal_write_bytes_total 20971820",
        ] {
            assert!(text.lines().any(|one| one == line), "no {line} in\n{text}");
        }
    }
}
