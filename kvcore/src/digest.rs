//! The digest of everything that the store holds at one revision.
//!
//! It is the sum, modulo 2^128, of a hash of each current row. A sum does not depend on the order,
//! and a change of one key is one subtraction and one addition, so the digest of the whole store is
//! always at hand. It tells replicas that drifted apart from replicas that agree. It is no defence
//! against somebody who chooses values in order to deceive it.

use std::collections::VecDeque;
use std::fmt;

use twox_hash::xxhash3_128::Hasher;

use crate::store::Revision;

/// How many recent revisions have their digest at hand.
pub const DIGESTS_MAX: usize = 4096;

/// The digest of all current rows at a revision. Replicas that agree have equal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest {
    /// The revision.
    pub revision: Revision,
    /// The sum of the hashes of the rows that are current at it.
    pub rows: u128,
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.rows)
    }
}

/// The hash of one current row: XXH3-128 over the hashes of key and value and the three numbers,
/// all little-endian. The same on every machine and in every version.
pub(crate) fn row_hash(
    key: &[u8],
    value: &[u8],
    create_revision: Revision,
    mod_revision: Revision,
    version: u64,
) -> u128 {
    let mut bytes = [0; 56];
    bytes[0..16].copy_from_slice(&Hasher::oneshot(key).to_le_bytes());
    bytes[16..32].copy_from_slice(&Hasher::oneshot(value).to_le_bytes());
    bytes[32..40].copy_from_slice(&create_revision.0.to_le_bytes());
    bytes[40..48].copy_from_slice(&mod_revision.0.to_le_bytes());
    bytes[48..56].copy_from_slice(&version.to_le_bytes());
    Hasher::oneshot(&bytes)
}

/// The digests of the most recent revisions.
#[derive(Debug)]
pub(crate) struct Digests {
    /// The digest of the last revision is at the back, that of the one before in front of it.
    recent: VecDeque<u128>,
    last: Revision,
}

impl Digests {
    pub(crate) fn new(revision: Revision, rows: u128) -> Self {
        Self { recent: VecDeque::from([rows]), last: revision }
    }

    pub(crate) fn current(&self) -> Digest {
        let rows = *self.recent.back().expect("the current revision has a digest");
        Digest { revision: self.last, rows }
    }

    /// Notes the digest of the next revision.
    pub(crate) fn push(&mut self, rows: u128) {
        if self.recent.len() == DIGESTS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(rows);
        self.last = Revision(self.last.0 + 1);
    }

    pub(crate) fn at(&self, revision: Revision) -> Option<Digest> {
        let back = usize::try_from(self.last.0.checked_sub(revision.0)?).ok()?;
        let index = self.recent.len().checked_sub(back + 1)?;
        Some(Digest { revision, rows: self.recent[index] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_row_counts() {
        let one = Revision(1);
        let base = row_hash(b"k", b"v", one, one, 1);
        assert_eq!(base, row_hash(b"k", b"v", one, one, 1));
        for other in [
            row_hash(b"l", b"v", one, one, 1),
            row_hash(b"k", b"w", one, one, 1),
            row_hash(b"kv", b"", one, one, 1),
            row_hash(b"v", b"k", one, one, 1),
            row_hash(b"k", b"v", Revision(2), one, 1),
            row_hash(b"k", b"v", one, Revision(2), 1),
            row_hash(b"k", b"v", one, one, 2),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn the_hash_of_a_row_is_the_same_on_every_machine_and_in_every_version() {
        let hash = row_hash(b"key", b"value", Revision(2), Revision(3), 4);
        assert_eq!(hash, 0xbb3a_86b9_de14_719e_6c6e_249b_7b90_3f96);
    }

    #[test]
    fn only_recent_revisions_have_a_digest() {
        let mut digests = Digests::new(Revision(10), 0);
        assert_eq!(digests.at(Revision(9)), None);
        for step in 1..=DIGESTS_MAX as u64 {
            digests.push(u128::from(step));
            assert_eq!(digests.current().rows, u128::from(step));
        }
        let last = 10 + DIGESTS_MAX as u64;
        assert_eq!(digests.at(Revision(10)), None);
        assert_eq!(digests.at(Revision(11)).map(|digest| digest.rows), Some(1));
        assert_eq!(digests.at(Revision(last)), Some(digests.current()));
        assert_eq!(digests.at(Revision(last + 1)), None);
    }
}
