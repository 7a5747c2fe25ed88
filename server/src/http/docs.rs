//! `GET /docs`: a page to read and try the API. It needs nothing but this server: no internet.
//!
//! ```text
//! $ xdg-open http://localhost:2379/docs
//! ```

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};

use super::call::{self, Answer, AnswerHeader, Call, Content, Tag};
use super::parameters::Parameters;
use super::{State, answer};

/// What it takes and answers.
pub(super) const CALL: Call = Call {
    id: "docs",
    tag: Tag::Operations,
    summary: "A page to read and try this API.",
    about: "It needs nothing but this server.",
    query: &[call::TIMEOUT],
    headers: &[],
    body: None,
    answers: &[Answer::ok("The page.", &[Content::Text(HTML)]).with_headers(&[AnswerHeader {
        name: "Content-Security-Policy",
        pattern: "",
        always: true,
        meaning: "The page loads nothing from elsewhere, and nobody can frame it.",
    }])],
    errors: &[],
};

const HTML: &str = "text/html; charset=utf-8";
const PAGE: &[u8] = include_bytes!("docs/page.html");
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The endpoint.
pub(super) async fn docs(app: State, request: Request) -> Response {
    let result = Parameters::parse(request.uri().query(), &CALL).map(|_| {
        let page = Bytes::from_static(PAGE);
        let mut response = answer::bytes(StatusCode::OK, HeaderValue::from_static(HTML), page);
        let policy = HeaderValue::from_static(POLICY);
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        response
    });
    app.answer(result)
}
