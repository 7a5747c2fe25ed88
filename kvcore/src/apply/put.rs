//! Storing values.

use crate::command::{Condition, Put, PutLease, PutValue};
use crate::index::KeyId;
use crate::lease::{LEASE_KEY_BYTES_MAX, LEASE_KEYS_MAX, LEASES_MAX, LeaseId};
use crate::machine::Machine;
use crate::outcome::{Outcome, PutOutcome};
use crate::store::{Store, StoreError};

/// What some puts of one entry hang on one lease, all together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attached {
    pub(super) keys: usize,
    pub(super) key_bytes: usize,
}

impl<S: Store> Machine<S> {
    pub(super) fn put(
        &mut self,
        put: Put,
        conditions: &[Condition],
    ) -> Result<Outcome, StoreError> {
        if put.sequential {
            return self.put_sequential(put, conditions);
        }
        let found = self.index.find(&put.key);
        let before = found.and_then(|id| Some((id, self.index.entry(id).current()?)));
        if let Some(failure) = self.failing(conditions, Some(&put.key), before)? {
            return Ok(Outcome::ConditionFailed(Box::new(failure)));
        }
        let attached = Attached { keys: 1, key_bytes: put.key.len() };
        if let Some(refusal) = self.refuses_put(&put, attached) {
            return Ok(refusal);
        }
        Ok(Outcome::Put(self.store_value(put, found)?))
    }

    /// Why a put can not be carried out, if it can not. `attached` is what is to hang on its lease
    /// besides what does, this put included.
    pub(super) fn refuses_put(&self, put: &Put, attached: Attached) -> Option<Outcome> {
        let exists = || {
            let found = self.index.find(&put.key)?;
            self.index.entry(found).current()
        };
        if put.keeps() && exists().is_none() {
            return Some(Outcome::KeyNotFound { key: put.key.clone() });
        }
        match put.lease {
            PutLease::None | PutLease::Keep => None,
            PutLease::Grant { .. } => {
                let full = self.leases.len() + attached.keys > LEASES_MAX;
                full.then_some(Outcome::TooManyLeases)
            }
            PutLease::Attach(lease) => {
                let Some(there) = self.leases.get(lease) else {
                    return Some(Outcome::LeaseNotFound { lease });
                };
                let full = there.keys().len() + attached.keys > LEASE_KEYS_MAX
                    || there.key_bytes() + attached.key_bytes > LEASE_KEY_BYTES_MAX;
                let hangs_on_it = || {
                    let found = self.index.find(&put.key);
                    found.and_then(|key| self.leases.of_key(key)) == Some(lease)
                };
                (full && !hangs_on_it()).then_some(Outcome::LeaseFull { lease })
            }
        }
    }

    /// Carries a put out of which it is known that it can be.
    pub(super) fn store_value(
        &mut self,
        put: Put,
        found: Option<KeyId>,
    ) -> Result<PutOutcome, StoreError> {
        let before = found.and_then(|id| self.index.entry(id).current());
        let value = match (put.value, before) {
            (PutValue::New(value), _) => value,
            (PutValue::Keep, Some(before)) => self.value_of(before.id)?,
            (PutValue::Keep, None) => panic!("a put that keeps a value was checked before"),
        };
        let previous = before.filter(|_| put.return_previous).map(|before| self.resolve(before.id));
        let granted: Option<LeaseId> = match put.lease {
            PutLease::Grant { ttl_millis } => Some(self.grant_next(ttl_millis)),
            _ => None,
        };
        let lease = match put.lease {
            PutLease::None => None,
            PutLease::Attach(lease) => Some(lease),
            PutLease::Keep => found.and_then(|key| self.leases.of_key(key)),
            PutLease::Grant { .. } => granted,
        };
        let created = self.write_value(put.key, found, value, lease);
        Ok(PutOutcome { created, key: None, granted, previous })
    }
}
