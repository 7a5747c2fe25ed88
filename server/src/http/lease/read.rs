//! Which leases there are, and how it stands with one.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use hyper::StatusCode;
use kvcore::{LeaseId, Revision};

use super::super::call::{self, Answer, Call, Content, Kind, Parameter, Tag, kind, schema_of};
use super::super::error::{ApiError, ErrorName};
use super::super::parameters::Parameters;
use super::super::{App, State, answer, json, shapes, write};
use super::from_path;
use crate::node::handle::{Consistency, LeaseRemaining};

/// What the list takes and answers.
pub(in crate::http) const LIST: Call = Call {
    id: "leases",
    tag: Tag::Leases,
    summary: "Lists the leases, in pages.",
    about: "In the order of their numbers. Leases have no history: those that are granted or end between \
            two pages may be missed.",
    query: &[LIMIT, CURSOR, call::CONSISTENCY, call::TIMEOUT],
    headers: &[],
    body: None,
    answers: &[Answer::ok("A page of leases.", &[Content::Json(schema_of::<shapes::LeasePage>)])],
    errors: &[call::BARRIER_ERRORS],
};

/// What the look at one takes and answers.
pub(in crate::http) const SHOW: Call = Call {
    id: "lease",
    tag: Tag::Leases,
    summary: "Tells how long a lease lives, by the leader's clock, and its keys.",
    about: "To look at a lease does not renew it.",
    query: &[call::TIMEOUT],
    headers: &[],
    body: None,
    answers: &[Answer::ok("The lease.", &[Content::Json(schema_of::<shapes::LeaseShown>)])],
    errors: &[call::BARRIER_ERRORS, &[ErrorName::LeaseNotFound]],
};

const LIMIT: Parameter = Parameter {
    name: "limit",
    kind: Kind::Number { least: 1, most: LIMIT_MAX },
    meaning: "The most leases of a page; 1000 when it is left out.",
};
const CURSOR: Parameter = Parameter {
    name: "cursor",
    kind: Kind::Token {
        pattern: "^-?[0-9]+$",
        allowed: "what the page before gave as `next`, unchanged",
        parses: |text| kind::lease(text.as_bytes()).is_some(),
    },
    meaning: "Where to go on: what the page before gave as `next`.",
};

/// The most leases of a page when the request does not say.
const LIMIT_DEFAULT: u64 = 1000;
/// The most leases of a page.
const LIMIT_MAX: u64 = 10_000;

/// The endpoint that lists.
pub(in crate::http) async fn list(app: State, request: Request) -> Response {
    let result = page(&app, &request.into_parts().0).await;
    app.answer(result)
}

/// The endpoint that shows one.
pub(in crate::http) async fn show(app: State, request: Request) -> Response {
    let result = show_one(&app, &request.into_parts().0).await;
    app.answer(result)
}

async fn page(app: &App, request: &Parts) -> Result<Response, ApiError> {
    let parameters = Parameters::parse(request.uri.query(), &LIST)?;
    let limit = parameters.number("limit").unwrap_or(LIMIT_DEFAULT);
    let limit = usize::try_from(limit).expect("within its bounds");
    let cursor = parameters.lease("cursor");
    app.handle.barrier(parameters.consistency(), parameters.timeout()).await?;
    let (mut leases, count, revision) = {
        let machine = app.handle.machine().read().expect("no holder of the machine panics");
        (machine.leases(cursor, limit + 1), machine.statistics().leases, machine.revision())
    };
    let more = leases.len() > limit;
    leases.truncate(limit);
    let mut out = b"{\"leases\":[".to_vec();
    for (place, (lease, time)) in leases.iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        out.extend_from_slice(format!("{comma}{{\"lease\":{lease}").as_bytes());
        json::number_field(&mut out, "ttl_ms", time.ttl_millis);
        out.push(b'}');
    }
    out.push(b']');
    json::number_field(&mut out, "count", count as u64);
    json::field(&mut out, "more");
    json::boolean(&mut out, more);
    if let Some((last, _)) = leases.last().filter(|_| more) {
        json::field(&mut out, "next");
        json::string(&mut out, &last.to_string());
    }
    json::end(&mut out, revision);
    let body = app.budget.read_answer(out.into())?;
    Ok(answer::bytes(StatusCode::OK, answer::JSON, body))
}

async fn show_one(app: &Arc<App>, request: &Parts) -> Result<Response, ApiError> {
    let lease = from_path(&request.uri)?;
    let parameters = Parameters::parse(request.uri.query(), &SHOW)?;
    let timeout = parameters.timeout();
    let remaining = app.handle.lease_time(lease, timeout).await?;
    let remaining = remaining.ok_or_else(|| write::lease_not_found(lease))?;
    // The leader may know more than this node.
    app.handle.barrier(Consistency::Linearizable, timeout).await?;
    // There may be many keys, which are copied and sorted.
    let found = app.off_thread(move |app| {
        let machine = app.handle.machine().read().expect("no holder of the machine panics");
        let there = machine.lease(lease).is_some();
        there.then(|| (machine.lease_keys(lease), machine.revision()))
    });
    let (keys, revision) = found.await?.ok_or_else(|| write::lease_not_found(lease))?;
    let body = app.budget.read_answer(to_json(lease, remaining, &keys, revision).into())?;
    Ok(answer::bytes(StatusCode::OK, answer::JSON, body))
}

fn to_json(
    lease: LeaseId,
    remaining: LeaseRemaining,
    keys: &[Bytes],
    revision: Revision,
) -> Vec<u8> {
    let mut out = format!("{{\"lease\":{lease}").into_bytes();
    json::number_field(&mut out, "ttl_ms", remaining.ttl_millis);
    json::number_field(&mut out, "remaining_ms", remaining.remaining_millis);
    json::field(&mut out, "keys");
    out.push(b'[');
    for (place, key) in keys.iter().enumerate() {
        out.extend_from_slice(if place > 0 { b",{" } else { b"{" });
        json::bytes_member(&mut out, "key", key);
        out.push(b'}');
    }
    out.push(b']');
    json::end(&mut out, revision);
    out
}
