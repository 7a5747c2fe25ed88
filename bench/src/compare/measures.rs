//! What is compared: each measure, how one run gives its figure, and which direction is better.

use serde::{Deserialize, Serialize};

use super::faults::block_outage;
use super::plan::Settings;
use super::record::{Floor, Loads, Run, Writes};
use crate::cluster::Fault;
use crate::failover::FailoverOptions;
use crate::load::{Kind, LoadReport};
use crate::report::format::figure;
use crate::stats::geometric_mean;

/// Something that both sides are measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Writes a second.
    WriteThroughput,
    /// The median latency of a write under that load.
    WriteLatencyP50,
    /// 99 of 100 writes were no slower.
    WriteLatencyP99,
    /// 999 of 1000 writes were no slower.
    WriteLatencyP999,
    /// Linearizable reads a second.
    ReadThroughput,
    /// The median latency of such a read.
    ReadLatencyP50,
    /// 99 of 100 such reads were no slower.
    ReadLatencyP99,
    /// From SIGKILL of the leader to the next acknowledged write.
    Failover,
    /// Operations of the mixed load a second.
    MixedThroughput,
    /// Their median latency.
    MixedLatencyP50,
    /// 99 of 100 of them were no slower.
    MixedLatencyP99,
    /// 99 of 100 writes of the mixed load were no slower.
    MixedPutLatencyP99,
    /// 99 of 100 of its reads of one key were no slower.
    MixedGetLatencyP99,
    /// 99 of 100 of its ranges were no slower.
    MixedRangeLatencyP99,
    /// Beside the mixed load, the median time from when a write was due or sent until a stream has told of it.
    DeliveryP50,
    /// 99 of 100 of these events took no longer.
    DeliveryP99,
    /// The median time from when a put was due until one of many watchers was told.
    WatchLatencyP50,
    /// 99 of 100 watchers were told no later.
    WatchLatencyP99,
    /// Time on a core that all nodes together spend on one write.
    CpuPerWrite,
    /// Protocol messages between nodes for one write.
    MessagesPerWrite,
    /// Frames between nodes for one write; a frame can carry many messages.
    FramesPerWrite,
    /// Bytes between nodes for one write.
    NetworkPerWrite,
    /// Calls of fdatasync for records on all logs together for one write.
    FsyncsPerWrite,
    /// Bytes written to all logs together for one write.
    LogPerWrite,
}

/// Which direction is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

impl Measure {
    /// All measures in the order in which they are shown.
    pub const ALL: [Self; 24] = [
        Self::WriteThroughput,
        Self::WriteLatencyP50,
        Self::WriteLatencyP99,
        Self::WriteLatencyP999,
        Self::ReadThroughput,
        Self::ReadLatencyP50,
        Self::ReadLatencyP99,
        Self::Failover,
        Self::MixedThroughput,
        Self::MixedLatencyP50,
        Self::MixedLatencyP99,
        Self::MixedPutLatencyP99,
        Self::MixedGetLatencyP99,
        Self::MixedRangeLatencyP99,
        Self::DeliveryP50,
        Self::DeliveryP99,
        Self::WatchLatencyP50,
        Self::WatchLatencyP99,
        Self::CpuPerWrite,
        Self::MessagesPerWrite,
        Self::FramesPerWrite,
        Self::NetworkPerWrite,
        Self::FsyncsPerWrite,
        Self::LogPerWrite,
    ];

    /// Whether this is what a write costs, which explains, rather than what a user notices.
    #[must_use]
    pub fn is_cost(self) -> bool {
        self.counter().is_some() || self == Self::CpuPerWrite
    }

    /// Whether its figure is no result: the throughput of what is due at a rate is that rate.
    pub(super) fn is_asked_for(self, settings: &Settings) -> bool {
        settings.rate.is_some() && matches!(self, Self::WriteThroughput | Self::MixedThroughput)
    }

    /// The counter at `/metrics` that says it, if that is where it comes from.
    #[must_use]
    pub fn counter(self) -> Option<&'static str> {
        Some(match self {
            Self::MessagesPerWrite => "duorum_protocol_messages_sent_total",
            Self::FramesPerWrite => "duorum_peer_frames_sent_total",
            Self::NetworkPerWrite => "etcd_network_peer_sent_bytes_total",
            Self::FsyncsPerWrite => "duorum_wal_fsyncs_total",
            Self::LogPerWrite => "etcd_disk_wal_write_bytes_total",
            _ => return None,
        })
    }

    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WriteThroughput => "write throughput",
            Self::WriteLatencyP50 => "write latency p50",
            Self::WriteLatencyP99 => "write latency p99",
            Self::WriteLatencyP999 => "write latency p99.9",
            Self::ReadThroughput => "linearizable read throughput",
            Self::ReadLatencyP50 => "linearizable read latency p50",
            Self::ReadLatencyP99 => "linearizable read latency p99",
            Self::Failover => "leader killed to next write",
            Self::MixedThroughput => "mixed throughput",
            Self::MixedLatencyP50 => "mixed latency p50",
            Self::MixedLatencyP99 => "mixed latency p99",
            Self::MixedPutLatencyP99 => "latency p99 of writes in the mix",
            Self::MixedGetLatencyP99 => "latency p99 of reads in the mix",
            Self::MixedRangeLatencyP99 => "latency p99 of ranges in the mix",
            Self::DeliveryP50 => "delivery to watchers p50",
            Self::DeliveryP99 => "delivery to watchers p99",
            Self::WatchLatencyP50 => "watch latency p50",
            Self::WatchLatencyP99 => "watch latency p99",
            Self::CpuPerWrite => "processor time per write",
            Self::MessagesPerWrite => "messages per write",
            Self::FramesPerWrite => "frames per write",
            Self::NetworkPerWrite => "bytes between nodes per write",
            Self::FsyncsPerWrite => "fdatasyncs per write",
            Self::LogPerWrite => "log bytes per write",
        }
    }

    /// The unit of the figures.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::WriteThroughput | Self::ReadThroughput | Self::MixedThroughput => "/s",
            Self::WriteLatencyP50
            | Self::WriteLatencyP99
            | Self::WriteLatencyP999
            | Self::ReadLatencyP50
            | Self::ReadLatencyP99
            | Self::MixedLatencyP50
            | Self::MixedLatencyP99
            | Self::MixedPutLatencyP99
            | Self::MixedGetLatencyP99
            | Self::MixedRangeLatencyP99
            | Self::DeliveryP50
            | Self::DeliveryP99
            | Self::WatchLatencyP50
            | Self::WatchLatencyP99
            | Self::Failover => "ms",
            Self::CpuPerWrite => "µs",
            Self::NetworkPerWrite | Self::LogPerWrite => "B",
            Self::MessagesPerWrite | Self::FramesPerWrite | Self::FsyncsPerWrite => "",
        }
    }

    /// The name with the unit, as rows of tables are headed.
    #[must_use]
    pub fn heading(self) -> String {
        format!("{}, {}", self.name(), self.unit()).trim_end_matches(", ").to_owned()
    }

    /// A figure with its unit: `12,345/s`, `5.21 ms`.
    #[must_use]
    pub fn with_unit(self, value: f64) -> String {
        let space = if self.unit().starts_with('/') { "" } else { " " };
        format!("{}{space}{}", figure(value), self.unit()).trim_end().to_owned()
    }

    /// Which direction is better.
    #[must_use]
    pub fn better(self) -> Better {
        match self {
            Self::WriteThroughput | Self::ReadThroughput | Self::MixedThroughput => Better::Higher,
            _ => Better::Lower,
        }
    }

    /// What the winner is said to be: "1.08 × faster".
    #[must_use]
    pub fn advantage(self) -> &'static str {
        match self {
            Self::Failover => "sooner back",
            _ if self.is_cost() => "cheaper",
            _ => "faster",
        }
    }

    /// Where the winner is that: "faster in write throughput".
    #[must_use]
    pub fn place(self) -> String {
        match self {
            Self::Failover => "after its leader was killed".to_owned(),
            _ => format!("in {}", self.name()),
        }
    }

    /// The figure of one side in one block: the mean of its runs, and for faults, which are
    /// single events, the median of all of them. `None` when the runs have no such figure.
    pub(super) fn of_block(self, runs: &[&Run], options: &FailoverOptions) -> Option<f64> {
        if self == Self::Failover {
            return block_outage(runs, &options.with_fault(Fault::Kill));
        }
        let figures: Option<Vec<f64>> = runs.iter().map(|run| self.of_run(run)).collect();
        geometric_mean(&figures?)
    }

    /// The figure of one run; `None` when it has none, as when nothing succeeded.
    fn of_run(self, run: &Run) -> Option<f64> {
        self.of_loads(&run.loads)
    }

    /// The figure of the null protocol; `None` where one node has no such figure.
    pub(super) fn of_floor(self, floor: &Floor) -> Option<f64> {
        if floor.null.reads_not_found() > 0 {
            return None;
        }
        self.of_loads(&floor.null)
    }

    fn of_loads(self, loads: &Loads) -> Option<f64> {
        let figure = match self {
            Self::ReadThroughput => loads.read.as_ref()?.per_second,
            Self::ReadLatencyP50 => loads.read.as_ref()?.p50_ms()?,
            Self::ReadLatencyP99 => loads.read.as_ref()?.p99_ms()?,
            Self::Failover => return None,
            Self::MixedThroughput | Self::MixedLatencyP50 | Self::MixedLatencyP99 => {
                self.of_mixed(&loads.mixed.as_ref()?.report)?
            }
            Self::MixedPutLatencyP99 => of_kind(loads, Kind::Put)?,
            Self::MixedGetLatencyP99 => of_kind(loads, Kind::Get)?,
            Self::MixedRangeLatencyP99 => of_kind(loads, Kind::Range)?,
            Self::DeliveryP50 => loads.mixed.as_ref()?.delivery.as_ref()?.latency.p50_ms,
            Self::DeliveryP99 => loads.mixed.as_ref()?.delivery.as_ref()?.latency.p99_ms,
            Self::WatchLatencyP50 => loads.watch.as_ref()?.latency.p50_ms,
            Self::WatchLatencyP99 => loads.watch.as_ref()?.latency.p99_ms,
            _ => self.of_writes(loads.write.as_ref()?)?,
        };
        (figure.is_finite() && figure > 0.0).then_some(figure)
    }

    fn of_mixed(self, report: &LoadReport) -> Option<f64> {
        match self {
            Self::MixedThroughput => Some(report.per_second),
            Self::MixedLatencyP50 => report.p50_ms(),
            _ => report.p99_ms(),
        }
    }

    fn of_writes(self, write: &Writes) -> Option<f64> {
        let Writes { report, used, counters } = write;
        let writes = report.operations_with_warmup as f64;
        Some(match self {
            Self::WriteThroughput => report.per_second,
            Self::WriteLatencyP50 => report.p50_ms()?,
            Self::WriteLatencyP99 => report.p99_ms()?,
            Self::WriteLatencyP999 => report.p999_ms()?,
            Self::CpuPerWrite => used.cpu_seconds * 1e6 / writes,
            _ => counters.sum(self.counter()?)? / writes,
        })
    }
}

/// What 99 of 100 operations of a kind did not exceed, of a mix of several kinds: of one alone it is that of all.
fn of_kind(loads: &Loads, kind: Kind) -> Option<f64> {
    let report = &loads.mixed.as_ref()?.report;
    let latency = report.latency_by_kind.get(&kind)?;
    let known = report.latency_by_kind.len() > 1 && report.knows_quantile(0.99);
    known.then_some(latency.p99_ms)
}
