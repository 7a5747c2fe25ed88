//! The timer by which a connection ends on which no head of a request comes.
//!
//! hyper sets a timer for each head and drops it when the head is there: on a connection that is used all the
//! time that is a timer a request, put among all others and taken out again, and none of them ever fires. Here
//! a connection has one timer. It stays where it is when a head comes, so that it fires too early, once in as
//! long as a head may take, and only then is it set to the time at which it should fire by now.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use hyper::rt::{Sleep, Timer};
use tokio::time;

/// The timer of one connection, for hyper, which waits for one thing at a time.
#[derive(Debug)]
pub(super) struct HeadTimer {
    timer: Arc<Mutex<Pin<Box<time::Sleep>>>>,
}

impl HeadTimer {
    pub(super) fn new() -> Self {
        Self { timer: Arc::new(Mutex::new(Box::pin(time::sleep_until(time::Instant::now())))) }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: std::time::Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Wait { until: deadline.into(), timer: Arc::clone(&self.timer) })
    }
}

/// A wait by that timer.
struct Wait {
    until: time::Instant,
    timer: Arc<Mutex<Pin<Box<time::Sleep>>>>,
}

impl Sleep for Wait {}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut timer = self.timer.lock().expect("no holder of this lock panics");
        if timer.deadline() > self.until {
            timer.as_mut().reset(self.until);
        }
        loop {
            ready!(timer.as_mut().poll(context));
            if timer.deadline() >= self.until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(self.until);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    /// Whether a wait is over by now.
    async fn is_over(wait: &mut Pin<Box<dyn Sleep>>) -> bool {
        poll_fn(|context| Poll::Ready(wait.as_mut().poll(context).is_ready())).await
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_takes_its_time_whatever_became_of_those_before() {
        let (timer, start) = (HeadTimer::new(), time::Instant::now());
        let wait_for = |seconds| {
            timer.sleep_until((time::Instant::now() + Duration::from_secs(seconds)).into_std())
        };
        wait_for(60).await;
        assert_eq!(start.elapsed().as_secs(), 60);
        let mut dropped = wait_for(60);
        assert!(!is_over(&mut dropped).await);
        time::advance(Duration::from_secs(59)).await;
        drop(dropped);
        // Meanwhile the timer fires for the one that is no more.
        wait_for(60).await;
        assert_eq!(start.elapsed().as_secs(), 60 + 59 + 60);
        let mut dropped = wait_for(60);
        assert!(!is_over(&mut dropped).await);
        drop(dropped);
        wait_for(1).await;
        assert_eq!(start.elapsed().as_secs(), 60 + 59 + 60 + 1, "an earlier one is not late");
    }
}
