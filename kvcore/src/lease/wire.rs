//! Leases, as they travel.

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};
use consensus::{Index, Term};

use super::{Checkpoint, LeaseCommand, LeaseId, LeaseTime};

impl Wire for LeaseId {
    fn encode(&self, out: &mut BytesMut) {
        out.put_i64_le(self.get());
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        get_lease(input)?.ok_or(CodecError::Invalid("lease"))
    }
}

/// A lease that may be none, in the eight bytes of its number.
pub(crate) fn put_lease(out: &mut BytesMut, lease: Option<LeaseId>) {
    out.put_i64_le(LeaseId::number(lease));
}

pub(crate) fn get_lease(input: &mut Bytes) -> Result<Option<LeaseId>, CodecError> {
    Ok(LeaseId::new(codec::get_u64(input)?.cast_signed()))
}

impl Wire for LeaseTime {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.ttl_millis);
        out.put_u64_le(self.remaining_millis);
        self.renewed.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(Self {
            ttl_millis: codec::get_u64(input)?,
            remaining_millis: codec::get_u64(input)?,
            renewed: Index::decode(input)?,
        })
    }
}

impl Wire for LeaseCommand {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Grant { lease, ttl_millis } => {
                out.put_u8(0);
                put_lease(out, *lease);
                out.put_u64_le(*ttl_millis);
            }
            Self::Revoke { lease } => {
                out.put_u8(1);
                lease.encode(out);
            }
            Self::Renew { lease } => {
                out.put_u8(2);
                lease.encode(out);
            }
            Self::Checkpoint { leases } => {
                out.put_u8(3);
                codec::put_list(out, leases);
            }
            Self::Expire { lease, renewed, term } => {
                out.put_u8(4);
                lease.encode(out);
                renewed.encode(out);
                term.encode(out);
            }
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(match codec::get_u8(input)? {
            0 => Self::Grant { lease: get_lease(input)?, ttl_millis: codec::get_u64(input)? },
            1 => Self::Revoke { lease: LeaseId::decode(input)? },
            2 => Self::Renew { lease: LeaseId::decode(input)? },
            3 => Self::Checkpoint { leases: codec::get_list(input)? },
            4 => Self::Expire {
                lease: LeaseId::decode(input)?,
                renewed: Index::decode(input)?,
                term: Term::decode(input)?,
            },
            _ => return Err(CodecError::Invalid("command about a lease")),
        })
    }
}

impl Wire for Checkpoint {
    fn encode(&self, out: &mut BytesMut) {
        self.lease.encode(out);
        self.renewed.encode(out);
        out.put_u64_le(self.remaining_millis);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(Self {
            lease: LeaseId::decode(input)?,
            renewed: Index::decode(input)?,
            remaining_millis: codec::get_u64(input)?,
        })
    }
}
