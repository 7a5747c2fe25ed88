//! What is to be measured of a return, and what was.

use std::net::SocketAddr;
use std::time::Duration;

use consensus::NodeId;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::cluster::{Agreement, Cluster};
use crate::load::{BackgroundOptions, Verdict, Window};

/// How much the follower is to lack, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behind {
    /// Entries of the log.
    Entries(u64),
    /// Bytes of values written.
    Bytes(u64),
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RejoinOptions {
    /// How much the follower is to lack.
    pub behind: Behind,
    /// Whether it is to come back by a snapshot.
    pub snapshot: bool,
    /// How many writers there are.
    pub connections: usize,
    /// Writes a second before and during the return; `None` for as many as they can.
    pub per_second: Option<f64>,
    /// The size of a value in bytes.
    pub value_bytes: usize,
    /// How many keys there are.
    pub keys: u64,
    /// How long latency is noted before.
    pub before: Duration,
    /// How long the follower may stay away, and how long its return may take.
    pub limit: Duration,
    /// Where keys and values come from.
    pub seed: u64,
}

impl RejoinOptions {
    /// Refuses what can not be run.
    ///
    /// # Errors
    /// [`Error::Usage`] with what is allowed.
    pub fn check(&self) -> Result<(), Error> {
        self.writers(Vec::new()).check(self.keys)
    }

    pub(super) fn writers(&self, endpoints: Vec<SocketAddr>) -> BackgroundOptions {
        BackgroundOptions {
            endpoints,
            connections: self.connections,
            value_bytes: self.value_bytes,
            per_second: self.per_second,
            enough: None,
            seed: self.seed,
        }
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejoin {
    /// Who led.
    pub leader: u64,
    /// Who was away.
    pub follower: u64,
    /// Entries that the leader had applied and the follower had not when it was started.
    pub behind_entries: u64,
    /// Bytes of values written while it was away.
    pub behind_bytes: u64,
    /// How long it was away.
    pub away_seconds: f64,
    /// From its first start to its having caught up, in milliseconds.
    pub caught_up_ms: f64,
    /// The same from its last start; the same number if it was not killed half way.
    pub caught_up_after_last_start_ms: f64,
    /// How much of a snapshot was sent when it was killed half way, if it was.
    pub killed_after_bytes: Option<f64>,
    /// The term or epoch when the follower fell.
    pub term_before: u64,
    /// The term or epoch at the end.
    pub term_after: u64,
    /// Changes of the leader that those saw that stayed.
    pub leader_changes: f64,
    /// Bytes of snapshots that the leader sent meanwhile, those that broke off included.
    pub snapshot_sent_bytes: f64,
    /// Snapshots that the follower received as a whole since its last start. It counts one before it puts
    /// it to use, so one that it came back by is counted; the sender hears of that only later.
    pub snapshots_received: f64,
    /// The leader's memory meanwhile.
    pub sender: MemoryUse,
    /// The follower's memory since it was started first.
    pub receiver: MemoryUse,
    /// What the writers saw before.
    pub before: Window,
    /// What the writers saw while the follower was away.
    pub away: Window,
    /// What the writers saw from its first start until it had caught up.
    pub during: Window,
    /// Whether all replicas have the same at the end.
    pub agreement: Agreement,
    /// Whether everything acknowledged is there.
    pub verdict: Verdict,
}

/// What a process occupied of memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryUse {
    /// At the beginning.
    pub first_bytes: u64,
    /// The most that was seen by looking every few milliseconds (`VmRSS`).
    pub sampled_max_bytes: u64,
    /// The most according to the kernel (`VmHWM`), which was reset at the beginning.
    pub peak_bytes: u64,
}

impl MemoryUse {
    pub(super) fn look(&mut self, cluster: &Cluster, id: NodeId) {
        let Some(memory) = cluster.memory(id) else { return };
        if self.first_bytes == 0 {
            self.first_bytes = memory.resident_bytes;
        }
        self.sampled_max_bytes = self.sampled_max_bytes.max(memory.resident_bytes);
        self.peak_bytes = self.peak_bytes.max(memory.peak_bytes);
    }
}

impl Rejoin {
    /// How much slower 99 of 100 writes were while the follower came back.
    #[must_use]
    pub fn slowdown(&self) -> Option<f64> {
        let before = self.before.latency.p99_ms;
        (before > 0.0).then(|| self.during.latency.p99_ms / before)
    }

    /// The promises that were broken.
    #[must_use]
    pub fn broken(&self, options: &RejoinOptions) -> Vec<String> {
        let mut broken = Vec::new();
        if self.leader_changes > 0.0 || self.term_after != self.term_before {
            broken.push(format!(
                "the leader changed meanwhile: {} changes were seen, and term {} became {}",
                self.leader_changes, self.term_before, self.term_after
            ));
        }
        if options.snapshot && self.snapshots_received < 1.0 {
            broken.push("the follower came back without a snapshot".to_owned());
        }
        if !options.snapshot && self.snapshot_sent_bytes > 0.0 {
            broken.push("the follower came back by a snapshot, not by the log".to_owned());
        }
        broken.extend(self.verdict.broken_promises(&self.agreement));
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Window {
        Window {
            seconds: 1.0,
            acknowledged: 10,
            per_second: 10.0,
            latency: crate::load::LatencyReport { p99_ms: 4.0, ..Default::default() },
            gap_max_ms: 0.0,
            definite_errors: std::collections::BTreeMap::new(),
            unknown_outcomes: std::collections::BTreeMap::new(),
        }
    }

    fn rejoin(snapshot: bool) -> (RejoinOptions, Rejoin) {
        let options = RejoinOptions {
            behind: Behind::Entries(100),
            snapshot,
            connections: 1,
            per_second: None,
            value_bytes: 16,
            keys: 10,
            before: Duration::ZERO,
            limit: Duration::ZERO,
            seed: 1,
        };
        let (agree, answered, members, digest_revision) = (Some(true), 3, 3, Some(9));
        let rejoin = Rejoin {
            leader: 1,
            follower: 2,
            behind_entries: 100,
            behind_bytes: 1_600,
            away_seconds: 1.0,
            caught_up_ms: 10.0,
            caught_up_after_last_start_ms: 10.0,
            killed_after_bytes: None,
            term_before: 1,
            term_after: 1,
            leader_changes: 0.0,
            snapshot_sent_bytes: f64::from(u8::from(snapshot)) * 100.0,
            snapshots_received: f64::from(u8::from(snapshot)),
            sender: MemoryUse::default(),
            receiver: MemoryUse::default(),
            before: window(),
            away: window(),
            during: window(),
            agreement: Agreement { agree, answered, members, digest_revision },
            verdict: Verdict::default(),
        };
        (options, rejoin)
    }

    #[test]
    fn what_was_promised_is_held_against_what_happened() {
        for snapshot in [false, true] {
            let (options, good) = rejoin(snapshot);
            assert_eq!(good.broken(&options), Vec::<String>::new());
            assert_eq!(good.slowdown(), Some(1.0));
            let says = |change: &dyn Fn(&mut Rejoin), expected: &str| {
                let mut bad = good.clone();
                change(&mut bad);
                let broken = bad.broken(&options);
                assert!(broken.len() == 1 && broken[0].contains(expected), "{broken:?}");
            };
            says(&|bad| bad.leader_changes = 1.0, "the leader changed");
            says(&|bad| bad.term_after = 2, "term 1 became 2");
            says(&|bad| bad.agreement.agree = Some(false), "agree is false");
            says(&|bad| bad.agreement.agree = None, "agree is not known");
            says(&|bad| bad.agreement.answered = 2, "2 of 3 answered");
            says(&|bad| bad.verdict.broken_keys = 1, "as they were acknowledged");
        }
        let (options, _) = rejoin(true);
        assert!(rejoin(false).1.broken(&options)[0].contains("without a snapshot"));
        let (options, _) = rejoin(false);
        assert!(rejoin(true).1.broken(&options)[0].contains("not by the log"));
    }
}
