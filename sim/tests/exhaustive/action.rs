//! What can happen next.

use std::collections::BTreeSet;
use std::fmt;

use consensus::NodeId;

use crate::bounds::Bounds;
use crate::oracle::{Election, Modelled};
use crate::state::State;

/// One thing that happens, with all that a node does at once because of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The next frame in a direction arrives.
    Deliver { from: NodeId, to: NodeId },
    /// A node's oldest write becomes durable.
    Complete { id: NodeId },
    /// A client asks a leader to replicate a command.
    Propose { id: NodeId },
    /// The oracle lets these servers elect a leader.
    Elect { members: BTreeSet<NodeId> },
    /// A node's patience is at an end.
    Suspect { id: NodeId },
    /// A leader gives a sign of life.
    Heartbeat { id: NodeId },
    /// A node stops, and loses what is not durable.
    Crash { id: NodeId },
    /// A node starts again.
    Restart { id: NodeId },
    /// A connection breaks.
    Cut { ends: [NodeId; 2] },
    /// A node learns that a connection broke.
    Notice { id: NodeId, peer: NodeId },
    /// Two nodes connect.
    Connect { ends: [NodeId; 2] },
}

impl Action {
    /// What it takes from the bounds.
    pub(crate) fn charge(&self, left: &mut Bounds) {
        match self {
            Self::Propose { .. } => left.proposals -= 1,
            Self::Elect { .. } => left.elections -= 1,
            Self::Suspect { .. } => left.suspicions -= 1,
            Self::Heartbeat { .. } => left.heartbeats -= 1,
            Self::Crash { .. } => left.crashes -= 1,
            Self::Cut { .. } => left.breaks -= 1,
            Self::Deliver { .. }
            | Self::Complete { .. }
            | Self::Restart { .. }
            | Self::Notice { .. }
            | Self::Connect { .. } => {}
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deliver { from, to } => write!(f, "{to} reads the next frame of {from}"),
            Self::Complete { id } => write!(f, "{id}'s oldest write becomes durable"),
            Self::Propose { id } => write!(f, "a client proposes a command to {id}"),
            Self::Elect { members } => write!(f, "election among {members:?}"),
            Self::Suspect { id } => write!(f, "{id}'s patience is at an end"),
            Self::Heartbeat { id } => write!(f, "{id}'s heartbeat timer fires"),
            Self::Crash { id } => write!(f, "{id} crashes"),
            Self::Restart { id } => write!(f, "{id} starts again"),
            Self::Cut { ends: [a, b] } => write!(f, "the connection of {a} and {b} breaks"),
            Self::Notice { id, peer } => {
                write!(f, "{id} notices that its connection to {peer} broke")
            }
            Self::Connect { ends: [a, b] } => write!(f, "{a} and {b} connect"),
        }
    }
}

/// Frames and writes under way, and all else that can happen. Nothing, once a law is broken.
pub(crate) fn enabled<C: Modelled>(state: &State<C>, terms: u64) -> Vec<Action> {
    if state.broken.is_some() {
        return Vec::new();
    }
    let mut actions = under_way(state);
    for link in &state.links {
        let [a, b] = link.ends();
        for (from, to) in [(a, b), (b, a)] {
            if !link.is_intact() && link.seen_by(to).is_some() {
                actions.push(Action::Notice { id: to, peer: from });
            }
        }
        if link.is_intact() && state.left.breaks > 0 {
            actions.push(Action::Cut { ends: [a, b] });
        }
        if !link.is_intact() && state.is_running(a) && state.is_running(b) {
            actions.push(Action::Connect { ends: [a, b] });
        }
    }
    for id in state.ids() {
        of_node(state, id, terms, &mut actions);
    }
    if C::ELECTION == Election::WhenHeld && state.left.elections > 0 {
        elections(state, &mut actions);
    }
    actions
}

/// What is under way: frames, and then writes.
pub(crate) fn under_way<C: Modelled>(state: &State<C>) -> Vec<Action> {
    let mut actions = Vec::new();
    for link in &state.links {
        let [a, b] = link.ends();
        let directions = [(a, b), (b, a)].into_iter().filter(|&(_, to)| link.has_frame_for(to));
        actions.extend(directions.map(|(from, to)| Action::Deliver { from, to }));
    }
    let writing = state.ids().filter(|&id| !state.node(id).disk.rests());
    actions.extend(writing.map(|id| Action::Complete { id }));
    actions
}

fn of_node<C: Modelled>(state: &State<C>, id: NodeId, terms: u64, actions: &mut Vec<Action>) {
    let (node, left) = (state.node(id), &state.left);
    let Some(core) = &node.core else {
        actions.push(Action::Restart { id });
        return;
    };
    let view = core.view();
    if view.established.is_some() && left.proposals > 0 {
        actions.push(Action::Propose { id });
    }
    // A node in the last term would only campaign for one that is not looked at.
    let may_suspect = left.suspicions > 0 && (view.promised.0 < terms || view.joined.is_some());
    if may_suspect && C::suspicion(node.role, node.leadership).is_some() {
        actions.push(Action::Suspect { id });
    }
    if view.leading.is_some() && left.heartbeats > 0 {
        actions.push(Action::Heartbeat { id });
    }
    if left.crashes > 0 {
        actions.push(Action::Crash { id });
    }
}

/// Every quorum of connected servers of which one looks for a leader, and none is still writing what its
/// vote must count.
fn elections<C: Modelled>(state: &State<C>, actions: &mut Vec<Action>) {
    let ids: Vec<NodeId> = state.ids().filter(|&id| state.is_running(id)).collect();
    let looks = |id: NodeId| state.node(id).role == "LOOKING";
    for subset in 1_u32..1 << ids.len() {
        let chosen = ids.iter().enumerate().filter(|(place, _)| subset >> place & 1 == 1);
        let members: BTreeSet<NodeId> = chosen.map(|(_, &id)| id).collect();
        let connected = |a: NodeId| members.iter().all(|&b| a == b || state.link(a, b).works());
        if 2 * members.len() > state.nodes.len()
            && members.iter().any(|&id| looks(id))
            && members.iter().all(|&id| !looks(id) || state.node(id).disk.rests())
            && members.iter().all(|&id| connected(id))
        {
            actions.push(Action::Elect { members });
        }
    }
}
