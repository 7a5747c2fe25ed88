//! The open loop: requests that are due at moments fixed in advance, whatever becomes of those before.
//!
//! Latencies count from when a request was due, not from when it was sent: while a server stalls, what is due
//! waits for a free connection, and that wait is what its user would feel. A closed loop sends nothing
//! meanwhile and so hides it, which is called coordinated omission.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// How often it is looked whether something is due. The runtime's own timers are good to a millisecond, which is
/// longer than many answers take; to look more often would take time from the servers.
const TICK: Duration = Duration::from_micros(200);

/// How long after the end a connection that is free may take what became due just before.
const LAST_TAKEN_WITHIN: Duration = Duration::from_millis(5);

/// Hands out what is due.
#[derive(Debug)]
pub(super) struct Pace {
    period: Duration,
    due: Semaphore,
    taken: AtomicU64,
}

impl Pace {
    pub(super) fn new(per_second: f64) -> Self {
        Self {
            period: Duration::from_secs_f64(1.0 / per_second),
            due: Semaphore::new(0),
            taken: AtomicU64::new(0),
        }
    }

    /// Waits for the next request that is due; returns when it was. `None` when no more come.
    pub(super) async fn next(&self, start: Instant) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        let nanos = self.period.as_nanos() * u128::from(number);
        Some(start + Duration::from_nanos(u64::try_from(nanos).expect("within centuries")))
    }

    /// Lets requests become due from the start to the end. Returns how many no connection was free for.
    pub(super) async fn run(self: &Arc<Self>, start: Instant, end: Instant) -> u64 {
        let pace = Arc::clone(self);
        let releasing = tokio::task::spawn_blocking(move || pace.release(start, end));
        let released = releasing.await.expect("what only sleeps does not panic");
        released - self.taken.load(Ordering::Relaxed).min(released)
    }

    /// The same, on a thread of its own: it wakes on time. Returns how many became due.
    fn release(&self, start: Instant, end: Instant) -> u64 {
        let mut released = 0;
        loop {
            let now = Instant::now();
            // What would be due at the end itself belongs to the time after it.
            let last = end - Duration::from_nanos(1);
            let due = due_after(now.min(last).saturating_duration_since(start), self.period);
            self.due
                .add_permits(usize::try_from(due - released).expect("few become due at a time"));
            released = due;
            if now >= end {
                break;
            }
            std::thread::sleep(TICK);
        }
        std::thread::sleep(LAST_TAKEN_WITHIN);
        self.due.close();
        released
    }
}

/// How many requests are due so long after the start; the first at once.
fn due_after(elapsed: Duration, period: Duration) -> u64 {
    let periods = elapsed.as_nanos() / period.as_nanos();
    u64::try_from(periods + 1).expect("fewer than a million a second, for years")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_fixed_moments() {
        let period = Duration::from_millis(10);
        let counts = [0, 9, 10, 99, 1_000].map(|ms| due_after(Duration::from_millis(ms), period));
        assert_eq!(counts, [1, 1, 2, 10, 101]);
    }

    #[tokio::test]
    async fn what_is_due_is_handed_out_once_with_its_moment_and_the_rest_is_counted() {
        let pace = Arc::new(Pace::new(1_000.0));
        let start = Instant::now();
        let take_some = async {
            let mut taken = Vec::new();
            for _ in 0..20 {
                taken.push(pace.next(start).await.expect("more are due") - start);
            }
            taken
        };
        let (taken, left) =
            tokio::join!(take_some, pace.run(start, start + Duration::from_millis(50)));
        let expected: Vec<_> = (0..20).map(Duration::from_millis).collect();
        assert_eq!(taken, expected);
        assert_eq!(left, 50 - 20);
        assert_eq!(pace.next(start).await, None);
    }
}
