//! The leases of a store, and the keys that hang on each.

use std::collections::{BTreeMap, BTreeSet};

use super::{LeaseId, LeaseNews, LeaseTime};
use crate::index::KeyId;

/// A lease.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) time: LeaseTime,
    /// The keys whose current rows name it.
    keys: BTreeSet<KeyId>,
    /// The bytes of those keys.
    key_bytes: usize,
}

impl Lease {
    pub(crate) fn keys(&self) -> impl ExactSizeIterator<Item = KeyId> {
        self.keys.iter().copied()
    }

    pub(crate) fn key_bytes(&self) -> usize {
        self.key_bytes
    }
}

/// All leases.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    table: BTreeMap<LeaseId, Lease>,
    /// The lease of each key that has one.
    by_key: BTreeMap<KeyId, LeaseId>,
    /// What the replica has not been told yet.
    news: Vec<LeaseNews>,
}

impl Leases {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn get(&self, lease: LeaseId) -> Option<&Lease> {
        self.table.get(&lease)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.table.iter().map(|(id, lease)| (*id, lease))
    }

    /// The leases behind this one, in order; from the first on when there is none.
    pub(crate) fn after(&self, lease: Option<LeaseId>) -> impl Iterator<Item = (LeaseId, &Lease)> {
        use std::ops::Bound;
        let low = lease.map_or(Bound::Unbounded, Bound::Excluded);
        self.table.range((low, Bound::Unbounded)).map(|(id, lease)| (*id, lease))
    }

    /// Grants a lease, or gives it another time.
    pub(crate) fn set(&mut self, lease: LeaseId, time: LeaseTime) {
        self.load(lease, time);
        self.tell(lease);
    }

    /// As [`Self::set`], of a lease that a store has; nobody is told.
    pub(crate) fn load(&mut self, lease: LeaseId, time: LeaseTime) {
        let entry = self.table.entry(lease);
        let entry = entry.or_insert_with(|| Lease { time, keys: BTreeSet::new(), key_bytes: 0 });
        entry.time = time;
    }

    /// Tells the replica how it stands with a lease.
    fn tell(&mut self, lease: LeaseId) {
        self.news.push(match self.table.get(&lease) {
            Some(there) => LeaseNews::Is(lease, there.time),
            None => LeaseNews::Gone(lease),
        });
    }

    /// Ends a lease that has no keys any more.
    pub(crate) fn remove(&mut self, lease: LeaseId) {
        let former = self.table.remove(&lease);
        let keys = former.expect("only a lease that is there ends").keys;
        assert!(keys.is_empty(), "a lease ends after its keys");
        self.tell(lease);
    }

    /// The lease of a key.
    pub(crate) fn of_key(&self, key: KeyId) -> Option<LeaseId> {
        self.by_key.get(&key).copied()
    }

    /// A key's current row names this lease now, or none. The lease is there.
    pub(crate) fn attach(&mut self, key: KeyId, bytes: usize, lease: Option<LeaseId>) {
        let former = match lease {
            Some(lease) => self.by_key.insert(key, lease),
            None => self.by_key.remove(&key),
        };
        if former == lease {
            return;
        }
        if let Some(former) = former.and_then(|former| self.table.get_mut(&former)) {
            former.keys.remove(&key);
            former.key_bytes -= bytes;
        }
        if let Some(lease) = lease {
            let lease = self.table.get_mut(&lease).expect("a key names a lease that is there");
            lease.keys.insert(key);
            lease.key_bytes += bytes;
        }
    }

    /// These are all that there are, and nothing that happened before counts.
    pub(crate) fn announce(&mut self, all: Vec<(LeaseId, LeaseTime)>) {
        self.news = vec![LeaseNews::All(all)];
    }

    /// What happened since this was asked last.
    pub(crate) fn take_news(&mut self) -> Vec<LeaseNews> {
        std::mem::take(&mut self.news)
    }
}
