//! How long frames take from one node to another.

use std::time::Duration;

use consensus::{NodeId, Random};

use crate::options::Span;

/// What the nodes are connected by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Links {
    /// One range of delays for all pairs, drawn from the seed: from a rack to another city.
    Drawn,
    /// One room: a tenth of a millisecond, and now and then ten times that.
    Lan,
    /// Each node in a region of its own, the first in Virginia.
    Wan,
}

impl Links {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Drawn, Self::Lan, Self::Wan];

    /// Its name in flags.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Drawn => "drawn",
            Self::Lan => "lan",
            Self::Wan => "wan",
        }
    }

    /// The kind of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|links| links.name() == name)
    }
}

/// How many regions are known.
const REGIONS: usize = 9;

/// Round trips between regions of AWS in milliseconds, as they were published in 2017 ("Latency between
/// AWS global regions"): Virginia, Oregon, Ireland, Frankfurt, Tokyo, California, Seoul, Singapore,
/// Sydney. Each row ends before its own region.
const ROUND_TRIPS_MILLIS: [&[u64]; REGIONS] = [
    &[],
    &[88],
    &[81, 137],
    &[89, 160, 20],
    &[145, 89, 212, 237],
    &[72, 19, 153, 167, 103],
    &[178, 118, 242, 266, 31, 132],
    &[217, 161, 239, 326, 74, 174, 72],
    &[230, 162, 310, 323, 104, 158, 134, 175],
];

/// How much longer a frame may take than the shortest.
const JITTER_DIVISOR: u32 = 10;

/// The delay of one frame.
pub(crate) fn delay(
    links: Links,
    drawn: Span,
    from: NodeId,
    to: NodeId,
    random: &mut Random,
) -> Duration {
    match links {
        Links::Drawn => drawn.draw(random),
        Links::Lan if random.one_in(200) => Span::micros(500, 1_500).draw(random),
        Links::Lan => Span::micros(80, 160).draw(random),
        Links::Wan => {
            let one_way = Duration::from_millis(round_trip_millis(from, to)) / 2;
            one_way + random.duration_up_to(one_way / JITTER_DIVISOR)
        }
    }
}

/// Nodes beyond the last region begin again at the first; two in one region are a millisecond apart.
fn round_trip_millis(a: NodeId, b: NodeId) -> u64 {
    let region = |id: NodeId| usize::try_from((id.0 - 1) % REGIONS as u64).expect("a few");
    let (near, far) = (region(a.min(b)), region(a.max(b)));
    ROUND_TRIPS_MILLIS[near.max(far)].get(near.min(far)).copied().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_as_far_apart_in_either_direction() {
        for a in 1..=20 {
            for b in 1..=20 {
                let there = round_trip_millis(NodeId(a), NodeId(b));
                assert_eq!(there, round_trip_millis(NodeId(b), NodeId(a)));
                let same = (a - 1) % 9 == (b - 1) % 9;
                assert_eq!(there == 1, same, "{a} {b}");
            }
        }
        assert_eq!(round_trip_millis(NodeId(3), NodeId(4)), 20, "Ireland and Frankfurt");
    }
}
