//! Quorum arithmetic over one configuration, or over two at once while membership changes.

use std::collections::BTreeSet;

use crate::{Index, Mutant, NodeId, mutant};

/// Who decides. With two configurations, every decision needs a majority of each (Raft thesis §4.3,
/// joint consensus; ZooKeeper's reconfiguration, ATC'12 §3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Quorum {
    current: BTreeSet<NodeId>,
    next: Option<BTreeSet<NodeId>>,
}

impl Quorum {
    /// The majorities of one set of voters.
    ///
    /// # Panics
    /// If there are no voters: nothing could ever be decided.
    #[must_use]
    pub fn new(voters: BTreeSet<NodeId>) -> Self {
        assert!(!voters.is_empty(), "a cluster has at least one voter");
        Self { current: voters, next: None }
    }

    /// The majorities of two sets of voters, both needed.
    ///
    /// # Panics
    /// If either set is empty.
    #[must_use]
    pub fn joint(current: BTreeSet<NodeId>, next: BTreeSet<NodeId>) -> Self {
        assert!(!current.is_empty() && !next.is_empty(), "a cluster has at least one voter");
        Self { current, next: Some(next) }
    }

    /// Every voter of either configuration, once, in the order of their numbers.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<NodeId> {
        self.configurations().flatten().copied().collect()
    }

    /// Whether a node votes in either configuration.
    #[must_use]
    pub fn contains(&self, id: NodeId) -> bool {
        self.configurations().any(|voters| voters.contains(&id))
    }

    /// Whether those for whom `agrees` holds are a quorum.
    #[must_use]
    pub fn reached(&self, agrees: impl Fn(NodeId) -> bool) -> bool {
        self.configurations().all(|voters| {
            let agreeing = voters.iter().filter(|&&id| agrees(id)).count();
            let needed = voters.len() / 2 + 1 - usize::from(mutant::on(Mutant::TwoOfFive));
            agreeing >= needed.max(1)
        })
    }

    /// Whether a quorum can no longer be reached, given those for whom `refuses` holds.
    #[must_use]
    pub fn unreachable(&self, refuses: impl Fn(NodeId) -> bool) -> bool {
        !self.reached(|id| !refuses(id))
    }

    /// The largest index that a quorum holds, given the index that each voter holds. Sorted anew on
    /// every call: clever incremental versions have committed without a quorum (openraft #1802).
    #[must_use]
    pub fn committed(&self, held: impl Fn(NodeId) -> Index) -> Index {
        self.configurations()
            .map(|voters| {
                let mut indexes: Vec<Index> = voters.iter().map(|&id| held(id)).collect();
                indexes.sort_unstable_by(|a, b| b.cmp(a));
                let fewer = mutant::on(Mutant::CommitsOneFewer) || mutant::on(Mutant::TwoOfFive);
                indexes[(voters.len() / 2).saturating_sub(usize::from(fewer))]
            })
            .min()
            .expect("there is at least one configuration")
    }

    fn configurations(&self) -> impl Iterator<Item = &BTreeSet<NodeId>> {
        std::iter::once(&self.current).chain(&self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn set(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().map(|&id| NodeId(id)).collect()
    }

    #[test]
    fn a_majority_is_more_than_half() {
        for (voters, needed) in [(1u64, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)] {
            let quorum = Quorum::new((1..=voters).map(NodeId).collect());
            assert!(quorum.reached(|id| id.0 <= needed), "{needed} of {voters}");
            assert!(!quorum.reached(|id| id.0 < needed), "{} of {voters}", needed - 1);
        }
    }

    #[test]
    fn a_joint_quorum_needs_both_majorities() {
        let quorum = Quorum::joint(set(&[1, 2, 3]), set(&[3, 4, 5]));
        assert!(!quorum.reached(|id| [1, 2, 3].contains(&id.0)));
        assert!(!quorum.reached(|id| [3, 4, 5].contains(&id.0)));
        assert!(quorum.reached(|id| [2, 3, 4].contains(&id.0)));
        assert_eq!(quorum.voters(), set(&[1, 2, 3, 4, 5]));
    }

    /// The definition, as naive as can be: the largest index such that those who hold it are a quorum.
    fn committed_by_definition(quorum: &Quorum, held: impl Fn(NodeId) -> Index) -> Index {
        (0..=20)
            .map(Index)
            .filter(|&index| quorum.reached(|id| held(id) >= index))
            .max()
            .expect("everybody holds index 0")
    }

    #[test]
    fn committed_agrees_with_the_definition() {
        let mut random = Random::new(7);
        for _ in 0..20_000 {
            let mut members = || {
                (0..=random.below(6)).map(|_| NodeId(1 + random.below(8))).collect::<BTreeSet<_>>()
            };
            let (current, next) = (members(), members());
            let quorum =
                if random.one_in(2) { Quorum::new(current) } else { Quorum::joint(current, next) };
            let indexes: Vec<Index> = (0..10).map(|_| Index(random.below(21))).collect();
            let held = |id: NodeId| indexes[usize::try_from(id.0).expect("small")];
            assert_eq!(quorum.committed(held), committed_by_definition(&quorum, held));
        }
    }
}
