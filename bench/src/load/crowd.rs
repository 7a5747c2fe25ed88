//! The clients of a load, whatever they speak: the closed loop, or the open one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::Until;
use super::pace::Pace;
use super::recorder::{LoadReport, Recorder};
use super::request::Kind;

/// How long a client pauses after an error. Without a pause, a server that refuses would be asked
/// as fast as the loop can turn, and the errors would take the time of the others' work.
pub(crate) const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(5);
/// How long after the end of the run an answer may still come. Our servers give up after 5 s, etcd after 7 s.
const GRACE: Duration = Duration::from_secs(8);

/// How one request went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was answered as asked.
    Success,
    /// There is no such key.
    NotFound,
    /// It failed.
    Failed {
        /// The name of the error.
        name: String,
        /// Whether it may have taken effect all the same.
        outcome_unknown: bool,
    },
}

/// One client, with one operation under way.
pub(crate) trait Ask: Send + 'static {
    /// Does one operation and waits for its answer. What fails on the way and is tried again goes to the notes.
    fn ask(&mut self, turn: Turn, notes: &mut Recorder) -> impl Future<Output = Outcome> + Send;

    /// Which kind the last operation was, if there are several.
    fn kind(&self) -> Option<Kind> {
        None
    }
}

/// One operation's place in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// The moment from which its latency counts: when it was due in an open loop, and else when it begins.
    pub(crate) since: Instant,
    /// Its number among those of all clients, in a run that ends after a number of them.
    pub(crate) number: u64,
}

/// When a run counts, and when it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    /// The beginning that does not count.
    pub(crate) warmup: Duration,
    pub(crate) until: Until,
    /// Operations a second that are due; `None` for a closed loop.
    pub(crate) per_second: Option<f64>,
    /// How long a client may take for all that it does in a run whose end is no moment.
    pub(crate) patience: Duration,
}

/// What all clients of a run share.
#[derive(Debug)]
struct Shared {
    course: Course,
    /// How many operations were begun, in runs that end after a number of them.
    begun: AtomicU64,
    /// When operations are due, in an open loop.
    pace: Option<Arc<Pace>>,
    stopped: watch::Sender<bool>,
}

/// Clients at work. Dropping it ends them at once.
#[derive(Debug)]
pub(crate) struct Crowd<C: Ask> {
    shared: Arc<Shared>,
    start: Instant,
    clients: JoinSet<(C, Recorder)>,
    /// Tells how many operations became due.
    pacing: Option<JoinHandle<u64>>,
}

impl<C: Ask> Crowd<C> {
    /// Has them begin now.
    pub(crate) fn start(clients: Vec<C>, course: Course) -> Self {
        let pace = course.per_second.map(|rate| Arc::new(Pace::new(rate)));
        let stopped = watch::Sender::new(false);
        let shared = Arc::new(Shared { course, begun: AtomicU64::new(0), pace, stopped });
        let start = Instant::now();
        let mut working = JoinSet::new();
        for client in clients {
            working.spawn(work(Arc::clone(&shared), client, start));
        }
        let end = match course.until {
            Until::Elapsed(window) => Some(start + course.warmup + window),
            Until::Operations(_) | Until::Stopped => None,
        };
        // It only sleeps and counts, and on a thread of its own it wakes on time.
        let pacing = shared.pace.clone();
        let pacing =
            pacing.map(|pace| tokio::task::spawn_blocking(move || pace.release(start, end)));
        Self { shared, start, clients: working, pacing }
    }

    /// Begins no more operations.
    pub(crate) fn stop(&self) {
        self.shared.stop();
    }

    /// Waits until the last answer is in or given up. Returns the clients as well, in no order.
    pub(crate) async fn finish(mut self) -> (LoadReport, Vec<C>) {
        let mut merged = self.shared.recorder(self.start);
        let mut clients = Vec::with_capacity(self.clients.len());
        while let Some(joined) = self.clients.join_next().await {
            let (client, notes) = joined.expect("a client of the load generator does not panic");
            merged.merge(&notes);
            clients.push(client);
        }
        // Nobody is left to take what is due.
        self.shared.stop();
        let mut report = merged.report();
        if let (Some(pace), Some(pacing)) = (&self.shared.pace, self.pacing.take()) {
            let released = pacing.await.expect("what only sleeps does not panic");
            report.not_sent = released.saturating_sub(pace.taken());
        }
        (report, clients)
    }
}

impl<C: Ask> Drop for Crowd<C> {
    fn drop(&mut self) {
        // The thread of the open loop ends by this alone.
        self.shared.stop();
    }
}

impl Shared {
    fn stop(&self) {
        self.stopped.send_replace(true);
        if let Some(pace) = &self.pace {
            pace.stop();
        }
    }

    /// Empty notes.
    fn recorder(&self, start: Instant) -> Recorder {
        let window = match self.course.until {
            Until::Elapsed(window) => Some(window),
            Until::Operations(_) | Until::Stopped => None,
        };
        let recorder = Recorder::new(start, self.course.warmup, window);
        if self.pace.is_some() { recorder.of_what_was_due() } else { recorder }
    }

    /// Waits until the next operation may begin. `None` when the run is over.
    async fn begin(&self, start: Instant, now: Instant) -> Option<Turn> {
        let at_once = Turn { since: now, number: 0 };
        if let Some(pace) = &self.pace {
            let since = pace.next(start).await?;
            return Some(Turn { since, ..at_once });
        }
        if *self.stopped.borrow() {
            return None;
        }
        match self.course.until {
            Until::Elapsed(window) => {
                (now < start + self.course.warmup + window).then_some(at_once)
            }
            Until::Operations(count) => {
                let number = self.begun.fetch_add(1, Ordering::Relaxed);
                (number < count).then_some(Turn { number, ..at_once })
            }
            Until::Stopped => Some(at_once),
        }
    }

    /// Waits until no answer is worth waiting for any more.
    async fn patience(&self) {
        let Course { warmup, until, patience, .. } = self.course;
        let limit = match until {
            Until::Elapsed(window) => warmup + window + GRACE,
            Until::Operations(_) | Until::Stopped => patience,
        };
        let after_the_stop = async {
            let _ = self.stopped.subscribe().wait_for(|&stopped| stopped).await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            () = tokio::time::sleep(limit) => {}
            () = after_the_stop => {}
        }
    }
}

/// Has one client ask until the run ends; returns it with its notes.
async fn work<C: Ask>(shared: Arc<Shared>, mut client: C, start: Instant) -> (C, Recorder) {
    let mut notes = shared.recorder(start);
    let in_time = tokio::select! {
        () = ask_until_the_end(&shared, &mut client, start, &mut notes) => true,
        () = shared.patience() => false,
    };
    if !in_time {
        notes.error("client_timeout", true);
    }
    (client, notes)
}

async fn ask_until_the_end<C: Ask>(
    shared: &Shared,
    client: &mut C,
    start: Instant,
    notes: &mut Recorder,
) {
    let mut now = start;
    while let Some(turn) = shared.begin(start, now).await {
        let outcome = client.ask(turn, notes).await;
        now = Instant::now();
        match outcome {
            Outcome::Success => notes.success_of(client.kind(), turn.since, now),
            Outcome::NotFound => {
                notes.success_of(client.kind(), turn.since, now);
                notes.not_found();
            }
            Outcome::Failed { name, outcome_unknown } => {
                notes.error(&name, outcome_unknown);
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                now = Instant::now();
            }
        }
    }
}
