//! Time as integers that the caller supplies: the protocols read no clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on the node's monotonic clock, in microseconds since an arbitrary start.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// A point some milliseconds after the start.
    #[must_use]
    pub fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000)
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}ms", self.0 / 1_000, self.0 % 1_000)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Milliseconds since the Unix epoch, as a leader read them. The store knows no other time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub u64);

/// Both clocks of a node at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock: timers and durations.
    pub time: Time,
    /// The wall clock: stamped into entries by a leader, used for nothing else.
    pub wall: WallTime,
}

impl Now {
    /// A moment some milliseconds after the start, with the wall clock at the same number.
    #[must_use]
    pub fn from_millis(millis: u64) -> Self {
        Self { time: Time::from_millis(millis), wall: WallTime(millis) }
    }
}
