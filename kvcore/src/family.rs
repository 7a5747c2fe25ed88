//! Families: a key and its children, as ZooKeeper's znodes have them.
//!
//! The store knows no directories. But ZooKeeper's clients see, of each node, how often its children
//! changed and when that was last. So a key that exists while a child of it is created or deleted gets a
//! record of that, which goes with it when it is deleted.
//!
//! The children of `a` are `a/b` and `a/c`, and not `a/b/c` or `a/`. Those of the root `/` are `/a` and `/b`.

use std::ops::Bound;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};

use crate::keys::{Keys, Span};
use crate::store::Revision;

const SEPARATOR: u8 = b'/';
/// The one key whose children follow without a separator more.
const ROOT: &[u8] = &[SEPARATOR];

/// What became of the children of a key since it was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Family {
    /// How many times one was created or deleted.
    pub cversion: u64,
    /// The revision of the last time.
    pub pzxid: Revision,
}

/// The key whose child this is, whether it exists or not.
#[must_use]
pub fn parent_of(key: &[u8]) -> Option<&[u8]> {
    let at = key.iter().rposition(|byte| *byte == SEPARATOR)?;
    if at + 1 == key.len() {
        return None;
    }
    match &key[..at] {
        [] => Some(ROOT),
        // Its children have one separator, so what has two and nothing between is nobody's child.
        ROOT => None,
        parent => Some(parent),
    }
}

/// A key without the separator that is before the names of its children.
fn without_separator(key: &[u8]) -> &[u8] {
    if key == ROOT { &[] } else { key }
}

/// A key and everything below it, with what may lie between these.
#[must_use]
pub fn with_descendants(key: Bytes) -> Keys {
    let to = Some(Bytes::from([without_separator(&key), &[SEPARATOR + 1]].concat()));
    Keys::Between { from: key, to }
}

/// What lies below a key: from it, its separator and a name on.
pub(crate) fn below(key: &[u8]) -> Span {
    let key = without_separator(key);
    let low = Bound::Excluded(Bytes::from([key, &[SEPARATOR]].concat()));
    let high = Bound::Excluded(Bytes::from([key, &[SEPARATOR + 1]].concat()));
    Span { low, high }
}

/// If a key below another is no child of that, where what is below the same child ends.
pub(crate) fn passed_by(parent: &[u8], key: &[u8]) -> Option<Bytes> {
    let name = without_separator(parent).len() + 1;
    let end = name + key[name..].iter().position(|byte| *byte == SEPARATOR)?;
    Some(Bytes::from([&key[..end], &[SEPARATOR + 1]].concat()))
}

impl Wire for Family {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.cversion);
        out.put_u64_le(self.pzxid.0);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        let cversion = codec::get_u64(input)?;
        Ok(Self { cversion, pzxid: Revision(codec::get_u64(input)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_what_is_before_the_last_separator_and_a_name_follows() {
        for (key, parent) in [
            ("a/b", Some("a")),
            ("a/b/c", Some("a/b")),
            ("/a/b", Some("/a")),
            ("a//b", Some("a/")),
            ("a", None),
            ("/a", Some("/")),
            ("//a", None),
            ("//a/b", Some("//a")),
            ("a/", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(parent_of(key.as_bytes()), parent.map(str::as_bytes), "{key}");
        }
    }

    #[test]
    fn what_is_below_a_child_is_passed_by() {
        use std::ops::RangeBounds;
        for (key, end) in [
            ("a/b", None),
            ("a/b!", None),
            ("a/b/c", Some("a/b0")),
            ("a/b/c/d", Some("a/b0")),
            ("a//c", Some("a/0")),
        ] {
            let span = below(b"a");
            assert!(RangeBounds::<[u8]>::contains(&span.bounds(), key.as_bytes()), "{key}");
            let end = end.map(Bytes::from);
            assert_eq!(passed_by(b"a", key.as_bytes()), end, "{key}");
        }
        for (key, end) in [("/a", None), ("/a/b", Some("/a0")), ("//a", Some("/0"))] {
            assert!(RangeBounds::<[u8]>::contains(&below(b"/").bounds(), key.as_bytes()), "{key}");
            assert_eq!(passed_by(b"/", key.as_bytes()), end.map(Bytes::from), "{key}");
        }
        for key in ["a", "a/", "a0", "a!", "b/c"] {
            let span = below(b"a");
            assert!(!RangeBounds::<[u8]>::contains(&span.bounds(), key.as_bytes()), "{key}");
        }
    }
}
