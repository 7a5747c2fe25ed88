//! What a node has promised: the paper's `currentTerm` and `votedFor` (Figure 2), in one durable
//! record, so that neither is ever durable without the other (hashicorp/raft #661).

use bytes::{Bytes, BytesMut};
use consensus::codec::{CodecError, Wire};
use consensus::{Index, Log, NodeId, Pledge, Position, Recovered, StartError, Term};

use crate::message::{AppendOutcome, NUMBER_MAX, RaftMessage};

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

/// What a message promises: a vote, or that entries are durable under a term that is. Whoever asks
/// for votes or leads has voted for itself. Refusals, PreVotes and answers to heartbeats promise
/// nothing.
pub(crate) fn pledge(own: NodeId, to: NodeId, message: &RaftMessage, log: &Log) -> Pledge {
    let voted = |term, vote| Pledge { promised: term, vote: Some(vote), ..Pledge::default() };
    match *message {
        RaftMessage::RequestVote { term, .. }
        | RaftMessage::AppendEntries { term, .. }
        | RaftMessage::InstallSnapshot { term }
        | RaftMessage::Heartbeat { term, .. }
        | RaftMessage::TimeoutNow { term } => voted(term, own),
        RaftMessage::RequestVoteResponse { candidacy, granted: true, .. } => voted(candidacy, to),
        RaftMessage::AppendEntriesResponse {
            term,
            outcome: AppendOutcome::Matched { up_to, .. },
        } => {
            // What is not in the log at all is not durable under any term.
            let position =
                Position { term: log.term(up_to).unwrap_or(Term(u64::MAX)), index: up_to };
            Pledge { promised: term, last: position, ..Pledge::default() }
        }
        _ => Pledge::default(),
    }
}

/// The promise as recovered, after a look at whether all that was recovered fits together.
pub(crate) fn recover(recovered: &Recovered) -> Result<Promise, StartError> {
    let promise = match recovered.promise.clone() {
        Some(bytes) => Promise::from_bytes(bytes)
            .map_err(|error| StartError(format!("the promise in the log: {error}")))?,
        None => Promise::default(),
    };
    if promise.term.0 >= NUMBER_MAX || recovered.last.0 >= NUMBER_MAX {
        return Err(StartError(format!(
            "the log ends with index {} in term {}; no cluster comes near {NUMBER_MAX}, so the log is \
             damaged: restore this node's directory, or let the others bring it up anew",
            recovered.last, promise.term
        )));
    }
    let terms = &recovered.terms;
    let first_is_one = terms.keys().next().is_none_or(|&first| first == Index(1));
    let ascending = terms.values().zip(terms.values().skip(1)).all(|(one, next)| one < next);
    let within = terms.keys().next_back().is_none_or(|&last| last <= recovered.last);
    let dated = terms.is_empty() == (recovered.last == Index(0));
    if !(first_is_one && ascending && within && dated) {
        return Err(StartError(format!(
            "the terms of the log contradict themselves: {terms:?} with last index {}",
            recovered.last
        )));
    }
    if recovered.commit > recovered.last {
        return Err(StartError(format!(
            "index {} is committed but the log ends at {}",
            recovered.commit, recovered.last
        )));
    }
    let last_term = terms.values().next_back().copied().unwrap_or_default();
    if last_term > promise.term {
        return Err(StartError(format!(
            "the log holds an entry of term {last_term}, but the last promise is term {}: \
             promises and entries share one ordered log, so the promise must have been lost",
            promise.term
        )));
    }
    Ok(promise)
}
