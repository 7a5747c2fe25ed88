//! The failure detector that both protocols share.
//!
//! Think of listening to a neighbour's clock through the wall: as long as it ticks, all is well; when
//! it falls silent for longer than any pause so far, something happened, unless it was you who fell
//! asleep. So every frame counts as a tick, silence longer than the timeout is suspicious, and a
//! check that itself comes late gives the silence as much time as it was late: on a starved machine
//! the frames may be waiting unread.

use std::time::Duration;

use crate::Time;

/// How many late checks in a row may prolong the wait. Without a bound, a machine that is late
/// forever would never elect.
const PROLONGED_IN_A_ROW_MAX: u32 = 3;

/// Watches one peer for silence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FailureDetector {
    timeout: Duration,
    heard: Time,
    deadline: Time,
    prolonged_in_a_row: u32,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The peer may well be alive: check again at this time.
    WaitUntil(Time),
    /// The peer was silent for this long: suspect it.
    Silent(Duration),
}

impl FailureDetector {
    /// A detector that heard the peer just now.
    #[must_use]
    pub fn new(now: Time, timeout: Duration) -> Self {
        Self { timeout, heard: now, deadline: now + timeout, prolonged_in_a_row: 0 }
    }

    /// The peer gave a sign of life.
    pub fn heard(&mut self, now: Time) {
        self.heard = now;
        self.deadline = now + self.timeout;
        self.prolonged_in_a_row = 0;
    }

    /// When the peer was last heard.
    #[must_use]
    pub fn last_heard(&self) -> Time {
        self.heard
    }

    /// When to check.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.deadline
    }

    /// Judges the silence. A check before the deadline is somebody's wish to see what a failure
    /// would do, and finds one.
    pub fn check(&mut self, now: Time) -> Verdict {
        let lateness = now.since(self.deadline);
        if lateness > self.timeout / 8 && self.prolonged_in_a_row < PROLONGED_IN_A_ROW_MAX {
            self.prolonged_in_a_row += 1;
            self.deadline = now + lateness.min(self.timeout);
            return Verdict::WaitUntil(self.deadline);
        }
        Verdict::Silent(now.since(self.heard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(300);

    #[test]
    fn silence_for_the_timeout_is_suspicious() {
        let mut detector = FailureDetector::new(Time::from_millis(0), TIMEOUT);
        detector.heard(Time::from_millis(100));
        assert_eq!(detector.deadline(), Time::from_millis(400));
        assert_eq!(
            detector.check(Time::from_millis(401)),
            Verdict::Silent(Duration::from_millis(301))
        );
    }

    #[test]
    fn a_late_check_waits_as_long_as_it_was_late_and_at_most_the_timeout() {
        let mut detector = FailureDetector::new(Time::from_millis(0), TIMEOUT);
        assert_eq!(
            detector.check(Time::from_millis(400)),
            Verdict::WaitUntil(Time::from_millis(500))
        );
        assert_eq!(
            detector.check(Time::from_millis(5_000)),
            Verdict::WaitUntil(Time::from_millis(5_300))
        );
        assert!(matches!(detector.check(Time::from_millis(5_300)), Verdict::Silent(_)));
    }

    #[test]
    fn lateness_does_not_put_off_a_suspicion_forever() {
        let mut detector = FailureDetector::new(Time::from_millis(0), TIMEOUT);
        let mut now = Time::from_millis(0);
        let waits = (0..10)
            .take_while(|_| {
                now = detector.deadline() + TIMEOUT;
                matches!(detector.check(now), Verdict::WaitUntil(_))
            })
            .count();
        assert_eq!(waits, 3);
    }
}
