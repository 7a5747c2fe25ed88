//! Digests: what tells replicas that drifted apart from replicas that agree.
//!
//! The digest of the rows is the sum, modulo 2^128, of a hash of each current row. A sum does not
//! depend on the order, and a change of one key is one subtraction and one addition, so the digest is
//! always at hand. It is a part of the [`StoreState`], as is the digest of the idempotency keys; the
//! digest of such a state stands for all of it. None of them is a defence against somebody who chooses
//! values in order to deceive it.

use consensus::{WallTime, Wire};
use twox_hash::xxhash3_128::Hasher;

use crate::lease::LeaseId;
use crate::store::{Revision, StoreState};

impl StoreState {
    /// The digest of all of it: XXH3-128 of its encoding. Replicas that applied the same entries have
    /// the same.
    #[must_use]
    pub fn whole_digest(&self) -> u128 {
        Hasher::oneshot(&self.to_bytes())
    }
}

/// The numbers of a current row that count in its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowNumbers {
    pub(crate) create_revision: Revision,
    pub(crate) mod_revision: Revision,
    pub(crate) version: u64,
    pub(crate) lease: Option<LeaseId>,
}

/// The times of a row: of its generation, and its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowTimes {
    pub(crate) create_time: WallTime,
    pub(crate) mod_time: WallTime,
}

impl RowTimes {
    fn are_unknown(self) -> bool {
        self.create_time == WallTime(0) && self.mod_time == WallTime(0)
    }
}

/// The hash of one current row: that of its content, in whose lower half its times count as well if it has
/// any: it is that of XXH3-128 over the content's hash and the times, little-endian. The same on every
/// machine and in every version; a row without times has the hash that it had before there were times.
pub(crate) fn row_hash(key: &[u8], value: &[u8], numbers: RowNumbers, times: RowTimes) -> u128 {
    let content = content_hash(key, value, numbers);
    if times.are_unknown() {
        return content;
    }
    let mut bytes = [0; 32];
    bytes[0..16].copy_from_slice(&content.to_le_bytes());
    bytes[16..24].copy_from_slice(&times.create_time.0.to_le_bytes());
    bytes[24..32].copy_from_slice(&times.mod_time.0.to_le_bytes());
    let lower = u128::from(u64::MAX);
    (content & !lower) | (Hasher::oneshot(&bytes) & lower)
}

/// Whether a row of this hash may have this content, whatever its times: if not, it has another one.
pub(crate) fn may_have(hash: u128, key: &[u8], value: &[u8], numbers: RowNumbers) -> bool {
    (hash ^ content_hash(key, value, numbers)) >> 64 == 0
}

/// XXH3-128 over the hashes of key and value and the three numbers, and that of the lease if there is one,
/// all little-endian.
fn content_hash(key: &[u8], value: &[u8], numbers: RowNumbers) -> u128 {
    let RowNumbers { create_revision, mod_revision, version, lease } = numbers;
    let mut bytes = [0; 64];
    bytes[0..16].copy_from_slice(&Hasher::oneshot(key).to_le_bytes());
    bytes[16..32].copy_from_slice(&Hasher::oneshot(value).to_le_bytes());
    bytes[32..40].copy_from_slice(&create_revision.0.to_le_bytes());
    bytes[40..48].copy_from_slice(&mod_revision.0.to_le_bytes());
    bytes[48..56].copy_from_slice(&version.to_le_bytes());
    bytes[56..64].copy_from_slice(&LeaseId::number(lease).to_le_bytes());
    Hasher::oneshot(if lease.is_some() { &bytes } else { &bytes[..56] })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use consensus::{Index, Position, WallTime};

    use super::*;

    const UNKNOWN: RowTimes = RowTimes { create_time: WallTime(0), mod_time: WallTime(0) };

    #[test]
    fn each_part_of_a_row_counts() {
        let one = Revision(1);
        let base = RowNumbers { create_revision: one, mod_revision: one, version: 1, lease: None };
        let timed = RowTimes { create_time: WallTime(5), mod_time: WallTime(6) };
        let of = |key: &[u8], value: &[u8], numbers| row_hash(key, value, numbers, timed);
        let hash = of(b"k", b"v", base);
        assert_eq!(hash, of(b"k", b"v", base));
        for other in [
            of(b"l", b"v", base),
            of(b"k", b"w", base),
            of(b"kv", b"", base),
            of(b"v", b"k", base),
            of(b"k", b"v", RowNumbers { create_revision: Revision(2), ..base }),
            of(b"k", b"v", RowNumbers { mod_revision: Revision(2), ..base }),
            of(b"k", b"v", RowNumbers { version: 2, ..base }),
            of(b"k", b"v", RowNumbers { lease: LeaseId::new(1), ..base }),
            row_hash(b"k", b"v", base, UNKNOWN),
            row_hash(b"k", b"v", base, RowTimes { create_time: WallTime(0), ..timed }),
            row_hash(b"k", b"v", base, RowTimes { mod_time: WallTime(0), ..timed }),
            row_hash(b"k", b"v", base, RowTimes { mod_time: WallTime(7), ..timed }),
        ] {
            assert_ne!(hash, other);
        }
    }

    #[test]
    fn what_a_row_may_hold_does_not_depend_on_its_times() {
        let one = Revision(1);
        let numbers =
            RowNumbers { create_revision: one, mod_revision: one, version: 1, lease: None };
        for millis in [0, 1, u64::MAX] {
            let times = RowTimes { create_time: WallTime(millis), mod_time: WallTime(millis) };
            let hash = row_hash(b"k", b"v", numbers, times);
            assert!(may_have(hash, b"k", b"v", numbers));
            assert!(!may_have(hash, b"k", b"w", numbers));
            assert!(!may_have(hash, b"k", b"v", RowNumbers { version: 2, ..numbers }));
        }
    }

    #[test]
    fn the_hash_of_a_row_is_the_same_on_every_machine_and_in_every_version() {
        let (create_revision, mod_revision) = (Revision(2), Revision(3));
        let numbers = RowNumbers { create_revision, mod_revision, version: 4, lease: None };
        let hash = row_hash(b"key", b"value", numbers, UNKNOWN);
        assert_eq!(hash, 0xbb3a_86b9_de14_719e_6c6e_249b_7b90_3f96);
        let leased = RowNumbers { lease: LeaseId::new(-5), ..numbers };
        let hash = row_hash(b"key", b"value", leased, UNKNOWN);
        assert_eq!(hash, 0xd27e_2a91_017f_a89a_791b_14e4_ad6a_a09d);
        let times = RowTimes { create_time: WallTime(6), mod_time: WallTime(7) };
        let hash = row_hash(b"key", b"value", leased, times);
        assert_eq!(hash, 0xd27e_2a91_017f_a89a_1f31_da77_1ee6_e170);
    }

    #[test]
    fn each_part_of_a_state_counts() {
        let base = StoreState::default();
        let others = [
            StoreState { applied: Position::new(1, 0), ..base },
            StoreState { applied: Position::new(0, 1), ..base },
            StoreState { wall: WallTime(1), ..base },
            StoreState { revision: Revision(1), ..base },
            StoreState { compacted: Revision(1), ..base },
            StoreState { digest: 1, ..base },
            StoreState { idempotency_digest: 1, ..base },
            StoreState { idempotency_forgotten: Index(1), ..base },
            StoreState { records_digest: 1, ..base },
        ];
        let digests: BTreeSet<u128> = others.iter().map(StoreState::whole_digest).collect();
        assert_eq!((digests.len(), digests.contains(&base.whole_digest())), (others.len(), false));
    }
}
