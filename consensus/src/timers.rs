//! The named timers of one node.

use std::collections::BTreeMap;

use crate::{Time, Timer};

/// Which timers run and when each is due.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timers(BTreeMap<Timer, Time>);

impl Timers {
    /// Starts a timer, or moves it.
    pub fn set(&mut self, timer: Timer, due: Time) {
        self.0.insert(timer, due);
    }

    /// Stops a timer.
    pub fn cancel(&mut self, timer: Timer) {
        self.0.remove(&timer);
    }

    /// Stops every timer, as at a change of role.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// When a timer is due, if it runs.
    #[must_use]
    pub fn due(&self, timer: Timer) -> Option<Time> {
        self.0.get(&timer).copied()
    }

    /// The timer that is due first.
    #[must_use]
    pub fn earliest(&self) -> Option<(Time, Timer)> {
        self.0.iter().map(|(&timer, &due)| (due, timer)).min()
    }
}
