//! What it costs to bring back a follower that was away.

use consensus::{Consensus, Violation};

use super::bed::{Bed, Timing};
use super::{Asked, Counted, SEED, Shape};
use crate::faults::Crash;

/// How many writes are under way at a time while the follower is away.
const BATCH: u64 = 250;

/// What it costs to bring a follower back that is so many entries behind and gets them from the log, with all that
/// it sends from its start on; and what that waits for from the moment at which it is dialled until it has applied
/// everything.
///
/// # Errors
/// When a law is broken.
///
/// # Panics
/// If it waits for anything but messages and syncs.
pub fn rejoin_cost<C: Consensus>(shape: Shape, behind: u64) -> Result<Counted, Violation> {
    let mut bed = Bed::<C>::new(SEED, shape, Timing::USUAL)?;
    let (leader, follower) = (bed.leader(), bed.node(Asked::Follower));
    bed.cluster.crash(follower, Crash::Kill);
    let mut left = behind;
    while left > 0 {
        let batch = left.min(BATCH);
        let operations: Vec<_> = (0..batch).map(|_| bed.ask_to_write(leader)).collect();
        operations.into_iter().try_for_each(|operation| bed.answer(operation))?;
        left -= batch;
    }
    bed.settle()?;
    bed.count(|bed| {
        bed.cluster.start(follower)?;
        bed.wait("a node that starts is dialled", |cluster| {
            cluster.network.intact(leader, follower).is_some()
        })?;
        let dialled = bed.now();
        bed.wait("a follower catches up", Bed::is_level)?;
        Ok(bed.now().since(dialled))
    })
}
