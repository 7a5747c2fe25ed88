//! Storing a value and deleting keys: what commands and the operations of transactions have in common.

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};

use super::{InvalidCommand, check_key, check_key_length, check_value};
use crate::Keys;
use crate::lease::{LEASE_TTL_MILLIS_MAX, LeaseId};

/// Stores a value under a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Put {
    /// The key; of a sequential one its beginning.
    pub key: Bytes,
    /// The value.
    pub value: PutValue,
    /// The lease that the key hangs on from now on.
    pub lease: PutLease,
    /// Append the next number of the counter of all keys that begin so, in ten digits or as many as it
    /// takes, as ZooKeeper does.
    pub sequential: bool,
    /// Whether the outcome tells what the value replaced.
    pub return_previous: bool,
}

/// What is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PutValue {
    /// This.
    New(Bytes),
    /// What is there. The key must exist.
    Keep,
}

/// What lease a key hangs on after a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PutLease {
    /// None; what it hung on before lets it go.
    None,
    /// This one. It must exist.
    Attach(LeaseId),
    /// What it hangs on. The key must exist.
    Keep,
    /// One that is granted with the put.
    Grant {
        /// How long it lives, in milliseconds.
        ttl_millis: u64,
    },
}

/// Deletes keys, all in one revision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Delete {
    /// Which keys.
    pub target: Keys,
    /// Whether the outcome tells what was deleted.
    pub return_previous: bool,
}

impl Put {
    /// Stores this value, on no lease.
    #[must_use]
    pub fn new(key: Bytes, value: Bytes) -> Self {
        Self {
            key,
            value: PutValue::New(value),
            lease: PutLease::None,
            sequential: false,
            return_previous: false,
        }
    }

    /// Whether the key must exist.
    pub(crate) fn keeps(&self) -> bool {
        self.value == PutValue::Keep || self.lease == PutLease::Keep
    }

    /// Whether it stores a value and no more.
    pub(crate) fn is_plain(&self) -> bool {
        !self.keeps() && self.lease == PutLease::None && !self.sequential
    }

    pub(super) fn check(&self) -> Result<(), InvalidCommand> {
        check_key(&self.key)?;
        if let PutValue::New(value) = &self.value {
            check_value(value)?;
        }
        if let PutLease::Grant { ttl_millis } = self.lease {
            check_ttl(ttl_millis)?;
        }
        if self.sequential && self.keeps() {
            return Err(InvalidCommand::SequentialKeeps);
        }
        Ok(())
    }

    /// The bytes of key and value.
    pub(crate) fn bytes(&self) -> usize {
        let value = match &self.value {
            PutValue::New(value) => value.len(),
            PutValue::Keep => 0,
        };
        self.key.len() + value
    }
}

pub(super) fn check_ttl(ttl_millis: u64) -> Result<(), InvalidCommand> {
    if (1..=LEASE_TTL_MILLIS_MAX).contains(&ttl_millis) {
        Ok(())
    } else {
        Err(InvalidCommand::LeaseTime { ttl_millis })
    }
}

impl Delete {
    /// Deletes these keys.
    #[must_use]
    pub fn of(target: Keys) -> Self {
        Self { target, return_previous: false }
    }

    pub(super) fn check(&self) -> Result<(), InvalidCommand> {
        check_keys(&self.target)
    }
}

pub(super) fn check_keys(keys: &Keys) -> Result<(), InvalidCommand> {
    match keys {
        Keys::One(key) => check_key(key),
        Keys::Prefix(prefix) => check_key_length(prefix),
        Keys::Between { from, to } => {
            check_key_length(from)?;
            to.as_ref().map_or(Ok(()), check_key_length)
        }
    }
}

impl Wire for Put {
    fn encode(&self, out: &mut BytesMut) {
        codec::put_bytes(out, &self.key);
        match &self.value {
            PutValue::New(value) => {
                out.put_u8(0);
                codec::put_bytes(out, value);
            }
            PutValue::Keep => out.put_u8(1),
        }
        match self.lease {
            PutLease::None => out.put_u8(0),
            PutLease::Attach(lease) => {
                out.put_u8(1);
                lease.encode(out);
            }
            PutLease::Keep => out.put_u8(2),
            PutLease::Grant { ttl_millis } => {
                out.put_u8(3);
                out.put_u64_le(ttl_millis);
            }
        }
        self.sequential.encode(out);
        self.return_previous.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(Self {
            key: codec::get_bytes(input)?,
            value: match codec::get_u8(input)? {
                0 => PutValue::New(codec::get_bytes(input)?),
                1 => PutValue::Keep,
                _ => return Err(CodecError::Invalid("value of a put")),
            },
            lease: match codec::get_u8(input)? {
                0 => PutLease::None,
                1 => PutLease::Attach(LeaseId::decode(input)?),
                2 => PutLease::Keep,
                3 => PutLease::Grant { ttl_millis: codec::get_u64(input)? },
                _ => return Err(CodecError::Invalid("lease of a put")),
            },
            sequential: bool::decode(input)?,
            return_previous: bool::decode(input)?,
        })
    }
}

impl Wire for Delete {
    fn encode(&self, out: &mut BytesMut) {
        self.target.encode(out);
        self.return_previous.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(Self { target: Keys::decode(input)?, return_previous: bool::decode(input)? })
    }
}
