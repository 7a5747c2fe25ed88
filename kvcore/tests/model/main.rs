//! The machine against a naive model: any commands, flushed, crashed and reopened at any points, read
//! and watched in any way.

#[path = "../common/mod.rs"]
mod common;

mod commands;
mod effects;
mod naive;

use std::collections::BTreeMap;

use bytes::Bytes;
use commands::{any_command, keys, range};
use common::*;
use consensus::{Entry, Index, Payload, Position};
use effects::{assert_recalled, effect};
use kvcore::lease::Checkpoint;
use kvcore::{
    Applied, Command, EventLimits, IDEMPOTENCY_WINDOW_MILLIS, Keys, LeaseCommand, Outcome, Range,
    RangePlanner, ReadError, Revision, SortBy, StatPlanner, WatchFilter,
};
use naive::{Effect, Model, PutEffect, is_invalid};
use proptest::prelude::*;
use proptest::sample::select;

#[derive(Clone, Debug)]
enum Step {
    Command(Command),
    /// The leader notes that the first lease has so much time left.
    CheckpointNow(u64),
    /// The leader's word that the time of the first lease is over.
    ExpireNow,
    /// Compacts to so many tenths of the way from what is compacted to the current revision.
    Compact(u64),
    Empty,
    Garbage,
    /// A command under one of a few keys.
    Keyed(u8, Command),
    /// The last command under one of the keys again.
    Again(u8),
    /// So many tenths of the window of idempotency keys go by.
    TimePasses(u64),
    /// The clock of whoever proposes goes back by so much.
    ClockGoesBack(u64),
    Flush {
        behind: u64,
        bytes_max: usize,
    },
    FlushAll,
    Crash,
    Range(Range, u64, usize),
    Watch(WatchFilter, u64, EventLimits),
}

fn step() -> impl Strategy<Value = Step> {
    let filter = (keys(), any::<bool>(), any::<bool>(), any::<bool>())
        .prop_map(|(keys, puts, deletes, previous)| WatchFilter { keys, puts, deletes, previous });
    let limits =
        (1..20usize, 1..10usize, 1..200usize).prop_map(|(revisions_max, events_max, bytes_max)| {
            EventLimits { revisions_max, events_max, bytes_max }
        });
    let keyed = (0..4u8, any_command()).prop_map(|(key, command)| Step::Keyed(key, command));
    prop_oneof![
        20 => any_command().prop_map(Step::Command),
        1 => (0..9u64).prop_map(Step::CheckpointNow),
        1 => Just(Step::ExpireNow),
        4 => keyed,
        4 => (0..4u8).prop_map(Step::Again),
        2 => (1..12u64).prop_map(Step::TimePasses),
        2 => (1..200u64).prop_map(Step::ClockGoesBack),
        2 => (0..12u64).prop_map(Step::Compact),
        1 => Just(Step::Empty),
        1 => Just(Step::Garbage),
        4 => (0..4u64, 1..1000usize)
            .prop_map(|(behind, bytes_max)| Step::Flush { behind, bytes_max }),
        1 => Just(Step::FlushAll),
        2 => Just(Step::Crash),
        4 => (range(), 0..13u64, 1..5usize)
            .prop_map(|(range, at, keys_max)| Step::Range(range, at, keys_max)),
        4 => (filter, 0..13u64, limits)
            .prop_map(|(filter, from, limits)| Step::Watch(filter, from, limits)),
    ]
}

/// A machine, one that is never flushed, and the model, all after the same log.
struct World {
    machine: TestMachine,
    unflushed: TestMachine,
    model: Model,
    log: Vec<Entry>,
    cache_bytes: usize,
    /// How far the time of the entries is ahead of their indexes.
    ahead_millis: u64,
    /// The last command under each key.
    asked: BTreeMap<String, Command>,
}

impl World {
    fn new(cache_bytes: usize) -> Self {
        Self {
            machine: machine_with_cache(cache_bytes),
            unflushed: machine(),
            model: Model::new(),
            log: Vec::new(),
            cache_bytes,
            ahead_millis: 0,
            asked: BTreeMap::new(),
        }
    }

    /// A revision by tenths from the compacted to the current one; beyond it for 11 and 12.
    fn revision(&self, tenths: u64) -> Revision {
        let (low, high) = (self.model.compacted.0, self.model.revision.0);
        Revision(low + (high - low) * tenths.min(10) / 10 + tenths.saturating_sub(10))
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Command(command) => self.command(command),
            Step::Compact(tenths) => {
                let revision = self.revision(tenths);
                self.command(Command::Compact { revision });
            }
            Step::CheckpointNow(remaining_millis) => {
                if let Some((&lease, time)) = self.model.leases.first_key_value() {
                    let renewed = time.renewed;
                    let leases = vec![Checkpoint { lease, renewed, remaining_millis }];
                    self.command(Command::Lease(LeaseCommand::Checkpoint { leases }));
                }
            }
            Step::ExpireNow => {
                if let Some((&lease, time)) = self.model.leases.first_key_value() {
                    let (renewed, term) = (time.renewed, self.next_position().term);
                    self.command(Command::Lease(LeaseCommand::Expire { lease, renewed, term }));
                }
            }
            Step::Keyed(key, command) => self.keyed(&format!("name-{key}"), command),
            Step::Again(key) => {
                let key = format!("name-{key}");
                if let Some(command) = self.asked.get(&key).cloned() {
                    self.keyed(&key, command);
                }
            }
            Step::TimePasses(tenths) => {
                self.ahead_millis += tenths * IDEMPOTENCY_WINDOW_MILLIS / 10;
            }
            Step::ClockGoesBack(millis) => {
                self.ahead_millis = self.ahead_millis.saturating_sub(millis);
            }
            Step::Empty => drop(self.entry(Payload::Empty)),
            Step::Garbage => {
                let outcome = self.entry(Payload::Command(Bytes::from_static(b"\x01garbage")));
                assert!(matches!(outcome, Outcome::Undecodable(_)));
            }
            Step::Flush { behind, bytes_max } => {
                let durable = Index(self.machine.applied().index.0.saturating_sub(behind));
                flush_once(&mut self.machine, durable, bytes_max);
                assert!(self.machine.flushed_state().applied.index <= self.machine.applied().index);
            }
            Step::FlushAll => {
                flush(&mut self.machine);
                assert_eq!(self.machine.flushed_state(), self.machine.state());
                let needed = self.model.rows_needed();
                assert_eq!(self.machine.statistics().versions, needed, "the index is pruned");
                assert_eq!(self.machine.store().row_count(), needed, "the store is pruned");
                let remembered = self.machine.store().remembered_count();
                assert_eq!(remembered, self.machine.statistics().idempotency_keys);
            }
            Step::Crash => self.crash(),
            Step::Range(range, at, keys_max) => self.range(range, at, keys_max),
            Step::Watch(filter, from, limits) => self.watch(&filter, from, limits),
        }
        self.check();
    }

    fn next_position(&self) -> Position {
        let index = self.log.len() as u64 + 1;
        Position::new(1 + index / 10, index)
    }

    fn entry(&mut self, payload: Payload) -> Outcome {
        self.applied(payload).outcome
    }

    fn applied(&mut self, payload: Payload) -> Applied {
        let mut entry = entry_at(self.next_position(), payload);
        entry.wall.0 += self.ahead_millis;
        self.model.wall = self.model.wall.max(entry.wall);
        let applied = self.machine.apply(&entry).expect("the store does not fail");
        let other = self.unflushed.apply(&entry).expect("the store does not fail");
        assert_eq!(applied.revision, other.revision);
        assert_eq!((applied.header, applied.repeated), (other.header, other.repeated));
        assert_eq!(
            effect(&self.machine, applied.outcome.clone()),
            effect(&self.unflushed, other.outcome)
        );
        self.log.push(entry);
        applied
    }

    /// A command under a key: done if the key is not remembered, told again if the command is the same.
    fn keyed(&mut self, key: &str, command: Command) {
        self.asked.insert(key.to_owned(), command.clone());
        let since = self.machine.applied().index;
        let applied = self.applied(payload_with_key(command.clone(), Some((key, since))));
        let now = self.machine.state().wall;
        let Some(done) = self.model.done(key, now).cloned() else {
            let expected = self.model.apply_first(key, (applied.position, &command), now);
            assert!(!applied.repeated);
            assert_eq!(applied.revision, self.model.revision);
            assert_eq!(effect(&self.machine, applied.outcome), Some(expected), "{command:?}");
            return;
        };
        if matches!(&command, Command::Transaction(transaction) if is_invalid(transaction)) {
            // That is so whatever else is.
            assert_eq!(effect(&self.machine, applied.outcome), Some(Effect::DuplicateKey));
            return;
        }
        if done.command != command {
            assert_eq!((applied.outcome, applied.repeated), (Outcome::IdempotencyConflict, false));
            return;
        }
        assert!(applied.repeated);
        assert_eq!(applied.revision, done.revision);
        let before_is_gone = done.revision.0 <= self.model.compacted.0;
        match (effect(&self.machine, applied.outcome), done.effect) {
            (Some(Effect::Put(again)), Effect::Put(first)) if before_is_gone => {
                assert_eq!(again, PutEffect { previous: None, ..first });
            }
            (Some(Effect::Deleted { previous }), Effect::Deleted { .. }) if before_is_gone => {
                assert_eq!(previous, Vec::new());
            }
            (Some(Effect::Transaction(again)), Effect::Transaction(first)) => {
                assert_recalled(&again, &first, before_is_gone, self.model.compacted);
            }
            (again, first) => assert_eq!(again, Some(first)),
        }
    }

    fn command(&mut self, command: Command) {
        let position = self.next_position();
        let outcome = self.entry(payload(command.clone()));
        let expected = self.model.apply(position, &command);
        assert_eq!(effect(&self.machine, outcome), Some(expected), "{command:?}");
    }

    /// The machine is lost with everything that was not flushed, and the log is replayed.
    fn crash(&mut self) {
        let flushed = self.machine.flushed_state();
        let mut again = reopen(&self.machine, self.cache_bytes);
        assert_eq!(again.applied(), flushed.applied);
        assert!(flushed.applied == Position::ZERO || again.state() == flushed);
        for entry in &self.log[flushed.applied.index.0 as usize..] {
            again.apply(entry).expect("the store does not fail");
        }
        assert_eq!(again.state(), self.machine.state(), "replay gives the identical state");
        self.machine = again;
    }

    fn range(&self, range: Range, at: u64, keys_max: usize) {
        let at = (at > 0).then(|| self.revision(at));
        let range = Range { at, ..range };
        if let Some(requested) = at.filter(|at| *at > self.model.revision) {
            let current = self.model.revision;
            let future = Err(ReadError::Future { requested, current });
            assert_eq!(self.machine.range(&range), future);
            return;
        }
        let expected = self.model.range(&range);
        assert_eq!(self.machine.range(&range).as_ref(), Ok(&expected), "{range:?}");
        assert_eq!(self.unflushed.range(&range).as_ref(), Ok(&expected), "{range:?}");
        let mut planner = RangePlanner::new(range.clone());
        while !planner.is_done() {
            self.machine.plan_range_step(&mut planner, keys_max).expect("readable");
        }
        let found = planner.finish().fetch(self.machine.store());
        assert_eq!(found.as_ref(), Ok(&expected), "in steps: {range:?}");
        let count = Some(expected.count).filter(|_| range.sort == SortBy::Key);
        let range = Range { count, ..range };
        let mut planner = RangePlanner::new(range.clone());
        while !planner.is_done() {
            self.machine.plan_range_step(&mut planner, keys_max).expect("readable");
            planner.fetch_unsorted(self.machine.store(), usize::MAX).expect("nothing vanishes");
        }
        let found = planner.finish().fetch(self.machine.store());
        assert_eq!(found.as_ref(), Ok(&expected), "fetched and counted on the way: {range:?}");
    }

    fn watch(&self, filter: &WatchFilter, from: u64, limits: EventLimits) {
        let from = self.revision(from);
        let expected = self.model.events(filter, from);
        for machine in [&self.machine, &self.unflushed] {
            let mut found = Vec::new();
            let mut next = from;
            while next <= machine.revision() {
                let plan = machine.events(filter, next, limits).expect("not compacted");
                let events = plan.fetch(machine.store()).expect("nothing happens meanwhile");
                assert!(events.next > next, "each pull makes progress");
                assert!(events.revisions.iter().all(|it| it.revision < events.next));
                found.extend(events.revisions);
                next = events.next;
            }
            assert_eq!(found, expected, "{filter:?} from {from}");
        }
    }

    /// What ZooKeeper's clients are told of a key, planned in one go and a key at a time.
    fn check_stat(&self, key: &Bytes) {
        let expected = self.model.stat(key);
        for machine in [&self.machine, &self.unflushed] {
            assert_eq!(machine.stat(key), Ok(expected), "{key:?}");
            let mut planner = StatPlanner::new(key.clone());
            while !planner.is_done() {
                machine.plan_stat_step(&mut planner, 1).expect("it is not compacted");
            }
            let (at, plan) = planner.finish();
            let stat = plan.expect("it exists").fetch(machine.store()).expect("nothing vanishes");
            assert_eq!((at, Some(stat)), (machine.revision(), expected), "in steps: {key:?}");
        }
    }

    fn check(&self) {
        let (state, model) = (self.machine.state(), &self.model);
        assert_eq!(state, self.unflushed.state(), "what is flushed when makes no difference");
        assert_eq!((state.revision, state.compacted), (model.revision, model.compacted));
        let remembered = self.machine.statistics().idempotency_keys;
        assert_eq!(remembered, model.keys_remembered(state.wall));
        assert_eq!(state.digest, model.digest(), "the running digest is that of the rows");
        for machine in [&self.machine, &self.unflushed] {
            let leases: BTreeMap<_, _> = machine.leases(None, usize::MAX).into_iter().collect();
            assert_eq!(leases, model.leases);
            assert_eq!(*machine.alarms(), model.alarms);
            for &lease in leases.keys() {
                let keys = model.keys_of(lease).into_iter().map(|key_value| key_value.key);
                assert_eq!(machine.lease_keys(lease), keys.collect::<Vec<_>>());
            }
        }
        assert_eq!(self.unflushed.state_at(state.applied.index), Some(state));
        for index in 0..=state.applied.index.0 {
            if let Some(earlier) = self.machine.state_at(consensus::Index(index)) {
                assert_eq!(self.unflushed.state_at(consensus::Index(index)), Some(earlier));
            }
        }
        if let Some(before) = model.compacted.0.checked_sub(1) {
            let (requested, compacted) = (Revision(before), model.compacted);
            let refused = Err(ReadError::Compacted { requested, compacted });
            assert_eq!(self.machine.get(b"a", Some(requested)), refused);
        }
        let oldest = all(&self.machine, Some(model.compacted));
        let expected = Range { at: Some(model.compacted), ..Range::of(Keys::all()) };
        assert_eq!(oldest, model.range(&expected).key_values);
        for key_value in all(&self.machine, None) {
            let found = self.machine.get(&key_value.key, None).expect("readable");
            assert_eq!(found, model.get(&key_value.key, model.revision));
            self.check_stat(&key_value.key);
        }
        assert_eq!(self.machine.stat(b"nowhere"), Ok(None));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_is_the_model_whatever_is_flushed_and_lost_when(
        cache_bytes in select(vec![0, 300, 1 << 20]),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(cache_bytes);
        for step in steps {
            world.step(step);
        }
        world.step(Step::FlushAll);
        world.step(Step::Crash);
    }

    #[test]
    fn bytes_of_any_kind_in_the_log_have_one_outcome(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        header in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if header && !bytes.is_empty() {
            bytes[0] = kvcore::Envelope::FORMAT;
        }
        let (mut one, mut other) = (machine(), machine());
        let entry = entry_at(Position::new(1, 1), Payload::Command(bytes.into()));
        let applied = one.apply(&entry).expect("the store does not fail");
        prop_assert_eq!(applied, other.apply(&entry).expect("the store does not fail"));
        prop_assert_eq!(one.state(), other.state());
    }
}
