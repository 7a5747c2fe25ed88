//! What commands do to the model.

use bytes::Bytes;
use consensus::Position;
use kvcore::lease::Checkpoint;
use kvcore::{
    AlarmCommand, Command, Compare, CompareTarget, Condition, Delete, EventKind, KeyValue, Keys,
    LeaseCommand, LeaseId, LeaseTime, Operation, Put, PutLease, PutValue, Revision, Transaction,
};

use super::{Change, Effect, Model, OperationEffect, PutEffect, TransactionEffect};

/// A transaction with the branch that is taken.
struct Taken<'a> {
    succeeded: bool,
    operations: Vec<Step<'a>>,
}

enum Step<'a> {
    Plain(&'a Operation),
    Within(Taken<'a>),
}

impl Model {
    pub(crate) fn apply(&mut self, position: Position, command: &Command) -> Effect {
        let now = Revision(self.revision.0 + 1);
        match command {
            Command::Put { put, conditions } if put.sequential => {
                self.put_sequential(position, put, conditions)
            }
            Command::Put { put, conditions } => {
                let previous = self.get(&put.key, self.revision);
                if let Some(condition) = failing(conditions, previous.as_ref()) {
                    return Effect::ConditionFailed(condition);
                }
                match self.refusal(put) {
                    Some(refusal) => refusal,
                    None => Effect::Put(self.put(position, now, put)),
                }
            }
            Command::Delete { delete, conditions } => {
                let existing = self.selected(&delete.target, self.revision);
                let mut subjects: Vec<_> = existing.iter().map(Some).collect();
                if subjects.is_empty() {
                    subjects.push(None);
                }
                let failed = subjects.into_iter().find_map(|subject| failing(conditions, subject));
                match failed {
                    Some(condition) => Effect::ConditionFailed(condition),
                    None => Effect::Deleted { previous: self.delete(now, delete) },
                }
            }
            Command::Compact { revision } if *revision > self.revision => Effect::RevisionInFuture,
            Command::Compact { revision } if *revision <= self.compacted => {
                Effect::RevisionCompacted
            }
            Command::Compact { revision } => {
                self.compacted = *revision;
                Effect::Compacted
            }
            Command::Transaction(transaction) => self.transact(position, transaction),
            Command::Lease(command) => self.change_lease(position, now, command),
            Command::Alarm(command) => self.change_alarms(command),
            other => panic!("the model does not know {other:?}"),
        }
    }

    fn change_alarms(&mut self, command: &AlarmCommand) -> Effect {
        match *command {
            AlarmCommand::Compare { .. } => Effect::DigestsCompared,
            AlarmCommand::Raise { node, corruption } => {
                self.alarms.entry(node).or_insert(corruption);
                Effect::AlarmRaised
            }
            AlarmCommand::Clear { node } => {
                Effect::AlarmCleared { stood: self.alarms.remove(&node).is_some() }
            }
            ref other => panic!("the model does not know {other:?}"),
        }
    }

    fn put_sequential(
        &mut self,
        position: Position,
        put: &Put,
        conditions: &[Condition],
    ) -> Effect {
        let mut next = self.sequences.get(&put.key).copied().unwrap_or(0);
        let key = loop {
            let key = Bytes::from([&put.key[..], format!("{next:010}").as_bytes()].concat());
            next += 1;
            if self.get(&key, self.revision).is_none() {
                break key;
            }
        };
        if let Some(condition) = failing(conditions, None) {
            return Effect::ConditionFailed(condition);
        }
        let named = Put { key: key.clone(), ..put.clone() };
        if let Some(refusal) = self.refusal(&named) {
            return refusal;
        }
        self.sequences.insert(put.key.clone(), next);
        let effect = self.put(position, Revision(self.revision.0 + 1), &named);
        Effect::Put(PutEffect { key: Some(key), ..effect })
    }

    fn refusal(&self, put: &Put) -> Option<Effect> {
        let keeps = put.value == PutValue::Keep || put.lease == PutLease::Keep;
        if keeps && self.get(&put.key, self.revision).is_none() {
            return Some(Effect::KeyNotFound(put.key.clone()));
        }
        match put.lease {
            PutLease::Attach(lease) if !self.leases.contains_key(&lease) => {
                Some(Effect::LeaseNotFound(lease))
            }
            _ => None,
        }
    }

    /// Stores a value at a revision, the next one or that of the operations before.
    fn put(&mut self, position: Position, now: Revision, put: &Put) -> PutEffect {
        let previous = self.get(&put.key, self.revision);
        let granted = match put.lease {
            PutLease::Grant { ttl_millis } => Some(self.grant(position, ttl_millis)),
            _ => None,
        };
        let value = match &put.value {
            PutValue::New(value) => value.clone(),
            PutValue::Keep => previous.clone().expect("checked before").value,
        };
        let lease = match put.lease {
            PutLease::None => None,
            PutLease::Attach(lease) => Some(lease),
            PutLease::Keep => previous.as_ref().and_then(|previous| previous.lease),
            PutLease::Grant { .. } => granted,
        };
        let create_revision = previous.as_ref().map_or(now, |before| before.create_revision);
        let version = previous.as_ref().map_or(1, |before| before.version + 1);
        let (key, mod_revision) = (put.key.clone(), now);
        let key_value = KeyValue { key, value, create_revision, mod_revision, version, lease };
        self.history.push(Change { key_value, kind: EventKind::Put, time: self.wall });
        self.revision = now;
        let previous = previous.filter(|_| put.return_previous);
        PutEffect { created: version == 1, key: None, granted, previous }
    }

    /// Deletes keys at a revision; what was there.
    fn delete(&mut self, now: Revision, delete: &Delete) -> Vec<KeyValue> {
        let existing = self.selected(&delete.target, self.revision);
        // Of a beginning of which all keys are deleted, whatever may follow, the numbers begin anew.
        let ends = |prefix: &Bytes| {
            let last = Bytes::from([&prefix[..], &[u8::MAX; 16]].concat());
            let is_one = matches!(delete.target, Keys::One(_));
            !is_one && [prefix, &last].iter().all(|key| delete.target.contains(key))
        };
        self.sequences.retain(|prefix, _| !ends(prefix));
        self.bury(now, &existing);
        if delete.return_previous { existing } else { Vec::new() }
    }

    fn bury(&mut self, now: Revision, existing: &[KeyValue]) {
        for before in existing {
            let key_value = KeyValue {
                key: before.key.clone(),
                value: Bytes::new(),
                create_revision: Revision(0),
                mod_revision: now,
                version: 0,
                lease: None,
            };
            self.history.push(Change { key_value, kind: EventKind::Delete, time: self.wall });
            self.revision = now;
        }
    }

    fn transact(&mut self, position: Position, transaction: &Transaction) -> Effect {
        if is_invalid(transaction) {
            return Effect::DuplicateKey;
        }
        let taken = self.take(transaction);
        if let Some(refusal) = self.refusal_of(&taken) {
            return refusal;
        }
        let now = Revision(self.revision.0 + 1);
        Effect::Transaction(self.carry_out(position, now, taken))
    }

    fn take<'a>(&self, transaction: &'a Transaction) -> Taken<'a> {
        let succeeded = transaction.compares.iter().all(|compare| self.compares(compare));
        let branch = if succeeded { &transaction.success } else { &transaction.failure };
        let operations = branch.iter().map(|operation| match operation {
            Operation::Transaction(within) => Step::Within(self.take(within)),
            plain => Step::Plain(plain),
        });
        Taken { succeeded, operations: operations.collect() }
    }

    fn compares(&self, compare: &Compare) -> bool {
        let found = self.selected(&compare.keys, self.revision);
        let holds = |found: Option<&KeyValue>| {
            let number = |number: fn(&KeyValue) -> i64| found.map_or(0, number);
            let order = match &compare.target {
                CompareTarget::Version(given) => number(|it| it.version as i64).cmp(given),
                CompareTarget::CreateRevision(given) => {
                    number(|it| it.create_revision.0 as i64).cmp(given)
                }
                CompareTarget::ModRevision(given) => {
                    number(|it| it.mod_revision.0 as i64).cmp(given)
                }
                CompareTarget::Lease(given) => number(|it| LeaseId::number(it.lease)).cmp(given),
                CompareTarget::Value(given) => match found {
                    Some(found) => found.value.cmp(given),
                    None => return false,
                },
            };
            compare.operator.allows(order)
        };
        if found.is_empty() { holds(None) } else { found.iter().all(|found| holds(Some(found))) }
    }

    fn refusal_of(&self, taken: &Taken<'_>) -> Option<Effect> {
        taken.operations.iter().find_map(|step| match step {
            Step::Plain(Operation::Put(put)) => self.refusal(put),
            Step::Plain(Operation::Read(range)) => match range.at {
                Some(at) if at > self.revision => Some(Effect::RevisionInFuture),
                Some(at) if at < self.compacted => Some(Effect::RevisionCompacted),
                _ => None,
            },
            Step::Plain(_) => None,
            Step::Within(within) => self.refusal_of(within),
        })
    }

    fn carry_out(
        &mut self,
        position: Position,
        now: Revision,
        taken: Taken<'_>,
    ) -> TransactionEffect {
        let results = taken.operations.into_iter().map(|step| match step {
            Step::Plain(Operation::Put(put)) => OperationEffect::Put(self.put(position, now, put)),
            Step::Plain(Operation::Delete(delete)) => {
                OperationEffect::Deleted { previous: self.delete(now, delete) }
            }
            Step::Plain(Operation::Read(range)) => OperationEffect::Read(Some(self.range(range))),
            Step::Plain(other) => panic!("the model does not know {other:?}"),
            Step::Within(within) => {
                OperationEffect::Transaction(self.carry_out(position, now, within))
            }
        });
        TransactionEffect { succeeded: taken.succeeded, results: results.collect() }
    }

    fn grant(&mut self, position: Position, ttl_millis: u64) -> LeaseId {
        let mut numbers = (position.index.0..).map(|number| LeaseId::new(number as i64));
        let lease = numbers.find_map(|lease| lease.filter(|it| !self.leases.contains_key(it)));
        let lease = lease.expect("there are more numbers than leases");
        self.leases.insert(lease, full(position, ttl_millis));
        lease
    }

    fn change_lease(
        &mut self,
        position: Position,
        now: Revision,
        command: &LeaseCommand,
    ) -> Effect {
        match command {
            LeaseCommand::Grant { lease: Some(lease), .. } if self.leases.contains_key(lease) => {
                Effect::LeaseExists(*lease)
            }
            LeaseCommand::Grant { lease: Some(lease), ttl_millis } => {
                self.leases.insert(*lease, full(position, *ttl_millis));
                Effect::Granted(*lease, *ttl_millis)
            }
            LeaseCommand::Grant { lease: None, ttl_millis } => {
                Effect::Granted(self.grant(position, *ttl_millis), *ttl_millis)
            }
            LeaseCommand::Revoke { lease } => self.end(now, *lease),
            LeaseCommand::Renew { lease } => match self.leases.get_mut(lease) {
                None => Effect::LeaseNotFound(*lease),
                Some(time) => {
                    *time = full(position, time.ttl_millis);
                    Effect::Renewed(*lease, time.ttl_millis)
                }
            },
            LeaseCommand::Checkpoint { leases } => {
                for Checkpoint { lease, renewed, remaining_millis } in leases {
                    let time = self.leases.get_mut(lease);
                    if let Some(time) = time.filter(|time| time.renewed == *renewed) {
                        time.remaining_millis = time.remaining_millis.min(*remaining_millis);
                    }
                }
                Effect::LeasesNoted
            }
            LeaseCommand::Expire { lease, renewed, term } => {
                let renewed_then = self.leases.get(lease).map(|time| time.renewed);
                let decided_now = position.term == *term && renewed_then == Some(*renewed);
                if decided_now && self.alarms.is_empty() {
                    self.end(now, *lease)
                } else {
                    Effect::LeasesNoted
                }
            }
            other => panic!("the model does not know {other:?}"),
        }
    }

    fn end(&mut self, now: Revision, lease: LeaseId) -> Effect {
        if self.leases.remove(&lease).is_none() {
            return Effect::LeaseNotFound(lease);
        }
        let keys = self.keys_of(lease);
        self.bury(now, &keys);
        Effect::LeaseEnded { keys: keys.len() as u64 }
    }
}

fn full(position: Position, ttl_millis: u64) -> LeaseTime {
    LeaseTime { ttl_millis, remaining_millis: ttl_millis, renewed: position.index }
}

/// Whether it could write a key twice.
pub(crate) fn is_invalid(transaction: &Transaction) -> bool {
    let branches = [&transaction.success, &transaction.failure];
    branches.iter().any(|branch| writes_twice(branch))
}

/// Whether two operations that may both be carried out change the same key, one of them by storing it. A
/// place is the way to an operation: which one in turn, and in which branch it is.
fn writes_twice(operations: &[Operation]) -> bool {
    let mut leaves = Vec::new();
    collect(operations, &mut Vec::new(), &mut leaves);
    let excludes = |one: &[usize], other: &[usize]| {
        let differs = one.iter().zip(other).position(|(one, other)| one != other);
        // Ways alternate between operations and branches.
        differs.is_some_and(|at| at % 2 == 1)
    };
    leaves.iter().enumerate().any(|(at, (way, one))| {
        leaves[..at].iter().any(|(other_way, other)| {
            let clash = match (one, other) {
                (Operation::Put(one), Operation::Put(other)) => one.key == other.key,
                (Operation::Put(put), Operation::Delete(delete))
                | (Operation::Delete(delete), Operation::Put(put)) => {
                    delete.target.contains(&put.key)
                }
                _ => false,
            };
            clash && !excludes(way, other_way)
        })
    })
}

fn collect<'a>(
    operations: &'a [Operation],
    way: &mut Vec<usize>,
    leaves: &mut Vec<(Vec<usize>, &'a Operation)>,
) {
    for (at, operation) in operations.iter().enumerate() {
        way.push(at);
        if let Operation::Transaction(within) = operation {
            for (branch, operations) in [&within.success, &within.failure].into_iter().enumerate() {
                way.push(branch);
                collect(operations, way, leaves);
                way.pop();
            }
        } else {
            leaves.push((way.clone(), operation));
        }
        way.pop();
    }
}

fn failing(conditions: &[Condition], found: Option<&KeyValue>) -> Option<Condition> {
    let holds = |condition: &&Condition| match condition {
        Condition::Absent => found.is_none(),
        Condition::Version(version) => found.map_or(0, |found| found.version) == *version,
        Condition::ModRevision(revision) => {
            found.map_or(Revision(0), |found| found.mod_revision) == *revision
        }
        Condition::Value(value) => found.is_some_and(|found| found.value == value),
        other => panic!("the model does not know {other:?}"),
    };
    conditions.iter().find(|condition| !holds(condition)).cloned()
}
