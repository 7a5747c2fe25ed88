//! Clients that take a lock, as etcd's recipe has it: a key below the lock's name that hangs on a lease; of
//! those there, the one created first has the lock. Whoever has it takes itself for its holder until it gives
//! it up, or until the time is over for which its lease was promised last.
//!
//! Judged is what such locks are good for: no two clients take themselves for the holder at a time, whatever
//! the nodes do. It rests on everything else: reads that are up to date, transactions, leases that do not end
//! early, and keys that go with theirs.

use std::time::Duration;

use bytes::Bytes;
use consensus::{Consensus, Mutant, Time, Violation, mutant};
use kvcore::{
    Command, Compare, Delete, KeyValue, Keys, LeaseCommand, LeaseId, Operation, Put, PutLease,
    Revision, Transaction,
};

use crate::client::{Client, ClientId};
use crate::cluster::Cluster;
use crate::history::{Action, Consistency, Found, OperationId, OperationResult, Query};
use crate::model::Expected;
use crate::tenancies::Tenancies;

/// What the keys of the lock begin with. Nothing else is stored there, and nobody deletes there but whoever
/// stored it.
pub(crate) const LOCK: &str = "z/";
/// How long the leases of lockers live.
const TTL_MILLIS: u64 = 1_500;
/// The number of the first locker's lease; that of each other is one less.
const FIRST_LEASE: i64 = -1_000;

/// What a client knows of its place in the queue for the lock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Locker {
    /// When it last asked for its lease with success, and for how many milliseconds that was promised.
    leased: Option<(Time, u64)>,
    /// The revision that created its key, as it saw it last.
    stands: Option<Revision>,
    /// Whether it saw its key in front, and has not given it up.
    has_won: bool,
    /// The revision that created the last key that it gave up. It may be deleted at any time after, however
    /// long it is still there.
    given_up: Revision,
}

impl Locker {
    /// Whether it takes itself for the holder.
    fn holds(&self, now: Time, tenancies: &Tenancies) -> bool {
        let lives = |(asked, millis)| asked + tenancies.least(millis) > now;
        self.has_won && self.leased.is_some_and(lives)
    }

    /// What it knows when its lease is gone.
    fn without_lease(self) -> Self {
        Self { given_up: self.given_up, ..Self::default() }
    }

    /// It saw the queue.
    fn sees(&mut self, queue: &[KeyValue], own: &Bytes) {
        let first = queue.iter().min_by_key(|there| there.create_revision);
        self.stands = queue.iter().find(|there| there.key == *own).map(|own| own.create_revision);
        let is_first = first.is_some_and(|first| first.key == *own);
        let is_mine = self.stands > Some(self.given_up);
        self.has_won =
            is_mine && (is_first || self.stands.is_some() && mutant::on(Mutant::LockOfWhoeverAsks));
    }
}

fn own_key(client: ClientId) -> Bytes {
    Bytes::from(format!("{LOCK}{}", client.0))
}

/// The lease on which a client's place in the queue hangs. It does nothing else with it.
pub(crate) fn own_lease(client: ClientId) -> LeaseId {
    let number = i64::try_from(client.0).expect("a few clients");
    LeaseId::new(FIRST_LEASE - number).expect("not 0")
}

/// Such keys, but for those of the lock.
pub(crate) fn spare_lock(keys: Keys) -> Keys {
    let end = Some(Bytes::from_static(LOCK.as_bytes()));
    match keys {
        Keys::Prefix(prefix) if prefix.is_empty() => Keys::Between { from: prefix, to: end },
        Keys::Between { from, to: None } => Keys::Between { from, to: end },
        keys => keys,
    }
}

impl Client {
    /// The next thing that it does about the lock. Any of it may fail, and is then done again from where its
    /// knowledge ends.
    pub(crate) fn lock_action(&mut self, now: Time) -> Action {
        let (key, lease) = (own_key(self.id()), own_lease(self.id()));
        let locker = &mut self.locker;
        let is_over = |(asked, millis)| asked + Duration::from_millis(millis) <= now;
        if locker.leased.is_none_or(is_over) {
            *locker = locker.without_lease();
            if self.random.one_in(2) {
                // It may be there, from before an answer that was lost.
                return Action::KeepAlive(lease);
            }
            let (lease, ttl_millis) = (Some(lease), TTL_MILLIS);
            return Action::Write(Command::Lease(LeaseCommand::Grant { lease, ttl_millis }), None);
        }
        match (locker.stands, locker.has_won, self.random.below(4)) {
            (Some(created), true, 0) | (Some(created), false, 3) => {
                // From now on it does not hold it, whether or not anybody hears of that.
                *locker = Locker { stands: None, has_won: false, given_up: created, ..*locker };
                let delete = Operation::Delete(Delete::of(Keys::One(key.clone())));
                let (compares, success) =
                    (vec![Compare::is_created_by(key.clone(), created)], vec![delete]);
                transaction(Transaction { compares, success, failure: Vec::new() })
            }
            (Some(_), true, _) | (None, _, 0) => Action::KeepAlive(lease),
            (None, _, 1) => {
                let put =
                    Put { lease: PutLease::Attach(lease), ..Put::new(key.clone(), "".into()) };
                let success = vec![Operation::Put(put)];
                let compares = vec![Compare::is_created_by(key.clone(), Revision(0))];
                transaction(Transaction { compares, success, failure: Vec::new() })
            }
            _ => {
                let keys = Keys::Prefix(Bytes::from_static(LOCK.as_bytes()));
                Action::Read(Query::of(keys), Consistency::Linearizable)
            }
        }
    }
}

fn transaction(transaction: Transaction) -> Action {
    Action::Write(Command::Transaction(transaction), None)
}

impl<C: Consensus> Cluster<C> {
    /// A client hears something that may have to do with the lock.
    pub(crate) fn hear_of_lock(
        &mut self,
        operation: OperationId,
        result: &OperationResult,
    ) -> Result<(), Violation> {
        let now = self.agenda.now();
        let asked = self.history.get(operation);
        let (id, invoked) = (asked.client, asked.invoked);
        let locker = &mut self.clients[id.0].locker;
        let held = locker.holds(now, &self.tenancies);
        match (&asked.action, result) {
            (
                Action::Write(Command::Lease(LeaseCommand::Grant { lease: Some(lease), .. }), _),
                OperationResult::Written { expected: Expected::Granted { ttl_millis, .. }, .. },
            ) if *lease == own_lease(id) => {
                // A new lease: what hung on the one before is gone.
                *locker = Locker { leased: Some((invoked, *ttl_millis)), ..locker.without_lease() };
            }
            (Action::KeepAlive(lease), result) if *lease == own_lease(id) => match result {
                OperationResult::LeaseLives { millis } => {
                    locker.leased = locker.leased.max(Some((invoked, *millis)));
                }
                OperationResult::LeaseNotThere => *locker = locker.without_lease(),
                _ => {}
            },
            (Action::Read(query, _), OperationResult::Read(reading))
                if query.range.keys == Keys::Prefix(Bytes::from_static(LOCK.as_bytes())) =>
            {
                let Found::Keys(found) = &reading.found else { return Ok(()) };
                locker.sees(&found.key_values, &own_key(id));
            }
            _ => {}
        }
        if held || !locker.holds(now, &self.tenancies) {
            return Ok(());
        }
        // It may also be that it believed its lease to be over, and hears that it lives.
        self.counters.locks_won += u64::from(matches!(asked.action, Action::Read(..)));
        self.check_lock(id)
    }

    /// A client takes itself for the holder since just now.
    fn check_lock(&self, winner: ClientId) -> Result<(), Violation> {
        let now = self.agenda.now();
        let others = self.clients.iter().filter(|client| client.id() != winner);
        match others.into_iter().find(|client| client.locker.holds(now, &self.tenancies)) {
            None => Ok(()),
            Some(other) => Err(Violation::new(
                "no two clients hold a lock at a time",
                format!(
                    "c{} has {:?}, c{} has {:?}",
                    winner.0,
                    self.clients[winner.0].locker,
                    other.id().0,
                    other.locker
                ),
            )),
        }
    }
}
