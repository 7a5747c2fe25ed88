//! Simulations of whole clusters, and the proof that they are worth something: they can be repeated,
//! they get everywhere, and their checkers bite.

mod ablations;
mod bites;
mod costs;
mod determinism;
mod mutants;
mod null;
mod raft;
mod reach;
mod rollover;
mod shrinking;
mod support;
mod workload;
mod zab;
