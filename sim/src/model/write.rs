//! What commands do to the model.

use bytes::Bytes;
use consensus::Position;
use kvcore::lease::Checkpoint;
use kvcore::{
    AlarmCommand, Command, Condition, Delete, Keys, LeaseCommand, LeaseId, LeaseTime, Put,
    PutLease, PutValue, Revision,
};

use super::{Expected, Model, Version, stat};
use crate::tenancies::LeaseEvent;

impl Model {
    pub(super) fn carry_out(&mut self, position: Position, command: &Command) -> Expected {
        let now = Revision(self.revision.0 + 1);
        match command {
            Command::Put { put, .. } if put.sequential => self.put_sequential(position, now, put),
            Command::Put { put, conditions } => {
                let before = self.at(&put.key, self.revision);
                if !conditions.iter().all(|condition| holds(condition, before)) {
                    return Expected::ConditionFailed;
                }
                if let Some(refusal) = self.refuses(put) {
                    return refusal;
                }
                let (created, granted) = self.put(position, now, put);
                Expected::Put { created, key: None, granted }
            }
            Command::Delete { delete, conditions } => {
                let existing =
                    self.range(&delete.target, self.revision).map(|(_, version)| version);
                let mut existing: Vec<Option<&Version>> = existing.map(Some).collect();
                if existing.is_empty() {
                    existing.push(None);
                }
                let allows = |version: &Option<&Version>| {
                    conditions.iter().all(|condition| holds(condition, *version))
                };
                if !existing.iter().all(allows) {
                    return Expected::ConditionFailed;
                }
                Expected::Deleted { count: self.delete(now, delete) }
            }
            Command::Compact { revision } if *revision > self.revision => {
                Expected::RevisionInFuture
            }
            Command::Compact { revision } if *revision <= self.compacted => {
                Expected::RevisionCompacted
            }
            Command::Compact { revision } => {
                self.compacted = *revision;
                Expected::Compacted
            }
            Command::Transaction(_) if self.is_invalid(command) => Expected::DuplicateKey,
            Command::Transaction(transaction) => self.transact(position, transaction),
            Command::Lease(command) => self.change_lease(position, now, command),
            Command::Alarm(AlarmCommand::Compare { .. }) => Expected::DigestsCompared,
            Command::Alarm(AlarmCommand::Raise { node, .. }) => {
                self.alarms.insert(*node);
                Expected::AlarmRaised
            }
            Command::Alarm(AlarmCommand::Clear { node }) => {
                Expected::AlarmCleared { stood: self.alarms.remove(node) }
            }
            _ => Expected::Undecodable,
        }
    }

    /// Stores a value under the next number that is free. Clients give no conditions.
    fn put_sequential(&mut self, position: Position, now: Revision, put: &Put) -> Expected {
        let first = self.sequences.get(&put.key).copied().unwrap_or(0);
        let named = |number| {
            let number = format!("{number:010}");
            Bytes::from([&put.key[..], number.as_bytes()].concat())
        };
        let mut numbers = (first..).map(|number| (number, named(number)));
        let free = numbers.find(|(_, key)| self.at(key, self.revision).is_none());
        let (number, key) = free.expect("there are more numbers than keys");
        let put = Put { key: key.clone(), ..put.clone() };
        if let Some(refusal) = self.refuses(&put) {
            return refusal;
        }
        let prefix = key.slice(..key.len() - 10);
        self.sequences.insert(prefix, number + 1);
        let (created, granted) = self.put(position, now, &put);
        Expected::Put { created, key: Some(key), granted }
    }

    /// Why a put can not be carried out.
    pub(super) fn refuses(&self, put: &Put) -> Option<Expected> {
        let keeps = put.value == PutValue::Keep || put.lease == PutLease::Keep;
        if keeps && self.at(&put.key, self.revision).is_none() {
            return Some(Expected::KeyNotFound);
        }
        match put.lease {
            PutLease::Attach(lease) if !self.leases.contains_key(&lease) => {
                Some(Expected::LeaseNotFound)
            }
            _ => None,
        }
    }

    /// Stores a value at a revision. Returns whether the key is new, and the lease granted with it.
    pub(super) fn put(
        &mut self,
        position: Position,
        now: Revision,
        put: &Put,
    ) -> (bool, Option<LeaseId>) {
        let before = self.at(&put.key, self.revision).cloned();
        let (value, lease) = match &before {
            Some(before) => (before.value.clone(), before.lease),
            None => (None, None),
        };
        let value = match &put.value {
            PutValue::New(value) => Some(value.clone()),
            PutValue::Keep => value,
        };
        let (lease, granted) = match put.lease {
            PutLease::None => (None, None),
            PutLease::Attach(lease) => (Some(lease), None),
            PutLease::Keep => (lease, None),
            PutLease::Grant { ttl_millis } => {
                let lease = self.grant(position, ttl_millis);
                (Some(lease), Some(lease))
            }
        };
        let (create_revision, version) =
            before.as_ref().map_or((now, 1), |before| (before.create_revision, before.version + 1));
        self.write(
            now,
            &put.key,
            Version { revision: now, value, create_revision, version, lease, time: self.wall },
        );
        (before.is_none(), granted)
    }

    /// Deletes keys at a revision; how many.
    pub(super) fn delete(&mut self, now: Revision, delete: &Delete) -> u64 {
        let keys = self.range(&delete.target, self.revision).map(|(key, _)| key.clone());
        let keys: Vec<Bytes> = keys.collect();
        self.sequences.retain(|prefix, _| !is_of_all(&delete.target, prefix));
        self.bury(now, &keys)
    }

    fn bury(&mut self, now: Revision, keys: &[Bytes]) -> u64 {
        for key in keys {
            let (value, create_revision, lease) = (None, Revision(0), None);
            let (version, time) = (0, self.wall);
            let gone = Version { revision: now, value, create_revision, version, lease, time };
            self.write(now, key, gone);
        }
        keys.len() as u64
    }

    /// Notes a change of the next revision, or of the one under way.
    fn write(&mut self, now: Revision, key: &Bytes, version: Version) {
        if self.revision < now {
            self.revision = now;
            self.changes.push(Vec::new());
        }
        let changes = self.changes.last_mut().expect("the revision was begun");
        changes.push(key.clone());
        let is_new_or_gone = version.version <= 1;
        if let Some(parent) = stat::parent(key).filter(|_| is_new_or_gone) {
            let place = changes.len() - 1;
            self.changes_of_children.entry(parent).or_default().push((now, place));
        }
        self.keys.entry(key.clone()).or_default().push(version);
    }

    fn grant(&mut self, position: Position, ttl_millis: u64) -> LeaseId {
        let numbers = (position.index.0..).map(|number| LeaseId::new(number.cast_signed()));
        let mut free = numbers.flatten().filter(|lease| !self.leases.contains_key(lease));
        let lease = free.next().expect("there are more numbers than leases");
        self.insert(lease, position, ttl_millis);
        lease
    }

    fn insert(&mut self, lease: LeaseId, position: Position, ttl_millis: u64) {
        self.leases.insert(lease, full(position, ttl_millis));
        self.lease_events.push(LeaseEvent::Granted(lease));
    }

    fn change_lease(
        &mut self,
        position: Position,
        now: Revision,
        command: &LeaseCommand,
    ) -> Expected {
        match command {
            LeaseCommand::Grant { lease: Some(lease), .. } if self.leases.contains_key(lease) => {
                Expected::LeaseExists
            }
            LeaseCommand::Grant { lease: Some(lease), ttl_millis } => {
                let (lease, ttl_millis) = (*lease, *ttl_millis);
                self.insert(lease, position, ttl_millis);
                Expected::Granted { lease, ttl_millis }
            }
            LeaseCommand::Grant { lease: None, ttl_millis } => {
                let (lease, ttl_millis) = (self.grant(position, *ttl_millis), *ttl_millis);
                Expected::Granted { lease, ttl_millis }
            }
            LeaseCommand::Revoke { lease } => self.end(now, LeaseEvent::Revoked(*lease)),
            LeaseCommand::Renew { lease } => match self.leases.get_mut(lease) {
                None => Expected::LeaseNotFound,
                Some(time) => {
                    let ttl_millis = time.ttl_millis;
                    *time = full(position, ttl_millis);
                    Expected::Renewed { lease: *lease, ttl_millis }
                }
            },
            LeaseCommand::Checkpoint { leases } => {
                for Checkpoint { lease, renewed, remaining_millis } in leases {
                    if let Some(time) = self.leases.get_mut(lease)
                        && time.renewed == *renewed
                    {
                        time.remaining_millis = time.remaining_millis.min(*remaining_millis);
                    }
                }
                Expected::LeasesNoted
            }
            LeaseCommand::Expire { lease, renewed, term } => {
                let is_valid = position.term == *term
                    && self.alarms.is_empty()
                    && self.leases.get(lease).is_some_and(|time| time.renewed == *renewed);
                if !is_valid {
                    return Expected::LeasesNoted;
                }
                self.end(now, LeaseEvent::Expired(*lease))
            }
            _ => Expected::Undecodable,
        }
    }

    fn end(&mut self, now: Revision, event: LeaseEvent) -> Expected {
        let (LeaseEvent::Granted(lease) | LeaseEvent::Revoked(lease) | LeaseEvent::Expired(lease)) =
            event;
        if self.leases.remove(&lease).is_none() {
            return Expected::LeaseNotFound;
        }
        self.lease_events.push(event);
        let all = Keys::all();
        let keys = self.range(&all, self.revision);
        let keys = keys.filter(|(_, version)| version.lease == Some(lease));
        let keys: Vec<Bytes> = keys.map(|(key, _)| key.clone()).collect();
        Expected::LeaseEnded { lease, keys: self.bury(now, &keys) }
    }
}

fn full(position: Position, ttl_millis: u64) -> LeaseTime {
    LeaseTime { ttl_millis, remaining_millis: ttl_millis, renewed: position.index }
}

fn holds(condition: &Condition, before: Option<&Version>) -> bool {
    match condition {
        Condition::Absent => before.is_none(),
        Condition::Version(version) => before.map_or(0, |before| before.version) == *version,
        Condition::ModRevision(revision) => {
            before.map_or(Revision(0), |before| before.revision) == *revision
        }
        Condition::Value(value) => {
            before.is_some_and(|before| before.value.as_ref() == Some(value))
        }
        _ => false,
    }
}

/// Whether every key that begins so is among these.
fn is_of_all(keys: &Keys, prefix: &Bytes) -> bool {
    let last = [&prefix[..], &[u8::MAX; 16]].concat();
    !matches!(keys, Keys::One(_)) && keys.contains(prefix) && keys.contains(&last)
}
