//! Ending a lease before its time.

use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use hyper::StatusCode;
use kvcore::{Command, LeaseCommand, Outcome};

use super::super::call::{self, Answer, Call, Content, Tag, schema_of};
use super::super::error::{ApiError, ErrorName};
use super::super::parameters::{Parameters, idempotency_key};
use super::super::{App, State, answer, json, shapes, write};
use super::from_path;
use crate::node::handle::Written;

/// What it takes and answers.
pub(in crate::http) const REVOKE: Call = Call {
    id: "revoke_lease",
    tag: Tag::Leases,
    summary: "Ends a lease and deletes its keys, all in one revision.",
    about: "",
    query: &[call::TIMEOUT],
    headers: &[call::IDEMPOTENCY_KEY],
    body: None,
    answers: &[Answer::ok(
        "The lease is gone, and its keys with it.",
        &[Content::Json(schema_of::<shapes::LeaseEnded>)],
    )
    .with_headers(&[call::REPLAYED])],
    errors: &[call::WRITE_ERRORS, &[ErrorName::LeaseNotFound]],
};

/// The endpoint.
pub(in crate::http) async fn revoke(app: State, request: Request) -> Response {
    let result = end(&app, &request.into_parts().0).await;
    app.answer(result)
}

async fn end(app: &App, request: &Parts) -> Result<Response, ApiError> {
    let lease = from_path(&request.uri)?;
    let parameters = Parameters::parse(request.uri.query(), &REVOKE)?;
    let key = idempotency_key(&request.headers)?;
    let command = Command::Lease(LeaseCommand::Revoke { lease });
    let timeout = parameters.timeout();
    let Written { outcome, revision, repeated } = app.handle.write(command, key, timeout).await?;
    let result = match outcome {
        Outcome::LeaseEnded { keys, .. } => {
            let mut out = b"{\"deleted\":".to_vec();
            json::number(&mut out, keys);
            json::end(&mut out, revision);
            Ok(answer::json(StatusCode::OK, out))
        }
        other => Err(write::refused(other)),
    };
    Ok(app.answer_written(revision, repeated, result))
}
