//! Applying log entries: the only way in which the machine changes.

mod alarm;
mod conditions;
mod delete;
mod families;
mod lease;
mod put;
mod rows;
mod sequences;
mod transaction;

use bytes::Bytes;
use consensus::codec::CodecError;
use consensus::{Entry, Mutant, Position, WallTime, Wire, mutant};

use crate::command::Command;
use crate::envelope::Envelope;
use crate::machine::Machine;
use crate::outcome::{Applied, Outcome};
use crate::store::{ROW_TIME_MAX, Revision, Store, StoreError};

/// The entry that is being applied.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UnderWay {
    pub(crate) position: Position,
    /// How many rows it has written so far.
    pub(crate) rows: u32,
    /// The time of its rows; `None` in an entry of before there were such times.
    pub(crate) time: Option<WallTime>,
}

/// An entry and what its bytes say, which are decoded once, however often that is looked at.
#[derive(Clone, Debug)]
pub struct DecodedEntry<'a> {
    entry: &'a Entry,
    /// `None` if it has no command.
    envelope: Option<Result<Envelope, CodecError>>,
}

impl<'a> DecodedEntry<'a> {
    /// Decodes an entry.
    #[must_use]
    pub fn of(entry: &'a Entry) -> Self {
        let decode = |payload: &Bytes| Envelope::from_bytes(payload.clone());
        Self { entry, envelope: entry.command().map(decode) }
    }

    /// Whether it is applied in constant time and from memory alone: see [`Command::takes_constant_time`].
    /// What has no command, or none that can be understood, changes only the position.
    #[must_use]
    pub fn takes_constant_time(&self) -> bool {
        match &self.envelope {
            Some(Ok(envelope)) => envelope.command.takes_constant_time(),
            Some(Err(_)) | None => true,
        }
    }
}

impl<S: Store> Machine<S> {
    /// Applies the next entry of the log: [`Self::apply_decoded`] after decoding it.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn apply(&mut self, entry: &Entry) -> Result<Applied, StoreError> {
        self.apply_decoded(DecodedEntry::of(entry))
    }

    /// Applies the next entry of the log. A command that fails, or that can not be understood,
    /// changes nothing but the position, and does so equally on every replica. (But a sequential key whose
    /// next names are all taken moves its counter behind them.)
    ///
    /// Takes constant time and two or three look-ups of the key, but for what concerns many keys (a
    /// deletion, a transaction, the end of a lease), which takes that for each of them. Nothing is read
    /// from the store but values that are not in memory: one that is compared and may be equal, or must be
    /// known to be less or greater, and one that a put keeps.
    ///
    /// # Errors
    /// When the store fails. The entry is not applied then, and the machine can not go on.
    ///
    /// # Panics
    /// If the entry is not the next one.
    pub fn apply_decoded(&mut self, decoded: DecodedEntry<'_>) -> Result<Applied, StoreError> {
        let DecodedEntry { entry, envelope } = decoded;
        let position = entry.position;
        assert!(position.index == self.applied.index.next(), "entries are applied without gaps");
        assert!(position.term >= self.applied.term, "terms never decrease along the log");
        self.wall = self.wall.max(entry.wall);
        self.table.expire(self.wall);
        let time = self.row_time(entry);
        self.under_way = UnderWay { position, rows: 0, time };
        let mut repeats = None;
        let (header, outcome) = match (entry.command(), envelope) {
            (Some(payload), Some(Ok(envelope))) => {
                let header = Some(envelope.address());
                let Envelope { idempotency, command, .. } = envelope;
                match idempotency {
                    None => (header, self.carry_out(command)?),
                    Some(idempotency) => {
                        let request = Envelope::command_digest(payload, &idempotency);
                        let index = position.index;
                        let answered = self.carry_out_once(index, idempotency, request, command)?;
                        repeats = answered.repeats;
                        (header, answered.outcome)
                    }
                }
            }
            (Some(payload), Some(Err(error))) => {
                (Envelope::header(payload).ok(), Outcome::Undecodable(error))
            }
            (None, _) | (_, None) => (None, Outcome::Nothing),
        };
        self.applied = position;
        self.states.push(self.state());
        let revision = repeats.unwrap_or(self.revision);
        Ok(Applied { position, header, outcome, revision, repeated: repeats.is_some() })
    }

    /// The time of what an entry writes.
    ///
    /// Nodes that took over a store of an earlier version may have carried more or less of their log to it
    /// by then. So it is the entry that says whether its rows have times, the same for all of them.
    fn row_time(&self, entry: &Entry) -> Option<WallTime> {
        let wall = match mutant::on(Mutant::RowTimesOwn) {
            true => self.states.stored().wall,
            false => self.wall,
        };
        let is_timed = entry.command().is_some_and(Envelope::is_timed);
        is_timed.then_some(wall.min(ROW_TIME_MAX))
    }

    pub(crate) fn carry_out(&mut self, command: Command) -> Result<Outcome, StoreError> {
        if let Err(invalid) = command.check() {
            return Ok(Outcome::Invalid(invalid));
        }
        match command {
            Command::Put { put, conditions } => self.put(put, &conditions),
            Command::Delete { delete, conditions } => self.delete(&delete, &conditions),
            Command::Compact { revision } => Ok(self.compact(revision)),
            Command::Transaction(transaction) => self.transact(transaction),
            Command::Lease(command) => Ok(self.change_lease(command)),
            Command::Alarm(command) => Ok(self.change_alarms(command)),
        }
    }

    /// Only notes the revision: what it frees is forgotten bit by bit, after the compaction is
    /// durable in the store.
    fn compact(&mut self, requested: Revision) -> Outcome {
        let (current, compacted) = (self.revision, self.compacted);
        if requested > current {
            return Outcome::RevisionInFuture { requested, current };
        }
        if requested <= compacted {
            return Outcome::RevisionCompacted { requested, compacted };
        }
        self.compacted = requested;
        Outcome::Compacted
    }
}
