//! `GET /metrics`: counters, gauges and histograms for Prometheus.
//!
//! ```text
//! $ curl localhost:2379/metrics
//! ```

use axum::extract::Request;
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::HeaderValue;

use super::call::{self, Answer, Call, Content, Tag};
use super::parameters::Parameters;
use super::{State, answer};
use crate::metrics::CONTENT_TYPE;

/// What it takes and answers.
pub(super) const CALL: Call = Call {
    id: "metrics",
    tag: Tag::Operations,
    summary: "Tells counters, gauges and histograms, for Prometheus.",
    about: "",
    query: &[call::TIMEOUT],
    headers: &[],
    body: None,
    answers: &[Answer::ok("The metrics, as OpenMetrics has them.", &[Content::Text(CONTENT_TYPE)])],
    errors: &[],
};

/// The endpoint.
pub(super) async fn metrics(app: State, request: Request) -> Response {
    let result = Parameters::parse(request.uri().query(), &CALL).map(|_| {
        let text = app.handle.metrics().render(&app.handle);
        answer::bytes(StatusCode::OK, HeaderValue::from_static(CONTENT_TYPE), text.into())
    });
    app.answer(result)
}
