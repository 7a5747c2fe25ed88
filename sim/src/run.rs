//! One run from beginning to end: faults and load, repair, proof that the cluster serves again, and
//! the judgement of everything that clients saw.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use consensus::{Consensus, NodeId, Time, Violation, mutant};
use kvcore::IdempotencyLimits;

use crate::check_by_search;
use crate::check_linearizable;
use crate::check_once;
use crate::client::{Client, KEYS};
use crate::cluster::Cluster;
use crate::history::{self, Action, OperationResult};
use crate::latency::Links;
use crate::options::{SimOptions, Surroundings};
use crate::report::{Failure, Report};

/// How long after the repair every node must have answered a write, and how long if each message needs a
/// tenth of a second.
const RECOVERY_MAX: Duration = Duration::from_secs(20);
const RECOVERY_WAN_MAX: Duration = Duration::from_secs(120);
/// How long after the last request all nodes must be equal.
const AGREEMENT_MAX: Duration = Duration::from_secs(20);

/// Runs a cluster of nodes of the protocol `C`, and checks every law on the way.
///
/// # Errors
/// The first broken law, with the transcript that led to it.
pub fn run<C: Consensus>(options: &SimOptions) -> Result<Report, Box<Failure>> {
    match attempt::<C>(options, false) {
        Ok(report) => Ok(report),
        // The same again, this time with words.
        Err(failure) => match attempt::<C>(options, true) {
            Err(told) if told.hash == failure.hash => Err(told),
            other => {
                let hash = other.map_or_else(|told| told.hash, |report| report.hash);
                let details = format!(
                    "{}; then, when it was run again, its hash was {hash:016x} and not {:016x}",
                    failure.violation, failure.hash
                );
                let violation = Violation::new("equal options give equal runs", details);
                Err(Box::new(Failure { violation, ..*failure }))
            }
        },
    }
}

/// One run, with words or without.
pub(crate) fn attempt<C: Consensus>(
    options: &SimOptions,
    transcript: bool,
) -> Result<Report, Box<Failure>> {
    mutant::with(options.mutant, || live::<C>(options, transcript))
}

fn live<C: Consensus>(options: &SimOptions, transcript: bool) -> Result<Report, Box<Failure>> {
    let fail = |violation, time, hash, faults, transcript| {
        let options = options.clone();
        let protocol = C::PROTOCOL;
        Box::new(Failure { options, protocol, time, violation, hash, faults, transcript })
    };
    let surroundings = options.workload.as_ref().map(|workload| {
        Surroundings::for_workload(options.links, options.think, workload.value_bytes)
    });
    let mut cluster = Cluster::<C>::new(options, surroundings, transcript)
        .map_err(|violation| fail(violation, Time(0), 0, Vec::new(), Vec::new()))?;
    // A law that is asserted where it must hold is broken as any other.
    let violation = match catch_unwind(AssertUnwindSafe(|| cluster.live())) {
        Ok(Ok(report)) => return Ok(report),
        Ok(Err(violation)) => violation,
        Err(panic) => Violation::new("a law that the code asserts", message(panic.as_ref())),
    };
    let (time, hash) = (cluster.agenda.now(), cluster.trace.hash());
    Err(fail(violation, time, hash, cluster.script.came, cluster.trace.into_lines()))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

impl<C: Consensus> Cluster<C> {
    /// The whole of a run.
    fn live(&mut self) -> Result<Report, Violation> {
        self.begin_workload()?;
        let end = self.began + self.options.duration;
        self.run_until(end, |_| false)?;
        self.heal();
        let healed = self.agenda.now();
        let begun = self.history.len();
        let is_wan = self.options.links == Links::Wan;
        let recovery_max = if is_wan { RECOVERY_WAN_MAX } else { RECOVERY_MAX };
        let served = self.run_until(healed + recovery_max, |cluster| {
            cluster.leader.is_some() && cluster.all_nodes_acknowledged_since(begun)
        })?;
        if !served {
            return Err(Violation::new(
                "a repaired cluster serves again",
                format!("not within {recovery_max:?}: {}", self.describe()),
            ));
        }
        let recovery = self.agenda.now().since(healed);
        self.clients_stop = true;
        let until = self.agenda.now() + AGREEMENT_MAX;
        if !self.run_until(until, |cluster| {
            cluster.oracle.model.leases.is_empty() && cluster.is_settled()
        })? {
            return Err(Violation::new(
                "all nodes of a cluster at rest become equal, and no lease is left",
                format!("not within {AGREEMENT_MAX:?}: {}", self.describe()),
            ));
        }
        self.check_watchers_at_rest()?;
        self.check_told_at_rest()?;
        let one_leader = self.invariants.leaders().len() == 1;
        check_linearizable::check(&self.history, &self.oracle, one_leader)?;
        let promised = self.surroundings.idempotency;
        let forgets = promised != IdempotencyLimits::default();
        self.counters.searches_given_up =
            check_by_search::check(&self.history, &self.keys(), forgets)?;
        let once = check_once::check(&self.history, &self.oracle, promised)?;
        self.counters.done_anew = once.done_anew;
        self.counters.refused_forgotten = once.refused_forgotten;
        self.counters.keys_expired = self.oracle.model.expired;
        self.counters.keys_evicted = self.oracle.model.evicted;
        let mut terms = BTreeMap::new();
        for process in self.nodes.values().filter_map(|node| node.process.as_ref()) {
            terms.clone_from(process.replica.core().view().log.terms());
            self.trace.fold(&process.replica);
        }
        Ok(Report {
            hash: self.trace.hash(),
            counters: self.counters,
            committed: self.invariants.committed(),
            terms,
            leaders: self.invariants.leaders().len(),
            operations: self.history.len(),
            recovery,
            workload: self.workload_report(),
            duration: self.agenda.now().since(Time(0)),
        })
    }

    /// The keys that are judged one by one.
    fn keys(&self) -> BTreeSet<Bytes> {
        match &self.options.workload {
            Some(workload) => workload.keys(),
            None => (0..KEYS).map(history::key).collect(),
        }
    }

    /// Every node acknowledged a write that was asked for since the operation of that number, and that may
    /// have stored something: deletions are done where there is no room.
    fn all_nodes_acknowledged_since(&self, begun: usize) -> bool {
        // Looked at only after an acknowledgement, because it looks at every operation since.
        if self.last_acknowledged.is_none_or(|(_, at)| at != self.agenda.now()) {
            return false;
        }
        let acknowledged = |id: NodeId| {
            self.history.iter().skip(begun).any(|(_, operation)| {
                let stores =
                    matches!(&operation.action, Action::Write(command, _) if command.stores());
                stores
                    && operation.taken_by.is_some_and(|life| life.node == id)
                    && matches!(operation.success(), Some((_, OperationResult::Written { .. })))
            })
        };
        self.nodes.keys().all(|&id| acknowledged(id))
    }

    /// No client waits, and every node has applied everything and holds nothing else.
    fn is_settled(&self) -> bool {
        let mut last = None;
        self.clients.iter().all(Client::is_idle)
            && self.nodes.values().all(|node| {
                node.process.as_ref().is_some_and(|process| {
                    let status = process.replica.status();
                    let settled = status.last.index == status.commit
                        && process.machine.applied() == status.last
                        && process.replica.requests_pending() == 0
                        && last.is_none_or(|last| last == (status.last, process.machine.state()));
                    last = Some((status.last, process.machine.state()));
                    settled
                })
            })
    }

    fn describe(&self) -> String {
        let nodes = self.nodes.values().map(|node| match &node.process {
            None => format!("{} is down", node.id),
            Some(process) => {
                let status = process.replica.status();
                format!(
                    "{} {} {:?} term={} last={} commit={} durable={} delivered={} applied={} \
                     waiting={}",
                    node.id,
                    status.role,
                    status.leadership,
                    status.term,
                    status.last,
                    status.commit,
                    status.durable,
                    status.delivered,
                    process.machine.applied(),
                    process.replica.requests_pending()
                )
            }
        });
        nodes.collect::<Vec<_>>().join("; ")
    }
}
