//! Making a failing run short: as few faults, clients, watchers and nodes, and as little time, as still
//! break the same law.
//!
//! Each attempt is a run of its own with less in it, kept if the same law breaks. Nothing tells which
//! attempts are worth it: a fault may matter only for the random numbers that its absence moves. So the
//! faults go by the half, by the quarter, and so on to one by one (Zeller's delta debugging), until no
//! single one can go or the attempts are used up.

use std::collections::BTreeSet;

use consensus::{Consensus, Time};

use crate::faults::{Step, StepNumber};
use crate::options::SimOptions;
use crate::report::Failure;
use crate::run::{attempt, run};

/// Makes a failing run short. `tried` hears of every attempt, how many faults are left, and whether
/// to go on; at the latest it ends after `attempts_max`.
pub fn shrink<C: Consensus>(
    failure: &Failure,
    attempts_max: usize,
    tried: impl FnMut(usize) -> bool,
) -> Box<Failure> {
    let mut options = failure.options.clone();
    options.only_faults = Some(failure.faults.iter().map(Step::number).collect());
    let best = Box::new(Failure { options, ..failure.clone() });
    let mut shrinking =
        Shrinking { law: failure.violation.law, best, attempts: attempts_max, tried };
    shrinking.surroundings::<C>();
    shrinking.faults::<C>();
    shrinking.surroundings::<C>();
    let Shrinking { best, .. } = shrinking;
    // Once more, with words.
    run::<C>(&best.options).err().unwrap_or(best)
}

struct Shrinking<F> {
    law: &'static str,
    best: Box<Failure>,
    /// How many are left.
    attempts: usize,
    tried: F,
}

impl<F: FnMut(usize) -> bool> Shrinking<F> {
    /// Whether the same law breaks with these options, too. Then they are the best so far.
    fn try_with<C: Consensus>(&mut self, options: SimOptions) -> bool {
        if self.attempts == 0 || options == self.best.options {
            return false;
        }
        self.attempts -= 1;
        let found = attempt::<C>(&options, false).err();
        let found = found.filter(|failure| failure.violation.law == self.law);
        let is_found = found.is_some();
        if let Some(found) = found {
            self.best = found;
            let came: BTreeSet<StepNumber> = self.best.faults.iter().map(Step::number).collect();
            self.best.options.only_faults = Some(came);
        }
        let left = self.faults_left();
        if !(self.tried)(left) {
            self.attempts = 0;
        }
        is_found
    }

    fn faults_left(&self) -> usize {
        self.best.options.only_faults.as_ref().map_or(0, BTreeSet::len)
    }

    /// Less of everything but faults.
    fn surroundings<C: Consensus>(&mut self) {
        let options = self.best.options.clone();
        let end = self.best.time + std::time::Duration::from_millis(1);
        if end < Time(0) + options.duration {
            self.try_with::<C>(SimOptions { duration: end.since(Time(0)), ..options });
        }
        let options = self.best.options.clone();
        self.try_with::<C>(SimOptions { watchers: 0, ..options });
        let options = self.best.options.clone();
        self.try_with::<C>(SimOptions { observers: 0, ..options });
        while self.best.options.clients > 1 {
            let options = self.best.options.clone();
            let clients = options.clients / 2;
            if !self.try_with::<C>(SimOptions { clients, ..options }) {
                return;
            }
        }
    }

    /// Fewer faults.
    fn faults<C: Consensus>(&mut self) {
        let mut portion = self.faults_left().div_ceil(2);
        while portion > 0 && self.attempts > 0 {
            let is_smaller = self.remove_portions::<C>(portion);
            if portion == 1 && !is_smaller {
                return;
            }
            portion = if is_smaller { portion.min(self.faults_left()) } else { portion / 2 };
        }
    }

    /// Tries to do without each portion of the faults in turn.
    fn remove_portions<C: Consensus>(&mut self, portion: usize) -> bool {
        let mut is_smaller = false;
        let mut place = 0;
        loop {
            let faults: Vec<StepNumber> =
                self.best.options.only_faults.iter().flatten().copied().collect();
            if place >= faults.len() || self.attempts == 0 {
                return is_smaller;
            }
            let kept = faults[..place].iter().chain(faults.iter().skip(place + portion)).copied();
            let options =
                SimOptions { only_faults: Some(kept.collect()), ..self.best.options.clone() };
            if self.try_with::<C>(options) {
                is_smaller = true;
            } else {
                place += portion;
            }
        }
    }
}
