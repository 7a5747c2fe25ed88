//! Reading the state machine: where the row is, under the lock; the row itself, without it.

use kvcore::{FetchError, KeyValue, Located, ReadError, Revision};

use super::App;
use super::error::{ApiError, ErrorName};

/// How often a read begins anew because compaction removed what it had located.
const ATTEMPTS_MAX: usize = 16;

/// One key as it was found.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it is.
    pub(super) located: Located,
    /// The store's revision when it was located.
    pub(super) revision: Revision,
}

impl App {
    /// Says where a key is, as of a revision or now.
    pub(super) fn locate(&self, key: &[u8], at: Option<Revision>) -> Result<Found, ReadError> {
        let machine = self.handle.machine().read().expect("no holder of the machine panics");
        Ok(Found { located: machine.locate(key, at)?, revision: machine.revision() })
    }

    /// Fetches a key that was located. A row that is not in memory takes some microseconds in the
    /// page cache of the operating system, less than handing the work to another thread would.
    pub(super) fn fetch(
        &self,
        key: &[u8],
        at: Option<Revision>,
        mut found: Found,
    ) -> Result<(Option<KeyValue>, Revision), ApiError> {
        for _ in 0..ATTEMPTS_MAX {
            match found.located.fetch(&**self.handle.store()) {
                Ok(key_value) => return Ok((key_value, found.revision)),
                Err(FetchError::Vanished(_)) => found = self.locate(key, at)?,
                Err(FetchError::Store(error)) => return Err(error.into()),
            }
        }
        Err(vanishing())
    }

    /// Fetches what a write replaced. When compaction was faster it is not told any more.
    pub(super) fn fetch_previous(&self, located: Located) -> Result<Option<KeyValue>, ApiError> {
        match located.fetch(&**self.handle.store()) {
            Ok(previous) => Ok(previous),
            Err(FetchError::Vanished(_)) => Ok(None),
            Err(FetchError::Store(error)) => Err(error.into()),
        }
    }
}

/// Repeats a read as long as compaction removes what it located.
pub(super) fn persist<T>(
    mut read: impl FnMut() -> Result<Result<T, FetchError>, ApiError>,
) -> Result<T, ApiError> {
    for _ in 0..ATTEMPTS_MAX {
        match read()? {
            Ok(result) => return Ok(result),
            Err(FetchError::Vanished(_)) => {}
            Err(FetchError::Store(error)) => return Err(error.into()),
        }
    }
    Err(vanishing())
}

fn vanishing() -> ApiError {
    ApiError::new(
        ErrorName::Internal,
        format!(
            "what was to be read was compacted {ATTEMPTS_MAX} times in a row while it was read"
        ),
    )
}
