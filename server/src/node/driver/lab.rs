//! What the loop does about faults and timers that somebody at this node asked for.

use consensus::{Consensus, Now, Standing, Time, Timer};
use kvcore::replica::{ReplicaInput, ReplicaTimer};

use super::Driver;
use crate::node::faults::{Align, LabInput};

/// The timer that begins elections.
const ELECTION: ReplicaTimer = ReplicaTimer::Consensus(Timer::Election);

/// When election timers fire, if not when they are due.
#[derive(Debug, Default)]
pub(super) struct Aligned {
    align: Option<Align>,
    /// The moment at which they fire, due or not; once.
    first: Option<Time>,
}

impl Aligned {
    /// A timer fires.
    pub(super) fn fired(&mut self, timer: ReplicaTimer) {
        if timer == ELECTION {
            self.first = None;
        }
    }
}

impl<C: Consensus> Driver<C> {
    /// The timer that fires next, and when.
    pub(super) fn next_timer(&self) -> Option<(Time, ReplicaTimer)> {
        let due = self.effects.deadline;
        let Some(align) = self.aligned.align else { return due };
        let due = due.map(|(due, timer)| match timer {
            ELECTION => (align.fires(due), timer),
            _ => (due, timer),
        });
        due.into_iter().chain(self.aligned.first.map(|first| (first, ELECTION))).min()
    }

    /// Takes what somebody asked for. Returns what the replica hears of it.
    pub(super) fn lab(&mut self, now: Now, input: LabInput) -> Option<ReplicaInput<C::Message>> {
        match input {
            LabInput::Tell(event) => self.recorder.event(now.time, event),
            LabInput::Campaign(started) => {
                // Whoever asked may have gone.
                let _ = started.send(());
                return Some(ReplicaInput::Timer(ELECTION));
            }
            LabInput::Align(align) => {
                let votes = self.standing == Standing::Voter;
                let first = align.map(|align| align.first).filter(|_| votes);
                self.aligned = Aligned { align, first };
            }
        }
        None
    }
}
