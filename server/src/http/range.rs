//! `GET /v1/kv?prefix=…` and `GET /v1/kv?from=…&to=…`: many keys, in pages.
//!
//! ```text
//! $ curl 'localhost:2379/v1/kv?prefix=jobs/&limit=1'
//! {"kvs":[{"key":"jobs/1","value":"…","create_revision":2,"mod_revision":2,"version":1}],"count":3,"more":true,"next":"7.2.am9icy8y","revision":7}
//! $ curl 'localhost:2379/v1/kv?prefix=jobs/&limit=1&cursor=7.2.am9icy8y'
//! ```
//!
//! A page ends at its limit or at 8 MiB; `more` says so, and `next` is where to go on.
//! `count` is the number of matches whatever the limit; with a cursor, from there on. A cursor
//! remembers the revision of the first page, so all pages together are the keys of one moment, and how
//! many keys are left, so only the first page counts them.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use hyper::StatusCode;
use kvcore::{Keys, Order, Range, RangeResult, Revision, SortBy};

use super::call::{self, Answer, Call, Content, Kind, Parameter, Tag, kind, schema_of, words};
use super::error::{ApiError, ErrorName};
use super::json::{self, Shown};
use super::parameters::Parameters;
use super::{App, State, answer, shapes};

/// What it takes and answers.
pub(super) const CALL: Call = Call {
    id: "range",
    tag: Tag::Keys,
    summary: "Reads many keys, in pages.",
    about: "All keys, or those of `prefix`, or from `from` to `to`. A page ends at its limit or at \
            8 MiB; then `more` is true and `next` is the `cursor` of the next page. All pages \
            together are the keys of one revision.",
    query: &[
        call::PREFIX,
        call::FROM,
        call::TO,
        LIMIT,
        CURSOR,
        ORDER,
        SORT,
        KEYS_ONLY,
        COUNT_ONLY,
        call::REVISION,
        call::CONSISTENCY,
        call::TIMEOUT,
    ],
    headers: &[],
    body: None,
    answers: &[Answer::ok("A page of keys.", &[Content::Json(schema_of::<shapes::RangePage>)])],
    errors: &[call::BARRIER_ERRORS, call::READ_ERRORS, &[ErrorName::KeyTooLarge]],
};

const LIMIT: Parameter = Parameter {
    name: "limit",
    kind: Kind::Number { least: 1, most: LIMIT_MAX },
    meaning: "The most keys of a page; 1000 when it is left out.",
};
const CURSOR: Parameter = Parameter {
    name: "cursor",
    kind: Kind::Token {
        pattern: r"^[0-9]*[1-9][0-9]*\.[0-9]*[1-9][0-9]*\.[A-Za-z0-9_-]*$",
        allowed: "what the page before gave as `next`, unchanged",
        parses: |text| Cursor::parse(text).is_some(),
    },
    meaning: "Where to go on: what the page before gave as `next`. Only with the same keys and order, \
              and with `sort=key`.",
};
const ORDER: Parameter = Parameter {
    name: "order",
    kind: Kind::Words(&words(&ORDERS)),
    meaning: "Ascending, the default, or descending.",
};
const SORT: Parameter = Parameter {
    name: "sort",
    kind: Kind::Words(&words(&SORTS)),
    meaning: "What to sort by; `key` when it is left out.",
};
const KEYS_ONLY: Parameter =
    Parameter { name: "keys_only", kind: Kind::Flag, meaning: "Whether to leave the values out." };
const COUNT_ONLY: Parameter = Parameter {
    name: "count_only",
    kind: Kind::Flag,
    meaning: "Whether to tell only how many keys there are.",
};

const ORDERS: [(&str, Order); 2] = [("asc", Order::Ascending), ("desc", Order::Descending)];
const SORTS: [(&str, SortBy); 5] = [
    ("key", SortBy::Key),
    ("version", SortBy::Version),
    ("create_revision", SortBy::CreateRevision),
    ("mod_revision", SortBy::ModRevision),
    ("value", SortBy::Value),
];

/// The most keys of a page when the request does not say.
const LIMIT_DEFAULT: u64 = 1000;
/// The most keys of a page.
const LIMIT_MAX: u64 = 10_000;
/// The bytes of keys and values that end a page, whatever its limit: nobody shall need an answer
/// that a node can not hold.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// The endpoint.
pub(super) async fn range(app: State, request: Request) -> Response {
    let result = many(&app, &request.into_parts().0).await;
    app.answer(result)
}

async fn many(app: &Arc<App>, request: &Parts) -> Result<Response, ApiError> {
    let parameters = Parameters::parse(request.uri.query(), &CALL)?;
    let range = parse(&parameters)?;
    app.handle.barrier(parameters.consistency(), parameters.timeout()).await?;
    app.handle.metrics().ranges.inc();
    let body = match app.read_range_at_once(&range, PAGE_BYTES_MAX)? {
        Some((result, revision)) => to_json(&range, &result, revision),
        None => {
            let read = move |app: &App| {
                let (result, revision) = app.read_range(&range, PAGE_BYTES_MAX)?;
                Ok::<_, ApiError>(to_json(&range, &result, revision))
            };
            app.off_thread(read).await??
        }
    };
    let body = app.budget.read_answer(body.into())?;
    Ok(answer::bytes(StatusCode::OK, answer::JSON, body))
}

pub(super) fn parse(parameters: &Parameters) -> Result<Range, ApiError> {
    let sort = parameters.choice("sort", &SORTS).unwrap_or_default();
    let order = parameters.choice("order", &ORDERS).unwrap_or_default();
    let limit = parameters.number("limit").unwrap_or(LIMIT_DEFAULT);
    let mut range = Range {
        at: parameters.revision("revision"),
        limit: Some(usize::try_from(limit).expect("within its bounds")),
        order,
        sort,
        keys_only: parameters.flag("keys_only"),
        count_only: parameters.flag("count_only"),
        ..Range::of(parameters.keys()?.unwrap_or_else(Keys::all))
    };
    if let Some(text) = parameters.text("cursor") {
        if sort != SortBy::Key {
            return Err(ApiError::parameter(
                "`cursor` goes only with `sort=key`, which is the default",
            ));
        }
        let cursor = Cursor::parse(&text).expect("a cursor was checked to be one");
        if range.at.is_some_and(|at| at != cursor.at) {
            return Err(ApiError::parameter(format!(
                "`cursor` continues a read at revision {}, but `revision` is another one; leave \
                 `revision` out",
                cursor.at
            )));
        }
        range.at = Some(cursor.at);
        range.cursor = Some(cursor.key);
        range.count = Some(cursor.left);
    }
    Ok(range)
}

/// Where to go on: the revision that is being read, how many keys are left, and the first of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    at: Revision,
    left: u64,
    key: Bytes,
}

impl Cursor {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let positive = |text: &str| kind::number(text.as_bytes()).filter(|number| *number > 0);
        let (at, rest) = text.split_once('.')?;
        let (left, key) = rest.split_once('.')?;
        let key = BASE64.decode(key).ok()?.into();
        Some(Self { at: Revision(positive(at)?), left: positive(left)?, key })
    }

    pub(super) fn text(&self) -> String {
        format!("{}.{}.{}", self.at, self.left, BASE64.encode(&self.key))
    }
}

fn to_json(range: &Range, result: &RangeResult, revision: Revision) -> Vec<u8> {
    let bytes: usize =
        result.key_values.iter().map(|item| 96 + item.key.len() + item.value.len()).sum();
    let mut out = Vec::with_capacity(128 + bytes);
    let parts = if range.keys_only { Shown::WithoutValue } else { Shown::Whole };
    out.extend_from_slice(b"{\"kvs\":");
    json::key_values(&mut out, &result.key_values, parts);
    json::number_field(&mut out, "count", result.count);
    json::field(&mut out, "more");
    json::boolean(&mut out, result.more);
    if let Some(key) = &result.next {
        // A cursor that was not taken from a page unchanged may say anything.
        let left = result.count.saturating_sub(result.key_values.len() as u64).max(1);
        let next = Cursor { at: result.at, left, key: key.clone() };
        json::field(&mut out, "next");
        json::string(&mut out, &next.text());
    }
    json::end(&mut out, revision);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_and_nothing_else_is_one() {
        let cursor = Cursor { at: Revision(7), left: 5, key: Bytes::from_static(b"a/\xFF?") };
        assert_eq!(Cursor::parse(&cursor.text()), Some(cursor));
        let texts = ["", "7", "7.", "7.5", "7.5.", "0.5.YQ", "x.5.YQ", "7.0.YQ", "7.-1.YQ", "7.YQ"];
        for text in texts.into_iter().chain(["7.5.Y", "7.5.a b"]) {
            let parsed = Cursor::parse(text);
            assert_eq!(parsed.is_some(), text == "7.5.", "{text}: {parsed:?}");
        }
    }

    #[test]
    fn a_cursor_can_not_be_combined_with_another_order_or_revision() {
        let parse = |query| parse(&Parameters::parse(Some(query), &CALL).expect("a query"));
        assert!(parse("cursor=7.5.YQ").is_ok());
        assert!(parse("cursor=7.5.YQ&revision=7").is_ok());
        assert!(parse("cursor=7.5.YQ&revision=8").is_err());
        assert!(parse("cursor=7.5.YQ&sort=value").is_err());
    }
}
