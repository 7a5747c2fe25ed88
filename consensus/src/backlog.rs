//! What a leader has taken and can not let go of yet: the account behind its back-pressure.

use std::collections::VecDeque;

use crate::{Entry, Index, Log};

/// The bytes of a leader's proposals that are not both committed and durable at the leader.
///
/// A quorum may commit without the leader's own disk, so that only counting what is not committed
/// would let a leader whose disk hangs take entries without end: none of them may leave its memory,
/// nor the queue of its log writer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Backlog {
    /// The last index and the bytes of each flush, in order.
    flushed: VecDeque<(Index, usize)>,
    /// The bytes since the last flush.
    fresh_bytes: usize,
    /// The sum of both.
    bytes: usize,
}

impl Backlog {
    /// The bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// An entry was proposed and appended.
    pub fn proposed(&mut self, entry: &Entry) {
        self.fresh_bytes += entry.size_bytes();
        self.bytes += entry.size_bytes();
    }

    /// Closes the account of a flush, and lets go of what is committed and durable.
    pub fn settle(&mut self, log: &Log) {
        if self.fresh_bytes > 0 {
            self.flushed.push_back((log.last().index, self.fresh_bytes));
            self.fresh_bytes = 0;
        }
        let settled = log.commit().min(log.durable());
        while let Some((_, bytes)) = self.flushed.pop_front_if(|&mut (last, _)| last <= settled) {
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Effects, NodeId, Payload, Position, Recovered, Settings, WallTime};

    #[test]
    fn what_is_committed_or_durable_alone_still_waits() {
        let settings = Settings::new(NodeId(1), [NodeId(1)]);
        let mut log = Log::new(&settings, Recovered::default());
        let mut backlog = Backlog::default();
        let entry = |index| Entry {
            position: Position::new(1, index),
            wall: WallTime(0),
            payload: Payload::Empty,
        };
        let bytes = entry(1).size_bytes();
        let mut effects = Effects::<()>::default();
        for index in 1..=3 {
            log.append(entry(index));
            backlog.proposed(&entry(index));
            backlog.settle(&log);
            log.persist(&mut effects);
        }
        assert_eq!(backlog.bytes(), 3 * bytes);
        log.commit_to(Index(2));
        backlog.settle(&log);
        assert_eq!(backlog.bytes(), 3 * bytes, "committed, not durable");
        log.persisted(effects.persists[0].sequence);
        backlog.settle(&log);
        assert_eq!(backlog.bytes(), 2 * bytes);
        log.persisted(effects.persists[2].sequence);
        backlog.settle(&log);
        assert_eq!(backlog.bytes(), bytes, "durable, not committed");
    }
}
