//! What happened on this node a while ago, kept in memory for whoever asks.
//!
//! The consensus loop writes down every [`consensus::Event`] with the host's monotonic time: changes
//! of role and the like, and each message that leaves or arrives, named so that its two ends can be
//! matched. What is rare is kept for long, what is frequent is forgotten soon, and everything is
//! bounded by count and by bytes (`Ring`). The loop never waits for a reader, and spends next to
//! nothing on what nobody may ever read (`Recorder`).
//!
//! A node that is asked puts the records of all nodes together: in an order in which no message
//! arrives before it left (`arrange`), or as the elections that they tell of (`elections`).

mod arrange;
mod elections;
mod episode;
mod host_time;
mod phases;
mod record;
mod recorder;
mod ring;
mod wire;

pub(crate) use arrange::{Placed, arrange};
pub(crate) use elections::{Election, NodeView, elections};
pub use host_time::HostTime;
pub(crate) use host_time::{HostClock, boot_id};
pub use record::{NodeTrace, Record, RecordKind, TraceDetail, TraceQuestion};
pub(crate) use recorder::{Recorder, Way};
pub(crate) use ring::Ring;
pub(crate) use wire::{decode_question, decode_trace, encode_question, encode_trace};
