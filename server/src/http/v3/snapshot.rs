//! `POST /v3/maintenance/snapshot`: the whole store of this node, as it is durable.
//!
//! ```text
//! $ curl -sN localhost:2379/v3/maintenance/snapshot | jq -r .result.blob | base64 -d > duorum.snapshot
//! ```
//!
//! The blobs one behind another are the snapshot, in Duorum's own format, which is not etcd's:
//!
//! ```text
//! "duorum snapshot 2\n"
//! frames: length of the content (u32) | CRC-32 of the content (u32) | content
//!   content: 1 | the state, as the store has it
//!            2 | rows in order, all versions that can be read, as peers send them
//!            3 | what is remembered of idempotency keys, as peers send it
//!            5 | leases and counters, as peers send them
//!            4 | how many rows there were (u64); this is the last
//! ```
//!
//! Numbers are little-endian. The digest in the state tells whether the rows are those that they should be.
//! The snapshot has everything that this node had applied when it was asked.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use bytes::{BufMut as _, Bytes, BytesMut};
use consensus::Index;
use consensus::codec::Wire;
use kvcore::snapshot::{RememberedRows, Rows, StoreView};
use kvcore::store::{RecordRows, StoreError};
use kvcore::{Revision, Store as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;

use super::context::{Asked, read};
use super::error::{Refusal, Refused};
use super::message::{Empty, ResponseHeader, SnapshotResponse};
use super::stream::{Batch, stream};
use crate::http::App;

const MAGIC: &[u8] = b"duorum snapshot 2\n";
/// The bytes of a blob, as etcd has them.
const BLOB_BYTES: usize = 32 << 10;
/// Bytes of rows that are taken out of the store at a time.
const PORTION_BYTES: usize = 256 << 10;
/// Idempotency keys in one frame, each of some hundred bytes at most.
const REMEMBERED_MAX: usize = 1 << 10;
/// Leases and counters in one frame.
const RECORDS_MAX: usize = 64;
/// How often to look whether the store has what was applied.
const FLUSH_PAUSE: Duration = Duration::from_millis(5);
/// How long a snapshot may take: what it shows can not be freed meanwhile.
const TIME_MAX: Duration = Duration::from_secs(1800);

/// What a content is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    State = 1,
    Rows = 2,
    Remembered = 3,
    End = 4,
    Records = 5,
}

/// The endpoint.
pub(super) async fn snapshot(app: &Arc<App>, request: Request) -> Result<Response, Refused> {
    let Asked { timeout, .. } = read::<Empty>(app, request).await?;
    let place = app.budget.snapshot()?;
    app.flushed(Instant::now() + timeout).await?;
    let open = |app: &App| app.handle.store().view();
    let view = app.off_thread(open).await??;
    let (sender, response) = stream();
    let app = Arc::clone(app);
    let send = async move {
        let blobs = Blobs::new(&app, sender);
        let sent = app.off_thread(move |_| blobs.send_all(&*view)).await;
        if let Err(error) = sent {
            tracing::warn!("a snapshot broke off: {}", error.message);
        }
        drop(place);
    };
    tokio::spawn(send.in_current_span());
    Ok(response)
}

impl App {
    /// Waits until the store has everything that is applied now.
    async fn flushed(&self, deadline: Instant) -> Result<(), Refused> {
        let positions = || {
            let machine = self.handle.machine().read().expect("no holder of the machine panics");
            (machine.applied().index, machine.flushed_state().applied.index)
        };
        let (applied, mut flushed) = positions();
        while flushed < applied {
            if Instant::now() >= deadline {
                return Err(Refusal::TimedOut.into());
            }
            sleep(FLUSH_PAUSE).await;
            flushed = positions().1;
        }
        Ok(())
    }
}

/// A snapshot on its way.
struct Blobs {
    header: ResponseHeader,
    /// About how much there is.
    bytes_estimate: u64,
    sender: mpsc::Sender<VecDeque<Bytes>>,
    began: Instant,
    unsent: BytesMut,
    sent: u64,
}

/// Why a snapshot breaks off.
enum End {
    /// Its client is gone.
    Gone,
    /// Its client is told.
    Told(Refused),
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Told(error.into())
    }
}

impl Blobs {
    fn new(app: &App, sender: mpsc::Sender<VecDeque<Bytes>>) -> Self {
        let file = std::fs::metadata(app.handle.store_file());
        Self {
            header: app.header_without_revision(),
            bytes_estimate: file.map_or(0, |file| file.len()),
            sender,
            began: Instant::now(),
            unsent: BytesMut::new(),
            sent: 0,
        }
    }

    fn send_all(mut self, view: &dyn StoreView) {
        if let Err(End::Told(refused)) = self.send_frames(view) {
            tracing::warn!("a snapshot broke off: {refused}");
            // A client that is gone is not told.
            let _ = self.sender.blocking_send([refused.to_stream_message()].into());
        }
    }

    fn send_frames(&mut self, view: &dyn StoreView) -> Result<(), End> {
        self.header.revision = super::message::signed(view.state().revision.0);
        self.unsent.extend_from_slice(MAGIC);
        self.frame(Kind::State, &view.state());
        let (mut after, mut rows) = (Revision(0), 0);
        loop {
            let portion = view.portion(after, PORTION_BYTES)?;
            after = portion.rows.last().map_or(after, |(id, _)| id.revision);
            rows += portion.rows.len() as u64;
            self.frame(Kind::Rows, &Rows(portion.rows));
            self.send_blobs()?;
            if portion.is_last {
                break;
            }
        }
        let mut after = Index(0);
        loop {
            let remembered = view.remembered(after, REMEMBERED_MAX)?;
            let Some(last) = remembered.last().map(|remembered| remembered.index) else { break };
            after = last;
            self.frame(Kind::Remembered, &RememberedRows(remembered));
            self.send_blobs()?;
        }
        let mut after = None;
        loop {
            let records = view.records(after.as_ref(), RECORDS_MAX)?;
            let Some(last) = records.last().map(|record| record.key.clone()) else { break };
            after = Some(last);
            self.frame(Kind::Records, &RecordRows(records));
            self.send_blobs()?;
        }
        let mut end = vec![Kind::End as u8];
        end.extend_from_slice(&rows.to_le_bytes());
        self.content(&end);
        self.send_blobs()?;
        let last = self.unsent.split().freeze();
        self.send_blob(last, 0)
    }

    fn frame(&mut self, kind: Kind, what: &impl Wire) {
        let mut content = BytesMut::new();
        content.put_u8(kind as u8);
        what.encode(&mut content);
        self.content(&content);
    }

    fn content(&mut self, content: &[u8]) {
        let length = u32::try_from(content.len()).expect("a portion is far smaller");
        self.unsent.put_u32_le(length);
        self.unsent.put_u32_le(crc32fast::hash(content));
        self.unsent.extend_from_slice(content);
    }

    /// Sends all that fills blobs; a little is left for the last one.
    fn send_blobs(&mut self) -> Result<(), End> {
        while self.unsent.len() > BLOB_BYTES {
            let blob = self.unsent.split_to(BLOB_BYTES).freeze();
            self.sent += blob.len() as u64;
            let remaining = self.bytes_estimate.saturating_sub(self.sent).max(1);
            self.send_blob(blob, remaining)?;
        }
        Ok(())
    }

    fn send_blob(&mut self, blob: Bytes, remaining_bytes: u64) -> Result<(), End> {
        if self.began.elapsed() > TIME_MAX {
            return Err(End::Told(Refusal::TimedOut.into()));
        }
        let mut batch = Batch::default();
        batch.push(&SnapshotResponse {
            header: Some(self.header.clone()),
            remaining_bytes,
            blob,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        });
        self.sender.blocking_send(batch.take()).map_err(|_| End::Gone)
    }
}
