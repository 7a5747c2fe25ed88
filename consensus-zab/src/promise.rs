//! The two epochs that a server must never forget.

use bytes::{Bytes, BytesMut};
use consensus::codec::{CodecError, Wire};

use crate::zxid::Epoch;

/// What a server has promised. It is durable before anything that rests on it leaves.
///
/// The two differ while a leader is being joined: the epoch that was *tried* and the epoch that was
/// *joined*. Before ZooKeeper kept them apart, a leader that had tried an epoch and failed looked
/// more recent than the leader that succeeded (ZOOKEEPER-335 and its family).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Promise {
    /// acceptedEpoch, the paper's `f.p`: the epoch of the last LEADERINFO accepted. No leader of an
    /// earlier epoch is followed any more.
    pub(crate) accepted: Epoch,
    /// currentEpoch, the paper's `f.a`: the epoch of the last NEWLEADER accepted, whose initial
    /// history this server holds.
    pub(crate) current: Epoch,
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
