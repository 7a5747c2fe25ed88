//! What nodes tell of their elections at `/v1/elections`, as far as a measurement needs it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use consensus::NodeId;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::{ASK_TIMEOUT, Cluster};
use crate::Error;

/// The elections that are asked for: more than one measurement makes.
const ELECTIONS_MAX: u64 = 20;
/// How long the node that is asked waits for the others, of which one may be stopped.
const OTHERS_TIMEOUT: Duration = Duration::from_millis(300);

/// One election.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Election {
    /// The term or epoch; `None` while nobody is elected.
    pub term: Option<u64>,
    /// Who was elected.
    pub leader: Option<u64>,
    /// The boot whose clock its times are of.
    pub boot: Option<String>,
    /// The moment from which all others are counted, on that boot's monotonic clock, in microseconds.
    pub began_us: u64,
    /// What happened, in the order of time.
    pub phases: Vec<Moment>,
    /// Who was brought up to date in the reign.
    pub followers: Vec<Follower>,
}

/// A moment of an election.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Its name.
    pub phase: String,
    /// When it was, in milliseconds after the first.
    pub at_ms: f64,
}

/// A follower that was brought up to date.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Follower {
    /// Its number.
    pub node: u64,
    /// When it first was, in milliseconds after the first moment.
    pub at_ms: f64,
    /// When it last was: it may have come back after it was away.
    pub last_at_ms: f64,
    /// Whether it was connected with the leader only after the election.
    pub joined_later: bool,
}

/// All elections that a node knows of.
#[derive(Deserialize)]
struct Page {
    elections: Vec<Election>,
}

impl Election {
    /// When something first happened, on the host's monotonic clock, in microseconds.
    #[must_use]
    pub fn at_us(&self, phase: &str) -> Option<u64> {
        let moment = self.phases.iter().find(|moment| moment.phase == phase)?;
        Some(self.us(moment.at_ms))
    }

    /// When the followers were last brought up to date, by number, on the same clock.
    #[must_use]
    pub fn caught_up_us(&self) -> BTreeMap<u64, u64> {
        let followers = self.followers.iter();
        followers.map(|follower| (follower.node, self.us(follower.last_at_ms))).collect()
    }

    /// When the last of those followers was first brought up to date that the leader had when it was elected, this
    /// one left out.
    #[must_use]
    pub fn first_followers_us(&self, but: Option<u64>) -> Option<u64> {
        let followers = self.followers.iter();
        let early =
            followers.filter(|follower| !follower.joined_later && Some(follower.node) != but);
        early.map(|follower| self.us(follower.at_ms)).max()
    }

    fn us(&self, at_ms: f64) -> u64 {
        // Told with three decimals, so whole microseconds.
        self.began_us + (at_ms.max(0.0) * 1e3).round() as u64
    }
}

impl Cluster {
    /// The last elections, the newest first, as put together by one node.
    ///
    /// # Errors
    /// [`Error::Node`] when it does not answer.
    pub async fn elections(&self, id: NodeId) -> Result<Vec<Election>, Error> {
        let timeout = OTHERS_TIMEOUT.as_millis();
        let path = format!("/v1/elections?limit={ELECTIONS_MAX}&timeout={timeout}ms");
        let page = self.page(id, &path, ASK_TIMEOUT + OTHERS_TIMEOUT).await?;
        let page: Page = serde_json::from_slice(&page)
            .map_err(|error| self.complaint(&format!("{path}: {error}"), Some(id)))?;
        Ok(page.elections)
    }
}

/// Turns moments of this process into those of the host's monotonic clock, from which nodes tell their times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostClock {
    instant: Instant,
    us: u64,
}

impl HostClock {
    /// Reads both clocks. They are one on Linux, so that reading them once is enough; but between two readings this
    /// process may have lost its core, so that the closest of some pairs counts.
    pub(crate) fn read() -> Self {
        const PAIRS: usize = 8;
        let pair = || {
            let before = Instant::now();
            let now = clock_gettime(ClockId::Monotonic);
            let whole = |number: i64| u64::try_from(number).unwrap_or(0);
            let us = whole(now.tv_sec) * 1_000_000 + whole(now.tv_nsec) / 1_000;
            (before.elapsed(), Self { instant: before, us })
        };
        let pairs = (0..PAIRS).map(|_| pair());
        pairs.min_by_key(|(apart, _)| *apart).expect("there are some").1
    }

    /// A moment in microseconds.
    pub(crate) fn us(self, at: Instant) -> u64 {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if at >= self.instant {
            self.us.saturating_add(micros(at - self.instant))
        } else {
            self.us.saturating_sub(micros(self.instant - at))
        }
    }
}

/// The identity of the host's boot, which says whose clocks can be compared; `None` where the system does not tell
/// it.
pub(crate) fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_same_on_both_clocks() {
        let clock = HostClock::read();
        let moment = Instant::now();
        let other = HostClock::read();
        assert!(clock.us(moment).abs_diff(other.us(moment)) < 1_000);
        let later = moment + Duration::from_millis(5);
        assert_eq!(clock.us(later) - clock.us(moment), 5_000);
    }

    #[test]
    fn moments_of_an_election_are_told_on_the_host_clock() {
        let json = r#"{"term": 2, "leader": 3, "boot": "b", "began_us": 7000000, "cause": "c",
            "phases": [{"phase": "fault_seen", "at_ms": 0, "node": 3}, {"phase": "elected", "at_ms": 5.25}],
            "followers": [{"node": 2, "at_ms": 6, "last_at_ms": 8, "joined_later": false},
                {"node": 1, "at_ms": 9.5, "last_at_ms": 9.5, "joined_later": true}]}"#;
        let election: Election = serde_json::from_str(json).expect("an election");
        assert_eq!(election.at_us("elected"), Some(7_005_250));
        assert_eq!(election.at_us("discovery"), None);
        assert_eq!(election.caught_up_us(), BTreeMap::from([(1, 7_009_500), (2, 7_008_000)]));
        assert_eq!(election.first_followers_us(None), Some(7_006_000));
        assert_eq!(election.first_followers_us(Some(2)), None);
    }
}
