//! The flags about what is kept, and about comparing it.

use std::time::Duration;

use super::flags::ServeFlags;
use super::{ConfigError, error};
use crate::node::config::NodeConfig;

/// The shortest time for which history can be retained.
const RETAIN_FOR_MIN: Duration = Duration::from_secs(1);
/// The most often that digests can be compared.
const DIGEST_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// The longest of both: ten years of 365.25 days.
const TIME_MAX: Duration = Duration::from_secs(10 * 31_557_600);

/// Takes these flags into account.
pub(super) fn set_retention(node: &mut NodeConfig, flags: &ServeFlags) -> Result<(), ConfigError> {
    if let Some(revisions) = flags.retain_revisions {
        node.retain_revisions = (revisions > 0).then_some(revisions);
    }
    if let Some(time) = flags.retain_for {
        node.retain_for = time_or_none("--retain-for", time, RETAIN_FOR_MIN)?;
        if flags.retain_revisions.is_none() && node.retain_for.is_some() {
            // Whoever asks for a time alone does not mean the default number as well.
            node.retain_revisions = None;
        }
    }
    if let Some(bytes) = flags.quota_bytes {
        node.quota_bytes = (bytes > 0).then_some(bytes);
    }
    if let Some(time) = flags.digest_interval {
        node.digest_interval = time_or_none("--digest-interval", time, DIGEST_INTERVAL_MIN)?;
    }
    if let Some(entries) = flags.retain_log_entries {
        node.retained_log.entries = entries;
    }
    if let Some(bytes) = flags.retain_log_bytes {
        node.retained_log.bytes_max = bytes;
    }
    Ok(())
}

/// A time, where 0 stands for none.
fn time_or_none(
    flag: &str,
    time: Duration,
    least: Duration,
) -> Result<Option<Duration>, ConfigError> {
    if time.is_zero() {
        return Ok(None);
    }
    if (least..=TIME_MAX).contains(&time) {
        return Ok(Some(time));
    }
    let shown = humantime::format_duration;
    error(format!(
        "{flag} is {}; allowed: {} to {}, or 0s for never",
        shown(time),
        shown(least),
        shown(TIME_MAX)
    ))
}
