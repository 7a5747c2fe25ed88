//! How the model takes each protocol's elections.

use consensus::{Consensus, Leadership, Timer};
use consensus_raft::{Raft, RaftMessage};
use consensus_zab::{Zab, ZabMessage};

/// A protocol as the model needs to know it: by its words for roles, and by what it says in elections.
pub(crate) trait Modelled: Consensus<Message: Sync> + Sync {
    /// When what it says of elections is exchanged.
    const ELECTION: Election;

    /// Whether a message is exchanged like that.
    fn is_of_election(message: &Self::Message) -> bool;

    /// The timer by which a node that has this role gives up waiting.
    fn suspicion(role: &str, leadership: Leadership) -> Option<Timer>;
}

/// When the messages of an election that bind nobody are exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Election {
    /// In the step in which somebody says something, among all who are connected.
    AtOnce,
    /// When an election is held, among those who take part in it; at other times they are lost.
    WhenHeld,
}

impl Modelled for Raft {
    const ELECTION: Election = Election::AtOnce;

    fn is_of_election(message: &RaftMessage) -> bool {
        matches!(message, RaftMessage::PreVote { .. } | RaftMessage::PreVoteResponse { .. })
    }

    fn suspicion(role: &str, _leadership: Leadership) -> Option<Timer> {
        Some(if role == "leader" { Timer::Quorum } else { Timer::Election })
    }
}

impl Modelled for Zab {
    const ELECTION: Election = Election::WhenHeld;

    fn is_of_election(message: &ZabMessage) -> bool {
        matches!(message, ZabMessage::Notification(_))
    }

    fn suspicion(role: &str, leadership: Leadership) -> Option<Timer> {
        match (role, leadership) {
            ("LOOKING", _) => None,
            (_, Leadership::None) => Some(Timer::Phase),
            (_, Leadership::Following { .. }) => Some(Timer::Election),
            (_, Leadership::Established { .. }) => Some(Timer::Quorum),
        }
    }
}
