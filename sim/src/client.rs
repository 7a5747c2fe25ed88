//! A client: what it knows, what it asks for next, and what it learns from answers.

use std::collections::VecDeque;

use bytes::Bytes;
use consensus::{NodeId, Random, Time};
use kvcore::replica::Failure;
use kvcore::{Command, Condition, Delete, IdempotencyKey, Keys, Put, Revision};

use crate::full_store;
use crate::history::{self, Action, Consistency, Found, OperationId, OperationResult, Query};
use crate::lockers::{self, Locker};
use crate::model::Expected;
use crate::reader::Reader;
use crate::tenant::Tenant;

/// The number of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientId(pub(crate) usize);

/// The client that is loyal.
const LOYAL: usize = 3;
/// How many old writes with an idempotency key a client knows.
const OLD_MAX: usize = 12;
/// How many different keys there are.
pub(crate) const KEYS: u64 = 9;

/// A client.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    id: ClientId,
    pub(crate) random: Random,
    pub(crate) node: NodeId,
    /// It keeps to the node that it took for the leader, whatever comes of that, and mostly reads: so
    /// somebody asks a leader that was deposed and does not know it.
    pub(crate) is_loyal: bool,
    pub(crate) busy: Option<OperationId>,
    /// When its patience with what it asked for last ends.
    pub(crate) gives_up_at: Time,
    /// When it looks whether its patience has ended.
    pub(crate) looks_at: Option<Time>,
    values: u64,
    /// What it last saw of some key: to make conditions that may hold.
    seen: Option<(Bytes, Revision, u64, Bytes)>,
    /// The last revision that it heard of.
    pub(crate) revision: Revision,
    /// Idempotency keys that it made up.
    keys: u64,
    /// A write that it sends again: its answer was lost, or, if it has a key, it wants to hear it once more.
    again: Option<(Command, Option<IdempotencyKey>)>,
    /// Writes with a key that are long over. Now and then one is sent once more, by when it may be
    /// forgotten.
    old: VecDeque<(Command, IdempotencyKey)>,
    pub(crate) tenant: Tenant,
    pub(crate) locker: Locker,
    pub(crate) reader: Reader,
}

impl Client {
    pub(crate) fn new(id: ClientId, random: &mut Random) -> Self {
        Self {
            id,
            random: Random::new(random.next_u64()),
            node: NodeId(1),
            is_loyal: id.0 == LOYAL,
            busy: None,
            gives_up_at: Time(0),
            looks_at: None,
            values: 0,
            seen: None,
            revision: Revision(1),
            keys: 0,
            again: None,
            old: VecDeque::new(),
            tenant: Tenant::default(),
            locker: Locker::default(),
            reader: Reader::default(),
        }
    }

    pub(crate) fn id(&self) -> ClientId {
        self.id
    }

    /// Whether it will send something again, or make room for it.
    pub(crate) fn sends_again(&self) -> bool {
        self.again.is_some()
    }

    /// What it sends again, once.
    pub(crate) fn takes_again(&mut self) -> Option<(Command, Option<IdempotencyKey>)> {
        self.again.take()
    }

    /// Whether it waits for nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.busy.is_none()
    }

    pub(crate) fn value(&mut self, bytes_max: u64) -> Bytes {
        self.values += 1;
        let mut value = format!("{}-{}", self.id.0, self.values).into_bytes();
        let padding = self.random.below(bytes_max);
        value.resize(value.len() + usize::try_from(padding).expect("small"), b'.');
        Bytes::from(value)
    }

    fn key(&mut self) -> Bytes {
        history::key(self.random.below(KEYS))
    }

    pub(crate) fn keys(&mut self) -> Keys {
        match self.random.below(6) {
            0 => Keys::all(),
            1 => Keys::Prefix(
                ["a/", "b/", "c/", "t/"][usize::try_from(self.random.below(4)).expect("4")].into(),
            ),
            2 => {
                let to = if self.random.one_in(3) { None } else { Some(self.key()) };
                Keys::Between { from: self.key(), to }
            }
            _ => Keys::One(self.key()),
        }
    }

    /// A condition on a key, which sometimes holds.
    fn condition(&mut self, key: &Bytes) -> Condition {
        let seen = self.seen.clone().filter(|(seen, ..)| seen == key);
        match (self.random.below(4), seen) {
            (0, Some((_, revision, ..))) => Condition::ModRevision(revision),
            (1, Some((_, _, version, _))) => Condition::Version(version),
            (2, Some((.., value))) => Condition::Value(value),
            (0, None) => Condition::ModRevision(Revision(0)),
            (1, None) => Condition::Version(0),
            _ => Condition::Absent,
        }
    }

    pub(crate) fn action(&mut self, now: Time, value_bytes_max: u64) -> Action {
        if let Some((command, key)) = self.takes_again() {
            return Action::Write(command, key);
        }
        if !self.old.is_empty() && self.random.one_in(30) {
            let which = self.random.below(self.old.len() as u64);
            let (command, key) = self.old[usize::try_from(which).expect("a few")].clone();
            return Action::Write(command, Some(key));
        }
        if self.is_loyal && !self.random.one_in(4) {
            return Action::Read(self.plain_query(), Consistency::Linearizable);
        }
        match self.random.below(100) {
            0..34 => {
                let command = self.put(value_bytes_max);
                self.write(command)
            }
            34..40 => {
                let target = match self.random.one_in(4) {
                    true => lockers::spare_lock(self.keys()),
                    false => Keys::One(self.key()),
                };
                let conditions = match (&target, self.random.one_in(3)) {
                    (Keys::One(key), true) => vec![self.condition(&key.clone())],
                    _ => Vec::new(),
                };
                self.write(Command::Delete { delete: Delete::of(target), conditions })
            }
            40..42 => {
                let back = self.random.below(30);
                let revision =
                    Revision(self.revision.0.saturating_sub(back) + self.random.below(2));
                self.write(Command::Compact { revision })
            }
            42..50 => {
                let transaction = self.transaction(value_bytes_max);
                self.write(Command::Transaction(transaction))
            }
            50..58 => self.lease_action(value_bytes_max),
            58..64 => self.lock_action(now),
            other => {
                let consistency = match other {
                    64..80 => Consistency::Linearizable,
                    80..88 => Consistency::Sync,
                    _ => Consistency::Local,
                };
                Action::Read(self.query(), consistency)
            }
        }
    }

    /// Asks for a write, now and then under a key; and now and then, by mistake, under one that it used.
    pub(crate) fn write(&mut self, command: Command) -> Action {
        if !self.random.one_in(3) {
            return Action::Write(command, None);
        }
        if self.keys == 0 || !self.random.one_in(30) {
            self.keys += 1;
        }
        let key = format!("client-{}/{}", self.id.0, self.keys);
        let key = IdempotencyKey::new(key.as_bytes()).expect("visible characters");
        Action::Write(command, Some(key))
    }

    /// Whether to send a write again: with a key surely when it is in doubt, sometimes out of curiosity;
    /// without one now and then when it is in doubt, as careless clients do, and it may be done twice.
    pub(crate) fn wants_again(&mut self, action: &Action, result: &OperationResult) {
        let Action::Write(command, key) = action else { return };
        if let Some(room) = full_store::makes_room(result) {
            self.again = Some((room, None));
            return;
        }
        let is_unknown = matches!(
            result,
            OperationResult::Unknown | OperationResult::Failed(Failure::UnknownOutcome)
        );
        let Some(key) = key else {
            self.again = (is_unknown && self.random.one_in(3)).then(|| (command.clone(), None));
            return;
        };
        let in_doubt = is_unknown
            || match result {
                OperationResult::Written { .. } => self.random.one_in(8),
                OperationResult::Read(_) => false,
                // This copy did not happen, but perhaps one before it.
                _ => !self.random.one_in(3),
            };
        self.again = in_doubt.then(|| (command.clone(), Some(key.clone())));
        if !in_doubt && !self.old.iter().any(|(_, old)| old == key) {
            self.old.push_back((command.clone(), key.clone()));
            if self.old.len() > OLD_MAX {
                self.old.pop_front();
            }
        }
    }

    pub(crate) fn put(&mut self, value_bytes_max: u64) -> Command {
        let seen = self.seen.clone().filter(|_| self.random.one_in(2));
        let key = seen.map_or_else(|| self.key(), |(key, ..)| key);
        let conditions =
            if self.random.one_in(3) { vec![self.condition(&key)] } else { Vec::new() };
        let value = self.value(value_bytes_max);
        let return_previous = self.random.one_in(8);
        let put = Put { return_previous, ..Put::new(key, value) };
        Command::Put { put, conditions }
    }

    /// Some keys, now or lately.
    pub(crate) fn plain_query(&mut self) -> Query {
        let at = self.random.one_in(5).then(|| {
            let back = self.random.below(20);
            Revision((self.revision.0 + 2).saturating_sub(back).max(1))
        });
        let limit =
            self.random.one_in(4).then(|| usize::try_from(self.random.below(4)).expect("4"));
        let mut query = Query::of(self.keys());
        (query.range.at, query.range.limit) = (at, limit);
        query
    }

    /// Learns from an answer.
    pub(crate) fn learn(&mut self, result: &OperationResult) {
        match result {
            OperationResult::Written { revision, expected, repeated, .. } => {
                self.revision = *revision;
                if let (Expected::Granted { lease, .. }, false) = (expected, repeated)
                    && *lease != lockers::own_lease(self.id)
                {
                    self.tenant.has(*lease);
                }
            }
            OperationResult::LeaseNotThere => self.tenant.lost(),
            OperationResult::Read(reading) => {
                self.revision = reading.revision;
                if let Found::Keys(found) = &reading.found
                    && let Some(found) = found.key_values.first()
                {
                    let seen = found.clone();
                    self.seen = Some((seen.key, seen.mod_revision, seen.version, seen.value));
                }
            }
            _ => {}
        }
    }
}
