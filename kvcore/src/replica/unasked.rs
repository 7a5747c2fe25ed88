//! Commands of the node's own: no client waits for what becomes of them.

use bytes::Bytes;
use consensus::{Consensus, Now, Wire};

use super::{Replica, ReplicaEffects};
use crate::{Command, Envelope, RequestId};

/// The request number of such commands.
const NOBODY: RequestId = RequestId(0);

impl<C: Consensus> Replica<C> {
    /// Such a command, encoded.
    pub(super) fn unasked(&self, command: Command) -> Bytes {
        let (origin, incarnation) = (self.settings.id, self.settings.incarnation);
        let (request, idempotency) = (NOBODY, None);
        Envelope { origin, incarnation, request, idempotency, command }.to_bytes()
    }

    /// Proposes such a command. Returns whether the protocol took it.
    pub(super) fn propose_unasked(
        &mut self,
        now: Now,
        command: Command,
        effects: &mut ReplicaEffects<C::Message>,
    ) -> bool {
        let envelope = self.unasked(command);
        self.propose(now, envelope, effects).is_none()
    }
}
