//! What the tests of processes need besides the crate.

pub(crate) mod fake_node;
pub(crate) mod runner;
