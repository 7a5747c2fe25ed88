//! What is compared: each measure, how one run gives its figure, and which direction is better.

use serde::{Deserialize, Serialize};

use super::record::{Floor, Run};
use crate::failover::FailoverOptions;
use crate::load::LoadReport;
use crate::report::format::figure;
use crate::stats::{geometric_mean, median};

/// Something that both protocols are measured by.
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
    /// From SIGKILL of the leader to the next acknowledged write.
    Failover,
    /// Time on a core that all nodes together spend on one write.
    CpuPerWrite,
    /// Bytes that all nodes together write to the disk for one write.
    DiskPerWrite,
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
    pub const ALL: [Self; 8] = [
        Self::WriteThroughput,
        Self::WriteLatencyP50,
        Self::WriteLatencyP99,
        Self::WriteLatencyP999,
        Self::ReadThroughput,
        Self::Failover,
        Self::CpuPerWrite,
        Self::DiskPerWrite,
    ];

    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WriteThroughput => "write throughput",
            Self::WriteLatencyP50 => "write latency p50",
            Self::WriteLatencyP99 => "write latency p99",
            Self::WriteLatencyP999 => "write latency p99.9",
            Self::ReadThroughput => "linearizable read throughput",
            Self::Failover => "leader killed to next write",
            Self::CpuPerWrite => "CPU per write, all nodes",
            Self::DiskPerWrite => "disk bytes per write, all nodes",
        }
    }

    /// The unit of the figures.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::WriteThroughput | Self::ReadThroughput => "/s",
            Self::WriteLatencyP50
            | Self::WriteLatencyP99
            | Self::WriteLatencyP999
            | Self::Failover => "ms",
            Self::CpuPerWrite => "µs",
            Self::DiskPerWrite => "B",
        }
    }

    /// A figure with its unit: `12,345/s`, `5.21 ms`.
    #[must_use]
    pub fn with_unit(self, value: f64) -> String {
        let space = if self.unit().starts_with('/') { "" } else { " " };
        format!("{}{space}{}", figure(value), self.unit())
    }

    /// Which direction is better.
    #[must_use]
    pub fn better(self) -> Better {
        match self {
            Self::WriteThroughput | Self::ReadThroughput => Better::Higher,
            _ => Better::Lower,
        }
    }

    /// What the winner is said to be: "1.08 × faster".
    #[must_use]
    pub fn advantage(self) -> &'static str {
        match self {
            Self::Failover => "sooner back",
            Self::CpuPerWrite | Self::DiskPerWrite => "cheaper",
            _ => "faster",
        }
    }

    /// The figure of one protocol in one block: the mean of its runs, and for faults, which are
    /// single events, the median of all of them. `None` when the runs have no such figure.
    pub(super) fn of_block(self, runs: &[&Run], options: &FailoverOptions) -> Option<f64> {
        if self == Self::Failover {
            // An outage beyond the limit is at least as long as the limit. Leaving it out would
            // favour the protocol that did worst.
            let limit_ms = options.limit.as_secs_f64() * 1e3;
            let outages = runs.iter().flat_map(|run| &run.failovers);
            let outages: Vec<f64> =
                outages.map(|failover| failover.outage_ms.unwrap_or(limit_ms)).collect();
            return median(&outages);
        }
        let figures: Option<Vec<f64>> = runs.iter().map(|run| self.of_run(run)).collect();
        geometric_mean(&figures?)
    }

    /// The figure of one run; `None` when it has none, as when nothing succeeded.
    fn of_run(self, run: &Run) -> Option<f64> {
        let writes = run.write.operations_with_warmup as f64;
        let figure = match self {
            Self::WriteThroughput => run.write.per_second,
            Self::WriteLatencyP50 => run.write.latency.p50_ms,
            Self::WriteLatencyP99 => run.write.latency.p99_ms,
            Self::WriteLatencyP999 => run.write.latency.p999_ms,
            Self::ReadThroughput => run.read.per_second,
            Self::CpuPerWrite => run.write_use.cpu_seconds * 1e6 / writes,
            Self::DiskPerWrite => run.write_use.disk_write_bytes as f64 / writes,
            Self::Failover => return None,
        };
        (figure.is_finite() && figure > 0.0).then_some(figure)
    }

    /// The figure of the null protocol; `None` where one node has no such figure.
    pub(super) fn of_floor(self, floor: &Floor) -> Option<f64> {
        let latency = |report: &LoadReport| report.latency.clone();
        let writes = floor.null_write.operations_with_warmup as f64;
        let figure = match self {
            Self::WriteThroughput => floor.null_write.per_second,
            Self::WriteLatencyP50 => latency(&floor.null_write).p50_ms,
            Self::WriteLatencyP99 => latency(&floor.null_write).p99_ms,
            Self::WriteLatencyP999 => latency(&floor.null_write).p999_ms,
            Self::ReadThroughput => floor.null_read.per_second,
            Self::CpuPerWrite => floor.null_write_use.cpu_seconds * 1e6 / writes,
            Self::DiskPerWrite => floor.null_write_use.disk_write_bytes as f64 / writes,
            Self::Failover => return None,
        };
        (figure.is_finite() && figure > 0.0).then_some(figure)
    }
}
