//! What clients do besides putting, deleting and reading: transactions, and leases with keys on them. All of
//! it on keys of their own, which the search for an order of each key leaves out.

use std::time::Duration;

use bytes::Bytes;
use consensus::{Consensus, Entry, NodeId, Payload, Wire};
use kvcore::replica::{LeaseAnswer, ReplicaInput};
use kvcore::{
    Command, Compare, CompareOperator, CompareTarget, Delete, Envelope, Header, Keys, LeaseCommand,
    LeaseId, Machine, Operation, Put, PutLease, PutValue, Range, RequestId, Revision, Store,
    Transaction,
};

use crate::agenda::Life;
use crate::client::Client;
use crate::cluster::Cluster;
use crate::history::{self, Action, OperationResult};
use crate::model::compare_holds;
use crate::reader::arranged;

/// How many keys there are for all this.
const KEYS: u64 = 5;
/// How long leases live.
const TTLS_MILLIS: [u64; 3] = [200, 700, 2_500];
/// How long a node lets a renewal wait.
const RENEWAL_WAIT: Duration = Duration::from_millis(600);

/// What a client knows of its leases.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tenant {
    /// The one that it was granted last.
    lease: Option<LeaseId>,
    /// The one that it asked about last.
    asked: Option<LeaseId>,
}

impl Tenant {
    /// It was granted a lease.
    pub(crate) fn has(&mut self, lease: LeaseId) {
        self.lease = Some(lease);
    }

    /// The one that it asked about is gone.
    pub(crate) fn lost(&mut self) {
        if self.lease == self.asked {
            self.lease = None;
        }
    }
}

impl Client {
    fn tenant_key(&mut self) -> Bytes {
        history::tenant_key(self.random.below(KEYS))
    }

    /// A lease of its own, or sometimes that of somebody else, or none at all.
    fn some_lease(&mut self) -> LeaseId {
        let number = i64::try_from(self.random.below(8)).expect("small") - 4;
        let chosen = LeaseId::new(number).filter(|_| self.random.one_in(4));
        let lease = chosen.or(self.tenant.lease);
        lease.or(LeaseId::new(-1)).expect("not 0")
    }

    /// Does something with a lease.
    pub(crate) fn lease_action(&mut self, value_bytes_max: u64) -> Action {
        let is_granted = self.tenant.lease.is_some();
        if !is_granted && !self.random.one_in(4) || self.random.one_in(12) {
            // Some clients choose the numbers of their leases themselves, and all from few.
            let number = i64::try_from(self.random.below(3)).expect("small") - 4;
            let lease = LeaseId::new(number).filter(|_| self.random.one_in(3));
            let ttl = usize::try_from(self.random.below(3)).expect("3");
            let ttl_millis = TTLS_MILLIS[ttl];
            return self.write(Command::Lease(LeaseCommand::Grant { lease, ttl_millis }));
        }
        let lease = self.some_lease();
        match self.random.below(13) {
            12 => {
                let (key, value) = (Bytes::from("t/s-"), self.value(20));
                let (lease, sequential) = (PutLease::Attach(lease), true);
                let put = Put { lease, sequential, ..Put::new(key, value) };
                self.write(Command::Put { put, conditions: Vec::new() })
            }
            0..7 => {
                self.tenant.asked = Some(lease);
                Action::KeepAlive(lease)
            }
            7 => {
                self.tenant.asked = Some(lease);
                Action::LeaseTime(lease)
            }
            8 => self.write(Command::Lease(LeaseCommand::Revoke { lease })),
            _ => {
                let put = self.tenant_put(value_bytes_max);
                self.write(Command::Put { put, conditions: Vec::new() })
            }
        }
    }

    /// Stores something that hangs on a lease, mostly.
    fn tenant_put(&mut self, value_bytes_max: u64) -> Put {
        let (key, value) = (self.tenant_key(), self.value(value_bytes_max));
        let lease = match self.random.below(10) {
            0..6 => PutLease::Attach(self.some_lease()),
            6 => PutLease::Keep,
            7 => PutLease::Grant { ttl_millis: TTLS_MILLIS[0] },
            _ => PutLease::None,
        };
        let value = if self.random.one_in(8) { PutValue::Keep } else { PutValue::New(value) };
        Put { lease, value, ..Put::new(key, Bytes::new()) }
    }

    /// A transaction on a few keys.
    pub(crate) fn transaction(&mut self, value_bytes_max: u64) -> Transaction {
        let compares = (0..self.random.below(3)).map(|_| self.compare()).collect();
        let success = self.branch(value_bytes_max, 1);
        let failure = self.branch(value_bytes_max, 1);
        Transaction { compares, success, failure }
    }

    fn compare(&mut self) -> Compare {
        let key = self.tenant_key();
        let operators = [
            CompareOperator::Equal,
            CompareOperator::NotEqual,
            CompareOperator::Less,
            CompareOperator::Greater,
        ];
        let operator = operators[usize::try_from(self.random.below(4)).expect("4")];
        let small = i64::try_from(self.random.below(4)).expect("small");
        let revision = self.revision.0.saturating_sub(self.random.below(30)).cast_signed();
        let target = match self.random.below(5) {
            0 => CompareTarget::CreateRevision(revision),
            1 => CompareTarget::ModRevision(revision),
            2 => CompareTarget::Lease(LeaseId::number(self.tenant.lease)),
            3 => CompareTarget::Value(self.value(4)),
            _ => CompareTarget::Version(small),
        };
        let keys = if self.random.one_in(6) { Keys::Prefix("t/".into()) } else { Keys::One(key) };
        Compare { keys, operator, target }
    }

    /// Some operations. Those within others only read, so that it is easy to see whether a key is written
    /// twice.
    fn branch(&mut self, value_bytes_max: u64, depth: u64) -> Vec<Operation> {
        let count = self.random.below(4);
        let operations = (0..count).map(|_| match self.random.below(10) {
            0..4 if depth > 0 => Operation::Put(self.tenant_put(value_bytes_max)),
            4 if depth > 0 => {
                let target = match self.random.one_in(4) {
                    true => Keys::Prefix("t/".into()),
                    false => Keys::One(self.tenant_key()),
                };
                Operation::Delete(Delete::of(target))
            }
            5 if depth > 0 => {
                let compares = vec![self.compare()];
                let success = self.branch(value_bytes_max, depth - 1);
                let failure = self.branch(value_bytes_max, depth - 1);
                Operation::Transaction(Box::new(Transaction { compares, success, failure }))
            }
            _ => Operation::Read(Box::new(self.transaction_read())),
        });
        operations.collect()
    }

    fn transaction_read(&mut self) -> Range {
        let keys = match self.random.below(4) {
            0 => Keys::Prefix("t/".into()),
            1 => Keys::all(),
            _ => Keys::One(self.tenant_key()),
        };
        let at = self.random.one_in(6).then(|| {
            let back = self.random.below(12);
            Revision((self.revision.0 + 3).saturating_sub(back).max(1))
        });
        let limit = self.random.one_in(4).then_some(2);
        let plain = Range { at, limit, ..Range::of(keys) };
        if self.random.one_in(4) { arranged(plain, &mut self.random) } else { plain }
    }
}

/// The branch of a transaction that what a machine has just now decides for: a wrong version.
pub(crate) fn decide_here<S: Store>(machine: &Machine<S>, transaction: Transaction) -> Transaction {
    let holds = |compare: &Compare| {
        let found = machine.range(&Range::of(compare.keys.clone()));
        compare_holds(compare, &found.expect("what is there now can be read").key_values)
    };
    let Transaction { compares, success, failure } = transaction;
    let success = if compares.iter().all(holds) { success } else { failure };
    Transaction { compares: Vec::new(), success, failure: Vec::new() }
}

/// An entry as a node applies it that did not take it from a client, and looks at no revision: a wrong
/// version.
pub(crate) fn unchecked(entry: &Entry, node: NodeId) -> Entry {
    let envelope = entry.command().map(|payload| Envelope::from_bytes(payload.clone()));
    let Some(Ok(mut envelope)) = envelope else { return entry.clone() };
    if let Command::Transaction(transaction) = &mut envelope.command
        && envelope.origin != node
    {
        for operation in transaction.success.iter_mut().chain(&mut transaction.failure) {
            if let Operation::Read(range) = operation {
                range.at = None;
            }
        }
    }
    Entry { payload: Payload::Command(envelope.to_bytes()), ..entry.clone() }
}

impl<C: Consensus> Cluster<C> {
    /// The leader said how it stands with a lease.
    pub(crate) fn lease_answered(&mut self, life: Life, request: RequestId, answer: LeaseAnswer) {
        let now = self.agenda.now();
        let clock = self.nodes[&life.node].clock;
        let process = self.process(life).expect("a process concludes");
        let Some(operation) = process.requests.remove(&request) else { return };
        let millis = match answer {
            LeaseAnswer::Renewed { ttl_millis } => ttl_millis,
            LeaseAnswer::Remaining { remaining_millis, .. } => remaining_millis,
            LeaseAnswer::Unknown => {
                return self.reply(operation, OperationResult::LeaseNotThere);
            }
            LeaseAnswer::MustLog => {
                let Action::KeepAlive(lease) = self.history.get(operation).action else {
                    panic!("only what renews is logged");
                };
                let process = self.process(life).expect("it still runs");
                process.requests_taken += 1;
                let request = RequestId(process.requests_taken);
                process.requests.insert(request, operation);
                let (origin, incarnation) = (life.node, life.number);
                self.oracle.asked(Header { origin, incarnation, request }, operation);
                let command = Command::Lease(LeaseCommand::Renew { lease });
                let envelope =
                    Envelope { origin, incarnation, request, idempotency: None, command };
                let deadline = clock.now(now).time + RENEWAL_WAIT;
                let envelope = envelope.to_bytes();
                return self.tell(life, ReplicaInput::Write { request, envelope, deadline });
            }
        };
        self.reply(operation, OperationResult::LeaseLives { millis });
    }
}
