//! The open loop: requests that are due at moments fixed in advance, whatever becomes of those before.
//!
//! Latencies count from when a request was due, not from when it was sent: while a server stalls, what is due
//! waits for a free connection, and that wait is what its user would feel. A closed loop sends nothing
//! meanwhile and so hides it, which is called coordinated omission.

use std::future::pending;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;

use crate::Error;

/// How often it is looked whether something is due. The runtime's own timers are good to a millisecond, which is
/// longer than many answers take; looking more often would take time from the servers.
const TICK: Duration = Duration::from_micros(200);

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
        Some(start + self.period.mul_f64(number as f64))
    }

    /// Lets requests become due from the start to the end. Returns how many no connection was free for.
    pub(super) async fn run(&self, start: Instant, end: Instant) -> Result<u64, Error> {
        let ticks = Ticks::new().map_err(|source| Error::Io { what: "make a timer".to_owned(), source })?;
        let mut released = 0;
        loop {
            let now = Instant::now().min(end);
            let due = due_after(now.saturating_duration_since(start), self.period);
            self.due.add_permits(usize::try_from(due - released).expect("few become due at a time"));
            released = due;
            if now == end {
                break;
            }
            ticks.next().await;
        }
        self.due.close();
        Ok(released - self.taken.load(Ordering::Relaxed).min(released))
    }
}

/// How many requests are due so long after the start; the first at once.
fn due_after(elapsed: Duration, period: Duration) -> u64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of what a million a second make in hours"
    )]
    let periods = (elapsed.as_secs_f64() / period.as_secs_f64()) as u64;
    periods + 1
}

/// A timer of the system's.
struct Ticks(AsyncFd<OwnedFd>);

impl Ticks {
    fn new() -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        let tick = Timespec { tv_sec: 0, tv_nsec: i64::from(TICK.subsec_nanos()) };
        let every = Itimerspec { it_interval: tick, it_value: tick };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every)?;
        Ok(Self(AsyncFd::with_interest(timer, Interest::READABLE)?))
    }

    /// Waits for the next tick; those that were missed count as one.
    async fn next(&self) {
        let mut expirations = [0; 8];
        let read = self.0.async_io(Interest::READABLE, |timer| {
            Ok(rustix::io::read(timer.as_fd(), &mut expirations)?)
        });
        if read.await.is_err() {
            // A timer that is set can be read; if not, whoever waits is ended by the end of the run.
            pending::<()>().await;
        }
    }
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
        let pace = Pace::new(1_000.0);
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
        assert_eq!(left.expect("a timer"), 51 - 20);
        assert_eq!(pace.next(start).await, None);
    }
}
