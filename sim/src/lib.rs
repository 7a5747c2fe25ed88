//! A deterministic simulator of whole clusters, with checkers.
//!
//! One thread, one queue of what is going to happen, one seed. The nodes are made of the very code
//! that the server runs: `Replica` over a protocol, `Machine` over a store, the write-ahead log.
//! What the server has threads, sockets and disks for happens here in virtual time: a loop that
//! takes inputs and hands out effects, a log writer that syncs one batch at a time, an applier, a
//! reader of old entries, a flusher of the store, connections that deliver frames in order or break;
//! a log that forgets what the store holds, but for a tail, and snapshots for whoever needs more.
//!
//! ```text
//!        clients, watchers                    faults: crashes, partitions, flapping and slow links,
//!               │ requests                            pauses, bad disks, flipped bits, clocks, timers
//!   ┌───────────▼─────────────────────────────────────────────┐
//!   │ node: inbox ▶ Replica<C>::step … Flush ▶ effects         │      frames, encoded
//!   │   persists ▶ log writer ▶ Wal over a simulated disk      │◀────────────────────▶ other nodes
//!   │   messages ▶ held until what they promise is durable     │
//!   │   deliveries ▶ applier ▶ Machine ▶ answers to clients    │
//!   │   flusher ▶ store                                        │
//!   └──────────────────────────────────────────────────────────┘
//! ```
//!
//! # What is checked
//! - After every round of a node: [`consensus::invariants`], between all nodes; and by the voters' disks
//!   alone, that a quorum of voters was there for every leader and every commit, and that a leader counts
//!   only what its followers hold. Observers never are.
//! - At every message that leaves: the write that it waited for is durable, and so is what it
//!   promises by what it says, whatever it waited for.
//! - At every start: the log holds what it acknowledged and nothing that was not asked, the store
//!   is the state at some applied entry, not ahead of the log, and not behind what that forgot.
//! - At every applied entry: all nodes apply the same, with the outcome of a naive model, and have
//!   the same revision and digest.
//! - At every snapshot that takes a machine's place: state, keys and history are the model's.
//! - At every frame of a connection that was given up: it changes nothing.
//! - At every pull of a watch, at whatever node: exactly the model's events from the revision asked for on
//!   that it wants to hear of, with what was there before if it wants that, in order, each once, whole
//!   revisions, nothing older; and where it says that it goes on is a bookmark, before which nothing is missing.
//! - In the end everything is repaired: the cluster must serve again at every node, and become equal
//!   everywhere. Then what clients saw is judged: linearizability by the revisions that they were told,
//!   and once more by a search that trusts none; acknowledged writes are there,
//!   failed ones are not, every range is the model's answer in the order asked for, each page of one at the
//!   revision of the first, and those with an idempotency key were done at most once, however often
//!   clients and nodes sent them again; `sync` reads see what their leader had committed, and nobody goes
//!   back at a node that lives, not by `local` reads either.
//!
//! # Invariants of the simulator itself
//! - Equal options give equal runs: everything that happens is folded into one number, and a failure
//!   is run a second time to tell its story, which must be the same one.
//! - Frames of one connection arrive once and in order, or the connection breaks.
//! - A crash may come between any two syncs, during recovery too.
//!
//! # What breaks
//! The seed draws it all before anything happens, as a script of numbered steps, each at a time or with an
//! occasion ([`Step`]): so a failing run is made short by leaving steps out ([`shrink`]), and still is the
//! run of its seed. [`Profile`] says which faults there are, [`Links`] how far the nodes are from one
//! another, [`Depth`] how much of a node is the real thing.
//!
//! # Running it
//! `duorum sim` (docs/simulation.md); `cargo test -p sim` runs two thousand seeds. `DUORUM_SIM_SEEDS=10000
//! cargo test -p sim raft::` makes a soak of it, `DUORUM_SIM_FIRST` says where to begin. A failure prints
//! the last lines of what happened, what broke, and the command that does it again.
//! A [`Workload`] is what somebody wants to see instead of what the seed draws. [`costs`] gives figures in virtual
//! time. Wrong versions that the checkers must notice are in [`consensus::mutant`].
//!
//! # What it is not
//! Not exhaustive: it draws samples. It does not simulate threads. Bits flip in the log and not in the
//! store, whose pages redb checks itself.

mod ablation;
mod agenda;
mod alarms;
mod applier;
mod check_by_search;
mod check_linearizable;
mod check_once;
mod client;
mod clients;
mod clock;
mod cluster;
pub mod costs;
mod disk;
mod driver;
mod faults;
mod full_store;
mod history;
mod latency;
mod lockers;
mod model;
mod network;
mod node;
mod options;
mod oracle;
mod process;
mod quorums;
mod ranges;
mod reader;
mod report;
mod run;
mod shadow;
mod shrink;
mod snapshots;
mod store;
mod tenancies;
mod tenant;
mod trace;
mod watchers;
mod workload;

pub use ablation::Ablation;
pub use faults::{Step, StepNumber};
pub use latency::Links;
pub use options::{Beginning, Depth, Profile, SimOptions};
pub use report::{Counters, Failure, Report};
pub use run::run;
pub use shrink::shrink;
pub use workload::{LeaderFault, Workload, WorkloadReport};
