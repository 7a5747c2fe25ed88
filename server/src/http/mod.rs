//! The HTTP API `/v1`: one endpoint a file, each with its request, its answer and a line of curl.
//!
//! This is the only place that knows HTTP and JSON. Requests come in through our own accept loop
//! (`listener`), are routed by axum unless they are about one key (`routes`), parsed strictly
//! (`parameters`, `body`), and answered from one buffer of JSON written by hand (`json`, `answer`). Whatever
//! goes wrong is in one table ([`error`]).
//!
//! A read costs a barrier, which says that this node is fresh enough, and then a look at the state
//! machine under its lock, which says where the row is; the row is fetched when the lock is free.
//!
//! etcd's API, [`v3`], stands on the same reads and writes, with JSON and errors of its own.
//!
//! It is not: a place that retries. What became of a request is said once, and whether that is
//! definite.

mod agree;
mod alarms;
mod answer;
mod body;
mod budget;
mod call;
mod cluster;
mod compact;
mod connection;
mod delete;
mod docs;
mod elections;
pub mod error;
mod faults;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod get;
mod head_timer;
mod health;
mod json;
mod key;
mod lab;
mod lease;
mod listener;
mod lull;
mod metrics;
pub mod openapi;
mod parameters;
mod previous;
mod put;
mod range;
mod read;
mod routes;
mod shapes;
mod stat;
mod status;
mod trace;
mod transaction;
mod transfer;
pub mod v3;
mod version;
mod watch;
mod write;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use kvcore::{Revision, SessionTimeouts};
use tokio::sync::watch as signal;
use tokio::task::unconstrained;

use self::answer::Signature;
use self::budget::Budget;
pub(crate) use self::lease::LEASE_TTL_LEAST;
pub use self::listener::Listener;
pub(crate) use self::status::leader;
use crate::metrics::AnswerCounters;
use crate::node::handle::NodeHandle;

/// How long a node that stops still answers, so that clients hear that their connections end.
const FAREWELL: Duration = Duration::from_millis(100);

/// The bounds of what clients may ask of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest value, in bytes.
    pub value_bytes_max: usize,
    /// The most client connections at a time.
    pub connections_max: usize,
    /// How long a client may take to send the head of a request, waiting for it included, and again
    /// for its body.
    pub read_timeout: Duration,
    /// How long a client may take nothing of its answer before its connection is closed.
    pub write_timeout: Duration,
    /// How long server-sent events may be silent before a comment says that nothing is new: whoever
    /// carries them may give up a connection on which nothing is said for half a minute.
    pub silence_max: Duration,
    /// The most bytes of the bodies of all requests under way.
    pub body_bytes_max: usize,
    /// The most bytes of all answers that their clients have not taken yet. An answer that is longer
    /// goes alone.
    pub answer_bytes_max: usize,
    /// How long requests that are under way may go on when the node stops.
    pub stop_timeout: Duration,
    /// How often a watch of `/v3` that asks for it is told that nothing happened.
    pub watch_progress_interval: Duration,
    /// Between what the time of a lease is that is asked for as a session.
    pub session_timeouts: SessionTimeouts,
    /// How much time each request takes besides, on purpose.
    pub handicap: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            value_bytes_max: 1 << 20,
            connections_max: 16_384,
            read_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            silence_max: Duration::from_secs(15),
            body_bytes_max: 64 << 20,
            answer_bytes_max: 64 << 20,
            stop_timeout: Duration::from_secs(3),
            watch_progress_interval: Duration::from_secs(600),
            session_timeouts: SessionTimeouts::default(),
            handicap: Duration::ZERO,
        }
    }
}

/// What every request is handled with.
pub(crate) struct App {
    handle: NodeHandle,
    limits: Limits,
    budget: Budget,
    /// The revision applied here, kept to be read without subscribing anew.
    revisions: signal::Receiver<Revision>,
    /// Turns true when the node stops.
    stop: signal::Receiver<bool>,
    signature: Signature,
    /// Where clients find this node, if it listens on one address.
    address: Option<SocketAddr>,
    /// What `/v3` calls the cluster, once it is formed.
    cluster_id: OnceLock<u64>,
    /// What counts the answers of each of [`routes::counted_calls`].
    answers: Box<[AnswerCounters]>,
    /// What counts all other answers.
    other_answers: AnswerCounters,
}

impl App {
    pub(crate) fn new(
        handle: NodeHandle,
        address: Option<SocketAddr>,
        limits: Limits,
        stop: signal::Receiver<bool>,
    ) -> Self {
        Self {
            address,
            revisions: handle.revisions(),
            signature: Signature::new(&handle),
            cluster_id: OnceLock::new(),
            answers: routes::counted_calls().map(AnswerCounters::new).collect(),
            other_answers: AnswerCounters::new("other"),
            handle,
            budget: Budget::new(&limits),
            limits,
            stop,
        }
    }

    /// Why the node does not serve as it should, if it does not, or which replicas differ.
    fn trouble(&self) -> Option<String> {
        self.handle.trouble().or_else(|| self.handle.corruption())
    }

    /// Waits until the node stops.
    async fn stopped(&self) {
        // Whoever could say so being gone is as good as being told.
        let _ = self.stop.clone().wait_for(|stop| *stop).await;
    }

    /// Whether the node stops.
    fn is_stopping(&self) -> bool {
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }

    /// Waits until the node stops and its clients have had the time to hear of it: every answer
    /// meanwhile says that the connection ends with it. Whoever closed connections at once could
    /// close one whose next request was on its way, and nobody would know what became of that.
    async fn retired(&self) {
        self.stopped().await;
        tokio::time::sleep(FAREWELL).await;
    }

    /// What comes of something before that; `None` if nothing does.
    ///
    /// It is polled for each event of a connection. To wait for the stop anew each time would cost more than
    /// the rest of it, so that is done once: whoever waits is woken when the node stops. That must not be put
    /// off by tokio's budget for a task.
    async fn unless_retired<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let (mut future, mut retired) = (pin!(future), pin!(unconstrained(self.retired())));
        let mut waits = false;
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            if waits && !self.is_stopping() {
                return Poll::Pending;
            }
            waits = true;
            retired.as_mut().poll(context).map(|()| None)
        })
        .await
    }

    /// The store's revision here and now.
    fn revision(&self) -> Revision {
        *self.revisions.borrow()
    }
}

/// The state that axum hands to every endpoint.
type State = axum::extract::State<Arc<App>>;
