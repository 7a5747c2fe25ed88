//! Which keys a command, a read or a watch is about.

use std::ops::Bound;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};

/// A set of keys that lie side by side in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Keys {
    /// One key.
    One(Bytes),
    /// All keys that begin with these bytes; all keys when there are none.
    Prefix(Bytes),
    /// The keys from `from` on, up to but without `to`; to the last key when that is `None`. A `to`
    /// that is not after `from` selects nothing.
    Between {
        /// The first key that may be selected.
        from: Bytes,
        /// The first key that is not selected any more.
        to: Option<Bytes>,
    },
}

impl Keys {
    /// Every key there is.
    #[must_use]
    pub fn all() -> Self {
        Self::Prefix(Bytes::new())
    }

    /// Whether this selects every key there is.
    #[must_use]
    pub fn is_all(&self) -> bool {
        match self {
            Self::One(_) => false,
            Self::Prefix(prefix) => prefix.is_empty(),
            Self::Between { from, to } => from.is_empty() && to.is_none(),
        }
    }

    /// Whether the key is selected.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::One(one) => one == key,
            Self::Prefix(prefix) => key.starts_with(prefix),
            Self::Between { from, to } => {
                key >= &from[..] && to.as_ref().is_none_or(|to| key < &to[..])
            }
        }
    }

    /// Whether every key that begins so is selected, and so could be many at a time.
    pub(crate) fn covers(&self, prefix: &[u8]) -> bool {
        match self {
            Self::One(_) => false,
            Self::Prefix(shorter) => prefix.starts_with(shorter),
            Self::Between { from, to } => {
                let end = || prefix_end(prefix);
                prefix >= &from[..]
                    && to.as_ref().is_none_or(|to| end().is_some_and(|end| end <= to))
            }
        }
    }

    /// The bounds of the selected keys in the order of keys.
    pub(crate) fn span(&self) -> Span {
        match self {
            Self::One(key) => {
                Span { low: Bound::Included(key.clone()), high: Bound::Included(key.clone()) }
            }
            Self::Prefix(prefix) => Span {
                low: Bound::Included(prefix.clone()),
                high: prefix_end(prefix).map_or(Bound::Unbounded, Bound::Excluded),
            },
            Self::Between { from, to } => Span {
                low: Bound::Included(from.clone()),
                high: to.clone().map_or(Bound::Unbounded, Bound::Excluded),
            },
        }
    }
}

/// The first key after all keys with this prefix; `None` when there is no such key.
fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|&byte| byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

/// An interval in the order of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) low: Bound<Bytes>,
    pub(crate) high: Bound<Bytes>,
}

impl Span {
    /// Whether no key can lie within. The ordered map refuses such bounds.
    pub(crate) fn is_empty(&self) -> bool {
        match (&self.low, &self.high) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(low), Bound::Included(high)) => low > high,
            (Bound::Included(low) | Bound::Excluded(low), Bound::Excluded(high))
            | (Bound::Excluded(low), Bound::Included(high)) => low >= high,
        }
    }

    /// The bounds as the ordered map takes them.
    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.low.as_ref().map(|low| &low[..]), self.high.as_ref().map(|high| &high[..]))
    }

    /// Cuts off everything up to `key`, from the front or, backward, from the back.
    pub(crate) fn pass(&mut self, key: Bytes, backward: bool) {
        if backward {
            self.high = Bound::Excluded(key);
        } else {
            self.low = Bound::Excluded(key);
        }
    }

    /// Cuts off what comes before `key` in ascending order.
    pub(crate) fn raise_low(&mut self, key: Bytes) {
        let before = match &self.low {
            Bound::Unbounded => true,
            Bound::Included(low) => *low < key,
            Bound::Excluded(_) => false,
        };
        if before {
            self.low = Bound::Included(key);
        }
    }

    /// Cuts off what comes after `key` in ascending order.
    pub(crate) fn reduce_high(&mut self, key: Bytes) {
        let beyond = match &self.high {
            Bound::Unbounded => true,
            Bound::Included(high) | Bound::Excluded(high) => *high > key,
        };
        if beyond {
            self.high = Bound::Included(key);
        }
    }
}

impl Wire for Keys {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::One(key) => {
                out.put_u8(0);
                codec::put_bytes(out, key);
            }
            Self::Prefix(prefix) => {
                out.put_u8(1);
                codec::put_bytes(out, prefix);
            }
            Self::Between { from, to } => {
                out.put_u8(2);
                codec::put_bytes(out, from);
                to.is_some().encode(out);
                if let Some(to) = to {
                    codec::put_bytes(out, to);
                }
            }
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        match codec::get_u8(input)? {
            0 => Ok(Self::One(codec::get_bytes(input)?)),
            1 => Ok(Self::Prefix(codec::get_bytes(input)?)),
            2 => Ok(Self::Between {
                from: codec::get_bytes(input)?,
                to: if bool::decode(input)? { Some(codec::get_bytes(input)?) } else { None },
            }),
            _ => Err(CodecError::Invalid("selection of keys")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(from: &'static [u8], to: Option<&'static [u8]>) -> Keys {
        Keys::Between { from: Bytes::from_static(from), to: to.map(Bytes::from_static) }
    }

    #[test]
    fn a_prefix_ends_before_the_next_larger_key_of_its_length() {
        assert_eq!(prefix_end(b"ab"), Some(Bytes::from_static(b"ac")));
        assert_eq!(prefix_end(b"a\xff\xff"), Some(Bytes::from_static(b"b")));
        assert_eq!(prefix_end(b"\xff\xff"), None);
        assert_eq!(prefix_end(b""), None);
    }

    #[test]
    fn an_interval_that_ends_where_it_begins_or_before_is_empty() {
        assert!(between(b"c", Some(b"c")).span().is_empty());
        assert!(between(b"d", Some(b"b")).span().is_empty());
        assert!(!between(b"b", Some(b"c")).span().is_empty());
        assert!(!between(b"b", None).span().is_empty());
        assert!(!Keys::One(Bytes::from_static(b"a")).span().is_empty());
    }

    #[test]
    fn membership_and_bounds_agree() {
        let selections = [
            Keys::One(Bytes::from_static(b"b")),
            Keys::Prefix(Bytes::from_static(b"b")),
            Keys::Prefix(Bytes::from_static(b"\xff")),
            Keys::all(),
            between(b"b", Some(b"c")),
            between(b"", None),
        ];
        let keys: [&[u8]; 7] = [b"a", b"b", b"b\x00", b"b\xff", b"c", b"\xff", b"\xff\xff"];
        for selection in &selections {
            let span = selection.span();
            for key in keys {
                use std::ops::RangeBounds;
                assert_eq!(
                    RangeBounds::<[u8]>::contains(&span.bounds(), key),
                    selection.contains(key),
                    "{selection:?} and {key:?}"
                );
            }
        }
    }

    #[test]
    fn every_selection_survives_its_encoding() {
        for keys in
            [Keys::One("k".into()), Keys::all(), between(b"a", None), between(b"a", Some(b"z"))]
        {
            assert_eq!(Keys::from_bytes(keys.to_bytes()), Ok(keys));
        }
        assert!(Keys::from_bytes(Bytes::from_static(&[9])).is_err());
    }
}
