//! What is remembered of a write that carried a key: bounded, whatever the write was.

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};
use consensus::{Index, WallTime};
use twox_hash::xxhash3_128::Hasher;

use super::IdempotencyKey;
use crate::outcome::{DeletionLimit, Found};
use crate::snapshot::get_u128;
use crate::store::Revision;

/// What the first write with a key did: a row of the table of idempotency keys. Some hundred bytes
/// at most.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Remembered {
    /// The log entry of the write.
    pub index: Index,
    /// The key.
    pub key: IdempotencyKey,
    /// The store's time when the entry was applied.
    pub wall: WallTime,
    /// The digest of the command: another command under the same key is an error.
    pub request: u128,
    /// The store's revision after the entry.
    pub revision: Revision,
    /// What came of it.
    pub fate: Fate,
}

/// An outcome without what can be had from the repeated command and from history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fate {
    /// A value was stored.
    Put {
        /// Whether the key did not exist before.
        created: bool,
    },
    /// Keys were deleted.
    Deleted {
        /// How many.
        count: u64,
    },
    /// The deletion was beyond a limit.
    DeletionTooLarge(DeletionLimit),
    /// A condition did not hold.
    ConditionFailed {
        /// Which of the command's conditions.
        condition: u32,
        /// What was found instead, and the place of its row within the revision that wrote it.
        found: Option<(Found, u32)>,
    },
    /// History was forgotten.
    Compacted,
    /// The revision to compact to did not exist.
    CompactionInFuture {
        /// The store's revision at that time.
        current: Revision,
    },
    /// The store was compacted that far before.
    AlreadyCompacted {
        /// The oldest revision that could be read at that time.
        compacted: Revision,
    },
}

impl Remembered {
    /// The row's share of the digest of the table. The same on every machine and in every version.
    pub(crate) fn hash(&self) -> u128 {
        Hasher::oneshot(&self.to_bytes())
    }

    /// The row's size in every byte limit.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.key.as_str().len()
    }
}

impl Wire for Remembered {
    fn encode(&self, out: &mut BytesMut) {
        self.index.encode(out);
        self.key.encode(out);
        out.put_u64_le(self.wall.0);
        out.put_u128_le(self.request);
        out.put_u64_le(self.revision.0);
        self.fate.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(Self {
            index: Index::decode(input)?,
            key: IdempotencyKey::decode(input)?,
            wall: WallTime(codec::get_u64(input)?),
            request: get_u128(input)?,
            revision: Revision(codec::get_u64(input)?),
            fate: Fate::decode(input)?,
        })
    }
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
                    out.put_u64_le(found.create_revision.0);
                    out.put_u64_le(found.mod_revision.0);
                    out.put_u64_le(found.version);
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
            _ => return Err(CodecError::Invalid("remembered outcome")),
        })
    }
}

fn get_found(input: &mut Bytes) -> Result<(Found, u32), CodecError> {
    let found = Found {
        create_revision: Revision(codec::get_u64(input)?),
        mod_revision: Revision(codec::get_u64(input)?),
        version: codec::get_u64(input)?,
    };
    Ok((found, codec::get_u32(input)?))
}

/// Rows of the table as they travel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RememberedRows(pub Vec<Remembered>);

impl Wire for RememberedRows {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(u32::try_from(self.0.len()).expect("a portion is bounded"));
        for row in &self.0 {
            row.encode(out);
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        let count = codec::get_u32(input)?;
        let mut rows = codec::list_with_room(count as usize, input);
        for _ in 0..count {
            rows.push(Remembered::decode(input)?);
        }
        Ok(Self(rows))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn row(index: u64, key: &str, wall: u64) -> Remembered {
        Remembered {
            index: Index(index),
            key: IdempotencyKey::new(key.as_bytes()).expect("a key"),
            wall: WallTime(wall),
            request: u128::from(index) << 64 | 7,
            revision: Revision(index + 1),
            fate: Fate::Put { created: true },
        }
    }

    #[test]
    fn every_row_survives_its_encoding_and_every_part_counts_in_its_hash() {
        let found = Found { create_revision: Revision(2), mod_revision: Revision(3), version: 4 };
        let fates = [
            Fate::Put { created: true },
            Fate::Put { created: false },
            Fate::Deleted { count: 3 },
            Fate::DeletionTooLarge(DeletionLimit::Keys),
            Fate::DeletionTooLarge(DeletionLimit::Bytes),
            Fate::ConditionFailed { condition: 1, found: None },
            Fate::ConditionFailed { condition: 1, found: Some((found, 5)) },
            Fate::Compacted,
            Fate::CompactionInFuture { current: Revision(9) },
            Fate::AlreadyCompacted { compacted: Revision(9) },
        ];
        let mut rows: Vec<_> =
            fates.into_iter().map(|fate| Remembered { fate, ..row(1, "k", 2) }).collect();
        rows.extend([row(2, "k", 2), row(1, "l", 2), row(1, "k", 3)]);
        rows.push(Remembered { request: 8, ..row(1, "k", 2) });
        rows.push(Remembered { revision: Revision(8), ..row(1, "k", 2) });
        let hashes: std::collections::BTreeSet<u128> = rows.iter().map(Remembered::hash).collect();
        assert_eq!(hashes.len(), rows.len());
        for row in &rows {
            let bytes = row.to_bytes();
            assert!(bytes.len() < 400);
            for length in 0..bytes.len() {
                assert!(Remembered::from_bytes(bytes.slice(..length)).is_err());
            }
        }
        let rows = RememberedRows(rows);
        assert_eq!(RememberedRows::from_bytes(rows.to_bytes()), Ok(rows));
    }

    #[test]
    fn the_hash_of_a_row_is_the_same_on_every_machine_and_in_every_version() {
        assert_eq!(row(1, "key", 2).hash(), 0x6546_ee05_0b90_e02d_ae3b_61e7_85b5_c047);
    }
}
