//! Raft as a pure state machine

mod barrier;
mod election;
mod message;
mod node;
mod promise;
mod replication;
mod role;
mod supervision;

pub use message::{AppendOutcome, Attempt, RaftMessage, Round};
pub use node::Raft;
pub use promise::Promise;
