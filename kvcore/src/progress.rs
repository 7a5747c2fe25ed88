//! How far a state machine has come, as its replica is told.

use consensus::{Index, NodeId};

use crate::alarm::Corruption;
use crate::lease::LeaseNews;
use crate::store::Revision;

/// Everything up to an entry is applied: what of that concerns the replica. [`Machine::take_progress`]
/// makes it.
///
/// [`Machine::take_progress`]: crate::Machine::take_progress
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Progress {
    /// The last applied index.
    pub index: Index,
    /// The store's revision there.
    pub revision: Revision,
    /// The compacted revision there.
    pub compacted: Revision,
    /// The bytes of all rows and records: see [`Machine::stored_bytes`].
    ///
    /// [`Machine::stored_bytes`]: crate::Machine::stored_bytes
    pub stored_bytes: u64,
    /// The digest of the whole state there.
    pub digest: u128,
    /// What happened to leases since this was told last.
    pub leases: Vec<LeaseNews>,
    /// What was found if, since this was told last, the state was not that of another replica.
    pub difference: Option<Corruption>,
    /// Whether an alarm stood at any time since this was told last.
    pub alarm_stood: bool,
    /// The nodes about which alarms stand.
    pub alarms: Vec<NodeId>,
}
