//! What must hold in every state, and what must be reached in some.

use consensus::{Entry, Index, Invariants, Log, NodeId, Position, View, Violation};
use stateright::Property;

use crate::model::Exhaustive;
use crate::oracle::Modelled;
use crate::state::State;

/// The checker of one history. What it remembers is part of the state: two histories that differ in it
/// are two states.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Laws {
    pub(crate) invariants: Invariants,
    /// What was ever known to be committed anywhere.
    committed: Vec<Entry>,
}

impl Laws {
    /// Checks all nodes after a step of one of them, whose log held these committed entries before.
    pub(crate) fn check(
        &mut self,
        views: &[View<'_>],
        id: NodeId,
        held: &[Position],
    ) -> Result<(), Violation> {
        self.invariants.check(views)?;
        let view = views.iter().find(|view| view.id == id).expect("who made a step runs");
        if let Some(lost) = held.iter().find(|&&position| !view.log.contains(position)) {
            return Err(Violation::new(
                "nothing that is committed anywhere is ever removed",
                format!("{id} removes {lost}"),
            ));
        }
        while let Some(index) = self.next_committed(view.log) {
            self.committed.push(view.log.entry(index).expect("all logs are in memory").clone());
        }
        Ok(())
    }

    fn next_committed(&self, log: &Log) -> Option<Index> {
        let next = Index(self.committed.len() as u64 + 1);
        (log.commit() >= next).then_some(next)
    }

    /// The committed entries that a log holds.
    pub(crate) fn committed_in(&self, log: &Log) -> Vec<Position> {
        self.committed().filter(|&position| log.contains(position)).collect()
    }

    /// The positions of all that was ever committed.
    fn committed(&self) -> impl Iterator<Item = Position> {
        self.committed.iter().map(|entry| entry.position)
    }

    /// How many entries of clients were committed.
    fn commands(&self) -> usize {
        self.committed.iter().filter(|entry| entry.command().is_some()).count()
    }

    /// Whether an entry of a client was committed that is not of the first leader.
    fn has_later_command(&self) -> bool {
        let first = self.invariants.leaders().keys().next().copied();
        let later = |entry: &Entry| entry.command().is_some() && Some(entry.term()) > first;
        self.committed.iter().any(later)
    }
}

/// What was seen on the way to a state.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Entries were removed from a log.
    pub(crate) truncation: bool,
    /// A follower was made equal to its leader.
    pub(crate) synchronization: bool,
    /// A crash took a write with it.
    pub(crate) lost_write: bool,
}

/// Safety, and then the corners that must be reached for safety to mean anything.
pub(crate) fn properties<C: Modelled>() -> Vec<Property<Exhaustive<C>>> {
    vec![
        Property::always("the laws hold", |_, state: &State<C>| state.broken.is_none()),
        Property::always("what is committed is durable on a quorum", |_, state: &State<C>| {
            state.laws.committed().all(|position| {
                let holders = state.nodes.iter().filter(|node| node.disk.holds(position));
                2 * holders.count() > state.nodes.len()
            })
        }),
        Property::sometimes(
            "a client's entry is committed",
            |model: &Exhaustive<C>, state: &State<C>| {
                model.first_time(0, || state.laws.commands() > 0)
            },
        ),
        Property::sometimes(
            "all entries of clients are committed",
            |model: &Exhaustive<C>, state: &State<C>| {
                let all = usize::from(model.bounds.proposals);
                model.first_time(1, || state.laws.commands() == all)
            },
        ),
        Property::sometimes(
            "a second leader is established",
            |model: &Exhaustive<C>, state: &State<C>| {
                model.first_time(2, || state.laws.invariants.leaders().len() > 1)
            },
        ),
        Property::sometimes(
            "after a crash a later leader commits an entry",
            |model: &Exhaustive<C>, state: &State<C>| {
                let crashed = state.left.crashes < model.bounds.crashes;
                model.first_time(3, || crashed && state.laws.has_later_command())
            },
        ),
        Property::sometimes(
            "two nodes are established at once",
            |model: &Exhaustive<C>, state: &State<C>| {
                let established = |view: &View<'_>| view.established.is_some();
                model.first_time(4, || state.views().into_iter().filter(established).count() > 1)
            },
        ),
        Property::sometimes("entries are truncated", |model: &Exhaustive<C>, state: &State<C>| {
            model.first_time(5, || state.seen.truncation)
        }),
        Property::sometimes(
            "a follower is synchronized",
            |model: &Exhaustive<C>, state: &State<C>| {
                model.first_time(6, || state.seen.synchronization)
            },
        ),
        Property::sometimes("a crash loses a write", |model: &Exhaustive<C>, state: &State<C>| {
            model.first_time(7, || state.seen.lost_write)
        }),
    ]
}
