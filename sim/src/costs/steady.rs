//! What writes and reads cost a cluster whose leader nobody doubts.

use std::time::Duration;

use consensus::{Consensus, Violation};

use super::bed::{Bed, Timing};
use super::{Asked, Cost, Delays, Request, SEED, Shape, UNIT};
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

/// What so many requests cost that come at one moment, to a cluster with nothing else to do.
///
/// # Errors
/// When a law is broken.
pub fn request_cost<C: Consensus>(
    shape: Shape,
    asked: Asked,
    request: Request,
    count: u64,
) -> Result<Cost, Violation> {
    let mut bed = Bed::<C>::new(SEED, shape, Timing { link: UNIT, sync: UNIT })?;
    bed.cost_of(|bed| {
        let operations: Vec<_> = (0..count).map(|_| ask(bed, asked, request)).collect();
        operations.into_iter().try_for_each(|operation| bed.answer(operation).map(|_| ()))
    })
}

/// What an answer waits for: found by letting one thing alone take time.
///
/// # Errors
/// When a law is broken.
///
/// # Panics
/// If anything else takes time.
pub fn delays<C: Consensus>(
    shape: Shape,
    asked: Asked,
    request: Request,
) -> Result<Delays, Violation> {
    let took = |timing| {
        let mut bed = Bed::<C>::new(SEED, shape, timing)?;
        bed.wait_for_heartbeat()?;
        let operation = ask(&mut bed, asked, request);
        let took = bed.answer(operation)?.as_micros();
        assert!(took % UNIT.as_micros() == 0, "nothing else takes time: {took} µs");
        Ok(u64::try_from(took / UNIT.as_micros()).expect("a few"))
    };
    Ok(Delays {
        messages: took(Timing { link: UNIT, sync: Duration::ZERO })?,
        syncs: took(Timing { link: Duration::ZERO, sync: UNIT })?,
    })
}
