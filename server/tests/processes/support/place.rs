//! Room on the machine: how many tests have servers at the same time.
//!
//! All tests of real processes are in one program, whose threads run them side by side. A cluster is
//! three processes, and on a machine where everything waits for everything else timers run out and
//! measurements mean nothing. So a test has a place while its servers run; there are as many places as
//! the machine has cores, and a test that measures, or that takes what others need, has all of them.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::available_parallelism;
/// A test's place, until all that hold it are gone.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    _taken: Arc<Taken>,
}

impl Place {
    /// Waits for a place. What one test starts shares one place, so that no test waits for itself.
    pub(crate) fn take() -> Self {
        HERE.with_borrow_mut(|here| {
            let taken = here.upgrade().unwrap_or_else(|| Arc::new(Taken::wait(1)));
            *here = Arc::downgrade(&taken);
            Self { _taken: taken }
        })
    }

    /// Waits until no other test has a place, and keeps all of them. To be asked for before anything
    /// is started.
    pub(crate) fn take_all() -> Self {
        HERE.with_borrow_mut(|here| {
            assert!(
                here.upgrade().is_none(),
                "a test that has a place does not wait for all of them"
            );
            let taken = Arc::new(Taken::wait(places()));
            *here = Arc::downgrade(&taken);
            Self { _taken: taken }
        })
    }
}

thread_local! {
    /// The place of the test that runs on this thread.
    static HERE: RefCell<Weak<Taken>> = const { RefCell::new(Weak::new()) };
}

/// How many places there are.
fn places() -> usize {
    available_parallelism().map_or(1, usize::from)
}

#[derive(Debug, Default)]
struct Room {
    taken: usize,
    /// Tests that wait for the whole room: until they had it, nobody else gets a place.
    wanted_alone: usize,
}

static ROOM: Mutex<Room> = Mutex::new(Room { taken: 0, wanted_alone: 0 });
static LEFT: Condvar = Condvar::new();

#[derive(Debug)]
struct Taken(usize);

impl Taken {
    fn wait(wanted: usize) -> Self {
        let alone = wanted == places();
        let mut room = lock();
        room.wanted_alone += usize::from(alone);
        while room.taken + wanted > places() || (!alone && room.wanted_alone > 0) {
            room = LEFT.wait(room).unwrap_or_else(PoisonError::into_inner);
        }
        room.wanted_alone -= usize::from(alone);
        room.taken += wanted;
        Self(wanted)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        lock().taken -= self.0;
        LEFT.notify_all();
    }
}

/// A test that panics leaves the room as it should be.
fn lock() -> MutexGuard<'static, Room> {
    ROOM.lock().unwrap_or_else(PoisonError::into_inner)
}
