//! Judges what clients were told of leases: none ends before its time, as long as nobody revokes it, and
//! whoever asks for one that is there hears so.
//!
//! A lease begins and ends when the first node applies that. A client that is told that its lease is
//! granted or renewed may count on it from the moment at which it asked; no leader counts the time from any
//! earlier moment. Leaders count with their own clocks, which may go fast.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::{Consensus, Time, Violation};
use kvcore::LeaseId;

use crate::cluster::Cluster;
use crate::history::{Action, OperationId, OperationResult};
use crate::model::Expected;

/// What an entry did to a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseEvent {
    Granted(LeaseId),
    Revoked(LeaseId),
    Expired(LeaseId),
}

/// What is known of a lease that was granted last under its number.
#[derive(Clone, Copy, Debug)]
struct Tenancy {
    granted: Time,
    /// When its client heard of it.
    heard: Option<Time>,
    /// Since when somebody counts on it, and for how many milliseconds.
    counted_on: Option<(Time, u64)>,
    /// When it ended, and whether because its time was over.
    ended: Option<(Time, bool)>,
}

/// All leases that there were.
#[derive(Debug, Default)]
pub(crate) struct Tenancies {
    tenancies: BTreeMap<LeaseId, Tenancy>,
    /// How much faster than it should the fastest clock went so far, in millionths.
    fastest_millionths: u64,
}

impl Tenancies {
    /// A clock goes fast or slow from now on.
    pub(crate) fn drift(&mut self, millionths: i64) {
        self.fastest_millionths = self.fastest_millionths.max(millionths.max(0).unsigned_abs());
    }

    /// The least time, by a clock that goes right, that somebody takes for so long.
    pub(crate) fn least(&self, millis: u64) -> Duration {
        Duration::from_micros(millis * 1_000 * 1_000_000 / (1_000_000 + self.fastest_millionths))
    }

    /// The first node applied what this is about.
    pub(crate) fn applied(&mut self, now: Time, event: LeaseEvent) -> Result<(), Violation> {
        let lease = match event {
            LeaseEvent::Granted(lease) => {
                let tenancy = Tenancy { granted: now, heard: None, counted_on: None, ended: None };
                self.tenancies.insert(lease, tenancy);
                return Ok(());
            }
            LeaseEvent::Revoked(lease) | LeaseEvent::Expired(lease) => lease,
        };
        let tenancy = self.tenancies.get(&lease).expect("only what was granted ends");
        // Clocks that went fast since it was promised count as well.
        let until = tenancy.counted_on.map(|(asked, millis)| asked + self.least(millis));
        let is_expired = matches!(event, LeaseEvent::Expired(_));
        if is_expired && until.is_some_and(|until| until > now) {
            return Err(Violation::new(
                "no lease ends before its time",
                format!("lease {lease} ends at {:?}: {tenancy:?}", now.0),
            ));
        }
        let tenancy = self.tenancies.get_mut(&lease).expect("looked at just now");
        tenancy.ended = Some((now, is_expired));
        Ok(())
    }

    /// A client hears that it has a lease for so long since it asked.
    fn counts_on(&mut self, lease: LeaseId, asked: Time, millis: u64) -> Result<(), Violation> {
        let until = asked + self.least(millis);
        let Some(tenancy) = self.tenancies.get_mut(&lease) else {
            return Err(Violation::new(
                "a lease that is told of was granted",
                format!("lease {lease}, asked for at {}", asked.0),
            ));
        };
        match tenancy.ended {
            Some((ended, is_expired))
                if tenancy.granted < asked && (ended < asked || is_expired && ended < until) =>
            {
                Err(Violation::new(
                    "a lease that was renewed lives on",
                    format!("lease {lease} was asked for at {}: {tenancy:?}", asked.0),
                ))
            }
            Some(_) => Ok(()),
            None => {
                if tenancy.counted_on.is_none_or(|(before, _)| before < asked) {
                    tenancy.counted_on = Some((asked, millis));
                }
                Ok(())
            }
        }
    }

    /// A client hears that there is no such lease.
    fn is_not_there(&self, lease: LeaseId, asked: Time) -> Result<(), Violation> {
        match self.tenancies.get(&lease) {
            Some(Tenancy { heard: Some(heard), ended: None, .. }) if *heard < asked => {
                Err(Violation::new(
                    "a lease that is there is found",
                    format!("lease {lease}, asked for at {}", asked.0),
                ))
            }
            _ => Ok(()),
        }
    }
}

impl<C: Consensus> Cluster<C> {
    /// Notes what was applied for the first time.
    pub(crate) fn note_leases(&mut self) -> Result<(), Violation> {
        let now = self.agenda.now();
        for event in std::mem::take(&mut self.oracle.model.lease_events) {
            self.counters.leases_granted += u64::from(matches!(event, LeaseEvent::Granted(_)));
            self.counters.leases_expired += u64::from(matches!(event, LeaseEvent::Expired(_)));
            self.tenancies.applied(now, event)?;
        }
        Ok(())
    }

    /// A client hears what came of an operation.
    pub(crate) fn hear_of_leases(
        &mut self,
        operation: OperationId,
        result: &OperationResult,
    ) -> Result<(), Violation> {
        let now = self.agenda.now();
        let asked = self.history.get(operation);
        let invoked = asked.invoked;
        match (&asked.action, result) {
            (_, OperationResult::Written { repeated: true, .. }) => Ok(()),
            (_, OperationResult::Written { expected, .. }) => {
                let Expected::Granted { lease, ttl_millis } = *expected else { return Ok(()) };
                let tenancy = self.tenancies.tenancies.get_mut(&lease);
                if let Some(tenancy) = tenancy.filter(|tenancy| tenancy.granted >= invoked) {
                    tenancy.heard.get_or_insert(now);
                    self.tenancies.counts_on(lease, invoked, ttl_millis)?;
                }
                Ok(())
            }
            (Action::KeepAlive(lease), OperationResult::LeaseLives { millis }) => {
                let lease = *lease;
                self.counters.keepalives += 1;
                self.tenancies.counts_on(lease, invoked, *millis)
            }
            (
                Action::KeepAlive(lease) | Action::LeaseTime(lease),
                OperationResult::LeaseNotThere,
            ) => self.tenancies.is_not_there(*lease, invoked),
            _ => Ok(()),
        }
    }
}
