//! Writing rows: the first that an entry writes begins the next revision, and all others are of that one.

use bytes::Bytes;
use consensus::{Mutant, WallTime, mutant};

use crate::Keys;
use crate::digest::{RowNumbers, RowTimes, row_hash};
use crate::index::{Current, KeyId};
use crate::journal::JournalRow;
use crate::lease::LeaseId;
use crate::machine::Machine;
use crate::outcome::{DELETED_BYTES_MAX, DELETED_KEYS_MAX, DeletionLimit};
use crate::overlay::row_bytes;
use crate::store::{Revision, Row, RowId, Store};

/// A key that exists.
pub(super) type Existing = (KeyId, Current);

/// What a deletion deletes.
#[derive(Debug, Default)]
pub(super) struct Doomed {
    /// The keys, in order.
    pub(super) keys: Vec<Existing>,
    /// The counters of sequential keys that end with them, by the beginnings of those.
    pub(super) sequences: Vec<Bytes>,
    /// The bytes of both.
    pub(super) bytes: usize,
}

impl Doomed {
    pub(super) fn count(&self) -> usize {
        self.keys.len() + self.sequences.len()
    }

    fn makes_room_for(&mut self, key: &[u8]) -> Result<(), DeletionLimit> {
        self.bytes += key.len();
        if self.count() == DELETED_KEYS_MAX {
            return Err(DeletionLimit::Keys);
        }
        if self.bytes > DELETED_BYTES_MAX { Err(DeletionLimit::Bytes) } else { Ok(()) }
    }
}

impl<S: Store> Machine<S> {
    /// The address of the next row of the entry that is being applied.
    fn next_row(&mut self) -> RowId {
        if self.under_way.rows == 0 {
            self.revision = Revision(self.revision.0 + 1);
        }
        let place = self.under_way.rows;
        self.under_way.rows += 1;
        RowId { revision: self.revision, place }
    }

    /// Stores a value; returns whether the key is new. `found` says whether it is in the index.
    pub(super) fn write_value(
        &mut self,
        key: Bytes,
        found: Option<KeyId>,
        value: Bytes,
        lease: Option<LeaseId>,
    ) -> bool {
        let before = found.and_then(|id| self.index.entry(id).current());
        let id = self.next_row();
        let create_revision = before.map_or(id.revision, |before| before.create_revision);
        let version = before.map_or(1, |before| before.version + 1);
        let numbers = RowNumbers { create_revision, mod_revision: id.revision, version, lease };
        let mod_time = self.under_way.time.unwrap_or(WallTime(0));
        let create_time = match before {
            Some(before) if !mutant::on(Mutant::CreatedByEachWrite) => before.create_time,
            _ => mod_time,
        };
        let hash = row_hash(&key, &value, numbers, RowTimes { create_time, mod_time });
        let digest = self.digest.wrapping_add(hash);
        self.digest = digest.wrapping_sub(before.map_or(0, |before| before.hash));

        let current = Current { id, create_revision, version, create_time, hash };
        let (name, value) = (key.clone(), Some(value));
        let row = Row { key: name, value, create_revision, version, lease, create_time, mod_time };
        let key_id = self.index.put(&key, found, (current, row_bytes(&row)));
        self.journal.push(JournalRow { id, key: key_id, tombstone: false });
        if lease.is_some() || !mutant::on(Mutant::LeaseHoldsOverwritten) {
            self.leases.attach(key_id, key.len(), lease);
        }
        self.overlay.push(id, row);
        if before.is_none() {
            self.count_child(&key);
        }
        before.is_none()
    }

    /// Deletes a key.
    pub(super) fn write_deletion(&mut self, (key, current): Existing) {
        let id = self.next_row();
        let name = Bytes::copy_from_slice(self.index.entry(key).key());
        self.digest = self.digest.wrapping_sub(current.hash);
        let Current { create_revision, create_time, .. } = current;
        let row = Row {
            key: name.clone(),
            value: None,
            create_revision,
            version: 0,
            lease: None,
            create_time,
            mod_time: self.under_way.time.unwrap_or(WallTime(0)),
        };
        self.index.delete(key, id, row_bytes(&row));
        self.journal.push(JournalRow { id, key, tombstone: true });
        self.leases.attach(key, name.len(), None);
        self.overlay.push(id, row);
        self.forget_family(&name);
        self.count_child(&name);
    }

    /// What a deletion of these keys deletes, or the limit that it is beyond.
    pub(super) fn doomed(&self, target: &Keys) -> Result<Doomed, DeletionLimit> {
        let with_current = |id| self.index.entry(id).current().map(|current| (id, current));
        let mut doomed = Doomed::default();
        if let Keys::One(key) = target {
            // One key alone may always be deleted.
            doomed.keys.extend(self.index.find(key).and_then(with_current));
            doomed.bytes = doomed.keys.len() * key.len();
            return Ok(doomed);
        }
        for (key, id) in self.index.span(&target.span()) {
            let Some(found) = with_current(id) else { continue };
            doomed.makes_room_for(key)?;
            doomed.keys.push(found);
        }
        for prefix in self.ended_sequences(target) {
            doomed.makes_room_for(prefix)?;
            doomed.sequences.push(prefix.clone());
        }
        Ok(doomed)
    }
}
