//! Inputs into a core, and its effects carried out: the driver's part of the contract.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;

use super::cluster::Cluster;
use super::network::Frame;
use super::node::Held;
use super::text;
use super::transcript::Detail;
use crate::invariants::{LATE, read_promise};
use crate::{
    Answer, Consensus, Effects, FetchPurpose, Generation, Input, Leadership, Message, NodeId,
    Persist, Standing, Timer, Token, Violation,
};

/// How many rounds of its own writes and deliveries a node may need to come to rest.
const ROUNDS_MAX: usize = 10_000;

impl<C: Consensus> Cluster<C> {
    /// Gives one input to a running node, without a flush.
    ///
    /// # Errors
    /// A broken law.
    pub fn step(&mut self, id: NodeId, input: Input<C::Message>) -> Result<(), Violation> {
        let now = self.now(id);
        let node = self.node(id);
        if let Some(twin) = &mut node.twin {
            twin.step(now, input.clone(), &mut node.twin_effects);
        }
        let core = node.core.as_mut().expect("only a running node takes inputs");
        core.step(now, input, &mut node.effects);
        node.deadline = node.effects.deadline;
        Ok(())
    }

    /// Ends a series of inputs and carries out what the node asks for, but completes nothing.
    ///
    /// # Errors
    /// A broken law.
    pub fn flush(&mut self, id: NodeId) -> Result<(), Violation> {
        self.step(id, Input::Flush)?;
        self.compare_twin(id)?;
        self.check()?;
        self.carry_out(id)
    }

    /// Completes whatever is to be completed at once.
    ///
    /// # Errors
    /// A broken law.
    pub fn rest(&mut self, id: NodeId) -> Result<(), Violation> {
        for _ in 0..ROUNDS_MAX {
            let node = &self.nodes[&id];
            let is_due = node.disk.due().is_some_and(|due| due <= self.time);
            // A disk that fails stops its node, which is not to happen in the middle of a step.
            if self.options.auto_persist && is_due && !node.disk_fails {
                self.persist(id, usize::MAX)?;
            } else if self.options.auto_apply
                && (node.installing.is_some() || !node.delivered.is_empty())
            {
                self.apply(id, usize::MAX)?;
            } else if self.options.auto_fetch && !node.fetches.is_empty() {
                self.answer_fetch(id)?;
            } else {
                return Ok(());
            }
        }
        Err(Violation::new("a node comes to rest", format!("{id} goes on and on by itself")))
    }

    /// Gives one input with its flush, and completes what is to be completed at once.
    ///
    /// # Errors
    /// A broken law.
    pub fn input(&mut self, id: NodeId, input: Input<C::Message>) -> Result<(), Violation> {
        self.step(id, input)?;
        self.flush(id)?;
        self.rest(id)
    }

    /// Fires a timer, whether it is due or not.
    ///
    /// # Errors
    /// A broken law.
    pub fn fire(&mut self, id: NodeId, timer: Timer) -> Result<(), Violation> {
        self.line(Detail::Steps, || format!("{id} ⏰ {}", timer.name()));
        self.input(id, Input::Timer(timer))
    }

    /// Fires the election timers of all running voters, due or not, before any of them hears of
    /// another.
    ///
    /// # Errors
    /// A broken law.
    pub fn align_timers(&mut self) -> Result<(), Violation> {
        for id in self.running() {
            if self.status(id).standing == Standing::Voter {
                self.fire(id, Timer::Election)?;
            }
        }
        Ok(())
    }

    /// Proposes commands in one batch. Returns the tokens.
    ///
    /// # Errors
    /// A broken law.
    pub fn propose(
        &mut self,
        id: NodeId,
        commands: impl IntoIterator<Item = Bytes>,
    ) -> Result<Vec<Token>, Violation> {
        let mut tokens = Vec::new();
        for command in commands {
            self.last_token = self.last_token.next();
            let token = self.last_token;
            self.line(Detail::Steps, || {
                format!("{id} propose {token} {}", text::command(&command))
            });
            self.proposals.insert(token, (id, command.clone()));
            let answers = self.nodes[&id].effects.answers.len();
            self.step(id, Input::Propose { token, command })?;
            let place = |answer: &Answer| matches!(answer, Answer::Refused { token: refused, .. } if *refused == token);
            let place = self.nodes[&id].effects.answers.iter().position(place);
            if place.is_some_and(|place| place != answers) {
                let details = format!("{id} refuses {token}");
                return Err(Violation::new(
                    "a proposal's refusal is the first answer of its step",
                    details,
                ));
            }
            tokens.push(token);
        }
        self.flush(id)?;
        self.rest(id)?;
        Ok(tokens)
    }

    /// Asks for a linearizable barrier. Its answer must include all that any node knew committed at
    /// this moment.
    ///
    /// # Errors
    /// A broken law.
    pub fn read(&mut self, id: NodeId) -> Result<Token, Violation> {
        self.last_token = self.last_token.next();
        let token = self.last_token;
        self.line(Detail::Everything, || format!("{id} asks for barrier {token}"));
        self.barriers.insert(token, (id, self.invariants.committed()));
        self.input(id, Input::ReadBarrier { token })?;
        Ok(token)
    }

    /// Asks for ZooKeeper's `sync`, whose answer may be stale.
    ///
    /// # Errors
    /// A broken law.
    pub fn sync(&mut self, id: NodeId) -> Result<Token, Violation> {
        self.last_token = self.last_token.next();
        let token = self.last_token;
        self.line(Detail::Everything, || format!("{id} asks for sync {token}"));
        self.barriers.insert(token, (id, crate::Index(0)));
        self.input(id, Input::Sync { token })?;
        Ok(token)
    }

    /// Makes up to `count` of a node's writes durable, lets go the messages that waited for them,
    /// and tells the node. Those of a slow disk wait for their time. If the disk fails, the node stops
    /// instead. Returns whether there was a write to complete.
    ///
    /// # Errors
    /// A broken law.
    pub fn persist(&mut self, id: NodeId, count: usize) -> Result<bool, Violation> {
        let now = self.time;
        let node = self.node(id);
        let count = count.min(node.disk.overdue(now));
        if node.disk_fails && count > 0 {
            self.line(Detail::Everything, || format!("{id} can not write: its disk fails"));
            self.crash(id, 0)?;
            return Ok(true);
        }
        let Some(sequence) = node.disk.complete(count) else { return Ok(false) };
        node.durability.completed(id, sequence)?;
        node.durable = sequence;
        self.line(Detail::Steps, || format!("{id} durable {sequence}"));
        self.release_held(id)?;
        self.step(id, Input::Persisted(sequence))?;
        self.flush(id)?;
        Ok(true)
    }

    /// Applies up to `count` delivered entries and tells the node. Returns whether there were any. A
    /// state that is to be installed comes first, alone.
    ///
    /// # Errors
    /// A broken law.
    pub fn apply(&mut self, id: NodeId, count: usize) -> Result<bool, Violation> {
        let node = self.node(id);
        if let Some(index) = node.installing.take() {
            let length = usize::try_from(index.0).expect("a log in memory");
            node.applied = node.disk.state()[..length].to_vec();
            self.installed += 1;
            self.line(Detail::Everything, || format!("{id} installs the state at {index}"));
            self.step(id, Input::Applied(index))?;
            self.flush(id)?;
            return Ok(true);
        }
        let count = count.min(node.delivered.len());
        let entries: Vec<_> = node.delivered.drain(..count).collect();
        let Some(last) = entries.last().map(crate::Entry::index) else { return Ok(false) };
        for entry in &entries {
            self.line(Detail::Everything, || format!("{id} applies {}", text::entry(entry)));
        }
        self.node(id).applied.extend(entries);
        self.step(id, Input::Applied(last))?;
        self.flush(id)?;
        Ok(true)
    }

    /// Answers the oldest fetch of a node from its disk. Returns whether there was one.
    ///
    /// # Errors
    /// A broken law.
    pub fn answer_fetch(&mut self, id: NodeId) -> Result<bool, Violation> {
        let Some(fetch) = self.node(id).fetches.pop_front() else { return Ok(false) };
        let entries = self.nodes[&id].disk.fetch(&fetch);
        self.line(Detail::Steps, || {
            format!("{id} fetched {} entries from {}", entries.len(), fetch.first)
        });
        self.step(id, Input::Fetched { purpose: fetch.purpose, entries })?;
        self.flush(id)?;
        Ok(true)
    }

    /// Gives a frame of a broken connection to its receiver.
    ///
    /// # Errors
    /// When it has any effect at all.
    pub fn deliver_late(&mut self, from: NodeId, to: NodeId) -> Result<usize, Violation> {
        let mut count = 0;
        for frame in self.network.take_late(from, to) {
            count += usize::from(self.deliver_late_frame(from, to, frame)?);
        }
        Ok(count)
    }

    /// Gives one frame of a broken connection to its receiver. Returns whether it could be.
    pub(super) fn deliver_late_frame(
        &mut self,
        from: NodeId,
        to: NodeId,
        frame: Frame<C::Message>,
    ) -> Result<bool, Violation> {
        let Frame { generation, message, .. } = frame;
        if !self.is_active(to) || self.connection(to, from) == Some(generation) {
            return Ok(false);
        }
        self.line(Detail::Everything, || format!("{to} ⇠ {from} {message} late, of {generation}"));
        let before = state_hash(self.core(to));
        self.step(to, Input::Received { peer: from, generation, message })?;
        self.expect_no_effect(from, to, before, generation)?;
        Ok(true)
    }

    /// What just came of an older connection has changed nothing since the state had this hash.
    pub(super) fn expect_no_effect(
        &mut self,
        from: NodeId,
        to: NodeId,
        before: u64,
        generation: Generation,
    ) -> Result<(), Violation> {
        self.step(to, Input::Flush)?;
        self.compare_twin(to)?;
        let effects = &self.nodes[&to].effects;
        let quiet = effects.persists.is_empty()
            && effects.messages.is_empty()
            && effects.install.is_none()
            && effects.deliveries.is_empty()
            && effects.snapshots.is_empty()
            && effects.answers.is_empty();
        if !quiet || state_hash(self.core(to)) != before {
            return Err(Violation::new(
                LATE,
                format!("{to} acts upon a frame of {from} from connection {generation}"),
            ));
        }
        self.carry_out(to)
    }

    fn compare_twin(&mut self, id: NodeId) -> Result<(), Violation> {
        let node = self.node(id);
        let Some(twin) = &node.twin else { return Ok(()) };
        let core = node.core.as_ref().expect("a node with a twin runs");
        if node.effects == node.twin_effects && state_hash(core) == state_hash(twin) {
            node.twin_effects.clear();
            return Ok(());
        }
        Err(Violation::new(
            "the same inputs give the same effects",
            format!("{id}: {:?} and {:?}", node.effects, node.twin_effects),
        ))
    }

    /// Does what a node asks for, in the order of the parts, and completes nothing.
    fn carry_out(&mut self, id: NodeId) -> Result<(), Violation> {
        let mut effects = std::mem::take(&mut self.node(id).effects);
        for event in effects.events.drain(..) {
            self.line(Detail::Events, || format!("{id} {event}"));
        }
        for leadership in effects.leadership.drain(..) {
            self.node(id).leadership = leadership;
            self.line(Detail::Events, || match leadership {
                Leadership::None => format!("{id} knows no leader"),
                Leadership::Following { leader, term } => {
                    format!("{id} follows {leader} in {term}")
                }
                Leadership::Established { term } => format!("{id} is established in {term}"),
            });
        }
        self.compare_leadership(id)?;
        for persist in effects.persists.drain(..) {
            self.write(id, persist)?;
        }
        self.hold_messages(id, &mut effects)?;
        self.release_held(id)?;
        if let Some(snapshot) = effects.install.take() {
            self.invariants.installed(id, &snapshot)?;
            let node = self.node(id);
            node.delivered.clear();
            node.installing = Some(snapshot.position.index);
        }
        for entry in effects.deliveries.drain(..) {
            self.invariants.delivered(id, &entry)?;
            self.node(id).delivered.push_back(entry);
        }
        for offer in effects.snapshots.drain(..) {
            self.offer(id, offer)?;
        }
        for fetch in effects.fetches.drain(..) {
            let twice = self.nodes[&id].fetches.iter().any(|other| other.purpose == fetch.purpose);
            if twice && fetch.purpose == FetchPurpose::Deliver {
                let details = format!("{id} fetches for {:?} twice at once", fetch.purpose);
                return Err(Violation::new("each purpose has one fetch under way", details));
            }
            self.node(id).fetches.push_back(fetch);
        }
        for answer in effects.answers.drain(..) {
            self.answer(id, answer)?;
        }
        // The emptied buffer goes back, with its memory and the deadline.
        self.node(id).effects = effects;
        Ok(())
    }

    /// What the layer above was told is what the protocol itself goes by.
    fn compare_leadership(&self, id: NodeId) -> Result<(), Violation> {
        let told = match self.leadership(id) {
            Leadership::Established { term } => Some(term),
            Leadership::None | Leadership::Following { .. } => None,
        };
        let established = self.core(id).view().established;
        if told == established {
            return Ok(());
        }
        Err(Violation::new(
            "the layer above is told at once who is established",
            format!("{id} is established in {established:?}, told was {told:?}"),
        ))
    }

    fn write(&mut self, id: NodeId, persist: Persist) -> Result<(), Violation> {
        self.line(Detail::Everything, || format!("{id} writes {}", text::persist(&persist)));
        self.invariants.written(id, &persist.entries)?;
        let promise = read_promise::<C>(id, persist.promise.as_ref())?;
        let now = self.time;
        let node = self.node(id);
        node.durability.asked(id, &persist, promise)?;
        node.disk.write(persist, now + node.slowness);
        Ok(())
    }

    fn hold_messages(
        &mut self,
        id: NodeId,
        effects: &mut Effects<C::Message>,
    ) -> Result<(), Violation> {
        for outbound in effects.messages.drain(..) {
            let (to, after, message) = (outbound.to, outbound.after, outbound.message);
            self.check_message(id, to, &message)?;
            match self.connection(id, to) {
                Some(generation) => {
                    let pledge = self.core(id).pledge(to, &message);
                    self.node(id).held.push_back(Held { to, generation, after, pledge, message });
                }
                None => self.line(Detail::Steps, || format!("{id} ↛ {to} {message}")),
            }
        }
        Ok(())
    }

    /// Lets go every message whose write is durable, on the connection that it was meant for.
    fn release_held(&mut self, id: NodeId) -> Result<(), Violation> {
        let overtaking = self.options.overtaking;
        let node = self.node(id);
        let durable = node.durable;
        let mut waiting: BTreeSet<NodeId> = BTreeSet::new();
        let mut leaving = Vec::new();
        let mut staying = std::collections::VecDeque::new();
        for held in node.held.drain(..) {
            let behind = !overtaking && waiting.contains(&held.to);
            if held.after > durable || behind {
                waiting.insert(held.to);
                staying.push_back(held);
            } else {
                leaving.push(held);
            }
        }
        node.held = staying;
        for held in leaving {
            self.send(id, held)?;
        }
        Ok(())
    }

    fn send(&mut self, id: NodeId, held: Held<C::Message>) -> Result<(), Violation> {
        let Held { to, generation, after, pledge, message } = held;
        self.nodes[&id].durability.leaves(id, after, &pledge)?;
        if self.connection(id, to) != Some(generation) {
            self.line(Detail::Everything, || format!("{id} ↛ {to} {message}"));
            return Ok(());
        }
        self.line(Detail::Everything, || format!("{id} → {to} {message}"));
        *self.weights.entry((id, to)).or_default() += message.weight();
        let frame = Frame { generation, due: self.time, message };
        if !self.network.send(id, to, frame) {
            self.line(Detail::Everything, || format!("{id} ↛ {to}: the connection is broken"));
        }
        Ok(())
    }

    fn answer(&mut self, id: NodeId, answer: Answer) -> Result<(), Violation> {
        let token = answer.token();
        self.line(Detail::Events, || format!("{id} {}", text::answer(&answer)));
        if let Answer::Refused { reason, .. } = answer {
            self.refusals.push(reason);
        }
        let barrier = self.barriers.remove(&token);
        let proposal = self.proposals.remove(&token);
        if self.transfer_answered(id, answer) {
            return Ok(());
        }
        match (answer, barrier, proposal) {
            (Answer::Barrier { index, .. }, Some((asked, committed)), None) if asked == id => {
                self.answered.push((token, index));
                if index >= committed {
                    return Ok(());
                }
                Err(Violation::new(
                    "a barrier includes everything committed before it was asked for",
                    format!("{id} answers {token} with {index}, but {committed} was committed"),
                ))
            }
            (Answer::Refused { .. }, Some((asked, _)), None) if asked == id => Ok(()),
            (Answer::Refused { .. }, None, Some((asked, command))) if asked == id => {
                self.refused.push(command);
                Ok(())
            }
            _ => Err(Violation::new(
                "a token is answered once, by the node that was asked",
                format!("{id} answers {token}"),
            )),
        }
    }
}

/// A fingerprint of everything in a core that can influence later steps.
pub(crate) fn state_hash<C: Consensus>(core: &C) -> u64 {
    let mut hasher = DefaultHasher::new();
    core.hash(&mut hasher);
    hasher.finish()
}
