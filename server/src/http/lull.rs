//! Watches that find nothing look less often.
//!
//! Every change of the store wakes every stream of watches, and most find that it does not concern them: with
//! a hundred streams and thousands of changes a second that would take a good part of a processor from the
//! writes. So a stream that was woken for nothing lets changes gather for a while before it looks again, and
//! the longer the more often that happens. One that finds something looks at once the next time; and where
//! changes are farther apart than the longest of these times, nobody waits.

use std::time::Duration;

use tokio::time::sleep;

/// The first such time; timers are no finer.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// The longest: far less than a person notices, and so short that what gathers is still in memory.
const PAUSE_MAX: Duration = Duration::from_millis(5);

/// How long a stream lets changes gather.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::http) struct Lull {
    pause: Duration,
}

impl Lull {
    /// The stream looked, and found something or nothing.
    pub(in crate::http) fn looked(&mut self, found: bool) {
        self.pause = match found {
            true => Duration::ZERO,
            false => (2 * self.pause).clamp(PAUSE_MIN, PAUSE_MAX),
        };
    }

    /// Waits that long.
    pub(in crate::http) async fn gather(self) {
        if !self.pause.is_zero() {
            sleep(self.pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_finds_nothing_looks_less_often_and_whoever_finds_something_at_once() {
        let mut lull = Lull::default();
        let mut pauses = Vec::new();
        for found in [false, false, false, false, false, true, false] {
            lull.looked(found);
            pauses.push(lull.pause.as_millis());
        }
        assert_eq!(pauses, [1, 2, 4, 5, 5, 0, 1]);
    }
}
