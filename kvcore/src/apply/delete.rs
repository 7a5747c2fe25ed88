//! Deleting keys.

use bytes::Bytes;
use consensus::{Mutant, mutant};

use super::rows::Doomed;
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
        let doomed = match self.doomed(&delete.target) {
            Ok(doomed) => doomed,
            Err(limit) => return Ok(Outcome::DeletionTooLarge(limit)),
        };
        for found in &doomed.keys {
            let key = Bytes::copy_from_slice(self.index.entry(found.0).key());
            if let Some(failure) = self.failing(conditions, Some(&key), Some(*found))? {
                return Ok(Outcome::ConditionFailed(Box::new(failure)));
            }
        }
        if doomed.keys.is_empty() {
            let key = if let Keys::One(key) = &delete.target { Some(key) } else { None };
            if let Some(failure) = self.failing(conditions, key, None)? {
                return Ok(Outcome::ConditionFailed(Box::new(failure)));
            }
        }
        Ok(Outcome::Deleted(self.delete_doomed(doomed, delete.return_previous)))
    }

    /// Deletes what is there, in its order.
    pub(super) fn delete_doomed(&mut self, doomed: Doomed, return_previous: bool) -> DeleteOutcome {
        self.end_sequences(doomed.sequences);
        let existing = doomed.keys;
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
