//! What ZooKeeper tells of a node, derived from what is stored.
//!
//! As a range it is read in two steps: planned beside the machine, some keys at a time, for the children
//! are counted; then fetched from the store without it.

use bytes::Bytes;
use consensus::{Mutant, WallTime, mutant};

use crate::family::{Family, below, passed_by};
use crate::keys::Span;
use crate::lease::LeaseId;
use crate::machine::Machine;
use crate::read::{FetchError, ReadError};
use crate::store::{Revision, Row, RowId, Store, StoreError};

/// The eleven fields of ZooKeeper's `Stat`, by its names. Where it has zxids there are revisions: both number
/// the changes of the whole store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// When the node was created: the row's `create_revision`.
    pub czxid: Revision,
    /// When its data was last written: the row's own revision.
    pub mzxid: Revision,
    /// When a child was last created or deleted: of the family's record; `czxid` if there is none.
    pub pzxid: Revision,
    /// The time of `czxid`: the row's `create_time`; 0 if an earlier version of Duorum wrote it.
    pub ctime: WallTime,
    /// The time of `mzxid`: the row's `mod_time`; 0 if an earlier version of Duorum wrote it.
    pub mtime: WallTime,
    /// How often the data was written after the node was created: the row's `version`, which counts that as
    /// well, less one.
    pub version: u64,
    /// How often a child was created or deleted: of the family's record; 0 if there is none.
    pub cversion: u64,
    /// How often the ACL was changed: 0, for there are none.
    pub aversion: u64,
    /// Whose session the node ends with: the row's lease. ZooKeeper writes 0 for none.
    pub ephemeral_owner: Option<LeaseId>,
    /// The bytes of the data: of the row's value.
    pub data_length: usize,
    /// The children that there are: counted in the index.
    pub num_children: u64,
}

/// A stat that is being planned: see [`Machine::plan_stat_step`].
#[derive(Clone, Debug)]
pub struct StatPlanner {
    key: Bytes,
    /// The keys below that have not been looked at.
    rest: Span,
    /// What was found in the first step.
    begun: Option<Begun>,
    is_done: bool,
}

#[derive(Clone, Debug)]
struct Begun {
    at: Revision,
    plan: Option<StatPlan>,
}

/// Where the parts of a stat are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatPlan {
    id: RowId,
    /// The row, if it is in memory.
    row: Option<Row>,
    family: Option<Family>,
    children: u64,
}

impl StatPlanner {
    /// To plan the stat of a key.
    #[must_use]
    pub fn new(key: Bytes) -> Self {
        let rest = below(&key);
        Self { key, rest, begun: None, is_done: false }
    }

    /// Whether there is nothing more to plan.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// The revision as of which the stat is, and the plan, or none if the key does not exist.
    ///
    /// # Panics
    /// If it is not done.
    #[must_use]
    pub fn finish(self) -> (Revision, Option<StatPlan>) {
        assert!(self.is_done, "a plan is made to its end");
        let begun = self.begun.expect("the first step begins it");
        (begun.at, begun.plan)
    }
}

impl StatPlan {
    /// The stat, with the row from the store if it is there.
    ///
    /// # Errors
    /// [`FetchError::Vanished`] when compaction removed the row since; or the store's own error.
    pub fn fetch<S: Store + ?Sized>(self, store: &S) -> Result<Stat, FetchError> {
        let Self { id, row, family, children } = self;
        let row = match row {
            Some(row) => row,
            None => store.row(id)?.ok_or(FetchError::Vanished(id))?,
        };
        let RowId { revision: mzxid, place } = id;
        let value = row.value.as_ref().filter(|_| row.version > 0).ok_or_else(|| {
            let what = format!("the row of revision {mzxid} at place {place} is a tombstone");
            FetchError::Store(StoreError(format!("{what}, but was written as a value")))
        })?;
        let czxid = row.create_revision;
        Ok(Stat {
            czxid,
            mzxid,
            pzxid: family.map_or(czxid, |family| family.pzxid),
            ctime: row.create_time,
            mtime: row.mod_time,
            version: row.version - 1,
            cversion: family.map_or(0, |family| family.cversion),
            aversion: 0,
            ephemeral_owner: row.lease,
            data_length: value.len(),
            num_children: children,
        })
    }
}

impl<S: Store> Machine<S> {
    /// Goes on with the plan of a stat, looking at no more than `keys_max` keys. What is below a child is
    /// passed by with one look-up. Between two steps anything may be applied and flushed: all of it is as of
    /// the revision of the first.
    ///
    /// # Errors
    /// When that revision was compacted between two steps: the plan is then begun anew.
    pub fn plan_stat_step(
        &self,
        planner: &mut StatPlanner,
        keys_max: usize,
    ) -> Result<(), ReadError> {
        let begun = planner.begun.get_or_insert_with(|| self.begin_stat(&planner.key));
        let at = self.readable(Some(begun.at))?;
        let Some(plan) = begun.plan.as_mut().filter(|_| !planner.is_done) else {
            planner.is_done = true;
            return Ok(());
        };
        let mut keys = self.index.span(&planner.rest);
        for looked in 1.. {
            let Some((key, id)) = keys.next() else {
                planner.is_done = true;
                return Ok(());
            };
            let passed = passed_by(&planner.key, key);
            if let Some(end) = passed.filter(|_| !mutant::on(Mutant::ChildrenOfChildren)) {
                planner.rest.low = std::ops::Bound::Included(end);
                keys = self.index.span(&planner.rest);
            } else {
                plan.children += u64::from(self.index.entry(id).at(at).is_some());
                if looked >= keys_max {
                    planner.rest.pass(Bytes::copy_from_slice(key), false);
                }
            }
            if looked >= keys_max {
                return Ok(());
            }
        }
        Ok(())
    }

    fn begin_stat(&self, key: &Bytes) -> Begun {
        let found = self.index.find(key).and_then(|id| self.index.entry(id).current());
        let plan = found.map(|current| StatPlan {
            id: current.id,
            row: self.overlay.get(current.id).cloned(),
            family: self.families.get(key).copied(),
            children: 0,
        });
        Begun { at: self.revision, plan }
    }

    /// What ZooKeeper tells of a node, now, from the store too if need be; `None` if the key does not exist.
    ///
    /// # Errors
    /// When the store fails.
    pub fn stat(&self, key: &[u8]) -> Result<Option<Stat>, ReadError> {
        let mut planner = StatPlanner::new(Bytes::copy_from_slice(key));
        self.plan_stat_step(&mut planner, usize::MAX)?;
        let (_, plan) = planner.finish();
        Ok(plan.map(|plan| plan.fetch(&self.store)).transpose()?)
    }
}
