//! The connections between nodes: one TCP connection for each pair, both ways, which is called the
//! link. A snapshot comes on a connection of its own ([`super::snapshots`]), which its greeting says.
//!
//! The node with the larger number dials, so that two connections never cross. Both sides greet
//! with who they are, whom they expect, and what they know of the cluster; anything else on the port
//! is shown out. As long as one of them does not know that the cluster is formed, that is all, and
//! they greet again. What travels otherwise is frames. A connection that breaks is a new generation when it comes back, and nothing of
//! an old generation is ever sent or acted upon.
//!
//! Everything here runs on the consensus thread, beside the loop that it feeds: no message waits
//! for another thread to wake up, and none waits behind the clients.

mod ask;
mod frame;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod greeting;
mod hello;
mod lab;
mod lane;
mod link;
mod outgoing;
mod question;

pub(crate) use frame::{FRAME_BYTES_MAX, FrameKind, put_frame, take_frame};
pub(crate) use greeting::greet_blocking;
pub(crate) use hello::{Hello, HelloPurpose};
pub(crate) use lab::ask_lab;
pub(crate) use link::{Links, Peers, accept_peers, dial_peers};
