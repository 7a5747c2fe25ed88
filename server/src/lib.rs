//! The duorum server: runtime, peer transport, HTTP and command line.
//!
//! From the outside in:
//!
//! - [`cli`]: the verbs of the program `duorum`.
//! - [`config`]: what `duorum serve` is started with, from flags, environment and file.
//! - [`serve`]: one server: a node with its HTTP API, until it is stopped.
//! - [`dev`]: all nodes of one or both protocols in one process, to try them.
//! - [`http`]: the API `/v1`. The only place that knows HTTP and JSON.
//! - [`metrics`]: what a node counts.
//! - [`node`]: the node itself: threads, data directory, connections with the other nodes.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the server is where clocks, threads, sockets and disks are"
)]

pub mod cli;
pub mod config;
pub mod dev;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod http;
pub mod metrics;
pub mod node;
pub mod serve;
