//! Comparing digests: the leader tells its own now and then, and a replica that had another raises an alarm.
//! What that is good for is told in [`crate::alarm`].

use std::time::Duration;

use consensus::{Consensus, Index, Leadership, Mutant, NodeId, Now, Time, mutant};

use super::{RETRY_WAIT, Replica, ReplicaEffects, ReplicaMessage};
use crate::alarm::{AlarmCommand, Corruption};
use crate::{Command, Progress, Restored};

/// How often leaders compare digests by default, where anything is applied.
pub const DIGEST_INTERVAL_DEFAULT: Duration = Duration::from_secs(30);

/// How long an alarm is waited for before it is raised again.
const RAISED_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What is to be compared, and what was found.
#[derive(Clone, Debug, Hash)]
pub(super) struct Digests {
    interval: Option<Duration>,
    /// The digest of the state after the last entry that is applied here.
    digest: u128,
    /// Up to here there is nothing to compare: behind it the leader has proposed no more than that.
    compared: Index,
    /// When the leader compares next, if there is anything to compare.
    next: Option<Time>,
    /// This node's state was another than the leader's, and no alarm stands about that yet.
    difference: Option<Corruption>,
    /// The alarm is not raised again before.
    raised_until: Time,
}

impl Digests {
    pub(super) fn new(interval: Option<Duration>, restored: &Restored) -> Self {
        Self {
            interval,
            digest: restored.digest,
            compared: Index(0),
            next: None,
            difference: restored.difference,
            raised_until: Time(0),
        }
    }

    /// Whoever leads now compares what it inherits once, too: what was proposed before may be lost.
    pub(super) fn leadership_changed(&mut self) {
        self.compared = Index(0);
        self.next = None;
        self.raised_until = Time(0);
    }

    pub(super) fn applied(&mut self, own: NodeId, progress: &Progress) {
        self.digest = progress.digest;
        self.difference = progress.difference.or(self.difference);
        if progress.alarms.contains(&own) {
            self.difference = None;
        }
    }

    /// Whether the leader is to compare now. What was applied since it last did is compared after a while.
    fn is_due(&mut self, now: Time, applied: Index) -> bool {
        let Some(interval) = self.interval else { return false };
        applied > self.compared && *self.next.get_or_insert(now + interval) <= now
    }

    /// When there is something to do for a node in this position.
    pub(super) fn next_deadline(&self, leadership: Leadership) -> Option<Time> {
        let leads = matches!(leadership, Leadership::Established { .. });
        let compares = self.next.filter(|_| leads);
        let raises = self.difference.is_some() && leadership != Leadership::None;
        compares.into_iter().chain(raises.then_some(self.raised_until)).min()
    }
}

impl<C: Consensus> Replica<C> {
    /// Tells the others the digest of this node if it leads and it is time, and raises an alarm if there is
    /// one to be raised.
    pub(super) fn compare_if_due(&mut self, now: Now, effects: &mut ReplicaEffects<C::Message>) {
        if let Leadership::Established { .. } = self.leadership
            && self.digests.is_due(now.time, self.applied)
        {
            let (index, digest) = (self.applied, self.digests.digest);
            let wrong = mutant::on(Mutant::ComparesAnotherEntry);
            let index = if wrong { Index(index.0 - 1) } else { index };
            let leader = self.settings.id;
            let command = Command::Alarm(AlarmCommand::Compare { index, digest, leader });
            self.digests.next = if self.propose_unasked(now, command, effects) {
                self.digests.compared = self.core.view().log.last().index;
                None
            } else {
                Some(now.time + RETRY_WAIT)
            };
        }
        if self.digests.raised_until <= now.time
            && let Some(corruption) = self.digests.difference
        {
            self.raise_alarm(now, corruption, effects);
        }
    }

    fn raise_alarm(
        &mut self,
        now: Now,
        corruption: Corruption,
        effects: &mut ReplicaEffects<C::Message>,
    ) {
        let node = self.settings.id;
        let command = Command::Alarm(AlarmCommand::Raise { node, corruption });
        match self.leadership {
            Leadership::None => return,
            Leadership::Established { .. } => {
                self.propose_unasked(now, command, effects);
            }
            Leadership::Following { leader, term } => {
                let envelopes = vec![self.unasked(command)];
                effects.messages.push((leader, ReplicaMessage::Forward { term, envelopes }));
            }
        }
        // A refusal tells nobody anything.
        self.digests.raised_until = now.time + RAISED_AGAIN_AFTER;
    }
}
