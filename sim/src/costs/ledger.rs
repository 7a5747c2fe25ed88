//! What was sent, by the names that the protocols give their messages.

use std::collections::BTreeMap;
use std::ops::Sub;

/// What was sent of one kind of message, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Messages as the papers count them: a range of entries, acknowledgements or commits counts each.
    pub messages: u64,
    /// Frames on a connection; one may carry a range.
    pub frames: u64,
    /// The bytes of the frames, without what TCP adds.
    pub bytes: u64,
}

/// What was sent and synced in some time, by everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// What was sent, by the protocol's own name of the message.
    pub sent: BTreeMap<&'static str, Sent>,
    /// Syncs of logs for what was to be durable; a new segment of a log now and then takes a few more.
    pub syncs: u64,
}

impl Cost {
    pub(crate) fn note(&mut self, name: &'static str, messages: u64, bytes: usize) {
        let sent = self.sent.entry(name).or_default();
        sent.messages += messages;
        sent.frames += 1;
        sent.bytes += bytes as u64;
    }

    /// Everything that was sent.
    #[must_use]
    pub fn total(&self) -> Sent {
        let add = |sum: Sent, sent: &Sent| Sent {
            messages: sum.messages + sent.messages,
            frames: sum.frames + sent.frames,
            bytes: sum.bytes + sent.bytes,
        };
        self.sent.values().fold(Sent::default(), add)
    }

    /// How often a leader and its followers told that they live.
    pub(crate) fn signs_of_life(&self) -> u64 {
        SIGNS_OF_LIFE.iter().filter_map(|name| self.sent.get(name)).map(|sent| sent.frames).sum()
    }
}

/// What a leader and its followers send to one another when nothing happens.
const SIGNS_OF_LIFE: [&str; 4] = ["Heartbeat", "HeartbeatResponse", "PING", "PONG"];

/// What something cost: everything after it less everything before.
impl Sub<&Self> for Cost {
    type Output = Self;

    fn sub(mut self, less: &Self) -> Self {
        for (name, less) in &less.sent {
            let sent = self.sent.entry(name).or_default();
            *sent = Sent {
                messages: sent.messages - less.messages,
                frames: sent.frames - less.frames,
                bytes: sent.bytes - less.bytes,
            };
        }
        self.sent.retain(|_, sent| sent.frames > 0);
        self.syncs -= less.syncs;
        self
    }
}
