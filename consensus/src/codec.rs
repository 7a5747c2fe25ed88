//! The binary encoding of log records and peer messages: little-endian, fixed widths, lengths
//! checked before anything is allocated.

#[cfg(test)]
mod tests;

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{Generation, Index, NodeId, PersistSequence, Position, Term, Time, Token, WallTime};

/// The largest number of elements that one encoded list may hold.
pub const LIST_LENGTH_MAX: usize = 1 << 20;

/// Something with a binary encoding.
pub trait Wire: Sized {
    /// Appends the encoding to `out`.
    fn encode(&self, out: &mut BytesMut);

    /// Takes one value off the front of `input`.
    ///
    /// # Errors
    /// When the input is truncated or holds no value of this type. What was consumed is undefined.
    fn decode(input: &mut Bytes) -> Result<Self, CodecError>;

    /// The encoding as bytes of its own.
    fn to_bytes(&self) -> Bytes {
        // Most messages fit, and need not be moved while they grow.
        let mut out = BytesMut::with_capacity(128);
        self.encode(&mut out);
        out.freeze()
    }

    /// Decodes a value that must fill `input` exactly.
    ///
    /// # Errors
    /// As [`Wire::decode`]; also when bytes are left over.
    fn from_bytes(mut input: Bytes) -> Result<Self, CodecError> {
        let value = Self::decode(&mut input)?;
        if input.is_empty() { Ok(value) } else { Err(CodecError::Invalid("trailing bytes")) }
    }
}

/// Why bytes could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodecError {
    /// The input ended before the value did.
    Truncated,
    /// The input holds something that this field can not be.
    Invalid(&'static str),
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "the bytes end too early"),
            Self::Invalid(what) => write!(f, "invalid {what}"),
        }
    }
}

impl std::error::Error for CodecError {}

/// Reads any bytes as a `T`, which is for tests: if they are one, its encoding must be read as the same
/// value again, and be no longer than they are.
///
/// # Panics
/// If not.
pub fn check_decoding<T: Wire + PartialEq + fmt::Debug>(bytes: &[u8]) {
    let Ok(value) = T::from_bytes(Bytes::copy_from_slice(bytes)) else { return };
    let encoded = value.to_bytes();
    assert!(encoded.len() <= bytes.len(), "an encoding is no longer than what was read: {value:?}");
    assert_eq!(T::from_bytes(encoded), Ok(value), "what was read survives its encoding");
}

/// Fails unless `input` holds at least `length` more bytes.
///
/// # Errors
/// [`CodecError::Truncated`].
pub fn need(input: &Bytes, length: usize) -> Result<(), CodecError> {
    if input.remaining() < length { Err(CodecError::Truncated) } else { Ok(()) }
}

/// Takes one byte.
///
/// # Errors
/// [`CodecError::Truncated`].
pub fn get_u8(input: &mut Bytes) -> Result<u8, CodecError> {
    need(input, 1)?;
    Ok(input.get_u8())
}

/// Takes a 32-bit number.
///
/// # Errors
/// [`CodecError::Truncated`].
pub fn get_u32(input: &mut Bytes) -> Result<u32, CodecError> {
    need(input, 4)?;
    Ok(input.get_u32_le())
}

/// Takes a 64-bit number.
///
/// # Errors
/// [`CodecError::Truncated`].
pub fn get_u64(input: &mut Bytes) -> Result<u64, CodecError> {
    need(input, 8)?;
    Ok(input.get_u64_le())
}

/// Appends a byte string behind its 32-bit length.
///
/// # Panics
/// If the string is 4 GiB or longer, which every limit of the server rules out.
pub fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32_le(u32::try_from(bytes.len()).expect("a byte string is shorter than 4 GiB"));
    out.put_slice(bytes);
}

/// Takes a byte string, sharing the input's memory.
///
/// # Errors
/// [`CodecError::Truncated`].
pub fn get_bytes(input: &mut Bytes) -> Result<Bytes, CodecError> {
    let length = get_u32(input)? as usize;
    need(input, length)?;
    Ok(input.split_to(length))
}

/// Appends a list behind its 32-bit length.
///
/// # Panics
/// If the list is longer than [`LIST_LENGTH_MAX`].
pub fn put_list<T: Wire>(out: &mut BytesMut, list: &[T]) {
    assert!(list.len() <= LIST_LENGTH_MAX, "a list is within its bound");
    out.put_u32_le(u32::try_from(list.len()).expect("checked above"));
    for item in list {
        item.encode(out);
    }
}

/// Takes a list. Memory grows only as elements really arrive.
///
/// # Errors
/// When truncated, longer than [`LIST_LENGTH_MAX`], or when an element is invalid.
pub fn get_list<T: Wire>(input: &mut Bytes) -> Result<Vec<T>, CodecError> {
    let length = get_u32(input)? as usize;
    if length > LIST_LENGTH_MAX {
        return Err(CodecError::Invalid("list length"));
    }
    let mut list = list_with_room(length, input);
    for _ in 0..length {
        list.push(T::decode(input)?);
    }
    Ok(list)
}

/// A list to which so many elements are to be added as they are read from the input. It has room for no
/// more than the input has bytes: a number alone is not to be trusted.
#[must_use]
pub fn list_with_room<T>(length: usize, input: &Bytes) -> Vec<T> {
    Vec::with_capacity(length.min(input.len() / size_of::<T>().max(1)))
}

macro_rules! wire_number {
    ($($name:ident),*) => {
        $(impl Wire for $name {
            fn encode(&self, out: &mut BytesMut) {
                out.put_u64_le(self.0);
            }

            fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
                get_u64(input).map($name)
            }
        })*
    };
}

wire_number!(NodeId, Term, Index, PersistSequence, Generation, Token, Time, WallTime);

impl Wire for Position {
    fn encode(&self, out: &mut BytesMut) {
        self.term.encode(out);
        self.index.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(Self { term: Term::decode(input)?, index: Index::decode(input)? })
    }
}

impl Wire for bool {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(u8::from(*self));
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        match get_u8(input)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError::Invalid("boolean")),
        }
    }
}

impl<T: Wire> Wire for Option<T> {
    fn encode(&self, out: &mut BytesMut) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(if bool::decode(input)? { Some(T::decode(input)?) } else { None })
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok((A::decode(input)?, B::decode(input)?))
    }
}
