//! A leader's way out of its office, as far as it is the same for every protocol.

use std::cmp::Reverse;

use crate::{Index, NodeId, Time, Token};

/// A transfer of leadership under way at its leader. There is at most one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transfer {
    /// The request, which is answered when the transfer ends.
    pub token: Token,
    /// The successor.
    pub to: NodeId,
    /// Whether the successor was told to take over.
    pub told: bool,
}

/// A voter that could take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heir {
    /// The voter.
    pub id: NodeId,
    /// The last index known durable there.
    pub matched: Index,
    /// When it was last heard.
    pub heard: Time,
}

/// The successor: the one asked for if it is among the heirs, or else the most advanced of them. Of
/// several that are level it is the one heard last, because a voter that sleeps may well have been
/// level before; and then the smallest number, so that the choice is the same each time.
#[must_use]
pub fn successor(to: Option<NodeId>, heirs: impl IntoIterator<Item = Heir>) -> Option<NodeId> {
    heirs
        .into_iter()
        .filter(|heir| to.is_none_or(|to| to == heir.id))
        .max_by_key(|heir| (heir.matched, heir.heard, Reverse(heir.id)))
        .map(|heir| heir.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_advanced_takes_over_unless_another_is_asked_for() {
        let heir = |id, matched, heard| Heir {
            id: NodeId(id),
            matched: Index(matched),
            heard: Time(heard),
        };
        let heirs = [heir(2, 7, 90), heir(3, 8, 50), heir(4, 8, 60), heir(5, 8, 60)];
        assert_eq!(successor(None, heirs), Some(NodeId(4)));
        assert_eq!(successor(Some(NodeId(2)), heirs), Some(NodeId(2)));
        assert_eq!(successor(Some(NodeId(1)), heirs), None);
        assert_eq!(successor(None, []), None);
    }
}
