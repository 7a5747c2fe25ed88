//! Ranges, puts, deletions, transactions, compactions.

mod pages;
mod range;
mod told;
mod transaction;
mod write;

pub(super) use pages::look_through;
pub(super) use range::range;
pub(super) use transaction::transact;
pub(super) use write::{compact, delete_range, put};
