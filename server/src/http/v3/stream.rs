//! Streams of answers: lines of JSON, each of them one HTTP chunk, because there are clients that take a
//! chunk for a message.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body as AnswerBody;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body, Frame};
use hyper::header;
use tokio::sync::mpsc;

use super::protojson::Json;
use crate::http::answer;

/// Messages that are sent together, each as a chunk of its own.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Where each message ends.
    ends: Vec<usize>,
}

impl Batch {
    /// Adds a message that the caller writes.
    pub(super) fn write(&mut self, message: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.extend_from_slice(b"{\"result\":");
        message(&mut self.bytes);
        self.bytes.extend_from_slice(b"}\n");
        self.ends.push(self.bytes.len());
    }

    /// Adds a message.
    pub(super) fn push(&mut self, message: &impl Json) {
        self.write(|out| message.write(out));
    }

    /// The bytes of all messages.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no message.
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Takes the messages out.
    pub(super) fn take(&mut self) -> VecDeque<Bytes> {
        let mut bytes = Bytes::from(std::mem::take(&mut self.bytes));
        let mut begin = 0;
        let ends = std::mem::take(&mut self.ends);
        ends.into_iter()
            .map(|end| bytes.split_to(end - std::mem::replace(&mut begin, end)))
            .collect()
    }
}

/// The end of a stream that hyper reads. Dropped with the connection.
#[derive(Debug)]
struct StreamBody {
    batches: mpsc::Receiver<VecDeque<Bytes>>,
    batch: VecDeque<Bytes>,
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            if let Some(message) = self.batch.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(message))));
            }
            match self.batches.poll_recv(context) {
                Poll::Ready(Some(batch)) => self.batch = batch,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// An answer that is a stream, and where its messages go: room for one batch, so that the next is made
/// when the client has taken the one before.
pub(super) fn stream() -> (mpsc::Sender<VecDeque<Bytes>>, Response) {
    let (sender, batches) = mpsc::channel(1);
    let body = StreamBody { batches, batch: VecDeque::new() };
    let mut response = Response::new(AnswerBody::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, answer::JSON);
    (sender, response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::v3::message::Empty;

    #[test]
    fn a_batch_is_a_line_for_each_message() {
        let mut batch = Batch::default();
        assert!(batch.is_empty());
        batch.push(&Empty {});
        batch.write(|out| out.extend_from_slice(b"1"));
        assert_eq!(batch.len(), 27);
        let lines = batch.take();
        assert_eq!(lines, [&b"{\"result\":{}}\n"[..], b"{\"result\":1}\n"]);
        assert!(batch.is_empty() && batch.take().is_empty());
    }
}
