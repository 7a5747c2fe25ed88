//! Automatic compaction: the leader proposes it, so that all replicas compact at the same entry.

use consensus::{Consensus, Leadership, Now, Wire};

use super::{Replica, ReplicaEffects, ReplicaSettings};
use crate::{Command, Envelope, RequestId, Restored, Revision};

/// The request number of commands for which no client waits.
const NOBODY: RequestId = RequestId(0);

/// How many revisions stay readable at most when the store is nearly full.
const RETAINED_NEARLY_FULL: u64 = 1_000;

/// When to compact.
#[derive(Clone, Debug, Hash)]
pub(super) struct Compaction {
    retain: Option<u64>,
    /// The most bytes of rows; beyond three quarters of them history is kept short, and at all of them none
    /// is kept.
    quota_bytes: Option<u64>,
    row_bytes: u64,
    revision: Revision,
    compacted: Revision,
    /// The revision of a compaction that was proposed and is not applied yet.
    proposed: Option<Revision>,
}

impl Compaction {
    pub(super) fn new(settings: &ReplicaSettings, restored: &Restored) -> Self {
        let ReplicaSettings { retain_revisions: retain, quota_bytes, .. } = *settings;
        let Restored { revision, compacted, row_bytes, .. } = *restored;
        Self { retain, quota_bytes, row_bytes, revision, compacted, proposed: None }
    }

    pub(super) fn applied(&mut self, revision: Revision, compacted: Revision, row_bytes: u64) {
        self.row_bytes = row_bytes;
        self.revision = revision;
        self.compacted = compacted;
        if self.proposed.is_some_and(|proposed| proposed <= compacted) {
            self.proposed = None;
        }
    }

    /// What was proposed under another leader may be lost.
    pub(super) fn leadership_changed(&mut self) {
        self.proposed = None;
    }

    /// The revision to compact to, if it is time. An eighth more than asked for is kept, so that
    /// compaction is rare next to writes.
    fn due(&self) -> Option<Revision> {
        let retain = self.retain?;
        let retain = match self.quota_bytes {
            Some(quota) if self.row_bytes >= quota => 0,
            Some(quota) if self.row_bytes >= quota / 4 * 3 => retain.min(RETAINED_NEARLY_FULL),
            _ => retain,
        };
        let kept = self.revision.0 - self.compacted.0;
        // A full store forgets at once: the next deletion may be the only one that comes.
        let slack = if retain == 0 { 0 } else { (retain / 8).max(1) };
        let due = self.proposed.is_none() && kept > retain + slack;
        due.then(|| Revision(self.revision.0 - retain))
    }
}

impl<C: Consensus> Replica<C> {
    /// Proposes a compaction if this node leads and too many revisions are kept.
    pub(super) fn compact_if_due(&mut self, now: Now, effects: &mut ReplicaEffects<C::Message>) {
        let Leadership::Established { .. } = self.leadership else { return };
        let Some(revision) = self.compaction.due() else { return };
        let envelope = Envelope {
            origin: self.settings.id,
            incarnation: self.settings.incarnation,
            request: NOBODY,
            idempotency: None,
            command: Command::Compact { revision },
        };
        if self.propose(now, envelope.to_bytes(), effects).is_none() {
            self.compaction.proposed = Some(revision);
        }
    }
}
