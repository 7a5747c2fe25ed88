//! What writes and reads cost a cluster whose leader nobody doubts.

use consensus::{Consensus, Violation};

use super::bed::{Bed, Timing};
use super::{Asked, Counted, Request, SEED, Shape};
use crate::history::{Consistency, OperationId};

fn ask<C: Consensus>(bed: &mut Bed<C>, asked: Asked, request: Request) -> OperationId {
    let node = bed.node(asked);
    match request {
        Request::Put => bed.ask_to_write(node),
        Request::Linearizable => bed.ask_to_read(node, Consistency::Linearizable),
        Request::Sync => bed.ask_to_read(node, Consistency::Sync),
        Request::Local => bed.ask_to_read(node, Consistency::Local),
    }
}

/// What so many requests cost that come at one moment, to a cluster with nothing else to do, and what the last
/// answer waits for.
///
/// # Errors
/// When a law is broken.
///
/// # Panics
/// If an answer waits for anything but messages and syncs.
pub fn request_cost<C: Consensus>(
    shape: Shape,
    asked: Asked,
    request: Request,
    count: u64,
) -> Result<Counted, Violation> {
    Bed::<C>::new(SEED, shape, Timing::USUAL)?.count(|bed| {
        let began = bed.now();
        let operations: Vec<_> = (0..count).map(|_| ask(bed, asked, request)).collect();
        operations.into_iter().try_for_each(|operation| bed.answer(operation))?;
        Ok(bed.now().since(began))
    })
}
