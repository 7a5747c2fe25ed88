//! A protocol at its daily work, without a driver, and what its messages are as bytes.

use std::marker::PhantomData;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use consensus::script::{Cluster, Detail, Options};
use consensus::{
    Consensus, Effects, Input, Message as _, NodeId, Now, Timer, Token, WallTime, Wire,
};
use kvcore::replica::PeerMessage;

use super::{BATCH, Path, put};

/// How many batches the logs hold before.
const BATCHES_BEFORE: u64 = 16;

/// Three nodes that have a leader, and logs of some length.
struct Established<C: Consensus> {
    cluster: Cluster<C>,
    leader: NodeId,
    followers: Vec<NodeId>,
}

impl<C: Consensus> Established<C> {
    fn new() -> Self {
        let mut options = Options::new(3);
        (options.twins, options.detail) = (false, Detail::Nothing);
        let mut cluster = Cluster::<C>::new(options).expect("three nodes start");
        cluster.fire(NodeId(1), Timer::Election).expect("no law is broken");
        cluster.run(Duration::from_secs(1)).expect("no law is broken");
        let leader = cluster.established().first().expect("the cluster elects a leader").0;
        let followers = cluster.ids().into_iter().filter(|&id| id != leader).collect();
        let mut established = Self { cluster, leader, followers };
        for _ in 0..BATCHES_BEFORE {
            established.propose();
        }
        established
    }

    /// Has a batch committed, or as much of it as what is held back allows.
    fn propose(&mut self) {
        self.cluster.propose(self.leader, commands()).expect("no law is broken");
        self.cluster.settle().expect("no law is broken");
    }

    /// A step of a node as it is now, with these inputs and a flush, after one of the same kind.
    fn step(
        &self,
        id: NodeId,
        before: Vec<Input<C::Message>>,
        inputs: Vec<Input<C::Message>>,
    ) -> Step<C> {
        let time = self.cluster.time();
        let flushed = |inputs: Vec<_>| inputs.into_iter().chain([Input::Flush]).collect();
        Step {
            core: self.cluster.core(id).clone(),
            now: Now { time, wall: WallTime(time.0 / 1_000) },
            before: flushed(before),
            inputs: flushed(inputs),
            effects: Effects::default(),
        }
    }

    /// The messages under way, as inputs of their receiver.
    fn under_way(&self, from: NodeId, to: NodeId) -> Vec<Input<C::Message>> {
        let generation = self.cluster.connection(to, from).expect("the nodes are connected");
        let messages = self.cluster.under_way(from, to).cloned();
        messages.map(|message| Input::Received { peer: from, generation, message }).collect()
    }

    /// A step of a follower that is sent a batch.
    fn appended(mut self) -> Step<C> {
        let (leader, follower) = (self.leader, self.followers[0]);
        self.cluster.hold(leader, follower);
        self.propose();
        let before = self.under_way(leader, follower);
        self.propose();
        let inputs = self.under_way(leader, follower).split_off(before.len());
        self.step(follower, before, inputs)
    }

    /// A batch, as a message from the leader to a follower.
    fn batch(self) -> C::Message {
        let messages = self.appended().inputs.into_iter().filter_map(|input| match input {
            Input::Received { message, .. } => Some(message),
            _ => None,
        });
        // What ZAB tells of the commit is a message of its own.
        messages.max_by_key(|message| message.to_bytes().len()).expect("the leader sends the batch")
    }
}

fn commands() -> impl Iterator<Item = Bytes> {
    (0..BATCH).map(put)
}

/// A node with its inputs.
#[derive(Clone)]
pub(crate) struct Step<C: Consensus> {
    core: C,
    now: Now,
    /// Inputs of the same kind, taken before: a copy of a node has no room for anything, and making it is no
    /// part of a step.
    before: Vec<Input<C::Message>>,
    inputs: Vec<Input<C::Message>>,
    effects: Effects<C::Message>,
}

impl<C: Consensus> Step<C> {
    /// What the driver has after the step: the node, and the buffer that is its own.
    fn take(mut self) -> (C, Effects<C::Message>) {
        for input in self.inputs {
            self.core.step(self.now, input, &mut self.effects);
        }
        (self.core, self.effects)
    }

    /// The same, ready to be taken, with the buffer that the driver has all the time.
    fn ready(&self, effects: &mut Effects<C::Message>) -> Self {
        let mut step = self.clone();
        step.effects = std::mem::take(effects);
        for input in std::mem::take(&mut step.before) {
            step.core.step(step.now, input, &mut step.effects);
        }
        step.effects.clear();
        step
    }

    /// The same with the word of the disk, after each flush, that what is to be written is durable.
    fn with_durable_writes(mut self) -> Self {
        let (mut core, mut effects) = (self.core.clone(), Effects::default());
        for inputs in [&mut self.before, &mut self.inputs] {
            for input in inputs.iter() {
                core.step(self.now, input.clone(), &mut effects);
            }
            let written = effects.persists.last().expect("something is written").sequence;
            let durable = [Input::Persisted(written), Input::Flush];
            for input in durable.clone() {
                core.step(self.now, input, &mut effects);
            }
            inputs.extend(durable);
        }
        self
    }
}

/// The part of each path of this kind that is the same.
macro_rules! step_path {
    ($name:ident, $doc:literal, $prepare:expr, $check:expr) => {
        #[doc = $doc]
        pub(crate) struct $name<C: Consensus> {
            step: Step<C>,
            /// The driver's buffer between two steps.
            effects: Effects<C::Message>,
        }

        impl<C: Consensus> Path for $name<C> {
            type Work = Step<C>;
            type Done = (C, Effects<C::Message>);

            const ELEMENTS: u64 = BATCH;

            fn prepare() -> Self {
                let prepare: fn(Established<C>) -> Step<C> = $prepare;
                Self { step: prepare(Established::new()), effects: Effects::default() }
            }

            fn next(&mut self) -> Step<C> {
                self.step.ready(&mut self.effects)
            }

            fn run(&mut self, work: Step<C>) -> Self::Done {
                work.take()
            }

            fn check(&mut self, (_, effects): Self::Done) {
                let check: fn(&Effects<C::Message>) = $check;
                check(&effects);
                self.effects = effects;
            }
        }
    };
}

/// How many protocol messages the effects send.
fn weight<C: Consensus>(effects: &Effects<C::Message>) -> u64 {
    effects.messages.iter().map(|outbound| outbound.message.weight()).sum()
}

step_path!(
    Proposals,
    "A leader is asked to replicate a batch.",
    |established| {
        let batch = |first: u64| {
            let commands = commands().zip(first..);
            commands
                .map(|(command, token)| Input::Propose { token: Token(token), command })
                .collect()
        };
        established.step(established.leader, batch(1 << 32), batch(1 << 33))
    },
    |effects| {
        let entries: usize = effects.persists.iter().map(|persist| persist.entries.len()).sum();
        assert_eq!((effects.persists.len(), entries as u64), (1, BATCH), "one write has the batch");
        assert!(effects.messages.len() >= 2, "both followers are sent the batch");
        assert!(effects.answers.is_empty(), "nothing is refused");
    }
);

step_path!(
    Acknowledgements,
    "A leader hears that both followers have a batch.",
    |mut established| {
        let (leader, followers) = (established.leader, established.followers.clone());
        for &follower in &followers {
            established.cluster.hold(follower, leader);
        }
        let mut answers = Vec::new();
        for _ in 0..2 {
            established.propose();
            let all = followers.iter().map(|&id| established.under_way(id, leader));
            answers.push(all.collect::<Vec<_>>());
        }
        let (before, both) = (answers.remove(0), answers.remove(0));
        let new =
            both.into_iter().zip(&before).flat_map(|(all, old)| all.into_iter().skip(old.len()));
        let new = new.collect();
        established.step(leader, before.into_iter().flatten().collect(), new)
    },
    |effects| {
        assert_eq!(effects.deliveries.len() as u64, BATCH, "the batch is committed and delivered");
        assert!(!effects.messages.is_empty(), "the followers are told");
    }
);

step_path!(
    Entries,
    "A follower is sent a batch, and hears that it is durable: ZAB's acknowledges it only then, Raft's has tagged
    its answer with the write before.",
    |established| established.appended().with_durable_writes(),
    |effects| {
        let entries: usize = effects.persists.iter().map(|persist| persist.entries.len()).sum();
        assert_eq!(entries as u64, BATCH, "the batch is written");
        assert!(weight::<C>(effects) >= BATCH, "and acknowledged once it is durable");
    }
);

/// A batch becomes the content of a frame.
pub(crate) struct Encoding<C: Consensus> {
    message: PeerMessage<C::Message>,
    out: BytesMut,
}

impl<C: Consensus> Path for Encoding<C> {
    type Work = ();
    type Done = usize;

    const ELEMENTS: u64 = BATCH;

    fn prepare() -> Self {
        let message = PeerMessage::Consensus(Established::<C>::new().batch());
        // As a link has it, whose buffer has room for what it sends all the time.
        Self { message, out: BytesMut::with_capacity(64 << 10) }
    }

    fn next(&mut self) {
        self.out.clear();
    }

    fn run(&mut self, (): ()) -> usize {
        self.message.encode(&mut self.out);
        self.out.len()
    }

    fn check(&mut self, bytes: usize) {
        assert!(bytes > BATCH as usize * super::VALUE_BYTES, "the values are in it");
    }
}

/// The content of a frame becomes a batch.
pub(crate) struct Decoding<C: Consensus> {
    content: Bytes,
    message: PeerMessage<C::Message>,
    protocol: PhantomData<C>,
}

impl<C: Consensus> Path for Decoding<C> {
    type Work = Bytes;
    type Done = PeerMessage<C::Message>;

    const ELEMENTS: u64 = BATCH;

    fn prepare() -> Self {
        let message = PeerMessage::Consensus(Established::<C>::new().batch());
        Self { content: message.to_bytes(), message, protocol: PhantomData }
    }

    fn next(&mut self) -> Bytes {
        self.content.clone()
    }

    fn run(&mut self, work: Bytes) -> Self::Done {
        PeerMessage::from_bytes(work).expect("it was encoded before")
    }

    fn check(&mut self, done: Self::Done) {
        assert_eq!(done, self.message, "what comes out went in");
    }
}
