//! Commands of any kind, on a few keys and leases.

use bytes::Bytes;
use consensus::{Index, NodeId, Term};
use kvcore::lease::Checkpoint;
use kvcore::{
    AlarmCommand, Command, Compare, CompareOperator, CompareTarget, Condition, Corruption, Delete,
    Keys, LeaseCommand, LeaseId, Operation, Order, Put, PutLease, PutValue, Range, Revision,
    SortBy, Transaction,
};
use proptest::prelude::*;
use proptest::sample::select;

fn key() -> impl Strategy<Value = Bytes> {
    let long = b"ab, and so long that the index does not hold it in place";
    let keys: [&[u8]; 10] =
        [b"a", b"ab", b"ab\x00", b"abc", b"b", b"b\xff", b"\x00", b"\xff", b"\xff\xff", long];
    let family: [&[u8]; 10] =
        [b"a", b"a/", b"a/b", b"a/b!", b"a/b/c", b"a/b/d", b"a/c", b"/", b"/a", b"//a"];
    select([&keys[..], &family].concat()).prop_map(Bytes::from_static)
}

fn value() -> impl Strategy<Value = Bytes> {
    let values: [&[u8]; 4] = [b"", b"1", b"2", b"a value of some length"];
    select(values.to_vec()).prop_map(Bytes::from_static)
}

pub(crate) fn keys() -> impl Strategy<Value = Keys> {
    prop_oneof![
        3 => key().prop_map(Keys::One),
        2 => key().prop_map(Keys::Prefix),
        1 => Just(Keys::all()),
        2 => (key(), proptest::option::of(key())).prop_map(|(from, to)| Keys::Between { from, to }),
    ]
}

fn conditions() -> impl Strategy<Value = Vec<Condition>> {
    let condition = prop_oneof![
        Just(Condition::Absent),
        (0..4u64).prop_map(Condition::Version),
        (0..40u64).prop_map(|revision| Condition::ModRevision(Revision(revision))),
        value().prop_map(Condition::Value),
    ];
    prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(condition, 1..3)]
}

pub(crate) fn range() -> impl Strategy<Value = Range> {
    let sort = select(vec![
        SortBy::Key,
        SortBy::Key,
        SortBy::Version,
        SortBy::CreateRevision,
        SortBy::ModRevision,
        SortBy::Value,
    ]);
    let order = select(vec![Order::Ascending, Order::Descending]);
    let limit = proptest::option::of(0..5usize);
    (keys(), limit, order, sort, any::<bool>(), prop::bool::weighted(0.2)).prop_map(
        |(keys, limit, order, sort, keys_only, count_only)| Range {
            limit,
            order,
            sort,
            keys_only,
            count_only,
            ..Range::of(keys)
        },
    )
}

fn put_command() -> impl Strategy<Value = Command> {
    (key(), value(), conditions()).prop_map(|(key, value, conditions)| {
        let put = Put { return_previous: true, ..Put::new(key, value) };
        Command::Put { put, conditions }
    })
}

fn delete_command() -> impl Strategy<Value = Command> {
    (keys(), conditions()).prop_map(|(target, conditions)| Command::Delete {
        delete: Delete { target, return_previous: true },
        conditions,
    })
}

fn lease() -> impl Strategy<Value = LeaseId> {
    // Small numbers are those of early entries, too.
    select(vec![-2i64, 1, 2, 3, 5, 8]).prop_map(|number| LeaseId::new(number).expect("not 0"))
}

/// A put as `/v3` and the recipes have them.
fn rich_put() -> impl Strategy<Value = Put> {
    let value = prop_oneof![4 => value().prop_map(PutValue::New), 1 => Just(PutValue::Keep)];
    let lease = prop_oneof![
        4 => Just(PutLease::None),
        4 => lease().prop_map(PutLease::Attach),
        1 => Just(PutLease::Keep),
        1 => (1..9u64).prop_map(|ttl_millis| PutLease::Grant { ttl_millis }),
    ];
    (key(), value, lease, any::<bool>()).prop_map(|(key, value, lease, return_previous)| Put {
        key,
        value,
        lease,
        sequential: false,
        return_previous,
    })
}

fn rich_put_command() -> impl Strategy<Value = Command> {
    (rich_put(), conditions(), prop::bool::weighted(0.2)).prop_map(|(put, conditions, counts)| {
        let keeps = put.value == PutValue::Keep || put.lease == PutLease::Keep;
        Command::Put { put: Put { sequential: counts && !keeps, ..put }, conditions }
    })
}

fn compare() -> impl Strategy<Value = Compare> {
    let operator = select(vec![
        CompareOperator::Equal,
        CompareOperator::NotEqual,
        CompareOperator::Less,
        CompareOperator::Greater,
    ]);
    let target = prop_oneof![
        (-1..4i64).prop_map(CompareTarget::Version),
        (-1..30i64).prop_map(CompareTarget::CreateRevision),
        (-1..30i64).prop_map(CompareTarget::ModRevision),
        (-2..9i64).prop_map(CompareTarget::Lease),
        value().prop_map(CompareTarget::Value),
    ];
    (keys(), operator, target).prop_map(|(keys, operator, target)| Compare {
        keys,
        operator,
        target,
    })
}

fn operation() -> BoxedStrategy<Operation> {
    let delete = (keys(), any::<bool>()).prop_map(|(target, return_previous)| {
        Operation::Delete(Delete { target, return_previous })
    });
    let read = (range(), proptest::option::weighted(0.2, 0..40u64))
        .prop_map(|(range, at)| Operation::Read(Box::new(Range { at: at.map(Revision), ..range })));
    let leaf = prop_oneof![4 => rich_put().prop_map(Operation::Put), 1 => delete, 3 => read];
    leaf.prop_recursive(2, 8, 3, |operation| {
        transaction(operation).prop_map(|within| Operation::Transaction(Box::new(within)))
    })
    .boxed()
}

fn transaction<S>(operation: S) -> impl Strategy<Value = Transaction>
where
    S: Strategy<Value = Operation> + Clone,
{
    let branch = || prop::collection::vec(operation.clone(), 0..4);
    (prop::collection::vec(compare(), 0..3), branch(), branch())
        .prop_map(|(compares, success, failure)| Transaction { compares, success, failure })
}

fn lease_command() -> impl Strategy<Value = LeaseCommand> {
    let renewed = || (0..60u64).prop_map(Index);
    let checkpoint =
        (lease(), renewed(), 0..9u64).prop_map(|(lease, renewed, remaining_millis)| Checkpoint {
            lease,
            renewed,
            remaining_millis,
        });
    prop_oneof![
        4 => (proptest::option::of(lease()), 1..9u64)
            .prop_map(|(lease, ttl_millis)| LeaseCommand::Grant { lease, ttl_millis }),
        2 => lease().prop_map(|lease| LeaseCommand::Revoke { lease }),
        1 => lease().prop_map(|lease| LeaseCommand::Renew { lease }),
        1 => prop::collection::vec(checkpoint, 0..4)
            .prop_map(|leases| LeaseCommand::Checkpoint { leases }),
        1 => (lease(), renewed(), 1..7u64).prop_map(|(lease, renewed, term)| {
            LeaseCommand::Expire { lease, renewed, term: Term(term) }
        }),
    ]
}

fn alarm_command() -> impl Strategy<Value = AlarmCommand> {
    let node = || (1..4u64).prop_map(NodeId);
    let index = || (0..60u64).prop_map(Index);
    prop_oneof![
        1 => (index(), any::<u128>(), node()).prop_map(|(index, digest, leader)| {
            AlarmCommand::Compare { index, digest, leader }
        }),
        2 => (node(), index(), node()).prop_map(|(node, index, compared_with)| {
            AlarmCommand::Raise { node, corruption: Corruption { index, compared_with } }
        }),
        2 => node().prop_map(|node| AlarmCommand::Clear { node }),
    ]
}

pub(crate) fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        12 => put_command(),
        6 => rich_put_command(),
        4 => delete_command(),
        8 => transaction(operation()).prop_map(Command::Transaction),
        5 => lease_command().prop_map(Command::Lease),
        1 => alarm_command().prop_map(Command::Alarm),
    ]
}
