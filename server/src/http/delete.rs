//! `DELETE /v1/kv/{key}` and `DELETE /v1/kv?prefix=…`: deletes keys, all in one revision.
//!
//! ```text
//! $ curl -X DELETE localhost:2379/v1/kv/greeting
//! {"deleted":1,"revision":3}
//! $ curl -X DELETE 'localhost:2379/v1/kv?prefix=jobs/'
//! {"deleted":12,"revision":4}
//! ```
//!
//! With `?prev` the answer has what was deleted: `prev` for one key, `prev_kvs` for many, up to 8 MiB
//! of keys and values. `prev_unavailable` says how many are left out, and why.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use hyper::StatusCode;
use kvcore::{Command, Delete, DeleteOutcome, Keys, Outcome};

use super::call::{self, Answer, Call, Content, Tag, schema_of};
use super::error::{ApiError, ErrorName};
use super::json;
use super::parameters::{Parameters, idempotency_key};
use super::{App, State, key, shapes, write};
use crate::node::handle::Written;

/// What the deletion of one key takes and answers.
pub(super) const ONE: Call = Call {
    id: "delete",
    tag: Tag::Keys,
    summary: "Deletes a key.",
    about: "To delete a key that does not exist is no error. All conditions must hold.",
    query: &[
        call::IF_ABSENT,
        call::IF_VERSION,
        call::IF_MOD_REVISION,
        call::IF_VALUE,
        call::PREV,
        call::TIMEOUT,
    ],
    headers: &[call::IDEMPOTENCY_KEY],
    body: None,
    answers: &[Answer::ok(
        "The key does not exist now.",
        &[Content::Json(schema_of::<shapes::DeletedOne>)],
    )
    .with_headers(&[call::REPLAYED])],
    errors: &[call::KEY_ERRORS, call::WRITE_ERRORS, &[ErrorName::PreconditionFailed]],
};

/// What the deletion of many keys takes and answers.
pub(super) const MANY: Call = Call {
    id: "delete_many",
    tag: Tag::Keys,
    summary: "Deletes many keys, all in one revision.",
    about: "Give `prefix`, or `from` and `to`; an empty `prefix=` means all keys. A condition must \
            hold for every one of the keys. At most 10,000 keys or 8 MiB of keys go at a time. \
            Counters of sequential keys of which everything goes end, and count as keys.",
    query: &[
        call::PREFIX,
        call::FROM,
        call::TO,
        call::IF_ABSENT,
        call::IF_VERSION,
        call::IF_MOD_REVISION,
        call::IF_VALUE,
        call::PREV,
        call::TIMEOUT,
    ],
    headers: &[call::IDEMPOTENCY_KEY],
    body: None,
    answers: &[Answer::ok(
        "None of the keys exists now.",
        &[Content::Json(schema_of::<shapes::DeletedMany>)],
    )
    .with_headers(&[call::REPLAYED])],
    errors: &[
        call::WRITE_ERRORS,
        &[ErrorName::PreconditionFailed, ErrorName::KeyTooLarge, ErrorName::DeletionTooLarge],
    ],
};

/// The endpoint for one key.
pub(super) async fn delete_one(app: State, request: Request) -> Response {
    let result = one(&app, &request.into_parts().0).await;
    app.answer(result)
}

/// The endpoint for many keys.
pub(super) async fn delete_range(app: State, request: Request) -> Response {
    let result = many(&app, &request.into_parts().0).await;
    app.answer(result)
}

async fn one(app: &Arc<App>, request: &Parts) -> Result<Response, ApiError> {
    let key = key::from_path(&request.uri)?;
    let parameters = Parameters::parse(request.uri.query(), &ONE)?;
    delete(app, request, &parameters, Keys::One(key)).await
}

async fn many(app: &Arc<App>, request: &Parts) -> Result<Response, ApiError> {
    let parameters = Parameters::parse(request.uri.query(), &MANY)?;
    let keys = parameters.keys()?.ok_or_else(|| {
        ApiError::parameter(
            "which keys are to be deleted? Give `prefix`, or `from` and `to`; an empty \
             `prefix=` means all keys",
        )
    })?;
    delete(app, request, &parameters, keys).await
}

async fn delete(
    app: &Arc<App>,
    request: &Parts,
    parameters: &Parameters,
    target: Keys,
) -> Result<Response, ApiError> {
    let key = idempotency_key(&request.headers)?;
    let single = matches!(target, Keys::One(_));
    let (return_previous, timeout) = (parameters.flag("prev"), parameters.timeout());
    let conditions = parameters.conditions();
    let delete = Delete { target, return_previous };
    let command = Command::Delete { delete, conditions };
    command.check()?;
    let Written { outcome, revision, repeated } = app.handle.write(command, key, timeout).await?;
    let Outcome::Deleted(DeleteOutcome { count, previous }) = outcome else {
        return Ok(app.answer_written(revision, repeated, Err(write::refused(outcome))));
    };
    let previous = match return_previous {
        true => Some(app.fetch_previous(previous).await),
        false => None,
    };
    let response = app.answer_with_previous(StatusCode::OK, previous, |previous| {
        let mut out = Vec::with_capacity(48);
        out.extend_from_slice(b"{\"deleted\":");
        json::number(&mut out, count);
        match previous {
            Some(previous) if single => previous.one_member(&mut out),
            Some(previous) => previous.many_member(&mut out),
            None => {}
        }
        json::end(&mut out, revision);
        out
    });
    Ok(app.answer_written(revision, repeated, Ok(response)))
}
