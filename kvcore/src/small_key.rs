//! Keys as the index holds them: a short one in place, a long one shared.
//!
//! A search in an ordered map compares some twenty keys, and each that is elsewhere is a cache miss:
//! with keys in place a look-up among a million takes half the time, and a short key needs no memory
//! of its own.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

/// The longest key that is held in place; it makes the whole as small as a long key allows.
const INLINE_BYTES_MAX: usize = 22;

/// A key; cheap to clone. Ordered by its bytes.
#[derive(Clone)]
pub(crate) enum SmallKey {
    Inline { length: u8, bytes: [u8; INLINE_BYTES_MAX] },
    Shared(Arc<[u8]>),
}

impl SmallKey {
    pub(crate) fn new(key: &[u8]) -> Self {
        if key.len() > INLINE_BYTES_MAX {
            return Self::Shared(Arc::from(key));
        }
        let mut bytes = [0; INLINE_BYTES_MAX];
        bytes[..key.len()].copy_from_slice(key);
        Self::Inline { length: key.len() as u8, bytes }
    }

    /// The memory that the key takes besides itself, in bytes: its own and two reference counts.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Inline { .. } => 0,
            Self::Shared(key) => key.len() + 2 * size_of::<usize>(),
        }
    }
}

impl Deref for SmallKey {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Self::Shared(key) => key,
        }
    }
}

impl Borrow<[u8]> for SmallKey {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for SmallKey {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for SmallKey {}

impl PartialOrd for SmallKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SmallKey {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_takes_twenty_four_bytes() {
        assert_eq!(size_of::<SmallKey>(), 24);
    }

    #[test]
    fn keys_of_any_length_are_ordered_by_their_bytes() {
        let lengths = [0, 1, INLINE_BYTES_MAX - 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 100];
        let contents = |byte: u8| lengths.map(|length| vec![byte; length]);
        let keys: Vec<Vec<u8>> = [0, b'a', 0xff].into_iter().flat_map(contents).collect();
        for one in &keys {
            assert_eq!(&*SmallKey::new(one), &one[..]);
            for other in &keys {
                let order = SmallKey::new(one).cmp(&SmallKey::new(other));
                assert_eq!(order, one.cmp(other), "{one:?} and {other:?}");
            }
        }
    }
}
