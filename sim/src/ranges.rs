//! Nodes that answer reads, as the server does: what is in memory and little at once, the rest in steps. Each
//! step plans a few keys, and the rows are fetched from the store later, when anything may have been
//! applied, flushed and compacted meanwhile; what has vanished by then is read anew.

use std::time::Duration;

use consensus::{Consensus, Index, Mutant, Random, mutant};
use kvcore::{
    Compacted, FetchError, Keys, Machine, Range, RangePlanner, ReadError, RequestId, Revision,
};

use crate::agenda::{Happening, Life};
use crate::cluster::Cluster;
use crate::history::{Action, Consistency, Found, OperationId, OperationResult, Query, Reading};
use crate::store::SimulatedStore;

/// A range that is read in steps.
pub(crate) struct RangeRead {
    operation: OperationId,
    query: Query,
    planner: RangePlanner,
    /// Where its rows are fetched: a snapshot that is installed meanwhile brings another one.
    store: SimulatedStore,
    /// Where the log was at the step that counts for the answer, once there was one.
    place: Option<(Index, Revision)>,
}

/// What came of a step.
enum Stepped {
    /// There is more to do.
    Further,
    /// What was planned was compacted before it was fetched, and is planned anew.
    Vanished,
    Found(Found),
}

impl RangeRead {
    fn new(operation: OperationId, query: Query, machine: &Machine<SimulatedStore>) -> Self {
        let planner = RangePlanner::new(query.range.clone());
        let store = machine.store().clone();
        Self { operation, query, planner, store, place: None }
    }

    /// Plans a few keys more, or fetches what was planned.
    fn step(&mut self, machine: &Machine<SimulatedStore>, keys_max: usize) -> Stepped {
        if self.planner.is_done() {
            return self.fetch(machine);
        }
        let here = (machine.applied().index, machine.revision());
        match machine.plan_range_step(&mut self.planner, keys_max) {
            Ok(()) => {}
            // What was current at the first step was compacted before this one.
            Err(ReadError::Compacted { .. }) if self.query.range.at.is_none() => {
                return self.begin_anew(machine);
            }
            Err(error) => {
                self.place = Some(here);
                return Stepped::Found(told(error));
            }
        }
        // What is read as it is now is so as of the first step.
        if self.place.is_none() || self.query.range.at.is_some() {
            self.place = Some(here);
        }
        match self.planner.fetch_unsorted(&self.store, usize::MAX) {
            Ok(()) => Stepped::Further,
            Err(error) => self.miss(machine, &error),
        }
    }

    fn fetch(&mut self, machine: &Machine<SimulatedStore>) -> Stepped {
        let plan = self.planner.clone().finish();
        let bytes_max = self.query.bytes_max.unwrap_or(usize::MAX);
        match plan.fetch_within(&self.store, bytes_max) {
            Ok(result) => Stepped::Found(Found::Keys(result)),
            Err(error) => self.miss(machine, &error),
        }
    }

    fn miss(&mut self, machine: &Machine<SimulatedStore>, error: &FetchError) -> Stepped {
        match error {
            FetchError::Vanished(_) if mutant::on(Mutant::VanishedIsCompacted) => {
                let (_, requested) = self.place.expect("a step planned it");
                let compacted = machine.compacted();
                Stepped::Found(Found::Compacted(Compacted { requested, compacted }))
            }
            FetchError::Vanished(_) => self.begin_anew(machine),
            FetchError::Store(error) => panic!("the store works: {error}"),
        }
    }

    fn begin_anew(&mut self, machine: &Machine<SimulatedStore>) -> Stepped {
        *self = Self::new(self.operation, self.query.clone(), machine);
        Stepped::Vanished
    }
}

/// What a client is told that can not be read what it asked for.
fn told(error: ReadError) -> Found {
    match error {
        ReadError::Compacted { requested, compacted } => {
            Found::Compacted(Compacted { requested, compacted })
        }
        ReadError::Future { .. } => Found::Future,
        ReadError::Store(error) => panic!("the store works: {error}"),
    }
}

/// Reads a query at once.
fn read_now(machine: &Machine<SimulatedStore>, query: &Query) -> Found {
    let bytes_max = query.bytes_max.unwrap_or(usize::MAX);
    let planned = machine.plan_range(&query.range);
    let read = planned.and_then(|plan| Ok(plan.fetch_within(machine.store(), bytes_max)?));
    read.map_or_else(told, Found::Keys)
}

impl<C: Consensus> Cluster<C> {
    /// A request handler reads from the state machine.
    pub(crate) fn serve(&mut self, life: Life, request: RequestId) {
        let Some(process) = self.process(life) else { return };
        let Some(&operation) = process.requests.get(&request) else { return };
        let Action::Read(query, consistency) = &self.history.get(operation).action else {
            panic!("only reads are served");
        };
        let goes_back = mutant::on(Mutant::LocalReadGoesBack)
            && *consistency == Consistency::Local
            && query.range.at.is_none();
        let query = query.clone();
        let is_slow = !matches!(query.range.keys, Keys::One(_)) && self.random.one_in(3);
        let process = self.process(life).expect("looked up just now");
        let machine = &process.machine;
        let stored = machine.flushed_state();
        if goes_back && stored.revision > machine.compacted() {
            let range = Range { at: Some(stored.revision), ..query.range };
            let found = read_now(machine, &Query { range, ..query });
            return self.found(life, request, (stored.applied.index, stored.revision), found);
        }
        if is_slow {
            process.reads.insert(request, RangeRead::new(operation, query, machine));
            return self.read_on(life, request);
        }
        let (place, found) =
            ((machine.applied().index, machine.revision()), read_now(machine, &query));
        self.found(life, request, place, found);
    }

    /// A request handler goes on with a range.
    pub(crate) fn read_on(&mut self, life: Life, request: RequestId) {
        let keys_max = steps(&mut self.random);
        let Some(process) = self.process(life) else { return };
        let read = process.reads.get_mut(&request).expect("it goes on until it is answered");
        let (stepped, place) = (read.step(&process.machine, keys_max), read.place);
        match stepped {
            Stepped::Found(found) => {
                process.reads.remove(&request);
                let place = place.expect("there was a step");
                self.counters.reads_in_steps += 1;
                return self.found(life, request, place, found);
            }
            Stepped::Vanished => self.counters.reads_vanished += 1,
            Stepped::Further => {}
        }
        let delay = self.pause_of_reader();
        self.agenda.after(delay, Happening::ReadOn { life, request });
    }

    /// How long it takes until a handler gets on, which is not long once everything is repaired.
    fn pause_of_reader(&mut self) -> Duration {
        let delay = self.surroundings.fetch_delay.draw(&mut self.random);
        let is_long = !self.healed && self.random.one_in(6);
        if is_long { delay * 20 } else { delay }
    }

    /// A read is answered.
    fn found(
        &mut self,
        life: Life,
        request: RequestId,
        (applied, revision): (Index, Revision),
        found: Found,
    ) {
        let process = self.process(life).expect("a process reads");
        let operation = process.requests.remove(&request).expect("it was not answered before");
        if let Action::Read(query, _) = &self.history.get(operation).action
            && query.is_next_page()
        {
            self.counters.pages += 1;
            self.counters.pages_compacted += u64::from(matches!(found, Found::Compacted(_)));
        }
        self.counters.reads += 1;
        self.counters.observer_reads += u64::from(self.nodes[&life.node].observes);
        let reading = Reading { applied, revision, found };
        self.reply(operation, OperationResult::Read(reading));
    }
}

/// How many keys a step looks at.
fn steps(random: &mut Random) -> usize {
    1 + usize::try_from(random.below(5)).expect("5")
}
