//! Automatic compaction: the leader proposes it, so that all replicas compact at the same entry.

use consensus::{Consensus, Leadership, Now, Wire};

use super::{Replica, ReplicaEffects};
use crate::{Command, Envelope, RequestId, Revision};

/// The request number of commands for which no client waits.
const NOBODY: RequestId = RequestId(0);

/// When to compact.
#[derive(Clone, Debug, Hash)]
pub(super) struct Compaction {
    retain: Option<u64>,
    revision: Revision,
    compacted: Revision,
    /// The revision of a compaction that was proposed and is not applied yet.
    proposed: Option<Revision>,
}

impl Compaction {
    pub(super) fn new(retain: Option<u64>, revision: Revision, compacted: Revision) -> Self {
        Self { retain, revision, compacted, proposed: None }
    }

    pub(super) fn applied(&mut self, revision: Revision, compacted: Revision) {
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
        let kept = self.revision.0 - self.compacted.0;
        let due = self.proposed.is_none() && kept > retain + (retain / 8).max(1);
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
