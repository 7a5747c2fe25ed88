//! What a node has promised: the paper's `currentTerm` and `votedFor` (Figure 2), in one durable
//! record, so that neither is ever durable without the other (hashicorp/raft #661).

use bytes::{Bytes, BytesMut};
use consensus::codec::{CodecError, Wire};
use consensus::{NodeId, Term};

/// The highest term that a node has seen, and for whom it voted in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Promise {
    /// The current term: nothing of an earlier one is accepted any more.
    pub term: Term,
    /// The vote in this term, at most one (§5.2).
    pub vote: Option<NodeId>,
}

impl Wire for Promise {
    fn encode(&self, out: &mut BytesMut) {
        self.term.encode(out);
        self.vote.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(Self { term: Term::decode(input)?, vote: Option::decode(input)? })
    }
}
