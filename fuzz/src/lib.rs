//! Whatever reads bytes from outside, given any bytes: peers, clients, users and disks may say anything,
//! and nothing that they say makes a node panic or fill its memory.
//!
//! # The laws
//! - **No panic.** What is wrong is an error.
//! - **No length is believed.** What is allocated at a time while bytes are read is bounded by a small
//!   multiple of how many there really are, and what the target needs for anything ([`Target`]).
//! - **What was read comes out again.** A value survives its encoding, which is no longer than what it was
//!   read from. Each target checks that itself.
//!
//! # The parts
//! - [`TARGETS`]: everything that reads bytes, each by a name.
//! - [`check`]: one target and one input, under the laws.
//! - [`corpus`]: the inputs that are kept, in `corpus/`, a directory for each target.
//! - [`mutate`]: other inputs, drawn from those by a seed.
//! - `tests/replay.rs`: the corpus, and a number of mutations of it.
//! - `guided/`: a program of its own that looks for new inputs by what the code does with them, with
//!   libFuzzer, also on stable Rust. `README.md` has the commands.

pub mod corpus;
pub mod mutate;
mod targets;

pub use targets::TARGETS;

/// Something that reads bytes from outside.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its directory in the corpus.
    pub name: &'static str,
    /// Reads any bytes; panics if a law is broken.
    pub read: fn(&[u8]),
    /// The bytes that it may allocate however short the input is.
    pub bytes_least: u64,
    /// The bytes that it may allocate besides for each byte of the input.
    pub bytes_per_byte: u64,
    /// About how long it takes, in microseconds, so that slow ones are not tried as often.
    pub cost: u64,
}

/// Gives a target an input.
///
/// # Panics
/// If a law is broken.
pub fn check(target: &Target, input: &[u8]) {
    let allocated = allocation_counter::measure(|| (target.read)(input)).bytes_max;
    let allowed = target.bytes_least + target.bytes_per_byte * input.len() as u64;
    assert!(
        allocated <= allowed,
        "no length is believed: {} allocates {allocated} bytes for {}, where {allowed} are allowed",
        target.name,
        input.len(),
    );
}
