//! `GET /v1/trace`: what the nodes said to one another and did lately, as data or as a space-time
//! diagram.
//!
//! ```text
//! $ curl localhost:2379/v1/trace
//! $ curl 'localhost:2379/v1/trace?format=mermaid&limit=40'
//! $ curl 'localhost:2379/v1/trace?format=shiviz&messages=all' > trace.log
//! ```
//!
//! The records of all nodes that answer are arranged so that no message arrives before it left. Those
//! of elections are kept for long; those of the daily work (entries, acknowledgements, signs of life)
//! only for a moment, and shown only with `messages=all`.
//!
//! - `ndjson` (the default): a line that says who answered, then a line for each record.
//! - `mermaid`: a sequence diagram for <https://mermaid.live> or a page in Markdown.
//! - `shiviz`: a log with vector clocks for <https://bestchai.bitbucket.io/shiviz/>.

#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod mermaid;
mod ndjson;
mod shiviz;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};

use super::call::{
    self, Answer, AnswerHeader, Call, Content, Kind, Parameter, Tag, schema_of, words,
};
use super::elections::{Answers, answered, ask};
use super::error::{ApiError, ErrorName};
use super::parameters::Parameters;
use super::{App, State, answer};
use crate::node::trace::{self, Placed, TraceDetail, TraceQuestion};

/// The records shown when the request does not say: as many as can be looked at.
const LIMIT_DEFAULT: u64 = 100;
/// The most records that can be asked for.
const LIMIT_MAX: u64 = 2_000;

/// Names the nodes that did not answer, in all formats alike: a log for ShiViz has no place for it.
const UNANSWERED: HeaderName = HeaderName::from_static("duorum-unanswered");

/// How a trace is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Ndjson,
    Mermaid,
    Shiviz,
}

const FORMATS: [(&str, Format); 3] =
    [("ndjson", Format::Ndjson), ("mermaid", Format::Mermaid), ("shiviz", Format::Shiviz)];

/// What it takes and answers.
pub(super) const CALL: Call = Call {
    id: "trace",
    tag: Tag::Protocol,
    summary: "Tells what the nodes did and said lately, as data or as a space-time diagram.",
    about: "The records of all nodes that answer, in an order in which no message arrives before it \
            left. `ndjson` begins with a line that says who answered.",
    query: &[
        Parameter {
            name: "format",
            kind: Kind::Words(&words(&FORMATS)),
            meaning: "Lines of JSON, the default; a sequence diagram of Mermaid; a log for ShiViz.",
        },
        Parameter {
            name: "limit",
            kind: Kind::Number { least: 1, most: LIMIT_MAX },
            meaning: "The most records, the newest; 100 when it is left out.",
        },
        Parameter {
            name: "messages",
            kind: Kind::Words(&words(&DETAILS)),
            meaning: "Which messages are shown: those of elections, the default; all; none.",
        },
        call::SHORT_TIMEOUT,
    ],
    headers: &[],
    body: None,
    answers: &[Answer::ok(
        "The trace.",
        &[
            Content::Lines("application/x-ndjson", schema_of::<ndjson::TraceLine<'_>>),
            Content::Text(TEXT),
        ],
    )
    .with_headers(&[AnswerHeader {
        name: "Duorum-Unanswered",
        pattern: "^[0-9]+(,[0-9]+)*$",
        always: false,
        meaning: "The nodes that did not answer.",
    }])],
    errors: &[&[ErrorName::Overloaded]],
};

/// The media type of what is drawn.
const TEXT: &str = "text/plain; charset=utf-8";

const DETAILS: [(&str, TraceDetail); 3] = [
    ("election", TraceDetail::Elections),
    ("all", TraceDetail::Everything),
    ("none", TraceDetail::Events),
];

/// What is shown.
struct Shown<'a> {
    answers: &'a Answers,
    placed: Vec<Placed>,
    /// How many records of the kind asked for are older, as far as the nodes that answered know.
    earlier: u64,
    revision: u64,
    protocol: &'static str,
}

/// The endpoint.
pub(super) async fn trace(app: State, request: Request) -> Response {
    let result = tell(&app, &request.into_parts().0).await;
    app.answer(result)
}

async fn tell(app: &App, request: &Parts) -> Result<Response, ApiError> {
    refuse_pictures(request.uri.query())?;
    let parameters = Parameters::parse(request.uri.query(), &CALL)?;
    let (format, question) = parse(&parameters);
    let answers = ask(app, &parameters, question).await?;
    let (revision, protocol) = (app.revision().0, app.handle.facts().protocol.name());
    let shown = Shown::new(&answers, question.limit, revision, protocol);
    let (content_type, body) = shown.write(format);
    let silent: Vec<String> = shown.silent().map(|node| node.to_string()).collect();
    let silent = (!silent.is_empty()).then(|| silent.join(","));
    let body = app.budget.read_answer(body.into())?;
    let mut response = answer::bytes(StatusCode::OK, HeaderValue::from_static(content_type), body);
    // Numbers and commas are always a header.
    if let Some(silent) = silent.and_then(|silent| HeaderValue::from_str(&silent).ok()) {
        response.headers_mut().insert(UNANSWERED, silent);
    }
    Ok(response)
}

/// What is asked for, and how it is to be written.
fn parse(parameters: &Parameters) -> (Format, TraceQuestion) {
    let format = parameters.choice("format", &FORMATS).unwrap_or(Format::Ndjson);
    let limit = parameters.number("limit").unwrap_or(LIMIT_DEFAULT);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let detail = parameters.choice("messages", &DETAILS).unwrap_or(TraceDetail::Elections);
    (format, TraceQuestion { detail, limit })
}

/// Says of the format of the API that this version does not have that it is no mistake to ask for it.
fn refuse_pictures(query: Option<&str>) -> Result<(), ApiError> {
    if !query.unwrap_or_default().split('&').any(|part| part == "format=svg") {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorName::UnsupportedParameter,
        format!(
            "`format` is `svg`, which this version does not draw; allowed: {}. Mermaid makes a \
             picture of its format",
            words(&FORMATS).join(", ")
        ),
    ))
}

impl<'a> Shown<'a> {
    /// The newest records of all that answered.
    fn new(answers: &'a Answers, limit: usize, revision: u64, protocol: &'static str) -> Self {
        let traces = answered(answers);
        let placed = trace::arrange(&traces, limit);
        let sent: usize = traces.values().map(|trace| trace.records.len()).sum();
        let forgotten = traces.values().map(|trace| trace.earlier).fold(0, u64::saturating_add);
        let earlier = forgotten.saturating_add((sent - placed.len()) as u64);
        Self { answers, placed, earlier, revision, protocol }
    }

    /// The answer and its type.
    fn write(&self, format: Format) -> (&'static str, Vec<u8>) {
        match format {
            Format::Ndjson => ("application/x-ndjson", ndjson::write(self)),
            Format::Mermaid => (TEXT, mermaid::write(self).into_bytes()),
            Format::Shiviz => (TEXT, shiviz::write(self).into_bytes()),
        }
    }

    /// The numbers of the nodes that did not answer.
    fn silent(&self) -> impl Iterator<Item = u64> {
        let silent = self.answers.iter().filter(|(_, trace)| trace.is_none());
        silent.map(|(node, _)| node.0)
    }

    /// Milliseconds since the first record shown of the same boot, of each record.
    fn since_first(&self) -> Vec<f64> {
        let mut first = std::collections::BTreeMap::new();
        let axis = |placed: &Placed| {
            let trace = self.answers.get(&placed.node).and_then(Option::as_ref);
            let boot = trace.and_then(|trace| trace.boot.clone());
            let alone = boot.is_none().then_some(placed.node);
            (boot, alone)
        };
        for placed in &self.placed {
            let time = placed.record.time;
            let first = first.entry(axis(placed)).or_insert(time);
            *first = (*first).min(time);
        }
        let since = |placed: &Placed| placed.record.time.since(first[&axis(placed)]);
        self.placed.iter().map(|placed| super::elections::milliseconds(since(placed))).collect()
    }
}
