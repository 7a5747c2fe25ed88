//! Watching by pulling: a watcher is a revision from which it goes on, and nothing else. It costs no
//! memory while it waits, and a slow one holds up nobody; when it comes too late it is told which
//! revision is the oldest left.

use std::fmt;

use bytes::Bytes;

use crate::keys::Keys;
use crate::overlay::row_bytes;
use crate::read::{FetchError, KeyValue, Located, stored_key_value};
use crate::store::{Revision, Row, RowId, Store};

/// The bytes of keys and values from which on the events of one revision do not tell any more what was
/// there before: the deletion of many large values may be larger than memory. It can still be read, at
/// the revision before.
pub const PREVIOUS_BYTES_MAX: usize = 32 << 20;

/// Which changes a watcher wants to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchFilter {
    /// Changes of these keys.
    pub keys: Keys,
    /// Stored values.
    pub puts: bool,
    /// Deletions.
    pub deletes: bool,
    /// Tell also what was there before.
    pub previous: bool,
}

impl WatchFilter {
    /// Every change of these keys, without what was there before.
    #[must_use]
    pub fn of(keys: Keys) -> Self {
        Self { keys, puts: true, deletes: true, previous: false }
    }
}

/// How much one pull may give. A revision is given whole or not at all, and each pull makes progress,
/// so one that is larger than the limits is given alone; it has as many events as its command changed
/// keys, and no command changes more than [`crate::DELETED_KEYS_MAX`]. What was there before them is
/// told as far as [`PREVIOUS_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventLimits {
    /// The most revisions to look at, wanted or not: this bounds the time under the machine's lock.
    pub revisions_max: usize,
    /// The number of events that ends the pull.
    pub events_max: usize,
    /// The bytes of keys and values that end the pull.
    pub bytes_max: usize,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self { revisions_max: 1024, events_max: 1024, bytes_max: 1 << 20 }
    }
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A value was stored.
    Put,
    /// The key was deleted.
    Delete,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key as it is after the change; of a deletion only the key and the `mod_revision`.
    pub key_value: KeyValue,
    /// The key as it was before, where that was asked for, the key existed, its revision is not
    /// compacted, and its own revision's events are not beyond [`PREVIOUS_BYTES_MAX`].
    pub previous: Option<KeyValue>,
}

/// All wanted events of one revision, in the order of the changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RevisionEvents {
    /// The revision.
    pub revision: Revision,
    /// At least one.
    pub events: Vec<Event>,
}

/// What a pull gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// The revisions with wanted events, in order. Every wanted event before `next` is in here or
    /// was in an earlier pull.
    pub revisions: Vec<RevisionEvents>,
    /// Where to go on. It is beyond revisions of which nothing was wanted, and never before the
    /// revision asked for.
    pub next: Revision,
}

/// The revision to watch from was compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The revision asked for.
    pub requested: Revision,
    /// The oldest revision that can still be watched from.
    pub compacted: Revision,
}

impl fmt::Display for Compacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "revision {} was compacted; the oldest that can be watched from is {}",
            self.requested, self.compacted
        )
    }
}

impl std::error::Error for Compacted {}

/// Where the rows of wanted events are.
#[derive(Clone, Debug)]
pub struct EventsPlan {
    pub(crate) events: Vec<PlannedEvent>,
    pub(crate) next: Revision,
    pub(crate) bytes_max: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct PlannedEvent {
    pub(crate) id: RowId,
    pub(crate) change: Change,
    pub(crate) previous: Located,
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(Located),
    Delete(Bytes),
}

impl EventsPlan {
    /// Whether there is nothing wanted before [`EventsPlan::next`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Where to go on when the plan is fetched whole.
    #[must_use]
    pub fn next(&self) -> Revision {
        self.next
    }

    /// Fetches what is in the store. The machine is not needed for it. Gives less than was planned
    /// when the bytes turn out to be too many; `next` says so.
    ///
    /// # Errors
    /// [`FetchError::Vanished`] when compaction removed a row since the plan was made: plan again.
    pub fn fetch<S: Store + ?Sized>(self, store: &S) -> Result<Events, FetchError> {
        let mut revisions: Vec<RevisionEvents> = Vec::new();
        let mut rows = Rows::new(&self.events, self.bytes_max);
        let (mut bytes, mut revision_bytes) = (0, 0);
        for (at, planned) in self.events.iter().enumerate() {
            let revision = planned.id.revision;
            if revisions.last().is_none_or(|last| last.revision < revision) {
                if bytes >= self.bytes_max && !revisions.is_empty() {
                    return Ok(Events { revisions, next: revision });
                }
                revisions.push(RevisionEvents { revision, events: Vec::new() });
                revision_bytes = 0;
            }
            let tells_previous = revision_bytes < PREVIOUS_BYTES_MAX;
            let event = planned.fetch(at, tells_previous, &mut rows, store)?;
            bytes += event_bytes(&event);
            revision_bytes += event_bytes(&event);
            let last = revisions.last_mut().expect("the revision of the event was begun");
            last.events.push(event);
        }
        Ok(Events { revisions, next: self.next })
    }
}

impl PlannedEvent {
    /// The bytes towards the limit that are known without fetching.
    pub(crate) fn resident_bytes(&self) -> usize {
        let bytes = |located: &Located| match located {
            Located::Resident(key_value) => key_value.key.len() + key_value.value.len(),
            _ => 0,
        };
        bytes(&self.previous)
            + match &self.change {
                Change::Put(located) => bytes(located),
                Change::Delete(key) => key.len(),
            }
    }

    fn fetch<S: Store + ?Sized>(
        &self,
        at: usize,
        tells_previous: bool,
        rows: &mut Rows<'_>,
        store: &S,
    ) -> Result<Event, FetchError> {
        let previous = if tells_previous { self.previous.clone().fetch(store)? } else { None };
        let (kind, key_value) = match &self.change {
            Change::Put(Located::Stored(id)) => {
                (EventKind::Put, stored_key_value(*id, &rows.fetch(at, store)?)?)
            }
            Change::Put(located) => {
                let key_value = located.clone().fetch(store)?;
                (EventKind::Put, key_value.expect("a stored value has a row"))
            }
            Change::Delete(key) => (EventKind::Delete, deletion(key.clone(), self.id.revision)),
        };
        Ok(Event { kind, key_value, previous })
    }
}

fn deletion(key: Bytes, revision: Revision) -> KeyValue {
    let (value, create_revision) = (Bytes::new(), Revision(0));
    KeyValue { key, value, create_revision, mod_revision: revision, version: 0, lease: None }
}

/// The bytes of an event towards the limit.
fn event_bytes(event: &Event) -> usize {
    let bytes = |key_value: &KeyValue| key_value.key.len() + key_value.value.len();
    bytes(&event.key_value) + event.previous.as_ref().map_or(0, bytes)
}

/// Rows of a plan fetched ahead: those that follow one another in the store come in one go.
struct Rows<'a> {
    plan: &'a [PlannedEvent],
    ahead: std::vec::IntoIter<(RowId, Row)>,
    /// How many rows the next series may have; so few that their bytes stay near the limit.
    series_max: usize,
    bytes_max: usize,
}

impl<'a> Rows<'a> {
    fn new(plan: &'a [PlannedEvent], bytes_max: usize) -> Self {
        Self { plan, ahead: Vec::new().into_iter(), series_max: 4, bytes_max }
    }

    /// The row of the event at this place of the plan, which is in the store.
    fn fetch<S: Store + ?Sized>(&mut self, at: usize, store: &S) -> Result<Row, FetchError> {
        let id = self.plan[at].id;
        for (found, row) in self.ahead.by_ref() {
            if found == id {
                return Ok(row);
            }
        }
        let rows = store.rows(id, self.series_length(at))?;
        let bytes: usize = rows.iter().map(|(_, row)| row_bytes(row)).sum();
        let fits = self.bytes_max / 2 / (bytes / rows.len().max(1)).max(1);
        self.series_max = fits.min(self.series_max * 4).clamp(1, 1024);
        self.ahead = rows.into_iter();
        match self.ahead.next() {
            Some((found, row)) if found == id => Ok(row),
            _ => Err(FetchError::Vanished(id)),
        }
    }

    /// How many rows of the plan from here on follow one another without a gap.
    fn series_length(&self, at: usize) -> usize {
        let follows = |pair: &[PlannedEvent]| {
            let (RowId { revision, place }, next) = (pair[0].id, pair[1].id);
            next == RowId { revision, place: place + 1 }
                || next == RowId { revision: Revision(revision.0 + 1), place: 0 }
        };
        let rest = &self.plan[at..];
        1 + rest.windows(2).take(self.series_max - 1).take_while(|pair| follows(pair)).count()
    }
}
