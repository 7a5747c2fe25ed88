//! What the index keeps of a key's generation besides its beginning, packed.

use consensus::WallTime;

use crate::store::{ROW_TIME_MAX, Row};

/// How often a key can be written: a thousand times a second for nine thousand years.
pub(crate) const VERSION_MAX: u64 = (1 << 48) - 1;

/// How often a key was written since it was created, and when that was: 48 bits each. Together they take
/// the place that an unaligned number of 64 bits and what surrounds it would take alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    lower: [u32; 2],
    upper: [u16; 2],
}

impl Generation {
    /// Of a key that is deleted.
    pub(crate) const NONE: Self = Self { lower: [0; 2], upper: [0; 2] };

    pub(crate) fn new(version: u64, create_time: WallTime) -> Self {
        assert!(version <= VERSION_MAX, "no key is written so often");
        assert!(create_time <= ROW_TIME_MAX, "no row has a later time");
        let parts = [version, create_time.0];
        Self { lower: parts.map(|part| part as u32), upper: parts.map(|part| (part >> 32) as u16) }
    }

    pub(crate) fn version(self) -> u64 {
        u64::from(self.upper[0]) << 32 | u64::from(self.lower[0])
    }

    pub(crate) fn create_time(self) -> WallTime {
        WallTime(u64::from(self.upper[1]) << 32 | u64::from(self.lower[1]))
    }

    /// Whether a row's numbers can be those of any row.
    pub(crate) fn is_possible(row: &Row) -> bool {
        row.version <= VERSION_MAX && row.create_time.max(row.mod_time) <= ROW_TIME_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_generation_is_what_was_packed() {
        assert_eq!(size_of::<Generation>(), 12);
        for (version, millis) in
            [(0, 0), (1, 1_790_000_000_000), (VERSION_MAX, 0), (1 << 32, u64::from(u32::MAX))]
        {
            let packed = Generation::new(version, WallTime(millis));
            assert_eq!((packed.version(), packed.create_time()), (version, WallTime(millis)));
        }
        let last = Generation::new(VERSION_MAX, ROW_TIME_MAX);
        assert_eq!((last.version(), last.create_time()), (VERSION_MAX, ROW_TIME_MAX));
    }
}
