//! Exhaustive model checking: every state that three nodes can get into, within small bounds.
//!
//! The simulator draws histories at random and gets far; this walks through all of them and stays
//! near. What it finds nothing wrong with is proven for the bounds, for the real protocol code: the
//! model is made of the very structs that the server runs, and knows nothing of their rules.
//!
//! - **State** (`state.rs`): the cores, what is durable on each disk and what is being written, the
//!   frames under way on each connection, what is left of each bound, and all that the laws remember. Two
//!   histories that differ in any of it are two states.
//! - **Actions** (`action.rs`): a frame arrives, a write becomes durable, a timer fires, a client
//!   proposes, a node crashes or starts, a connection breaks, is noticed to be broken, comes back. What
//!   a node does then, up to its next wait for disk or network, is one step (`step.rs`): every series of
//!   inputs ends with a flush, and what is committed is applied at once, as in the server. What comes
//!   late of a connection that was given up, its frames and the news that it broke, must change nothing.
//! - **Laws** (`laws.rs`): [`consensus::Invariants`] and [`consensus::invariants::Durability`] after each
//!   step, the asserts in the code, and that a quorum of disks holds what is committed.
//! - **Search** (`check.rs`): by the crate `stateright`, depth first, with two threads. A broken law is
//!   printed as a story, after everything was left out of it that it does not need.
//!
//! # Time
//! There is none: every step happens at the same moment. A timer fires whenever the search likes, which
//! the protocols allow, so that all orders of all timers are covered, and no two states differ by a
//! clock. What is lost are the few rules that go by how long ago something was; all of them are there
//! for liveness. Timers that make a node suspect another are bounded, because each may begin an election.
//!
//! # Elections
//! What is said in elections and binds nobody has more states of its own than all the rest, and safety
//! does not rest on it. So it takes no step of its own (`oracle.rs`), but is exchanged by the real code:
//! Raft's PreVotes at once, among all who are connected; ZAB's notifications when the search picks some
//! servers that are connected and lets them hold an election to its end. So the oracle never divides a
//! quorum between two leaders of one election; it leaves leaders as soon as anybody is impatient, breaks
//! or crashes. Votes of Raft, and everything of ZAB from FOLLOWERINFO on, are frames like any other.
//!
//! # What it is not
//! States are told apart by 64 bits: that two of ten million are taken for one happens in one search of
//! some hundred thousand. A search that was cut short has not seen everything, and says so. A write takes
//! any time as long as a crash may still come that could lose it, and afterwards none; so a search without
//! crashes has no slow disks. Reads, snapshots, transfers and observers are not part of the model, and
//! nothing of it proves that anything ever happens, beyond the corners that each search must reach.
//!
//! # More
//! `docs/exhaustive.md` has the command that searches larger bounds, and what it found.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "how long a search lasts, and what it prints, is no part of any state"
)]

mod action;
mod bites;
mod bounds;
mod check;
mod disk;
mod laws;
mod links;
mod model;
mod oracle;
mod raft;
mod state;
mod step;
mod zab;
