//! What must be so of a key for a command to be carried out.

use bytes::Bytes;

use super::rows::Existing;
use crate::command::Condition;
use crate::digest::{RowNumbers, may_have};
use crate::index::Current;
use crate::machine::Machine;
use crate::outcome::{ConditionFailure, Found};
use crate::store::{Revision, Store, StoreError};

impl<S: Store> Machine<S> {
    /// The first condition that does not hold for a key.
    pub(super) fn failing(
        &self,
        conditions: &[Condition],
        key: Option<&Bytes>,
        found: Option<Existing>,
    ) -> Result<Option<ConditionFailure>, StoreError> {
        for condition in conditions {
            if !self.holds(condition, found)? {
                return Ok(Some(ConditionFailure {
                    condition: condition.clone(),
                    key: key.cloned(),
                    found: found.map(|(_, current)| Found {
                        create_revision: current.create_revision,
                        mod_revision: current.id.revision,
                        version: current.version,
                    }),
                }));
            }
        }
        Ok(None)
    }

    fn holds(&self, condition: &Condition, found: Option<Existing>) -> Result<bool, StoreError> {
        let current = found.map(|(_, current)| current);
        Ok(match condition {
            Condition::Absent => current.is_none(),
            Condition::Version(version) => current.map_or(0, |current| current.version) == *version,
            Condition::ModRevision(revision) => {
                current.map_or(Revision(0), |current| current.id.revision) == *revision
            }
            Condition::Value(value) => match found {
                Some(found) => self.is_value(found, value)?,
                None => false,
            },
        })
    }

    /// Whether a key has this value.
    pub(super) fn is_value(
        &self,
        (key, current): Existing,
        value: &Bytes,
    ) -> Result<bool, StoreError> {
        let Current { id, create_revision, version, hash, .. } = current;
        let (mod_revision, lease) = (id.revision, self.leases.of_key(key));
        let numbers = RowNumbers { create_revision, mod_revision, version, lease };
        // Another hash is another value. An equal one is not yet an equal value, and all replicas must
        // decide alike, whether the row is in memory or not.
        Ok(may_have(hash, self.index.entry(key).key(), value, numbers)
            && self.has_value(id, value)?)
    }
}
