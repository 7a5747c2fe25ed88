//! What the server's runtime does around a replica, in virtual time and in the same order: one round
//! of the loop, and then whatever it asks for, each part carried out beside the loop.

use std::time::Duration;

use bytes::Bytes;
use consensus::invariants::read_promise;
use consensus::{
    Consensus, Fetch, Leadership, Mutant, NodeId, PersistSequence, Pledge, Time, View, Violation,
    Wire, mutant,
};
use kvcore::replica::{PeerMessage, ReplicaEffects, ReplicaInput};

use crate::agenda::{Happening, Item, Life};
use crate::cluster::Cluster;
use crate::network::ConnectionId;
use crate::options::Profile;
use crate::process::{Outgoing, Process};

/// The most inputs of one round.
const ROUND_INPUTS_MAX: usize = 256;
/// The most timers that one round fires; a protocol whose timer is due again at once would otherwise
/// never let go.
const ROUND_TIMERS_MAX: usize = 8;
/// The most writes of one batch.
const BATCH_PERSISTS_MAX: usize = 64;
/// No sync takes longer.
const SYNC_MAX: Duration = Duration::from_secs(2);

impl<C: Consensus> Cluster<C> {
    /// The process of that life, if it still runs.
    pub(crate) fn process(&mut self, life: Life) -> Option<&mut Process<C>> {
        let process = self.nodes.get_mut(&life.node)?.process.as_mut()?;
        (process.life == life).then_some(process)
    }

    /// Gives a process an input, and sees to it that its loop looks at it soon.
    pub(crate) fn tell(&mut self, life: Life, input: ReplicaInput<C::Message>) {
        let Some(process) = self.process(life) else { return };
        process.inbox.push_back(input);
        let delay = self.surroundings.loop_delay.draw(&mut self.random);
        self.wake(life, self.agenda.now() + delay);
    }

    /// Sees to it that a loop runs at this time at the latest.
    pub(crate) fn wake(&mut self, life: Life, at: Time) {
        let at = at.max(self.agenda.now());
        let Some(process) = self.process(life) else { return };
        if process.wake_at.is_none_or(|planned| planned > at) {
            process.wake_at = Some(at);
            self.plan_look(life, at);
        }
    }

    /// Plans a look at this time, unless there is one before it, which will see to it. Timers are set anew
    /// in every round, and nearly none of them is waited for.
    fn plan_look(&mut self, life: Life, at: Time) {
        let Some(process) = self.process(life) else { return };
        if process.looks.first().is_none_or(|&first| first > at) {
            process.looks.insert(at);
            self.agenda.at(at, Happening::Wake(life));
        }
    }

    /// A loop looks whether there is something to do.
    pub(crate) fn look(&mut self, life: Life) -> Result<(), Violation> {
        let now = self.agenda.now();
        let Some(process) = self.process(life) else { return Ok(()) };
        process.looks = process.looks.split_off(&(now + Duration::from_micros(1)));
        match process.wake_at {
            Some(at) if at > now => {
                self.plan_look(life, at);
                Ok(())
            }
            Some(_) => self.round(life),
            None => Ok(()),
        }
    }

    /// One round: inputs, timers, flush, and what follows.
    fn round(&mut self, life: Life) -> Result<(), Violation> {
        let now = self.agenda.now();
        let clock = self.nodes[&life.node].clock;
        let most = self.options.at_a_time(ROUND_INPUTS_MAX);
        let Some(process) = self.process(life) else { return Ok(()) };
        process.wake_at = None;
        let node_now = clock.now(now);
        let mut effects = std::mem::take(&mut process.effects);
        let (mut judged, mut inputs) = (false, 0);
        for _ in 0..most {
            let Some(input) = process.inbox.pop_front() else { break };
            judged |= matches!(input, ReplicaInput::SnapshotReceived { .. });
            process.ignores_late(node_now, &input)?;
            process.notice_connection(&input, &mut effects);
            process.replica.step(node_now, input, &mut effects);
            inputs += 1;
        }
        for _ in 0..ROUND_TIMERS_MAX {
            let Some((due, timer)) = effects.deadline else { break };
            if due > node_now.time {
                break;
            }
            process.replica.step(node_now, ReplicaInput::Timer(timer), &mut effects);
            inputs += 1;
        }
        process.replica.step(node_now, ReplicaInput::Flush, &mut effects);
        let deadline = effects.deadline;
        let is_idle = process.inbox.is_empty();

        self.counters.rounds += 1;
        self.counters.inputs += inputs;
        self.check_laws()?;
        self.check_counted(life)?;
        if judged {
            self.judge_snapshot(life, &effects.consensus.persists)?;
        }
        self.carry_out(life, &mut effects)?;
        effects.clear();
        if let Some(process) = self.process(life) {
            process.effects = effects;
        }
        if !is_idle {
            self.wake(life, now);
        }
        if let Some((due, _)) = deadline {
            self.wake_for_timer(life, clock.when(due));
        }
        Ok(())
    }

    fn wake_for_timer(&mut self, life: Life, due: Time) {
        // A timer that is due in the past and stays so must not stop the time.
        let due = due.max(self.agenda.now() + Duration::from_micros(100));
        let lateness = self.nodes[&life.node].lateness;
        let late = self.surroundings.loop_delay.draw(&mut self.random);
        let late = late + self.random.duration_up_to(lateness);
        self.wake(life, due + late);
    }

    /// Checks the laws between all nodes that run.
    pub(crate) fn check_laws(&mut self) -> Result<(), Violation> {
        let processes = self.nodes.values().filter_map(|node| node.process.as_ref());
        let views: Vec<View<'_>> = processes.map(|process| process.replica.core().view()).collect();
        self.invariants.check(&views)?;
        self.quorums.check(&views, self.invariants.committed(), &self.nodes)
    }

    /// Checks what a node counts at others, if it leads.
    fn check_counted(&self, life: Life) -> Result<(), Violation> {
        let process = self.nodes[&life.node].process.as_ref().expect("its round just was");
        let view = process.replica.core().view();
        if view.leading.is_none() {
            return Ok(());
        }
        self.quorums.check_counted(&view, &process.replica.status().peers, &self.nodes)
    }

    fn carry_out(
        &mut self,
        life: Life,
        effects: &mut ReplicaEffects<C::Message>,
    ) -> Result<(), Violation> {
        let now = self.agenda.now();
        for event in &effects.consensus.events {
            self.trace.fold(event);
            self.trace.line(now, || format!("{} {event}", life.node));
            self.observe(life, event);
        }
        for persist in effects.consensus.persists.drain(..) {
            self.invariants.written(life.node, &persist.entries)?;
            let promise = read_promise::<C>(life.node, persist.promise.as_ref())?;
            let node = self.nodes.get_mut(&life.node).expect("every life has its node");
            node.shadow.asked(persist.clone());
            let process = node.process.as_mut().expect("the loop runs in a process");
            process.log.law.asked(life.node, &persist, promise)?;
            process.log.waiting.push_back(persist);
        }
        self.write_log(life);
        for outbound in effects.consensus.messages.drain(..) {
            let message = PeerMessage::Consensus(outbound.message);
            self.emit(life, outbound.to, outbound.after, &message)?;
        }
        for (to, message) in effects.messages.drain(..) {
            let message = PeerMessage::<C::Message>::Replica(message);
            self.emit(life, to, PersistSequence(0), &message)?;
        }
        if let Some(snapshot) = effects.consensus.install.take() {
            self.install(life, &snapshot)?;
        }
        for entry in &effects.consensus.deliveries {
            self.invariants.delivered(life.node, entry)?;
        }
        let process = self.process(life).expect("the loop runs in a process");
        process.unapplied.extend(effects.consensus.deliveries.drain(..));
        self.go_on_applying(life);
        for offer in effects.consensus.snapshots.drain(..) {
            self.offer_snapshot(life, &offer)?;
        }
        for fetch in effects.consensus.fetches.drain(..) {
            let delay = self.surroundings.fetch_delay.draw(&mut self.random);
            self.agenda.after(delay, Happening::Fetched(life, fetch));
        }
        for (request, conclusion) in effects.conclusions.drain(..) {
            self.conclude(life, request, conclusion);
        }
        let process = self.process(life).expect("the loop runs in a process");
        let leadership = process.replica.leadership();
        if let Leadership::Established { .. } = leadership {
            self.leader = Some(life.node);
        }
        self.trace.fold((life, leadership));
        Ok(())
    }

    /// A message is emitted: it leaves once what it depends on is durable, on the connection that is
    /// up now.
    fn emit(
        &mut self,
        life: Life,
        to: NodeId,
        after: PersistSequence,
        message: &PeerMessage<C::Message>,
    ) -> Result<(), Violation> {
        let text = match message {
            _ if !self.trace.is_written() => String::new(),
            PeerMessage::Consensus(message) => message.to_string(),
            PeerMessage::Replica(message) => message.to_string(),
        };
        let is_datagram = self.options.profile == Profile::Datagrams
            && matches!(message, PeerMessage::Consensus(_));
        let process = self.process(life).expect("the loop runs in a process");
        let Some(connection) = process.connection(to) else { return Ok(()) };
        let pledge = match message {
            PeerMessage::Consensus(message) => process.replica.core().pledge(to, message),
            PeerMessage::Replica(_) => Pledge::default(),
        };
        let counts = match message {
            PeerMessage::Consensus(message) => {
                (consensus::Message::name(message), consensus::Message::weight(message))
            }
            PeerMessage::Replica(message) => (message.name(), 1),
        };
        let frame = message.to_bytes();
        let outgoing = Outgoing { to, connection, frame, counts, pledge, text, is_datagram };
        if mutant::on(Mutant::SendsEarlyUnseen) {
            self.transmit(life.node, outgoing);
        } else if after <= process.log.durable || mutant::on(Mutant::SendsEarly) {
            self.leave(life, after, outgoing)?;
        } else {
            process.log.held.entry(after).or_default().push(outgoing);
        }
        Ok(())
    }

    /// A message leaves its node.
    fn leave(
        &mut self,
        life: Life,
        after: PersistSequence,
        outgoing: Outgoing,
    ) -> Result<(), Violation> {
        let process = self.process(life).expect("messages leave a process");
        process.log.law.leaves(life.node, after, &outgoing.pledge)?;
        self.transmit(life.node, outgoing);
        Ok(())
    }

    fn transmit(&mut self, from: NodeId, outgoing: Outgoing) {
        let now = self.agenda.now();
        let (to, connection) = (outgoing.to, outgoing.connection);
        let (name, messages) = outgoing.counts;
        self.ledger.note(name, messages, outgoing.frame.len());
        self.trace.fold(&outgoing.frame);
        let delay = self.surroundings.frame_delay(from, to, &mut self.random);
        if outgoing.is_datagram && !self.network.is_broken(connection) {
            return self.transmit_datagram(from, outgoing, delay);
        }
        let Outgoing { to, connection, frame, text, .. } = outgoing;
        let arrival = self.network.arrival(connection, from, to, now + delay);
        self.trace.line(now, || {
            let lost = if arrival.is_none() { " (lost)" } else { "" };
            format!("{from} → {to} {text}{lost}")
        });
        match arrival {
            Some(at) => {
                let item = Item::Frame(frame);
                self.agenda.at(at, Happening::Arrive { connection, from, to, item });
            }
            None => self.keep_late(connection, from, to, frame),
        }
    }

    /// A message of a protocol that needs no order: until everything is repaired it may come late, twice, or
    /// not at all.
    fn transmit_datagram(&mut self, from: NodeId, outgoing: Outgoing, delay: Duration) {
        let Outgoing { to, connection, frame, text, .. } = outgoing;
        let now = self.agenda.now();
        let copies = match self.random.below(20) {
            _ if self.healed => 1,
            0 => 0,
            1 => 2,
            _ => 1,
        };
        self.trace.line(now, || format!("{from} → {to} {text} ({copies} times)"));
        for _ in 0..copies {
            let is_late = self.random.one_in(10) && !self.healed;
            let more = if is_late { delay * 10 } else { Duration::ZERO };
            let at = self.network.overtaking(from, to, now + delay + more);
            let item = Item::Frame(frame.clone());
            self.agenda.at(at, Happening::Arrive { connection, from, to, item });
        }
    }

    /// A frame was lost with its connection. Now and then one turns up all the same.
    pub(crate) fn keep_late(
        &mut self,
        connection: ConnectionId,
        from: NodeId,
        to: NodeId,
        frame: Bytes,
    ) {
        if let Some(to) = self.network.end(connection, to)
            && self.random.one_in(2)
        {
            let most_millis = if self.random.one_in(4) { 5_000 } else { 400 };
            let delay = self.random.duration_up_to(Duration::from_millis(most_millis));
            self.agenda.after(delay, Happening::Late { to, connection, from, frame });
        }
    }

    /// Begins the next batch of the log, if there is anything to write and nothing under way.
    fn write_log(&mut self, life: Life) {
        let now = self.agenda.now();
        let node = &self.nodes[&life.node];
        let slow = node.slow_disk.0;
        let stuck = Duration::from_micros(node.disk_stuck_until.0.saturating_sub(now.0));
        let most = self.options.at_a_time(BATCH_PERSISTS_MAX);
        let process = self.process(life).expect("the log is written by a process");
        let log = &mut process.log;
        if !log.writing.is_empty() || log.waiting.is_empty() {
            return;
        }
        let count = log.waiting.len().min(most);
        log.writing.extend(log.waiting.drain(..count));
        let mut delay = self.surroundings.sync_delay.draw(&mut self.random) * slow;
        if self.random.one_in(self.surroundings.long_sync_one_in) {
            delay *= 1 + u32::try_from(self.random.below(100)).expect("a small number");
        }
        self.agenda.after(delay.min(SYNC_MAX).max(stuck), Happening::LogWritten(life));
        if mutant::on(Mutant::CountsUnsynced)
            && let Some(last) = self.process(life).and_then(|process| process.log.writing.last())
        {
            let last = last.sequence;
            self.tell(life, ReplicaInput::Persisted(last));
        }
    }

    /// The batch is on the disk: whatever waited for it goes on.
    pub(crate) fn log_written(&mut self, life: Life) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&life.node) else { return Ok(()) };
        let Some(process) = node.process.as_mut().filter(|process| process.life == life) else {
            return Ok(());
        };
        let batch = std::mem::take(&mut process.log.writing);
        let last = batch.last().expect("a batch under way is not empty").sequence;
        let syncs = node.disk.syncs();
        let before = process.log.wal.statistics();
        let appended = process.log.wal.append(&batch);
        let after = process.log.wal.statistics();
        self.ledger.syncs += after.syncs - before.syncs;
        self.counters.log_syncs += node.disk.syncs() - syncs;
        self.counters.segments += after.segments - before.segments;
        if appended.is_err() {
            // After a failed sync nobody knows what is durable: the node stops.
            self.trace.line(self.agenda.now(), || format!("{} its disk failed", life.node));
            process.log.writing = batch;
            self.stop_for_disk_failure(life.node);
            return Ok(());
        }
        if process.log.wal.needs_spare() && self.random.one_in(2) {
            // When it can not be made, the log makes one itself when it needs it.
            if let Ok(spare) = process.log.wal.request_spare().create(|| ()) {
                process.log.wal.offer_spare(spare).expect("there is none yet to be removed");
            }
        }
        let obsolete = process.log.wal.take_obsolete();
        self.counters.segments_removed += obsolete.len() as u64;
        if storage::remove_obsolete(&node.disk, &obsolete).is_err() {
            // What was to be removed will be at the next start; the batch itself is durable.
            node.shadow.acknowledged(last);
            process.log.law.completed(life.node, last)?;
            self.stop_for_disk_failure(life.node);
            return Ok(());
        }
        node.shadow.acknowledged(last);
        process.log.law.completed(life.node, last)?;
        process.log.durable = last;
        if !node.wiped {
            for persist in &batch {
                if let Some(promise) = read_promise::<C>(life.node, persist.promise.as_ref())? {
                    self.quorums.promised(life.node, &promise);
                }
            }
        }
        let still_held = process.log.held.split_off(&last.next());
        let released = std::mem::replace(&mut process.log.held, still_held);
        for (after, messages) in released {
            for outgoing in messages {
                self.leave(life, after, outgoing)?;
            }
        }
        self.tell(life, ReplicaInput::Persisted(last));
        self.write_log(life);
        Ok(())
    }

    /// The log reader has what was asked for.
    pub(crate) fn fetched(&mut self, life: Life, fetch: Fetch) -> Result<(), Violation> {
        self.counters.fetches += 1;
        let Some(process) = self.process(life) else { return Ok(()) };
        let found = process.reader.entries(fetch.first, fetch.last, fetch.bytes_max);
        let entries = match found {
            Ok(entries) => entries,
            // A truncation, a compaction or a snapshot may have overtaken the fetch. What is to be
            // delivered goes only with a snapshot, and the log itself asserts that.
            Err(storage::WalError::Missing(_)) => Vec::new(),
            Err(error) => {
                let details = format!("{} {fetch:?}: {error}", life.node);
                return Err(Violation::new("what left memory is in the log", details));
            }
        };
        self.tell(life, ReplicaInput::Fetched { purpose: fetch.purpose, entries });
        Ok(())
    }

    /// Something came out of a connection.
    pub(crate) fn arrive(
        &mut self,
        connection: ConnectionId,
        from: NodeId,
        to: NodeId,
        item: Item,
    ) -> Result<(), Violation> {
        let life = self.network.end(connection, to).expect("a connection has two ends");
        if let Item::Frame(frame) = &item
            && self.network.loses(connection, to)
        {
            self.keep_late(connection, from, to, frame.clone());
            return Ok(());
        }
        let now = self.agenda.now();
        let broken = self.network.is_broken(connection);
        let standing = self.nodes[&from].standing();
        let Some(process) = self.process(life) else { return Ok(()) };
        match item {
            // It broke before this end had it.
            Item::Up if broken => {}
            Item::Up => {
                process.generations_given = process.generations_given.next();
                let generation = process.generations_given;
                process.generations.insert(connection, generation);
                process.connections.insert(generation, connection);
                self.trace.line(now, || format!("{to} connected to {from} {generation}"));
                self.tell(life, ReplicaInput::PeerConnected { peer: from, generation, standing });
            }
            Item::Frame(frame) => return self.receive(life, connection, from, frame),
            Item::Down => {
                let Some(&generation) = process.generations.get(&connection) else { return Ok(()) };
                self.trace.line(now, || format!("{to} ⇹ {from} {generation}"));
                self.forsake_snapshot(life, from, generation);
                self.tell(life, ReplicaInput::PeerLost { peer: from, generation });
            }
        }
        Ok(())
    }

    /// A frame of a connection that is gone turns up: the replica has to ignore it. While the node
    /// has not noticed the loss it would be a frame out of order, which TCP rules out.
    pub(crate) fn arrive_late(
        &mut self,
        life: Life,
        connection: ConnectionId,
        from: NodeId,
        frame: Bytes,
    ) -> Result<(), Violation> {
        let Some(process) = self.process(life) else { return Ok(()) };
        if process.connection(from) == Some(connection) {
            return Ok(());
        }
        self.counters.late_frames += 1;
        self.receive(life, connection, from, frame)
    }

    fn receive(
        &mut self,
        life: Life,
        connection: ConnectionId,
        from: NodeId,
        frame: Bytes,
    ) -> Result<(), Violation> {
        let process = self.process(life).expect("looked up by the caller");
        // Lost before its connection was known here.
        let Some(&generation) = process.generations.get(&connection) else { return Ok(()) };
        let message = PeerMessage::<C::Message>::from_bytes(frame).map_err(|error| {
            Violation::new("what is sent can be read", format!("{from} to {}: {error}", life.node))
        })?;
        self.tell(life, ReplicaInput::Received { peer: from, generation, message });
        Ok(())
    }
}
