//! The host's monotonic clock, which all processes of one boot share.

use std::time::Duration;

use consensus::Time;
use rustix::time::{ClockId, clock_gettime};

/// A point on the host's monotonic clock, in microseconds since some point of its boot. Points of
/// one boot can be compared, whichever process read them; points of two boots can not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostTime(pub u64);

impl HostTime {
    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// This point, so much earlier.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Turns a node's own time into the host's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostClock {
    /// Where the node's time zero lies.
    origin: HostTime,
}

impl HostClock {
    /// The clock of a node whose time is zero now.
    pub(crate) fn start() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = |number: i64| u64::try_from(number).unwrap_or(0);
        Self { origin: HostTime(micros(now.tv_sec) * 1_000_000 + micros(now.tv_nsec) / 1_000) }
    }

    pub(crate) fn at(self, time: Time) -> HostTime {
        HostTime(self.origin.0.saturating_add(time.0))
    }
}

/// The identity of the host's boot, which says whose clocks can be compared; `None` where the system
/// does not tell it.
pub(crate) fn boot_id() -> Option<String> {
    const LENGTH_MAX: usize = 64;
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let text = text.trim();
    let plain = text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    (plain && !text.is_empty() && text.len() <= LENGTH_MAX).then(|| text.to_owned())
}
