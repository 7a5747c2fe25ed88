//! The one sequence of applied entries, and what it makes of the store: everything that any node
//! applies, after any restart, is compared with it.

use std::collections::BTreeMap;

use consensus::{Entry, Index, NodeId, Position, Violation, Wire};
use kvcore::store::StoreState;
use kvcore::{Applied, Envelope, Header, Revision};

use crate::history::OperationId;
use crate::model::{Expected, Model};

/// What the first node that applied an entry made of it, checked against the model.
#[derive(Clone, Debug)]
struct Known {
    entry: Entry,
    expected: Expected,
    state: StoreState,
}

/// The reference for all machines.
#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) model: Model,
    known: Vec<Known>,
    /// Who asked for what, by the address in the envelope.
    requests: BTreeMap<Header, OperationId>,
    /// Where each write stands in the log.
    placed: BTreeMap<OperationId, Index>,
}

impl Oracle {
    pub(crate) fn new() -> Self {
        Self {
            model: Model::new(),
            known: Vec::new(),
            requests: BTreeMap::new(),
            placed: BTreeMap::new(),
        }
    }

    /// A node is about to replicate a client's write under this address.
    pub(crate) fn asked(&mut self, header: Header, operation: OperationId) {
        let former = self.requests.insert(header, operation);
        assert!(former.is_none(), "an address is used once");
    }

    /// The last entry that any node applied.
    pub(crate) fn applied_max(&self) -> Index {
        Index(self.known.len() as u64)
    }

    /// Where a write stands in the log, if any node applied it.
    pub(crate) fn place(&self, operation: OperationId) -> Option<Index> {
        self.placed.get(&operation).copied()
    }

    /// The writes of clients, in the order of the log.
    pub(crate) fn placed(&self) -> BTreeMap<Index, OperationId> {
        self.placed.iter().map(|(&operation, &index)| (index, operation)).collect()
    }

    /// The store's revision after an entry.
    pub(crate) fn revision_at(&self, index: Index) -> Revision {
        self.known(index).map_or(Revision(1), |known| known.state.revision)
    }

    /// What the entry at an index did, and the revision that it left.
    pub(crate) fn outcome_at(&self, index: Index) -> Option<(Expected, Revision)> {
        self.known(index).map(|known| (known.expected, known.state.revision))
    }

    fn known(&self, index: Index) -> Option<&Known> {
        self.known.get(usize::try_from(index.0.checked_sub(1)?).ok()?)
    }

    /// A node applied an entry.
    pub(crate) fn applied(
        &mut self,
        id: NodeId,
        entry: &Entry,
        applied: &Applied,
        state: StoreState,
    ) -> Result<(), Violation> {
        if entry.index() == self.applied_max().next() {
            self.learn(id, entry, state)?;
        }
        let Some(known) = self.known(entry.index()) else {
            return Err(Violation::new(
                "entries are applied in order without gaps",
                format!("{id} applies {} after {}", entry.position, self.applied_max()),
            ));
        };
        if known.entry != *entry {
            return Err(Violation::new(
                "all nodes apply the same entries",
                format!("{id} applies {entry:?}, another node applied {:?}", known.entry),
            ));
        }
        if Expected::of(&applied.outcome) != Some(known.expected) {
            return Err(Violation::new(
                "the machine does what the model does",
                format!(
                    "{id} at {}: {:?}, expected {:?}",
                    entry.position, applied.outcome, known.expected
                ),
            ));
        }
        same_state(id, &state, &known.state)
    }

    /// A node opened its store and found this state.
    pub(crate) fn opened(&self, id: NodeId, state: StoreState) -> Result<(), Violation> {
        match self.known(state.applied.index) {
            Some(known) => same_state(id, &state, &known.state),
            None if state.applied == Position::ZERO => Ok(()),
            None => Err(Violation::new(
                "a store holds only what was applied",
                format!("{id} finds {}, applied is {}", state.applied, self.applied_max()),
            )),
        }
    }

    /// The first to apply an entry: the model follows.
    fn learn(&mut self, id: NodeId, entry: &Entry, state: StoreState) -> Result<(), Violation> {
        let envelope = entry.command().map(|command| Envelope::from_bytes(command.clone()));
        let expected = match envelope {
            None => Expected::Nothing,
            Some(Err(_)) => Expected::Undecodable,
            Some(Ok(envelope)) => {
                let Envelope { origin, incarnation, request, command } = envelope;
                let header = Header { origin, incarnation, request };
                if let Some(&operation) = self.requests.get(&header)
                    && let Some(former) = self.placed.insert(operation, entry.index())
                {
                    return Err(Violation::new(
                        "a write happens once",
                        format!("{header:?} is at {former} and at {}", entry.index()),
                    ));
                }
                self.model.apply(&command)
            }
        };
        if (state.revision, state.compacted) != (self.model.revision(), self.model.compacted()) {
            return Err(Violation::new(
                "revisions are dense, and change only when the store does",
                format!(
                    "{id} at {}: revision {} compacted {}, expected {} and {}",
                    entry.position,
                    state.revision,
                    state.compacted,
                    self.model.revision(),
                    self.model.compacted()
                ),
            ));
        }
        self.known.push(Known { entry: entry.clone(), expected, state });
        Ok(())
    }
}

fn same_state(id: NodeId, state: &StoreState, known: &StoreState) -> Result<(), Violation> {
    if state == known {
        return Ok(());
    }
    Err(Violation::new(
        "equal positions have equal stores",
        format!("{id} has {state:?}, another node had {known:?}"),
    ))
}
