//! The mechanisms, how each is changed, and what that concerns.

use consensus::Protocol;
use serde::{Deserialize, Serialize};

use crate::cluster::Fault;
use crate::compare::{Measure, Part};

/// A mechanism that a comparison takes away, or has more or less of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ablation {
    /// Records of the log are synced.
    Fsync,
    /// What gathered shares a record, a sync and a message.
    Batching,
    /// Messages with entries follow one another without waiting for acknowledgements.
    Pipelining,
    /// Raft asks before it campaigns.
    PreVote,
    /// Raft's waits before campaigns are random.
    Timeouts,
    /// ZAB's election waits for a better vote once a quorum agrees.
    FinalizeWait,
    /// The loss of its connection makes a leader suspected.
    Detector,
    /// Followers hear of a commit at once.
    CommitNotices,
}

impl Ablation {
    /// Every one, in the order in which they are measured.
    pub const ALL: [Self; 8] = [
        Self::Fsync,
        Self::Batching,
        Self::Pipelining,
        Self::CommitNotices,
        Self::PreVote,
        Self::Timeouts,
        Self::FinalizeWait,
        Self::Detector,
    ];

    /// The name in flags and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Batching => "batching",
            Self::Pipelining => "pipelining",
            Self::PreVote => "pre-vote",
            Self::Timeouts => "timeouts",
            Self::FinalizeWait => "finalize-wait",
            Self::Detector => "detector",
            Self::CommitNotices => "commit-notices",
        }
    }

    /// What is changed, as a sentence.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Fsync => "Records of the log are written and not synced, so nothing is durable.",
            Self::Batching => {
                "Each input has a round of its own, each entry a record, a sync and a message."
            }
            Self::Pipelining => {
                "One message with entries is under way to a follower at a time; the next takes all that \
                 gathered meanwhile."
            }
            Self::PreVote => "Whoever suspects its leader campaigns without asking first.",
            Self::Timeouts => {
                "The random part of the wait before a campaign is nothing, or as long as the election \
                 timeout, as in the Raft paper."
            }
            Self::FinalizeWait => {
                "The wait for a better vote, once a quorum agrees, is nothing, or 200 ms as in ZooKeeper; the \
                 leader is stopped and not killed, because only who stays connected is waited for."
            }
            Self::Detector => "A leader is suspected for its silence alone.",
            Self::CommitNotices => {
                "A follower hears of a commit with the next entries or sign of life; a client at each node, \
                 because under load entries carry the notices anyway."
            }
        }
    }

    /// The flags of `duorum serve` that change it in a protocol, one set for each way to do so; none
    /// where the protocol has no such thing.
    #[must_use]
    pub fn flags(self, protocol: Protocol) -> &'static [&'static str] {
        match (self, protocol) {
            (_, Protocol::Null)
            | (Self::PreVote | Self::Timeouts, Protocol::Zab)
            | (Self::FinalizeWait, Protocol::Raft) => &[],
            (Self::Fsync, _) => &["--fsync off"],
            (Self::Batching, _) => &["--batching off"],
            (Self::Pipelining, _) => &["--max-inflight-messages 1"],
            (Self::PreVote, _) => &["--pre-vote off"],
            (Self::Timeouts, _) => &["--election-jitter 0ms", "--election-jitter 300ms"],
            (Self::FinalizeWait, _) => &["--finalize-wait 0ms", "--finalize-wait 200ms"],
            (Self::Detector, _) => &["--failure-detector silence"],
            (Self::CommitNotices, _) => &["--commit-notices piggybacked"],
        }
    }

    /// What is measured as it is and changed.
    #[must_use]
    pub fn part(self) -> Part {
        match self {
            Self::Fsync | Self::Batching | Self::Pipelining | Self::CommitNotices => Part::Writes,
            Self::PreVote | Self::Timeouts | Self::FinalizeWait | Self::Detector => Part::Failover,
        }
    }

    /// The figures of writes that it concerns.
    #[must_use]
    pub fn measures(self) -> &'static [Measure] {
        match self {
            Self::Fsync => {
                &[Measure::WriteThroughput, Measure::WriteLatencyP50, Measure::WriteLatencyP99]
            }
            Self::Batching => &[
                Measure::WriteThroughput,
                Measure::WriteLatencyP50,
                Measure::FsyncsPerWrite,
                Measure::FramesPerWrite,
            ],
            Self::Pipelining => {
                &[Measure::WriteThroughput, Measure::WriteLatencyP50, Measure::FramesPerWrite]
            }
            Self::CommitNotices => &[
                Measure::WriteThroughput,
                Measure::WriteLatencyP50,
                Measure::MessagesPerWrite,
                Measure::FramesPerWrite,
            ],
            // The outage after its fault.
            Self::PreVote | Self::Timeouts | Self::FinalizeWait | Self::Detector => &[],
        }
    }

    /// What happens to the leaders where failover is measured.
    #[must_use]
    pub fn fault(self) -> Fault {
        if self == Self::FinalizeWait { Fault::Stop } else { Fault::Kill }
    }
}
