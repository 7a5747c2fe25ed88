//! One direction of a link on which faults may hold messages up: what waits, waits in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus::NodeId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::frame::{FrameKind, kind_of, split_frame};
use crate::node::faults::{Faults, Strike};

/// The bytes that may wait behind faults, as in the buffers of a socket; with more the connection is
/// given up.
const HELD_BYTES_MAX: usize = 16 << 20;
/// How long a connection lives on after a message of it that is to come again.
const LINGER: Duration = Duration::from_millis(5);

/// What waits in one direction of a link.
pub(super) struct Lane {
    faults: Arc<Faults>,
    changes: watch::Receiver<u64>,
    from: NodeId,
    to: NodeId,
    /// Each with the time before which it does not arrive, in order.
    held: VecDeque<(Instant, Bytes)>,
    held_bytes: usize,
}

/// A message that is to arrive behind the end of its connection, and why.
#[derive(Debug)]
pub(super) struct Straggler {
    pub(super) fault: String,
    /// Whether it arrives in its own time, too.
    pub(super) again: bool,
}

/// Why a connection ends, or what must be done before it does.
#[derive(Debug)]
pub(super) enum Broken {
    /// It breaks now.
    Now(String),
    /// It breaks, and this message of it comes later.
    Behind(Straggler),
}

impl Lane {
    pub(super) fn new(faults: &Arc<Faults>, from: NodeId, to: NodeId) -> Self {
        let (faults, changes) = (Arc::clone(faults), faults.changes());
        Self { faults, changes, from, to, held: VecDeque::new(), held_bytes: 0 }
    }

    /// Whether messages go their way without being looked at.
    pub(super) fn is_clear(&self) -> bool {
        self.held.is_empty() && !self.faults.touch_links()
    }

    /// Whether anything waits.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes a message. It waits until it is [`Lane::next`].
    ///
    /// # Errors
    /// When its connection breaks.
    pub(super) fn take(&mut self, message: Bytes) -> Result<(), Broken> {
        let late = match self.faults.strike(self.from, self.to) {
            Strike::Pass => Duration::ZERO,
            Strike::Late(late) => late,
            Strike::Lose(fault) => return Err(Broken::Now(format!("{fault} lost a message"))),
            Strike::Again(fault) => {
                return Err(Broken::Behind(Straggler { fault, again: true }));
            }
            Strike::Overtaken(fault) => {
                return Err(Broken::Behind(Straggler { fault, again: false }));
            }
        };
        self.held_bytes += message.len();
        if self.held_bytes > HELD_BYTES_MAX {
            let mebibytes = HELD_BYTES_MAX >> 20;
            return Err(Broken::Now(format!("more than {mebibytes} MiB wait behind faults")));
        }
        let behind = self.held.back().map(|&(due, _)| due);
        let due = Instant::now() + late;
        self.held.push_back((behind.map_or(due, |behind| due.max(behind)), message));
        Ok(())
    }

    /// The next message that has waited long enough.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let &(due, _) = self.held.front()?;
        if due > Instant::now() || self.faults.cuts(self.from, self.to) {
            return None;
        }
        let (_, message) = self.held.pop_front()?;
        self.held_bytes -= message.len();
        Some(message)
    }

    /// Returns when it is worth asking for the next message again.
    pub(super) async fn changed(&mut self) {
        let due = self.held.front().map(|&(due, _)| due);
        let is_cut = self.faults.cuts(self.from, self.to);
        let waited = async {
            match due.filter(|_| !is_cut) {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = waited => {}
            // Faults own the sender, so that it is never gone.
            _ = self.changes.changed() => {}
        }
    }

    /// Takes the frames of a chunk. Those that are no messages of protocols go their way at once, and
    /// are returned.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(super) fn take_chunk(&mut self, mut chunk: Bytes) -> Result<Vec<Bytes>, String> {
        let mut others = Vec::new();
        while let Some(frame) = split_frame(&mut chunk) {
            if kind_of(&frame) != Some(FrameKind::Message) {
                others.push(frame);
                continue;
            }
            match self.take(frame) {
                Ok(()) => {}
                Err(Broken::Now(problem)) => return Err(problem),
                // Only the receiver can have a message late, for it is the one that knows which
                // connection that is of; here it is lost.
                Err(Broken::Behind(straggler)) => {
                    return Err(format!("{} lost a message", straggler.fault));
                }
            }
        }
        Ok(others)
    }
}

/// Lets what was just received be heard before its connection breaks.
pub(super) async fn linger() {
    tokio::time::sleep(LINGER).await;
}
