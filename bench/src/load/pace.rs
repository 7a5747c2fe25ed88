//! The open loop: requests that are due at moments fixed in advance, whatever becomes of those before.
//!
//! Latencies count from when a request was due, not from when it was sent: while a server stalls, what is due
//! waits for a free connection, and that wait is what its user would feel. A closed loop sends nothing
//! meanwhile and so hides it, which is called coordinated omission.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// How often it is looked whether something is due. The runtime's own timers are good to a millisecond, which is
/// longer than many answers take; to look more often would take time from the servers.
const TICK: Duration = Duration::from_micros(200);

/// How long after the end what became due before it may still be taken: what a server kept waiting that stalled just
/// then is worth the most. Who is behind by more than that does not keep up.
const LAST_TAKEN_WITHIN: Duration = Duration::from_secs(1);
/// How long a connection that is free takes at most to take what is due.
const TAKEN_AT_ONCE: Duration = Duration::from_millis(5);

/// Hands out what is due.
#[derive(Debug)]
pub(super) struct Pace {
    period: Duration,
    due: Semaphore,
    taken: AtomicU64,
    stopped: AtomicBool,
}

impl Pace {
    pub(super) fn new(per_second: f64) -> Self {
        Self {
            period: Duration::from_secs_f64(1.0 / per_second),
            due: Semaphore::new(0),
            taken: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// Waits for the next request that is due; returns when it was. `None` when no more come.
    pub(super) async fn next(&self, start: Instant) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        let nanos = self.period.as_nanos() * u128::from(number);
        Some(start + Duration::from_nanos(u64::try_from(nanos).expect("within centuries")))
    }

    /// How many were handed out.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Ends it now.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Lets requests become due from the start to the end, or until it is stopped. Returns how many did, when no more of
    /// them are handed out. Sleeps meanwhile.
    pub(super) fn release(&self, start: Instant, end: Option<Instant>) -> u64 {
        let mut released = 0;
        loop {
            let now = Instant::now();
            let is_over = end.is_some_and(|end| now >= end) || self.stopped.load(Ordering::Relaxed);
            // What would be due at the end itself belongs to the time after it.
            let last = end.map_or(now, |end| now.min(end - Duration::from_nanos(1)));
            let due = due_after(last.saturating_duration_since(start), self.period);
            self.due
                .add_permits(usize::try_from(due - released).expect("few become due at a time"));
            released = due;
            if is_over {
                break;
            }
            std::thread::sleep(TICK);
        }
        let over = Instant::now();
        std::thread::sleep(TAKEN_AT_ONCE);
        while self.taken() < released && over.elapsed() < LAST_TAKEN_WITHIN {
            std::thread::sleep(TICK);
        }
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
    use std::sync::Arc;

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
        let end = start + Duration::from_millis(50);
        let releasing = Arc::clone(&pace);
        let releasing = tokio::task::spawn_blocking(move || releasing.release(start, Some(end)));
        let take_some = async {
            let mut taken = Vec::new();
            for _ in 0..20 {
                taken.push(pace.next(start).await.expect("more are due") - start);
            }
            taken
        };
        let taken = take_some.await;
        let expected: Vec<_> = (0..20).map(Duration::from_millis).collect();
        assert_eq!(taken, expected);
        assert_eq!(releasing.await.expect("it only sleeps") - pace.taken(), 50 - 20);
        assert_eq!(pace.next(start).await, None);
    }

    #[tokio::test]
    async fn what_was_due_at_the_end_may_be_taken_late_and_a_stop_is_an_end() {
        let pace = Arc::new(Pace::new(100.0));
        let start = Instant::now();
        let releasing = Arc::clone(&pace);
        let releasing = tokio::task::spawn_blocking(move || releasing.release(start, None));
        tokio::time::sleep(Duration::from_millis(35)).await;
        pace.stop();
        tokio::time::sleep(Duration::from_millis(50)).await;
        for _ in 0..3 {
            pace.next(start).await.expect("it was due before the end");
        }
        assert!(releasing.await.expect("it only sleeps") >= 4);
        assert!(start.elapsed() >= LAST_TAKEN_WITHIN, "it waited for somebody");
    }
}
