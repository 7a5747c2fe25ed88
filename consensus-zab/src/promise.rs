//! The two epochs that a server must never forget.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use consensus::codec::{CodecError, Wire};
use consensus::{Index, Log, Pledge, Position, Recovered, StartError, Term};

use crate::message::{ServerState, Session, ZabMessage};
use crate::zxid::{Epoch, Zxid};

/// What a server has promised. It is durable before anything that rests on it leaves.
///
/// The two differ while a leader is being joined: the epoch that was *tried* and the epoch that was
/// *joined*. Before ZooKeeper kept them apart, a leader that had tried an epoch and failed looked
/// more recent than the leader that succeeded (ZOOKEEPER-335 and its family).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Promise {
    /// acceptedEpoch, the paper's `f.p`: the epoch of the last LEADERINFO accepted. No leader of an
    /// earlier epoch is followed any more.
    pub accepted: Epoch,
    /// currentEpoch, the paper's `f.a`: the epoch of the last NEWLEADER accepted, whose initial
    /// history this server holds.
    pub current: Epoch,
}

impl Wire for Promise {
    fn encode(&self, out: &mut BytesMut) {
        self.accepted.encode(out);
        self.current.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(Self { accepted: Epoch::decode(input)?, current: Epoch::decode(input)? })
    }
}

/// What a message promises. `session` is the one that this server follows in, with its epoch;
/// `current` is its currentEpoch.
pub(crate) fn pledge(
    message: &ZabMessage,
    session: Option<(Session, Epoch)>,
    current: Epoch,
    log: &Log,
) -> Pledge {
    let none = Epoch::default();
    let (accepted, joined, last) = match message {
        // A vote counts exactly what is durable.
        ZabMessage::Notification(theirs) if theirs.state == ServerState::Looking => {
            (none, current, log.last())
        }
        ZabMessage::LeaderInfo { epoch, .. } => (*epoch, none, Position::ZERO),
        ZabMessage::AckEpoch { session: of, current_epoch, table, .. } => {
            // The message does not name the epoch; a session that is over has none any more.
            let epoch = session.filter(|(session, _)| session == of).map(|(_, epoch)| epoch);
            (epoch.unwrap_or_default(), current_epoch.unwrap_or_default(), table.last().position())
        }
        ZabMessage::Snap { epoch, .. } => (*epoch, *epoch, Position::ZERO),
        // What precedes it may be live proposals that the leader is still writing.
        ZabMessage::NewLeader { at, .. } => (at.zxid.epoch, at.zxid.epoch, Position::ZERO),
        // The acknowledgement of NEWLEADER.
        ZabMessage::Ack { up_to, .. } if up_to.zxid.counter == 0 => {
            (up_to.zxid.epoch, up_to.zxid.epoch, at(log, up_to.index))
        }
        ZabMessage::Ack { up_to, .. } => (up_to.zxid.epoch, up_to.zxid.epoch, up_to.position()),
        ZabMessage::Received { up_to, .. } => (none, none, at(log, *up_to)),
        _ => return Pledge::default(),
    };
    Pledge { promised: accepted.term(), joined: joined.term(), last, vote: None }
}

/// The entry at an index; what is not in the log at all is not durable under any epoch.
fn at(log: &Log, index: Index) -> Position {
    Position { term: log.term(index).unwrap_or(Term(u64::MAX)), index }
}

/// Checks what was recovered against the laws of the protocol, and returns the promise in it.
pub(crate) fn check_recovered(recovered: &Recovered) -> Result<Promise, StartError> {
    let promise = match recovered.promise.clone() {
        Some(promise) => Promise::from_bytes(promise)
            .map_err(|error| StartError(format!("the promise in the log: {error}")))?,
        None => Promise::default(),
    };
    let Promise { accepted, current } = promise;
    if current > accepted {
        return Err(StartError(format!(
            "currentEpoch {current} exceeds acceptedEpoch {accepted}: an epoch was joined that was \
             never accepted"
        )));
    }
    check_runs(&recovered.terms, recovered.last)?;
    // An epoch of the log beyond currentEpoch is legal: history of a leader whose epoch was not
    // joined before the crash (ZOOKEEPER-2354). Beyond acceptedEpoch it is not.
    let newest = recovered.terms.values().next_back().copied().unwrap_or_default();
    if newest > accepted.term() {
        return Err(StartError(format!(
            "the log holds epoch {newest}, but only epoch {accepted} was ever accepted"
        )));
    }
    Ok(promise)
}

/// Whether the entries of a log with these first indexes of each epoch have zxids.
pub(crate) fn check_runs(terms: &BTreeMap<Index, Term>, last: Index) -> Result<(), StartError> {
    let lasts = terms.keys().skip(1).map(|first| first.previous());
    let lasts = lasts.chain(std::iter::once(last));
    terms.iter().zip(lasts).try_for_each(|((&first, &term), last)| check_run(first, term, last))
}

fn check_run(first: Index, term: Term, last: Index) -> Result<(), StartError> {
    let epoch = Epoch::from_term(term)
        .ok_or_else(|| StartError(format!("epoch {term} in the log needs more than 32 bits")))?;
    Zxid::at(epoch, first.previous(), last).map(|_| ()).ok_or_else(|| {
        StartError(format!("epoch {epoch} holds more entries than a zxid can count"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_survives_the_disk() {
        let promise = Promise { accepted: Epoch(7), current: Epoch(5) };
        assert_eq!(Promise::from_bytes(promise.to_bytes()), Ok(promise));
        assert!(Promise::from_bytes(promise.to_bytes().slice(..7)).is_err());
    }
}
