//! Linearizability once more, without trusting a single revision, index or place in the log: for each
//! key a search for an order of its operations that explains what the clients were told and agrees with
//! real time (Wing & Gong 1993, with Lowe's memory of what was tried, 2017). What the other check takes
//! from the log, this one takes from nobody.
//!
//! An operation on many keys counts for each of them alone, which is necessary and not sufficient; that
//! they happen at once is for the other check. Conditions on a revision may have held or not.
//!
//! An operation whose outcome nobody knows may stand anywhere behind its beginning, or nowhere. Of copies
//! of a write with an idempotency key one is done; where keys may be forgotten within the run, each that was
//! not answered, or with an earlier answer, may have been done besides, for its node may have sent it
//! more than once. That nothing is done twice while its key is remembered is for `check_once`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use consensus::{Time, Violation};
use kvcore::{Command, Condition, IdempotencyKey, KeyValue, Order, Put, PutValue, SortBy};

use crate::history::{Action, Consistency, Found, History, OperationResult, Query};
use crate::model::Expected;
use crate::trace::fold;

/// The most steps of one search. A search that needs more is given up and counted.
const STEPS_MAX: usize = 200_000;

/// A key's value, and how many times it was written since it was created.
type State = Option<(Bytes, u64)>;

/// An operation on one key.
#[derive(Clone, Debug)]
struct Step {
    invoked: Time,
    /// `None` is never: nobody knows whether it happened.
    completed: Option<Time>,
    effect: Effect,
}

#[derive(Clone, Debug)]
enum Effect {
    /// Stores a value; `created` is what was told.
    Put { value: Bytes, conditions: Vec<Condition>, created: Option<bool> },
    /// Removes the key; `existed` is what was told.
    Delete { conditions: Vec<Condition>, existed: Option<bool> },
    /// A condition did not hold.
    Refused { conditions: Vec<Condition> },
    /// Found this.
    Read { found: State },
}

/// Checks every key. Returns how many searches were given up. `forgets` is whether idempotency keys may
/// be forgotten while clients still send copies.
pub(crate) fn check(
    history: &History,
    keys: &BTreeSet<Bytes>,
    forgets: bool,
) -> Result<u64, Violation> {
    let mut given_up = 0;
    for (key, steps) in steps_by_key(history, keys, forgets) {
        match Search::new(&steps).run() {
            Answer::Explained => {}
            Answer::GivenUp => given_up += 1,
            Answer::Inexplicable(step) => {
                let law = "what clients saw of a key has an order that explains it";
                let details = format!(
                    "{key:?}: of {} operations none can come next when this has to: {step:?}",
                    steps.len()
                );
                return Err(Violation::new(law, details));
            }
        }
    }
    Ok(given_up)
}

/// What was done to each key, as far as it tells something.
fn steps_by_key(
    history: &History,
    keys: &BTreeSet<Bytes>,
    forgets: bool,
) -> BTreeMap<Bytes, Vec<Step>> {
    let mut steps: BTreeMap<Bytes, Vec<Step>> = BTreeMap::new();
    let mut copies: BTreeMap<&IdempotencyKey, Vec<Copies<'_>>> = BTreeMap::new();
    for (_, operation) in history.iter() {
        let result = operation.completed.as_ref();
        match &operation.action {
            Action::Write(..) if result.is_some_and(|(_, result)| result.is_definite_failure()) => {
            }
            Action::Write(command, None) => {
                let told = result.and_then(|(time, result)| told(*time, result));
                for key in keys {
                    let step = write(command, key, operation.invoked, told.clone());
                    steps.entry(key.clone()).or_default().extend(step);
                }
            }
            Action::Write(command, Some(name)) => {
                // By mistake clients send different commands under one key.
                let named = copies.entry(name).or_default();
                let place = named.iter().position(|copies| copies.command == command);
                let place = place.unwrap_or_else(|| {
                    named.push(Copies::new(command, operation.invoked, forgets));
                    named.len() - 1
                });
                named[place].add(operation.invoked, result);
            }
            Action::Read(query, Consistency::Linearizable) => {
                let Some((time, OperationResult::Read(reading))) = operation.success() else {
                    continue;
                };
                let Found::Keys(found) = &reading.found else { continue };
                let key_values = &found.key_values;
                for key in keys.iter().filter(|key| tells_of(query, key_values, key)) {
                    let found = key_values.iter().find(|found| found.key == **key);
                    let found = found.map(|found| (found.value.clone(), found.version));
                    steps.entry(key.clone()).or_default().push(Step {
                        invoked: operation.invoked,
                        completed: Some(time),
                        effect: Effect::Read { found },
                    });
                }
            }
            Action::Read(..) | Action::KeepAlive(_) | Action::LeaseTime(_) => {}
        }
    }
    for copies in copies.into_values().flatten() {
        for key in keys {
            steps.entry(key.clone()).or_default().extend(copies.steps(key));
        }
    }
    steps
}

/// When a write was known to be done, and what was told of it; nothing if that is not known.
fn told(time: Time, result: &OperationResult) -> Option<(Time, Expected)> {
    match result {
        OperationResult::Written { expected, .. } => Some((time, expected.clone())),
        _ => None,
    }
}

/// Whether a reading says something of a key as it is now: it is among those asked for, and not behind a
/// limit.
fn tells_of(query: &Query, found: &[KeyValue], key: &Bytes) -> bool {
    let range = &query.range;
    let tells = range.at.is_none() && !range.keys_only && !range.count_only;
    if !tells || !range.keys.contains(key) || query.is_next_page() {
        return false;
    }
    let is_cut = query.bytes_max.is_some() || range.limit.is_some_and(|limit| found.len() >= limit);
    let is_reached = |last: &KeyValue| match (range.sort, range.order) {
        (SortBy::Key, Order::Ascending) => *key <= last.key,
        (SortBy::Key, Order::Descending) => *key >= last.key,
        // Of those that are not there nobody knows where they would be.
        _ => false,
    };
    !is_cut || found.last().is_some_and(is_reached) || found.iter().any(|there| there.key == *key)
}

/// What a write does to a key; nothing if it does not concern it.
fn write(
    command: &Command,
    key: &Bytes,
    invoked: Time,
    told: Option<(Time, Expected)>,
) -> Option<Step> {
    let (conditions, touches) = match command {
        Command::Put { put, conditions } => (conditions, put.key == *key),
        Command::Delete { delete, conditions } => (conditions, delete.target.contains(key)),
        // What transactions write, and what goes with leases, is elsewhere; alarms write nothing.
        Command::Compact { .. }
        | Command::Transaction(_)
        | Command::Lease(_)
        | Command::Alarm(_) => return None,
        other => unreachable!("no client sends {other:?}"),
    };
    if !touches {
        return None;
    }
    let is_of_one = !matches!(command, Command::Delete { delete, .. } if !matches!(delete.target, kvcore::Keys::One(_)));
    let conditions = conditions.clone();
    let completed = told.as_ref().map(|(time, _)| *time);
    let effect = match (command, told.map(|(_, expected)| expected)) {
        (_, Some(Expected::ConditionFailed)) => Effect::Refused { conditions },
        (Command::Put { put, .. }, Some(Expected::Put { created, .. })) => {
            Effect::Put { value: stored(put), conditions, created: Some(created) }
        }
        (Command::Put { put, .. }, None) => {
            Effect::Put { value: stored(put), conditions, created: None }
        }
        (Command::Delete { .. }, Some(Expected::Deleted { count })) => {
            Effect::Delete { conditions, existed: is_of_one.then_some(count > 0) }
        }
        (Command::Delete { .. }, None) => Effect::Delete { conditions, existed: None },
        // Refused for its idempotency key, or too large: nothing was done.
        _ => return None,
    };
    Some(Step { invoked, completed, effect })
}

/// The value that a put stores.
fn stored(put: &Put) -> Bytes {
    match &put.value {
        PutValue::New(value) => value.clone(),
        PutValue::Keep => unreachable!("no client keeps a value"),
    }
}

/// The copies of one write with an idempotency key.
struct Copies<'a> {
    command: &'a Command,
    began: Time,
    /// Those that were done, with what was told of each.
    done: Vec<(Time, Time, Expected)>,
    /// The first repetition of an answer to a copy.
    repeated: Option<(Time, Expected)>,
    /// When those began of which nobody knows whether they were done, now or later.
    unknown: Vec<Time>,
    forgets: bool,
}

impl<'a> Copies<'a> {
    fn new(command: &'a Command, began: Time, forgets: bool) -> Self {
        let (done, unknown) = (Vec::new(), Vec::new());
        Self { command, began, done, repeated: None, unknown, forgets }
    }

    fn add(&mut self, invoked: Time, completed: Option<&(Time, OperationResult)>) {
        match completed {
            // Its node may have sent it more than once, and another of its entries may have been done:
            // before this one, or behind it, when the key is forgotten with which this one conflicts.
            Some((_, OperationResult::Written { expected, .. })) if expected.is_refused_key() => {
                self.unknown.push(invoked);
            }
            Some((time, OperationResult::Written { expected, repeated: true, .. })) => {
                let told = (*time, expected.clone());
                if self.repeated.as_ref().is_none_or(|first| first.0 > *time) {
                    self.repeated = Some(told);
                }
                if self.forgets {
                    // As with the others: another of its entries may come behind the forgetting.
                    self.unknown.push(invoked);
                }
            }
            Some((time, OperationResult::Written { expected, .. })) => {
                self.done.push((invoked, *time, expected.clone()));
            }
            _ => self.unknown.push(invoked),
        }
    }

    /// What is certain, and what is possible besides: a copy of which nobody knows what became of it is
    /// the one that the repeated answer is about, or was done where the key is forgotten by then.
    fn steps(&self, key: &Bytes) -> Vec<Step> {
        let step = |invoked, told| write(self.command, key, invoked, told);
        let done = self.done.iter();
        let mut steps: Vec<Step> = done
            .filter_map(|(invoked, time, told)| step(*invoked, Some((*time, told.clone()))))
            .collect();
        let is_known = !self.done.is_empty() || self.repeated.is_some();
        if self.done.is_empty() && self.repeated.is_some() {
            steps.extend(step(self.began, self.repeated.clone()));
        }
        let besides = match (self.forgets, is_known) {
            (true, _) => self.unknown.len(),
            (false, true) => 0,
            (false, false) => self.unknown.len().min(1),
        };
        steps.extend(self.unknown[..besides].iter().filter_map(|&began| step(began, None)));
        steps
    }
}

/// Whether conditions hold; `None` if that depends on a revision.
fn hold(conditions: &[Condition], state: &State) -> Option<bool> {
    let mut certain = true;
    for condition in conditions {
        let holds = match condition {
            Condition::Absent => state.is_none(),
            Condition::Version(version) => state.as_ref().map_or(0, |(_, it)| *it) == *version,
            Condition::Value(value) => state.as_ref().is_some_and(|(it, _)| it == value),
            Condition::ModRevision(_) => {
                certain = false;
                continue;
            }
            other => unreachable!("no client sends {other:?}"),
        };
        if !holds {
            return Some(false);
        }
    }
    certain.then_some(true)
}

impl Effect {
    /// The state behind it, if it can stand here.
    fn apply(&self, state: &State) -> Option<State> {
        match self {
            Self::Put { value, conditions, created } => {
                let possible = hold(conditions, state) != Some(false)
                    && created.is_none_or(|created| created == state.is_none());
                let version = state.as_ref().map_or(0, |(_, version)| *version) + 1;
                possible.then(|| Some((value.clone(), version)))
            }
            Self::Delete { conditions, existed } => {
                let possible = hold(conditions, state) != Some(false)
                    && existed.is_none_or(|existed| existed == state.is_some());
                possible.then_some(None)
            }
            Self::Refused { conditions } => {
                (hold(conditions, state) != Some(true)).then(|| state.clone())
            }
            Self::Read { found } => (found == state).then(|| state.clone()),
        }
    }
}

/// What a search comes to.
enum Answer<'a> {
    Explained,
    GivenUp,
    /// With the operation that could not be explained furthest on.
    Inexplicable(&'a Step),
}

/// A beginning or an end of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    time: Time,
    /// Beginnings come before ends of the same moment: only what ended earlier is surely before.
    is_end: bool,
    step: usize,
}

/// The search for an order.
struct Search<'a> {
    steps: &'a [Step],
    edges: Vec<Edge>,
    /// Of each edge the next one that is not taken out; the last place stands before the first edge.
    next: Vec<usize>,
    before: Vec<usize>,
    /// The place of each operation's end, if it has one.
    ends: Vec<Option<usize>>,
    /// How many ends are left.
    left: usize,
    /// What is taken, folded into a number.
    taken: u64,
    state: State,
    /// What was taken, where, and the state before it.
    path: Vec<(usize, State)>,
    /// What was taken once, and the state that it led to, each folded into a number: that two of some
    /// hundred thousand are the same by chance is less likely than that the machine is wrong.
    tried: BTreeSet<(u64, u64)>,
    furthest: (usize, usize),
}

impl<'a> Search<'a> {
    fn new(steps: &'a [Step]) -> Self {
        let mut edges: Vec<Edge> = Vec::new();
        for (step, Step { invoked, completed, .. }) in steps.iter().enumerate() {
            edges.push(Edge { time: *invoked, is_end: false, step });
            edges.extend(completed.map(|time| Edge { time, is_end: true, step }));
        }
        edges.sort_unstable();
        let mut ends = vec![None; steps.len()];
        for (place, edge) in edges.iter().enumerate().filter(|(_, edge)| edge.is_end) {
            ends[edge.step] = Some(place);
        }
        // A ring through the edges and one place more.
        let length = edges.len() + 1;
        let next = (0..length).map(|place| (place + 1) % length).collect();
        let before = (0..length).map(|place| (place + length - 1) % length).collect();
        let left = ends.iter().flatten().count();
        let (state, path, tried) = (None, Vec::new(), BTreeSet::new());
        let (taken, furthest) = (0, (0, 0));
        Self { steps, edges, next, before, ends, left, taken, state, path, tried, furthest }
    }

    fn run(mut self) -> Answer<'a> {
        let outside = self.edges.len();
        let mut place = self.next[outside];
        for _ in 0..STEPS_MAX {
            if self.left == 0 {
                return Answer::Explained;
            }
            assert!(place != outside, "an end is left, and the way there stops at it");
            let edge = self.edges[place];
            if !edge.is_end {
                place = if self.take(place) { self.next[outside] } else { self.next[place] };
                continue;
            }
            // This operation has to be somewhere before here, and is not.
            if self.path.len() >= self.furthest.0 {
                self.furthest = (self.path.len(), edge.step);
            }
            let Some((last, state)) = self.path.pop() else {
                return Answer::Inexplicable(&self.steps[self.furthest.1]);
            };
            self.state = state;
            self.put_back(last);
            place = self.next[last];
        }
        Answer::GivenUp
    }

    /// Lets the operation that begins here come next, if it can and that was not tried.
    fn take(&mut self, place: usize) -> bool {
        let step = self.edges[place].step;
        let Some(state) = self.steps[step].effect.apply(&self.state) else { return false };
        let taken = self.taken ^ fold(step);
        if !self.tried.insert((taken, fold(&state))) {
            return false;
        }
        self.taken = taken;
        self.path.push((place, std::mem::replace(&mut self.state, state)));
        self.unlink(place);
        if let Some(end) = self.ends[step] {
            self.unlink(end);
            self.left -= 1;
        }
        true
    }

    fn put_back(&mut self, place: usize) {
        let step = self.edges[place].step;
        self.taken ^= fold(step);
        // In the opposite order, as dancing links want it.
        if let Some(end) = self.ends[step] {
            self.link(end);
            self.left += 1;
        }
        self.link(place);
    }

    fn unlink(&mut self, place: usize) {
        let (before, next) = (self.before[place], self.next[place]);
        self.next[before] = next;
        self.before[next] = before;
    }

    fn link(&mut self, place: usize) {
        let (before, next) = (self.before[place], self.next[place]);
        self.next[before] = place;
        self.before[next] = place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(invoked: u64, completed: Option<u64>, effect: Effect) -> Step {
        Step { invoked: Time(invoked), completed: completed.map(Time), effect }
    }

    fn put(value: &'static str) -> Effect {
        let (value, conditions) = (Bytes::from_static(value.as_bytes()), Vec::new());
        Effect::Put { value, conditions, created: None }
    }

    fn read(found: Option<(&'static str, u64)>) -> Effect {
        let found = found.map(|(value, version)| (Bytes::from_static(value.as_bytes()), version));
        Effect::Read { found }
    }

    fn is_explained(steps: &[Step]) -> bool {
        matches!(Search::new(steps).run(), Answer::Explained)
    }

    #[test]
    fn what_overlaps_may_stand_in_any_order() {
        let writes = [step(1, Some(10), put("a")), step(2, Some(9), put("b"))];
        for (value, version) in [("a", 2), ("b", 2)] {
            let mut steps = writes.to_vec();
            steps.push(step(11, Some(12), read(Some((value, version)))));
            assert!(is_explained(&steps), "{value}");
        }
        let mut steps = writes.to_vec();
        steps.push(step(11, Some(12), read(Some(("a", 1)))));
        assert!(!is_explained(&steps), "the other one was written as well");
    }

    #[test]
    fn a_read_that_goes_back_is_inexplicable() {
        let steps = [
            step(1, Some(2), put("a")),
            step(3, Some(10), put("b")),
            step(4, Some(5), read(Some(("b", 2)))),
            step(6, Some(7), read(Some(("a", 1)))),
        ];
        assert!(!is_explained(&steps));
        assert!(is_explained(&steps[..3]));
    }

    #[test]
    fn an_unknown_outcome_stays_open_to_the_end() {
        let unknown = step(1, None, put("a"));
        let nothing = step(50, Some(51), read(None));
        let late = step(60, Some(61), read(Some(("a", 1))));
        assert!(is_explained(&[unknown.clone(), nothing.clone()]), "it never happened");
        assert!(is_explained(&[unknown.clone(), nothing.clone(), late.clone()]), "or late");
        let gone = step(70, Some(71), read(None));
        assert!(!is_explained(&[unknown, nothing, late, gone]), "but only once");
    }

    #[test]
    fn conditions_are_judged_by_values_and_versions() {
        let conditional = |condition, created| {
            let (value, conditions) = (Bytes::from_static(b"b"), vec![condition]);
            step(5, Some(6), Effect::Put { value, conditions, created })
        };
        let first = step(1, Some(2), put("a"));
        assert!(is_explained(&[first.clone(), conditional(Condition::Version(1), Some(false))]));
        assert!(!is_explained(&[first.clone(), conditional(Condition::Version(2), None)]));
        assert!(!is_explained(&[first.clone(), conditional(Condition::Absent, None)]));
        let refused = |condition| step(5, Some(6), Effect::Refused { conditions: vec![condition] });
        assert!(is_explained(&[first.clone(), refused(Condition::Absent)]));
        assert!(!is_explained(&[first.clone(), refused(Condition::Value("a".into()))]));
        assert!(is_explained(&[first, refused(Condition::ModRevision(kvcore::Revision(9)))]));
    }
}
