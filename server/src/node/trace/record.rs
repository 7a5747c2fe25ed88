//! One event of one node as it is sent and shown: the parts of a [`consensus::Event`], in words.

use consensus::{Event, Index, NodeId, Passage, Suspicion, Term};

use super::HostTime;

/// What is asked of a node's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceQuestion {
    /// What is wanted.
    pub detail: TraceDetail,
    /// At most so many records, the newest.
    pub limit: usize,
}

/// Which records are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TraceDetail {
    /// What happened, without messages.
    Events,
    /// Also the messages of elections and synchronization.
    Elections,
    /// Also the daily work of an established leader.
    Everything,
}

/// A node's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTrace {
    /// The boot whose clock the times are of; `None` when the node can not tell: then they can be
    /// compared with no other node's.
    pub boot: Option<String>,
    /// How many earlier records of the kind asked for are not among these.
    pub earlier: u64,
    /// The records, in the order in which they happened.
    pub records: Vec<Record>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $name:literal;)*) => {
        /// What kind of event a record is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum RecordKind {
            $($(#[$doc])* $kind,)*
        }

        impl RecordKind {
            /// Every kind there is.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The kind's name in answers.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }
    };
}

kinds! {
    /// [`Event::Started`].
    Started, "started";
    /// [`Event::RoleChanged`].
    RoleChanged, "role_changed";
    /// [`Event::LeaderSuspected`].
    LeaderSuspected, "leader_suspected";
    /// [`Event::Voted`].
    Voted, "voted";
    /// [`Event::Truncated`].
    Truncated, "truncated";
    /// [`Event::PeerSynchronized`].
    PeerSynchronized, "peer_synchronized";
    /// [`Event::Committed`].
    Committed, "committed";
    /// [`Event::TransferBegun`].
    TransferBegun, "transfer_begun";
    /// [`Event::HandsOver`].
    HandsOver, "hands_over";
    /// [`Event::TransferFailed`].
    TransferFailed, "transfer_failed";
    /// [`Event::FirstCommit`].
    FirstCommit, "first_commit";
    /// [`Event::FirstWrite`].
    FirstWrite, "first_write";
    /// [`Event::PeerConnected`].
    PeerConnected, "peer_connected";
    /// [`Event::PeerLost`].
    PeerLost, "peer_lost";
    /// [`Event::Sent`].
    Sent, "sent";
    /// [`Event::Received`].
    Received, "received";
    /// An event that is only told in words.
    Other, "other";
    /// [`Event::FaultBegan`].
    FaultBegan, "fault_began";
    /// [`Event::FaultEnded`].
    FaultEnded, "fault_ended";
}

/// One event of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it happened.
    pub time: HostTime,
    /// What kind it is.
    pub kind: RecordKind,
    /// The other node that it is about: sender, receiver, suspect, candidate, synchronized peer.
    pub peer: Option<NodeId>,
    /// The term or epoch that it names.
    pub term: Option<Term>,
    /// The leader that the node knows after a change of role.
    pub leader: Option<NodeId>,
    /// The index that it names.
    pub index: Option<Index>,
    /// Of a suspicion by silence: how long nothing had been heard.
    pub silence_ms: Option<u64>,
    /// Of a message: what both ends know it by.
    pub passage: Option<Passage>,
    /// The new role, the message's name, the means of synchronization; empty when there is none.
    pub name: String,
    /// The phase within the new role; empty when there is none.
    pub phase: String,
    /// Why the role changed; empty for anything else.
    pub cause: String,
    /// The event in words; of a message what it says, as far as it was written down.
    pub text: String,
}

impl Record {
    /// The record of an event.
    pub(crate) fn of(time: HostTime, event: &Event) -> Self {
        let bare = |kind, text| Self {
            time,
            kind,
            peer: None,
            term: None,
            leader: None,
            index: None,
            silence_ms: None,
            passage: None,
            name: String::new(),
            phase: String::new(),
            cause: String::new(),
            text,
        };
        let plain = |kind| bare(kind, event.to_string());
        let message = |kind, peer, passage, name: &str, text: Option<&str>| Self {
            peer: Some(peer),
            passage: Some(passage),
            name: name.to_owned(),
            ..bare(kind, text.unwrap_or(name).to_owned())
        };
        match event {
            Event::Started { last } => Self { index: Some(*last), ..plain(RecordKind::Started) },
            Event::RoleChanged { role, phase, term, leader, cause } => Self {
                term: Some(*term),
                leader: *leader,
                name: (*role).to_owned(),
                phase: phase.unwrap_or_default().to_owned(),
                cause: cause.clone(),
                ..plain(RecordKind::RoleChanged)
            },
            Event::LeaderSuspected { leader, cause } => Self {
                peer: Some(*leader),
                silence_ms: match cause {
                    Suspicion::Silence { millis } => Some(*millis),
                    Suspicion::ConnectionLost => None,
                },
                ..plain(RecordKind::LeaderSuspected)
            },
            Event::Voted { candidate, term } => {
                Self { peer: Some(*candidate), term: Some(*term), ..plain(RecordKind::Voted) }
            }
            Event::Truncated { from, .. } => {
                Self { index: Some(*from), ..plain(RecordKind::Truncated) }
            }
            Event::PeerSynchronized { peer, means } => Self {
                peer: Some(*peer),
                name: (*means).to_owned(),
                ..plain(RecordKind::PeerSynchronized)
            },
            Event::Committed { index } => {
                Self { index: Some(*index), ..plain(RecordKind::Committed) }
            }
            Event::TransferBegun { to } => {
                Self { peer: Some(*to), ..plain(RecordKind::TransferBegun) }
            }
            Event::HandsOver { to } => Self { peer: Some(*to), ..plain(RecordKind::HandsOver) },
            Event::TransferFailed { to, .. } => {
                Self { peer: Some(*to), ..plain(RecordKind::TransferFailed) }
            }
            Event::FirstCommit { term, index } => {
                Self { term: Some(*term), index: Some(*index), ..plain(RecordKind::FirstCommit) }
            }
            Event::FirstWrite { term, index } => {
                Self { term: Some(*term), index: Some(*index), ..plain(RecordKind::FirstWrite) }
            }
            Event::PeerConnected { peer } => {
                Self { peer: Some(*peer), ..plain(RecordKind::PeerConnected) }
            }
            Event::PeerLost { peer } => Self { peer: Some(*peer), ..plain(RecordKind::PeerLost) },
            Event::Sent { to, passage, name, text } => {
                message(RecordKind::Sent, *to, *passage, name, text.as_deref())
            }
            Event::Received { from, passage, name, text } => {
                message(RecordKind::Received, *from, *passage, name, text.as_deref())
            }
            Event::FaultBegan { .. } => plain(RecordKind::FaultBegan),
            Event::FaultEnded { .. } => plain(RecordKind::FaultEnded),
            _ => plain(RecordKind::Other),
        }
    }

    /// The event in one line, as logs and transcripts have it.
    pub(crate) fn line(&self) -> String {
        let peer = self.peer.unwrap_or_default();
        match self.kind {
            RecordKind::Sent => format!("→ {peer} {}", self.text),
            RecordKind::Received => format!("← {peer} {}", self.text),
            _ => self.text.clone(),
        }
    }
}
