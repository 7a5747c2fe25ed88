//! An answer that is read as it comes: one without an end, or too long to be kept.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http::{Framing, HEAD_BYTES_MAX, Head, invalid};

/// How much is read at once. Larger reads cost fewer system calls, and a hundred streams have a
/// buffer each.
const BUFFER_BYTES: usize = 128 << 10;
/// The digits of the longest chunk that is accepted.
const SIZE_DIGITS_MAX: u32 = 8;

/// A connection with an answer under way.
#[derive(Debug)]
pub(crate) struct HttpStream {
    stream: TcpStream,
    body: Body,
    buffer: Vec<u8>,
    /// What of the buffer was received with the head.
    first: std::ops::Range<usize>,
}

impl HttpStream {
    /// Connects, sends one request, and waits for the head of its answer. Returns the answer's status
    /// as well.
    pub(crate) async fn open(address: SocketAddr, request: &[u8]) -> io::Result<(u16, Self)> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(request).await?;
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut filled = 0;
        loop {
            filled += match stream.read(&mut buffer[filled..HEAD_BYTES_MAX]).await? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no answer")),
                count => count,
            };
            if let Some(head) = Head::parse(&buffer[..filled])? {
                let body = Body::new(head.framing);
                return Ok((head.status, Self { stream, body, buffer, first: head.bytes..filled }));
            }
        }
    }

    /// Appends what comes next of the answer's body, perhaps nothing. Returns whether more may come.
    /// May be given up while it waits without losing anything.
    pub(crate) async fn read(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let received = match std::mem::take(&mut self.first) {
            first if first.is_empty() && !self.body.is_over() => {
                match self.stream.read(&mut self.buffer).await? {
                    0 => {
                        return Err(io::Error::new(
                            io::ErrorKind::UnexpectedEof,
                            "the server hung up within its answer",
                        ));
                    }
                    count => 0..count,
                }
            }
            first => first,
        };
        self.body.take(&self.buffer[received], out)?;
        Ok(!self.body.is_over())
    }
}

/// What of an answer's body is still to come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    /// Within a chunk's line, of whose size so many digits were read.
    Size { bytes: u64, digits: u32, extension: bool },
    /// So many bytes of a chunk, and the end of its line.
    Chunk(u64),
    /// So many bytes of the end of a chunk's line.
    ChunkEnd(u8),
    /// The lines that follow the last chunk; the first empty one is the end.
    Trailer { empty_line: bool },
}

impl Body {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(bytes) => Self::Length(bytes),
            Framing::Chunked => Self::size(),
        }
    }

    fn size() -> Self {
        Self::Size { bytes: 0, digits: 0, extension: false }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Length(0))
    }

    /// Appends what these bytes hold of the body.
    pub(super) fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self {
                Self::Length(0) => {
                    return Err(invalid("bytes follow an answer that nobody asked for"));
                }
                Self::Length(left) | Self::Chunk(left) => {
                    let count = (*left).min(bytes.len() as u64);
                    let (data, rest) = bytes.split_at(usize::try_from(count).expect("a length"));
                    out.extend_from_slice(data);
                    *left -= count;
                    bytes = rest;
                    if *self == Self::Chunk(0) {
                        *self = Self::ChunkEnd(2);
                    }
                    continue;
                }
                Self::Size { bytes: size, digits, extension } => match byte {
                    b'\n' if *digits == 0 => return Err(invalid("a chunk without a size")),
                    b'\n' if *size == 0 => *self = Self::Trailer { empty_line: true },
                    b'\n' => *self = Self::Chunk(*size),
                    b';' | b'\r' => *extension = true,
                    _ if *extension => {}
                    _ => {
                        let digit = char::from(byte).to_digit(16);
                        let digit = digit.filter(|_| *digits < SIZE_DIGITS_MAX);
                        let digit = digit.ok_or_else(|| invalid("a chunk's size is no number"))?;
                        *size = *size * 16 + u64::from(digit);
                        *digits += 1;
                    }
                },
                Self::ChunkEnd(left) => {
                    *left -= 1;
                    if *left == 0 {
                        *self = Self::size();
                    }
                }
                Self::Trailer { empty_line } => match byte {
                    b'\n' if *empty_line => *self = Self::Length(0),
                    b'\n' => *empty_line = true,
                    b'\r' => {}
                    _ => *empty_line = false,
                },
            }
            bytes = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together_however_they_are_cut() {
        let text = b"5\r\nhello\r\nb;x=1\r\n, watchers!\r\n0\r\n\r\n";
        for step in 1..text.len() {
            let (mut body, mut out) = (Body::new(Framing::Chunked), Vec::new());
            for part in text.chunks(step) {
                body.take(part, &mut out).expect("chunks");
            }
            assert!(body.is_over());
            assert_eq!(out, b"hello, watchers!", "{step}");
        }
    }

    #[test]
    fn what_follows_the_last_chunk_belongs_to_the_answer_and_nothing_after_it() {
        for text in [&b"1\r\nx\r\n0\r\n\r\n"[..], b"1\r\nx\r\n0\r\nGrpc-Status: 0\r\nB: c\r\n\r\n"]
        {
            let (mut body, mut out) = (Body::new(Framing::Chunked), Vec::new());
            for (place, &byte) in text.iter().enumerate() {
                assert!(!body.is_over(), "over before byte {place}");
                body.take(&[byte], &mut out).expect("chunks");
            }
            assert!(body.is_over());
            assert_eq!(out, b"x");
            body.take(b"H", &mut out).expect_err("the next answer, which nobody asked for");
        }
    }

    #[test]
    fn a_body_of_known_length_ends_there() {
        let (mut body, mut out) = (Body::new(Framing::Length(5)), Vec::new());
        body.take(b"he", &mut out).expect("a part");
        assert!(!body.is_over());
        body.take(b"llo", &mut out).expect("the rest");
        assert!(body.is_over());
        assert_eq!(out, b"hello");
        body.take(b"!", &mut out).expect_err("more than that");
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for text in [&b"\r\n"[..], b"x\r\n", b"-1\r\n", b"123456789\r\n"] {
            let mut body = Body::new(Framing::Chunked);
            body.take(text, &mut Vec::new()).expect_err("no chunk");
        }
    }
}
