//! Clients: each makes one request at a time, at any node, and writes down what came of it.

use std::time::Duration;

use consensus::{Consensus, Index, Leadership, Mutant, NodeId, Violation, Wire, mutant};
use kvcore::replica::{Conclusion, Failure, LeaseQuestion, ReplicaInput};
use kvcore::{Applied, Command, Envelope, Header, Idempotency, RequestId};

use crate::agenda::{Happening, Life};
use crate::alarms;
use crate::client::ClientId;
use crate::cluster::Cluster;
use crate::full_store;
use crate::history::{Action, Consistency, OperationId, OperationResult};
use crate::model::Expected;
use crate::tenant;

/// How long a client waits that is in a hurry; the others wait longer than any node.
const IMPATIENCE: Duration = Duration::from_millis(120);
const PATIENCE: Duration = Duration::from_millis(2_700);
/// No client thinks longer when everything is repaired.
const THINK_HEALED_MAX: Duration = Duration::from_millis(20);
/// How long a node lets a request wait.
const TIMEOUTS_MILLIS: [u64; 3] = [150, 600, 2_000];
/// When everything is repaired for so long and a node has not shown yet that it serves, all requests may wait.
/// Clients go from node to node then, in step with one another and with the numbers of their requests: the
/// shortest wait, which over a WAN is too short, could fall to the same node every time.
const SHORT_WAITS_HEALED_MAX: Duration = Duration::from_secs(10);

impl<C: Consensus> Cluster<C> {
    /// A client makes its next request.
    pub(crate) fn client_turn(&mut self, id: ClientId) {
        let now = self.agenda.now();
        if self.clients_stop && self.oracle.model.alarms.is_empty() {
            return;
        }
        let only_puts = self.only_puts;
        let client = &mut self.clients[id.0];
        if client.busy.is_some() {
            return;
        }
        let bytes_max = self.surroundings.value_bytes_max;
        // In the end every node has to show that it takes a write, however few clients there are; but whoever
        // was told that there is no room for it makes some first.
        let shows = self.healed && !client.sends_again() && !client.random.one_in(4);
        let action = if let Some(workload) = &self.options.workload {
            if shows { client.work_put(workload) } else { client.work(workload) }
        } else if only_puts || shows {
            Action::Write(client.put(bytes_max), None)
        } else {
            client.action(now, bytes_max)
        };
        let action =
            full_store::leave_compaction_to_the_leader(action, self.surroundings.quota_bytes);
        let action = self.with_alarms(id, action);
        let client = &mut self.clients[id.0];
        let operation = self.history.begin(id, action, now);
        let is_hurried = !self.healed && self.options.workload.is_none();
        let is_in_a_hurry = is_hurried && (client.is_loyal || client.random.one_in(4));
        client.busy = Some(operation);
        let node = client.node;
        let delay = self.surroundings.client_delay.draw(&mut self.random);
        self.agenda.after(delay, Happening::Request { node, operation });
        let patience = if is_in_a_hurry { IMPATIENCE } else { PATIENCE };
        self.clients[id.0].gives_up_at = now + patience;
        self.look_at_patience(id);
    }

    /// Sees to it that a client looks at its patience in time. One look is planned for all that it asks
    /// for meanwhile: nearly everything is answered long before.
    fn look_at_patience(&mut self, id: ClientId) {
        let client = &mut self.clients[id.0];
        if client.looks_at.is_none_or(|at| at > client.gives_up_at) {
            client.looks_at = Some(client.gives_up_at);
            self.agenda.at(client.gives_up_at, Happening::Patience(id));
        }
    }

    /// A client gives up what it asked for, if its patience has ended.
    pub(crate) fn patience(&mut self, id: ClientId) {
        let now = self.agenda.now();
        let client = &mut self.clients[id.0];
        if client.looks_at != Some(now) {
            return;
        }
        client.looks_at = None;
        match client.busy {
            Some(operation) if client.gives_up_at <= now => {
                // It hears nothing, and so there is nothing to judge.
                let completed = self.complete(operation, OperationResult::Unknown);
                completed.expect("what is unknown breaks no law");
            }
            Some(_) => self.look_at_patience(id),
            None => {}
        }
    }

    /// A request reaches a node.
    pub(crate) fn take_request(&mut self, node: NodeId, operation: OperationId) {
        let now = self.agenda.now();
        let clock = self.nodes[&node].clock;
        let committed = self.committed_by_leader_of(node);
        let timeout = self.request_timeout(operation);
        let Some(process) = self.nodes.get_mut(&node).and_then(|node| node.process.as_mut()) else {
            self.reply(operation, OperationResult::Refused);
            return;
        };
        let life = process.life;
        process.requests_taken += 1;
        let request = RequestId(process.requests_taken);
        let deadline = clock.now(now).time + timeout;
        let asked = self.history.get_mut(operation);
        (asked.taken_by, asked.committed) = (Some(life), committed);
        asked.committed_anywhere = self.invariants.committed();
        match asked.action.clone() {
            action if alarms::refuses(process, &action) => {
                self.counters.refused_corrupt += 1;
                self.reply(operation, OperationResult::Failed(Failure::Corrupt));
            }
            Action::Write(command, _)
                if full_store::refuses(process, self.surroundings.quota_bytes, &command) =>
            {
                self.counters.refused_full += 1;
                self.reply(operation, OperationResult::Failed(Failure::NoSpace));
            }
            Action::Write(command, key) => {
                process.requests.insert(request, operation);
                let (origin, incarnation) = (node, life.number);
                self.oracle.asked(Header { origin, incarnation, request }, operation);
                let since = process.machine.applied().index;
                let key = key.filter(|_| !mutant::on(Mutant::DropsIdempotencyKey));
                let command = match command {
                    Command::Transaction(transaction) if mutant::on(Mutant::ConditionBeforeLog) => {
                        Command::Transaction(tenant::decide_here(&process.machine, transaction))
                    }
                    command => command,
                };
                let idempotency = key.map(|key| Idempotency { key, since });
                let envelope = Envelope { origin, incarnation, request, idempotency, command };
                let envelope = envelope.to_bytes();
                if mutant::on(Mutant::AnswersBeforeCommit) {
                    let index = process.machine.applied().index;
                    let (expected, revision) = (Expected::Nothing, process.machine.revision());
                    self.reply(
                        operation,
                        OperationResult::Written { index, expected, revision, repeated: false },
                    );
                }
                self.tell(life, ReplicaInput::Write { request, envelope, deadline });
            }
            Action::KeepAlive(lease) | Action::LeaseTime(lease) => {
                process.requests.insert(request, operation);
                let renew = matches!(asked.action, Action::KeepAlive(_));
                let question = LeaseQuestion { lease, renew };
                self.tell(life, ReplicaInput::Lease { request, question, deadline });
            }
            Action::Read(_, consistency) => {
                process.requests.insert(request, operation);
                let no_barrier =
                    consistency == Consistency::Local || mutant::on(Mutant::ReadsWithoutBarrier);
                if no_barrier {
                    self.agenda.after(Duration::ZERO, Happening::Serve { life, request });
                } else {
                    let confirmed = consistency == Consistency::Linearizable;
                    self.tell(life, ReplicaInput::Read { request, confirmed, deadline });
                }
            }
        }
    }

    /// How long the node that takes a request lets it wait.
    fn request_timeout(&self, operation: OperationId) -> Duration {
        let [.., longest] = TIMEOUTS_MILLIS;
        let healed_for = self.agenda.now().since(self.healed_at);
        let is_patient = self.healed && healed_for > SHORT_WAITS_HEALED_MAX;
        let millis = TIMEOUTS_MILLIS[operation.0 % TIMEOUTS_MILLIS.len()];
        Duration::from_millis(if is_patient { longest } else { millis })
    }

    /// What the leader has committed that a node knows, if that leads still. Any leader that the node
    /// may know later has committed as much.
    fn committed_by_leader_of(&self, node: NodeId) -> Index {
        let process = |id: NodeId| self.nodes[&id].process.as_ref();
        let Some(asked) = process(node) else { return Index(0) };
        let (leader, term) = match asked.replica.leadership() {
            Leadership::None => return Index(0),
            Leadership::Following { leader, term } => (leader, term),
            Leadership::Established { term } => (node, term),
        };
        let view = process(leader).map(|process| process.replica.core().view());
        let view = view.filter(|view| view.established == Some(term));
        view.map_or(Index(0), |view| view.log.commit())
    }

    /// The replica says how a request ended.
    pub(crate) fn conclude(&mut self, life: Life, request: RequestId, conclusion: Conclusion) {
        self.trace.fold((life, request, conclusion));
        match conclusion {
            Conclusion::ReadReady => {
                let delay = self.surroundings.loop_delay.draw(&mut self.random);
                self.agenda.after(delay, Happening::Serve { life, request });
            }
            Conclusion::Transferred { .. } => self.counters.transfers += 1,
            Conclusion::Lease(answer) => self.lease_answered(life, request, answer),
            Conclusion::Failed(failure) => {
                let process = self.process(life).expect("a process concludes");
                if let Some(operation) = process.requests.remove(&request) {
                    self.counters.failed += 1;
                    self.counters.overloaded += u64::from(failure == Failure::Overloaded);
                    self.reply(operation, OperationResult::Failed(failure));
                }
            }
        }
    }

    /// An entry was applied: if it is a write of a client of this node's present life, the client is
    /// answered.
    pub(crate) fn answer_write(&mut self, life: Life, applied: &Applied, expected: Expected) {
        let Some(header) = applied.header else { return };
        if header.origin != life.node || header.incarnation != life.number {
            return;
        }
        let process = self.process(life).expect("a process applies");
        let Some(operation) = process.requests.remove(&header.request) else { return };
        let (index, revision, repeated) =
            (applied.position.index, applied.revision, applied.repeated);
        if let Action::KeepAlive(_) = self.history.get(operation).action {
            self.counters.keepalives_logged += 1;
            let result = match expected {
                Expected::Renewed { ttl_millis, .. } => {
                    OperationResult::LeaseLives { millis: ttl_millis }
                }
                _ => OperationResult::LeaseNotThere,
            };
            return self.reply(operation, result);
        }
        self.counters.transactions += u64::from(matches!(expected, Expected::Transaction(_)));
        self.counters.acknowledged += 1;
        self.counters.observer_writes += u64::from(self.nodes[&life.node].observes);
        self.counters.repeated += u64::from(repeated);
        let result = OperationResult::Written { index, expected, revision, repeated };
        self.reply(operation, result);
    }

    pub(crate) fn reply(&mut self, operation: OperationId, result: OperationResult) {
        let delay = self.surroundings.client_delay.draw(&mut self.random);
        self.agenda.after(delay, Happening::Reply { operation, result: Box::new(result) });
    }

    /// An operation ends for its client, if it has not before.
    pub(crate) fn complete(
        &mut self,
        operation: OperationId,
        result: OperationResult,
    ) -> Result<(), Violation> {
        let now = self.agenda.now();
        if self.history.get(operation).completed.is_some() {
            return Ok(());
        }
        self.hear_of_leases(operation, &result)?;
        self.hear_of_lock(operation, &result)?;
        let asked = self.history.get_mut(operation);
        let id = asked.client;
        let asked_at = asked.invoked;
        let succeeded = !matches!(
            result,
            OperationResult::Failed(_) | OperationResult::Refused | OperationResult::Unknown
        );
        self.trace.line(now, || format!("c{} #{} {result:?}", id.0, operation.0));
        let client = &mut self.clients[id.0];
        client.learn(&result);
        client.wants_again(&asked.action, &result);
        client.turn_page(&asked.action, &result);
        client.busy = None;
        let members = self.options.members();
        if self.healed {
            // Every node has to show that it serves.
            client.node = NodeId(1 + client.node.0 % members);
        } else if let Some(workload) = &self.options.workload {
            client.node = client.work_place(workload, self.leader, members);
        } else if client.is_loyal {
            if client.random.one_in(20) {
                client.node = self.leader.unwrap_or(client.node);
            }
        } else if client.random.one_in(if succeeded { 20 } else { 2 }) {
            client.node = self.options.any_member(&mut client.random);
        }
        let mut think = self.surroundings.think.draw(&mut client.random);
        if !succeeded {
            think += Duration::from_millis(5);
        }
        if self.healed {
            think = think.min(THINK_HEALED_MAX);
            // In surroundings so narrow that a node applies no faster than clients write, what it lacks
            // would otherwise stay: the longer that takes, the less they ask.
            think += now.since(self.healed_at) / 20;
        }
        if matches!(result, OperationResult::Written { .. }) {
            self.last_acknowledged = Some((asked_at, now));
        }
        asked.completed = Some((now, result));
        self.agenda.after(think, Happening::ClientTurn(id));
        Ok(())
    }
}
