//! The program as its users run it: real `duorum` processes, real signals, real files.
//!
//! All of it is one test program, because each one takes long to build. `cargo test -p server --test
//! processes dev` runs the tests of the module `dev`, and so on. How many have servers at the same time
//! is bounded ([`support::Place`]).

#![allow(clippy::disallowed_methods, reason = "these tests run in real time")]

/// Each of these as a test of Raft and as one of ZAB.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod raft {
            $(#[test] fn $test() { super::$test("raft"); })*
        }

        mod zab {
            $(#[test] fn $test() { super::$test("zab"); })*
        }
    };
}

mod ablations;
mod agreement;
mod alarms;
mod command_line;
mod compare;
mod connections;
mod dev;
#[path = "../diagrams/mod.rs"]
mod diagrams;
mod durable_before_acknowledged;
mod elections;
mod etcd_api;
mod fault_requests;
mod faults;
mod fixtures;
mod follower_acknowledges;
mod identity;
mod killed_processes;
mod leases;
mod locks;
mod lost_leaders;
mod observers;
mod simulations;
mod snapshots;
mod support;
mod tours;
mod transfers;
mod watches;
