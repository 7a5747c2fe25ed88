//! The search is worth something only if it bites: each test puts a known fault into a protocol, and
//! wants a broken law. The faulty protocol hides from the checks of what each message and write
//! promises, which would notice at once, so that the fault is found by what it leads to.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use bytes::Bytes;
use consensus::{
    CodecError, Consensus, Effects, Generation, Input, Leadership, NodeId, Now, PersistSequence,
    Pledge, Position, Protocol, Recovered, Settings, StartError, Status, Timer, View, Wire,
};
use consensus_raft::Raft;
use consensus_zab::Zab;

use crate::bounds::Bounds;
use crate::check;
use crate::model::Exhaustive;
use crate::oracle::{Election, Modelled};

/// How a protocol is spoilt.
trait Fault: Clone + Debug + Send + Sync + 'static {
    fn spoil_start(_recovered: &mut Recovered) {}

    fn spoil_effects<M>(_effects: &mut Effects<M>) {}

    /// `generation` is that of the latest connection to the peer from which the input came.
    fn spoil_input<M>(_input: &mut Input<M>, _generation: Generation) {}
}

/// A protocol with a fault in front of it.
#[derive(Clone, Debug)]
struct Mutant<C, F> {
    core: C,
    /// The latest connection to each peer, which the core knows too.
    connections: BTreeMap<NodeId, Generation>,
    fault: PhantomData<F>,
}

impl<C: PartialEq, F> PartialEq for Mutant<C, F> {
    fn eq(&self, other: &Self) -> bool {
        self.core == other.core
    }
}

impl<C: Hash, F> Hash for Mutant<C, F> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.core.hash(hasher);
    }
}

impl<C: Consensus, F: Fault> Consensus for Mutant<C, F> {
    const PROTOCOL: Protocol = C::PROTOCOL;

    type Message = C::Message;

    fn start(now: Now, settings: Settings, mut recovered: Recovered) -> Result<Self, StartError> {
        F::spoil_start(&mut recovered);
        let core = C::start(now, settings, recovered)?;
        Ok(Self { core, connections: BTreeMap::new(), fault: PhantomData })
    }

    fn step(&mut self, now: Now, mut input: Input<C::Message>, effects: &mut Effects<C::Message>) {
        match input {
            Input::PeerConnected { peer, generation, .. } => {
                self.connections.insert(peer, generation);
            }
            Input::Received { peer, .. } => F::spoil_input(&mut input, self.connections[&peer]),
            _ => {}
        }
        self.core.step(now, input, effects);
        F::spoil_effects(effects);
    }

    fn status(&self) -> Status {
        self.core.status()
    }

    fn describe(&self, position: Position) -> String {
        self.core.describe(position)
    }

    fn view(&self) -> View<'_> {
        self.core.view()
    }

    fn pledge(&self, _to: NodeId, _message: &C::Message) -> Pledge {
        Pledge::default()
    }

    fn read_promise(_promise: Bytes) -> Result<Pledge, CodecError> {
        Ok(Pledge::default())
    }
}

impl<C: Modelled, F: Fault> Modelled for Mutant<C, F> {
    const ELECTION: Election = C::ELECTION;

    fn is_of_election(message: &C::Message) -> bool {
        C::is_of_election(message)
    }

    fn suspicion(role: &str, leadership: Leadership) -> Option<Timer> {
        C::suspicion(role, leadership)
    }
}

/// The law that a spoilt protocol breaks, with the story.
fn noticed<C: Modelled>(name: &str, bounds: Bounds) -> &'static str {
    let findings = check::search(name, Exhaustive::<C>::new(bounds), check::LONGEST);
    let broken = findings.broken.unwrap_or_else(|| panic!("{name} is not noticed"));
    eprintln!("{}", broken.story);
    broken.law
}

/// Nothing waits for the disk: acknowledgements leave before what they acknowledge is durable.
#[derive(Clone, Debug)]
struct Impatient;

impl Fault for Impatient {
    fn spoil_effects<M>(effects: &mut Effects<M>) {
        for outbound in &mut effects.messages {
            outbound.after = PersistSequence(0);
        }
    }
}

#[test]
fn an_acknowledgement_before_its_write_is_noticed() {
    let law = "what is committed is durable on a quorum";
    let bounds = Bounds { terms: 1, proposals: 1, crashes: 1, ..Bounds::NOTHING };
    let raft = Bounds { suspicions: 1, ..bounds };
    assert_eq!(noticed::<Mutant<Raft, Impatient>>("raft, impatient", raft), law);
    let zab = Bounds { elections: 1, ..bounds };
    assert_eq!(noticed::<Mutant<Zab, Impatient>>("zab, impatient", zab), law);
}

/// Votes are forgotten when a node stops.
#[derive(Clone, Debug)]
struct VoteForgotten;

impl Fault for VoteForgotten {
    fn spoil_start(recovered: &mut Recovered) {
        recovered.promise = recovered.promise.take().map(|bytes| {
            let promise = consensus_raft::Promise::from_bytes(bytes).expect("Raft wrote it");
            consensus_raft::Promise { vote: None, ..promise }.to_bytes()
        });
    }
}

#[test]
fn a_forgotten_vote_is_noticed() {
    let bounds = Bounds { terms: 1, crashes: 1, suspicions: 2, ..Bounds::NOTHING };
    let law = noticed::<Mutant<Raft, VoteForgotten>>("raft, votes forgotten", bounds);
    assert_eq!(law, "at most one node is accepted as leader by a quorum in a term or epoch");
}

/// The acceptedEpoch is forgotten when a server stops, unless it was joined.
#[derive(Clone, Debug)]
struct AcceptedForgotten;

impl Fault for AcceptedForgotten {
    fn spoil_start(recovered: &mut Recovered) {
        recovered.promise = recovered.promise.take().map(|bytes| {
            let promise = consensus_zab::Promise::from_bytes(bytes).expect("ZAB wrote it");
            consensus_zab::Promise { accepted: promise.current, ..promise }.to_bytes()
        });
    }
}

#[test]
fn a_forgotten_accepted_epoch_is_noticed() {
    let bounds = Bounds { terms: 1, crashes: 1, elections: 2, ..Bounds::NOTHING };
    let law = noticed::<Mutant<Zab, AcceptedForgotten>>("zab, acceptedEpoch forgotten", bounds);
    assert_eq!(law, "at most one node is accepted as leader by a quorum in a term or epoch");
}

/// Whatever a peer says counts, by whichever connection it came.
#[derive(Clone, Debug)]
struct LateFramesTaken;

impl Fault for LateFramesTaken {
    fn spoil_input<M>(input: &mut Input<M>, latest: Generation) {
        if let Input::Received { generation, .. } = input {
            *generation = latest;
        }
    }
}

#[test]
fn a_late_frame_that_counts_is_noticed() {
    let law = "what comes late on a connection that was given up changes nothing";
    let bounds = Bounds { terms: 1, breaks: 1, ..Bounds::NOTHING };
    let raft = Bounds { suspicions: 1, ..bounds };
    assert_eq!(noticed::<Mutant<Raft, LateFramesTaken>>("raft, late frames taken", raft), law);
    let zab = Bounds { elections: 1, ..bounds };
    assert_eq!(noticed::<Mutant<Zab, LateFramesTaken>>("zab, late frames taken", zab), law);
}
