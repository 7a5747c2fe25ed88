//! What is remembered of an outcome, as it travels.

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};

use super::remembered::{Fate, OperationFate, TransactionFate};
use crate::command::{OPERATIONS_MAX, OPERATIONS_TOTAL_MAX};
use crate::lease::LeaseId;
use crate::lease::wire::{get_lease, put_lease};
use crate::outcome::{DeletionLimit, Found};
use crate::store::Revision;

impl Fate {
    /// What it takes of memory besides itself.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Transaction(transaction) => transaction.heap_bytes(),
            Self::KeyNotFound { key }
            | Self::SequenceTaken { key, .. }
            | Self::PutAnew { key: Some(key), .. } => key.len(),
            _ => 0,
        }
    }
}

impl TransactionFate {
    fn heap_bytes(&self) -> usize {
        let results = self.results.iter().map(|result| match result {
            OperationFate::Transaction(within) => within.heap_bytes(),
            _ => 0,
        });
        self.results.len() * size_of::<OperationFate>() + results.sum::<usize>()
    }
}

/// A lease and a number, as several fates have them.
fn put_lease_and(out: &mut BytesMut, kind: u8, lease: LeaseId, number: u64) {
    out.put_u8(kind);
    lease.encode(out);
    out.put_u64_le(number);
}

/// Two revisions, as several fates have them.
fn put_revisions(out: &mut BytesMut, kind: u8, one: Revision, other: Revision) {
    out.put_u8(kind);
    out.put_u64_le(one.0);
    out.put_u64_le(other.0);
}

fn put_found(out: &mut BytesMut, found: &Found) {
    out.put_u64_le(found.create_revision.0);
    out.put_u64_le(found.mod_revision.0);
    out.put_u64_le(found.version);
}

impl Wire for Fate {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Put { created } => {
                out.put_u8(0);
                created.encode(out);
            }
            Self::Deleted { count } => {
                out.put_u8(1);
                out.put_u64_le(*count);
            }
            Self::DeletionTooLarge(limit) => out.put_u8(match limit {
                DeletionLimit::Keys => 2,
                DeletionLimit::Bytes => 3,
            }),
            Self::ConditionFailed { condition, found } => {
                out.put_u8(4);
                out.put_u32_le(*condition);
                found.is_some().encode(out);
                if let Some((found, place)) = found {
                    put_found(out, found);
                    out.put_u32_le(*place);
                }
            }
            Self::Compacted => out.put_u8(5),
            Self::CompactionInFuture { current } => {
                out.put_u8(6);
                out.put_u64_le(current.0);
            }
            Self::AlreadyCompacted { compacted } => {
                out.put_u8(7);
                out.put_u64_le(compacted.0);
            }
            Self::PutAnew { created, key, granted } => {
                out.put_u8(8);
                created.encode(out);
                codec::put_bytes(out, key.as_deref().unwrap_or_default());
                put_lease(out, *granted);
            }
            Self::SequenceTaken { found, key } => {
                out.put_u8(9);
                put_found(out, found);
                codec::put_bytes(out, key);
            }
            Self::ReadInFuture { requested, current } => {
                put_revisions(out, 10, *requested, *current);
            }
            Self::ReadCompacted { requested, compacted } => {
                put_revisions(out, 11, *requested, *compacted);
            }
            Self::Transaction(transaction) => {
                out.put_u8(12);
                put_transaction(out, transaction);
            }
            Self::TransactionTooLarge => out.put_u8(13),
            Self::KeyNotFound { key } => {
                out.put_u8(14);
                codec::put_bytes(out, key);
            }
            Self::Granted { lease, ttl_millis } => put_lease_and(out, 15, *lease, *ttl_millis),
            Self::Renewed { lease, ttl_millis } => put_lease_and(out, 16, *lease, *ttl_millis),
            Self::LeaseEnded { lease, keys } => put_lease_and(out, 17, *lease, *keys),
            Self::LeaseNotFound { lease } => put_lease_and(out, 18, *lease, 0),
            Self::LeaseExists { lease } => put_lease_and(out, 19, *lease, 0),
            Self::LeaseFull { lease } => put_lease_and(out, 20, *lease, 0),
            Self::TooManyLeases => out.put_u8(21),
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(match codec::get_u8(input)? {
            0 => Self::Put { created: bool::decode(input)? },
            1 => Self::Deleted { count: codec::get_u64(input)? },
            2 => Self::DeletionTooLarge(DeletionLimit::Keys),
            3 => Self::DeletionTooLarge(DeletionLimit::Bytes),
            4 => Self::ConditionFailed {
                condition: codec::get_u32(input)?,
                found: if bool::decode(input)? { Some(get_found(input)?) } else { None },
            },
            5 => Self::Compacted,
            6 => Self::CompactionInFuture { current: Revision(codec::get_u64(input)?) },
            7 => Self::AlreadyCompacted { compacted: Revision(codec::get_u64(input)?) },
            8 => Self::PutAnew {
                created: bool::decode(input)?,
                key: Some(get_own_bytes(input)?).filter(|key| !key.is_empty()),
                granted: get_lease(input)?,
            },
            9 => Self::SequenceTaken { found: get_numbers(input)?, key: get_own_bytes(input)? },
            10 => Self::ReadInFuture {
                requested: Revision(codec::get_u64(input)?),
                current: Revision(codec::get_u64(input)?),
            },
            11 => Self::ReadCompacted {
                requested: Revision(codec::get_u64(input)?),
                compacted: Revision(codec::get_u64(input)?),
            },
            12 => {
                let mut operations_left = OPERATIONS_TOTAL_MAX;
                let transaction = get_transaction(input, &mut operations_left, OPERATIONS_MAX)?;
                Self::Transaction(transaction)
            }
            13 => Self::TransactionTooLarge,
            14 => Self::KeyNotFound { key: get_own_bytes(input)? },
            kind @ 15..=20 => {
                let (lease, number) = (LeaseId::decode(input)?, codec::get_u64(input)?);
                match kind {
                    15 => Self::Granted { lease, ttl_millis: number },
                    16 => Self::Renewed { lease, ttl_millis: number },
                    17 => Self::LeaseEnded { lease, keys: number },
                    _ if number != 0 => return Err(CodecError::Invalid("remembered lease")),
                    18 => Self::LeaseNotFound { lease },
                    19 => Self::LeaseExists { lease },
                    _ => Self::LeaseFull { lease },
                }
            }
            21 => Self::TooManyLeases,
            _ => return Err(CodecError::Invalid("remembered outcome")),
        })
    }
}

/// Bytes that do not keep the frame in memory which they came in.
fn get_own_bytes(input: &mut Bytes) -> Result<Bytes, CodecError> {
    codec::get_bytes(input).map(|bytes| Bytes::copy_from_slice(&bytes))
}

fn get_numbers(input: &mut Bytes) -> Result<Found, CodecError> {
    Ok(Found {
        create_revision: Revision(codec::get_u64(input)?),
        mod_revision: Revision(codec::get_u64(input)?),
        version: codec::get_u64(input)?,
    })
}

fn get_found(input: &mut Bytes) -> Result<(Found, u32), CodecError> {
    Ok((get_numbers(input)?, codec::get_u32(input)?))
}

fn put_transaction(out: &mut BytesMut, transaction: &TransactionFate) {
    transaction.succeeded.encode(out);
    out.put_u32_le(u32::try_from(transaction.results.len()).expect("operations are bounded"));
    for result in &transaction.results {
        match result {
            OperationFate::Put { created, granted: None } => out.put_u8(u8::from(*created)),
            OperationFate::Put { created, granted } => {
                out.put_u8(2);
                created.encode(out);
                put_lease(out, *granted);
            }
            OperationFate::Deleted { count } => {
                out.put_u8(3);
                out.put_u64_le(*count);
            }
            OperationFate::Read => out.put_u8(4),
            OperationFate::Transaction(within) => {
                out.put_u8(5);
                put_transaction(out, within);
            }
        }
    }
}

/// Reads what a transaction did, of no more than so many operations in all, and so many transactions
/// within one another.
fn get_transaction(
    input: &mut Bytes,
    operations_left: &mut usize,
    depth_max: usize,
) -> Result<TransactionFate, CodecError> {
    let wrong = CodecError::Invalid("remembered transaction");
    let succeeded = bool::decode(input)?;
    let count = codec::get_u32(input)? as usize;
    *operations_left = operations_left.checked_sub(count).ok_or(wrong)?;
    let mut results = codec::list_with_room(count, input);
    for _ in 0..count {
        results.push(match codec::get_u8(input)? {
            created @ (0 | 1) => OperationFate::Put { created: created == 1, granted: None },
            2 => OperationFate::Put {
                created: bool::decode(input)?,
                granted: Some(LeaseId::decode(input)?),
            },
            3 => OperationFate::Deleted { count: codec::get_u64(input)? },
            4 => OperationFate::Read,
            5 => {
                let depth_max = depth_max.checked_sub(1).ok_or(wrong)?;
                OperationFate::Transaction(get_transaction(input, operations_left, depth_max)?)
            }
            _ => return Err(wrong),
        });
    }
    Ok(TransactionFate { succeeded, results })
}
