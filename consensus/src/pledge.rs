//! What messages promise, said apart from the tags that they wait for.

use crate::{NodeId, Position, Term};

/// What must be on a node's stable storage before a message leaves it, or what of it is there.
///
/// A message's tag says which *write* it waits for. That is how the driver knows when it may leave,
/// but a check against the tag alone would believe a wrong tag. So the checks also ask what the
/// message *says*, and look whether that was ever durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pledge {
    /// Raft's term, or ZAB's acceptedEpoch: this one or a later one.
    pub promised: Term,
    /// Raft's vote, in exactly that term.
    pub vote: Option<NodeId>,
    /// ZAB's currentEpoch: this one or a later one.
    pub joined: Term,
    /// The log holds this entry, and so all before it.
    pub last: Position,
}
