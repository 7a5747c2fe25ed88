//! A minimal HTTP/1.1 client connection.
//!
//! The load generator shares the cores with the servers that it measures, so each microsecond here
//! is one that a server does not get. One connection has one request under way; the request is
//! ready-made bytes, and of the answer only the status and the length are looked at. That costs
//! two system calls and no allocation for each request. Against an echo on two cores it takes 11.4 µs
//! of processor time a request where hyper's client takes 12.3, and it needs no second task for each
//! connection.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stream::Body;

/// The size of a fresh receive buffer, enough for every usual answer.
const BUFFER_BYTES: usize = 4 << 10;
/// The longest head of an answer that is accepted.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;
/// The longest body that is accepted: a status page or a value, with room to spare.
const BODY_BYTES_MAX: usize = 16 << 20;

/// A connection to one server.
#[derive(Debug)]
pub(crate) struct HttpConnection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What was answered. The body stays in the connection's buffer until the next exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// Where the body lies in the buffer.
    body: Range<usize>,
    /// Whether the server closes the connection after this answer.
    pub(crate) closes: bool,
}

impl HttpConnection {
    /// Connects, with NODELAY: a request is one small write that must not wait for another.
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; BUFFER_BYTES] })
    }

    /// Sends one request and waits for the whole answer. After an error the connection is of no
    /// more use, and whether the request took effect is unknown.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        let head = loop {
            filled += self.fill(filled).await?;
            if let Some(found) = Head::parse(&self.buffer[..filled])? {
                break found;
            }
            if filled >= HEAD_BYTES_MAX {
                return Err(invalid("an answer's head is longer than 64 KiB"));
            }
            self.make_room(filled, filled * 2);
        };
        let Framing::Length(length) = head.framing else {
            return self.put_together(head, filled).await;
        };
        let body = body_of_length(&head, length)?;
        let end = body.end;
        self.make_room(filled, end);
        while filled < end {
            filled += self.fill(filled).await?;
        }
        if filled > end {
            return Err(invalid("bytes follow an answer that nobody asked for"));
        }
        Ok(Answer { status: head.status, body, closes: head.closes })
    }

    /// Reads the rest of an answer that comes in chunks, and leaves its body in the buffer as a whole. Go's
    /// servers, etcd's gateway among them, send so whatever is longer than 2 KiB.
    async fn put_together(&mut self, head: Head, filled: usize) -> io::Result<Answer> {
        let (mut rest, mut whole) = (Body::new(head.framing), Vec::new());
        rest.take(&self.buffer[head.bytes..filled], &mut whole)?;
        while !rest.is_over() {
            if whole.len() > BODY_BYTES_MAX {
                return Err(invalid("the answer's body is longer than 16 MiB"));
            }
            let more = self.fill(0).await?;
            rest.take(&self.buffer[..more], &mut whole)?;
        }
        let body = 0..whole.len();
        whole.resize(body.end.max(BUFFER_BYTES), 0);
        self.buffer = whole;
        Ok(Answer { status: head.status, body, closes: head.closes })
    }

    /// The body of the answer that the last exchange returned.
    pub(crate) fn body(&self, answer: &Answer) -> &[u8] {
        &self.buffer[answer.body.clone()]
    }

    /// Whether the server has not hung up while the connection was idle, as far as the runtime has
    /// heard. Who asks first does not mistake a request that was never sent for one of unknown
    /// outcome.
    pub(crate) fn is_open(&self) -> bool {
        let mut byte = [0];
        match self.stream.try_read(&mut byte) {
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            // Nothing was asked, so whatever comes is the end or no answer.
            Ok(_) => false,
        }
    }

    async fn fill(&mut self, filled: usize) -> io::Result<usize> {
        match self.stream.read(&mut self.buffer[filled..]).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up")),
            count => Ok(count),
        }
    }

    fn make_room(&mut self, filled: usize, needed: usize) {
        if filled == self.buffer.len() || needed > self.buffer.len() {
            self.buffer.resize(needed.max(self.buffer.len() + 1), 0);
        }
    }
}

/// Where a body of known length lies in the buffer.
fn body_of_length(head: &Head, length: u64) -> io::Result<Range<usize>> {
    if length > BODY_BYTES_MAX as u64 {
        return Err(invalid("the answer's body is longer than 16 MiB"));
    }
    Ok(head.bytes..head.bytes + usize::try_from(length).expect("at most 16 MiB"))
}

/// What comes before the body of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The HTTP status.
    pub(super) status: u16,
    /// Whether the server closes the connection after this answer.
    closes: bool,
    /// Where the body ends.
    pub(super) framing: Framing,
    /// How long the head is.
    pub(super) bytes: usize,
}

/// How an answer says where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After its last chunk.
    Chunked,
}

impl Head {
    /// Reads a head; `None` while it is not complete.
    pub(super) fn parse(bytes: &[u8]) -> io::Result<Option<Self>> {
        let Some(head_end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let mut lines = bytes[..head_end].split(|&byte| byte == b'\n');
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix(b"HTTP/1.1 "))
            .and_then(|rest| number(rest.get(..3)?))
            .and_then(|status| u16::try_from(status).ok())
            .ok_or_else(|| invalid("the answer is not HTTP/1.1"))?;
        let mut framing = None;
        let mut closes = false;
        for line in lines {
            let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"content-length") {
                let length = number(value).ok_or_else(|| invalid("content-length is no number"))?;
                framing = Some(Framing::Length(length));
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(invalid("the answer is neither chunked nor of a known length"));
                }
                framing = Some(Framing::Chunked);
            } else if name.eq_ignore_ascii_case(b"connection") {
                closes = value.eq_ignore_ascii_case(b"close");
            }
        }
        let framing = match framing {
            Some(framing) => framing,
            None if status == 204 || status == 304 => Framing::Length(0),
            None => return Err(invalid("the answer has no content-length")),
        };
        Ok(Some(Self { status, closes, framing, bytes: head_end + 4 }))
    }
}

/// A decimal number of at most twelve digits.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 12 {
        return None;
    }
    digits.iter().try_fold(0, |number, &digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

pub(super) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const OK: &str = "HTTP/1.1 200 OK\r\n";

    /// Has a server that listens to nobody answer each request with one of these; returns what the
    /// client makes of them, on one connection, with the bodies.
    async fn answers(texts: &[&[&str]]) -> Vec<io::Result<(u16, Vec<u8>)>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let texts: Vec<Vec<String>> =
            texts.iter().map(|parts| parts.iter().map(|&part| part.to_owned()).collect()).collect();
        let count = texts.len();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            for parts in texts {
                let mut request = [0; 3];
                if stream.read_exact(&mut request).await.is_err() {
                    return;
                }
                for part in parts {
                    // The client may have refused what it has seen so far.
                    if stream.write_all(part.as_bytes()).await.is_err() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            }
        });
        let mut connection = HttpConnection::connect(address).await.expect("somebody listens");
        let mut all = Vec::new();
        for _ in 0..count {
            let answer = connection.exchange(b"ask").await;
            let failed = answer.is_err();
            all.push(answer.map(|answer| (answer.status, connection.body(&answer).to_vec())));
            if failed {
                break;
            }
        }
        drop(connection);
        server.await.expect("the server does not panic");
        all
    }

    #[tokio::test]
    async fn an_answer_in_chunks_is_put_together_and_the_connection_goes_on() {
        let long = "x".repeat(9_000);
        let chunk = format!("{:x}\r\n{long}\r\n", long.len());
        let chunked = format!("{OK}Transfer-Encoding: chunked\r\n\r\n");
        let one = format!("{OK}content-length: 3\r\n\r\none");
        let all = answers(&[
            &[&chunked, "3\r\none\r\n", "3;x=1\r\ntwo\r", "\n0\r\n", "\r\n"],
            &[&one],
            &[&chunked, &chunk, &chunk, "0\r\nGrpc-Status: 0\r\n", "\r\n"],
            &[&chunked, "0\r\n\r\n"],
            &[&one],
        ])
        .await;
        let all: Vec<(u16, Vec<u8>)> = all.into_iter().map(|one| one.expect("valid")).collect();
        let texts: Vec<&[u8]> = all.iter().map(|(_, body)| &body[..]).collect();
        let twice = format!("{long}{long}");
        assert_eq!(texts, [&b"onetwo"[..], b"one", twice.as_bytes(), b"", b"one"]);
    }

    #[tokio::test]
    async fn what_does_not_belong_to_an_answer_is_refused() {
        let chunked = format!("{OK}transfer-encoding: chunked\r\n\r\n");
        for parts in [
            &[&chunked[..], "0\r\n\r\nHTTP"][..],
            &[&chunked, "z\r\n"],
            &[&chunked, "2\r\nab\r\n"],
            &[OK, "content-length: 1\r\n\r\nab"],
            &[OK, "content-length: 99999999\r\n\r\n"],
        ] {
            assert!(answers(&[parts]).await[0].is_err(), "{parts:?}");
        }
    }

    #[test]
    fn a_head_is_read_once_it_is_complete() {
        let text =
            b"HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nCONTENT-LENGTH: 5\r\n\r\nhello";
        let head = text.len() - 5;
        for cut in 0..head {
            assert_eq!(Head::parse(&text[..cut]).expect("nothing wrong so far"), None, "{cut}");
        }
        let found = Head::parse(text).expect("valid").expect("complete");
        assert_eq!((found.status, found.bytes, found.closes), (201, head, false));
        let body = body_of_length(&found, 5).expect("not too long");
        assert_eq!(&text[body], b"hello");
    }

    #[test]
    fn what_is_not_an_answer_is_refused() {
        for text in [
            "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 9999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "SSH-2.0\r\n\r\n",
        ] {
            assert!(Head::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_closing_answer_and_an_answer_without_a_body_are_told_apart() {
        let head =
            Head::parse(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nConnection: close\r\n\r\n")
                .expect("valid")
                .expect("complete");
        assert!(head.closes);
        let head =
            Head::parse(b"HTTP/1.1 304 Not Modified\r\n\r\n").expect("valid").expect("complete");
        assert_eq!((head.status, head.framing), (304, Framing::Length(0)));
    }
}
