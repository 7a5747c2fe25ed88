//! What is said of a write that was replicated, whatever it did.

use axum::response::Response;
use hyper::header::{HeaderName, HeaderValue};
use kvcore::lease::{LEASE_KEY_BYTES_MAX, LEASES_MAX};
use kvcore::{LEASE_KEYS_MAX, LeaseId, Outcome, Revision, TRANSACTION_KEYS_MAX};

use super::error::{ApiError, Detail, ErrorName};
use super::{App, key};

/// Says that the answer is that of an earlier request with the same idempotency key.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

impl App {
    /// The answer to a write that left the store at a revision, whether it did what was asked or not,
    /// now or when it was asked first.
    pub(super) fn answer_written(
        &self,
        revision: Revision,
        repeated: bool,
        result: Result<Response, ApiError>,
    ) -> Response {
        let mut response = result.unwrap_or_else(|error| self.refuse_at(&error, revision));
        if repeated {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

/// The error for a lease that does not exist.
pub(super) fn lease_not_found(lease: LeaseId) -> ApiError {
    ApiError::new(
        ErrorName::LeaseNotFound,
        format!(
            "there is no lease {lease}: it was never granted, was ended, or its time ran out; nothing \
             was changed. POST /v1/leases grants one"
        ),
    )
}

/// The error for an outcome by which nothing was changed.
pub(super) fn refused(outcome: Outcome) -> ApiError {
    match outcome {
        Outcome::ConditionFailed(failure) => ApiError {
            name: ErrorName::PreconditionFailed,
            message: failure.to_string(),
            detail: Detail::Found(failure.key, failure.found),
        },
        Outcome::RevisionInFuture { requested, current } => ApiError::new(
            ErrorName::FutureRevision,
            format!(
                "revision {requested} does not exist yet; the current one is {current}, and no \
                 later one can be compacted to"
            ),
        ),
        Outcome::RevisionCompacted { requested, compacted } => ApiError {
            name: ErrorName::Compacted,
            message: format!(
                "revision {requested} is not after {compacted}, to which the store is compacted \
                 already"
            ),
            detail: Detail::CompactRevision(compacted),
        },
        Outcome::DeletionTooLarge(limit) => {
            ApiError::new(ErrorName::DeletionTooLarge, limit.to_string())
        }
        Outcome::TransactionTooLarge => ApiError::new(
            ErrorName::TransactionTooLarge,
            format!(
                "the transaction compares or reads more than {TRANSACTION_KEYS_MAX} keys; nothing was \
                 changed. Compare and read smaller ranges"
            ),
        ),
        Outcome::KeyNotFound { key } => key::not_found(&key, None),
        Outcome::LeaseNotFound { lease } => lease_not_found(lease),
        Outcome::LeaseExists { lease } => ApiError::new(
            ErrorName::LeaseExists,
            format!(
                "there is a lease {lease} already; leave `id` out, and the server chooses a number that \
                 is free"
            ),
        ),
        Outcome::LeaseFull { lease } => ApiError::new(
            ErrorName::LeaseFull,
            format!(
                "the lease {lease} has as many keys as a lease can have, {LEASE_KEYS_MAX} or {} MiB of \
                 them; nothing was changed. Use another lease",
                LEASE_KEY_BYTES_MAX >> 20
            ),
        ),
        Outcome::TooManyLeases => ApiError::new(
            ErrorName::TooManyLeases,
            format!("there are {LEASES_MAX} leases, as many as there can be; end some first"),
        ),
        Outcome::IdempotencyConflict => ApiError::new(
            ErrorName::IdempotencyConflict,
            "the Idempotency-Key belongs to another request, with another call, key, value or \
             condition; nothing was changed. Give every write a key of its own",
        ),
        Outcome::IdempotencyForgotten => ApiError::new(
            ErrorName::Overloaded,
            "the write came into the log only after so many others with an Idempotency-Key that \
             nobody could tell whether it was there before; this request did nothing. Try again",
        ),
        Outcome::Invalid(invalid) => invalid.into(),
        other => ApiError::new(
            ErrorName::Internal,
            format!(
                "the write was replicated, but came back as {other:?}; do all nodes run the \
                 same version?"
            ),
        ),
    }
}
