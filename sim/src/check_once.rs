//! Judges what became of writes with an idempotency key, after the end of a run: from the log alone
//! and from what the clients were told, without the model's own table of keys.

use std::collections::BTreeMap;

use consensus::{Violation, WallTime};
use kvcore::{Command, IDEMPOTENCY_WINDOW_MILLIS, IdempotencyKey};

use crate::history::{Action, History, OperationResult};
use crate::model::{Expected, Told};
use crate::oracle::Oracle;

/// What the last entry did that carried a key and was no repetition.
struct Done<'a> {
    command: &'a Command,
    told: Told,
    wall: WallTime,
    /// How many entries did something under this key.
    times: usize,
}

/// Within the window each key took effect at most once, and whoever asked again was told the same.
pub(crate) fn check(history: &History, oracle: &Oracle) -> Result<(), Violation> {
    let done = check_log(oracle)?;
    check_answers(history, &done)
}

/// Goes through the log.
fn check_log(oracle: &Oracle) -> Result<BTreeMap<&IdempotencyKey, Done<'_>>, Violation> {
    let mut keys: BTreeMap<&IdempotencyKey, Done<'_>> = BTreeMap::new();
    for entry in oracle.keyed() {
        let (key, command, told, wall) = (entry.key, entry.command, entry.told, entry.wall);
        let violation = |law| Violation::new(law, format!("{key} at {}: {told:?}", entry.index));
        let before = keys.get(key);
        let within = before.is_some_and(|done| wall.0 - done.wall.0 <= IDEMPOTENCY_WINDOW_MILLIS);
        if entry.changed_store && told.repeated {
            return Err(violation("a repetition changes nothing"));
        }
        if told.expected.is_refused_key() {
            if entry.changed_store {
                return Err(violation("a refused key changes nothing"));
            }
        } else if told.repeated {
            let same = before.is_some_and(|done| {
                done.command == command && Told { repeated: true, ..done.told } == told
            });
            if !same {
                return Err(violation("a repetition tells what the first copy did"));
            }
        } else if within {
            return Err(violation("a write with an idempotency key takes effect at most once"));
        } else {
            let times = before.map_or(1, |done| done.times + 1);
            keys.insert(key, Done { command, told, wall, times });
        }
    }
    Ok(keys)
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
        if expected.is_refused_key() || !once {
            continue;
        }
        let first = *told.entry(key).or_insert((*expected, *revision));
        if first != (*expected, *revision) {
            return Err(Violation::new(
                "a write that is sent again is answered as the first time",
                format!("{operation:?}, but {first:?} was told before"),
            ));
        }
    }
    Ok(())
}
