//! ZAB, ZooKeeper's atomic broadcast, as a pure state machine
mod barrier;
mod broadcast;
mod discovery;
mod election;
mod message;
mod node;
mod promise;
mod role;
mod supervision;
mod synchronization;
mod zxid;

pub use message::{Notification, Reason, ServerState, Session, Vote, ZabMessage};
pub use node::Zab;
pub use zxid::{Epoch, EpochTable, LogPoint, Zxid};
