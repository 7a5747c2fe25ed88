//! Sessions: ZooKeeper's name for a lease whose time the server has a say in.
//!
//! A client of ZooKeeper asks for a time and is told which one it gets: the nearest between a least and a
//! most one, 2 and 20 of the server's ticks. The rest is a lease: the client keeps it alive, and the keys that hang on it,
//! which are ephemeral nodes there, go with it. Its number is their owner.

use std::fmt;
use std::time::Duration;

use super::LEASE_TTL_MILLIS_MAX;

/// A tick of ZooKeeper's, as its sample configuration has it.
const TICK_MILLIS: u64 = 2_000;

/// Between what the time of a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimeouts {
    min_millis: u64,
    max_millis: u64,
}

/// Such bounds leave no time to be chosen, or one that no lease can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidSessionTimeouts {
    /// The least time, in milliseconds.
    pub min_millis: u64,
    /// The most, in milliseconds.
    pub max_millis: u64,
}

impl fmt::Display for InvalidSessionTimeouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the time of a session is to be from {}ms to {}ms; the first must be at least 1ms and not \
             more than the second, and that at most {LEASE_TTL_MILLIS_MAX}ms",
            self.min_millis, self.max_millis
        )
    }
}

impl std::error::Error for InvalidSessionTimeouts {}

impl SessionTimeouts {
    /// From a least to a most time, in milliseconds.
    ///
    /// # Errors
    /// When there is none, or one is no time of a lease.
    pub fn new(min_millis: u64, max_millis: u64) -> Result<Self, InvalidSessionTimeouts> {
        let are_possible = 0 < min_millis && max_millis <= LEASE_TTL_MILLIS_MAX;
        if !are_possible || min_millis > max_millis {
            return Err(InvalidSessionTimeouts { min_millis, max_millis });
        }
        Ok(Self { min_millis, max_millis })
    }

    /// The least time.
    #[must_use]
    pub fn min(self) -> Duration {
        Duration::from_millis(self.min_millis)
    }

    /// The most.
    #[must_use]
    pub fn max(self) -> Duration {
        Duration::from_millis(self.max_millis)
    }

    /// The time that a client gets which asks for this one, in milliseconds.
    #[must_use]
    pub fn negotiate(self, requested_millis: u64) -> u64 {
        requested_millis.clamp(self.min_millis, self.max_millis)
    }
}

impl Default for SessionTimeouts {
    /// ZooKeeper's: 4 s to 40 s.
    fn default() -> Self {
        Self { min_millis: 2 * TICK_MILLIS, max_millis: 20 * TICK_MILLIS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_time_within_the_bounds_is_granted() {
        let timeouts = SessionTimeouts::default();
        for (requested, granted) in
            [(0, 4_000), (3_999, 4_000), (4_000, 4_000), (30_000, 30_000), (40_001, 40_000)]
        {
            assert_eq!(timeouts.negotiate(requested), granted, "{requested}");
        }
        let one = SessionTimeouts::new(5, 5).expect("one time is enough");
        assert_eq!((one.negotiate(1), one.negotiate(u64::MAX)), (5, 5));
    }

    #[test]
    fn bounds_without_a_time_between_them_are_refused() {
        for (min_millis, max_millis) in [(0, 5), (6, 5), (1, LEASE_TTL_MILLIS_MAX + 1)] {
            let refused = InvalidSessionTimeouts { min_millis, max_millis };
            assert_eq!(SessionTimeouts::new(min_millis, max_millis), Err(refused));
            assert!(
                refused.to_string().contains(&format!("from {min_millis}ms to {max_millis}ms"))
            );
        }
    }
}
