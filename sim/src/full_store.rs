//! A store that is full: whoever takes requests refuses what would store something, as the server does, and
//! clients then make room.

use kvcore::replica::Failure;
use kvcore::{Command, Keys};

use crate::history::{Action, OperationResult};
use crate::lockers;
use crate::process::Process;

/// Whether a node refuses a write because, as far as it has applied the log, the store has as much as it may
/// have. A quota of `None` is no end.
pub(crate) fn refuses<C: consensus::Consensus>(
    process: &Process<C>,
    quota_bytes: Option<u64>,
    command: &Command,
) -> bool {
    command.stores() && quota_bytes.is_some_and(|quota| process.machine.stored_bytes() >= quota)
}

/// Where there is a quota clients delete and do not compact: what that frees has to be forgotten by itself.
pub(crate) fn leave_compaction_to_the_leader(action: Action, quota_bytes: Option<u64>) -> Action {
    match action {
        Action::Write(Command::Compact { .. }, key) if quota_bytes.is_some() => {
            Action::Write(Command::delete(lockers::spare_lock(Keys::all())), key)
        }
        action => action,
    }
}

/// What a client does next that was told so: it deletes everything, which no full store refuses.
pub(crate) fn makes_room(result: &OperationResult) -> Option<Command> {
    let is_full = matches!(result, OperationResult::Failed(Failure::NoSpace));
    is_full.then(|| Command::delete(lockers::spare_lock(Keys::all())))
}
