//! The one sequence of applied entries, and what it makes of the store: everything that any node
//! applies, after any restart, is compared with it.

use std::collections::BTreeMap;

use consensus::{Entry, Index, NodeId, Position, Violation, WallTime, Wire};
use kvcore::store::StoreState;
use kvcore::{
    AlarmCommand, Applied, Command, Envelope, Header, Idempotency, IdempotencyKey,
    IdempotencyLimits, LeaseCommand, Revision,
};

use crate::history::OperationId;
use crate::model::{Expected, Model, Told};

/// What the first node that applied an entry made of it, checked against the model.
#[derive(Clone, Debug)]
struct Known {
    entry: Entry,
    told: Told,
    state: StoreState,
    /// The command and what makes it happen at most once, if anything does.
    asked: Option<(Option<Idempotency>, Command)>,
}

/// An entry with an idempotency key.
pub(crate) struct Keyed<'a> {
    pub(crate) index: Index,
    pub(crate) key: &'a IdempotencyKey,
    /// What its node had applied when it took the write.
    pub(crate) since: Index,
    pub(crate) command: &'a Command,
    pub(crate) told: &'a Told,
    /// The time of the store at the entry.
    pub(crate) wall: WallTime,
    pub(crate) changed_store: bool,
}

/// The reference for all machines.
#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) model: Model,
    /// Where the history begins: before it nothing changed the store.
    beginning: Position,
    known: Vec<Known>,
    /// Who asked for what, by the address in the envelope.
    requests: BTreeMap<Header, OperationId>,
    /// Where each write stands in the log: those with a key may stand there several times.
    placed: BTreeMap<OperationId, Vec<Index>>,
}

impl Oracle {
    pub(crate) fn new(limits: IdempotencyLimits, beginning: Position) -> Self {
        Self {
            model: Model::new(limits),
            beginning,
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
        Index(self.beginning.index.0 + self.known.len() as u64)
    }

    /// Where a write first stands in the log, if any node applied it.
    pub(crate) fn place(&self, operation: OperationId) -> Option<Index> {
        self.placed.get(&operation).map(|copies| copies[0])
    }

    /// Whether a write stands at an index.
    pub(crate) fn is_at(&self, operation: OperationId, index: Index) -> bool {
        self.placed.get(&operation).is_some_and(|copies| copies.contains(&index))
    }

    /// The entries with an idempotency key, in order.
    pub(crate) fn keyed(&self) -> impl Iterator<Item = Keyed<'_>> {
        let mut before = Revision(1);
        self.known.iter().filter_map(move |known| {
            let StoreState { revision, wall, .. } = known.state;
            let changed_store = std::mem::replace(&mut before, revision) != revision;
            let (index, told) = (known.entry.index(), &known.told);
            let (idempotency, command) = known.asked.as_ref()?;
            let Idempotency { key, since } = idempotency.as_ref()?;
            let since = *since;
            Some(Keyed { index, key, since, command, told, wall, changed_store })
        })
    }

    /// All places of each write of a client.
    pub(crate) fn copies(&self) -> impl Iterator<Item = (OperationId, &[Index])> {
        self.placed.iter().map(|(&operation, copies)| (operation, &copies[..]))
    }

    /// The writes of clients, in the order of the log.
    pub(crate) fn placed(&self) -> BTreeMap<Index, OperationId> {
        self.placed.iter().map(|(&operation, copies)| (copies[0], operation)).collect()
    }

    /// The store's revision after an entry.
    pub(crate) fn revision_at(&self, index: Index) -> Revision {
        self.known(index).map_or(Revision(1), |known| known.state.revision)
    }

    /// The oldest revision that could be read after an entry.
    pub(crate) fn compacted_at(&self, index: Index) -> Revision {
        self.known(index).map_or(Revision(0), |known| known.state.compacted)
    }

    /// What is told of the entry at an index.
    pub(crate) fn told_at(&self, index: Index) -> Option<&Told> {
        self.known(index).map(|known| &known.told)
    }

    /// The command of the entry at an index.
    pub(crate) fn command_at(&self, index: Index) -> Option<&Command> {
        self.known(index)?.asked.as_ref().map(|(_, command)| command)
    }

    fn known(&self, index: Index) -> Option<&Known> {
        let offset = index.0.checked_sub(self.beginning.index.0 + 1)?;
        self.known.get(usize::try_from(offset).ok()?)
    }

    /// A node applied an entry. `found` is what the outcome amounts to, and is what its client is told.
    pub(crate) fn applied(
        &mut self,
        id: NodeId,
        entry: &Entry,
        applied: &Applied,
        found: Option<Expected>,
        state: StoreState,
    ) -> Result<Expected, Violation> {
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
        let Applied { revision, repeated, .. } = *applied;
        let told = found.map(|expected| Told { expected, revision, repeated });
        let Some(told) = told.filter(|told| known.told.is_kept_by(told)) else {
            return Err(Violation::new(
                "the machine does what the model does",
                format!("{id} at {}: {applied:?}, expected {:?}", entry.position, known.told),
            ));
        };
        same_state(id, &state, &known.state)?;
        Ok(told.expected)
    }

    /// A node opened its store and found this state.
    pub(crate) fn opened(&self, id: NodeId, state: StoreState) -> Result<(), Violation> {
        match self.known(state.applied.index) {
            Some(known) => same_state(id, &state, &known.state),
            None if [Position::ZERO, self.beginning].contains(&state.applied) => Ok(()),
            None => Err(Violation::new(
                "a store holds only what was applied",
                format!("{id} finds {}, applied is {}", state.applied, self.applied_max()),
            )),
        }
    }

    /// The first to apply an entry: the model follows.
    fn learn(&mut self, id: NodeId, entry: &Entry, state: StoreState) -> Result<(), Violation> {
        let envelope = entry.command().map(|command| Envelope::from_bytes(command.clone()));
        self.model.pass_time(entry.wall);
        let mut asked = None;
        let told = match envelope {
            None => self.model.told(Expected::Nothing),
            Some(Err(_)) => self.model.told(Expected::Undecodable),
            Some(Ok(envelope)) => {
                let Envelope { origin, incarnation, request, idempotency, command } = envelope;
                let header = Header { origin, incarnation, request };
                match self.requests.get(&header) {
                    Some(&operation) => {
                        let copies = self.placed.entry(operation).or_default();
                        copies.push(entry.index());
                        if copies.len() > 1 && idempotency.is_none() {
                            return Err(Violation::new(
                                "a write without an idempotency key is in the log once",
                                format!("{header:?} is at {copies:?}"),
                            ));
                        }
                    }
                    None if is_of_a_leader(&command) => self.check_alarms(id, &command)?,
                    None => {
                        return Err(Violation::new(
                            "what is applied was asked for",
                            format!("{id} at {}: nobody asked for {header:?}", entry.position),
                        ));
                    }
                }
                let told = self.model.apply(entry.position, idempotency.as_ref(), &command);
                asked = Some((idempotency, command));
                told
            }
        };
        if state.wall != self.model.wall() {
            return Err(Violation::new(
                "the time of the store never goes back",
                format!("{id} at {}: {}, {:?}", entry.position, state.wall.0, self.model.wall()),
            ));
        }
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
        self.known.push(Known { entry: entry.clone(), told, state, asked });
        Ok(())
    }

    /// Digests are told as they were. No replica here differs from another without its being noticed at once,
    /// so there is nothing to raise an alarm about.
    fn check_alarms(&self, id: NodeId, command: &Command) -> Result<(), Violation> {
        match command {
            Command::Alarm(AlarmCommand::Compare { index, digest, leader }) => {
                let known = self.known(*index).map(|known| known.state.whole_digest());
                if known.is_none_or(|known| known == *digest) {
                    return Ok(());
                }
                Err(Violation::new(
                    "a leader tells the digest that its state had",
                    format!("{leader} tells {digest:032x} after {index}, it was {known:032x?}"),
                ))
            }
            Command::Alarm(raised) => Err(Violation::new(
                "an alarm is raised only where replicas differ",
                format!("{id} applies {raised:?}"),
            )),
            _ => Ok(()),
        }
    }
}

/// Leaders compact by themselves, speak of the time of leases, and compare digests.
fn is_of_a_leader(command: &Command) -> bool {
    matches!(
        command,
        Command::Compact { .. }
            | Command::Alarm(_)
            | Command::Lease(LeaseCommand::Expire { .. } | LeaseCommand::Checkpoint { .. })
    )
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
