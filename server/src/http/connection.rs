//! A client connection, and what is said on it without hyper.
//!
//! A request whose head is malformed or too long hyper refuses by itself, with a bare status. Such a
//! refusal is held back here, so that the answer can be the one that all others have, from the table
//! of errors. Whether it was one is not guessed from its bytes, which a stored value may have, too: it
//! was if hyper then gives up the connection; if hyper reads or writes on, it is sent as it is.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, timeout};

use super::App;
use super::error::{ApiError, ErrorName};

/// The longest head that hyper writes when it refuses a request.
const BARE_BYTES_MAX: usize = 256;
/// How long a connection that is refused has to take its answer.
const REFUSAL_TIME_MAX: Duration = Duration::from_millis(500);
/// How much of a first line is looked at.
const FIRST_LINE_BYTES: usize = 256;

/// A connection that fails when its client takes nothing of what is sent for too long.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    write_timeout: Duration,
    /// Runs while there is something to send that is not taken.
    patience: Option<Pin<Box<Sleep>>>,
    /// The last bytes written, which may be a refusal of hyper's.
    held: Vec<u8>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, write_timeout: Duration) -> Self {
        Self { stream, write_timeout, patience: None, held: Vec::new() }
    }

    /// The connection, which hyper does not need any more, and the error with which it refused its last
    /// request, if it did.
    pub(super) fn into_refused(self, cause: &hyper::Error) -> Option<(TcpStream, ApiError)> {
        let status = bare_refusal(&self.held).filter(|_| cause.is_parse())?.1;
        let (name, what) = match status {
            414 => (ErrorName::PathTooLong, "the path of the request is too long"),
            431 => (ErrorName::HeadersTooLarge, "the head of the request is too large"),
            _ => (ErrorName::NotHttp, "the head of the request is malformed"),
        };
        Some((self.stream, ApiError::new(name, format!("{what}: {cause}. Nothing happened"))))
    }

    /// Sends what was held back: hyper goes on, so it was an answer.
    fn release(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written = Pin::new(&mut self.stream).poll_write(context, &self.held);
            match self.watch(context, written) {
                Poll::Ready(Ok(count)) => drop(self.held.drain(..count)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        let write_timeout = self.write_timeout;
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(write_timeout)));
        patience.as_mut().poll(context).map(|()| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not take its answer"))
        })
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(Err(error)) = self.release(context) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.release(context))?;
        let Some((last, before)) = slices.split_last() else { return Poll::Ready(Ok(0)) };
        let written = match bare_refusal(last) {
            None => Pin::new(&mut self.stream).poll_write_vectored(context, slices),
            Some((0, _)) if before.iter().all(|slice| slice.is_empty()) => {
                self.held.extend_from_slice(last);
                return Poll::Ready(Ok(last.len()));
            }
            // First whatever is before it.
            Some((start, _)) if before.iter().all(|slice| slice.is_empty()) => {
                Pin::new(&mut self.stream).poll_write(context, &last[..start])
            }
            Some(_) => Pin::new(&mut self.stream).poll_write_vectored(context, before),
        };
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            // If hyper goes on, it reads next, and it does so at once.
            context.waker().wake_by_ref();
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            // Whoever owns the connection after hyper says what comes last on it.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connection {
    /// Ends the connection after hyper, which has said all that it had to say.
    pub(super) async fn finish(mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        std::future::poll_fn(|context| self.release(context)).await?;
        self.stream.shutdown().await
    }
}

/// Where the head of an answer begins at the end of these bytes, and its status, if it is one with
/// which hyper refuses a request: without a body, and not signed.
fn bare_refusal(bytes: &[u8]) -> Option<(usize, u16)> {
    const FIRST: &[u8] = b"HTTP/1.1 4";
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let from = bytes.len().saturating_sub(BARE_BYTES_MAX);
    let place = bytes[from..].windows(FIRST.len()).rposition(|window| window == FIRST)?;
    let head = std::str::from_utf8(&bytes[from + place..]).ok()?;
    let status = head.get(9..12)?.parse().ok()?;
    let is_bare = head.contains("\r\ncontent-length: 0\r\n") && !head.contains("\r\nduorum-");
    (is_bare && matches!(status, 400 | 414 | 431)).then_some((from + place, status))
}

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// As HTTP/1 does, as far as can be seen.
    Http,
    /// As something else.
    Other,
    /// Not at all: it ended.
    Nothing,
}

/// Waits for the first bytes, and looks at them without taking them.
pub(super) async fn beginning(stream: &TcpStream) -> Beginning {
    let mut bytes = [0; FIRST_LINE_BYTES];
    match stream.peek(&mut bytes).await {
        Ok(0) | Err(_) => Beginning::Nothing,
        Ok(count) if begins_as_http(&bytes[..count]) => Beginning::Http,
        Ok(_) => Beginning::Other,
    }
}

/// Whether these first bytes may be HTTP/1: `METHOD target HTTP/1.x`, as far as they reach. Empty
/// lines before are allowed.
pub(super) fn begins_as_http(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    let Some(start) = start else { return true };
    let bytes = &bytes[start..];
    let method = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if method.is_empty() || !method.iter().all(is_token) {
        return false;
    }
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return true };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    let parts: Vec<_> = line.split(|byte| *byte == b' ').collect();
    parts.len() == 3 && !parts[1].is_empty() && parts[2].starts_with(b"HTTP/1.")
}

/// Answers a connection that is served no further, and takes what it sends for a moment, so that
/// the answer is not lost in a reset.
pub(super) async fn refuse(mut stream: TcpStream, app: &App, error: &ApiError) {
    let answer = whole_answer(app, error);
    let tell = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await?;
        let mut thrown_away = [0; 1024];
        while stream.read(&mut thrown_away).await? > 0 {}
        io::Result::Ok(())
    };
    // What becomes of it is the client's business.
    let _ = timeout(REFUSAL_TIME_MAX, tell).await;
}

/// An error as HTTP has it, with the headers that every answer has.
fn whole_answer(app: &App, error: &ApiError) -> Vec<u8> {
    let mut body = error.to_json(app.revision());
    body.push(b'\n');
    let status = error.name.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut answer = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/json\r\nconnection: \
         close\r\ncontent-length: {}\r\n",
        status.as_u16(),
        body.len()
    )
    .into_bytes();
    if let Some(seconds) = error.retry_after_seconds() {
        answer.extend_from_slice(format!("retry-after: {seconds}\r\n").as_bytes());
    }
    let mut headers = HeaderMap::new();
    app.sign(&mut headers);
    for (name, value) in &headers {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(&body);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_http_as_long_as_it_may_become_it() {
        for bytes in [
            &b"G"[..],
            b"GET",
            b"GET /v1/kv/k HT",
            b"get / HTTP/1.1\r\n",
            b"PUT /v1/kv/k HTTP/1.0\n",
            b"\r\n\r\nGET / HTTP/1.1\r\nhost: x",
            b"\r\n",
        ] {
            assert!(begins_as_http(bytes), "{:?}", String::from_utf8_lossy(bytes));
        }
        for bytes in [
            &b"\x16\x03\x01\x02\x00"[..],
            b"\0",
            b" GET / HTTP/1.1\r\n",
            b"hello\r\n",
            b"GET / HTTP/9.9\r\n",
            b"GET /a b HTTP/1.1\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"{\"key\": 1}",
        ] {
            assert!(!begins_as_http(bytes), "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
