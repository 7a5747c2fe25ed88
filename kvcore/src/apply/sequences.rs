//! Sequential keys: the counter of each beginning of a key, and what becomes of it.

use bytes::Bytes;
use consensus::{Mutant, mutant};

use super::put::Attached;
use crate::Keys;
use crate::command::{Condition, Put};
use crate::machine::Machine;
use crate::outcome::{ConditionFailure, Found, Outcome, PutOutcome};
use crate::records::{RecordKey, RecordValue};
use crate::store::{Store, StoreError};

/// How many numbers of a sequential key are tried: somebody may have stored keys of such names.
const SEQUENCE_TRIES_MAX: u64 = 64;

impl<S: Store> Machine<S> {
    /// Stores a value under the next key of a prefix.
    pub(super) fn put_sequential(
        &mut self,
        mut put: Put,
        conditions: &[Condition],
    ) -> Result<Outcome, StoreError> {
        // A copy: the key is a part of its entry's buffer, which would stay in memory as long as the counter.
        let prefix = Bytes::copy_from_slice(&put.key);
        let mut next = self.sequences.get(&prefix).copied().unwrap_or(0);
        let mut found = None;
        for _ in 0..SEQUENCE_TRIES_MAX {
            put.key = Bytes::from([&prefix[..], format!("{next:010}").as_bytes()].concat());
            next += 1;
            let id = self.index.find(&put.key);
            found = id.and_then(|id| self.index.entry(id).current());
            if found.is_none() {
                break;
            }
        }
        if let Some(there) = found {
            // The next try goes on behind them. Entries of before rows had times leave the counter as it is.
            if self.under_way.time.is_some() {
                self.set_sequence(prefix, Some(next));
            }
            return Ok(Outcome::ConditionFailed(Box::new(ConditionFailure {
                condition: Condition::Absent,
                key: Some(put.key),
                found: Some(Found {
                    create_revision: there.create_revision,
                    mod_revision: there.id.revision,
                    version: there.version,
                }),
            })));
        }
        if let Some(failure) = self.failing(conditions, Some(&put.key), None)? {
            return Ok(Outcome::ConditionFailed(Box::new(failure)));
        }
        let attached = Attached { keys: 1, key_bytes: put.key.len() };
        if let Some(refusal) = self.refuses_put(&put, attached) {
            return Ok(refusal);
        }
        self.set_sequence(prefix, Some(next));
        let (key, id) = (put.key.clone(), self.index.find(&put.key));
        let outcome = self.store_value(put, id)?;
        Ok(Outcome::Put(PutOutcome { key: Some(key), ..outcome }))
    }

    /// The counters that a deletion of these keys ends: those of which it would delete every key, whatever its
    /// number. Entries of before rows had times leave them all, as they count no children.
    pub(super) fn ended_sequences<'a>(
        &'a self,
        target: &'a Keys,
    ) -> impl Iterator<Item = &'a Bytes> {
        let span = target.span();
        let ends_none = span.is_empty() || self.under_way.time.is_none();
        let candidates = (!ends_none).then(|| self.sequences.range::<[u8], _>(span.bounds()));
        let prefixes = candidates.into_iter().flatten().map(|(prefix, _)| prefix);
        prefixes.filter(|prefix| target.covers(prefix))
    }

    /// Who deletes everything that begins so begins anew: else counters would be the one thing that could
    /// never be deleted.
    pub(super) fn end_sequences(&mut self, ended: Vec<Bytes>) {
        if mutant::on(Mutant::CountersOutliveKeys) {
            return;
        }
        for prefix in ended {
            self.set_sequence(prefix, None);
        }
    }

    fn set_sequence(&mut self, prefix: Bytes, next: Option<u64>) {
        let before = match next {
            Some(next) => self.sequences.insert(prefix.clone(), next),
            None => self.sequences.remove(&prefix),
        };
        self.records.change(
            self.under_way.position.index,
            RecordKey::Sequence(prefix),
            before.map(RecordValue::Sequence),
            next.map(RecordValue::Sequence),
        );
    }
}
