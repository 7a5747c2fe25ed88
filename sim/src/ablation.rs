//! What the nodes of a run do without, as `duorum serve` can be told to (docs/ablations.md): the protocols
//! must keep every law without it.

use std::time::Duration;

use consensus::Settings;

/// A mechanism that all nodes of a run do without. None is ever drawn: whoever wants one says so, and
/// the seeds stand for the same runs as ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ablation {
    /// Each entry has a write and a message of its own, each input a round, each write a sync.
    Batching,
    /// One message with entries is under way to a peer at a time.
    Pipelining,
    /// Raft: whoever suspects its leader campaigns at once.
    PreVote,
    /// Raft: nothing random is added to the waits before campaigns.
    Timeouts,
    /// ZAB: the election ends as soon as a quorum agrees.
    FinalizeWait,
    /// A leader is suspected for its silence alone.
    Detector,
    /// Followers hear of a commit with the next entries or sign of life.
    CommitNotices,
}

impl Ablation {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Batching,
        Self::Pipelining,
        Self::PreVote,
        Self::Timeouts,
        Self::FinalizeWait,
        Self::Detector,
        Self::CommitNotices,
    ];

    /// Its name in flags.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Batching => "batching",
            Self::Pipelining => "pipelining",
            Self::PreVote => "pre-vote",
            Self::Timeouts => "timeouts",
            Self::FinalizeWait => "finalize-wait",
            Self::Detector => "detector",
            Self::CommitNotices => "commit-notices",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ablation| ablation.name() == name)
    }

    /// Takes it from the settings.
    pub(crate) fn take_from(self, settings: &mut Settings) {
        match self {
            Self::Batching => settings.batching = false,
            Self::Pipelining => settings.inflight_messages_max = 1,
            Self::PreVote => settings.pre_vote = false,
            Self::Timeouts => settings.election_jitter = Duration::ZERO,
            Self::FinalizeWait => settings.finalize_wait = Duration::ZERO,
            Self::Detector => settings.suspect_on_connection_loss = false,
            Self::CommitNotices => settings.immediate_commit_notices = false,
        }
    }
}
