//! Ranges, puts, deletions, compactions.

mod pages;
mod range;
mod write;

pub(super) use range::range;
pub(super) use write::{compact, delete_range, put};
