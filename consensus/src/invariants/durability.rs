//! The check of the driver itself: nothing leaves before it is durable.

use super::Violation;
use crate::{NodeId, PersistSequence};

/// Follows the writes of one node's life and judges what leaves it. A driver under test calls it
/// where a write is really durable and where a frame really leaves, not where either is decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durability {
    asked: PersistSequence,
    durable: PersistSequence,
}

impl Durability {
    /// A write was handed to the disk.
    ///
    /// # Errors
    /// When it is not the next one.
    pub fn asked(&mut self, id: NodeId, sequence: PersistSequence) -> Result<(), Violation> {
        if sequence != self.asked.next() {
            return Err(Violation::new(
                "writes are numbered densely",
                format!("{id} writes {sequence} after {}", self.asked),
            ));
        }
        self.asked = sequence;
        Ok(())
    }

    /// Everything up to this write is on stable storage.
    ///
    /// # Errors
    /// When it was never asked for, or was durable before.
    pub fn completed(&mut self, id: NodeId, sequence: PersistSequence) -> Result<(), Violation> {
        if sequence > self.asked || sequence <= self.durable {
            return Err(Violation::new(
                "writes become durable once, in order",
                format!("{id} completes {sequence} after {} of {}", self.durable, self.asked),
            ));
        }
        self.durable = sequence;
        Ok(())
    }

    /// A message that depends on this write leaves.
    ///
    /// # Errors
    /// When the write is not durable.
    pub fn leaves(&self, id: NodeId, after: PersistSequence) -> Result<(), Violation> {
        if after <= self.durable {
            return Ok(());
        }
        Err(Violation::new(
            "nothing leaves before what it promises is durable",
            format!("{id} sends what waits for {after} when {} is durable", self.durable),
        ))
    }
}
