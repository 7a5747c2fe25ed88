//! One running watch: pulls events as fast as its client takes them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use kvcore::{Event, EventKind, EventLimits, Events, EventsPlan, Revision, WatchFilter};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::App;
use super::super::error::{ApiError, Detail, ErrorName};
use super::super::json::{self, Shown};
use super::super::lull::Lull;
use super::super::read::{self, MemoryOnly};
use super::once::Once;

/// How much one pull may give: small, because ten thousand slow watchers have ten thousand pulls in
/// memory.
const PULL: EventLimits = EventLimits { revisions_max: 1024, events_max: 256, bytes_max: 64 << 10 };

/// A watcher that is further behind than this reads rows that are probably not in memory; it pulls
/// on a thread where waiting for the disk holds up nobody.
const BEHIND_MAX: u64 = 256;

/// How long a client has to take the last line.
const LAST_LINE_TIME_MAX: Duration = Duration::from_secs(1);

/// The form of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    /// One JSON object a line.
    Json,
    /// The same objects as server-sent events.
    ServerSentEvents,
}

/// The end that hyper reads. Dropped with the connection, which ends the watch.
#[derive(Debug)]
pub(super) struct StreamBody(mpsc::Receiver<Bytes>);

impl StreamBody {
    pub(super) fn new(receiver: mpsc::Receiver<Bytes>) -> Self {
        Self(receiver)
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// A watch and where it goes on.
pub(super) struct Watcher {
    pub(super) app: Arc<App>,
    pub(super) filter: WatchFilter,
    /// Everything before this revision was sent or is not wanted.
    pub(super) next: Revision,
    /// End after one event, of this kind.
    pub(super) once: Option<Once>,
    /// How long the stream may be silent.
    pub(super) progress: Option<Duration>,
    pub(super) lines: Lines,
    /// How often it looks that finds nothing.
    pub(super) lull: Lull,
    /// Room for one piece: the next is pulled when the client has taken the one before.
    pub(super) sender: mpsc::Sender<Bytes>,
}

/// Why a watch is over.
enum End {
    /// Its client is gone, or has what it asked for.
    Quiet,
    /// Its client is told.
    Told(ApiError),
}

impl From<ApiError> for End {
    fn from(error: ApiError) -> Self {
        Self::Told(error)
    }
}

impl Watcher {
    /// Runs until the client leaves, the node stops, or the history is compacted.
    pub(super) async fn run(mut self, started: Revision) {
        let app = self.app.clone();
        let watchers = &app.handle.metrics().watchers;
        watchers.inc();
        if let End::Told(error) = self.stream(started).await {
            let mut chunk = Vec::new();
            let revision = self.app.revision();
            let json = error.to_json(revision);
            self.last_line(&mut chunk, &json);
            // A client that does not read is not told.
            let _ = timeout(LAST_LINE_TIME_MAX, self.sender.send(chunk.into())).await;
        }
        watchers.dec();
    }

    async fn stream(&mut self, started: Revision) -> End {
        let mut chunk = Vec::new();
        let json = format!("{{\"revision\":{started},\"started\":true}}");
        // The id is what a browser would go on after: what was asked for, not what the node has.
        self.line(&mut chunk, Some(Revision(self.next.0 - 1)), json.as_bytes());
        loop {
            // First the room, then the events: nothing waits in memory for a slow client.
            let sender = self.sender.clone();
            let permit = match self.unless_stopped(sender.reserve()).await {
                Some(Ok(permit)) => permit,
                Some(Err(_)) => return End::Quiet,
                None => return stopping(),
            };
            if chunk.is_empty() {
                match self.next_chunk(&mut chunk).await {
                    Ok(Over::No) => {}
                    Ok(Over::Yes) => {
                        permit.send(chunk.into());
                        return End::Quiet;
                    }
                    Err(end) => return end,
                }
            }
            permit.send(std::mem::take(&mut chunk).into());
        }
    }

    /// Waits until there is something to say, and says it.
    async fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<Over, End> {
        let mut revisions = self.app.handle.revisions();
        let silence_max = match self.lines {
            Lines::Json => self.progress,
            Lines::ServerSentEvents => Some(self.progress.unwrap_or(self.app.limits.silence_max)),
        };
        let mut bookmark_due = silence_max.map(|silence| Instant::now() + silence);
        let sender = self.sender.clone();
        loop {
            let events = self.pull().await?;
            let moved = events.next > self.next;
            self.next = events.next;
            for revision in &events.revisions {
                match &self.once {
                    None => self.revision_line(chunk, revision.revision, &revision.events),
                    Some(once) => {
                        let met = revision.events.iter().find(|event| once.is_met_by(event));
                        if let Some(event) = met {
                            let event = std::slice::from_ref(event);
                            self.revision_line(chunk, revision.revision, event);
                            return Ok(Over::Yes);
                        }
                    }
                }
            }
            if !chunk.is_empty() {
                self.lull.looked(true);
                return Ok(Over::No);
            }
            if moved {
                self.lull.looked(false);
                // There may be more, but others want to run too.
                tokio::task::yield_now().await;
                continue;
            }
            let next = self.next;
            let bookmark = async {
                match bookmark_due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let lull = self.lull;
            let revision = async {
                let found = revisions.wait_for(|revision| *revision >= next).await.map(|_| ());
                lull.gather().await;
                found
            };
            tokio::select! {
                found = revision => {
                    // The node that told revisions is gone.
                    if found.is_err() {
                        return Err(stopping());
                    }
                }
                () = bookmark => {
                    self.bookmark(chunk);
                    if !chunk.is_empty() {
                        return Ok(Over::No);
                    }
                    bookmark_due = silence_max.map(|silence| Instant::now() + silence);
                }
                () = sender.closed() => return Err(End::Quiet),
                () = self.app.stopped() => return Err(stopping()),
            }
        }
    }

    /// Everything that there is from `next` on, up to the limits of a pull.
    async fn pull(&self) -> Result<Events, End> {
        let behind = self.app.revision().0.saturating_sub(self.next.0);
        if behind <= BEHIND_MAX
            && let Some(events) = pull_in_memory(&self.app, &self.filter, self.next)?
        {
            return Ok(events);
        }
        let (filter, next) = (self.filter.clone(), self.next);
        Ok(self.app.off_thread(move |app| pull(app, &filter, next)).await??)
    }

    /// Says that nothing wanted happened up to a revision, unless the watch begins in the future.
    fn bookmark(&self, chunk: &mut Vec<u8>) {
        let seen = Revision(self.next.0 - 1);
        let is_ahead = seen > self.app.revision();
        if self.progress.is_some() && !is_ahead {
            let json = format!("{{\"revision\":{seen},\"progress\":true}}");
            self.line(chunk, Some(seen), json.as_bytes());
        } else if self.lines == Lines::ServerSentEvents {
            chunk.extend_from_slice(b": nothing new\n");
            if !is_ahead {
                // An id without data is no event, but where a browser goes on after it was cut off.
                chunk.extend_from_slice(format!("id: {seen}\n").as_bytes());
            }
            chunk.push(b'\n');
        }
    }

    /// Says why the watch is over.
    fn last_line(&self, chunk: &mut Vec<u8>, json: &[u8]) {
        if self.lines == Lines::ServerSentEvents {
            chunk.extend_from_slice(b"event: error\n");
        }
        self.line(chunk, None, json);
    }

    fn revision_line(&self, chunk: &mut Vec<u8>, revision: Revision, events: &[Event]) {
        let mut json = Vec::with_capacity(192);
        json.extend_from_slice(b"{\"revision\":");
        json::number(&mut json, revision.0);
        json.extend_from_slice(b",\"events\":[");
        // ZooKeeper's one-shot watch tells that something happened, and not what it is now.
        let is_once = self.once.is_some();
        for (place, event) in events.iter().enumerate() {
            let (kind, mut parts) = match event.kind {
                EventKind::Put => ("put", Shown::Whole),
                EventKind::Delete => ("delete", Shown::Deletion),
            };
            if is_once && parts == Shown::Whole {
                parts = Shown::WithoutValue;
            }
            json.extend_from_slice(if place == 0 { b"{\"type\":\"" } else { b",{\"type\":\"" });
            json.extend_from_slice(kind.as_bytes());
            json.extend_from_slice(b"\",\"kv\":");
            json::key_value(&mut json, &event.key_value, parts);
            if let Some(previous) = event.previous.as_ref().filter(|_| !is_once) {
                json::field(&mut json, "prev");
                json::key_value(&mut json, previous, Shown::Whole);
            }
            json.push(b'}');
        }
        json.extend_from_slice(b"]}");
        self.line(chunk, Some(revision), &json);
    }

    fn line(&self, chunk: &mut Vec<u8>, id: Option<Revision>, json: &[u8]) {
        if self.lines == Lines::ServerSentEvents {
            if let Some(id) = id {
                chunk.extend_from_slice(format!("id: {id}\n").as_bytes());
            }
            chunk.extend_from_slice(b"data: ");
            chunk.extend_from_slice(json);
            chunk.push(b'\n');
        } else {
            chunk.extend_from_slice(json);
        }
        chunk.push(b'\n');
    }

    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            result = work => Some(result),
            () = self.app.stopped() => None,
        }
    }
}

/// Whether the watch is over with this piece.
enum Over {
    No,
    Yes,
}

fn stopping() -> End {
    End::Told(ApiError::new(
        ErrorName::ShuttingDown,
        "this node is shutting down; go on at another node from the revision after the last one \
         seen",
    ))
}

/// The events of a pull; `None` when some of their rows are not in memory.
fn pull_in_memory(
    app: &App,
    filter: &WatchFilter,
    next: Revision,
) -> Result<Option<Events>, ApiError> {
    let events = plan(app, filter, next)?.fetch(&MemoryOnly).ok();
    Ok(events.inspect(|events| count(app, events)))
}

fn pull(app: &App, filter: &WatchFilter, next: Revision) -> Result<Events, ApiError> {
    // The store after the plan, each time: an installed snapshot brings one that has what was planned.
    let events = read::persist(|| Ok(plan(app, filter, next)?.fetch(&*app.handle.store())))?;
    count(app, &events);
    Ok(events)
}

fn plan(app: &App, filter: &WatchFilter, next: Revision) -> Result<EventsPlan, ApiError> {
    let machine = app.handle.machine().read().expect("no holder of the machine panics");
    machine.events(filter, next, PULL).map_err(|compacted| ApiError {
        name: ErrorName::Compacted,
        message: compacted.to_string(),
        detail: Detail::CompactRevision(compacted.compacted),
    })
}

fn count(app: &App, events: &Events) {
    let count: usize = events.revisions.iter().map(|revision| revision.events.len()).sum();
    app.handle.metrics().watch_events.inc_by(count as u64);
}
