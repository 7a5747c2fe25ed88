//! One action carried out: inputs into cores, and their effects.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use consensus::invariants::{changes_nothing, read_promise};
use consensus::{
    Answer, Effects, Event, Generation, Index, Input, NodeId, Now, Outbound, Persist,
    PersistSequence, Settings, Standing, Timer, Token, Violation,
};

use crate::action::Action;
use crate::model::Exhaustive;
use crate::oracle::{Election, Modelled};
use crate::state::{Held, Node, State, place};

/// The only moment there is.
fn now() -> Now {
    Now::from_millis(0)
}

/// How many frames one election may take.
const ELECTION_FRAMES_MAX: usize = 1_000;

/// A state on its way to the next one.
pub(crate) struct Step<'a, C: Modelled> {
    model: &'a Exhaustive<C>,
    pub(crate) state: State<C>,
    /// Which nodes have changed.
    touched: BTreeSet<NodeId>,
    /// What is said of an election, in that order, by those who take part.
    election: VecDeque<(NodeId, NodeId, C::Message)>,
    electing: BTreeSet<NodeId>,
    /// What happens, for a reader, if there is one.
    story: Option<Vec<String>>,
}

impl<'a, C: Modelled> Step<'a, C> {
    pub(crate) fn new(model: &'a Exhaustive<C>, state: State<C>, told: bool) -> Self {
        let electing = match C::ELECTION {
            Election::AtOnce => state.ids().collect(),
            Election::WhenHeld => BTreeSet::new(),
        };
        let story = told.then(Vec::new);
        Self { model, state, touched: BTreeSet::new(), election: VecDeque::new(), electing, story }
    }

    /// The state that the step has led to, and what was told of it.
    pub(crate) fn finish(mut self) -> (State<C>, Vec<String>) {
        for &id in &self.touched {
            Arc::make_mut(&mut self.state.nodes[place(id)]).seal();
        }
        (self.state, self.story.unwrap_or_default())
    }

    /// Carries out an action. Returns whether it changed anything.
    pub(crate) fn act(&mut self, action: &Action) -> Result<bool, Violation> {
        let changed = self.happen(action)?;
        self.exchange()?;
        if self.state.left.crashes == 0 {
            self.complete_all()?;
        }
        Ok(changed)
    }

    /// Lets all writes become durable, and those that follow from them.
    fn complete_all(&mut self) -> Result<(), Violation> {
        let writing = |state: &State<C>| state.ids().find(|&id| !state.node(id).disk.rests());
        while let Some(id) = writing(&self.state) {
            self.complete(id)?;
            self.exchange()?;
        }
        Ok(())
    }

    fn happen(&mut self, action: &Action) -> Result<bool, Violation> {
        let settings = &self.model.settings;
        let number = u64::from(self.model.bounds.proposals - self.state.left.proposals) + 1;
        action.charge(&mut self.state.left);
        match *action {
            Action::Deliver { from, to } => self.deliver(from, to)?,
            Action::Complete { id } => self.complete(id)?,
            Action::Propose { id } => {
                let command = Bytes::from(format!("command {number}"));
                self.input(id, Input::Propose { token: Token(number), command })?;
            }
            Action::Elect { ref members } => return self.elect(members),
            Action::Suspect { id } => {
                let node = self.state.node(id);
                let timer =
                    C::suspicion(node.role, node.leadership).expect("it waits for something");
                self.input(id, Input::Timer(timer))?;
            }
            Action::Heartbeat { id } => self.input(id, Input::Timer(Timer::Heartbeat))?,
            Action::Crash { id } => self.crash(id),
            Action::Restart { id } => {
                let settings = Settings { id, ..settings.clone() };
                self.start(id, settings)?;
            }
            Action::Cut { ends: [a, b] } => {
                self.link(a, b).cut();
            }
            Action::Notice { id, peer } => self.notice(id, peer)?,
            Action::Connect { ends: [a, b] } => self.connect(a, b)?,
        }
        Ok(true)
    }

    /// Starts a node from what its disk holds.
    pub(crate) fn start(&mut self, id: NodeId, settings: Settings) -> Result<(), Violation> {
        let failed = |error: &dyn std::fmt::Display| {
            Violation::new("a node starts from what it wrote", format!("{id}: {error}"))
        };
        let node = self.node(id);
        let recovered = node.disk.recovered();
        let promise = recovered.promise.clone().map(C::read_promise).transpose();
        let promise = promise.map_err(|error| failed(&error))?.unwrap_or_default();
        let core = C::start(now(), settings, recovered.clone()).map_err(|error| failed(&error))?;
        node.durability.started(&core.view(), &recovered, promise)?;
        node.role = core.status().role;
        node.core = Some(core);
        self.check(id, &[])?;
        self.input(id, Input::Flush)
    }

    /// Connects two nodes that run. One that had not noticed that the last connection broke learns of
    /// the new one first, as a driver may tell it.
    pub(crate) fn connect(&mut self, a: NodeId, b: NodeId) -> Result<(), Violation> {
        let ends = [(a, b), (b, a)];
        let former = ends.map(|(id, peer)| self.give_up(id, peer));
        let generation = self.link(a, b).connect();
        for ((id, peer), former) in ends.into_iter().zip(former) {
            self.input(id, Input::PeerConnected { peer, generation, standing: Standing::Voter })?;
            if let Some((generation, late)) = former {
                self.ignores(id, Input::PeerLost { peer, generation })?;
                self.ignores_frames(id, peer, generation, late)?;
            }
        }
        Ok(())
    }

    /// A node will read and send nothing more on a broken connection. Returns its number and what was
    /// under way, if the node took it to be up.
    fn give_up(&mut self, id: NodeId, peer: NodeId) -> Option<(Generation, VecDeque<C::Message>)> {
        let generation = self.state.link(id, peer).seen_by(id)?;
        self.node(id).held.retain(|held| held.to != peer);
        Some((generation, self.link(id, peer).give_up(id)))
    }

    /// The late frames of a connection that a node gave up change nothing.
    fn ignores_frames(
        &self,
        id: NodeId,
        peer: NodeId,
        generation: Generation,
        late: VecDeque<C::Message>,
    ) -> Result<(), Violation> {
        late.into_iter()
            .try_for_each(|message| self.ignores(id, Input::Received { peer, generation, message }))
    }

    /// An input that is of a connection that a node gave up changes nothing.
    fn ignores(&self, id: NodeId, input: Input<C::Message>) -> Result<(), Violation> {
        let core = self.state.node(id).core.as_ref().expect("only a node that runs takes inputs");
        changes_nothing(id, core, now(), input)
    }

    fn deliver(&mut self, from: NodeId, to: NodeId) -> Result<(), Violation> {
        let link = self.link(from, to);
        let generation = link.seen_by(to).expect("only a connection that is up is read");
        let message = link.receive(to).expect("there is a frame");
        self.tell(|| format!("{to} ← {from} {message}"));
        self.input(to, Input::Received { peer: from, generation, message })
    }

    fn complete(&mut self, id: NodeId) -> Result<(), Violation> {
        let node = self.node(id);
        let sequence = node.disk.complete().expect("there is a write under way");
        node.durability.completed(id, sequence)?;
        node.durable = sequence;
        self.release(id)?;
        self.input(id, Input::Persisted(sequence))
    }

    fn crash(&mut self, id: NodeId) {
        let node = self.node(id);
        let lost = !node.disk.rests();
        node.stop();
        self.state.seen.lost_write |= lost;
        Arc::make_mut(&mut self.state.laws).invariants.crashed(id);
        for peer in self.state.ids().filter(|&peer| peer != id) {
            let link = self.link(id, peer);
            link.cut();
            link.give_up(id);
        }
    }

    fn notice(&mut self, id: NodeId, peer: NodeId) -> Result<(), Violation> {
        let (generation, late) = self.give_up(id, peer).expect("it takes the connection to be up");
        self.input(id, Input::PeerLost { peer, generation })?;
        self.ignores_frames(id, peer, generation, late)
    }

    /// Holds an election among some servers, by the protocol's own code: they tell one another their
    /// votes until nobody has more to say, and wait for nobody else. Nothing changes if nobody's role
    /// does.
    fn elect(&mut self, members: &BTreeSet<NodeId>) -> Result<bool, Violation> {
        let roles = |state: &State<C>| -> Vec<_> {
            members.iter().map(|&id| state.node(id).role).collect()
        };
        let before = roles(&self.state);
        self.electing.clone_from(members);
        for timer in [Timer::Election, Timer::Finalize] {
            for &id in members {
                if self.state.node(id).role == "LOOKING" {
                    self.input(id, Input::Timer(timer))?;
                }
            }
            self.exchange()?;
        }
        Ok(before != roles(&self.state))
    }

    /// Delivers what is said of an election, to those who take part and are connected.
    fn exchange(&mut self) -> Result<(), Violation> {
        for _ in 0..ELECTION_FRAMES_MAX {
            let Some((from, to, message)) = self.election.pop_front() else { return Ok(()) };
            let takes_part = self.electing.contains(&from) && self.electing.contains(&to);
            let link = self.state.link(from, to);
            let Some(generation) = link.seen_by(to).filter(|_| takes_part && link.works()) else {
                continue;
            };
            self.tell(|| format!("{to} ← {from} {message}"));
            self.input(to, Input::Received { peer: from, generation, message })?;
        }
        Err(Violation::new("an election comes to an end", "nodes go on and on".to_owned()))
    }

    /// Gives a node one input and ends the series, and does what it asks for.
    fn input(&mut self, id: NodeId, input: Input<C::Message>) -> Result<(), Violation> {
        let mut effects = Effects::default();
        let core = self.state.node(id).core.as_ref().expect("only a node that runs takes inputs");
        let held = self.state.laws.committed_in(core.view().log);
        let core = self.node(id).core.as_mut().expect("looked at just now");
        core.step(now(), input, &mut effects);
        core.step(now(), Input::Flush, &mut effects);
        self.check(id, &held)?;
        self.carry_out(id, effects)
    }

    fn check(&mut self, id: NodeId, held: &[consensus::Position]) -> Result<(), Violation> {
        let views: Vec<_> =
            self.state.nodes.iter().filter_map(|node| node.core.as_ref().map(C::view)).collect();
        Arc::make_mut(&mut self.state.laws).check(&views, id, held)
    }

    fn carry_out(&mut self, id: NodeId, effects: Effects<C::Message>) -> Result<(), Violation> {
        let Effects { persists, messages, deliveries, leadership, answers, events, .. } = effects;
        assert!(effects.fetches.is_empty(), "all logs are in memory");
        assert!(effects.snapshots.is_empty() && effects.install.is_none(), "no log is compacted");
        for event in events {
            self.tell(|| format!("{id} {event}"));
            self.notice_event(id, &event);
        }
        if let Some(&leadership) = leadership.last() {
            self.node(id).leadership = leadership;
        }
        for persist in persists {
            self.write(id, persist)?;
        }
        self.hold(id, messages);
        self.release(id)?;
        for answer in answers {
            self.tell(|| refusal(id, answer));
        }
        let Some(last) = deliveries.last().map(consensus::Entry::index) else { return Ok(()) };
        let laws = Arc::make_mut(&mut self.state.laws);
        for entry in &deliveries {
            laws.invariants.delivered(id, entry)?;
        }
        self.apply(id, last)
    }

    fn apply(&mut self, id: NodeId, last: Index) -> Result<(), Violation> {
        self.tell(|| format!("{id} applies up to {last}"));
        self.input(id, Input::Applied(last))
    }

    fn notice_event(&mut self, id: NodeId, event: &Event) {
        let seen = &mut self.state.seen;
        match event {
            Event::Truncated { .. } => seen.truncation = true,
            Event::PeerSynchronized { .. } => seen.synchronization = true,
            Event::RoleChanged { role, .. } => self.node(id).role = role,
            _ => {}
        }
    }

    fn write(&mut self, id: NodeId, persist: Persist) -> Result<(), Violation> {
        self.tell(|| format!("{id} writes {}", describe(&persist)));
        let laws = Arc::make_mut(&mut self.state.laws);
        laws.invariants.written(id, &persist.entries)?;
        let promise = read_promise::<C>(id, persist.promise.as_ref())?;
        let node = self.node(id);
        node.durability.asked(id, &persist, promise)?;
        node.disk.write(persist);
        Ok(())
    }

    /// Takes the messages of a round. Those of an election go another way.
    fn hold(&mut self, id: NodeId, messages: Vec<Outbound<C::Message>>) {
        for Outbound { to, after, message } in messages {
            if C::is_of_election(&message) {
                assert_eq!(after, PersistSequence(0), "a vote waits for nothing");
                self.election.push_back((id, to, message));
                continue;
            }
            if let Some(generation) = self.state.link(id, to).seen_by(id) {
                let node = self.node(id);
                let core = node.core.as_ref().expect("who speaks runs");
                let pledge = core.pledge(to, &message);
                node.held.push_back(Held { to, generation, after, pledge, message });
            }
        }
    }

    /// Lets go every message whose write is durable.
    fn release(&mut self, id: NodeId) -> Result<(), Violation> {
        let node = self.node(id);
        if node.held.is_empty() {
            return Ok(());
        }
        let durable = node.durable;
        let (leaving, staying): (VecDeque<_>, VecDeque<_>) =
            node.held.drain(..).partition(|held| held.after <= durable);
        node.held = staying;
        for Held { to, generation, after, pledge, message } in leaving {
            self.state.node(id).durability.leaves(id, after, &pledge)?;
            if self.state.link(id, to).seen_by(id) == Some(generation) {
                self.tell(|| format!("{id} → {to} {message}"));
                self.link(id, to).send(to, message);
            }
        }
        Ok(())
    }

    fn node(&mut self, id: NodeId) -> &mut Node<C> {
        self.touched.insert(id);
        Arc::make_mut(&mut self.state.nodes[place(id)])
    }

    fn link(&mut self, a: NodeId, b: NodeId) -> &mut crate::links::Link<C::Message> {
        let mut links = self.state.links.iter_mut();
        Arc::make_mut(links.find(|link| link.joins(a, b)).expect("every pair has a link"))
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(line());
        }
    }
}

fn describe(persist: &Persist) -> String {
    let mut parts = vec![format!("{}", persist.sequence)];
    parts.extend(persist.truncate_from.map(|from| format!("without what is from {from} on")));
    parts.extend(persist.entries.iter().map(|entry| format!("entry {}", entry.position)));
    parts.extend(persist.promise.as_ref().map(|_| "a promise".to_owned()));
    parts.join(", ")
}

fn refusal(id: NodeId, answer: Answer) -> String {
    match answer {
        Answer::Refused { token, reason } => format!("{id} refuses {token}: {reason:?}"),
        other => format!("{id} answers {other:?}"),
    }
}
