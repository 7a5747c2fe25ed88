//! `/v3`, as etcd's clients use it: one file a subject, and a test for each thing that etcd promises about
//! it. Each is asked of every node in turn, so also of one that does not lead.

mod alarms;
mod cluster;
mod compaction;
mod comparisons;
mod deletions;
mod elections;
mod errors;
mod handbook;
mod keepalives;
mod leases;
mod locks;
mod long_ranges;
mod puts;
mod ranges;
mod serializable;
mod slow_watches;
mod snapshots;
mod streams;
mod support;
mod transactions;
mod watch_streams;
mod watches;
mod wrong_requests;

use super::{Fixture, on_every_protocol};
