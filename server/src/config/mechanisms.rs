//! The flags of experiments that do without something (docs/ablations.md).

use clap::ValueEnum;
use serde::Deserialize;

use super::flags::ServeFlags;
use super::{ConfigError, TIMER_MAX, error, within};
use crate::node::config::NodeConfig;

/// The most messages that may be under way to one peer.
const INFLIGHT_MESSAGES_MAX: usize = 65_536;
/// By default randomness adds so much of the election timeout to a wait before a campaign: as much as
/// parts campaigns, in proportion to the patience asked for.
const JITTERS_PER_TIMEOUT: u32 = 10;

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// What makes a leader suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Detector {
    /// Its silence, and the loss of its connection.
    Connection,
    /// Its silence alone.
    Silence,
}

/// How followers hear of what is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommitNotices {
    /// At once, by a message that says nothing else if need be.
    Immediate,
    /// With the next entries, or the next sign of life.
    Piggybacked,
}

/// Takes these flags into account. The election timeout is known.
pub(super) fn set_mechanisms(node: &mut NodeConfig, flags: &ServeFlags) -> Result<(), ConfigError> {
    let shown = humantime::format_duration;
    let timeout = node.election_timeout;
    let mechanisms = &mut node.mechanisms;
    let is_on = |switch: Option<Switch>| switch != Some(Switch::Off);
    mechanisms.fsync = is_on(flags.fsync);
    mechanisms.batching = is_on(flags.batching);
    mechanisms.pre_vote = is_on(flags.pre_vote);
    mechanisms.suspect_on_connection_loss = flags.failure_detector != Some(Detector::Silence);
    mechanisms.immediate_commit_notices = flags.commit_notices != Some(CommitNotices::Piggybacked);
    if let Some(messages) = flags.max_inflight_messages {
        within("--max-inflight-messages", messages, 1, INFLIGHT_MESSAGES_MAX)?;
        mechanisms.inflight_messages_max = messages;
    }
    mechanisms.election_jitter = flags.election_jitter.unwrap_or(timeout / JITTERS_PER_TIMEOUT);
    if mechanisms.election_jitter > timeout {
        return error(format!(
            "--election-jitter is {}; allowed: 0ms to --election-timeout, here {}",
            shown(mechanisms.election_jitter),
            shown(timeout)
        ));
    }
    mechanisms.finalize_wait = flags.finalize_wait.unwrap_or(mechanisms.finalize_wait);
    if mechanisms.finalize_wait > TIMER_MAX {
        return error(format!(
            "--finalize-wait is {}; allowed: at most {}",
            shown(mechanisms.finalize_wait),
            shown(TIMER_MAX)
        ));
    }
    Ok(())
}
