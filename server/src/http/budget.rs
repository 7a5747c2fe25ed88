//! What all requests together may take: bytes of bodies under way, bytes of answers that their
//! clients have not taken yet, and threads that may wait for the disk.
//!
//! One request is bounded by itself; these bounds are for many at a time. Who comes when they are
//! used up is told so and may come again; nobody waits in memory.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::{ApiError, ErrorName};
use super::{App, Limits};

/// A body or an answer of up to so many bytes counts for nothing: the number of connections bounds
/// these.
pub(super) const BODY_FREE_BYTES_MAX: u64 = 4 << 10;
const ANSWER_FREE_BYTES_MAX: usize = 64 << 10;
/// The reads of the store under way at a time. More would only wait for the same disk.
const READS_MAX: usize = 16;
/// The comparisons of replicas under way at a time.
const COMPARISONS_MAX: usize = 16;

/// The snapshots under way at a time that clients take: each keeps what it shows from being freed.
const SNAPSHOTS_MAX: usize = 2;
/// The ranges under way at a time that are sent in pieces, each of which has some pieces in memory.
const LONG_RANGES_MAX: usize = 16;
/// The requests at a time that wait for a lock or an office, or observe one: each looks at its key after
/// every write.
const QUEUED_MAX: usize = 1024;

/// The shared bounds.
#[derive(Debug)]
pub(super) struct Budget {
    body_bytes: Arc<Semaphore>,
    body_bytes_max: usize,
    answer_bytes: Arc<Semaphore>,
    answer_bytes_max: usize,
    reads: Semaphore,
    comparisons: Arc<Semaphore>,
    long_ranges: Arc<Semaphore>,
    snapshots: Arc<Semaphore>,
    queued: Arc<Semaphore>,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        let (body_bytes_max, answer_bytes_max) = (limits.body_bytes_max, limits.answer_bytes_max);
        Self {
            body_bytes: Arc::new(Semaphore::new(body_bytes_max)),
            body_bytes_max,
            answer_bytes: Arc::new(Semaphore::new(answer_bytes_max)),
            answer_bytes_max,
            reads: Semaphore::new(READS_MAX),
            comparisons: Arc::new(Semaphore::new(COMPARISONS_MAX)),
            long_ranges: Arc::new(Semaphore::new(LONG_RANGES_MAX)),
            snapshots: Arc::new(Semaphore::new(SNAPSHOTS_MAX)),
            queued: Arc::new(Semaphore::new(QUEUED_MAX)),
        }
    }

    /// Room for a body of so many bytes, until the permit is dropped.
    pub(super) fn body(&self, bytes: u64) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        if bytes <= BODY_FREE_BYTES_MAX {
            return Ok(None);
        }
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        reserve(&self.body_bytes, bytes, self.body_bytes_max).map(Some).ok_or_else(|| {
            overloaded("the bodies of requests under way take as much memory as they may")
        })
    }

    /// The same answer, counted until its client has taken it; `None` when there is no room.
    pub(super) fn answer(&self, answer: Bytes) -> Option<Bytes> {
        if answer.len() <= ANSWER_FREE_BYTES_MAX {
            return Some(answer);
        }
        let place = reserve(&self.answer_bytes, answer.len(), self.answer_bytes_max)?;
        Some(Bytes::from_owner(Held { answer, _place: place }))
    }

    /// As [`Budget::answer`], for a read, which is refused as if it had not been made.
    pub(super) fn read_answer(&self, answer: Bytes) -> Result<Bytes, ApiError> {
        self.answer(answer).ok_or_else(|| {
            overloaded("answers that their clients have not taken yet use all memory that they may")
        })
    }

    /// A place among the comparisons of replicas.
    pub(super) fn comparison(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.comparisons).try_acquire_owned().map_err(|_| {
            overloaded(&format!("{COMPARISONS_MAX} comparisons of replicas are under way"))
        })
    }

    /// A place among the snapshots that clients take.
    pub(super) fn snapshot(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.snapshots)
            .try_acquire_owned()
            .map_err(|_| overloaded(&format!("{SNAPSHOTS_MAX} snapshots are under way")))
    }

    /// A place among the requests that wait for a lock or an office.
    pub(super) fn queue(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.queued).try_acquire_owned().map_err(|_| {
            overloaded(&format!("{QUEUED_MAX} requests wait for locks and elections here"))
        })
    }

    /// How many have such a place.
    pub(super) fn queued(&self) -> usize {
        QUEUED_MAX - self.queued.available_permits()
    }

    /// A place among the ranges that are sent in pieces.
    pub(super) fn long_range(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.long_ranges).try_acquire_owned().map_err(|_| {
            overloaded(&format!("{LONG_RANGES_MAX} ranges that are sent in pieces are under way"))
        })
    }
}

/// What is larger than all there is takes all of it.
fn reserve(semaphore: &Arc<Semaphore>, bytes: usize, most: usize) -> Option<OwnedSemaphorePermit> {
    let permits = u32::try_from(bytes.min(most)).unwrap_or(u32::MAX);
    Arc::clone(semaphore).try_acquire_many_owned(permits).ok()
}

fn overloaded(what: &str) -> ApiError {
    ApiError::new(
        ErrorName::Overloaded,
        format!("{what}; nothing happened. Try again after a moment"),
    )
}

/// An answer that gives its room back when it was sent, or its connection broke.
struct Held {
    answer: Bytes,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}

impl App {
    /// Does what may wait for the disk on a thread where that holds up nobody.
    pub(super) async fn off_thread<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let _place = self.budget.reads.acquire().await.expect("it is never closed");
        let app = Arc::clone(self);
        tokio::task::spawn_blocking(move || read(&app))
            .await
            .map_err(|panic| ApiError::new(ErrorName::Internal, panic.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        Budget::new(&Limits {
            body_bytes_max: 10_000,
            answer_bytes_max: 100_000,
            ..Limits::default()
        })
    }

    #[test]
    fn bodies_are_counted_together_and_small_ones_are_free() {
        let budget = budget();
        let first = budget.body(6_000).expect("there is room");
        assert_eq!(budget.body(6_000).map_err(|e| e.name).err(), Some(ErrorName::Overloaded));
        assert!(budget.body(BODY_FREE_BYTES_MAX).expect("always room").is_none());
        drop(first);
        // One that is larger than all there is goes through alone.
        let all = budget.body(1 << 40).expect("nobody else");
        assert!(budget.body(5_000).is_err());
        drop(all);
        assert!(budget.body(5_000).is_ok());
    }

    #[test]
    fn an_answer_is_counted_until_it_is_dropped() {
        let budget = budget();
        let answer = Bytes::from(vec![b'x'; 70_000]);
        let first = budget.answer(answer.clone()).expect("there is room");
        assert_eq!(first, answer);
        let part = first.slice(69_999..);
        drop(first);
        assert!(budget.answer(answer.clone()).is_none(), "a part is still being sent");
        assert_eq!(budget.answer(Bytes::from_static(b"small")).as_deref(), Some(&b"small"[..]));
        drop(part);
        assert!(budget.read_answer(answer).is_ok());
    }

    #[test]
    fn so_many_wait_for_locks_and_nobody_more() {
        let budget = budget();
        let mut places: Vec<_> =
            (0..QUEUED_MAX).map(|_| budget.queue().expect("there is room")).collect();
        assert_eq!(budget.queued(), QUEUED_MAX);
        let error = budget.queue().expect_err("there is none");
        assert_eq!(error.name, ErrorName::Overloaded);
        assert!(error.message.contains("1024 requests wait"), "{}", error.message);
        places.pop();
        assert!(budget.queue().is_ok());
    }
}
