//! What a write replaced or deleted, for an answer to `?prev`.
//!
//! The write has happened by then: whatever goes wrong here is told beside its success, never as an
//! error. `prev_unavailable` says how many of the previous values are left out of the answer, and
//! why.

use std::sync::Arc;

use axum::response::Response;
use hyper::StatusCode;
use kvcore::store::StoreError;
use kvcore::{FetchError, KeyValue, Located};

use super::json::{self, Shown};
use super::{App, answer};

/// The bytes of previous keys and values after which the rest is left out.
pub(super) const BYTES_MAX: usize = 8 << 20;
/// Up to so many rows are fetched at once when they are in memory.
const INLINE_ROWS_MAX: usize = 64;

/// The previous keys as far as they can be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Previous {
    key_values: Vec<KeyValue>,
    /// How many there were besides, and why the first of them is left out.
    missing: Option<(usize, Missing)>,
}

/// Why a key is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// A compaction removed it before it was fetched.
    Compacted,
    /// The store could not be read.
    StoreFailed(String),
    /// There is more than an answer may hold.
    TooLarge,
    /// There is no room for it just now.
    Overloaded,
}

impl Missing {
    /// In a word.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Compacted => "compacted",
            Self::StoreFailed(_) => "store_failed",
            Self::TooLarge => "too_large",
            Self::Overloaded => "overloaded",
        }
    }

    /// In a clause.
    pub(super) fn cause(&self) -> String {
        match self {
            Self::Compacted => "a compaction that followed at once removed it".to_owned(),
            Self::StoreFailed(error) => format!("this node can not read its store: {error}"),
            Self::TooLarge => format!("an answer holds at most {BYTES_MAX} bytes of it"),
            Self::Overloaded => "this node has no memory to spare for it just now".to_owned(),
        }
    }

    /// In a sentence, of what was there before a write.
    pub(super) fn message(&self) -> String {
        let cause = self.cause();
        format!("the write was done, but not all that was there before can be told: {cause}")
    }
}

impl Previous {
    /// Collects what is fetched, up to so many bytes, of which what it takes is taken off.
    pub(super) fn collect(
        fetched: impl ExactSizeIterator<Item = Result<Option<KeyValue>, FetchError>>,
        room: &mut usize,
    ) -> Self {
        let mut previous = Self::default();
        let mut left = fetched.len();
        for fetched in fetched {
            if *room == 0 {
                previous.miss(left, Missing::TooLarge);
                return previous;
            }
            match fetched {
                Ok(Some(key_value)) => {
                    *room = room.saturating_sub(key_value.key.len() + key_value.value.len());
                    previous.key_values.push(key_value);
                }
                Ok(None) => {}
                Err(FetchError::Vanished(_)) => previous.miss(1, Missing::Compacted),
                Err(FetchError::Store(StoreError(error))) => {
                    tracing::error!("the store can not be read: {error}");
                    previous.miss(left, Missing::StoreFailed(error));
                    return previous;
                }
            }
            left -= 1;
        }
        previous
    }

    fn miss(&mut self, count: usize, why: Missing) {
        let (missing, _) = self.missing.get_or_insert((0, why));
        *missing += count;
    }

    /// So many keys that can not be told.
    pub(super) fn unavailable(count: usize, why: Missing) -> Self {
        let mut nothing = Self::default();
        if count > 0 {
            nothing.miss(count, why);
        }
        nothing
    }

    /// Leaves everything out.
    pub(super) fn without_values(mut self) -> Self {
        let count = self.key_values.len();
        self.key_values = Vec::new();
        if count > 0 {
            self.miss(count, Missing::Overloaded);
        }
        self
    }

    /// The previous keys that can be told.
    pub(super) fn key_values(&self) -> &[KeyValue] {
        &self.key_values
    }

    /// How many keys are left out, and why the first of them is.
    pub(super) fn missing(&self) -> Option<&(usize, Missing)> {
        self.missing.as_ref()
    }

    /// Appends `,"prev_unavailable":{…}` if there is something to say.
    pub(super) fn missing_member(&self, out: &mut Vec<u8>) {
        let Some((count, why)) = &self.missing else { return };
        json::field(out, "prev_unavailable");
        out.extend_from_slice(b"{\"reason\":");
        json::string(out, why.reason());
        json::number_field(out, "count", *count as u64);
        json::field(out, "message");
        json::string(out, &why.message());
        out.push(b'}');
    }

    /// Appends `,"prev":…` of a write of one key, or why there is none.
    pub(super) fn one_member(&self, out: &mut Vec<u8>) {
        if self.missing.is_none() {
            json::field(out, "prev");
            json::key_value_or_null(out, self.key_values.first(), Shown::Whole);
        }
        self.missing_member(out);
    }

    /// Appends `,"prev_kvs":[…]` of a write of many keys, and why some are left out.
    pub(super) fn many_member(&self, out: &mut Vec<u8>) {
        json::field(out, "prev_kvs");
        json::key_values(out, &self.key_values, Shown::Whole);
        self.missing_member(out);
    }
}

impl App {
    /// Fetches what a write replaced.
    pub(super) async fn fetch_previous(self: &Arc<Self>, located: Vec<Located>) -> Previous {
        let in_memory = |located: &Located| !matches!(located, Located::Stored(_));
        if located.len() <= INLINE_ROWS_MAX && located.iter().all(in_memory) {
            return self.fetch_all(located);
        }
        let count = located.len();
        self.off_thread(move |app| app.fetch_all(located)).await.unwrap_or_else(|error| {
            Previous::unavailable(count, Missing::StoreFailed(error.message))
        })
    }

    fn fetch_all(&self, located: Vec<Located>) -> Previous {
        let store = &*self.handle.store();
        let fetched = located.into_iter().map(|located| located.fetch(store));
        Previous::collect(fetched, &mut { BYTES_MAX })
    }

    /// The answer to a write with its previous keys; without them when there is no room for it.
    pub(super) fn answer_with_previous(
        &self,
        status: StatusCode,
        previous: Option<Previous>,
        to_json: impl Fn(Option<&Previous>) -> Vec<u8>,
    ) -> Response {
        let body = to_json(previous.as_ref());
        let body = self.budget.answer(body.into()).unwrap_or_else(|| {
            let shorter = previous.map(Previous::without_values);
            to_json(shorter.as_ref()).into()
        });
        answer::bytes(status, answer::JSON, body)
    }
}

#[cfg(test)]
mod tests {
    use kvcore::Revision;
    use kvcore::store::RowId;

    use super::*;

    fn found(bytes: usize) -> Result<Option<KeyValue>, FetchError> {
        let (key, value) = ("k".into(), vec![b'v'; bytes].into());
        let (create_revision, mod_revision) = (Revision(2), Revision(2));
        Ok(Some(KeyValue { key, value, create_revision, mod_revision, version: 1, lease: None }))
    }

    fn vanished() -> Result<Option<KeyValue>, FetchError> {
        Err(FetchError::Vanished(RowId { revision: Revision(2), place: 0 }))
    }

    fn told(fetched: Vec<Result<Option<KeyValue>, FetchError>>) -> (usize, serde_json::Value) {
        let previous = Previous::collect(fetched.into_iter(), &mut { BYTES_MAX });
        let mut out = b"{\"x\":0".to_vec();
        previous.missing_member(&mut out);
        out.push(b'}');
        let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        (previous.key_values.len(), json["prev_unavailable"].clone())
    }

    #[test]
    fn what_is_there_is_told_and_what_is_not_is_counted_with_its_reason() {
        assert_eq!(told(vec![]), (0, serde_json::Value::Null));
        assert_eq!(told(vec![Ok(None)]), (0, serde_json::Value::Null));
        assert_eq!(told(vec![found(1), found(2)]), (2, serde_json::Value::Null));
        let (count, json) = told(vec![found(1), vanished(), found(1), vanished()]);
        assert_eq!((count, &json["reason"], &json["count"]), (2, &"compacted".into(), &2.into()));
        let broken = || Err(FetchError::Store(StoreError("torn page".to_owned())));
        let (count, json) = told(vec![found(1), broken(), found(1)]);
        assert_eq!(
            (count, &json["reason"], &json["count"]),
            (1, &"store_failed".into(), &2.into())
        );
        let message = json["message"].as_str().expect("text");
        assert!(message.contains("the write was done") && message.contains("torn page"));
        let (count, json) = told((0..12).map(|_| found(1 << 20)).collect());
        assert_eq!((count, &json["reason"], &json["count"]), (8, &"too_large".into(), &4.into()));
    }

    #[test]
    fn without_its_values_it_says_how_many_there_were() {
        let fetched = vec![found(1), vanished(), found(1)].into_iter();
        let previous = Previous::collect(fetched, &mut { BYTES_MAX }).without_values();
        assert_eq!(previous.key_values, vec![]);
        assert_eq!(previous.missing, Some((3, Missing::Compacted)));
        let nothing = Previous::collect(vec![].into_iter(), &mut { BYTES_MAX });
        assert_eq!(nothing.without_values(), Previous::default());
        let none = Previous::collect(vec![found(1), found(1)].into_iter(), &mut 0);
        assert_eq!(none.missing, Some((2, Missing::TooLarge)));
    }
}
