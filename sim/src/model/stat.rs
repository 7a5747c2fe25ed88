//! What ZooKeeper tells of a node, in the model.

use bytes::Bytes;
use kvcore::{Keys, Machine, Revision, Stat, Store};

use super::{Model, Version};

/// The key of which another is a child.
pub(super) fn parent(key: &Bytes) -> Option<Bytes> {
    let text = std::str::from_utf8(key).expect("clients of the simulation write text");
    let (parent, name) = text.rsplit_once('/')?;
    match parent {
        _ if name.is_empty() => None,
        "" => Some(Bytes::from_static(b"/")),
        "/" => None,
        parent => Some(key.slice(..parent.len())),
    }
}

impl Model {
    /// What is told of a key that existed at a revision.
    pub(crate) fn stat(&self, key: &Bytes, at: Revision) -> Option<Stat> {
        let Version { revision, value, create_revision, version, lease, time } =
            self.at(key, at)?.clone();
        let mut versions = self.keys[key].iter();
        let created = versions.find(|version| version.revision == create_revision);
        let place = self.changes(create_revision).position(|(changed, _)| changed == key);
        let begun = (create_revision, place.expect("it was created"));
        let all = self.changes_of_children.get(key).into_iter().flatten();
        let counted = all.filter(|change| **change > begun && change.0 <= at);
        let counted: Vec<Revision> = counted.map(|(revision, _)| *revision).collect();
        let keys = Keys::all();
        let children =
            self.range(&keys, at).filter(|(other, _)| parent(other).as_ref() == Some(key));
        Some(Stat {
            czxid: create_revision,
            mzxid: revision,
            pzxid: counted.last().copied().unwrap_or(create_revision),
            ctime: created.expect("it was created").time,
            mtime: time,
            version: version - 1,
            cversion: counted.len() as u64,
            aversion: 0,
            ephemeral_owner: lease,
            data_length: value.expect("it existed").len(),
            num_children: children.count() as u64,
        })
    }

    /// Compares what a machine tells of what its last revision changed, and of the parents of that.
    pub(crate) fn check_changed<S: Store>(&self, machine: &Machine<S>) -> Result<(), String> {
        let at = machine.revision();
        if at == Revision(1) {
            return Ok(());
        }
        let changed = self.changes(at).map(|(key, _)| key);
        changed
            .flat_map(|key| [Some(key.clone()), parent(key)])
            .flatten()
            .try_for_each(|key| self.check_stat(machine, &key))
    }

    /// Compares what a machine tells of all keys.
    pub(crate) fn check_stats<S: Store>(&self, machine: &Machine<S>) -> Result<(), String> {
        self.keys.keys().try_for_each(|key| self.check_stat(machine, key))
    }

    fn check_stat<S: Store>(&self, machine: &Machine<S>, key: &Bytes) -> Result<(), String> {
        let expected = self.stat(key, machine.revision());
        let told = machine.stat(key).map_err(|error| error.to_string())?;
        if told == expected {
            return Ok(());
        }
        Err(format!("{key:?} at revision {}: {told:?}, expected {expected:?}", machine.revision()))
    }
}
