//! Commands, as they travel through the log.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::NodeId;
use consensus::codec::{self, CodecError, Wire};

use crate::Keys;
use crate::idempotency::Idempotency;
use crate::store::Revision;

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 64 << 10;
/// The longest value that any server may be configured to take, in bytes.
pub const VALUE_BYTES_MAX: usize = 16 << 20;
/// The most conditions of one command.
pub const CONDITIONS_MAX: usize = 64;

/// The number of a request at the node that took it; unique within one incarnation of that node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Who asked: by this a node knows its own commands when they are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Header {
    /// The node that took the request from a client.
    pub origin: NodeId,
    /// Which run of that node it was: requests of an earlier run have nobody to answer any more.
    pub incarnation: u64,
    /// The request within that run.
    pub request: RequestId,
}

impl Header {
    /// Bytes of a header, the format byte included.
    pub const BYTES: usize = 1 + 8 + 8 + 8;
}

/// A command with the address of who asked for it: the payload of a log entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Envelope {
    /// The node that took the request from a client.
    pub origin: NodeId,
    /// Which run of that node it was.
    pub incarnation: u64,
    /// The request within that run.
    pub request: RequestId,
    /// The key under which it takes effect at most once, if it has one.
    pub idempotency: Option<Idempotency>,
    /// What is to be done.
    pub command: Command,
}

impl Envelope {
    /// The first byte of the encoding.
    pub const FORMAT: u8 = 1;
    /// The first byte of the encoding of an envelope with an idempotency key, which stands between the
    /// header and the command.
    pub const FORMAT_WITH_KEY: u8 = 2;

    /// Who asked.
    #[must_use]
    pub fn address(&self) -> Header {
        let Self { origin, incarnation, request, .. } = *self;
        Header { origin, incarnation, request }
    }

    /// Reads the header alone, which stands at a fixed place: the command is not looked at.
    ///
    /// # Errors
    /// When the payload is too short or of an unknown format.
    pub fn header(payload: &Bytes) -> Result<Header, CodecError> {
        let header = payload.first_chunk::<{ Header::BYTES }>().ok_or(CodecError::Truncated)?;
        if ![Self::FORMAT, Self::FORMAT_WITH_KEY].contains(&header[0]) {
            return Err(CodecError::Invalid("command format"));
        }
        let number = |at: usize| {
            u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes of the header"))
        };
        Ok(Header {
            origin: NodeId(number(1)),
            incarnation: number(9),
            request: RequestId(number(17)),
        })
    }

    /// Whether an encoded envelope has an idempotency key. Looks at its first byte alone.
    #[must_use]
    pub fn has_key(payload: &Bytes) -> bool {
        payload.first() == Some(&Self::FORMAT_WITH_KEY)
    }

    /// The digest of the command in an encoded envelope with this key: equal commands have equal ones.
    pub(crate) fn command_digest(payload: &Bytes, idempotency: &Idempotency) -> u128 {
        let command_at = Header::BYTES + idempotency.encoded_bytes();
        twox_hash::xxhash3_128::Hasher::oneshot(&payload[command_at..])
    }
}

impl Wire for Envelope {
    fn encode(&self, out: &mut BytesMut) {
        let format = match self.idempotency {
            None => Self::FORMAT,
            Some(_) => Self::FORMAT_WITH_KEY,
        };
        out.put_u8(format);
        self.origin.encode(out);
        out.put_u64_le(self.incarnation);
        out.put_u64_le(self.request.0);
        if let Some(idempotency) = &self.idempotency {
            idempotency.encode(out);
        }
        self.command.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        let Header { origin, incarnation, request } = Self::header(input)?;
        let has_key = Self::has_key(input);
        let _ = input.split_to(Header::BYTES);
        let idempotency = if has_key { Some(Idempotency::decode(input)?) } else { None };
        let command = Command::decode(input)?;
        Ok(Self { origin, incarnation, request, idempotency, command })
    }

    fn to_bytes(&self) -> Bytes {
        let key_bytes = self.idempotency.as_ref().map_or(0, Idempotency::encoded_bytes);
        let bytes = Header::BYTES + key_bytes + self.command.size_bytes_estimate();
        let mut out = BytesMut::with_capacity(bytes);
        self.encode(&mut out);
        out.freeze()
    }
}

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
    fn size_bytes_estimate(&self) -> usize {
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
    use consensus::Index;

    use super::*;
    use crate::IdempotencyKey;

    fn envelope(command: Command) -> Envelope {
        let (origin, incarnation, request) = (NodeId(3), 7, RequestId(u64::MAX));
        Envelope { origin, incarnation, request, idempotency: None, command }
    }

    fn with_key(command: Command, key: &str) -> Envelope {
        let key = IdempotencyKey::new(key.as_bytes()).expect("a key");
        let idempotency = Some(Idempotency { key, since: Index(12) });
        Envelope { idempotency, ..envelope(command) }
    }

    fn commands() -> Vec<Command> {
        let conditions = vec![
            Condition::Absent,
            Condition::Version(2),
            Condition::ModRevision(Revision(9)),
            Condition::Value("v".into()),
        ];
        vec![
            Command::Put {
                key: "k".into(),
                value: "v".into(),
                conditions: Vec::new(),
                return_previous: false,
            },
            Command::Put {
                key: "k".into(),
                value: Bytes::new(),
                conditions: conditions.clone(),
                return_previous: true,
            },
            Command::Delete { target: Keys::all(), conditions, return_previous: true },
            Command::Compact { revision: Revision(5) },
        ]
    }

    #[test]
    fn every_command_survives_its_encoding_and_its_header_is_read_alone() {
        let bare = commands().into_iter().map(envelope);
        let keyed = commands().into_iter().map(|command| with_key(command, "key"));
        for envelope in bare.chain(keyed) {
            let bytes = envelope.to_bytes();
            assert_eq!(Envelope::has_key(&bytes), envelope.idempotency.is_some());
            let header = Envelope::header(&bytes).expect("a header");
            assert_eq!(header.origin, NodeId(3));
            assert_eq!(header.incarnation, 7);
            assert_eq!(header.request, RequestId(u64::MAX));
            assert_eq!(Envelope::from_bytes(bytes), Ok(envelope));
        }
    }

    #[test]
    fn every_truncation_and_every_trailing_byte_is_an_error() {
        let bare = commands().into_iter().map(envelope);
        let keyed = commands().into_iter().map(|command| with_key(command, "key"));
        for envelope in bare.chain(keyed) {
            let bytes = envelope.to_bytes();
            for length in 0..bytes.len() {
                assert!(Envelope::from_bytes(bytes.slice(..length)).is_err());
            }
            let longer = Bytes::from([&bytes[..], &[0]].concat());
            assert_eq!(Envelope::from_bytes(longer), Err(CodecError::Invalid("trailing bytes")));
        }
    }

    #[test]
    fn another_format_is_refused() {
        let mut bytes = envelope(Command::Compact { revision: Revision(1) }).to_bytes().to_vec();
        bytes[0] = 3;
        let bytes = Bytes::from(bytes);
        assert_eq!(Envelope::header(&bytes), Err(CodecError::Invalid("command format")));
        assert_eq!(Envelope::from_bytes(bytes), Err(CodecError::Invalid("command format")));
    }

    #[test]
    fn the_digest_is_that_of_the_command_alone() {
        let digest = |command: &Command, key: &str, request| {
            let envelope = Envelope { request, ..with_key(command.clone(), key) };
            let idempotency = envelope.idempotency.clone().expect("it has a key");
            Envelope::command_digest(&envelope.to_bytes(), &idempotency)
        };
        let commands = commands();
        let digests: std::collections::BTreeSet<_> =
            commands.iter().map(|command| digest(command, "key", RequestId(1))).collect();
        assert_eq!(digests.len(), commands.len());
        for command in &commands {
            let other = digest(command, "another-key", RequestId(2));
            assert_eq!(digest(command, "key", RequestId(1)), other);
        }
    }

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
