//! What comes late.

use super::Violation;
use crate::{Consensus, Effects, Input, NodeId, Now};

/// The law about what comes late.
pub const LATE: &str = "what comes late on a connection that was given up changes nothing";

/// Judges what a node makes of an input of a connection that it has given up: nothing.
///
/// # Errors
/// When it would take it.
pub fn changes_nothing<C: Consensus>(
    id: NodeId,
    core: &C,
    now: Now,
    input: Input<C::Message>,
) -> Result<(), Violation> {
    let (mut after, mut effects) = (core.clone(), Effects::default());
    after.step(now, input.clone(), &mut effects);
    // When the next timer is due is told after every step.
    effects.deadline = None;
    if after == *core && effects == Effects::default() {
        return Ok(());
    }
    Err(Violation::new(LATE, format!("{id} takes {input:?}")))
}
