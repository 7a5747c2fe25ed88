//! The contract that Raft and ZAB fulfil, and everything that the two share.
//!
//! A protocol is a pure state machine behind the trait [`Consensus`]: the driver tells it what
//! happened ([`Input`]) and carries out what it asks for ([`Effects`]). It reads no clock, draws no
//! randomness and touches neither disk nor network, so the simulator and the server run the same
//! code, and the same inputs always give the same effects.
//!
//! Whatever is not the protocol itself exists once, here: quorum arithmetic ([`Quorum`]), the
//! failure detector ([`FailureDetector`]), flow control ([`Progress`]), back-pressure ([`Backlog`]),
//! the in-memory view of the log ([`Log`]), the codec ([`codec`]), and the events ([`Event`]). That is
//! what makes a comparison of the two protocols fair, and the dependency graph shows it.
//!
//! [`Null`] commits at once without replication. It is the floor of every measurement.

mod backlog;
pub mod codec;
#[cfg(feature = "script")]
pub mod conformance;
mod detector;
mod effects;
mod entry;
mod event;
mod flow;
mod id;
pub mod invariants;
mod log;
pub mod mutant;
mod null;
mod pledge;
mod protocol;
mod quorum;
mod random;
#[cfg(feature = "script")]
pub mod script;
mod standing;
mod time;
mod timers;
mod transfer;

pub use backlog::Backlog;
pub use codec::{CodecError, Wire};
pub use detector::{FailureDetector, Verdict};
pub use effects::{
    Answer, Effects, Fetch, FetchPurpose, Input, Leadership, Outbound, Persist, Refusal, Snapshot,
    SnapshotOffer, Timer,
};
pub use entry::{Entry, Payload};
pub use event::{Event, Passage, Suspicion};
pub use flow::{Progress, ProgressState};
pub use id::{Generation, Index, NodeId, PersistSequence, Position, Term, Token};
pub use invariants::{Invariants, View, Violation};
pub use log::Log;
pub use mutant::Mutant;
pub use null::{Null, NullMessage};
pub use pledge::Pledge;
pub use protocol::{
    Consensus, Message, PeerStatus, Protocol, Recovered, Settings, StartError, Status,
};
pub use quorum::Quorum;
pub use random::Random;
pub use standing::Standing;
pub use time::{Now, Time, WallTime};
pub use timers::Timers;
pub use transfer::{Heir, Transfer, successor};
