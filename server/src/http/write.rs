//! What is said of a write that was replicated but did not do what was asked.

use kvcore::Outcome;

use super::error::{ApiError, Detail, ErrorName};

/// The error for an outcome by which nothing was changed.
pub(super) fn refused(outcome: Outcome) -> ApiError {
    match outcome {
        Outcome::ConditionFailed(failure) => ApiError {
            name: ErrorName::PreconditionFailed,
            message: failure.to_string(),
            detail: Detail::Found(failure.key, failure.found),
        },
        Outcome::CompactionInFuture { requested, current } => ApiError::new(
            ErrorName::FutureRevision,
            format!(
                "revision {requested} does not exist yet; the current one is {current}, and no \
                 later one can be compacted to"
            ),
        ),
        Outcome::AlreadyCompacted { requested, compacted } => ApiError {
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
