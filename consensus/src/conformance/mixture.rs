//! What a random walk is made of: what may happen, how often, and under which settings.

use crate::Random;
use crate::script::Options;

/// What a step may do, with its weight when it is allowed at all. Faults are rarer than work, so that
/// there is something to break.
pub(super) const ACTIONS: [(Action, u64); 23] = [
    (Action::Deliver, 400),
    (Action::Persist, 150),
    (Action::Apply, 60),
    (Action::Fetch, 40),
    (Action::Time, 90),
    (Action::Propose, 80),
    (Action::Read, 30),
    (Action::Sync, 10),
    (Action::Transfer, 6),
    (Action::Connect, 40),
    (Action::Notice, 30),
    (Action::Compact, 24),
    (Action::Snapshot, 40),
    (Action::Calm, 3),
    (Action::Break, 6),
    (Action::Crash, 3),
    (Action::Restart, 10),
    (Action::Partition, 2),
    (Action::Pause, 4),
    (Action::FireEarly, 4),
    (Action::Depose, 3),
    (Action::Stall, 4),
    (Action::Wipe, 2),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    Deliver,
    Persist,
    Apply,
    Fetch,
    Time,
    Propose,
    Read,
    Sync,
    Transfer,
    Connect,
    Notice,
    Compact,
    Snapshot,
    Calm,
    Break,
    Crash,
    Restart,
    Partition,
    Pause,
    FireEarly,
    Depose,
    Stall,
    Wipe,
}

/// Twice the factor by which an action is more frequent in a walk. Each walk leaves out some faults
/// and makes others frequent: bugs that need much of one thing hide from an even mixture. Turbulent
/// walks hardly do anything but elect: what goes wrong between two elections needs many of them.
pub(super) fn weight_factor(action: Action, turbulent: bool, random: &mut Random) -> u64 {
    match action {
        Action::Deliver => 2,
        Action::Connect | Action::Restart if turbulent => 10,
        Action::Calm if turbulent => 1,
        Action::Connect | Action::Restart | Action::Calm | Action::Notice => 2,
        Action::Compact => [0, 1, 2, 10][choose(random, 4)],
        Action::Snapshot => [1, 2, 6][choose(random, 3)],
        Action::Time if turbulent => 6,
        Action::Time => 2,
        Action::Propose if turbulent => 1,
        Action::Read => 3,
        Action::FireEarly | Action::Depose | Action::Crash if turbulent => {
            [0, 8, 20][choose(random, 3)]
        }
        _ if action >= Action::Break => [0, 2, 2, 8][choose(random, 4)],
        _ => [1, 2, 4][choose(random, 3)],
    }
}

/// Settings that make limits matter in some walks.
pub(super) fn options(random: &mut Random, seed: u64, mut options: Options) -> Options {
    let settings = &mut options.settings;
    settings.memory_log_bytes_max = [100, 2_000, 1 << 20][choose(random, 3)];
    settings.message_bytes_max = [1, 300, 1 << 20][choose(random, 3)];
    settings.inflight_messages_max = [1, 3, 256][choose(random, 3)];
    settings.inflight_bytes_max = [1, 1_000, 1 << 20][choose(random, 3)];
    settings.uncommitted_bytes_max = [1_000, 1 << 20][choose(random, 2)];
    settings.unapplied_bytes_max = [1, 500, 1 << 20][choose(random, 3)];
    settings.suspect_on_connection_loss = random.one_in(2);
    options.seed = seed;
    options.auto_persist = random.one_in(4);
    options.auto_apply = random.one_in(2);
    options.auto_fetch = random.one_in(2);
    options.auto_snapshot = random.one_in(4);
    options.overtaking = random.one_in(2);
    options.tail_max = [0, 3, usize::MAX][choose(random, 3)];
    // A second core that does everything again is worth its time only in some of the walks.
    options.twins = seed.is_multiple_of(8);
    options
}

/// One of so many.
pub(super) fn choose(random: &mut Random, count: usize) -> usize {
    usize::try_from(random.below(count as u64)).expect("below a usize")
}
