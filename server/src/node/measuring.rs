//! A node that stands still, for benchmarks of what a server does around its state machine.
//!
//! Everything that a node is made of is there, and none of its threads run: what clients ask for stays in
//! the inbox until it is taken out, and what they wrote is applied when that is asked for, by the code with
//! which the consensus loop applies a few writes at once. So a benchmark sees the way of a request through
//! the server by itself, in one thread, without a protocol, a disk or a race in it.

use std::sync::Arc;

use bytes::Bytes;
use consensus::{Entry, Index, Null, NullMessage, Payload, Position, WallTime};
use tokio::sync::mpsc;

use super::StartError;
use super::applier::{AT_ONCE_ENTRIES_MAX, Applier};
use super::config::NodeConfig;
use super::driver::{DriverInput, INBOX_INPUTS_MAX};
use super::handle::NodeHandle;
use super::open::{self, Parts};
use super::shared::ClientInput;

/// A node of which nothing runs by itself, the only one of its cluster.
pub struct StillNode {
    inbox: mpsc::Receiver<DriverInput<NullMessage>>,
    applier: Applier,
    /// The last entry that was applied.
    applied: Index,
    /// What the threads would share, and what holds the directory.
    parts: Parts,
}

impl StillNode {
    /// Opens the data directory of the only node of a cluster without a protocol, and starts nothing.
    ///
    /// # Errors
    /// When the directory can not be used.
    pub fn open(config: &NodeConfig) -> Result<Self, StartError> {
        let (sender, inbox) = mpsc::channel(INBOX_INPUTS_MAX);
        let parts = open::open::<Null>(config, sender)?.parts;
        let applier = Applier::new(Arc::clone(&parts.shared));
        let machine = parts.shared.machine.read().expect("no holder of this lock panics");
        let applied = machine.applied().index;
        drop(machine);
        Ok(Self { inbox, applier, applied, parts })
    }

    /// What the rest of the server knows of the node.
    #[must_use]
    pub fn handle(&self) -> NodeHandle {
        NodeHandle { shared: Arc::clone(&self.parts.shared) }
    }

    /// The next write that a client asks for, as it would go into the log.
    ///
    /// # Panics
    /// If a client asks for something else: nobody would answer it.
    pub async fn next_write(&mut self) -> Bytes {
        match self.inbox.recv().await {
            Some(DriverInput::Client(ClientInput::Write { envelope, .. })) => envelope,
            _ => panic!("a node that stands still takes writes, and nothing else"),
        }
    }

    /// Applies these as the next entries of the log, tells who watches, and answers who asked.
    ///
    /// # Panics
    /// If that can not be done at once: a command takes long, somebody holds the state machine, or too much
    /// of what was applied is in no store yet, which nobody carries there.
    pub fn apply(&mut self, envelopes: impl IntoIterator<Item = Bytes>) {
        let entries: Vec<Entry> = envelopes
            .into_iter()
            .map(|envelope| {
                self.applied = self.applied.next();
                Entry {
                    position: Position::new(1, self.applied.0),
                    wall: WallTime(self.applied.0),
                    payload: Payload::Command(envelope),
                }
            })
            .collect();
        for portion in entries.chunks(AT_ONCE_ENTRIES_MAX) {
            let applied = self.applier.try_apply(portion).expect("nothing is read from the store");
            assert!(applied.is_some(), "simple writes are applied at once");
        }
    }
}
