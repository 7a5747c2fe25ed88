//! What it costs to bring back a follower that was away.

use consensus::{Consensus, Violation};

use super::bed::{Bed, Timing};
use super::{Asked, Cost, SEED, Shape, UNIT};
use crate::faults::Crash;

/// How many writes are under way at a time while the follower is away.
const BATCH: u64 = 250;

/// What it costs to bring a follower back that is so many entries behind and gets them from the log: from its
/// start until it has applied everything.
///
/// # Errors
/// When a law is broken.
pub fn rejoin_cost<C: Consensus>(shape: Shape, behind: u64) -> Result<Cost, Violation> {
    let mut bed = Bed::<C>::new(SEED, shape, Timing { link: UNIT, sync: UNIT })?;
    let follower = bed.node(Asked::Follower);
    bed.cluster.crash(follower, Crash::Kill);
    let mut left = behind;
    while left > 0 {
        let batch = left.min(BATCH);
        let leader = bed.leader();
        let operations: Vec<_> = (0..batch).map(|_| bed.ask_to_write(leader)).collect();
        for operation in operations {
            bed.answer(operation)?;
        }
        left -= batch;
    }
    bed.settle()?;
    bed.cost_of(|bed| bed.cluster.start(follower))
}
