//! ZooKeeper's one-shot watches: one event, without the value, and the stream ends. What happens until
//! another one is set, nobody is told.
//!
//! | `once=` | ends with | ZooKeeper |
//! |---|---|---|
//! | nothing | the first change of the keys that are watched | |
//! | `exists` | the key was created, stored again or deleted | `exists` |
//! | `data` | the same of a key that there is; of another the watch is refused | `getData` |
//! | `children` | a key directly below was created or deleted, or the key itself was deleted | `getChildren` |
//!
//! The children of `a` are `a/b` and `a/c`, and not `a/b/c`.

use bytes::Bytes;
use kvcore::family::{parent_of, with_descendants};
use kvcore::{Event, EventKind, Keys};

use crate::http::error::{ApiError, ErrorName};

/// What a one-shot watch waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Once {
    /// Any change that the filter lets through.
    Any,
    /// A child of this key is created or deleted, or the key itself deleted.
    Children(Bytes),
}

/// The kinds, by the words for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shot {
    Never,
    Any,
    Exists,
    Data,
    Children,
}

pub(super) const SHOTS: [(&str, Shot); 8] = [
    ("", Shot::Any),
    ("true", Shot::Any),
    ("1", Shot::Any),
    ("false", Shot::Never),
    ("0", Shot::Never),
    ("exists", Shot::Exists),
    ("data", Shot::Data),
    ("children", Shot::Children),
];

impl Shot {
    /// Whether it is about one key and what that is to ZooKeeper.
    fn is_of_one_key(self) -> bool {
        matches!(self, Self::Exists | Self::Data | Self::Children)
    }
}

impl Once {
    /// What is waited for, and the keys that have to do with it.
    pub(super) fn of(shot: Shot, keys: Keys) -> Result<(Option<Self>, Keys), ApiError> {
        let key = match keys {
            Keys::One(key) if shot == Shot::Children => key,
            Keys::One(_) => return Ok((shot.waits(), keys)),
            _ if shot.is_of_one_key() => {
                return Err(ApiError::parameter(
                    "`once=exists`, `once=data` and `once=children` are about one key; give it as \
                     `key`, and no `prefix`, `from` or `to`",
                ));
            }
            _ => return Ok((shot.waits(), keys)),
        };
        Ok((Some(Self::Children(key.clone())), with_descendants(key)))
    }

    /// Whether an event is what is waited for.
    pub(super) fn is_met_by(&self, event: &Event) -> bool {
        let Self::Children(parent) = self else { return true };
        let (key, is_deleted) = (&event.key_value.key, event.kind == EventKind::Delete);
        if key == parent {
            return is_deleted;
        }
        parent_of(key) == Some(parent) && (is_deleted || event.key_value.version == 1)
    }
}

impl Shot {
    fn waits(self) -> Option<Once> {
        (self != Self::Never).then_some(Once::Any)
    }
}

/// The refusal of a watch on the data of a key that there is not.
pub(super) fn no_data() -> ApiError {
    ApiError::new(
        ErrorName::KeyNotFound,
        "the key does not exist, so there is no data to watch; to hear of its creation, give \
         `once=exists`",
    )
}

#[cfg(test)]
mod tests {
    use kvcore::{KeyValue, Revision};

    use super::*;

    fn event(key: &'static str, version: u64) -> Event {
        let kind = if version == 0 { EventKind::Delete } else { EventKind::Put };
        let key_value = KeyValue {
            key: key.into(),
            value: Bytes::new(),
            create_revision: Revision(2),
            mod_revision: Revision(3),
            version,
            lease: None,
        };
        Event { kind, key_value, previous: None }
    }

    #[test]
    fn children_are_created_and_deleted_and_nothing_else_counts() {
        for (parent, key, version, is_met) in [
            ("a", "a/b", 1, true),
            ("a", "a/b", 2, false),
            ("a", "a/b", 0, true),
            ("a", "a/b/c", 1, false),
            ("a", "a/", 1, false),
            ("a", "a", 0, true),
            ("a", "a", 1, false),
            ("a", "a-b", 1, false),
            ("/", "/a", 1, true),
            ("/", "/a/b", 1, false),
            ("/", "//", 0, false),
        ] {
            let (once, keys) = Once::of(Shot::Children, Keys::One(parent.into())).expect("one key");
            let once = once.expect("it is one-shot");
            assert!(keys.contains(key.as_bytes()), "{key}");
            assert_eq!(once.is_met_by(&event(key, version)), is_met, "{key} of version {version}");
            assert!(!keys.contains(b"a0") && !keys.contains(b"b"));
        }
    }

    #[test]
    fn what_is_of_one_key_takes_no_other_selection() {
        for shot in [Shot::Exists, Shot::Data, Shot::Children] {
            assert!(Once::of(shot, Keys::all()).is_err(), "{shot:?}");
            assert!(Once::of(shot, Keys::One("a".into())).is_ok(), "{shot:?}");
        }
        assert_eq!(Once::of(Shot::Any, Keys::all()), Ok((Some(Once::Any), Keys::all())));
        assert_eq!(Once::of(Shot::Never, Keys::all()), Ok((None, Keys::all())));
    }
}
