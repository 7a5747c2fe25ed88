//! Virtual time, and running a cluster until it is quiet.

use std::time::Duration;

use super::cluster::Cluster;
use crate::{Consensus, NodeId, Time, Timer, Violation};

/// How many frames a cluster may exchange without time passing.
const FRAMES_MAX: usize = 200_000;

/// How often one timer of one node may fire at the same moment.
const FIRES_MAX: usize = 1_000;

impl<C: Consensus> Cluster<C> {
    /// Lets time pass and fires every timer that becomes due, but delivers nothing.
    ///
    /// # Errors
    /// A broken law.
    pub fn tick(&mut self, duration: Duration) -> Result<(), Violation> {
        self.pass(duration, false)
    }

    /// Lets time pass, fires every timer that becomes due, and lets everything settle after each.
    /// Frames and writes take no time.
    ///
    /// # Errors
    /// A broken law.
    pub fn run(&mut self, duration: Duration) -> Result<(), Violation> {
        self.pass(duration, true)
    }

    /// Completes writes, delivers frames, applies entries, lets snapshots arrive, until nothing is left
    /// to do.
    ///
    /// # Errors
    /// A broken law.
    pub fn settle(&mut self) -> Result<(), Violation> {
        let mut frames = 0;
        loop {
            let mut quiet = true;
            for id in self.running() {
                if self.is_active(id) {
                    quiet &= !self.complete_all(id)?;
                }
            }
            for (from, to) in self.deliverable() {
                if self.is_held(from, to) {
                    continue;
                }
                // Those that are there now; what they cause comes in the next round.
                for _ in 0..self.under_way(from, to).count() {
                    quiet &= !self.deliver(from, to)?;
                    frames += 1;
                }
            }
            let snapshots = self.settle_snapshots()?;
            frames += snapshots;
            quiet &= snapshots == 0;
            if quiet {
                return Ok(());
            }
            if frames > FRAMES_MAX {
                let details = format!("more than {FRAMES_MAX} frames at one moment");
                return Err(Violation::new("a cluster comes to rest", details));
            }
        }
    }

    /// Completes the writes, deliveries and fetches of one node. Returns whether there were any.
    ///
    /// # Errors
    /// A broken law.
    pub fn complete_all(&mut self, id: NodeId) -> Result<bool, Violation> {
        let mut any = false;
        while self.persist(id, usize::MAX)?
            || self.apply(id, usize::MAX)?
            || self.answer_fetch(id)?
        {
            any = true;
        }
        Ok(any)
    }

    /// The timer that is due first among the nodes that are not paused.
    #[must_use]
    pub fn next_timer(&self) -> Option<(Time, NodeId, Timer)> {
        self.running()
            .into_iter()
            .filter(|&id| self.is_active(id))
            .filter_map(|id| self.deadline(id).map(|(due, timer)| (due, id, timer)))
            .min()
    }

    fn pass(&mut self, duration: Duration, settling: bool) -> Result<(), Violation> {
        let end = self.time + duration;
        let mut fires = 0;
        if settling {
            self.settle()?;
        }
        while let Some((due, id, timer)) = self.next_timer().filter(|&(due, ..)| due <= end) {
            fires = if due > self.time { 0 } else { fires + 1 };
            self.time = self.time.max(due);
            if fires > FIRES_MAX {
                let details = format!("{id} fires {} again and again at {due}", timer.name());
                return Err(Violation::new("a timer that fired is stopped or moved", details));
            }
            self.fire(id, timer)?;
            if settling {
                self.settle()?;
            }
        }
        self.time = end;
        Ok(())
    }

    /// Lets time pass without firing anything, as for nodes that wake late.
    pub fn skip(&mut self, duration: Duration) {
        self.time = self.time + duration;
    }
}
