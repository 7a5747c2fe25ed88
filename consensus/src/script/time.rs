//! Virtual time, and running a cluster until it is quiet.

use std::time::Duration;

use super::cluster::Cluster;
use crate::{Consensus, NodeId, Time, Timer, Violation};

/// How many frames a cluster may exchange without time passing.
const FRAMES_MAX: usize = 200_000;

/// How often one timer of one node may fire at the same moment.
const FIRES_MAX: usize = 1_000;

impl<C: Consensus> Cluster<C> {
    /// Lets time pass and fires every timer that becomes due, but delivers nothing. What a slow disk is
    /// at becomes durable in its time.
    ///
    /// # Errors
    /// A broken law.
    pub fn tick(&mut self, duration: Duration) -> Result<(), Violation> {
        self.pass(duration, false)
    }

    /// Lets time pass, fires every timer that becomes due, and lets everything settle after each.
    /// Frames and writes take no time, but for those that are delayed.
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
        self.catch_up(settling)?;
        loop {
            let timer = self.next_timer().filter(|&(due, ..)| due <= end);
            let delayed = self.next_delayed(settling).filter(|&due| due <= end);
            if let Some(due) = delayed.filter(|&due| timer.is_none_or(|(other, ..)| due <= other)) {
                self.time = due;
            } else if let Some((due, id, timer)) = timer {
                fires = if due > self.time { 0 } else { fires + 1 };
                self.time = self.time.max(due);
                if fires > FIRES_MAX {
                    let details = format!("{id} fires {} again and again at {due}", timer.name());
                    return Err(Violation::new("a timer that fired is stopped or moved", details));
                }
                self.fire(id, timer)?;
            } else {
                break;
            }
            self.catch_up(settling)?;
        }
        self.time = end;
        Ok(())
    }

    /// When the next write of a slow disk can be completed, or also the next delayed frame arrives.
    fn next_delayed(&self, frames: bool) -> Option<Time> {
        let writes = self.nodes.values().filter_map(|node| node.disk.due());
        let arrival = self.network.next_arrival(self.time).filter(|_| frames);
        writes.filter(|&due| due > self.time).chain(arrival).min()
    }

    /// Does what can be done at this moment: everything, or what needs no delivery.
    fn catch_up(&mut self, settling: bool) -> Result<(), Violation> {
        if settling {
            return self.settle();
        }
        for id in self.running() {
            if self.is_active(id) {
                self.rest(id)?;
            }
        }
        self.stop_failed()
    }

    /// Lets time pass without firing anything, as for nodes that wake late.
    pub fn skip(&mut self, duration: Duration) {
        self.time = self.time + duration;
    }
}
