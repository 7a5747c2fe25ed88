//! What is remembered of a write that carried a key: bounded, whatever the write was.

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};
use consensus::{Index, WallTime};
use twox_hash::xxhash3_128::Hasher;

use super::IdempotencyKey;
use crate::lease::LeaseId;
use crate::outcome::{DeletionLimit, Found};
use crate::snapshot::get_u128;
use crate::store::Revision;

/// What the first write with a key did: a row of the table of idempotency keys. Some hundred bytes at most,
/// but for large transactions, of which each operation takes some, and for what names keys.
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fate {
    /// A value was stored.
    Put {
        /// Whether the key did not exist before.
        created: bool,
    },
    /// A value was stored under the next key of a prefix, or on a lease that was granted for it.
    PutAnew {
        /// Whether the key did not exist before.
        created: bool,
        /// What the key is, where that was not known beforehand.
        key: Option<Bytes>,
        /// The lease.
        granted: Option<LeaseId>,
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
    /// No number of a sequential key was free.
    SequenceTaken {
        /// What was found under the last one.
        found: Found,
        /// That one.
        key: Bytes,
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
    /// A revision that a transaction reads did not exist.
    ReadInFuture {
        /// That one.
        requested: Revision,
        /// The store's revision at that time.
        current: Revision,
    },
    /// A revision that a transaction reads was compacted.
    ReadCompacted {
        /// That one.
        requested: Revision,
        /// The oldest revision that could be read at that time.
        compacted: Revision,
    },
    /// A transaction was carried out.
    Transaction(TransactionFate),
    /// A transaction was too large.
    TransactionTooLarge,
    /// A key that should be there was not.
    KeyNotFound {
        /// The key.
        key: Bytes,
    },
    /// A lease was granted.
    Granted {
        /// Its number.
        lease: LeaseId,
        /// Its time.
        ttl_millis: u64,
    },
    /// A lease was renewed.
    Renewed {
        /// Its number.
        lease: LeaseId,
        /// Its time.
        ttl_millis: u64,
    },
    /// A lease ended.
    LeaseEnded {
        /// Its number.
        lease: LeaseId,
        /// How many keys went with it.
        keys: u64,
    },
    /// There was no such lease.
    LeaseNotFound {
        /// Its number.
        lease: LeaseId,
    },
    /// There was such a lease already.
    LeaseExists {
        /// Its number.
        lease: LeaseId,
    },
    /// The lease had too many keys.
    LeaseFull {
        /// Its number.
        lease: LeaseId,
    },
    /// There were too many leases.
    TooManyLeases,
}

/// What a transaction did, without what can be had from it and from history.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransactionFate {
    /// Which branch was taken.
    pub succeeded: bool,
    /// Of each of its operations.
    pub results: Vec<OperationFate>,
}

/// The same of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OperationFate {
    /// It stored a value.
    Put {
        /// Whether the key did not exist before.
        created: bool,
        /// The lease that was granted with it.
        granted: Option<LeaseId>,
    },
    /// It deleted keys.
    Deleted {
        /// How many.
        count: u64,
    },
    /// It read.
    Read,
    /// It was a transaction.
    Transaction(TransactionFate),
}

impl Remembered {
    /// The row's share of the digest of the table. The same on every machine and in every version.
    pub(crate) fn hash(&self) -> u128 {
        Hasher::oneshot(&self.to_bytes())
    }

    /// The row's size in every byte limit.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.key.as_str().len() + self.fate.heap_bytes()
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

    fn transaction() -> TransactionFate {
        let within = TransactionFate { succeeded: true, results: vec![OperationFate::Read] };
        let results = vec![
            OperationFate::Put { created: true, granted: LeaseId::new(4) },
            OperationFate::Deleted { count: 6 },
            OperationFate::Transaction(within),
        ];
        TransactionFate { succeeded: true, results }
    }

    #[test]
    fn every_row_survives_its_encoding_and_every_part_counts_in_its_hash() {
        let found = Found { create_revision: Revision(2), mod_revision: Revision(3), version: 4 };
        let lease = LeaseId::new(7).expect("not 0");
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
            Fate::PutAnew { created: true, key: Some("k1".into()), granted: None },
            Fate::PutAnew { created: true, key: None, granted: LeaseId::new(-3) },
            Fate::SequenceTaken { found, key: "k2".into() },
            Fate::ReadInFuture { requested: Revision(9), current: Revision(8) },
            Fate::ReadCompacted { requested: Revision(9), compacted: Revision(10) },
            Fate::Transaction(TransactionFate { succeeded: false, results: Vec::new() }),
            Fate::Transaction(transaction()),
            Fate::TransactionTooLarge,
            Fate::KeyNotFound { key: "k".into() },
            Fate::Granted { lease, ttl_millis: 5 },
            Fate::Renewed { lease, ttl_millis: 5 },
            Fate::LeaseEnded { lease, keys: 5 },
            Fate::LeaseNotFound { lease },
            Fate::LeaseExists { lease },
            Fate::LeaseFull { lease },
            Fate::TooManyLeases,
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
