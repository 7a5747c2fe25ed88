//! The payload of a log entry: a command with the address of who asked for it, and perhaps a key.

use bytes::{BufMut, Bytes, BytesMut};
use consensus::NodeId;
use consensus::codec::{CodecError, Wire};

use crate::command::Command;
use crate::idempotency::Idempotency;

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
    pub const FORMAT: u8 = 3;
    /// The first byte of the encoding of an envelope with an idempotency key, which stands between the
    /// header and the command.
    pub const FORMAT_WITH_KEY: u8 = 4;
    /// The same two, in logs of before rows had times; the rest is as now. Rows of such an entry have none,
    /// whichever version applies it, so that all nodes have the same.
    const FORMATS_BEFORE: [u8; 2] = [1, 2];

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
        let formats = [Self::FORMAT, Self::FORMAT_WITH_KEY];
        if !formats.contains(&header[0]) && !Self::FORMATS_BEFORE.contains(&header[0]) {
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
        let with_key = [Self::FORMAT_WITH_KEY, Self::FORMATS_BEFORE[1]];
        payload.first().is_some_and(|format| with_key.contains(format))
    }

    /// Whether the rows that an encoded envelope makes have times. Looks at its first byte alone.
    pub(crate) fn is_timed(payload: &Bytes) -> bool {
        payload.first().is_some_and(|format| !Self::FORMATS_BEFORE.contains(format))
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

#[cfg(test)]
mod tests {
    use consensus::{Index, Term};

    use super::*;
    use crate::lease::Checkpoint;
    use crate::{
        AlarmCommand, Compare, CompareOperator, CompareTarget, Condition, Corruption, Delete,
        IdempotencyKey, Keys, LeaseCommand, LeaseId, Operation, Order, Put, PutLease, PutValue,
        Range, Revision, SortBy, Transaction,
    };

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
        let plain = Put::new("k".into(), "v".into());
        let lease = LeaseId::new(-7).expect("not 0");
        let kept = Put { value: PutValue::Keep, lease: PutLease::Keep, ..plain.clone() };
        let attached = Put { lease: PutLease::Attach(lease), ..plain.clone() };
        let granted = PutLease::Grant { ttl_millis: 9 };
        let sequential = Put { lease: granted, sequential: true, ..plain.clone() };
        let returning = Put { return_previous: true, ..plain.clone() };
        let with = |put: &Put, conditions: &[Condition]| Command::Put {
            put: put.clone(),
            conditions: conditions.to_vec(),
        };
        let delete = Delete { target: Keys::all(), return_previous: true };
        let mut commands = vec![
            with(&plain, &[]),
            with(&returning, &conditions),
            with(&kept, &conditions),
            with(&attached, &[]),
            with(&sequential, &[]),
            Command::Delete { delete: delete.clone(), conditions },
            Command::Compact { revision: Revision(5) },
            Command::Transaction(Transaction::default()),
            Command::Transaction(transaction(&[plain, kept], &delete)),
        ];
        let checkpoint = Checkpoint { lease, renewed: Index(4), remaining_millis: 5 };
        let of_leases = [
            LeaseCommand::Grant { lease: None, ttl_millis: 1 },
            LeaseCommand::Grant { lease: Some(lease), ttl_millis: 1 },
            LeaseCommand::Revoke { lease },
            LeaseCommand::Renew { lease },
            LeaseCommand::Checkpoint { leases: vec![checkpoint, checkpoint] },
            LeaseCommand::Expire { lease, renewed: Index(4), term: Term(3) },
        ];
        commands.extend(of_leases.map(Command::Lease));
        let corruption = Corruption { index: Index(4), compared_with: NodeId(1) };
        let of_alarms = [
            AlarmCommand::Compare { index: Index(4), digest: 5 << 100, leader: NodeId(1) },
            AlarmCommand::Raise { node: NodeId(2), corruption },
            AlarmCommand::Clear { node: NodeId(2) },
        ];
        commands.extend(of_alarms.map(Command::Alarm));
        commands
    }

    /// One with everything in it.
    fn transaction(puts: &[Put], delete: &Delete) -> Transaction {
        let targets = [
            CompareTarget::Version(1),
            CompareTarget::CreateRevision(-2),
            CompareTarget::ModRevision(3),
            CompareTarget::Lease(4),
            CompareTarget::Value("v".into()),
        ];
        let compares = targets.into_iter().map(|target| {
            let (keys, operator) = (Keys::Prefix("k".into()), CompareOperator::Greater);
            Compare { keys, operator, target }
        });
        let read = Range {
            at: Some(Revision(3)),
            limit: Some(4),
            order: Order::Descending,
            sort: SortBy::Value,
            keys_only: true,
            ..Range::of(Keys::all())
        };
        let puts = puts.iter().cloned().map(Operation::Put);
        let others = [Operation::Delete(delete.clone()), Operation::Read(Box::new(read))];
        let within = Transaction { success: puts.chain(others).collect(), ..Default::default() };
        Transaction {
            compares: compares.collect(),
            success: vec![Operation::Transaction(Box::new(within.clone()))],
            failure: within.success,
        }
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
        bytes[0] = 5;
        let bytes = Bytes::from(bytes);
        assert_eq!(Envelope::header(&bytes), Err(CodecError::Invalid("command format")));
        assert_eq!(Envelope::from_bytes(bytes), Err(CodecError::Invalid("command format")));
    }

    #[test]
    fn envelopes_of_before_there_were_times_are_read_and_have_none() {
        let command = Command::Compact { revision: Revision(1) };
        for (envelope, before) in [(envelope(command.clone()), 1), (with_key(command, "key"), 2)] {
            let bytes = envelope.to_bytes();
            assert!(Envelope::is_timed(&bytes));
            let bytes = Bytes::from([&[before], &bytes[1..]].concat());
            assert!(!Envelope::is_timed(&bytes));
            assert_eq!(Envelope::has_key(&bytes), envelope.idempotency.is_some());
            assert_eq!(Envelope::header(&bytes), Ok(envelope.address()));
            assert_eq!(Envelope::from_bytes(bytes), Ok(envelope));
        }
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
}
