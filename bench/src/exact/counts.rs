//! Everything of the cost sheet that depends on no chance.

use std::collections::BTreeMap;

use consensus::{Consensus, Protocol, Violation};
use consensus_raft::Raft;
use consensus_zab::Zab;
use sim::costs::{Asked, Counted, Request, Shape, election_cost, rejoin_cost, request_cost};

use super::threads::share;

/// The sizes of clusters that are usual, without observers and with two.
pub const SHAPES: [Shape; 8] = [
    Shape { voters: 3, observers: 0 },
    Shape { voters: 3, observers: 2 },
    Shape { voters: 5, observers: 0 },
    Shape { voters: 5, observers: 2 },
    Shape { voters: 7, observers: 0 },
    Shape { voters: 7, observers: 2 },
    Shape { voters: 9, observers: 0 },
    Shape { voters: 9, observers: 2 },
];
/// How many puts come at one moment.
pub const BATCHES: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
/// How many entries a follower is behind.
pub const BEHIND: [u64; 3] = [10, 1_000, 100_000];
pub(super) const READS: [Request; 3] = [Request::Linearizable, Request::Sync, Request::Local];
pub(super) const ASKED: [Asked; 3] = [Asked::Leader, Asked::Follower, Asked::Observer];

/// What is done to a cluster at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// So many puts at one moment, at one node.
    Puts(Asked, u64),
    /// A read.
    Read(Asked, Request),
    /// The leader is killed.
    Election,
    /// A follower comes back that is so many entries behind.
    Rejoin(u64),
}

impl Deed {
    /// What the sheet tells of a cluster.
    fn of(shape: Shape) -> Vec<Self> {
        let asked =
            ASKED.into_iter().filter(|&asked| shape.observers > 0 || asked != Asked::Observer);
        let elsewhere = asked.clone().filter(|&asked| asked != Asked::Leader);
        let mut deeds: Vec<Self> = BEHIND.into_iter().map(Self::Rejoin).collect();
        deeds.push(Self::Election);
        deeds.extend(BATCHES.map(|batch| Self::Puts(Asked::Leader, batch)));
        deeds.extend(elsewhere.map(|asked| Self::Puts(asked, 1)));
        deeds.extend(asked.flat_map(|asked| READS.map(|read| Self::Read(asked, read))));
        deeds
    }

    /// What it costs a cluster of a protocol.
    fn count<C: Consensus>(self, shape: Shape) -> Result<Counted, Violation> {
        match self {
            Self::Puts(asked, batch) => request_cost::<C>(shape, asked, Request::Put, batch),
            Self::Read(asked, read) => request_cost::<C>(shape, asked, read, 1),
            Self::Election => election_cost::<C>(shape),
            Self::Rejoin(behind) => rejoin_cost::<C>(shape, behind),
        }
    }

    /// How much longer than others it takes to count, roughly.
    fn weight(self, shape: Shape) -> u64 {
        let entries = match self {
            Self::Rejoin(behind) => behind,
            Self::Puts(..) | Self::Read(..) | Self::Election => 0,
        };
        (1 + entries) * (shape.voters + shape.observers)
    }
}

/// What is counted: both protocols, of one deed and one cluster.
type Item = (Deed, Shape);

/// What deeds cost clusters of Raft and of ZAB.
#[derive(Clone, Debug, Default)]
pub struct Counts(BTreeMap<Item, [Counted; 2]>);

impl Counts {
    /// Counts everything that the sheet tells and that is asked for, by as many threads as there are processors.
    ///
    /// # Errors
    /// When a law of the protocols is broken.
    pub fn of(wanted: impl Fn(Deed, Shape) -> bool) -> Result<Self, Violation> {
        let items = SHAPES
            .into_iter()
            .flat_map(|shape| Deed::of(shape).into_iter().map(move |deed| (deed, shape)));
        Self::of_items(items.filter(|&(deed, shape)| wanted(deed, shape)).collect())
    }

    /// Counts these.
    pub(super) fn of_items(mut items: Vec<Item>) -> Result<Self, Violation> {
        // What takes longest comes first, so that all threads are done at about the same time.
        items.sort_by_key(|&(deed, shape)| std::cmp::Reverse(deed.weight(shape)));
        let jobs: Vec<(Item, Protocol)> = items
            .iter()
            .flat_map(|&item| [Protocol::Raft, Protocol::Zab].map(|protocol| (item, protocol)))
            .collect();
        let count = |&((deed, shape), protocol): &(Item, Protocol)| match protocol {
            Protocol::Raft => deed.count::<Raft>(shape),
            _ => deed.count::<Zab>(shape),
        };
        let mut counted = share(&jobs, 1, count, |_| ())?.into_iter();
        let mut both = || [counted.next(), counted.next()].map(|one| one.expect("one of each job"));
        Ok(Self(items.into_iter().map(|item| (item, both())).collect()))
    }

    /// What Raft and ZAB cost, if it was counted.
    #[must_use]
    pub fn get(&self, deed: Deed, shape: Shape) -> Option<&[Counted; 2]> {
        self.0.get(&(deed, shape))
    }

    /// Everything that was counted.
    pub fn iter(&self) -> impl Iterator<Item = (Deed, Shape, &[Counted; 2])> {
        self.0.iter().map(|(&(deed, shape), both)| (deed, shape, both))
    }

    /// How many things happened in the simulator for it.
    #[must_use]
    pub fn happenings(&self) -> u64 {
        self.0.values().flatten().map(|counted| counted.happenings).sum()
    }
}
