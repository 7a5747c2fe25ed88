//! Counting what becomes of the children of keys.

use bytes::Bytes;

use crate::family::{Family, parent_of};
use crate::machine::Machine;
use crate::records::{RecordKey, RecordValue};
use crate::store::Store;
use consensus::{Mutant, mutant};

impl<S: Store> Machine<S> {
    /// A key was created or deleted: its parent counts that, if it exists. Takes one look-up of the parent,
    /// if the key has one.
    pub(super) fn count_child(&mut self, key: &[u8]) {
        let Some(parent) = parent_of(key).filter(|_| self.under_way.time.is_some()) else { return };
        let found = self.index.find(parent);
        if found.and_then(|id| self.index.entry(id).current()).is_none() {
            return;
        }
        let before = self.families.get(parent).map_or(0, |family| family.cversion);
        let family = Family { cversion: before + 1, pzxid: self.revision };
        self.set_family(Bytes::copy_from_slice(parent), Some(family));
    }

    /// A key was deleted: the next generation begins with nothing counted.
    pub(super) fn forget_family(&mut self, key: &Bytes) {
        if self.families.contains_key(key) && !mutant::on(Mutant::FamilyOutlivesParent) {
            self.set_family(key.clone(), None);
        }
    }

    fn set_family(&mut self, parent: Bytes, family: Option<Family>) {
        let before = match family {
            Some(family) => self.families.insert(parent.clone(), family),
            None => self.families.remove(&parent),
        };
        self.records.change(
            self.under_way.position.index,
            RecordKey::Family(parent),
            before.map(RecordValue::Family),
            family.map(RecordValue::Family),
        );
    }
}
