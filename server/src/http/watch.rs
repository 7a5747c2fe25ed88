//! `GET /v1/watch?key=…` or `?prefix=…`: every change from a revision on, as it happens.
//!
//! ```text
//! $ curl -N 'localhost:2379/v1/watch?prefix=jobs/'
//! {"revision":7,"started":true}
//! {"revision":8,"events":[{"type":"put","kv":{"key":"jobs/4","value":"…","create_revision":8,"mod_revision":8,"version":1}}]}
//! ```
//!
//! A line is one whole revision: one event, or as many as a deletion of many keys deleted, which is
//! at most 10,000. With `prev` the events of one revision tell what was there before up to 32 MiB;
//! the others can be read at the revision before.
//!
//! Without `from_revision` the watch begins after a read barrier, and
//! its first line says where. `Accept: text/event-stream` gives the same lines as server-sent
//! events, whose id is the revision: a browser that lost its connection goes on where it was. The
//! error that ends a watch is then an event `error`. A stream that was silent for 15 seconds sends a
//! comment with the id that it has come to, which a browser remembers without telling its page.
//!
//! A watch is a revision from which it goes on, and nothing else: what a slow client has not taken
//! yet is not kept for it but read when it is taken. So it holds up no write and grows no memory;
//! at worst it falls behind compaction and ends with `compacted`. A client that takes nothing at all
//! for a minute while there is something to take loses its connection, and goes on with a new one.

mod once;
mod stream;

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use hyper::HeaderMap;
use hyper::header::{self, HeaderValue};
use kvcore::{Keys, Located, Revision, WatchFilter};
use tokio::sync::mpsc;

use self::once::{Once, Shot};
use self::stream::{Lines, StreamBody, Watcher};
use super::call::{
    self, Answer, AnswerHeader, Call, Content, Kind, Parameter, RequestHeader, Tag, kind,
    schema_of, words,
};
use super::error::{ApiError, ErrorName};
use super::lull::Lull;
use super::parameters::{Parameters, excerpt};
use super::{State, shapes};

/// What it takes and answers.
pub(super) const CALL: Call = Call {
    id: "watch",
    tag: Tag::Keys,
    summary: "Tells every change from a revision on, as it happens.",
    about: "The stream goes on until the client ends it. The first line is `started`; then a line is \
            all that was done at one revision. A watch that can not go on, because its history was \
            compacted or the node stops, ends with an error. With `Accept: text/event-stream` the \
            same objects come as server-sent events: the id of each is its revision, the error comes \
            as an event `error`, and what is silent for 15 seconds says so, in a comment.",
    query: &[
        KEY,
        call::PREFIX,
        call::FROM,
        call::TO,
        FROM_REVISION,
        FILTER,
        PREV,
        PROGRESS,
        ONCE,
        call::CONSISTENCY,
        call::TIMEOUT,
    ],
    headers: &[RequestHeader {
        name: "Last-Event-ID",
        pattern: "^[0-9]+$",
        meaning: "The watch goes on after this revision, whatever `from_revision` says. A browser \
                  sends it by itself when it connects again.",
    }],
    body: None,
    answers: &[Answer::ok(
        "The stream.",
        &[
            Content::Lines("application/x-ndjson", schema_of::<shapes::WatchLine>),
            Content::Lines("text/event-stream", schema_of::<shapes::WatchLine>),
        ],
    )
    .with_headers(&[AnswerHeader {
        name: "Cache-Control",
        pattern: "^no-store$",
        always: true,
        meaning: "A stream is not to be kept.",
    }])],
    errors: &[call::KEY_ERRORS, call::BARRIER_ERRORS, &[ErrorName::KeyNotFound]],
};

const KEY: Parameter = Parameter {
    name: "key",
    kind: Kind::Key,
    meaning: "This key alone. Not together with `prefix`, `from` or `to`; without any of them all \
              keys are watched.",
};
const FROM_REVISION: Parameter = Parameter {
    name: "from_revision",
    kind: Kind::Number { least: 1, most: u64::MAX },
    meaning: "The first revision to tell of, past or future; the next one when it is left out.",
};
const FILTER: Parameter = Parameter {
    name: "filter",
    kind: Kind::Words(&words(&FILTERS)),
    meaning: "Only puts, or only deletions.",
};
const PREV: Parameter = Parameter {
    name: "prev",
    kind: Kind::Flag,
    meaning: "Whether events tell what was there before, up to 32 MiB for a revision.",
};
const PROGRESS: Parameter = Parameter {
    name: "progress",
    kind: Kind::Duration { least: PROGRESS_MIN, most: PROGRESS_MAX },
    meaning: "How often a silent stream tells how far it is, from 100ms to 1h; never when it is left \
              out.",
};
const ONCE: Parameter = Parameter {
    name: "once",
    kind: Kind::Words(&words(&once::SHOTS)),
    meaning: "ZooKeeper's one-shot watch: one event, without the value, and the stream ends. With \
              `exists`, `data` or `children` it is what ZooKeeper's calls of these names set, on the \
              key of `key`.",
};

/// Whether puts and deletions are told, by the words for it.
const FILTERS: [(&str, (bool, bool)); 2] = [("put", (true, false)), ("delete", (false, true))];

/// How often a client may ask for bookmarks.
const PROGRESS_MIN: Duration = Duration::from_millis(100);
/// How seldom.
const PROGRESS_MAX: Duration = Duration::from_secs(3600);

/// The endpoint.
pub(super) async fn watch(app: State, request: Request) -> Response {
    let result = begin(&app, &request.into_parts().0).await;
    app.answer(result)
}

async fn begin(app: &State, request: &Parts) -> Result<Response, ApiError> {
    let parameters = Parameters::parse(request.uri.query(), &CALL)?;
    let headers = &request.headers;
    let lines = if accepts_events(headers) { Lines::ServerSentEvents } else { Lines::Json };
    let filter = parse_filter(&parameters)?;
    let shot = parameters.choice("once", &once::SHOTS).unwrap_or(Shot::Never);
    let data_of = match &filter.keys {
        Keys::One(key) if shot == Shot::Data => Some(key.clone()),
        _ => None,
    };
    let (once, keys) = Once::of(shot, filter.keys)?;
    let filter = WatchFilter { keys, ..filter };
    let progress = parameters.duration("progress");
    let (consistency, timeout) = (parameters.consistency(), parameters.timeout());
    let asked = match last_event_id(headers)? {
        // A browser repeats the query of the first time, so what it saw last counts more.
        Some(seen) => Some(Revision(seen.saturating_add(1))),
        None => parameters.revision("from_revision"),
    };
    let started = match asked {
        Some(_) => app.revision(),
        None => {
            app.handle.barrier(consistency, timeout).await?;
            app.revision()
        }
    };
    if let Some(key) = data_of {
        let machine = app.handle.machine().read().expect("no holder of the machine panics");
        if matches!(machine.locate(&key, None), Ok(Located::Absent)) {
            return Err(once::no_data());
        }
    }
    let next = asked.unwrap_or(Revision(started.0 + 1));
    let (sender, receiver) = mpsc::channel(1);
    let (app, lull) = (app.0.clone(), Lull::default());
    let watcher = Watcher { app, filter, next, once, progress, lines, lull, sender };
    tokio::spawn(watcher.run(started));
    let mut response = Response::new(Body::new(StreamBody::new(receiver)));
    let content_type = match lines {
        Lines::Json => HeaderValue::from_static("application/x-ndjson"),
        Lines::ServerSentEvents => HeaderValue::from_static("text/event-stream"),
    };
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

pub(super) fn parse_filter(parameters: &Parameters) -> Result<WatchFilter, ApiError> {
    let keys = match (parameters.bytes("key"), parameters.keys()?) {
        (Some(_), Some(_)) => {
            return Err(ApiError::parameter(
                "`key` is given together with `prefix`, `from` or `to`; give one of them",
            ));
        }
        (Some(key), None) if key.is_empty() => {
            return Err(ApiError::new(
                ErrorName::KeyEmpty,
                "`key` is empty; to watch all keys, leave it out",
            ));
        }
        (Some(key), None) => Keys::One(key),
        (None, keys) => keys.unwrap_or_else(Keys::all),
    };
    let (puts, deletes) = parameters.choice("filter", &FILTERS).unwrap_or((true, true));
    Ok(WatchFilter { keys, puts, deletes, previous: parameters.flag("prev") })
}

pub(super) fn accepts_events(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|value| {
        value.to_str().is_ok_and(|value| value.to_ascii_lowercase().contains("text/event-stream"))
    })
}

pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let parsed = Some(value.as_bytes()).filter(|value| !value.is_empty()).and_then(kind::number);
    parsed.map(Some).ok_or_else(|| {
        ApiError::parameter(format!(
            "the header Last-Event-ID is `{}`; allowed: the id of an event of this watch, a \
             revision",
            excerpt(value.as_bytes())
        ))
    })
}
