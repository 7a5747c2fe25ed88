//! Idempotency keys: a write that carries one takes effect at most once, however often it is sent.
//!
//! # Intuition
//!
//! A client that hears nothing of its write can not know whether it happened. So it gives the write
//! a name, the key, that no other write has, and sends it again until it hears something. The store
//! remembers for each recent key what the first write of that name did, and says that again instead
//! of doing it again. What failed for good (a condition that did not hold) is remembered, too: the
//! answer to a question must not depend on how often it was asked.
//!
//! The table of keys is part of the replicated state, because the second copy may reach another
//! leader, and because it is decided where the log has one order: when the entry is applied.
//!
//! # What is forgotten
//!
//! A key is remembered for [`IDEMPOTENCY_WINDOW_MILLIS`] of the time in the entries, unless
//! [`IDEMPOTENCY_KEYS_MAX`] later ones come first. The oldest goes first, so the table is always the
//! rows of a stretch of the log: those after an index up to which everything is forgotten.
//!
//! A node that sends a write again by itself must never do it twice, window or not. So the write says
//! up to where that node had applied the log when it took it: if a key of a later entry was forgotten
//! since, that may have been this very write, and it is refused.
//!
//! What counts is when a copy is applied, not when it was sent. So a copy that comes at the very end of the
//! window may be answered as the first time (or refused as a conflict), and if its node had sent it twice
//! because the leader was lost, the second one may find the key forgotten, and be done. To rule that out,
//! nodes would have to refuse every write that they send again while any key is forgotten, which in a
//! busy cluster is always; clients rule it out by not repeating what is as old as the window.

mod fate;
mod recall;
mod remembered;
mod table;

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::Index;
use consensus::codec::{self, CodecError, Wire};

pub use remembered::{Fate, OperationFate, Remembered, RememberedRows, TransactionFate};
pub(crate) use table::Table;

/// The longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// The most idempotency keys that are remembered.
pub const IDEMPOTENCY_KEYS_MAX: usize = 1 << 16;
/// The most bytes of all that is remembered: large transactions are forgotten sooner than small ones.
pub const IDEMPOTENCY_BYTES_MAX: usize = 64 << 20;
/// How long a key is remembered, unless there come too many: milliseconds of the time in the entries.
pub const IDEMPOTENCY_WINDOW_MILLIS: u64 = 10 * 60 * 1000;

/// How much is remembered of idempotency keys. It decides what entries do, so that it must be the same
/// on every node and for the whole life of a cluster. Servers know but the default, which the constants
/// above give; simulations need less, so that they come to the end of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyLimits {
    /// The most keys that are remembered, at least one.
    pub keys_max: usize,
    /// How long a key is remembered, in milliseconds of the time in the entries.
    pub window_millis: u64,
}

impl Default for IdempotencyLimits {
    fn default() -> Self {
        Self { keys_max: IDEMPOTENCY_KEYS_MAX, window_millis: IDEMPOTENCY_WINDOW_MILLIS }
    }
}

/// The name of a write: 1 to 255 visible ASCII characters, no spaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey(Arc<str>);

impl IdempotencyKey {
    /// A key of these bytes.
    ///
    /// # Errors
    /// When they are none, too many, or not all visible ASCII characters.
    pub fn new(bytes: &[u8]) -> Result<Self, InvalidIdempotencyKey> {
        if bytes.is_empty() {
            return Err(InvalidIdempotencyKey::Empty);
        }
        if bytes.len() > IDEMPOTENCY_KEY_BYTES_MAX {
            return Err(InvalidIdempotencyKey::TooLong { bytes: bytes.len() });
        }
        if let Some(&byte) = bytes.iter().find(|byte| !byte.is_ascii_graphic()) {
            return Err(InvalidIdempotencyKey::NotVisible { byte });
        }
        Ok(Self(std::str::from_utf8(bytes).expect("ASCII is UTF-8").into()))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for IdempotencyKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Wire for IdempotencyKey {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(u8::try_from(self.0.len()).expect("a key has at most 255 bytes"));
        out.put_slice(self.0.as_bytes());
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        let length = usize::from(codec::get_u8(input)?);
        if input.len() < length {
            return Err(CodecError::Truncated);
        }
        let bytes = input.split_to(length);
        // Copied, so that a remembered key does not keep the whole frame that it came in.
        Self::new(&bytes).map_err(|_| CodecError::Invalid("idempotency key"))
    }
}

/// Why bytes are no idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidIdempotencyKey {
    /// There are none.
    Empty,
    /// There are too many.
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// One is no visible ASCII character.
    NotVisible {
        /// The first such byte.
        byte: u8,
    },
}

impl fmt::Display for InvalidIdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the idempotency key is empty"),
            Self::TooLong { bytes } => write!(f, "the idempotency key has {bytes} bytes"),
            Self::NotVisible { byte } => {
                write!(f, "the idempotency key contains the byte 0x{byte:02x}")
            }
        }?;
        write!(f, "; allowed: 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters, no spaces")
    }
}

impl std::error::Error for InvalidIdempotencyKey {}

/// What a write carries that is to take effect at most once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Idempotency {
    /// The write's name.
    pub key: IdempotencyKey,
    /// An index that the node had applied when it took the write from its client: every copy of the
    /// write that this node sends stands behind it in the log.
    pub since: Index,
}

impl Idempotency {
    /// The bytes of the encoding.
    pub(crate) fn encoded_bytes(&self) -> usize {
        1 + self.key.0.len() + 8
    }
}

impl Wire for Idempotency {
    fn encode(&self, out: &mut BytesMut) {
        self.key.encode(out);
        self.since.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(Self { key: IdempotencyKey::decode(input)?, since: Index::decode(input)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii_of_bounded_length() {
        let longest = [b'~'; IDEMPOTENCY_KEY_BYTES_MAX];
        for bytes in [&b"!"[..], b"8e03978e-40d5-43dd-bc93-6894a57f9324", &longest] {
            let key = IdempotencyKey::new(bytes).expect("a key");
            assert_eq!(key.as_str().as_bytes(), bytes);
            assert_eq!(IdempotencyKey::from_bytes(key.to_bytes()), Ok(key));
        }
        let too_long = [b'a'; IDEMPOTENCY_KEY_BYTES_MAX + 1];
        for (bytes, error) in [
            (&b""[..], InvalidIdempotencyKey::Empty),
            (&too_long, InvalidIdempotencyKey::TooLong { bytes: 256 }),
            (b"a b", InvalidIdempotencyKey::NotVisible { byte: b' ' }),
            (b"a\n", InvalidIdempotencyKey::NotVisible { byte: b'\n' }),
            (b"\xc3\xa4", InvalidIdempotencyKey::NotVisible { byte: 0xc3 }),
        ] {
            assert_eq!(IdempotencyKey::new(bytes), Err(error));
            assert!(error.to_string().contains("allowed: 1 to 255"));
        }
    }

    #[test]
    fn bytes_that_are_no_key_are_refused_when_they_are_read() {
        for bytes in [&b"\x00"[..], b"\x01 ", b"\x02a", b"\x01\x80"] {
            assert!(IdempotencyKey::from_bytes(Bytes::from_static(bytes)).is_err());
        }
    }
}
