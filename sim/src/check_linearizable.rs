//! Judges what the clients saw, after the end of a run.
//!
//! Every write stands at one place of the log, so linearizability needs no search: the log is the
//! order, and it remains to check that it agrees with real time and that every answer is that of the
//! store at the place where the operation stands. That takes linear time, and operations whose
//! outcome nobody knows cost nothing: either they are in the log or they are not.

use std::collections::BTreeMap;

use consensus::{Index, Time, Violation};

use crate::agenda::Life;
use crate::history::{Action, Consistency, Found, History, Operation, OperationResult, Reading};
use crate::oracle::Oracle;

/// Checks a history against the log and the model.
///
/// A `sync` relies on the leader's word alone. When there never was but one leader, that word is as
/// good as a quorum's.
pub(crate) fn check(history: &History, oracle: &Oracle, one_leader: bool) -> Result<(), Violation> {
    check_fates(history, oracle)?;
    check_readings(history, oracle)?;
    check_real_time(history, oracle, one_leader)?;
    check_barriers(history)?;
    check_syncs(history)?;
    check_nodes(history)
}

fn violation(law: &'static str, operation: &Operation) -> Violation {
    Violation::new(law, format!("{operation:?}"))
}

/// Acknowledged writes are in the log with the outcome that was told, failed ones are not.
fn check_fates(history: &History, oracle: &Oracle) -> Result<(), Violation> {
    for (id, operation) in history.iter() {
        let place = oracle.place(id);
        let Some((_, result)) = &operation.completed else { continue };
        if let OperationResult::Written { index, expected, revision, .. } = result {
            if !oracle.is_at(id, *index) {
                return Err(violation("an acknowledged write is in the log", operation));
            }
            let told = oracle.told_at(*index);
            let is_told = told.is_some_and(|told| {
                told.revision == *revision && told.expected.is_kept_by(expected)
            });
            if !is_told {
                return Err(violation("a write is answered with its outcome", operation));
            }
        }
        if let Action::Write(command, _) = &operation.action
            && let Some(index) = place
            && oracle.command_at(index) != Some(command)
        {
            return Err(violation("the log has what was asked for, as it was asked", operation));
        }
        if result.is_definite_failure() && place.is_some() {
            return Err(violation("a write that certainly failed never happens", operation));
        }
    }
    Ok(())
}

/// Every reading is the store as it was at some place of the log.
fn check_readings(history: &History, oracle: &Oracle) -> Result<(), Violation> {
    for (_, operation) in history.iter() {
        let Action::Read(query, _) = &operation.action else { continue };
        let Some((_, OperationResult::Read(reading))) = operation.success() else { continue };
        if oracle.revision_at(reading.applied) != reading.revision {
            return Err(violation("a reading names the revision of its place", operation));
        }
        let right = match &reading.found {
            Found::Future => query.range.at.is_some_and(|at| at > reading.revision),
            Found::Compacted(compacted) => {
                query.range.at == Some(compacted.requested)
                    && compacted.requested < compacted.compacted
                    && compacted.compacted == oracle.compacted_at(reading.applied)
            }
            Found::Keys(found) => {
                let at = query.range.at.unwrap_or(reading.revision);
                let readable = oracle.compacted_at(reading.applied)..=reading.revision;
                readable.contains(&at) && *found == oracle.model.answer(query, at)
            }
        };
        if !right {
            return Err(violation("a read returns the store as it was", operation));
        }
    }
    Ok(())
}

/// The order of the log agrees with real time: what completed before something else began is before
/// it, for writes and linearizable reads.
fn check_real_time(history: &History, oracle: &Oracle, one_leader: bool) -> Result<(), Violation> {
    // What each operation is known to be behind: completions in order of time.
    let mut completions: Vec<(Time, Index)> = history
        .iter()
        .filter_map(|(_, operation)| {
            let (time, result) = operation.success()?;
            Some((time, standing(operation, result, one_leader)?))
        })
        .collect();
    completions.sort_unstable();
    let mut completed = completions.into_iter().peekable();
    let mut floor = Index(0);
    // Operations are in the order of their beginnings.
    for (id, operation) in history.iter() {
        while let Some((_, index)) = completed.next_if(|(time, _)| *time < operation.invoked) {
            floor = floor.max(index);
        }
        if oracle.place(id).is_some_and(|index| index <= floor) {
            return Err(violation(
                "a write comes after all that completed before it began",
                operation,
            ));
        }
        let read =
            operation.success().and_then(|(_, result)| linearizable(operation, result, one_leader));
        if read.is_some_and(|reading| reading.applied < floor) {
            return Err(Violation::new(
                "a linearizable read sees all that completed before it began",
                format!("{operation:?}, but {floor} was known to somebody"),
            ));
        }
    }
    check_no_future(history, oracle)
}

/// Nothing that was read was asked for only after the reading.
fn check_no_future(history: &History, oracle: &Oracle) -> Result<(), Violation> {
    let mut latest = Time(0);
    let begun: BTreeMap<Index, Time> = oracle
        .placed()
        .into_iter()
        .map(|(index, operation)| {
            latest = latest.max(history.get(operation).invoked);
            (index, latest)
        })
        .collect();
    for (_, operation) in history.iter() {
        let Some((time, result)) = operation.success() else { continue };
        let index = match result {
            OperationResult::Written { index, .. } => *index,
            OperationResult::Read(reading) => reading.applied,
            _ => continue,
        };
        if begun.range(..=index).next_back().is_some_and(|(_, begun)| *begun > time) {
            return Err(violation(
                "an answer does not depend on what was asked for later",
                operation,
            ));
        }
    }
    Ok(())
}

/// The place of the log from which on everybody who begins later must be.
fn standing(operation: &Operation, result: &OperationResult, one_leader: bool) -> Option<Index> {
    match result {
        OperationResult::Written { index, .. } => Some(*index),
        _ => linearizable(operation, result, one_leader).map(|reading| reading.applied),
    }
}

fn linearizable<'a>(
    operation: &Operation,
    result: &'a OperationResult,
    one_leader: bool,
) -> Option<&'a Reading> {
    let (Action::Read(_, consistency), OperationResult::Read(reading)) =
        (&operation.action, result)
    else {
        return None;
    };
    let is_fresh = match consistency {
        Consistency::Linearizable => true,
        Consistency::Sync => one_leader,
        Consistency::Local => false,
    };
    is_fresh.then_some(reading)
}

/// A linearizable read sees what was committed when it was asked for, whether anybody had been told or
/// not: its barrier was confirmed by a quorum of voters, and one of them had helped to commit.
fn check_barriers(history: &History) -> Result<(), Violation> {
    for (_, operation) in history.iter() {
        let Action::Read(_, Consistency::Linearizable) = operation.action else { continue };
        let Some((_, OperationResult::Read(reading))) = operation.success() else { continue };
        if reading.applied < operation.committed_anywhere {
            let law = "a linearizable read sees all that was committed when it was asked for";
            return Err(violation(law, operation));
        }
    }
    Ok(())
}

/// A `sync` sees what the leader had committed that the node knew when it was asked: on that leader's
/// word, or on a later one's.
fn check_syncs(history: &History) -> Result<(), Violation> {
    for (_, operation) in history.iter() {
        let Action::Read(_, Consistency::Sync) = operation.action else { continue };
        let Some((_, OperationResult::Read(reading))) = operation.success() else { continue };
        if reading.applied < operation.committed {
            return Err(violation("a sync sees what its leader had committed", operation));
        }
    }
    Ok(())
}

/// While a node lives nobody goes back there, with any kind of read: what was written and read there
/// before is seen.
fn check_nodes(history: &History) -> Result<(), Violation> {
    let mut lives: BTreeMap<Life, Vec<(&Operation, Time, Index)>> = BTreeMap::new();
    for (_, operation) in history.iter() {
        let (Some(life), Some((time, result))) = (operation.taken_by, operation.success()) else {
            continue;
        };
        let index = match result {
            OperationResult::Written { index, .. } => *index,
            OperationResult::Read(reading) => reading.applied,
            _ => continue,
        };
        lives.entry(life).or_default().push((operation, time, index));
    }
    for operations in lives.into_values() {
        let mut completions: Vec<_> = operations.iter().map(|&(_, time, at)| (time, at)).collect();
        completions.sort_unstable();
        let mut completed = completions.into_iter().peekable();
        let mut floor = Index(0);
        // Operations are in the order of their beginnings.
        for (operation, _, index) in operations {
            while let Some((_, before)) = completed.next_if(|&(time, _)| time <= operation.invoked)
            {
                floor = floor.max(before);
            }
            if index < floor {
                return Err(violation("while a node lives nobody goes back there", operation));
            }
        }
    }
    Ok(())
}
