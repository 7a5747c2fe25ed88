//! Granting, renewing and ending leases.

use super::rows::Doomed;
use crate::lease::{Checkpoint, LEASES_MAX, LeaseCommand, LeaseId, LeaseTime};
use crate::machine::Machine;
use crate::outcome::Outcome;
use crate::records::{RecordKey, RecordValue};
use crate::store::Store;
use consensus::{Mutant, mutant};

impl<S: Store> Machine<S> {
    pub(super) fn change_lease(&mut self, command: LeaseCommand) -> Outcome {
        match command {
            LeaseCommand::Grant { lease, ttl_millis } => self.grant(lease, ttl_millis),
            LeaseCommand::Revoke { lease } => self.end_lease(lease),
            LeaseCommand::Renew { lease } => self.renew(lease),
            LeaseCommand::Checkpoint { leases } => {
                for checkpoint in leases {
                    self.note_checkpoint(checkpoint);
                }
                Outcome::LeasesNoted
            }
            LeaseCommand::Expire { lease, renewed, term } => {
                let time = self.leases.get(lease).map(|there| there.time);
                let decided_now = term == self.under_way.position.term;
                // While an alarm stands nobody can keep a lease alive, so none ends for want of that.
                let stands_still =
                    !self.alarms.is_empty() && !mutant::on(Mutant::ExpiresUnderAlarm);
                if decided_now && !stands_still && time.is_some_and(|time| time.renewed == renewed)
                {
                    self.end_lease(lease)
                } else {
                    // Whoever decided it has heard of the renewal or of the alarm, or counts no more.
                    Outcome::LeasesNoted
                }
            }
        }
    }

    fn grant(&mut self, lease: Option<LeaseId>, ttl_millis: u64) -> Outcome {
        if let Some(lease) = lease.filter(|lease| self.leases.get(*lease).is_some()) {
            return Outcome::LeaseExists { lease };
        }
        if self.leases.len() >= LEASES_MAX {
            return Outcome::TooManyLeases;
        }
        let lease = match lease {
            Some(lease) => {
                self.set_lease(lease, Some(self.full_time(ttl_millis)));
                lease
            }
            None => self.grant_next(ttl_millis),
        };
        Outcome::Granted { lease, ttl_millis }
    }

    /// Grants a lease whose number is that of the entry, or the next one that is free.
    pub(super) fn grant_next(&mut self, ttl_millis: u64) -> LeaseId {
        let first = self.under_way.position.index.0;
        let mut numbers = (0..).map(|more| (first + more).cast_signed() & i64::MAX);
        let lease = numbers.find_map(|number| {
            LeaseId::new(number).filter(|lease| self.leases.get(*lease).is_none())
        });
        let lease = lease.expect("there are far fewer leases than numbers");
        self.set_lease(lease, Some(self.full_time(ttl_millis)));
        lease
    }

    fn renew(&mut self, lease: LeaseId) -> Outcome {
        let Some(there) = self.leases.get(lease) else { return Outcome::LeaseNotFound { lease } };
        let ttl_millis = there.time.ttl_millis;
        self.set_lease(lease, Some(self.full_time(ttl_millis)));
        Outcome::Renewed { lease, ttl_millis }
    }

    fn full_time(&self, ttl_millis: u64) -> LeaseTime {
        let renewed = self.under_way.position.index;
        LeaseTime { ttl_millis, remaining_millis: ttl_millis, renewed }
    }

    /// Time only passes: a checkpoint gives no lease more than it has.
    fn note_checkpoint(&mut self, checkpoint: Checkpoint) {
        let Checkpoint { lease, renewed, remaining_millis } = checkpoint;
        let time = self.leases.get(lease).map(|there| there.time);
        if let Some(time) = time.filter(|time| time.renewed == renewed) {
            let remaining_millis = remaining_millis.min(time.remaining_millis);
            self.set_lease(lease, Some(LeaseTime { remaining_millis, ..time }));
        }
    }

    /// Ends a lease: its keys are deleted in their order, all in one revision.
    fn end_lease(&mut self, lease: LeaseId) -> Outcome {
        let Some(there) = self.leases.get(lease) else { return Outcome::LeaseNotFound { lease } };
        let with_current = |key| self.index.entry(key).current().map(|current| (key, current));
        let mut existing: Vec<_> = there.keys().filter_map(with_current).collect();
        existing.sort_unstable_by(|(one, _), (other, _)| {
            self.index.entry(*one).key().cmp(self.index.entry(*other).key())
        });
        if mutant::on(Mutant::LeaseLeavesKeys)
            && let Some((key, _)) = existing.pop()
        {
            let bytes = self.index.entry(key).key().len();
            self.leases.attach(key, bytes, None);
        }
        if mutant::on(Mutant::FamilyMissesExpiry) {
            self.under_way.time = None;
        }
        let doomed = Doomed { keys: existing, ..Doomed::default() };
        let keys = self.delete_doomed(doomed, false).count;
        self.set_lease(lease, None);
        Outcome::LeaseEnded { lease, keys }
    }

    /// What the log says of a lease from this entry on; `None` ends it.
    fn set_lease(&mut self, lease: LeaseId, time: Option<LeaseTime>) {
        let before = self.leases.get(lease).map(|there| RecordValue::Lease(there.time));
        match time {
            Some(time) => self.leases.set(lease, time),
            None => self.leases.remove(lease),
        }
        let index = self.under_way.position.index;
        let now = time.map(RecordValue::Lease);
        self.records.change(index, RecordKey::Lease(lease), before, now);
    }
}
