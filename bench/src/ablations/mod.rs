//! What each mechanism is worth: for each, a protocol as it is against the same protocol without it, or with
//! another amount of it.
//!
//! "Raft is faster than ZAB" is often "one of them batches". A mechanism that is worth more than the
//! difference between the protocols is what a comparison of two systems measures, whatever it is called.
//! So each of them can be changed ([`Ablation`], docs/ablations.md), for both protocols alike where
//! both have it, and is measured as the protocols themselves are: by [`crate::compare`], in paired blocks
//! with an interval on the ratio.
//!
//! # Caveats
//! One mechanism is changed at a time, all others stay. What two of them are worth together need not
//! be the product of both.

mod kind;
mod page;
mod pair;
mod record;
mod table;

pub use kind::Ablation;
pub use pair::{Pair, pairs};
pub use record::{Ablated, Ablations};
pub use table::{plan_text, table_text};
