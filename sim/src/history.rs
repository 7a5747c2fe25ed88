//! What the clients did, when, and what came of it.

use bytes::Bytes;
use consensus::{Index, Time};
use kvcore::replica::Failure;
use kvcore::{Command, Compacted, IdempotencyKey, Keys, LeaseId, Range, RangeResult, Revision};

use crate::agenda::Life;
use crate::client::ClientId;
use crate::model::Expected;

/// The number of an operation in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OperationId(pub(crate) usize);

/// How fresh a read has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Consistency {
    /// As fresh as if the whole cluster were one machine.
    Linearizable,
    /// ZooKeeper's `sync`.
    Sync,
    /// Whatever the node has.
    Local,
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) range: Range,
    /// The bytes of keys and values that end the answer, `None` for no end.
    pub(crate) bytes_max: Option<usize>,
}

impl Query {
    /// All of these keys as they are now.
    pub(crate) fn of(keys: Keys) -> Self {
        Self { range: Range::of(keys), bytes_max: None }
    }

    /// Whether it goes on where an earlier answer ended.
    pub(crate) fn is_next_page(&self) -> bool {
        self.range.cursor.is_some()
    }
}

/// What a client asked for.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// A write, and the key under which it is to be done at most once.
    Write(Command, Option<IdempotencyKey>),
    Read(Query, Consistency),
    /// Renews a lease.
    KeepAlive(LeaseId),
    /// Asks how long a lease still lives.
    LeaseTime(LeaseId),
}

/// What a read found.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// The last entry that the node had applied.
    pub(crate) applied: Index,
    /// The store's revision there.
    pub(crate) revision: Revision,
    pub(crate) found: Found,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Keys(RangeResult),
    Compacted(Compacted),
    Future,
}

/// What came of an operation.
#[derive(Clone, Debug)]
pub(crate) enum OperationResult {
    /// The write is at this index, did this, and left the store at this revision; or an earlier copy of
    /// it did, and this one repeats the answer.
    Written {
        index: Index,
        expected: Expected,
        revision: Revision,
        repeated: bool,
    },
    Read(Reading),
    /// The lease lives for so long: a renewed one since this was asked, another from now on.
    LeaseLives {
        millis: u64,
    },
    /// There is no such lease.
    LeaseNotThere,
    /// It did not succeed. Whether a write may still happen, the failure says.
    Failed(Failure),
    /// Nobody took the request, so nothing happened.
    Refused,
    /// The connection broke or the client gave up: a write may have happened, or still happen.
    Unknown,
}

impl OperationResult {
    /// Whether it is certain that a write did not happen and never will.
    pub(crate) fn is_definite_failure(&self) -> bool {
        match self {
            Self::Failed(failure) => failure.is_definite(),
            Self::Refused => true,
            Self::Written { .. }
            | Self::Read(_)
            | Self::LeaseLives { .. }
            | Self::LeaseNotThere
            | Self::Unknown => false,
        }
    }
}

/// One operation of a client.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) client: ClientId,
    pub(crate) action: Action,
    pub(crate) invoked: Time,
    /// The life of the node that took it, if one did.
    pub(crate) taken_by: Option<Life>,
    /// What the leader had committed that this node knew then: a `sync` sees that much.
    pub(crate) committed: Index,
    /// What was committed then, as far as anybody knew.
    pub(crate) committed_anywhere: Index,
    /// When the client knew, and what.
    pub(crate) completed: Option<(Time, OperationResult)>,
}

impl Operation {
    /// When it succeeded, and how.
    pub(crate) fn success(&self) -> Option<(Time, &OperationResult)> {
        let (time, result) = self.completed.as_ref()?;
        matches!(result, OperationResult::Written { .. } | OperationResult::Read(_))
            .then_some((*time, result))
    }
}

/// All operations, in the order in which they were begun.
#[derive(Debug, Default)]
pub(crate) struct History {
    operations: Vec<Operation>,
}

impl History {
    pub(crate) fn begin(&mut self, client: ClientId, action: Action, invoked: Time) -> OperationId {
        let operation = Operation {
            client,
            action,
            invoked,
            taken_by: None,
            committed: Index(0),
            committed_anywhere: Index(0),
            completed: None,
        };
        self.operations.push(operation);
        OperationId(self.operations.len() - 1)
    }

    pub(crate) fn get(&self, id: OperationId) -> &Operation {
        &self.operations[id.0]
    }

    pub(crate) fn get_mut(&mut self, id: OperationId) -> &mut Operation {
        &mut self.operations[id.0]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (OperationId, &Operation)> {
        self.operations.iter().enumerate().map(|(id, operation)| (OperationId(id), operation))
    }

    pub(crate) fn len(&self) -> usize {
        self.operations.len()
    }
}

/// A key of those that transactions write and that hang on leases.
pub(crate) fn tenant_key(number: u64) -> Bytes {
    // A parent, its children, and one child of a child.
    ["t", "t/1", "t/2", "t/1/3", "t/4"][usize::try_from(number % 5).expect("small")].into()
}

/// A key of the small space that all clients share.
pub(crate) fn key(number: u64) -> Bytes {
    let (directory, name) = (number / 3, number % 3);
    // The last is the root, whose own name is the separator.
    let directory = ["a", "b", ""][usize::try_from(directory % 3).expect("small")];
    // The first is the directory itself, whose children the others are.
    Bytes::from(match name {
        0 if directory.is_empty() => "/".to_owned(),
        0 => directory.to_owned(),
        _ => format!("{directory}/{name}"),
    })
}
