//! What a node does to be durable, fast and soon back, each of which an experiment can do without
//! (docs/ablations.md).

use std::time::Duration;

/// The mechanisms of a node, which by default has all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mechanisms {
    /// Whether records of the log are synced before what they hold counts as durable.
    pub fsync: bool,
    /// Whether what gathers shares a round of the loop, a record of the log and a message. Without it each
    /// input has a round of its own, each entry a record, a sync and a message.
    pub batching: bool,
    /// The most messages with entries under way to one peer; 1 waits for each acknowledgement.
    pub inflight_messages_max: usize,
    /// Raft: whether a node asks whether it would be voted for before it campaigns.
    pub pre_vote: bool,
    /// Raft: the most that randomness adds to a wait before a campaign.
    pub election_jitter: Duration,
    /// ZAB: how long to wait for a better vote once a quorum agrees.
    pub finalize_wait: Duration,
    /// Whether the loss of its connection alone makes a leader suspected, or only its silence.
    pub suspect_on_connection_loss: bool,
    /// Whether followers hear of a commit at once, or with the next entries or sign of life.
    pub immediate_commit_notices: bool,
}

impl Mechanisms {
    /// All of them, as the protocols' own defaults have them.
    #[must_use]
    pub fn of(settings: &consensus::Settings) -> Self {
        Self {
            fsync: true,
            batching: settings.batching,
            inflight_messages_max: settings.inflight_messages_max,
            pre_vote: settings.pre_vote,
            election_jitter: settings.election_jitter,
            finalize_wait: settings.finalize_wait,
            suspect_on_connection_loss: settings.suspect_on_connection_loss,
            immediate_commit_notices: settings.immediate_commit_notices,
        }
    }

    /// The settings with these mechanisms.
    #[must_use]
    pub fn in_settings(&self, settings: consensus::Settings) -> consensus::Settings {
        consensus::Settings {
            batching: self.batching,
            inflight_messages_max: self.inflight_messages_max,
            pre_vote: self.pre_vote,
            election_jitter: self.election_jitter,
            finalize_wait: self.finalize_wait,
            suspect_on_connection_loss: self.suspect_on_connection_loss,
            immediate_commit_notices: self.immediate_commit_notices,
            ..settings
        }
    }

    /// How many of what waits are taken at a time, of so many at most.
    #[must_use]
    pub fn at_a_time(&self, most: usize) -> usize {
        if self.batching { most } else { 1 }
    }

    /// What a user must know.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.fsync {
            warnings.push(
                "--fsync is off: what this node acknowledges and promises is NOT durable, and a crash of the \
                 system or a loss of power can take it back; for measurements only, never for what you \
                 want to keep"
                    .to_owned(),
            );
        }
        warnings
    }
}
