//! The connections between nodes: one TCP connection for each pair, both ways.
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
mod greeting;
mod hello;
mod link;
mod question;

pub(crate) use frame::{FrameKind, put_frame};
pub(crate) use link::{Links, Peers, accept_peers, dial_peers};
