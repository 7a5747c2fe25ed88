//! Deleting keys.

use bytes::Bytes;
use consensus::{Mutant, mutant};

use super::rows::Existing;
use crate::Keys;
use crate::command::{Condition, Delete};
use crate::machine::Machine;
use crate::outcome::{DeleteOutcome, Outcome};
use crate::store::{Store, StoreError};

impl<S: Store> Machine<S> {
    pub(super) fn delete(
        &mut self,
        delete: &Delete,
        conditions: &[Condition],
    ) -> Result<Outcome, StoreError> {
        let existing = match self.existing(&delete.target) {
            Ok(existing) => existing,
            Err(limit) => return Ok(Outcome::DeletionTooLarge(limit)),
        };
        for found in &existing {
            let key = Bytes::copy_from_slice(self.index.entry(found.0).key());
            if let Some(failure) = self.failing(conditions, Some(&key), Some(*found))? {
                return Ok(Outcome::ConditionFailed(Box::new(failure)));
            }
        }
        if existing.is_empty() {
            let key = if let Keys::One(key) = &delete.target { Some(key) } else { None };
            if let Some(failure) = self.failing(conditions, key, None)? {
                return Ok(Outcome::ConditionFailed(Box::new(failure)));
            }
        }
        Ok(Outcome::Deleted(self.carry_out_deletion(delete, existing)))
    }

    /// Carries out a deletion of which it is known that it can be.
    pub(super) fn carry_out_deletion(
        &mut self,
        delete: &Delete,
        existing: Vec<Existing>,
    ) -> DeleteOutcome {
        self.end_sequences(&delete.target);
        self.delete_existing(existing, delete.return_previous)
    }

    /// Deletes keys that exist, in their order.
    pub(super) fn delete_existing(
        &mut self,
        existing: Vec<Existing>,
        return_previous: bool,
    ) -> DeleteOutcome {
        let previous = if return_previous {
            existing.iter().map(|(_, current)| self.resolve(current.id)).collect()
        } else {
            Vec::new()
        };
        let count = existing.len() as u64;
        for found in existing {
            self.write_deletion(found);
            if mutant::on(Mutant::LeaseEndsBitByBit) {
                self.under_way.rows = 0;
            }
        }
        DeleteOutcome { count, previous }
    }
}
