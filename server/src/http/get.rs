//! `GET /v1/kv/{key}`: one key, now or as of a revision. `HEAD` is the same without the body.
//!
//! ```text
//! $ curl localhost:2379/v1/kv/greeting
//! {"key":"greeting","value":"hello","create_revision":2,"mod_revision":2,"version":1,"revision":2}
//! $ curl localhost:2379/v1/kv/greeting?raw
//! hello
//! ```
//!
//! With `stat` it is answered by [`super::stat`].

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use kvcore::{KeyValue, Revision};

use super::call::{
    self, Answer, AnswerHeader, Call, Content, Kind, Parameter, RequestHeader, Tag, schema_of,
};
use super::error::{ApiError, ErrorName};
use super::json::{self, Shown};
use super::parameters::Parameters;
use super::{App, State, answer, key, shapes, stat};

/// What it takes and answers.
pub(super) const CALL: Call = Call {
    id: "get",
    tag: Tag::Keys,
    summary: "Reads a key, now or as of a revision.",
    about: "With `raw` the answer is the value alone, with its `mod_revision` as the `ETag`; with `stat`, what \
            ZooKeeper tells of a node.",
    query: &[RAW, stat::STAT, call::REVISION, call::CONSISTENCY, call::TIMEOUT],
    headers: &[RequestHeader {
        name: "If-None-Match",
        pattern: "",
        meaning: "With `raw`: entity tags that the client has already, or `*`.",
    }],
    body: None,
    answers: &[
        Answer::ok(
            "The key and its value, or with `stat` its stat.",
            &[Content::Json(schema_of::<shapes::GetAnswer>), Content::Bytes],
        )
        .with_headers(&[TAG, AT_REVISION, NO_SNIFFING]),
        Answer::ok("With `raw`: the client has this version already.", &[])
            .with_status(304)
            .with_headers(&[TAG, AT_REVISION]),
    ],
    errors: &[call::KEY_ERRORS, call::BARRIER_ERRORS, call::READ_ERRORS, &[ErrorName::KeyNotFound]],
};

const RAW: Parameter = Parameter {
    name: "raw",
    kind: Kind::Flag,
    meaning: "Whether the answer is the bytes of the value alone.",
};
const TAG: AnswerHeader = AnswerHeader {
    name: "ETag",
    pattern: "^\"[0-9]+\"$",
    always: false,
    meaning: "With `raw`: the `mod_revision` of the key, in quotes.",
};
const AT_REVISION: AnswerHeader = AnswerHeader {
    name: "Duorum-Revision",
    pattern: "^[0-9]+$",
    always: false,
    meaning: "With `raw`: the store's revision.",
};
const NO_SNIFFING: AnswerHeader = AnswerHeader {
    name: "X-Content-Type-Options",
    pattern: "^nosniff$",
    always: false,
    meaning: "With `raw`: a browser shall not take a value for a page.",
};

/// Where the answer has no JSON, the store's revision is a header.
const REVISION: HeaderName = HeaderName::from_static("duorum-revision");

/// The endpoint.
pub(super) async fn get(app: State, request: Request) -> Response {
    let result = read(&app, &request.into_parts().0).await;
    app.answer(result)
}

async fn read(app: &Arc<App>, request: &Parts) -> Result<Response, ApiError> {
    let key = key::from_path(&request.uri)?;
    let parameters = Parameters::parse(request.uri.query(), &CALL)?;
    let raw = parameters.flag("raw");
    let at = parameters.revision("revision");
    let stat = parameters.flag("stat");
    if stat && (raw || at.is_some()) {
        return Err(ApiError::parameter(
            "`stat` goes neither with `raw` nor with `revision`: it is JSON, and of the key as it is now",
        ));
    }
    let (consistency, timeout) = (parameters.consistency(), parameters.timeout());
    app.handle.barrier(consistency, timeout).await?;
    app.handle.metrics().ranges.inc();
    if stat {
        return stat::tell(app, key).await;
    }
    let found = app.locate(&key, at)?;
    if raw
        && let Some(mod_revision) = found.located.mod_revision()
        && is_known(&request.headers, mod_revision)
    {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        tag(response.headers_mut(), mod_revision, found.revision);
        return Ok(response);
    }
    let (key_value, revision) = app.fetch(&key, at, found).await?;
    let key_value = key_value.ok_or_else(|| key::not_found(&key, at))?;
    if raw { to_raw(app, key_value, revision) } else { to_json(app, &key_value, revision) }
}

fn to_json(app: &App, key_value: &KeyValue, revision: Revision) -> Result<Response, ApiError> {
    let mut out = Vec::with_capacity(128 + key_value.key.len() + key_value.value.len() * 9 / 8);
    out.push(b'{');
    json::key_value_members(&mut out, key_value, Shown::Whole);
    json::end(&mut out, revision);
    let body = app.budget.read_answer(out.into())?;
    Ok(answer::bytes(StatusCode::OK, answer::JSON, body))
}

fn to_raw(app: &App, key_value: KeyValue, revision: Revision) -> Result<Response, ApiError> {
    let content_type = HeaderValue::from_static("application/octet-stream");
    let value = app.budget.read_answer(key_value.value)?;
    let mut response = answer::bytes(StatusCode::OK, content_type, value);
    // A browser shall not take what somebody stored for a page.
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    tag(response.headers_mut(), key_value.mod_revision, revision);
    Ok(response)
}

fn tag(headers: &mut HeaderMap, mod_revision: Revision, revision: Revision) {
    let etag = HeaderValue::from_str(&format!("\"{mod_revision}\"")).expect("digits and quotes");
    headers.insert(header::ETAG, etag);
    headers.insert(REVISION, HeaderValue::from(revision.0));
}

/// Whether the client says in If-None-Match that it has this version already.
pub(super) fn is_known(headers: &HeaderMap, mod_revision: Revision) -> bool {
    let expected = format!("\"{mod_revision}\"");
    headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
        value.to_str().is_ok_and(|value| {
            value
                .split(',')
                .map(str::trim)
                .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == expected)
        })
    })
}
