//! Transfers of leadership.

use super::cluster::Cluster;
use crate::{Answer, Consensus, Input, NodeId, Token, Violation};

impl<C: Consensus> Cluster<C> {
    /// Asks a node to hand its office over.
    ///
    /// # Errors
    /// A broken law.
    pub fn transfer(&mut self, id: NodeId, to: Option<NodeId>) -> Result<Token, Violation> {
        self.last_token = self.last_token.next();
        let token = self.last_token;
        self.transfers.insert(token, id);
        self.input(id, Input::TransferLeadership { token, to })?;
        Ok(token)
    }

    /// The transfers that were not answered yet. Each is answered once, unless its node crashes.
    #[must_use]
    pub fn open_transfers(&self) -> Vec<Token> {
        self.transfers.keys().copied().collect()
    }

    /// How often a leader has handed over its office.
    #[must_use]
    pub fn handovers(&self) -> u64 {
        self.handovers
    }

    /// Takes note of an answer to a transfer. Returns whether it is a rightful one.
    pub(super) fn transfer_answered(&mut self, id: NodeId, answer: Answer) -> bool {
        let rightful = self.transfers.get(&answer.token()) == Some(&id)
            && !matches!(answer, Answer::Barrier { .. });
        if rightful {
            self.handovers += u64::from(matches!(answer, Answer::HandedOver { .. }));
            self.transfers.remove(&answer.token());
        }
        rightful
    }
}
