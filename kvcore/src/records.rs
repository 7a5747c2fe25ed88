//! What a store has besides rows: leases, the counters of sequential keys, families, and alarms.
//!
//! Records are few and change in place. So each has a key and a value, and what entries change of them
//! goes to the store with the batch that reaches those entries, as the rows do. Their digest is the sum of
//! the hashes of all of them, and a part of the state.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};
use consensus::{Index, NodeId};
use twox_hash::xxhash3_128::Hasher;

use crate::alarm::Corruption;
use crate::family::Family;
use crate::lease::{LeaseId, LeaseTime};

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    /// A lease.
    Lease(LeaseId),
    /// The counter of the sequential keys with a prefix.
    Sequence(Bytes),
    /// An alarm about a node.
    Alarm(NodeId),
    /// The children of a key that exists.
    Family(Bytes),
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordValue {
    /// Of a lease, its time.
    Lease(LeaseTime),
    /// Of a counter, the number that comes next.
    Sequence(u64),
    /// Of an alarm, what was found.
    Alarm(Corruption),
    /// Of children, what became of them.
    Family(Family),
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// What it is about.
    pub key: RecordKey,
    /// What it says.
    pub value: RecordValue,
}

impl Record {
    /// The record's share of the digest. The same on every machine and in every version.
    fn hash(&self) -> u128 {
        Hasher::oneshot(&self.to_bytes())
    }

    /// Whether the value is one for such a key.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        matches!(
            (&self.key, &self.value),
            (RecordKey::Lease(_), RecordValue::Lease(_))
                | (RecordKey::Sequence(_), RecordValue::Sequence(_))
                | (RecordKey::Alarm(_), RecordValue::Alarm(_))
                | (RecordKey::Family(_), RecordValue::Family(_))
        )
    }
}

/// A record that changed: what it says now, or `None` if it is gone.
pub type RecordChange = (RecordKey, Option<RecordValue>);

/// What the machine keeps of records besides what they are about: their digest, and what the store does
/// not have yet.
#[derive(Debug, Default)]
pub(crate) struct Records {
    digest: u128,
    /// The bytes of all that there are.
    bytes: usize,
    unflushed: VecDeque<(Index, RecordChange)>,
    unflushed_bytes: usize,
}

impl Records {
    /// A record was changed by an entry.
    pub(crate) fn change(
        &mut self,
        index: Index,
        key: RecordKey,
        before: Option<RecordValue>,
        now: Option<RecordValue>,
    ) {
        self.weigh(&key, before, now);
        // A deletion of many children changes one record many times.
        if let Some((last, (changed, value))) = self.unflushed.back_mut()
            && (*last, &*changed) == (index, &key)
        {
            *value = now;
            return;
        }
        self.unflushed_bytes += change_bytes(&key);
        self.unflushed.push_back((index, (key, now)));
    }

    /// A record is in the store that is being opened.
    pub(crate) fn load(&mut self, record: &Record) {
        self.weigh(&record.key, None, Some(record.value));
    }

    fn weigh(&mut self, key: &RecordKey, before: Option<RecordValue>, now: Option<RecordValue>) {
        let hash = |value| Record { key: key.clone(), value }.hash();
        self.digest =
            self.digest.wrapping_sub(before.map_or(0, hash)).wrapping_add(now.map_or(0, hash));
        self.bytes += now.map_or(0, |_| change_bytes(key));
        self.bytes -= before.map_or(0, |_| change_bytes(key));
    }

    pub(crate) fn digest(&self) -> u128 {
        self.digest
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn unflushed_bytes(&self) -> usize {
        self.unflushed_bytes
    }

    /// What entries after one and up to another changed, in order.
    pub(crate) fn unflushed(&self, up_to: Index) -> impl Iterator<Item = &(Index, RecordChange)> {
        self.unflushed.iter().take_while(move |(index, _)| *index <= up_to)
    }

    /// Everything up to an entry is in the store.
    pub(crate) fn flushed(&mut self, up_to: Index) {
        while let Some((_, (key, _))) = self.unflushed.pop_front_if(|(index, _)| *index <= up_to) {
            self.unflushed_bytes -= change_bytes(&key);
        }
    }
}

/// The size of a record, and of a change of one, in every byte limit.
pub(crate) fn change_bytes(key: &RecordKey) -> usize {
    let key = match key {
        RecordKey::Lease(_) | RecordKey::Alarm(_) => 0,
        RecordKey::Sequence(key) | RecordKey::Family(key) => key.len(),
    };
    key + size_of::<RecordChange>()
}

impl Wire for RecordKey {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Lease(lease) => {
                out.put_u8(0);
                lease.encode(out);
            }
            Self::Sequence(prefix) => {
                out.put_u8(1);
                out.put_slice(prefix);
            }
            Self::Family(parent) => {
                out.put_u8(2);
                out.put_slice(parent);
            }
            Self::Alarm(node) => {
                out.put_u8(3);
                node.encode(out);
            }
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        match codec::get_u8(input)? {
            0 => Ok(Self::Lease(LeaseId::decode(input)?)),
            // It is alone in its bytes: the key of a table, or counted by whoever sends it.
            1 => Ok(Self::Sequence(input.split_off(0))),
            2 => Ok(Self::Family(input.split_off(0))),
            3 => Ok(Self::Alarm(NodeId::decode(input)?)),
            _ => Err(CodecError::Invalid("record")),
        }
    }
}

impl Wire for RecordValue {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Lease(time) => {
                out.put_u8(0);
                time.encode(out);
            }
            Self::Sequence(next) => {
                out.put_u8(1);
                out.put_u64_le(*next);
            }
            Self::Family(family) => {
                out.put_u8(2);
                family.encode(out);
            }
            Self::Alarm(corruption) => {
                out.put_u8(3);
                corruption.encode(out);
            }
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(match codec::get_u8(input)? {
            0 => Self::Lease(LeaseTime::decode(input)?),
            1 => Self::Sequence(codec::get_u64(input)?),
            2 => Self::Family(Family::decode(input)?),
            3 => Self::Alarm(Corruption::decode(input)?),
            _ => return Err(CodecError::Invalid("what a record says")),
        })
    }
}

impl Wire for Record {
    fn encode(&self, out: &mut BytesMut) {
        codec::put_bytes(out, &self.key.to_bytes());
        self.value.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        let key = RecordKey::from_bytes(codec::get_bytes(input)?)?;
        let record = Self { key, value: RecordValue::decode(input)? };
        if record.is_consistent() { Ok(record) } else { Err(CodecError::Invalid("record")) }
    }
}

/// Records as they travel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordRows(pub Vec<Record>);

impl Wire for RecordRows {
    fn encode(&self, out: &mut BytesMut) {
        codec::put_list(out, &self.0);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        codec::get_list(input).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(number: i64, remaining_millis: u64) -> Record {
        let time = LeaseTime { ttl_millis: 10_000, remaining_millis, renewed: Index(7) };
        let key = RecordKey::Lease(LeaseId::new(number).expect("not 0"));
        Record { key, value: RecordValue::Lease(time) }
    }

    fn sequence(prefix: &'static str, next: u64) -> Record {
        Record { key: RecordKey::Sequence(prefix.into()), value: RecordValue::Sequence(next) }
    }

    fn family(key: &'static str, cversion: u64, pzxid: u64) -> Record {
        let family = Family { cversion, pzxid: crate::Revision(pzxid) };
        Record { key: RecordKey::Family(key.into()), value: RecordValue::Family(family) }
    }

    fn alarm(node: u64, index: u64) -> Record {
        let corruption = Corruption { index: Index(index), compared_with: NodeId(1) };
        Record { key: RecordKey::Alarm(NodeId(node)), value: RecordValue::Alarm(corruption) }
    }

    #[test]
    fn every_record_survives_its_encoding_and_every_part_counts_in_its_hash() {
        let mut records = vec![lease(1, 2), lease(-1, 2), lease(1, 3)];
        records.extend([sequence("", 1), sequence("a", 1), sequence("a", 2)]);
        records.extend([
            family("a", 1, 2),
            family("b", 1, 2),
            family("a", 2, 2),
            family("a", 1, 3),
        ]);
        records.extend([alarm(1, 2), alarm(2, 2), alarm(1, 3)]);
        let hashes: std::collections::BTreeSet<u128> = records.iter().map(Record::hash).collect();
        assert_eq!(hashes.len(), records.len());
        for record in &records {
            let bytes = record.to_bytes();
            for length in 0..bytes.len() {
                assert!(Record::from_bytes(bytes.slice(..length)).is_err());
            }
        }
        let rows = RecordRows(records);
        assert_eq!(RecordRows::from_bytes(rows.to_bytes()), Ok(rows));
        let wrong = Record { value: RecordValue::Sequence(1), ..lease(1, 1) };
        assert_eq!(Record::from_bytes(wrong.to_bytes()), Err(CodecError::Invalid("record")));
    }

    #[test]
    fn the_digest_is_that_of_what_is_there_however_it_came_about() {
        let (mut one, mut other) = (Records::default(), Records::default());
        let (before, now) = (lease(1, 5), lease(1, 4));
        one.load(&now);
        other.change(Index(1), before.key.clone(), None, Some(before.value));
        let gone = sequence("a", 1);
        other.change(Index(2), gone.key.clone(), None, Some(gone.value));
        other.change(Index(3), now.key.clone(), Some(before.value), Some(now.value));
        other.change(Index(3), gone.key, Some(gone.value), None);
        assert_eq!(one.digest(), other.digest());
        assert_eq!(one.bytes(), other.bytes());
        assert_eq!(one.bytes(), change_bytes(&now.key));
        other.change(Index(3), now.key.clone(), Some(now.value), Some(before.value));
        other.change(Index(3), now.key.clone(), Some(before.value), Some(now.value));
        assert_eq!(other.unflushed(Index(2)).count(), 2);
        other.flushed(Index(2));
        assert_eq!(
            other.unflushed(Index(9)).count(),
            3,
            "what changes one record again is one change"
        );
        other.flushed(Index(3));
        assert_eq!(other.unflushed_bytes(), 0);
    }
}
