//! ZAB within bounds: discovery, synchronization, broadcast.

use consensus::NodeId;
use consensus_zab::Zab;

use crate::action::Action;
use crate::bounds::Bounds;
use crate::check;
use crate::model::Exhaustive;

/// What takes a crash.
const CRASHES: [&str; 3] = [
    "after a crash a later leader commits an entry",
    "entries are truncated",
    "a crash loses a write",
];

/// What takes a leader that does not know that it leads no more.
const DEPOSED: [&str; 1] = ["two nodes are established at once"];

/// A cluster that begins with nothing.
fn beginning(bounds: Bounds) -> Exhaustive<Zab> {
    Exhaustive::new(bounds)
}

/// A cluster in which epoch 1 is established, and nothing is under way.
fn established(bounds: Bounds) -> Exhaustive<Zab> {
    let members = (1..=3).map(NodeId).collect();
    Exhaustive::new(bounds).after([Action::Elect { members }])
}

/// The large bounds are those of the whole: two epochs, two transactions, two crashes.
#[test]
fn zab_survives_a_crash_in_any_phase() {
    let bounds = Bounds { terms: 2, proposals: 1, crashes: 1, elections: 2, ..Bounds::NOTHING };
    let large = Bounds { proposals: 2, crashes: 2, elections: 3, ..bounds };
    let name = "zab, a crash in any phase";
    check::holds(name, beginning(bounds), beginning(large), &DEPOSED);
}

#[test]
fn zab_survives_a_crash_in_broadcast() {
    let bounds = Bounds { terms: 2, proposals: 2, crashes: 1, elections: 2, ..Bounds::NOTHING };
    let large = Bounds { crashes: 2, ..bounds };
    let name = "zab, a crash in broadcast";
    check::holds(name, established(bounds), established(large), &DEPOSED);
}

#[test]
fn zab_survives_a_broken_connection() {
    let bounds = Bounds {
        terms: 2,
        proposals: 1,
        breaks: 1,
        suspicions: 1,
        elections: 1,
        ..Bounds::NOTHING
    };
    let large = Bounds { proposals: 2, crashes: 1, ..bounds };
    let name = "zab, a broken connection";
    check::holds(name, established(bounds), established(large), &CRASHES);
}

#[test]
fn zab_survives_a_leader_that_is_left() {
    let bounds = Bounds { terms: 2, proposals: 1, suspicions: 2, elections: 1, ..Bounds::NOTHING };
    let large = Bounds { heartbeats: 1, ..bounds };
    let name = "zab, a leader that is left";
    check::holds(name, established(bounds), established(large), &CRASHES);
}
