//! What was measured of the systems, as it is written to `report.json`.

use serde::{Deserialize, Serialize};

use super::Subject;
use super::choice::System;
use crate::cluster::ResourceUse;
use crate::compare::Exclusion;
use crate::failover::{Failover, FailoverOptions};
use crate::load::LoadReport;

/// All runs of the systems and of Duorum beside them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Systems {
    /// How long it took.
    pub took_seconds: f64,
    /// What of others ran.
    pub installations: Vec<Installation>,
    /// How it was measured.
    pub options: super::Options,
    /// How the leaders were killed.
    pub failover_options: FailoverOptions,
    /// Who ran in which order, block by block, as a coin decided before the first.
    pub orders: Vec<Vec<Subject>>,
    /// The runs in the order in which they were made.
    pub runs: Vec<SystemRun>,
    /// What is missing or was left out, and why.
    pub exclusions: Vec<Exclusion>,
}

/// A system that was found, and how it was set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    /// The system.
    pub system: System,
    /// The version that it tells.
    pub version: String,
    /// The program.
    pub program: String,
    /// What runs the program, if it does not run by itself.
    pub runtime: Option<String>,
    /// What is set, in words; the runs have the command lines.
    pub settings: String,
}

/// One cluster of one subject, from its start to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SystemRun {
    /// The block, counted from 0.
    pub block: usize,
    /// The place in the block, counted from 0.
    pub place: usize,
    /// Whose run it is.
    pub subject: Subject,
    /// From starting the processes to the first agreed leader, in milliseconds.
    pub start_ms: f64,
    /// The command line of each node, and below it what it reads, if that is a file of ours.
    pub commands: Vec<String>,
    /// Writing every key once, which does not count.
    pub fill: LoadReport,
    /// Writes of keys drawn at random, if they were asked for.
    pub write: Option<SystemWrites>,
    /// Linearizable reads of keys drawn at random, if they were asked for.
    pub read: Option<LoadReport>,
    /// Reads of what one node has, if reads were asked for.
    pub local_read: Option<LoadReport>,
    /// What the largest node occupied of memory at most until the leader was killed, in bytes.
    pub memory_peak_bytes: u64,
    /// The kill, if it was asked for and there are at least three nodes.
    pub failover: Option<Failover>,
}

/// Writes, and what they cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SystemWrites {
    /// What the clients saw.
    pub report: LoadReport,
    /// What the nodes used meanwhile, warm-up included.
    pub used: ResourceUse,
}

impl SystemRun {
    /// What the clients saw of everything, each with what they did.
    pub(super) fn reports(&self) -> impl Iterator<Item = (&'static str, &LoadReport)> {
        let write = self.write.as_ref().map(|write| &write.report);
        [
            ("fill", Some(&self.fill)),
            ("writes", write),
            ("linearizable reads", self.read.as_ref()),
            ("local reads", self.local_read.as_ref()),
        ]
        .into_iter()
        .filter_map(|(what, report)| Some((what, report?)))
    }
}

impl Systems {
    /// Whoever has a run, in the order of the table.
    #[must_use]
    pub fn subjects(&self) -> Vec<Subject> {
        let mut subjects: Vec<Subject> = self.runs.iter().map(|run| run.subject).collect();
        subjects.sort();
        subjects.dedup();
        subjects
    }

    /// What a subject is called, with the version of what others wrote.
    #[must_use]
    pub fn heading(&self, subject: Subject) -> String {
        let name = self.options.name(subject);
        let version_of = |system: System| {
            let found = self.installations.iter().find(|found| found.system == system)?;
            Some((system.to_string(), &found.version))
        };
        let Some((system, version)) = subject.system().and_then(version_of) else { return name };
        name.replacen(&system, &format!("{system} {version}"), 1)
    }
}
