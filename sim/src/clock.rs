//! The clocks of a node: each began at another moment, and may go fast, slow or wrong.

use consensus::{Now, Time, WallTime};

/// The wall clocks begin here.
const WALL_START_MILLIS: u64 = 1_700_000_000_000;

/// A whole, in the measure of drifts.
const MILLION: u64 = 1_000_000;

/// A node's clocks, compared with virtual time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// The monotonic clock began at some other moment.
    offset: u64,
    pub(crate) wall_skew_millis: i64,
    /// It goes fast or slow by so many millionths since a moment of virtual time, when it had counted so
    /// many microseconds.
    drift_millionths: i64,
    since: Time,
    counted: u64,
}

impl Clock {
    pub(crate) fn new(offset: u64) -> Self {
        Self { offset, wall_skew_millis: 0, drift_millionths: 0, since: Time(0), counted: 0 }
    }

    fn speed_millionths(&self) -> u64 {
        MILLION.saturating_add_signed(self.drift_millionths)
    }

    fn counts(&self, time: Time) -> u64 {
        self.counted + (time.0 - self.since.0) * self.speed_millionths() / MILLION
    }

    pub(crate) fn now(&self, time: Time) -> Now {
        let counted = self.counts(time);
        let wall = WALL_START_MILLIS + counted / 1_000;
        Now {
            time: Time(counted + self.offset),
            wall: WallTime(wall.saturating_add_signed(self.wall_skew_millis)),
        }
    }

    /// The virtual time at which the monotonic clock shows this.
    pub(crate) fn when(&self, time: Time) -> Time {
        let counted = time.0.saturating_sub(self.offset).saturating_sub(self.counted);
        Time(self.since.0 + (counted * MILLION).div_ceil(self.speed_millionths()))
    }

    /// From now on it goes fast or slow by so many millionths.
    pub(crate) fn drift(&mut self, now: Time, millionths: i64) {
        self.counted = self.counts(now);
        self.since = now;
        self.drift_millionths = millionths;
    }
}
