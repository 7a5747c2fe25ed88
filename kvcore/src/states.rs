//! The states that a machine went through, one for each entry.
//!
//! Those of entries that are not in the store yet are what the store can be brought to. Those of the
//! most recent entries are at hand beyond that: of replicas that are unequally far, these are what can
//! be compared.

use std::collections::VecDeque;

use consensus::Index;

use crate::store::StoreState;

/// How many recent entries have their state at hand.
pub const RECENT_STATES_MAX: usize = 4096;

/// See the module.
#[derive(Debug)]
pub(crate) struct States {
    /// Of entries that follow one another.
    states: VecDeque<StoreState>,
    /// How many at the front are in the store; at least the last one of them is always known.
    stored: usize,
}

impl States {
    /// The store has this state, and nothing came after it.
    pub(crate) fn new(stored: StoreState) -> Self {
        Self { states: VecDeque::from([stored]), stored: 1 }
    }

    /// Notes the state after the next entry.
    pub(crate) fn push(&mut self, state: StoreState) {
        self.states.push_back(state);
        self.forget();
    }

    /// The state after an entry, if it is still at hand.
    pub(crate) fn at(&self, index: Index) -> Option<StoreState> {
        let first = self.states.front().expect("what is in the store is known").applied.index;
        let place = usize::try_from(index.0.checked_sub(first.0)?).ok()?;
        let state = self.states.get(place).copied()?;
        assert!(state.applied.index == index, "there is a state of each entry");
        Some(state)
    }

    /// The state that is in the store.
    pub(crate) fn stored(&self) -> StoreState {
        self.states[self.stored - 1]
    }

    /// The states that are not in the store yet.
    pub(crate) fn unstored(&self) -> impl ExactSizeIterator<Item = &StoreState> {
        self.states.range(self.stored..)
    }

    /// The store has this state now.
    ///
    /// # Panics
    /// If it is none of those that are in the store last or not yet.
    pub(crate) fn set_stored(&mut self, state: StoreState) {
        let passed = state.applied.index.0.checked_sub(self.stored().applied.index.0);
        let passed = passed.and_then(|passed| usize::try_from(passed).ok());
        let passed = passed.expect("the store does not go back");
        self.stored += passed;
        assert!(
            self.stored <= self.states.len() && self.stored() == state,
            "the store has the state of an applied entry"
        );
        self.forget();
    }

    /// Forgets what is in the store and no longer recent.
    fn forget(&mut self) {
        let spare = self.states.len().saturating_sub(RECENT_STATES_MAX).min(self.stored - 1);
        self.states.drain(..spare);
        self.stored -= spare;
    }
}

#[cfg(test)]
mod tests {
    use consensus::Position;

    use super::*;

    fn state(index: u64) -> StoreState {
        StoreState {
            applied: Position::new(1, index),
            digest: u128::from(index),
            ..StoreState::default()
        }
    }

    #[test]
    fn recent_entries_have_their_state_at_hand_in_the_store_or_not() {
        let mut states = States::new(state(10));
        assert_eq!((states.at(Index(9)), states.at(Index(10))), (None, Some(state(10))));
        let last = 20 + RECENT_STATES_MAX as u64;
        for index in 11..=last {
            states.push(state(index));
            assert_eq!(states.at(Index(index)), Some(state(index)));
        }
        assert_eq!(states.at(Index(10)), Some(state(10)), "nothing else is in the store");
        states.set_stored(state(15));
        assert_eq!((states.at(Index(14)), states.at(Index(15))), (None, Some(state(15))));
        states.set_stored(state(last));
        assert_eq!((states.at(Index(20)), states.at(Index(21))), (None, Some(state(21))));
        assert_eq!(states.at(Index(last + 1)), None);
    }

    #[test]
    fn what_is_in_the_store_is_told_from_what_is_not() {
        let mut states = States::new(state(10));
        (11..=14).for_each(|index| states.push(state(index)));
        assert_eq!((states.stored(), states.unstored().len()), (state(10), 4));
        states.set_stored(state(12));
        states.set_stored(state(12));
        assert_eq!(states.stored(), state(12));
        assert_eq!(states.unstored().copied().collect::<Vec<_>>(), [state(13), state(14)]);
    }

    #[test]
    #[should_panic(expected = "the store has the state of an applied entry")]
    fn the_store_has_no_state_that_never_was() {
        let mut states = States::new(state(10));
        states.push(state(11));
        states.set_stored(StoreState { digest: 7, ..state(11) });
    }
}
