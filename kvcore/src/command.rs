//! Commands, as they travel through the log.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};

use crate::Keys;
use crate::store::Revision;

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
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// All must hold for the key as it is now, or nothing is changed.
        conditions: Vec<Condition>,
        /// Whether the outcome tells what the value replaced.
        return_previous: bool,
    },
    /// Deletes keys, all in one revision.
    Delete {
        /// Which keys.
        target: Keys,
        /// All must hold for every existing key of the target, or nothing is changed. When there is
        /// none they must hold for an absent key.
        conditions: Vec<Condition>,
        /// Whether the outcome tells what was deleted.
        return_previous: bool,
    },
    /// Forgets what was superseded or deleted before or by this revision. The revision itself can
    /// still be read.
    Compact {
        /// The oldest revision that stays readable.
        revision: Revision,
    },
}

impl Command {
    /// Whether the command keeps to the limits. Checked before a command is proposed, and again when
    /// it is applied, because the log may hold anything.
    ///
    /// # Errors
    /// The limit that is violated, with the offending number.
    pub fn check(&self) -> Result<(), InvalidCommand> {
        match self {
            Self::Put { key, value, conditions, .. } => {
                check_key(key)?;
                check_value(value)?;
                check_conditions(conditions)
            }
            Self::Delete { target, conditions, .. } => {
                match target {
                    Keys::One(key) => check_key(key)?,
                    Keys::Prefix(prefix) => check_key_length(prefix)?,
                    Keys::Between { from, to } => {
                        check_key_length(from)?;
                        to.as_ref().map_or(Ok(()), check_key_length)?;
                    }
                }
                check_conditions(conditions)
            }
            Self::Compact { .. } => Ok(()),
        }
    }

    /// Whether it is applied in constant time and from memory alone: a put or a deletion of one key,
    /// unless its value is compared.
    #[must_use]
    pub fn takes_constant_time(&self) -> bool {
        match self {
            Self::Put { conditions, .. }
            | Self::Delete { target: Keys::One(_), conditions, .. } => {
                !conditions.iter().any(|condition| matches!(condition, Condition::Value(_)))
            }
            Self::Delete { .. } | Self::Compact { .. } => false,
        }
    }

    /// What must hold for it to be carried out.
    pub(crate) fn conditions(&self) -> &[Condition] {
        match self {
            Self::Put { conditions, .. } | Self::Delete { conditions, .. } => conditions,
            Self::Compact { .. } => &[],
        }
    }

    /// Whether the outcome tells what was there before.
    pub(crate) fn returns_previous(&self) -> bool {
        match self {
            Self::Put { return_previous, .. } | Self::Delete { return_previous, .. } => {
                *return_previous
            }
            Self::Compact { .. } => false,
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
            Self::Put { key, value, conditions, .. } => {
                key.len() + value.len() + condition_bytes(conditions) + 14
            }
            Self::Delete { target, conditions, .. } => {
                let target = match target {
                    Keys::One(key) | Keys::Prefix(key) => key.len(),
                    Keys::Between { from, to } => from.len() + to.as_ref().map_or(0, Bytes::len),
                };
                target + condition_bytes(conditions) + 17
            }
            Self::Compact { .. } => 9,
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

impl Wire for Command {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Put { key, value, conditions, return_previous } => {
                out.put_u8(1);
                codec::put_bytes(out, key);
                codec::put_bytes(out, value);
                codec::put_list(out, conditions);
                return_previous.encode(out);
            }
            Self::Delete { target, conditions, return_previous } => {
                out.put_u8(2);
                target.encode(out);
                codec::put_list(out, conditions);
                return_previous.encode(out);
            }
            Self::Compact { revision } => {
                out.put_u8(3);
                out.put_u64_le(revision.0);
            }
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        match codec::get_u8(input)? {
            1 => Ok(Self::Put {
                key: codec::get_bytes(input)?,
                value: codec::get_bytes(input)?,
                conditions: get_conditions(input)?,
                return_previous: bool::decode(input)?,
            }),
            2 => Ok(Self::Delete {
                target: Keys::decode(input)?,
                conditions: get_conditions(input)?,
                return_previous: bool::decode(input)?,
            }),
            3 => Ok(Self::Compact { revision: Revision(codec::get_u64(input)?) }),
            _ => Err(CodecError::Invalid("command")),
        }
    }
}

/// Most commands have no conditions, and an empty list needs no memory.
fn get_conditions(input: &mut Bytes) -> Result<Vec<Condition>, CodecError> {
    match input.first_chunk::<4>() {
        Some([0, 0, 0, 0]) => {
            let _ = input.split_to(4);
            Ok(Vec::new())
        }
        _ => codec::get_list(input),
    }
}

/// What must be so of a key for a command to be carried out. An absent key has version 0 and was
/// modified at revision 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Condition {
    /// The key does not exist.
    Absent,
    /// The key was written this many times since it was created.
    Version(u64),
    /// The key was last written by this revision.
    ModRevision(Revision),
    /// The key exists and has this value.
    Value(Bytes),
}

impl Wire for Condition {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Absent => out.put_u8(0),
            Self::Version(version) => {
                out.put_u8(1);
                out.put_u64_le(*version);
            }
            Self::ModRevision(revision) => {
                out.put_u8(2);
                out.put_u64_le(revision.0);
            }
            Self::Value(value) => {
                out.put_u8(3);
                codec::put_bytes(out, value);
            }
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        match codec::get_u8(input)? {
            0 => Ok(Self::Absent),
            1 => Ok(Self::Version(codec::get_u64(input)?)),
            2 => Ok(Self::ModRevision(Revision(codec::get_u64(input)?))),
            3 => Ok(Self::Value(codec::get_bytes(input)?)),
            _ => Err(CodecError::Invalid("condition")),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => write!(f, "the key is absent"),
            Self::Version(version) => write!(f, "the version is {version}"),
            Self::ModRevision(revision) => write!(f, "the mod_revision is {revision}"),
            Self::Value(value) => write!(f, "the value is a certain one of {} bytes", value.len()),
        }
    }
}

/// The limit that a command violates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvalidCommand {
    /// A key has no bytes.
    KeyEmpty,
    /// A key, or an end of a range of keys, is too long.
    KeyTooLarge {
        /// Its length.
        bytes: usize,
    },
    /// A value is too long.
    ValueTooLarge {
        /// Its length.
        bytes: usize,
    },
    /// There are too many conditions.
    TooManyConditions {
        /// How many there are.
        count: usize,
    },
}

impl fmt::Display for InvalidCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyEmpty => write!(f, "the key is empty; it needs 1 to {KEY_BYTES_MAX} bytes"),
            Self::KeyTooLarge { bytes } => {
                write!(f, "the key has {bytes} bytes; at most {KEY_BYTES_MAX} are allowed")
            }
            Self::ValueTooLarge { bytes } => {
                write!(f, "the value has {bytes} bytes; at most {VALUE_BYTES_MAX} are allowed")
            }
            Self::TooManyConditions { count } => {
                write!(f, "there are {count} conditions; at most {CONDITIONS_MAX} are allowed")
            }
        }
    }
}

impl std::error::Error for InvalidCommand {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_name_the_offending_number() {
        let put = |key: Bytes, value: Bytes, conditions| Command::Put {
            key,
            value,
            conditions,
            return_previous: false,
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
