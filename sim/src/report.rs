//! What a run comes to: figures when it is right, and everything needed to look into it when not.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use consensus::{Index, Protocol, Term, Time, Violation};

use crate::faults::Step;
use crate::options::SimOptions;
use crate::workload::WorkloadReport;

/// What was counted in a run. All of it follows from the options alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that turned up after their connection was gone.
    pub late_frames: u64,
    /// Syncs of logs, of files and directories.
    pub log_syncs: u64,
    /// Reads of entries that had left memory.
    pub fetches: u64,
    /// Removals of entries that were never committed.
    pub truncations: u64,
    /// Starts that found a torn write at the end of the log.
    pub torn_tails: u64,
    /// Starts that found a write that nobody had been told was durable.
    pub unacknowledged_found: u64,
    /// Segments of logs that were put to use.
    pub segments: u64,
    /// Transactions of stores.
    pub store_writes: u64,
    /// What the protocols were told: messages, timers, writes that are durable, requests.
    pub inputs: u64,
    /// Rounds of the nodes' loops.
    pub rounds: u64,
    /// Writes of clients that were answered with an outcome.
    pub acknowledged: u64,
    /// Those of them that repeated an earlier write with the same idempotency key.
    pub repeated: u64,
    /// Idempotency keys that were forgotten because their time was up.
    pub keys_expired: u64,
    /// Idempotency keys that were forgotten because later ones came.
    pub keys_evicted: u64,
    /// Writes that were done anew under a key that was forgotten.
    pub done_anew: u64,
    /// Writes that were refused because what had become of them might be forgotten.
    pub refused_forgotten: u64,
    /// Keys whose history was too tangled for a search to end.
    pub searches_given_up: u64,
    /// Reads of clients that were answered.
    pub reads: u64,
    /// Those of them that were read in steps, with other things done in between.
    pub reads_in_steps: u64,
    /// Times such a read began anew because what it had planned was compacted.
    pub reads_vanished: u64,
    /// Reads that went on where an earlier one had ended.
    pub pages: u64,
    /// Those of them whose revision was compacted.
    pub pages_compacted: u64,
    /// Requests that failed at a node.
    pub failed: u64,
    /// Those of them that were refused for want of room.
    pub overloaded: u64,
    /// Those of them that were refused because the store was full.
    pub refused_full: u64,
    /// Those of them that were refused because an alarm stood.
    pub refused_corrupt: u64,
    /// Revisions that watchers were given.
    pub watched: u64,
    /// Watches that began at a revision that did not exist yet.
    pub watches_ahead: u64,
    /// Times a watch planned its events anew because they were compacted before it fetched them.
    pub watches_vanished: u64,
    /// Transactions that were carried out.
    pub transactions: u64,
    /// Leases that were granted.
    pub leases_granted: u64,
    /// Leases that ended because their time was over.
    pub leases_expired: u64,
    /// Keepalives that were answered.
    pub keepalives: u64,
    /// Those of them that went through the log.
    pub keepalives_logged: u64,
    /// Times a client came to hold the lock.
    pub locks_won: u64,
    /// Comparisons of digests that nodes applied.
    pub digests_compared: u64,
    /// Faults that were injected.
    pub faults: u64,
    /// Processes that were ended.
    pub crashes: u64,
    /// Disks that were taken away.
    pub wipes: u64,
    /// Logs with a flipped bit that were refused.
    pub flips_refused: u64,
    /// Transfers of leadership that were done as asked.
    pub transfers: u64,
    /// Entries that logs forgot, of which each node forgets its own.
    pub forgotten: u64,
    /// Segments of logs that were removed.
    pub segments_removed: u64,
    /// Snapshots that began to be sent.
    pub snapshots: u64,
    /// Those of them that went on with what an earlier one had left.
    pub resumed: u64,
    /// Those that broke off.
    pub broken_off: u64,
    /// Snapshots that took the place of a machine.
    pub installed: u64,
    /// Snapshots that were received as a whole and were of no use.
    pub useless: u64,
    /// Starts that went on from a snapshot whose machine had not taken its place yet.
    pub installed_by_start: u64,
    /// Writes of clients that ended in a snapshot.
    pub swallowed: u64,
    /// Writes that observers acknowledged.
    pub observer_writes: u64,
    /// Reads that observers answered.
    pub observer_reads: u64,
    /// Snapshots that took the place of an observer's machine.
    pub observer_installs: u64,
}

/// A run in which every law held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The number into which everything that happened was folded.
    pub hash: u64,
    /// What was counted.
    pub counters: Counters,
    /// How many entries were committed.
    pub committed: Index,
    /// The first index of each term or epoch in the log.
    pub terms: BTreeMap<Index, Term>,
    /// How many terms or epochs had an established leader.
    pub leaders: usize,
    /// How many operations the clients began.
    pub operations: usize,
    /// How long it took from the repair of everything until every node had answered a write.
    pub recovery: Duration,
    /// What the workload came to, if there was one.
    pub workload: Option<WorkloadReport>,
    /// Virtual time in total.
    pub duration: Duration,
}

/// A run in which a law was broken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The options: with them it happens again.
    pub options: SimOptions,
    /// The protocol.
    pub protocol: Protocol,
    /// When, in virtual time.
    pub time: Time,
    /// Which law, and how.
    pub violation: Violation,
    /// The number into which everything up to then was folded.
    pub hash: u64,
    /// The faults that came before, in their order.
    pub faults: Vec<Step>,
    /// The last lines of what happened.
    pub transcript: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.transcript {
            writeln!(f, "{line}")?;
        }
        if !self.faults.is_empty() {
            writeln!(f, "\nwhat broke before:")?;
        }
        for step in &self.faults {
            writeln!(f, "{step}")?;
        }
        writeln!(f, "\n{} at t={}: {}", self.protocol, self.time, self.violation)?;
        writeln!(f, "trace hash {:016x}", self.hash)?;
        write!(f, "again: {}", self.options.command(self.protocol))?;
        if self.options.beginning.is_some() {
            write!(f, "\nand with the beginning of its test, which only that test can say")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
