//! `POST /v3/kv/range`.
//!
//! ```text
//! $ curl localhost:2379/v3/kv/range -d '{"key":"Zm9v"}'
//! {"header":{…},"kvs":[{"key":"Zm9v","create_revision":"2","mod_revision":"2","version":"1","value":"YmFy"}],"count":"1"}
//! ```
//!
//! A short answer comes whole. A long one is sent as it is read, page by page, so that the node's memory
//! holds no more of it than that. Should a compaction forget its revision meanwhile, or the disk fail, it
//! breaks off: the connection ends within the answer, and no client takes it for a whole one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body as AnswerBody;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::{Body, Frame};
use hyper::header;
use kvcore::{Located, Revision};
use tokio::sync::mpsc;

use super::pages::{Page, Pages, Rest};
use crate::http::v3::context::{Asked, read};
use crate::http::v3::error::Refused;
use crate::http::v3::message::{KeyValue, RangeRequest, signed};
use crate::http::v3::protojson::Json as _;
use crate::http::{App, answer, json};
use crate::node::handle::Consistency;

/// An answer of up to so many bytes is sent whole.
const WHOLE_BYTES_MAX: usize = 1 << 20;

/// The endpoint.
pub(in crate::http::v3) async fn range(
    app: &Arc<App>,
    request: Request,
) -> Result<Response, Refused> {
    let Asked { message, timeout } = read::<RangeRequest>(app, request).await?;
    let serializable = message.serializable;
    let pages = Pages::of(message)?;
    let consistency = if serializable { Consistency::Local } else { Consistency::Linearizable };
    app.handle.barrier(consistency, timeout).await?;
    app.handle.metrics().ranges.inc();
    let first = match pages.one() {
        Some(key) => one(app, key, &pages).await?,
        None => match app.read_page_at_once(&pages)? {
            Some(page) => page,
            None => app.off_thread(move |app| app.read_page(&pages)).await??,
        },
    };
    let mut answer = Answer::begin(app, first.revision, first.count);
    let mut rest = answer.tell(first);
    while let Some(pages) = rest {
        if answer.out.len() > WHOLE_BYTES_MAX {
            return send_in_pieces(app, answer, pages);
        }
        rest = answer.tell(app.off_thread(move |app| app.read_page(&pages)).await??);
    }
    let body = app.budget.read_answer(answer.out.into())?;
    Ok(answer::bytes(StatusCode::OK, answer::JSON, body))
}

async fn one(app: &Arc<App>, key: &Bytes, pages: &Pages) -> Result<Page, Refused> {
    let at = pages.at();
    let found = app.locate(key, at)?;
    if let (Located::Absent, revision) = (&found.located, found.revision) {
        return Ok(pages.page_of_one(None, revision));
    }
    let (found, revision) = app.fetch(key, at, found).await?;
    Ok(pages.page_of_one(found, revision))
}

/// An answer that is being written.
struct Answer {
    out: Vec<u8>,
    count: u64,
    /// Whether the list of keys has begun.
    begun: bool,
}

impl Answer {
    fn begin(app: &App, revision: Revision, count: u64) -> Self {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(b"{\"header\":");
        app.header(revision).write(&mut out);
        Self { out, count, begun: false }
    }

    /// Adds a page, and the end if it was the last. Returns what is left otherwise.
    fn tell(&mut self, page: Page) -> Option<Pages> {
        for found in page.key_values {
            let before: &[u8] =
                if std::mem::replace(&mut self.begun, true) { b"," } else { b",\"kvs\":[" };
            self.out.extend_from_slice(before);
            KeyValue::from(found).write(&mut self.out);
        }
        let more = match page.rest {
            Rest::Pages(pages) => return Some(*pages),
            Rest::Over { more } => more,
        };
        if self.begun {
            self.out.push(b']');
        }
        if more {
            self.out.extend_from_slice(b",\"more\":true");
        }
        let count = signed(self.count);
        if !count.is_default() {
            json::field(&mut self.out, "count");
            count.write(&mut self.out);
        }
        self.out.extend_from_slice(b"}\n");
        None
    }
}

/// Sends what is written so far, and reads the rest as its client takes it.
fn send_in_pieces(app: &Arc<App>, mut answer: Answer, pages: Pages) -> Result<Response, Refused> {
    let place = app.budget.long_range()?;
    let (sender, receiver) = mpsc::channel(1);
    let mut response = Response::new(AnswerBody::new(Pieces(receiver)));
    response.headers_mut().insert(header::CONTENT_TYPE, answer::JSON);
    let app = Arc::clone(app);
    tokio::spawn(async move {
        let _place = place;
        let mut rest = Some(pages);
        loop {
            let piece = std::mem::take(&mut answer.out).into();
            if sender.send(Ok(piece)).await.is_err() {
                // The client is gone.
                return;
            }
            let Some(pages) = rest else { return };
            let page = tokio::select! {
                page = app.off_thread(move |app| app.read_page(&pages)) => page,
                () = sender.closed() => return,
            };
            match page.map_err(Refused::from).and_then(|page| page) {
                Ok(page) => rest = answer.tell(page),
                Err(refused) => {
                    let _ = sender.send(Err(io::Error::other(refused.to_string()))).await;
                    return;
                }
            }
        }
    });
    Ok(response)
}

/// An answer in pieces, as hyper reads it.
struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
