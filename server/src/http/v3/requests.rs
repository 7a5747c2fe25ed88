//! The requests of a stream: JSON objects one after another in one body, which may come in any pieces and
//! as late as they like.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use super::error::{Refusal, Refused};

/// The most bytes of one request, and of what is read ahead of it.
const REQUEST_BYTES_MAX: usize = 512 << 10;

/// The requests of a body.
#[derive(Debug)]
pub(super) struct Requests {
    body: Body,
    unread: BytesMut,
    scanner: Scanner,
    ended: bool,
}

impl Requests {
    /// The requests of this body.
    pub(super) fn new(body: Body) -> Self {
        Self { body, unread: BytesMut::new(), scanner: Scanner::default(), ended: false }
    }

    /// The next request; `None` when the body is at its end. Nothing is lost when this is dropped before
    /// it is done.
    ///
    /// # Errors
    /// When the body holds something else than objects, or breaks off.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Refused> {
        loop {
            match self.scanner.scan(&self.unread) {
                Scanned::Whole(end) => {
                    self.scanner = Scanner::default();
                    return Ok(Some(self.unread.split_to(end).freeze()));
                }
                Scanned::NoObject => {
                    let what = "an object is expected, one for each request";
                    return Err(Refused::with(Refusal::BadBody, what));
                }
                Scanned::Nothing => self.unread.clear(),
                Scanned::Part if self.unread.len() > REQUEST_BYTES_MAX => {
                    let most = format!("a request has at most {REQUEST_BYTES_MAX} bytes here");
                    return Err(Refused::with(Refusal::RequestTooLarge, most));
                }
                Scanned::Part => {}
            }
            if self.ended {
                return match self.unread.is_empty() {
                    true => Ok(None),
                    false => Err(Refused::with(Refusal::BadBody, "it ends within a request")),
                };
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.unread.extend_from_slice(&data);
                    }
                }
                Some(Err(cause)) => {
                    let what = format!("it could not be read to its end: {cause}");
                    return Err(Refused::with(Refusal::BadBody, what));
                }
                None => self.ended = true,
            }
        }
    }
}

/// What is found at the front of what was not read yet.
#[derive(Debug, PartialEq, Eq)]
enum Scanned {
    /// An object that ends here.
    Whole(usize),
    /// The beginning of one.
    Part,
    /// White space.
    Nothing,
    /// Something else.
    NoObject,
}

/// Looks for the end of an object, each byte once. Whether it is one is for others to find out.
#[derive(Debug, Default)]
struct Scanner {
    /// How many bytes were looked at.
    at: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scanner {
    fn scan(&mut self, bytes: &[u8]) -> Scanned {
        for (at, byte) in bytes.iter().enumerate().skip(self.at) {
            self.at = at + 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' if self.depth > 0 => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' if self.depth > 0 || *byte == b'{' => self.depth += 1,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Scanned::Whole(self.at);
                    }
                }
                b' ' | b'\t' | b'\n' | b'\r' => {}
                _ if self.depth == 0 => return Scanned::NoObject,
                _ => {}
            }
        }
        if self.depth > 0 {
            return Scanned::Part;
        }
        self.at = 0;
        Scanned::Nothing
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::Frame;

    use super::*;

    /// A body in these pieces.
    struct Pieces(std::vec::IntoIter<Bytes>);

    impl hyper::body::Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(piece))))
        }
    }

    async fn read(text: &str, piece_bytes: usize) -> (Vec<String>, Option<Refusal>) {
        let pieces: Vec<_> =
            text.as_bytes().chunks(piece_bytes).map(Bytes::copy_from_slice).collect();
        let mut requests = Requests::new(Body::new(Pieces(pieces.into_iter())));
        let mut found = Vec::new();
        loop {
            match requests.next().await {
                Ok(Some(request)) => {
                    found.push(String::from_utf8_lossy(&request).trim().to_owned());
                }
                Ok(None) => return (found, None),
                Err(refused) => return (found, Some(refused.refusal)),
            }
        }
    }

    #[tokio::test]
    async fn objects_are_found_however_they_are_cut() {
        let text = " {\"a\":\"}\\\"{\"}{\"b\":[{},[]]}\n\t{} ";
        let expected = [r#"{"a":"}\"{"}"#, r#"{"b":[{},[]]}"#, "{}"];
        for piece_bytes in 1..=text.len() {
            let (found, error) = read(text, piece_bytes).await;
            assert_eq!((found.as_slice(), error), (&expected.map(str::to_owned)[..], None));
        }
    }

    #[tokio::test]
    async fn what_is_no_object_is_told_at_once_and_what_ends_too_early_at_the_end() {
        for (text, count) in [("x", 0), ("{}[", 1), ("null", 0), ("{} 7", 1), ("\"{}\"", 0)] {
            let (found, error) = read(text, 1).await;
            assert_eq!((found.len(), error), (count, Some(Refusal::BadBody)), "{text}");
        }
        for text in ["{", "{}{\"a\":\"}\""] {
            assert_eq!(read(text, 1).await.1, Some(Refusal::BadBody), "{text}");
        }
        for text in ["", " \n"] {
            assert_eq!(read(text, 1).await, (vec![], None), "{text}");
        }
    }

    #[tokio::test]
    async fn a_request_is_bounded_and_a_body_is_not() {
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(2 * REQUEST_BYTES_MAX));
        assert_eq!(read(&large, 8192).await, (vec![], Some(Refusal::RequestTooLarge)));
        let many = "{}".repeat(REQUEST_BYTES_MAX);
        let (found, error) = read(&many, 8192).await;
        assert_eq!((found.len(), error), (REQUEST_BYTES_MAX, None));
    }
}
