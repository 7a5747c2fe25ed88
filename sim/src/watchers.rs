//! Watchers: each follows some changes of some keys from a revision on, which may be one that does not exist
//! yet, now at one node and now at another; and now and then it begins another watch. Every pull is compared
//! with the model at once: exactly what was asked for, ordered, gapless, no duplicates, whole revisions,
//! nothing from before the revision asked for.

use std::time::Duration;

use consensus::{Consensus, Mutant, NodeId, Random, Violation, mutant};
use kvcore::store::Store;
use kvcore::{
    Event, EventKind, EventLimits, EventsPlan, FetchError, KeyValue, Keys, Machine, Range,
    Revision, RevisionEvents, WatchFilter,
};

use crate::agenda::{Happening, Life};
use crate::cluster::Cluster;
use crate::model::{self, Model};

/// A watcher.
#[derive(Clone, Debug)]
pub(crate) struct Watcher {
    random: Random,
    node: NodeId,
    filter: WatchFilter,
    /// Where it goes on.
    from: Revision,
    /// What was planned for it in its last turn.
    pull: Option<Pull>,
}

/// What a node is about to give to a watcher.
#[derive(Clone, Debug)]
struct Pull {
    life: Life,
    from: Revision,
    /// What was compacted when the events were planned.
    compacted: Revision,
    plan: EventsPlan,
}

impl Watcher {
    /// One that watches what it draws, or everything.
    pub(crate) fn new(random: &mut Random, watches_all: bool) -> Self {
        let mut random = Random::new(random.next_u64());
        let filter = match watches_all {
            true => WatchFilter { keys: Keys::all(), puts: true, deletes: true, previous: false },
            false => filter(&mut random),
        };
        Self { random, node: NodeId(1), filter, from: Revision(1), pull: None }
    }

    fn limits(&mut self) -> EventLimits {
        let mut up_to = |most| usize::try_from(1 + self.random.below(most)).expect("small");
        EventLimits { revisions_max: up_to(40), events_max: up_to(20), bytes_max: up_to(5_000) }
    }

    /// Begins another watch: from the oldest revision that is left, which is soon compacted, from some time
    /// ago, or from a revision that does not exist yet.
    fn begin_anew(&mut self, revision: Revision, compacted: Revision) {
        self.filter = filter(&mut self.random);
        self.from = Revision(match self.random.below(4) {
            0 => compacted.0.max(1),
            1 => revision.0 + 1 + self.random.below(40),
            _ => revision.0.saturating_sub(self.random.below(60)).max(1),
        });
    }
}

/// What a watch is about.
fn filter(random: &mut Random) -> WatchFilter {
    let keys = match random.below(6) {
        0 | 1 => Keys::all(),
        2 => Keys::Prefix("a/".into()),
        3 => Keys::Prefix("t".into()),
        4 => Keys::Between { from: "a/2".into(), to: Some("t/1".into()) },
        _ => Keys::One("b/1".into()),
    };
    let (puts, deletes) = match random.below(4) {
        0 => (true, false),
        1 => (false, true),
        _ => (true, true),
    };
    WatchFilter { keys, puts, deletes, previous: random.one_in(2) }
}

impl<C: Consensus> Cluster<C> {
    /// A watcher pulls once from its node, if that runs: at once, or it hears in its next turn what is planned
    /// for it in this one.
    pub(crate) fn watch_turn(&mut self, number: usize) -> Result<(), Violation> {
        let watcher = &mut self.watchers[number];
        let pause = watcher.random.duration_up_to(Duration::from_millis(60));
        self.agenda.after(pause, Happening::WatchTurn(number));
        if let Some(pull) = watcher.pull.take() {
            return self.fetch_pull(number, pull);
        }
        // Of a workload they watch everything, from the beginning on.
        if self.options.workload.is_none() && watcher.random.one_in(30) {
            let revision = self.oracle.model.revision();
            watcher.begin_anew(revision, self.oracle.model.compacted());
            self.watched[number] = watcher.from;
            self.counters.watches_ahead += u64::from(watcher.from > revision);
        }
        if watcher.random.one_in(10) {
            watcher.node = self.options.any_member(&mut watcher.random);
            if mutant::on(Mutant::WatchSkipsRevision) {
                watcher.from = Revision(watcher.from.0 + 1);
            }
        }
        let Some(pull) = self.plan_pull(number)? else { return Ok(()) };
        let watcher = &mut self.watchers[number];
        if watcher.random.one_in(3) {
            watcher.pull = Some(pull);
            return Ok(());
        }
        self.fetch_pull(number, pull)
    }

    /// A node plans what a watcher is given. Nothing, if it does not run, or if that is compacted.
    fn plan_pull(&mut self, number: usize) -> Result<Option<Pull>, Violation> {
        let watcher = &mut self.watchers[number];
        let node = &self.nodes[&watcher.node];
        let Some(process) = node.process.as_ref().filter(|_| node.paused.is_none()) else {
            return Ok(None);
        };
        let limits = watcher.limits();
        let from = watcher.from;
        let plan = match process.machine.events(&watcher.filter, from, limits) {
            Ok(plan) => plan,
            Err(compacted) => {
                if compacted.compacted <= from
                    || compacted.compacted > self.oracle.model.compacted()
                {
                    let details = format!("{}: {compacted}", watcher.node);
                    return Err(Violation::new("a watch ends only when it was compacted", details));
                }
                watcher.from = compacted.compacted;
                return Ok(None);
            }
        };
        let known = self.watched.get(number).copied().unwrap_or(Revision(1));
        if from > known.max(Revision(1)) && from > self.oracle.model.compacted() {
            return Err(Violation::new(
                "a watch goes on where it was",
                format!("watcher {number} goes on at {from}, it knows everything before {known}"),
            ));
        }
        let compacted = process.machine.compacted();
        Ok(Some(Pull { life: process.life, from, compacted, plan }))
    }

    /// A watcher hears what was planned for it, unless that node ended or has forgotten it by now.
    fn fetch_pull(&mut self, number: usize, pull: Pull) -> Result<(), Violation> {
        let Pull { life, from, compacted, plan } = pull;
        if self.nodes[&life.node].paused.is_some() {
            return Ok(());
        }
        let Some(process) = self.process(life) else { return Ok(()) };
        let events = match plan.fetch(process.machine.store()) {
            Ok(events) => events,
            Err(FetchError::Vanished(_)) => {
                self.counters.watches_vanished += 1;
                return Ok(());
            }
            Err(FetchError::Store(error)) => {
                return Err(Violation::new("the store works", format!("{}: {error}", life.node)));
            }
        };
        let watcher = &mut self.watchers[number];
        let model = &self.oracle.model;
        check(model, &watcher.filter, from, compacted, &events.revisions, events.next).map_err(
            |what| {
                Violation::new(
                    "a watch is ordered, gapless, without duplicates, in whole revisions",
                    format!("watcher {number} at {} from {from}: {what}", life.node),
                )
            },
        )?;
        self.counters.watched += events.revisions.len() as u64;
        watcher.from = events.next;
        self.watched[number] = events.next;
        Ok(())
    }
}

impl<C: Consensus> Cluster<C> {
    /// A cluster at rest tells every watcher at every node everything that there is to tell: it must not
    /// stay where it is.
    pub(crate) fn check_watchers_at_rest(&self) -> Result<(), Violation> {
        for (number, watcher) in self.watchers.iter().enumerate() {
            for (id, node) in &self.nodes {
                let process = node.process.as_ref().expect("at rest all nodes run");
                let machine = &process.machine;
                let known = self.watched[number].max(machine.compacted());
                let stays = |what: String| {
                    let details = format!("watcher {number} at {id} from {known}: {what}");
                    Violation::new("a watch gets to the end", details)
                };
                let mut from = known;
                while from <= machine.revision() {
                    let plan = machine.events(&watcher.filter, from, SMALL);
                    let plan = plan.map_err(|compacted| stays(compacted.to_string()))?;
                    let events = plan.fetch(machine.store());
                    let events = events.map_err(|error| stays(error.to_string()))?;
                    if events.next <= from {
                        return Err(stays(format!("it stays at {from}")));
                    }
                    let (got, next) = (&events.revisions, events.next);
                    let model = &self.oracle.model;
                    check(model, &watcher.filter, from, machine.compacted(), got, next)
                        .map_err(stays)?;
                    from = next;
                }
            }
        }
        Ok(())
    }
}

/// What one pull tells of a cluster at rest.
const SMALL: EventLimits = EventLimits { revisions_max: 64, events_max: 64, bytes_max: 64 << 10 };

/// Compares everything that a machine holds with what the model has: all keys as they are now, and
/// all changes that were not compacted.
pub(crate) fn check_whole<S: Store>(model: &Model, machine: &Machine<S>) -> Result<(), String> {
    let (revision, compacted) = (machine.revision(), machine.compacted());
    let all = Keys::all();
    let range = machine.range(&Range::of(all.clone())).map_err(|error| error.to_string())?;
    let expected = model.range(&all, revision);
    let expected = expected.map(|(key, version)| model::key_value(key, version));
    if !expected.eq(range.key_values) {
        return Err(format!("the keys at revision {revision} are others"));
    }
    let filter = WatchFilter { previous: true, ..WatchFilter::of(all) };
    let limits =
        EventLimits { revisions_max: usize::MAX, events_max: usize::MAX, bytes_max: usize::MAX };
    let plan = machine.events(&filter, compacted, limits).map_err(|error| error.to_string())?;
    let events = plan.fetch(machine.store()).map_err(|error| error.to_string())?;
    check(model, &filter, compacted, compacted, &events.revisions, events.next)?;
    model.check_stats(machine)
}

/// Compares the events from one revision up to another with what the model has.
fn check(
    model: &Model,
    filter: &WatchFilter,
    from: Revision,
    compacted: Revision,
    got: &[RevisionEvents],
    next: Revision,
) -> Result<(), String> {
    if next < from {
        return Err(format!("it is to go on at {next}"));
    }
    if next.0 > model.revision().0.max(from.0.saturating_sub(1)) + 1 {
        return Err(format!("it is to go on at {next}, the revision is {}", model.revision()));
    }
    let first = from.max(Revision(2));
    let expected: Vec<RevisionEvents> = (first.0..next.0)
        .map(|revision| wanted(model, filter, Revision(revision), compacted))
        .filter(|revision| !revision.events.is_empty())
        .collect();
    if expected == got {
        return Ok(());
    }
    let revisions = |events: &[RevisionEvents]| -> Vec<u64> {
        events.iter().map(|revision| revision.revision.0).collect()
    };
    let different = expected.iter().zip(got).find(|(a, b)| a != b);
    Err(format!(
        "expected revisions {:?}, got {:?}; first difference {different:?}",
        revisions(&expected),
        revisions(got)
    ))
}

fn wanted(
    model: &Model,
    filter: &WatchFilter,
    revision: Revision,
    compacted: Revision,
) -> RevisionEvents {
    let before = Revision(revision.0 - 1);
    let events = model
        .changes(revision)
        .filter(|(key, version)| {
            let is_wanted = if version.value.is_some() { filter.puts } else { filter.deletes };
            is_wanted && filter.keys.contains(key)
        })
        .map(|(key, version)| {
            let kind = if version.value.is_some() { EventKind::Put } else { EventKind::Delete };
            let tells = filter.previous && before >= compacted;
            let previous = model.at(key, before).filter(|_| tells);
            Event {
                kind,
                key_value: model::key_value(key, version),
                previous: previous.map(|previous| -> KeyValue { model::key_value(key, previous) }),
            }
        })
        .collect();
    RevisionEvents { revision, events }
}
