//! How Duorum is measured: a load generator, clusters of child processes, the paired comparison of
//! the protocols, its statistics and its report.
//!
//! The parts, from the bottom up:
//!
//! - [`stats`]: medians, quantiles and the paired bootstrap. Pure.
//! - [`load`]: a closed loop of HTTP clients. "What can N clients do?"
//! - [`failover`]: a fault under paced writes whose latency counts from the intended start, so that
//!   a stalled server can not slow down its own measurement (coordinated omission).
//! - [`rejoin`], [`rolling`], [`soak`]: what becomes of a cluster whose follower was away, whose nodes
//!   are all restarted, or which is written to for long.
//! - [`watch`], [`store`], [`compaction`]: many watchers, many keys, much history.
//! - [`cluster`]: `duorum serve` as child processes, killed whatever happens to the measurement.
//! - [`echo`]: an HTTP server that only echoes. No server on the same stack can be faster.
//! - [`scenario`]: what is done to a cluster, in a file.
//! - [`compare`]: both protocols in interleaved blocks, and what may be concluded from them.
//! - [`systems`]: etcd and ZooKeeper under the same workload, which compares systems and not protocols.
//! - [`ablations`]: each protocol as it is and with one mechanism changed.
//! - [`report`]: the JSON and HTML pages of a comparison.
//! - [`cli`]: the verbs `duorum bench` and `duorum compare`.
//!
//! # Caveats
//! Clients and servers share one machine and talk over the loopback interface. The figures compare
//! the protocols with each other on equal terms; they do not say what a cluster of real machines
//! would do.

#![allow(
    clippy::disallowed_methods,
    reason = "measuring means reading clocks, starting processes and talking to them"
)]

pub mod ablations;
pub mod cli;
pub mod cluster;
pub mod compaction;
pub mod compare;
pub mod echo;
mod error;
pub mod exact;
pub mod failover;
pub mod load;
pub mod loopback;
pub mod machine;
pub mod rejoin;
pub mod report;
pub mod rolling;
pub mod scenario;
pub mod soak;
pub mod stats;
pub mod store;
pub mod systems;
pub mod watch;

pub use error::Error;
