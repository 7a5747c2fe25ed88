//! A stream's task: requests in, messages out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kvcore::{Revision, WatchFilter};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::pull::{Pulled, pull};
use super::tell::{Told, Written};
use super::watchers::{WATCHERS_MAX, WatchId, Watcher, Watchers};
use crate::http::App;
use crate::http::lull::Lull;
use crate::http::v3::context::{request_bytes_max, selected};
use crate::http::v3::error::{Refusal, Refused};
use crate::http::v3::message::{
    FilterType, WatchCreateRequest, WatchRequest, WatchResponse, signed,
};
use crate::http::v3::requests::Requests;
use crate::http::v3::stream::Batch;

/// The bytes of messages that are handed over together.
const BATCH_BYTES: usize = 64 << 10;
/// The requests that are taken before the events have their turn.
const REQUESTS_MAX: usize = 64;
/// How long a client has to take the last message.
const LAST_MESSAGE_TIME_MAX: Duration = Duration::from_secs(1);
/// Stands for no watch, or for all.
const NO_WATCH: WatchId = -1;

/// Why a stream is over.
enum End {
    /// Its client is gone.
    Quiet,
    /// Its client is told.
    Told(Refused),
}

impl From<Refused> for End {
    fn from(refused: Refused) -> Self {
        Self::Told(refused)
    }
}

/// A stream of watches.
pub(super) struct Session {
    app: Arc<App>,
    /// `None` when there will be no more.
    requests: Option<Requests>,
    watchers: Watchers,
    revisions: watch::Receiver<Revision>,
    output: Output,
    /// The client asked up to where everything was told, and was not answered yet.
    progress_asked: bool,
    /// When the watches that want it are told that nothing happened.
    progress_due: Instant,
    /// Whether the feed furthest back is pulled next, or the one furthest ahead: neither waits for the
    /// other.
    furthest_back: bool,
    lull: Lull,
}

/// What happened while a stream waited.
enum Awaited {
    Request(Result<Option<Bytes>, Refused>),
    Revision,
    Progress,
}

impl Session {
    /// A stream without watches.
    pub(super) fn new(
        app: Arc<App>,
        requests: Requests,
        sender: mpsc::Sender<VecDeque<Bytes>>,
    ) -> Self {
        let progress_due = Instant::now() + app.limits.watch_progress_interval;
        Self {
            requests: Some(requests),
            watchers: Watchers::default(),
            revisions: app.handle.revisions(),
            output: Output { app: Arc::clone(&app), sender, batch: Batch::default() },
            app,
            progress_asked: false,
            progress_due,
            furthest_back: false,
            lull: Lull::default(),
        }
    }

    /// Runs until the client leaves, the node stops, or a request is wrong.
    pub(super) async fn run(mut self, first: WatchRequest) {
        self.obey(first);
        if let End::Told(refused) = self.serve().await {
            self.output.end(&refused).await;
        }
        self.app.handle.metrics().watchers.dec_by(signed(self.watchers.len() as u64));
    }

    async fn serve(&mut self) -> End {
        loop {
            let result = async {
                // First the room, then the events: nothing waits in memory for a slow client.
                self.output.room().await?;
                self.gather().await?;
                self.output.flush().await
            };
            if let Err(end) = result.await {
                return end;
            }
        }
    }

    /// Waits until there is something to tell.
    async fn gather(&mut self) -> Result<(), End> {
        loop {
            self.take_requests().await?;
            if let Some((first, last)) = self.watchers.ready(self.app.revision()) {
                self.furthest_back = !self.furthest_back;
                let feed = if self.furthest_back { first } else { last };
                self.pull(feed).await?;
                // There may be more, but others want to run too.
                tokio::task::yield_now().await;
            } else {
                self.answer_progress();
                if self.output.batch.is_empty() {
                    self.wait().await?;
                }
            }
            if !self.output.batch.is_empty() {
                return Ok(());
            }
        }
    }

    /// Takes the requests that are there.
    async fn take_requests(&mut self) -> Result<(), End> {
        for _ in 0..REQUESTS_MAX {
            let Some(requests) = &mut self.requests else { return Ok(()) };
            let request = tokio::select! {
                biased;
                request = requests.next() => request,
                () = std::future::ready(()) => return Ok(()),
            };
            self.take(request)?;
        }
        Ok(())
    }

    fn take(&mut self, request: Result<Option<Bytes>, Refused>) -> Result<(), End> {
        match request? {
            Some(request) => self.obey(super::decode(&request)?),
            None => self.requests = None,
        }
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), End> {
        let next = self.watchers.next();
        let (requests, revisions) = (&mut self.requests, &mut self.revisions);
        // Who asked how far it is told waits for the answer.
        let lull = if self.progress_asked { Lull::default() } else { self.lull };
        let request = async {
            match requests {
                Some(requests) => requests.next().await,
                None => std::future::pending().await,
            }
        };
        let revision = async {
            match next {
                Some(next) => {
                    let found = revisions.wait_for(|revision| *revision >= next).await.map(|_| ());
                    lull.gather().await;
                    found
                }
                None => std::future::pending().await,
            }
        };
        let awaited = tokio::select! {
            request = request => Awaited::Request(request),
            found = revision => {
                // The node that told revisions is gone.
                found.map_err(|_| stopped())?;
                Awaited::Revision
            }
            () = sleep_until(self.progress_due) => Awaited::Progress,
            () = self.output.sender.closed() => return Err(End::Quiet),
            () = self.app.stopped() => return Err(stopped()),
        };
        match awaited {
            Awaited::Request(request) => self.take(request),
            Awaited::Revision => Ok(()),
            Awaited::Progress => {
                self.tell_progress();
                Ok(())
            }
        }
    }

    /// Does what is asked.
    fn obey(&mut self, request: WatchRequest) {
        if let Some(create) = request.create_request {
            self.create(create);
        } else if let Some(cancel) = request.cancel_request {
            // That there is no such watch is no matter.
            if self.watchers.remove(cancel.watch_id) {
                self.app.handle.metrics().watchers.dec();
                let response = WatchResponse {
                    watch_id: cancel.watch_id,
                    canceled: true,
                    ..self.response(self.app.revision())
                };
                self.output.batch.push(&response);
            }
        } else {
            self.progress_asked = true;
        }
    }

    fn create(&mut self, create: WatchCreateRequest) {
        // That may be a moment ahead of what the other threads were told.
        let now = {
            let machine =
                self.app.handle.machine().read().expect("no holder of the machine panics");
            machine.revision()
        };
        let created = WatchResponse { created: true, ..self.response(now) };
        let id = match self.begin(create, now) {
            Ok(id) => id,
            Err(reason) => {
                self.output.batch.push(&WatchResponse {
                    watch_id: NO_WATCH,
                    canceled: true,
                    cancel_reason: reason.to_owned(),
                    ..created
                });
                return;
            }
        };
        self.app.handle.metrics().watchers.inc();
        self.output.batch.push(&WatchResponse { watch_id: id, ..created });
    }

    /// Begins a watch. The error is the reason that its client is told.
    fn begin(
        &mut self,
        create: WatchCreateRequest,
        now: Revision,
    ) -> Result<WatchId, &'static str> {
        let WatchCreateRequest { key, range_end, start_revision, .. } = create;
        let key = if key.is_empty() { Bytes::from_static(b"\0") } else { key };
        let empty = !range_end.is_empty() && &range_end[..] != b"\0" && range_end <= key;
        if empty {
            return Err("mvcc: watcher range is empty");
        }
        let from = match u64::try_from(start_revision) {
            Ok(0) => now.0 + 1,
            Ok(from) => from,
            Err(_) => return Err(Refusal::Compacted.text()),
        };
        if self.watchers.len() >= WATCHERS_MAX {
            return Err("mvcc: too many watchers on the WatchStream");
        }
        let Some(id) = self.watchers.free_id(create.watch_id) else {
            return Err("mvcc: duplicate watch ID provided on the WatchStream");
        };
        let filter = WatchFilter {
            keys: selected(key, &range_end),
            puts: !create.filters.contains(&FilterType::NoPut),
            deletes: !create.filters.contains(&FilterType::NoDelete),
            previous: create.prev_kv,
        };
        let (fragment, progress) = (create.fragment, create.progress_notify);
        let watcher = Watcher { filter, fragment, progress, told: false };
        self.watchers.add(id, watcher, Revision(from));
        Ok(id)
    }

    fn response(&self, revision: Revision) -> WatchResponse {
        WatchResponse { header: Some(self.app.header(revision)), ..WatchResponse::default() }
    }

    /// Tells a feed what is new to it.
    async fn pull(&mut self, next: Revision) -> Result<(), End> {
        let (feed, after) = self.watchers.feed(next);
        match pull(&self.app, feed.filter(), next, after).await? {
            Pulled::Events(events) => {
                let to = events.next;
                let mut wanted = Vec::new();
                let written = Written::of(events, |place, key, is_put| {
                    let before = wanted.len();
                    self.watchers.wanting(next, key, is_put, |id| wanted.push((id, place)));
                    wanted.len() > before
                });
                self.lull.looked(!wanted.is_empty());
                wanted.sort_unstable();
                // From here on the watches of the feed are told, whatever the client asks meanwhile.
                self.watchers.advance(next, to);
                self.tell(&written, &wanted).await
            }
            Pulled::Compacted(compacted) => {
                let header = Some(self.app.header_without_revision());
                for id in self.watchers.remove_feed(next) {
                    self.app.handle.metrics().watchers.dec();
                    self.output.batch.push(&WatchResponse {
                        header: header.clone(),
                        watch_id: id,
                        canceled: true,
                        compact_revision: signed(compacted.compacted.0),
                        ..WatchResponse::default()
                    });
                }
                Ok(())
            }
        }
    }

    /// Tells each watch the events that it wants to hear of.
    async fn tell(&mut self, written: &Written, wanted: &[(WatchId, usize)]) -> Result<(), End> {
        let header = self.app.header_without_revision();
        let bytes_max = request_bytes_max(&self.app.limits);
        self.app.handle.metrics().watch_events.inc_by(wanted.len() as u64);
        let mut places = Vec::new();
        for wanted in wanted.chunk_by(|one, other| one.0 == other.0) {
            let watch_id = wanted[0].0;
            let watcher = self.watchers.get_mut(watch_id);
            watcher.told = true;
            let (fragments, previous) = (watcher.fragment, watcher.filter.previous);
            places.clear();
            places.extend(wanted.iter().map(|(_, place)| *place));
            let mut rest = &places[..];
            while !rest.is_empty() {
                let fitting = match fragments {
                    true => written.fitting(rest, previous, bytes_max),
                    false => rest.len(),
                };
                let (events, behind) = rest.split_at(fitting);
                let fragment = !behind.is_empty();
                let told = Told { watch_id, previous, events, fragment };
                self.output.batch.write(|out| written.message(out, &header, told));
                rest = behind;
                if self.output.batch.len() >= BATCH_BYTES {
                    self.output.flush().await?;
                }
            }
        }
        Ok(())
    }

    /// Answers the question up to where everything was told, as soon as that is one revision for all.
    fn answer_progress(&mut self) {
        let revision = self.app.revision();
        if let Some(told) = self.watchers.told_up_to(revision).filter(|_| self.progress_asked) {
            self.progress_asked = false;
            let response = WatchResponse { watch_id: NO_WATCH, ..self.response(told) };
            self.output.batch.push(&response);
        }
    }

    /// Tells the watches that want it, and were told nothing for a while, that nothing happened.
    fn tell_progress(&mut self) {
        self.progress_due = Instant::now() + self.app.limits.watch_progress_interval;
        let revision = self.app.revision();
        let ids: Vec<WatchId> = self.watchers.progressing().collect();
        for id in ids {
            let told = std::mem::take(&mut self.watchers.get_mut(id).told);
            if !told && self.watchers.is_told(id, revision) {
                let response = WatchResponse { watch_id: id, ..self.response(revision) };
                self.output.batch.push(&response);
            }
        }
    }
}

fn stopped() -> End {
    End::Told(Refusal::Stopped.into())
}

/// Where messages go.
struct Output {
    app: Arc<App>,
    sender: mpsc::Sender<VecDeque<Bytes>>,
    batch: Batch,
}

impl Output {
    /// Waits until the client has taken what was sent before.
    async fn room(&self) -> Result<(), End> {
        tokio::select! {
            biased;
            // Nobody else sends, so there is still room when the permit is given back.
            permit = self.sender.reserve() => permit.map(|_| ()).map_err(|_| End::Quiet),
            () = self.app.stopped() => Err(stopped()),
        }
    }

    /// Sends what was gathered.
    async fn flush(&mut self) -> Result<(), End> {
        self.room().await?;
        self.sender.send(self.batch.take()).await.map_err(|_| End::Quiet)
    }

    /// Sends the last message.
    async fn end(mut self, refused: &Refused) {
        let mut last = self.batch.take();
        last.push_back(refused.to_stream_message());
        // A client that does not read is not told.
        let _ = timeout(LAST_MESSAGE_TIME_MAX, self.sender.send(last)).await;
    }
}
