//! The requests of this node's clients that wait for the loop to end them.
//!
//! Whoever waits has no timer: each request would set one and take it back, and hardly any would ever fire.
//! Instead all of them are looked through now and then, and those are given up that the loop should have ended
//! long ago, because it stands still or is gone.

use std::sync::{Mutex, MutexGuard, Weak};
use std::time::Duration;

use consensus::Time;
use kvcore::RequestId;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::shared::{Clock, Ended};

/// How much later than the loop a request is given up, at least: the loop knows what became of it.
const ANSWER_SLACK: Duration = Duration::from_secs(2);
/// How often it is looked for such requests.
const GIVE_UP_INTERVAL: Duration = Duration::from_millis(250);

/// All requests that wait.
#[derive(Debug, Default)]
pub(crate) struct WaitingRequests {
    requests: Mutex<FxHashMap<RequestId, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    ended: oneshot::Sender<Ended>,
    give_up_at: Time,
}

impl WaitingRequests {
    fn lock(&self) -> MutexGuard<'_, FxHashMap<RequestId, Waiting>> {
        self.requests.lock().expect("no holder of this lock panics")
    }

    /// Adds a request that the loop ends at its deadline. It is forgotten when whoever waits for it does so
    /// no more.
    pub(crate) fn add(&self, request: RequestId, deadline: Time) -> Wait<'_> {
        let (sender, receiver) = oneshot::channel();
        let give_up_at = deadline + ANSWER_SLACK;
        self.lock().insert(request, Waiting { ended: sender, give_up_at });
        Wait { all: self, request, receiver, is_over: false }
    }

    /// Answers the requests that ended; a client that is gone is no matter.
    pub(crate) fn end(&self, ended: impl Iterator<Item = (RequestId, Ended)>) {
        let mut requests = self.lock();
        for (request, ended) in ended {
            if let Some(waiting) = requests.remove(&request) {
                let _ = waiting.ended.send(ended);
            }
        }
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn give_up_overdue(&self, now: Time) {
        self.lock().retain(|_, waiting| waiting.give_up_at > now);
    }
}

/// Gives requests up when it is time, for as long as the node is there.
pub(crate) async fn give_up_in_time(requests: Weak<WaitingRequests>, clock: Clock) {
    loop {
        sleep(GIVE_UP_INTERVAL).await;
        let Some(requests) = requests.upgrade() else { return };
        requests.give_up_overdue(clock.time());
    }
}

/// The wait for one request.
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    all: &'a WaitingRequests,
    request: RequestId,
    receiver: oneshot::Receiver<Ended>,
    /// Whether it ended or was given up, and so does not wait any more.
    is_over: bool,
}

impl Wait<'_> {
    /// How the request ended; `None` if it was given up.
    pub(crate) async fn over(mut self) -> Option<Ended> {
        let ended = (&mut self.receiver).await;
        self.is_over = true;
        ended.ok()
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if !self.is_over
            && let Ok(mut requests) = self.all.requests.lock()
        {
            requests.remove(&self.request);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const FIRST: RequestId = RequestId(1);
    const SECOND: RequestId = RequestId(2);

    fn seconds(seconds: u64) -> Time {
        Time::default() + Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn each_request_gets_its_own_end() {
        let all = WaitingRequests::default();
        let (first, second) = (all.add(FIRST, seconds(5)), all.add(SECOND, seconds(5)));
        let nobody = (RequestId(3), Ended::ReadReady);
        all.end([nobody, (SECOND, Ended::ReadReady)].into_iter());
        assert!(matches!(second.over().await, Some(Ended::ReadReady)));
        assert!(!all.is_empty());
        drop(first);
        assert!(all.is_empty(), "nobody waits for the first any more");
        all.end([(FIRST, Ended::ReadReady)].into_iter());
    }

    #[tokio::test]
    async fn what_the_loop_does_not_end_is_given_up_when_it_should_have_been() {
        let all = WaitingRequests::default();
        let (first, second) = (all.add(FIRST, seconds(5)), all.add(SECOND, seconds(60)));
        all.give_up_overdue(seconds(6));
        all.end([(SECOND, Ended::ReadReady)].into_iter());
        assert!(matches!(second.over().await, Some(Ended::ReadReady)));
        assert!(!all.is_empty(), "the loop may still end the first");
        all.give_up_overdue(seconds(7));
        assert!(all.is_empty());
        assert!(first.over().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_looked_for_them_as_long_as_the_node_is_there() {
        let all = Arc::new(WaitingRequests::default());
        let looking = tokio::spawn(give_up_in_time(Arc::downgrade(&all), Clock::start()));
        let overdue = Waiting { ended: oneshot::channel().0, give_up_at: Time::default() };
        all.lock().insert(FIRST, overdue);
        sleep(2 * GIVE_UP_INTERVAL).await;
        assert!(all.is_empty());
        drop(all);
        looking.await.expect("it ends with the node");
    }
}
