//! Automatic compaction: the leader proposes it, so that all replicas compact at the same entry.

use std::collections::VecDeque;
use std::time::Duration;

use consensus::{Consensus, Leadership, Mutant, Now, Time, mutant};

use super::{Replica, ReplicaEffects, ReplicaSettings};
use crate::{Command, Progress, Restored, Revision};

/// How many revisions stay readable at most when the store is nearly full.
const RETAINED_NEARLY_FULL: u64 = 1_000;
/// Of what is retained for a time, how many moments are remembered.
const MOMENTS: u32 = 32;

/// When to compact.
#[derive(Clone, Debug, Hash)]
pub(super) struct Compaction {
    retain_revisions: Option<u64>,
    retain_for: Option<Duration>,
    /// The most bytes of rows and records; beyond three quarters of them history is kept short, and at all of
    /// them none is kept.
    quota_bytes: Option<u64>,
    stored_bytes: u64,
    revision: Revision,
    compacted: Revision,
    /// The revision of a compaction that was proposed and is not applied yet.
    proposed: Option<Revision>,
    /// Which revision was the present one when, the earliest first. Every node notes that as it applies the
    /// log, so that who begins to lead knows it; who starts forgets it, and so retains longer.
    moments: VecDeque<(Time, Revision)>,
    /// The revision that was the present one as long ago as history is retained.
    passed: Revision,
}

impl Compaction {
    pub(super) fn new(settings: &ReplicaSettings, restored: &Restored) -> Self {
        let ReplicaSettings { retain_revisions, retain_for, quota_bytes, .. } = *settings;
        let Restored { revision, compacted, stored_bytes, .. } = *restored;
        Self {
            retain_revisions,
            retain_for,
            quota_bytes,
            stored_bytes,
            revision,
            compacted,
            proposed: None,
            moments: VecDeque::new(),
            passed: Revision(0),
        }
    }

    pub(super) fn applied(&mut self, now: Time, progress: &Progress) {
        self.stored_bytes = progress.stored_bytes;
        self.revision = progress.revision;
        self.compacted = progress.compacted;
        if self.proposed.is_some_and(|proposed| proposed <= self.compacted) {
            self.proposed = None;
        }
        self.note_time(now);
    }

    /// What was proposed under another leader may be lost.
    pub(super) fn leadership_changed(&mut self) {
        self.proposed = None;
    }

    /// Notes which revision is the present one, if it is time to, and which one was when what is retained
    /// begins.
    fn note_time(&mut self, now: Time) {
        let Some(retain_for) = self.retain_for else { return };
        if self.next_moment().is_some_and(|due| due <= now) {
            self.moments.push_back((now, self.revision));
        }
        while let Some((_, revision)) = self.moments.pop_front_if(|(at, _)| *at + retain_for <= now)
        {
            self.passed = revision;
        }
    }

    /// When the next moment is to be noted: none, if nothing changed since the last one.
    fn next_moment(&self) -> Option<Time> {
        let retain_for = self.retain_for?;
        match self.moments.back() {
            Some((at, revision)) => {
                (*revision < self.revision).then_some(*at + retain_for / MOMENTS)
            }
            None => (self.passed < self.revision).then_some(Time(0)),
        }
    }

    /// When there is something to note.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        let retain_for = self.retain_for?;
        let passes = self.moments.front().map(|(at, _)| *at + retain_for);
        self.next_moment().into_iter().chain(passes).min()
    }

    /// The revision to compact to, if it is time. If history is retained by revisions and for a time, both
    /// must allow it; a store that is nearly full asks neither for long.
    fn due(&self) -> Option<Revision> {
        if self.proposed.is_some() || (self.retain_revisions, self.retain_for) == (None, None) {
            return None;
        }
        let most = self.retain_revisions.unwrap_or(u64::MAX);
        let quota = self.quota_bytes.filter(|_| !mutant::on(Mutant::FullStoreKeepsHistory));
        let (retain, passed) = match quota {
            Some(quota) if self.stored_bytes >= quota => (Some(0), None),
            Some(quota) if self.stored_bytes >= quota / 4 * 3 => {
                (Some(most.min(RETAINED_NEARLY_FULL)), None)
            }
            _ => (self.retain_revisions, self.retain_for.map(|_| self.passed)),
        };
        let by_count = retain.map_or(Some(self.revision), |retain| self.beyond(retain))?;
        let target = passed.map_or(by_count, |passed| by_count.min(passed));
        (target > self.compacted).then_some(target)
    }

    /// The revision to compact to so that so many stay readable, if there are enough more. An eighth more is
    /// kept, so that compaction is rare next to writes.
    fn beyond(&self, retain: u64) -> Option<Revision> {
        let kept = self.revision.0 - self.compacted.0;
        // A full store forgets at once: the next deletion may be the only one that comes.
        let slack = if retain == 0 { 0 } else { (retain / 8).max(1) };
        (kept > retain + slack).then(|| Revision(self.revision.0 - retain))
    }
}

impl<C: Consensus> Replica<C> {
    /// Proposes a compaction if this node leads and more is kept than is to be.
    pub(super) fn compact_if_due(&mut self, now: Now, effects: &mut ReplicaEffects<C::Message>) {
        self.compaction.note_time(now.time);
        let Leadership::Established { .. } = self.leadership else { return };
        let Some(revision) = self.compaction.due() else { return };
        if self.propose_unasked(now, Command::Compact { revision }, effects) {
            self.compaction.proposed = Some(revision);
        }
    }
}

#[cfg(test)]
mod tests {
    use consensus::NodeId;

    use super::*;
    use crate::replica::LEASE_CHECKPOINT_INTERVAL_DEFAULT;

    fn compaction(revisions: Option<u64>, seconds: Option<u64>, quota: Option<u64>) -> Compaction {
        let settings = ReplicaSettings {
            id: NodeId(1),
            incarnation: 1,
            requests_max: 1,
            request_bytes_max: 1,
            retain_revisions: revisions,
            retain_for: seconds.map(Duration::from_secs),
            quota_bytes: quota,
            lease_checkpoint_interval: LEASE_CHECKPOINT_INTERVAL_DEFAULT,
            digest_interval: None,
        };
        Compaction::new(&settings, &Restored { revision: Revision(1), ..Restored::default() })
    }

    fn seconds(seconds: u64) -> Time {
        Time(seconds * 1_000_000)
    }

    fn apply(compaction: &mut Compaction, at: u64, revision: u64) {
        let progress = Progress { revision: Revision(revision), ..Progress::default() };
        compaction.applied(seconds(at), &progress);
    }

    #[test]
    fn so_many_revisions_are_retained_and_an_eighth_more() {
        let mut compaction = compaction(Some(80), None, None);
        apply(&mut compaction, 0, 90);
        assert_eq!((compaction.due(), compaction.next_deadline()), (None, None));
        apply(&mut compaction, 0, 91);
        assert_eq!(compaction.due(), Some(Revision(11)));
    }

    #[test]
    fn what_was_present_within_the_time_is_retained_and_nothing_else() {
        let mut compaction = compaction(None, Some(320), None);
        for at in 0..1_000 {
            apply(&mut compaction, at, 2 + at);
            let (oldest, kept) = ((at + 2).saturating_sub(320), compaction.passed.0);
            assert!(kept <= oldest.max(1), "at {at} revision {kept} would be the oldest");
            assert!(kept + 11 >= oldest, "at {at} revision {kept} would be the oldest");
            assert!(compaction.moments.len() <= 34, "{} moments", compaction.moments.len());
        }
        assert_eq!(compaction.due(), Some(compaction.passed));
    }

    #[test]
    fn an_idle_store_is_compacted_when_the_time_has_passed_and_then_left_alone() {
        let mut compaction = compaction(None, Some(320), None);
        apply(&mut compaction, 0, 2);
        apply(&mut compaction, 1, 9);
        let mut deadlines = Vec::new();
        while let Some(due) = compaction.next_deadline() {
            deadlines.push(due);
            compaction.note_time(due);
        }
        assert_eq!(deadlines, [seconds(10), seconds(320), seconds(330)]);
        assert_eq!(compaction.due(), Some(Revision(9)));
    }

    #[test]
    fn both_must_allow_it_unless_the_store_is_nearly_full() {
        let mut compaction = compaction(Some(10), Some(320), Some(1_000));
        apply(&mut compaction, 0, 100);
        assert_eq!(compaction.due(), None, "the time has not passed");
        apply(&mut compaction, 320, 101);
        assert_eq!(compaction.due(), Some(Revision(91)), "the number is less than the time allows");
        let revision = Revision(3_000);
        let full = Progress { revision, stored_bytes: 1_000, ..Progress::default() };
        compaction.applied(seconds(321), &Progress { stored_bytes: 749, ..full.clone() });
        assert_eq!(compaction.due(), Some(Revision(100)), "the time is more than the number");
        compaction.applied(seconds(321), &full);
        assert_eq!(compaction.due(), Some(revision));
    }

    #[test]
    fn of_a_time_alone_a_store_that_is_nearly_full_retains_a_thousand_revisions() {
        let mut compaction = compaction(None, Some(320), Some(1_000));
        let progress = Progress { revision: Revision(3_000), ..Progress::default() };
        compaction.applied(seconds(0), &Progress { stored_bytes: 750, ..progress });
        assert_eq!(compaction.due(), Some(Revision(2_000)));
    }
}
