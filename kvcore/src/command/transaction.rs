//! Transactions: comparisons, and what is done if all of them hold or if not.
//!
//! Whether a transaction is valid is a matter of what is in the log and of the state before it, and decided
//! when it is applied, the same on every node. (etcd checked some of it where the client asked, and its
//! replicas drifted apart: pull request 21432.)

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};

use super::put::check_keys;
use super::{Delete, InvalidCommand, Put, check_value};
use crate::keys::{Keys, Span};

use crate::lease::LeaseId;
use crate::range::{Order, Range, SortBy};
use crate::read::KeyValue;
use crate::store::Revision;

/// The most comparisons of a transaction, and the most operations of each branch; those of a transaction
/// within count with those around it, as in etcd.
pub const OPERATIONS_MAX: usize = 128;
/// The most comparisons and operations of a transaction with all that are within it.
pub const OPERATIONS_TOTAL_MAX: usize = 1024;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// What is compared.
    pub compares: Vec<Compare>,
    /// What is done if all of it holds.
    pub success: Vec<Operation>,
    /// What is done otherwise.
    pub failure: Vec<Operation>,
}

/// A comparison. Of several keys it must hold for each. A key that does not exist has 0 for every number and
/// no value: nothing that is compared with its value holds. So it is when there is no key at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Compare {
    /// Which keys.
    pub keys: Keys,
    /// How what is there must stand to what is given.
    pub operator: CompareOperator,
    /// What is compared, and with what.
    pub target: CompareTarget,
}

impl Compare {
    /// That a key was created by this revision and not deleted since; by 0, that it does not exist. So etcd's
    /// recipes tell whose key it is.
    #[must_use]
    pub fn is_created_by(key: Bytes, revision: Revision) -> Self {
        let target = CompareTarget::CreateRevision(i64::try_from(revision.0).unwrap_or(i64::MAX));
        Self { keys: Keys::One(key), operator: CompareOperator::Equal, target }
    }

    /// Whether it holds for a key as it was found, or, when there is none of its keys, for that. Of several
    /// keys it must hold for each.
    #[must_use]
    pub fn holds(&self, found: Option<&KeyValue>) -> bool {
        let number =
            |of: fn(&KeyValue) -> u64| i64::try_from(found.map_or(0, of)).unwrap_or(i64::MAX);
        let order = match &self.target {
            CompareTarget::Version(given) => number(|found| found.version).cmp(given),
            CompareTarget::CreateRevision(given) => {
                number(|found| found.create_revision.0).cmp(given)
            }
            CompareTarget::ModRevision(given) => number(|found| found.mod_revision.0).cmp(given),
            CompareTarget::Lease(given) => {
                LeaseId::number(found.and_then(|found| found.lease)).cmp(given)
            }
            CompareTarget::Value(given) => match found {
                Some(found) => found.value.cmp(given),
                None => return false,
            },
        };
        self.operator.allows(order)
    }
}

/// How something stands to something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareOperator {
    /// The same.
    Equal,
    /// Another.
    NotEqual,
    /// Less.
    Less,
    /// Greater.
    Greater,
}

impl CompareOperator {
    /// Whether things in this order stand so.
    #[must_use]
    pub fn allows(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::Greater => order.is_gt(),
        }
    }
}

/// What is compared, and with what. Numbers are signed, because clients may ask for any.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CompareTarget {
    /// The version.
    Version(i64),
    /// The revision that created the key.
    CreateRevision(i64),
    /// The revision that last wrote it.
    ModRevision(i64),
    /// The value.
    Value(Bytes),
    /// The number of the lease.
    Lease(i64),
}

/// One of the things that a transaction does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Stores a value.
    Put(Put),
    /// Deletes keys.
    Delete(Delete),
    /// Reads: what the operations before it wrote, too.
    Read(Box<Range>),
    /// Another transaction. Which of its branches is taken, the state before all of it decides.
    Transaction(Box<Transaction>),
}

impl Transaction {
    /// Whether there is nothing in it, nor in those within, taken or not, that could change the store.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|operation| match operation {
            Operation::Read(_) => true,
            Operation::Transaction(within) => within.only_reads(),
            Operation::Put(_) | Operation::Delete(_) => false,
        })
    }

    /// Whether there is anything in it, taken or not, that would store something.
    pub(super) fn stores(&self) -> bool {
        self.success.iter().chain(&self.failure).any(|operation| match operation {
            Operation::Put(_) => true,
            Operation::Transaction(within) => within.stores(),
            Operation::Delete(_) | Operation::Read(_) => false,
        })
    }

    /// Whether it takes little and constant time, and no look at the store.
    pub(crate) fn takes_constant_time(&self) -> bool {
        let compares = self.compares.iter().all(|compare| {
            matches!(compare.keys, Keys::One(_))
                && !matches!(compare.target, CompareTarget::Value(_))
        });
        let branches = [&self.success, &self.failure];
        compares
            && branches.iter().all(|operations| {
                operations.len() <= 4
                    && operations.iter().all(|operation| match operation {
                        Operation::Put(put) => put.is_plain(),
                        Operation::Delete(delete) => matches!(delete.target, Keys::One(_)),
                        _ => false,
                    })
            })
    }

    pub(super) fn check(&self) -> Result<(), InvalidCommand> {
        if self.count() > OPERATIONS_TOTAL_MAX {
            return Err(InvalidCommand::TooManyOperationsInAll);
        }
        self.check_within(OPERATIONS_MAX)?;
        Written::of(&self.success)?;
        Written::of(&self.failure)?;
        Ok(())
    }

    /// All comparisons and operations, or somewhat more than are allowed.
    fn count(&self) -> usize {
        let mut count = 0;
        let mut rest = vec![self];
        while let Some(transaction) = rest.pop() {
            let Self { compares, success, failure } = transaction;
            count += compares.len() + success.len() + failure.len();
            if count > OPERATIONS_TOTAL_MAX {
                break;
            }
            rest.extend(success.iter().chain(failure).filter_map(Operation::within));
        }
        count
    }

    /// Checks each part. What is left of the operations allowed also bounds how deep this goes.
    fn check_within(&self, operations_max: usize) -> Result<(), InvalidCommand> {
        let Self { compares, success, failure } = self;
        let most = compares.len().max(success.len()).max(failure.len());
        let rest = operations_max.checked_sub(most).ok_or(InvalidCommand::TooManyOperations)?;
        for compare in compares {
            check_keys(&compare.keys)?;
            if let CompareTarget::Value(value) = &compare.target {
                check_value(value)?;
            }
        }
        for operation in success.iter().chain(failure) {
            match operation {
                Operation::Put(put) if put.sequential => {
                    return Err(InvalidCommand::SequentialInTransaction);
                }
                Operation::Put(put) => put.check()?,
                Operation::Delete(delete) => delete.check()?,
                Operation::Read(range) => {
                    check_keys(&range.keys)?;
                    if range.cursor.is_some() || range.count.is_some() {
                        return Err(InvalidCommand::ReadWithCursor);
                    }
                }
                Operation::Transaction(within) => within.check_within(rest)?,
            }
        }
        Ok(())
    }

    /// The bytes of all keys and values, for a good guess at the size of the encoding.
    pub(super) fn bytes(&self) -> usize {
        let compares = self.compares.iter().map(|compare| match &compare.target {
            CompareTarget::Value(value) => value.len() + 64,
            _ => 64,
        });
        let operations =
            self.success.iter().chain(&self.failure).map(|operation| match operation {
                Operation::Put(put) => put.bytes() + 24,
                Operation::Transaction(within) => within.bytes(),
                _ => 64,
            });
        compares.chain(operations).sum::<usize>() + 16
    }
}

impl Operation {
    fn within(&self) -> Option<&Transaction> {
        match self {
            Self::Transaction(within) => Some(within),
            _ => None,
        }
    }
}

/// What some operations would write if they were all carried out.
#[derive(Default)]
struct Written<'a> {
    /// Keys that are stored, and which of the operations does it.
    puts: BTreeMap<&'a [u8], usize>,
    /// Ranges that are deleted, and which of the operations does it.
    deletes: Vec<(Span, usize)>,
}

impl<'a> Written<'a> {
    /// What operations write, unless two of them would change the same key. That two delete it is allowed:
    /// the second finds it gone.
    fn of(operations: &'a [Operation]) -> Result<Self, InvalidCommand> {
        let mut written = Self::default();
        for (at, operation) in operations.iter().enumerate() {
            match operation {
                Operation::Put(put) => written.put(&put.key, at)?,
                Operation::Delete(delete) => written.deletes.push((delete.target.span(), at)),
                Operation::Read(_) => {}
                Operation::Transaction(within) => {
                    // One of its branches is taken, so they may change the same keys.
                    for branch in [&within.success, &within.failure] {
                        let Self { puts, deletes } = Self::of(branch)?;
                        for key in puts.into_keys() {
                            written.put(key, at)?;
                        }
                        written.deletes.extend(deletes.into_iter().map(|(span, _)| (span, at)));
                    }
                }
            }
        }
        for (span, by) in &written.deletes {
            if span.is_empty() {
                continue;
            }
            let mut puts = written.puts.range::<[u8], _>(span.bounds());
            if puts.any(|(_, at)| at != by) {
                return Err(InvalidCommand::DuplicateKey);
            }
        }
        Ok(written)
    }

    fn put(&mut self, key: &'a [u8], at: usize) -> Result<(), InvalidCommand> {
        match self.puts.insert(key, at) {
            Some(before) if before != at => Err(InvalidCommand::DuplicateKey),
            _ => Ok(()),
        }
    }
}

impl Wire for Transaction {
    fn encode(&self, out: &mut BytesMut) {
        codec::put_list(out, &self.compares);
        codec::put_list(out, &self.success);
        codec::put_list(out, &self.failure);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        get_transaction(input, OPERATIONS_MAX)
    }
}

/// Reads a transaction with no more than so many within one another.
fn get_transaction(input: &mut Bytes, depth_max: usize) -> Result<Transaction, CodecError> {
    Ok(Transaction {
        compares: get_some(input, Compare::decode)?,
        success: get_some(input, |input| get_operation(input, depth_max))?,
        failure: get_some(input, |input| get_operation(input, depth_max))?,
    })
}

/// A list of no more than may be in a transaction.
fn get_some<T>(
    input: &mut Bytes,
    decode: impl Fn(&mut Bytes) -> Result<T, CodecError>,
) -> Result<Vec<T>, CodecError> {
    let count = codec::get_u32(input)? as usize;
    if count > OPERATIONS_MAX {
        return Err(CodecError::Invalid("number of operations"));
    }
    let mut list = codec::list_with_room(count, input);
    for _ in 0..count {
        list.push(decode(input)?);
    }
    Ok(list)
}

fn get_operation(input: &mut Bytes, depth_max: usize) -> Result<Operation, CodecError> {
    Ok(match codec::get_u8(input)? {
        0 => Operation::Put(Put::decode(input)?),
        1 => Operation::Delete(Delete::decode(input)?),
        2 => Operation::Read(Box::new(get_read(input)?)),
        3 => {
            let deeper = depth_max.checked_sub(1);
            let deeper = deeper.ok_or(CodecError::Invalid("depth of a transaction"))?;
            Operation::Transaction(Box::new(get_transaction(input, deeper)?))
        }
        _ => return Err(CodecError::Invalid("operation")),
    })
}

impl Wire for Operation {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Put(put) => {
                out.put_u8(0);
                put.encode(out);
            }
            Self::Delete(delete) => {
                out.put_u8(1);
                delete.encode(out);
            }
            Self::Read(range) => {
                out.put_u8(2);
                put_read(out, range);
            }
            Self::Transaction(within) => {
                out.put_u8(3);
                within.encode(out);
            }
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        get_operation(input, OPERATIONS_MAX)
    }
}

/// A read, but for cursor and count, which none in a transaction has.
fn put_read(out: &mut BytesMut, range: &Range) {
    let Range { keys, at, limit, order, sort, keys_only, count_only, cursor, count } = range;
    debug_assert!(cursor.is_none() && count.is_none(), "checked before it is proposed");
    keys.encode(out);
    put_number(out, at.map(|at| at.0));
    put_number(out, limit.map(|limit| limit as u64));
    out.put_u8(u8::from(*order == Order::Descending));
    out.put_u8(match sort {
        SortBy::Key => 0,
        SortBy::Version => 1,
        SortBy::CreateRevision => 2,
        SortBy::ModRevision => 3,
        SortBy::Value => 4,
    });
    keys_only.encode(out);
    count_only.encode(out);
}

fn get_read(input: &mut Bytes) -> Result<Range, CodecError> {
    let keys = Keys::decode(input)?;
    let at = get_number(input)?.map(Revision);
    let limit = get_number(input)?.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let order = if bool::decode(input)? { Order::Descending } else { Order::Ascending };
    let sort = match codec::get_u8(input)? {
        0 => SortBy::Key,
        1 => SortBy::Version,
        2 => SortBy::CreateRevision,
        3 => SortBy::ModRevision,
        4 => SortBy::Value,
        _ => return Err(CodecError::Invalid("order of a read")),
    };
    let (keys_only, count_only) = (bool::decode(input)?, bool::decode(input)?);
    Ok(Range { at, limit, order, sort, keys_only, count_only, ..Range::of(keys) })
}

fn put_number(out: &mut BytesMut, number: Option<u64>) {
    number.is_some().encode(out);
    if let Some(number) = number {
        out.put_u64_le(number);
    }
}

fn get_number(input: &mut Bytes) -> Result<Option<u64>, CodecError> {
    Ok(if bool::decode(input)? { Some(codec::get_u64(input)?) } else { None })
}

impl Wire for Compare {
    fn encode(&self, out: &mut BytesMut) {
        self.keys.encode(out);
        out.put_u8(match self.operator {
            CompareOperator::Equal => 0,
            CompareOperator::NotEqual => 1,
            CompareOperator::Less => 2,
            CompareOperator::Greater => 3,
        });
        let (kind, number) = match &self.target {
            CompareTarget::Version(number) => (0, *number),
            CompareTarget::CreateRevision(number) => (1, *number),
            CompareTarget::ModRevision(number) => (2, *number),
            CompareTarget::Lease(number) => (3, *number),
            CompareTarget::Value(value) => {
                out.put_u8(4);
                return codec::put_bytes(out, value);
            }
        };
        out.put_u8(kind);
        out.put_i64_le(number);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        let keys = Keys::decode(input)?;
        let operator = match codec::get_u8(input)? {
            0 => CompareOperator::Equal,
            1 => CompareOperator::NotEqual,
            2 => CompareOperator::Less,
            3 => CompareOperator::Greater,
            _ => return Err(CodecError::Invalid("comparison")),
        };
        let kind = codec::get_u8(input)?;
        if kind == 4 {
            let target = CompareTarget::Value(codec::get_bytes(input)?);
            return Ok(Self { keys, operator, target });
        }
        let number = codec::get_u64(input)?.cast_signed();
        let target = match kind {
            0 => CompareTarget::Version(number),
            1 => CompareTarget::CreateRevision(number),
            2 => CompareTarget::ModRevision(number),
            3 => CompareTarget::Lease(number),
            _ => return Err(CodecError::Invalid("what is compared")),
        };
        Ok(Self { keys, operator, target })
    }
}
