//! Flow control towards one peer, as etcd's raft does it (its `design.md`), for both protocols.
//!
//! ```text
//!            acknowledged                      A probing peer has at most one message under way:
//!   Probe ───────────────────▶ Replicate       where its log matches is not known yet. Once it is,
//!    │ ▲                        │  │  ▲        messages follow one another without waiting, within
//!    │ └────────────────────────┘  │  │        a window of messages and bytes.
//!    │   rejected, connection lost │  │
//!    │                             │  │
//!    └──────────▶ Snapshot ◀───────┘  │        What the peer needs next was forgotten: nothing but a
//!                  │    └─────────────┘        snapshot helps. Its end without an acknowledgement
//!                  ▼      acknowledged         leads back to Probe, or to another snapshot.
//! ```

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::{Effects, Entry, Fetch, FetchPurpose, Index, Log, NodeId, Settings};

/// How far a peer is, and what is under way to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    state: ProgressState,
    matched: Index,
    next: Index,
    /// Messages with entries under way: the last index and the bytes of each.
    inflight: VecDeque<(Index, usize)>,
    inflight_bytes: usize,
    fetch_under_way: bool,
}

/// The mode of sending to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProgressState {
    /// Where the peer's log matches is not known: one message at a time.
    Probe {
        /// Whether the answer to a probe is still awaited.
        awaiting: bool,
    },
    /// The peer's log matches: messages are pipelined.
    Replicate,
    /// The peer needs entries that were forgotten: nothing else is sent until the snapshot ended.
    Snapshot {
        /// Whether one is under way.
        under_way: bool,
    },
}

impl Progress {
    /// A peer about which nothing is known; the first probe starts at `next`.
    #[must_use]
    pub fn probing(next: Index) -> Self {
        Self {
            state: ProgressState::Probe { awaiting: false },
            matched: Index(0),
            next,
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            fetch_under_way: false,
        }
    }

    /// A peer whose log is known to be a prefix of the leader's up to before `next`, but not yet to
    /// be durable there.
    #[must_use]
    pub fn replicating(next: Index) -> Self {
        Self { state: ProgressState::Replicate, ..Self::probing(next) }
    }

    /// A peer that needs a snapshot, because what it needs from `next` on was forgotten.
    #[must_use]
    pub fn needing_snapshot(next: Index) -> Self {
        Self { state: ProgressState::Snapshot { under_way: false }, ..Self::probing(next) }
    }

    /// The mode of sending.
    #[must_use]
    pub fn state(&self) -> ProgressState {
        self.state
    }

    /// The last index known durable at the peer.
    #[must_use]
    pub fn matched(&self) -> Index {
        self.matched
    }

    /// The next index to send.
    #[must_use]
    pub fn next(&self) -> Index {
        self.next
    }

    /// The number of messages with entries under way.
    #[must_use]
    pub fn inflight_messages(&self) -> usize {
        self.inflight.len()
    }

    /// Whether the mode and the window allow another message with entries.
    #[must_use]
    pub fn may_send(&self, settings: &Settings) -> bool {
        match self.state {
            ProgressState::Probe { awaiting } => !awaiting,
            ProgressState::Replicate => {
                self.inflight.len() < settings.inflight_messages_max
                    && self.inflight_bytes < settings.inflight_bytes_max
            }
            ProgressState::Snapshot { .. } => false,
        }
    }

    /// The next entries for the peer, if there are any and the window allows them. When they have
    /// left the memory tail, a fetch is asked for and `None` returned. When they were forgotten, the
    /// peer needs a snapshot from now on.
    pub fn entries<M>(
        &mut self,
        peer: NodeId,
        log: &Log,
        settings: &Settings,
        effects: &mut Effects<M>,
    ) -> Option<Vec<Entry>> {
        if self.next > log.last().index || self.fetch_under_way || !self.may_send(settings) {
            return None;
        }
        if self.next < log.first() {
            self.state = ProgressState::Snapshot { under_way: false };
            self.inflight.clear();
            self.inflight_bytes = 0;
            return None;
        }
        let entries = log.entries(self.next, settings.entry_bytes_max());
        if entries.is_none() {
            self.fetch_under_way = true;
            effects.fetches.push(Fetch {
                purpose: FetchPurpose::Replicate(peer),
                first: self.next,
                last: log.first_in_memory().previous(),
                bytes_max: settings.entry_bytes_max(),
            });
        }
        entries
    }

    /// The entries of a fetch, if they are still what this peer needs next.
    pub fn fetched(&mut self, entries: Vec<Entry>, log: &Log) -> Option<Vec<Entry>> {
        self.fetch_under_way = false;
        let wanted = entries.first().is_some_and(|entry| entry.index() == self.next);
        (wanted && log.contains_all(&entries)).then_some(entries)
    }

    /// Entries up to `last` were sent. When pipelining, the next ones follow behind them.
    pub fn sent(&mut self, last: Index, bytes: usize) {
        match &mut self.state {
            ProgressState::Probe { awaiting } => *awaiting = true,
            ProgressState::Replicate => {
                self.next = last.next();
                self.inflight.push_back((last, bytes));
                self.inflight_bytes += bytes;
            }
            ProgressState::Snapshot { .. } => {
                unreachable!("no entries are sent beside a snapshot")
            }
        }
    }

    /// Whether the peer needs a snapshot that is not under way yet. From now on it is.
    pub fn offer_snapshot(&mut self) -> bool {
        match &mut self.state {
            ProgressState::Snapshot { under_way } => !std::mem::replace(under_way, true),
            ProgressState::Probe { .. } | ProgressState::Replicate => false,
        }
    }

    /// The snapshot ended without an acknowledgement so far: it may be offered once more.
    pub fn offer_again(&mut self) {
        if let ProgressState::Snapshot { under_way } = &mut self.state {
            *under_way = false;
        }
    }

    /// The snapshot ended, in one way or another: a probe finds out where the peer is now.
    pub fn snapshot_ended(&mut self, log: &Log) {
        if let ProgressState::Snapshot { .. } = self.state {
            self.restart(log);
        }
    }

    /// A probe without entries was sent; its answer is awaited.
    pub fn probed(&mut self) {
        if let ProgressState::Probe { awaiting } = &mut self.state {
            *awaiting = true;
        }
    }

    /// The awaited answer to a probe is given up, so that another may be sent.
    pub fn probe_again(&mut self) {
        if let ProgressState::Probe { awaiting } = &mut self.state {
            *awaiting = false;
        }
    }

    /// The peer holds everything up to `index` durably. Returns whether that is news.
    pub fn acknowledged(&mut self, index: Index) -> bool {
        while self.inflight.front().is_some_and(|&(last, _)| last <= index) {
            let (_, bytes) = self.inflight.pop_front().expect("looked at just now");
            self.inflight_bytes -= bytes;
        }
        let known = match self.state {
            ProgressState::Probe { .. } => true,
            ProgressState::Replicate => false,
            // An answer that does not reach what was forgotten here is one to earlier entries.
            ProgressState::Snapshot { .. } => index >= self.next,
        };
        if known {
            self.state = ProgressState::Replicate;
            self.next = index.next();
        }
        self.next = self.next.max(index.next());
        let news = index > self.matched;
        self.matched = self.matched.max(index);
        news
    }

    /// The peer's log does not match; the next probe starts at `next`, but never at or before what
    /// is known to match.
    pub fn rejected(&mut self, next: Index) {
        self.probe_from(next);
    }

    /// Goes back to probing, because what was under way may be lost: from what is known to match,
    /// or, of a peer that never acknowledged anything, from behind the last entry of the log, so
    /// that it says where its own log ends rather than being sent everything from the beginning.
    /// Likewise when what comes behind was forgotten: the peer may have more than it acknowledged,
    /// and a snapshot is dear.
    pub fn restart(&mut self, log: &Log) {
        let behind = self.matched.next();
        let useful = self.matched > Index(0) && behind >= log.first();
        self.probe_from(if useful { behind } else { log.last().index.next() });
    }

    fn probe_from(&mut self, next: Index) {
        self.state = ProgressState::Probe { awaiting: false };
        self.next = next.max(self.matched.next());
        self.inflight.clear();
        self.inflight_bytes = 0;
    }
}
