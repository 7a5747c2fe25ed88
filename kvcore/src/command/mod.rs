//! Commands, as they travel through the log.

mod condition;
mod invalid;
mod put;
mod transaction;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};

use crate::Keys;
use crate::alarm::AlarmCommand;
use crate::lease::{CHECKPOINT_LEASES_MAX, LeaseCommand};
use crate::store::Revision;

pub use condition::Condition;
pub use invalid::InvalidCommand;
pub use put::{Delete, Put, PutLease, PutValue};
pub use transaction::{
    Compare, CompareOperator, CompareTarget, OPERATIONS_MAX, OPERATIONS_TOTAL_MAX, Operation,
    Transaction,
};

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 64 << 10;
/// The longest value that any server may be configured to take, in bytes.
pub const VALUE_BYTES_MAX: usize = 16 << 20;
/// The most conditions of one command.
pub const CONDITIONS_MAX: usize = 64;

/// A change of the store.
///
/// New kinds get new numbers in the encoding; a number never changes its meaning.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Command {
    /// Stores a value.
    Put {
        /// What, and under which key.
        put: Put,
        /// All must hold for the key as it is now, or nothing is changed. Of a sequential key there are
        /// none: it is new.
        conditions: Vec<Condition>,
    },
    /// Deletes keys, all in one revision.
    Delete {
        /// Which.
        delete: Delete,
        /// All must hold for every existing key of the target, or nothing is changed. When there is
        /// none they must hold for an absent key.
        conditions: Vec<Condition>,
    },
    /// Forgets what was superseded or deleted before or by this revision. The revision itself can
    /// still be read.
    Compact {
        /// The oldest revision that stays readable.
        revision: Revision,
    },
    /// Does one thing or another, in one revision.
    Transaction(Transaction),
    /// Concerns leases.
    Lease(LeaseCommand),
    /// Concerns alarms.
    Alarm(AlarmCommand),
}

impl Command {
    /// Stores a value and no more.
    #[must_use]
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Put { put: Put::new(key.into(), value.into()), conditions: Vec::new() }
    }

    /// Deletes keys and no more.
    #[must_use]
    pub fn delete(target: Keys) -> Self {
        Self::Delete { delete: Delete::of(target), conditions: Vec::new() }
    }

    /// Whether the command keeps to the limits. Checked before a command is proposed, and again when
    /// it is applied, because the log may hold anything.
    ///
    /// # Errors
    /// The limit that is violated, with the offending number.
    pub fn check(&self) -> Result<(), InvalidCommand> {
        match self {
            Self::Put { put, conditions } => {
                put.check()?;
                check_conditions(conditions)
            }
            Self::Delete { delete, conditions } => {
                delete.check()?;
                check_conditions(conditions)
            }
            Self::Compact { .. } | Self::Alarm(_) => Ok(()),
            Self::Transaction(transaction) => transaction.check(),
            Self::Lease(command) => check_lease_command(command),
        }
    }

    /// Whether it is applied in constant time and from memory alone: a put or a deletion of one key,
    /// unless its value is compared, and a few of them together.
    #[must_use]
    pub fn takes_constant_time(&self) -> bool {
        match self {
            Self::Put { put: Put { value: PutValue::New(_), .. }, conditions }
            | Self::Delete { delete: Delete { target: Keys::One(_), .. }, conditions } => {
                !conditions.iter().any(|condition| matches!(condition, Condition::Value(_)))
            }
            Self::Put { .. } | Self::Delete { .. } | Self::Compact { .. } => false,
            Self::Alarm(_) => true,
            Self::Transaction(transaction) => transaction.takes_constant_time(),
            Self::Lease(command) => {
                matches!(command, LeaseCommand::Grant { .. } | LeaseCommand::Renew { .. })
            }
        }
    }

    /// Whether it may store something, so that a full store refuses it.
    #[must_use]
    pub fn stores(&self) -> bool {
        match self {
            Self::Put { .. } | Self::Lease(LeaseCommand::Grant { .. }) => true,
            Self::Transaction(transaction) => transaction.stores(),
            Self::Delete { .. } | Self::Compact { .. } | Self::Lease(_) | Self::Alarm(_) => false,
        }
    }

    /// What must hold for it to be carried out.
    pub(crate) fn conditions(&self) -> &[Condition] {
        match self {
            Self::Put { conditions, .. } | Self::Delete { conditions, .. } => conditions,
            Self::Compact { .. } | Self::Transaction(_) | Self::Lease(_) | Self::Alarm(_) => &[],
        }
    }

    /// A good guess at the size of the encoding, so that its buffer rarely grows.
    pub(crate) fn size_bytes_estimate(&self) -> usize {
        let condition_bytes = |conditions: &[Condition]| {
            conditions
                .iter()
                .map(|condition| match condition {
                    Condition::Value(value) => value.len() + 5,
                    _ => 9,
                })
                .sum::<usize>()
        };
        match self {
            Self::Put { put, conditions } => put.bytes() + condition_bytes(conditions) + 24,
            Self::Delete { delete, conditions } => {
                let target = match &delete.target {
                    Keys::One(key) | Keys::Prefix(key) => key.len(),
                    Keys::Between { from, to } => from.len() + to.as_ref().map_or(0, Bytes::len),
                };
                target + condition_bytes(conditions) + 17
            }
            Self::Compact { .. } => 9,
            Self::Transaction(transaction) => transaction.bytes() + 1,
            Self::Lease(LeaseCommand::Checkpoint { leases }) => 6 + 24 * leases.len(),
            Self::Lease(_) => 32,
            Self::Alarm(_) => 34,
        }
    }
}

fn check_key(key: &Bytes) -> Result<(), InvalidCommand> {
    if key.is_empty() {
        return Err(InvalidCommand::KeyEmpty);
    }
    check_key_length(key)
}

fn check_key_length(key: &Bytes) -> Result<(), InvalidCommand> {
    match key.len() {
        length if length <= KEY_BYTES_MAX => Ok(()),
        bytes => Err(InvalidCommand::KeyTooLarge { bytes }),
    }
}

fn check_value(value: &Bytes) -> Result<(), InvalidCommand> {
    match value.len() {
        length if length <= VALUE_BYTES_MAX => Ok(()),
        bytes => Err(InvalidCommand::ValueTooLarge { bytes }),
    }
}

fn check_conditions(conditions: &[Condition]) -> Result<(), InvalidCommand> {
    if conditions.len() > CONDITIONS_MAX {
        return Err(InvalidCommand::TooManyConditions { count: conditions.len() });
    }
    for condition in conditions {
        if let Condition::Value(value) = condition {
            check_value(value)?;
        }
    }
    Ok(())
}

fn check_lease_command(command: &LeaseCommand) -> Result<(), InvalidCommand> {
    match command {
        LeaseCommand::Grant { ttl_millis, .. } => put::check_ttl(*ttl_millis),
        LeaseCommand::Checkpoint { leases } if leases.len() > CHECKPOINT_LEASES_MAX => {
            Err(InvalidCommand::TooManyLeases { count: leases.len() })
        }
        _ => Ok(()),
    }
}

impl Wire for Command {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Put { put, conditions } => {
                if let (PutValue::New(value), true) = (&put.value, put.is_plain()) {
                    out.put_u8(1);
                    codec::put_bytes(out, &put.key);
                    codec::put_bytes(out, value);
                    codec::put_list(out, conditions);
                    return put.return_previous.encode(out);
                }
                out.put_u8(4);
                put.encode(out);
                codec::put_list(out, conditions);
            }
            Self::Delete { delete, conditions } => {
                out.put_u8(2);
                delete.target.encode(out);
                codec::put_list(out, conditions);
                delete.return_previous.encode(out);
            }
            Self::Compact { revision } => {
                out.put_u8(3);
                out.put_u64_le(revision.0);
            }
            Self::Transaction(transaction) => {
                out.put_u8(5);
                transaction.encode(out);
            }
            Self::Lease(command) => {
                out.put_u8(6);
                command.encode(out);
            }
            Self::Alarm(command) => {
                out.put_u8(7);
                command.encode(out);
            }
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        match codec::get_u8(input)? {
            1 => {
                let mut put = Put::new(codec::get_bytes(input)?, codec::get_bytes(input)?);
                let conditions = condition::get_conditions(input)?;
                put.return_previous = bool::decode(input)?;
                Ok(Self::Put { put, conditions })
            }
            2 => {
                let target = Keys::decode(input)?;
                let conditions = condition::get_conditions(input)?;
                let delete = Delete { target, return_previous: bool::decode(input)? };
                Ok(Self::Delete { delete, conditions })
            }
            3 => Ok(Self::Compact { revision: Revision(codec::get_u64(input)?) }),
            4 => {
                let put = Put::decode(input)?;
                Ok(Self::Put { put, conditions: condition::get_conditions(input)? })
            }
            5 => Transaction::decode(input).map(Self::Transaction),
            6 => LeaseCommand::decode(input).map(Self::Lease),
            7 => AlarmCommand::decode(input).map(Self::Alarm),
            _ => Err(CodecError::Invalid("command")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_name_the_offending_number() {
        let put = |key: Bytes, value: Bytes, conditions| Command::Put {
            put: Put::new(key, value),
            conditions,
        };
        let zeros = |length: usize| Bytes::from(vec![0; length]);
        assert_eq!(put(zeros(KEY_BYTES_MAX), zeros(VALUE_BYTES_MAX), Vec::new()).check(), Ok(()));
        assert_eq!(put(zeros(0), zeros(0), Vec::new()).check(), Err(InvalidCommand::KeyEmpty));
        assert_eq!(
            put(zeros(KEY_BYTES_MAX + 1), zeros(0), Vec::new()).check(),
            Err(InvalidCommand::KeyTooLarge { bytes: KEY_BYTES_MAX + 1 })
        );
        assert_eq!(
            put(zeros(1), zeros(VALUE_BYTES_MAX + 1), Vec::new()).check(),
            Err(InvalidCommand::ValueTooLarge { bytes: VALUE_BYTES_MAX + 1 })
        );
        assert_eq!(
            put(zeros(1), zeros(1), vec![Condition::Absent; CONDITIONS_MAX + 1]).check(),
            Err(InvalidCommand::TooManyConditions { count: CONDITIONS_MAX + 1 })
        );
    }
}
