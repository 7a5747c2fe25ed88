//! Everything that a comparison measured, as it is written to `report.json`.

use consensus::Protocol;
use serde::{Deserialize, Serialize};

use super::plan::{Plan, Settings};
use crate::cluster::{Counters, ResourceUse};
use crate::failover::{Failover, FailoverOptions};
use crate::load::LoadReport;
use crate::machine::{DiskProbe, FileSystem, Machine};

/// A whole comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The version of this format.
    pub format: u32,
    /// When it began, in seconds since the Unix epoch.
    pub began_at_seconds: u64,
    /// How long it took.
    pub took_seconds: f64,
    /// The command line.
    pub command: String,
    /// The machine.
    pub machine: Machine,
    /// The file system under the nodes' data.
    pub file_system: FileSystem,
    /// fdatasync before the first run.
    pub disk_before: DiskProbe,
    /// fdatasync after the last run.
    pub disk_after: DiskProbe,
    /// The share of all cores' time that a hypervisor gave to others meanwhile, in percent.
    pub stolen_percent: Option<f64>,
    /// What was asked for.
    pub settings: Settings,
    /// How the faults were measured.
    pub failover_options: FailoverOptions,
    /// The coins.
    pub plan: Plan,
    /// The runs of both protocols in the order in which they were made.
    pub runs: Vec<Run>,
    /// The floors in the order in which they were measured.
    pub floors: Vec<Floor>,
    /// What is missing or was left out, and why.
    pub exclusions: Vec<Exclusion>,
}

/// One cluster from its start to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The block, counted from 0.
    pub block: usize,
    /// The place in the block, 0 to 3.
    pub place: usize,
    /// The protocol.
    #[serde(with = "protocol_name")]
    pub protocol: Protocol,
    /// From starting the processes to the first agreed leader, in milliseconds.
    pub start_ms: f64,
    /// The command line of each node.
    pub commands: Vec<String>,
    /// What each node said of itself after the writes.
    pub statuses: Vec<serde_json::Value>,
    /// Writing every key once, which does not count.
    pub fill: LoadReport,
    /// Writes of keys drawn at random.
    pub write: LoadReport,
    /// Linearizable reads of keys drawn at random.
    pub read: LoadReport,
    /// What the nodes used during the writes, warm-up included.
    pub write_use: ResourceUse,
    /// What the nodes counted during the writes, warm-up included.
    pub write_counters: Counters,
    /// The faults, in order.
    pub failovers: Vec<Failover>,
}

/// Both floors, measured one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// How many runs came before.
    pub after_runs: usize,
    /// Bodies of the same size, echoed.
    pub echo: LoadReport,
    /// Writes to one node of the null protocol.
    pub null_write: LoadReport,
    /// Reads from it.
    pub null_read: LoadReport,
    /// What the node used during the writes, warm-up included.
    pub null_write_use: ResourceUse,
    /// What the node counted during the writes, warm-up included.
    pub null_write_counters: Counters,
}

/// Something that is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// The block, counted from 0.
    pub block: usize,
    /// What is missing and why.
    pub reason: String,
}

impl Comparison {
    /// The runs of one protocol in one block.
    pub fn runs_of(&self, protocol: Protocol, block: usize) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.protocol == protocol && run.block == block)
    }

    /// Reads of one block that found no key. Every key was written before, and a read without a value
    /// is a faster one, so a block with any is not valid.
    #[must_use]
    pub fn reads_not_found(&self, block: usize) -> u64 {
        let runs = self.runs.iter().filter(|run| run.block == block);
        runs.map(|run| run.read.not_found).sum()
    }

    /// All runs of one protocol.
    pub fn all_runs_of(&self, protocol: Protocol) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.protocol == protocol)
    }
}

/// Protocols are written as the flags name them.
mod protocol_name {
    use consensus::Protocol;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        protocol: &Protocol,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(protocol.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Protocol, D::Error> {
        let name = String::deserialize(deserializer)?;
        Protocol::from_name(&name)
            .ok_or_else(|| D::Error::custom(format!("there is no protocol `{name}`")))
    }
}
