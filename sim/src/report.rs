//! What a run comes to: figures when it is right, and everything needed to look into it when not.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use consensus::{Index, Protocol, Term, Time, Violation};

use crate::faults::Step;
use crate::options::SimOptions;

/// What was counted in a run. All of it follows from the options alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages that the replicas emitted; a range of entries counts each of them.
    pub messages: u64,
    /// Frames that left a node.
    pub frames: u64,
    /// Their bytes.
    pub frame_bytes: u64,
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

impl Counters {
    /// What was counted since an earlier moment.
    #[must_use]
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            messages: self.messages - earlier.messages,
            frames: self.frames - earlier.frames,
            frame_bytes: self.frame_bytes - earlier.frame_bytes,
            late_frames: self.late_frames - earlier.late_frames,
            log_syncs: self.log_syncs - earlier.log_syncs,
            fetches: self.fetches - earlier.fetches,
            truncations: self.truncations - earlier.truncations,
            torn_tails: self.torn_tails - earlier.torn_tails,
            unacknowledged_found: self.unacknowledged_found - earlier.unacknowledged_found,
            segments: self.segments - earlier.segments,
            store_writes: self.store_writes - earlier.store_writes,
            inputs: self.inputs - earlier.inputs,
            rounds: self.rounds - earlier.rounds,
            acknowledged: self.acknowledged - earlier.acknowledged,
            repeated: self.repeated - earlier.repeated,
            keys_expired: self.keys_expired - earlier.keys_expired,
            keys_evicted: self.keys_evicted - earlier.keys_evicted,
            done_anew: self.done_anew - earlier.done_anew,
            refused_forgotten: self.refused_forgotten - earlier.refused_forgotten,
            searches_given_up: self.searches_given_up - earlier.searches_given_up,
            reads: self.reads - earlier.reads,
            reads_in_steps: self.reads_in_steps - earlier.reads_in_steps,
            reads_vanished: self.reads_vanished - earlier.reads_vanished,
            pages: self.pages - earlier.pages,
            pages_compacted: self.pages_compacted - earlier.pages_compacted,
            failed: self.failed - earlier.failed,
            overloaded: self.overloaded - earlier.overloaded,
            watched: self.watched - earlier.watched,
            watches_ahead: self.watches_ahead - earlier.watches_ahead,
            watches_vanished: self.watches_vanished - earlier.watches_vanished,
            transactions: self.transactions - earlier.transactions,
            leases_granted: self.leases_granted - earlier.leases_granted,
            leases_expired: self.leases_expired - earlier.leases_expired,
            keepalives: self.keepalives - earlier.keepalives,
            keepalives_logged: self.keepalives_logged - earlier.keepalives_logged,
            locks_won: self.locks_won - earlier.locks_won,
            digests_compared: self.digests_compared - earlier.digests_compared,
            refused_full: self.refused_full - earlier.refused_full,
            faults: self.faults - earlier.faults,
            crashes: self.crashes - earlier.crashes,
            wipes: self.wipes - earlier.wipes,
            flips_refused: self.flips_refused - earlier.flips_refused,
            transfers: self.transfers - earlier.transfers,
            forgotten: self.forgotten - earlier.forgotten,
            segments_removed: self.segments_removed - earlier.segments_removed,
            snapshots: self.snapshots - earlier.snapshots,
            resumed: self.resumed - earlier.resumed,
            broken_off: self.broken_off - earlier.broken_off,
            installed: self.installed - earlier.installed,
            useless: self.useless - earlier.useless,
            installed_by_start: self.installed_by_start - earlier.installed_by_start,
            swallowed: self.swallowed - earlier.swallowed,
            observer_writes: self.observer_writes - earlier.observer_writes,
            observer_reads: self.observer_reads - earlier.observer_reads,
            observer_installs: self.observer_installs - earlier.observer_installs,
        }
    }
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
