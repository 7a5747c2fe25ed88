//! The state machine: what a committed entry costs, and a read of many keys.

use bytes::Bytes;
use consensus::{Entry, Payload, Position, WallTime};
use kvcore::{
    Applied, Command, Compare, CompareOperator, CompareTarget, Keys, Machine, MemoryStore,
    Operation, Outcome, Put, Range, RangeResult, Transaction,
};

use super::{BATCH, KEYS, Path, VALUE_BYTES, in_log, key_name, put};

/// What is put in one transaction.
const TRANSACTION_PUTS: u64 = 32;
/// The keys of a range.
const RANGE_KEYS: usize = 100;
/// After so many entries the machine begins anew: what it applied waits in memory for a store.
const ENTRIES_MAX: u64 = 50_000;

/// A state machine that holds every key, once.
struct Filled {
    machine: Machine<MemoryStore>,
    applied: u64,
}

impl Filled {
    fn new() -> Self {
        let machine = Machine::open(MemoryStore::new()).expect("a new store opens");
        let mut filled = Self { machine, applied: 0 };
        // Not in the order of the keys, as clients write them.
        for number in 0..KEYS {
            let entry = filled.entry(put(number * 7_919 % KEYS));
            filled.machine.apply(&entry).expect("the store in memory does not fail");
        }
        filled
    }

    /// The next entry of the log.
    fn entry(&mut self, command: Bytes) -> Entry {
        self.applied += 1;
        Entry {
            position: Position::new(1, self.applied),
            wall: WallTime(1_795_314_660_000 + self.applied),
            payload: Payload::Command(command),
        }
    }

    /// Begins anew when there was enough.
    fn renew(&mut self) {
        if self.applied > ENTRIES_MAX {
            *self = Self::new();
        }
    }

    fn apply(&mut self, entry: &Entry) -> Applied {
        self.machine.apply(entry).expect("the store in memory does not fail")
    }
}

/// Puts are applied.
pub(crate) struct Puts {
    filled: Filled,
    /// Where in the keys the next batch is.
    place: u64,
}

impl Path for Puts {
    type Work = Vec<Entry>;
    type Done = (Vec<Entry>, Vec<Applied>);

    const ELEMENTS: u64 = BATCH;

    fn prepare() -> Self {
        Self { filled: Filled::new(), place: 0 }
    }

    fn next(&mut self) -> Vec<Entry> {
        self.filled.renew();
        self.place += 1;
        let keys = (0..BATCH).map(|number| (self.place * BATCH + number) * 6_007 % KEYS);
        let commands: Vec<Bytes> = keys.map(put).collect();
        commands.into_iter().map(|command| self.filled.entry(command)).collect()
    }

    fn run(&mut self, work: Vec<Entry>) -> Self::Done {
        let applied = work.iter().map(|entry| self.filled.apply(entry)).collect();
        (work, applied)
    }

    fn check(&mut self, (_, applied): Self::Done) {
        for one in applied {
            let replaced = matches!(one.outcome, Outcome::Put(put) if !put.created);
            assert!(replaced, "a key that exists has another value");
        }
    }
}

/// A transaction is applied.
pub(crate) struct Transactions {
    filled: Filled,
    place: u64,
}

impl Path for Transactions {
    type Work = Entry;
    type Done = (Entry, Applied);

    const ELEMENTS: u64 = TRANSACTION_PUTS;

    fn prepare() -> Self {
        Self { filled: Filled::new(), place: 0 }
    }

    fn next(&mut self) -> Entry {
        self.filled.renew();
        self.place += 1;
        let first = self.place * TRANSACTION_PUTS;
        let exists = |key: u64| Compare {
            keys: Keys::One(key_name(key).into()),
            operator: CompareOperator::Greater,
            target: CompareTarget::Version(0),
        };
        let value = Bytes::from(vec![b't'; VALUE_BYTES]);
        let puts = (first..first + TRANSACTION_PUTS).map(|number| {
            let key = key_name(number * 6_007 % KEYS);
            Operation::Put(Put::new(key.into(), value.clone()))
        });
        let transaction = Transaction {
            compares: vec![exists(first), exists(first + 1)],
            success: puts.collect(),
            failure: Vec::new(),
        };
        self.filled.entry(in_log(Command::Transaction(transaction)))
    }

    fn run(&mut self, work: Entry) -> Self::Done {
        let applied = self.filled.apply(&work);
        (work, applied)
    }

    fn check(&mut self, (_, applied): Self::Done) {
        let Outcome::Transaction(outcome) = applied.outcome else {
            panic!("a transaction is carried out");
        };
        assert!(outcome.succeeded, "the keys exist");
        assert_eq!(outcome.results.len() as u64, TRANSACTION_PUTS, "all is done");
    }
}

/// A range is read.
pub(crate) struct Ranges {
    filled: Filled,
    place: u64,
}

impl Path for Ranges {
    type Work = Range;
    type Done = RangeResult;

    const ELEMENTS: u64 = RANGE_KEYS as u64;

    fn prepare() -> Self {
        Self { filled: Filled::new(), place: 0 }
    }

    fn next(&mut self) -> Range {
        self.place += 1;
        // Keys of one hundred, so that the prefix has so many.
        let prefix = format!("key-{:03}", self.place * 37 % (KEYS / RANGE_KEYS as u64));
        Range::of(Keys::Prefix(prefix.into()))
    }

    fn run(&mut self, work: Range) -> RangeResult {
        let machine = &self.filled.machine;
        let plan = machine.plan_range(&work).expect("now can be read");
        plan.fetch(machine.store()).expect("nothing is removed")
    }

    fn check(&mut self, done: RangeResult) {
        assert_eq!((done.key_values.len(), done.count), (RANGE_KEYS, RANGE_KEYS as u64));
        let bytes: usize = done.key_values.iter().map(|found| found.value.len()).sum();
        assert_eq!(bytes, RANGE_KEYS * VALUE_BYTES, "the values are told");
    }
}
