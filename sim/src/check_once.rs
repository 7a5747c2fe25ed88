//! Judges what became of writes with an idempotency key, after the end of a run: from the log alone
//! and from what the clients were told, without the model's own table of keys.

use std::collections::BTreeMap;

use consensus::{Index, Violation, WallTime};
use kvcore::{Command, IdempotencyKey, IdempotencyLimits};

use crate::history::{Action, History, OperationResult};
use crate::model::{Expected, Told};
use crate::oracle::{Keyed, Oracle};

/// What the last entry did that carried a key and was no repetition.
struct Done<'a> {
    command: &'a Command,
    told: &'a Told,
    /// How many entries had done something under any key before.
    number: usize,
    /// How many entries did something under this key.
    times: usize,
}

/// What the log has of keys that were forgotten.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Forgotten {
    /// Writes that were done anew.
    pub(crate) done_anew: u64,
    /// Writes that were refused, for they might have been done.
    pub(crate) refused_forgotten: u64,
}

/// Within the window each key took effect at most once, and whoever asked again was told the same. The
/// window is what clients are promised, in time and in the number of later keys.
pub(crate) fn check(
    history: &History,
    oracle: &Oracle,
    promised: IdempotencyLimits,
) -> Result<Forgotten, Violation> {
    let mut log = Log { promised, ..Log::default() };
    for entry in oracle.keyed() {
        log.check(&entry)?;
    }
    check_copies(oracle)?;
    check_answers(history, &log.done)?;
    Ok(log.forgotten)
}

/// The log as far as it was gone through.
#[derive(Default)]
struct Log<'a> {
    promised: IdempotencyLimits,
    done: BTreeMap<&'a IdempotencyKey, Done<'a>>,
    /// Where and when something was done under a key, each in turn.
    places: Vec<(Index, WallTime)>,
    /// How many of them are surely beyond the window.
    beyond: usize,
    forgotten: Forgotten,
}

impl<'a> Log<'a> {
    fn check(&mut self, entry: &Keyed<'a>) -> Result<(), Violation> {
        let Keyed { key, command, told, wall, .. } = *entry;
        let violation = |law| Violation::new(law, format!("{key} at {}: {told:?}", entry.index));
        if entry.changed_store && told.repeated {
            return Err(violation("a repetition changes nothing"));
        }
        while self.places.get(self.beyond).is_some_and(|_| !self.is_within(self.beyond, wall)) {
            self.beyond += 1;
        }
        let before = self.done.get(key);
        let within = before.is_some_and(|done| self.is_within(done.number, wall));
        if told.expected.is_refused_key() {
            return self.check_refused(entry, within);
        }
        if told.expected == Expected::DuplicateKey {
            let what = "what is invalid changes nothing, and nothing is remembered of it";
            let is_nothing = !entry.changed_store && !told.repeated;
            return is_nothing.then_some(()).ok_or_else(|| violation(what));
        }
        if told.repeated {
            let same = before
                .is_some_and(|done| done.command == command && done.told.is_repeated_by(told));
            return same
                .then_some(())
                .ok_or_else(|| violation("a repetition tells what the first copy did"));
        }
        if within {
            return Err(violation("a write with an idempotency key takes effect at most once"));
        }
        let times = before.map_or(1, |done| done.times + 1);
        self.forgotten.done_anew += u64::from(times > 1);
        let number = self.places.len();
        self.done.insert(key, Done { command, told, number, times });
        self.places.push((entry.index, wall));
        Ok(())
    }

    fn check_refused(&mut self, entry: &Keyed<'_>, within: bool) -> Result<(), Violation> {
        let Keyed { key, told, since, .. } = *entry;
        let violation = |law| Violation::new(law, format!("{key} at {}: {told:?}", entry.index));
        if entry.changed_store {
            return Err(violation("a refused key changes nothing"));
        }
        let known = self.done.get(key);
        if told.expected == Expected::IdempotencyConflict {
            return if known.is_some_and(|done| done.command != entry.command) {
                Ok(())
            } else {
                Err(violation("a key is refused only to another write than the first"))
            };
        }
        self.forgotten.refused_forgotten += 1;
        // The last one that could be forgotten came after the write was taken, so it may be that one.
        let last = self.beyond.checked_sub(1).map(|last| self.places[last].0);
        if within || last.is_none_or(|last| last <= since) {
            return Err(violation("a key is refused as forgotten only if it may be"));
        }
        Ok(())
    }

    /// Whether what was done as the so-manieth must still be remembered.
    fn is_within(&self, number: usize, now: WallTime) -> bool {
        let IdempotencyLimits { keys_max, window_millis } = self.promised;
        now.0 - self.places[number].1.0 <= window_millis && self.places.len() - number <= keys_max
    }
}

/// What a node sends again by itself is done once at most, without regard to the window.
fn check_copies(oracle: &Oracle) -> Result<(), Violation> {
    for (operation, copies) in oracle.copies().filter(|(_, copies)| copies.len() > 1) {
        let told = copies.iter().filter_map(|&copy| oracle.told_at(copy));
        let done = told.filter(|told| !told.repeated && told.expected.is_remembered());
        if done.count() > 1 {
            return Err(Violation::new(
                "a request is carried out at most once, however often its node sends it",
                format!("{operation:?} is at {copies:?}"),
            ));
        }
    }
    Ok(())
}

/// Goes through what the clients were told.
fn check_answers(
    history: &History,
    done: &BTreeMap<&IdempotencyKey, Done<'_>>,
) -> Result<(), Violation> {
    let mut told: BTreeMap<&IdempotencyKey, (Expected, kvcore::Revision)> = BTreeMap::new();
    for (_, operation) in history.iter() {
        let Action::Write(_, Some(key)) = &operation.action else { continue };
        let Some((_, OperationResult::Written { expected, revision, .. })) = operation.success()
        else {
            continue;
        };
        // What was forgotten and done anew has several first answers.
        let once = done.get(key).is_none_or(|done| done.times == 1);
        if !expected.is_remembered() || !once {
            continue;
        }
        let said = (expected.without_reads(), *revision);
        let first = told.entry(key).or_insert_with(|| said.clone());
        if *first != said {
            return Err(Violation::new(
                "a write that is sent again is answered as the first time",
                format!("{operation:?}, but {first:?} was told before"),
            ));
        }
    }
    Ok(())
}
