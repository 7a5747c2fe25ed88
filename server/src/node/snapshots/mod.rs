//! Snapshots between nodes: a whole store on a connection of its own, beside the frames.
//!
//! The sender dials, whoever dialled the link; both greet, and the greeting names the link that the
//! snapshot belongs to. Everything here blocks on threads of its own, so that no heartbeat ever waits
//! behind a snapshot; the end of the link cuts the stream off.
//!
//! ```text
//!   sender                                        receiver
//!     greeting ──────────────────────────────────▶
//!     ◀────────────────────────────────── greeting
//!     Begin(the protocol's word, state, terms) ──▶  opens store N+1, or what is left in it
//!     ◀──────────────────────── After(revision, entry)
//!     Ids(the rows up to there) … Ids() ─────────▶  removes what was compacted since
//!     Rows … Rows(last) ─────────────────────────▶  writes them, some megabytes at a time
//!     Remembered … Remembered() ─────────────────▶  likewise what is known of idempotency keys
//!                                                   checks the digest; the protocol decides
//!     ◀──────────────────────────────── Done(whether it was installed)
//! ```
//!
//! A stream that breaks off leaves its rows in store N+1: the next one, also of another sender, goes
//! on behind them.

mod cancel;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod receive;
mod send;
mod wire;

pub(crate) use cancel::{CancelOnDrop, Cancellation};
pub(crate) use receive::{Incoming, ReceivedSnapshot, Receiver, receive};
pub(crate) use send::{Outgoing, send};
