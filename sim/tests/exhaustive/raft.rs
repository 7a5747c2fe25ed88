//! Raft within bounds.

use consensus::NodeId;
use consensus_raft::Raft;

use crate::action::Action;
use crate::bounds::Bounds;
use crate::check;
use crate::model::Exhaustive;

/// What takes a crash.
const CRASHES: [&str; 2] =
    ["after a crash a later leader commits an entry", "a crash loses a write"];

/// A cluster that begins with nothing.
fn beginning(bounds: Bounds) -> Exhaustive<Raft> {
    Exhaustive::new(bounds)
}

/// A cluster in which n1 leads term 1, and nothing is under way.
fn established(bounds: Bounds) -> Exhaustive<Raft> {
    Exhaustive::new(bounds).after([Action::Suspect { id: NodeId(1) }])
}

#[test]
fn raft_elects_one_leader_a_term() {
    let bounds = Bounds { terms: 1, crashes: 1, suspicions: 2, ..Bounds::NOTHING };
    let large = Bounds { terms: 2, suspicions: 3, ..bounds };
    let out_of_reach = [
        "a client's entry is committed",
        "a second leader is established",
        "after a crash a later leader commits an entry",
        "two nodes are established at once",
        "entries are truncated",
    ];
    check::holds("raft, elections", beginning(bounds), beginning(large), &out_of_reach);
}

#[test]
fn raft_survives_a_crash() {
    let bounds = Bounds { terms: 2, proposals: 1, crashes: 1, suspicions: 1, ..Bounds::NOTHING };
    let large = Bounds { proposals: 2, ..bounds };
    check::holds("raft, a crash", established(bounds), established(large), &[]);
}

#[test]
fn raft_survives_a_leader_that_is_left() {
    let bounds = Bounds { terms: 2, proposals: 1, suspicions: 2, heartbeats: 1, ..Bounds::NOTHING };
    let large = Bounds { proposals: 2, ..bounds };
    let name = "raft, a leader that is left";
    check::holds(name, established(bounds), established(large), &CRASHES);
}

/// The large bounds are those of the whole: two terms, two entries, a crash and a broken connection.
#[test]
fn raft_survives_a_broken_connection() {
    let bounds = Bounds { terms: 2, proposals: 1, breaks: 1, suspicions: 1, ..Bounds::NOTHING };
    let large = Bounds { proposals: 2, crashes: 1, ..bounds };
    let name = "raft, a broken connection";
    check::holds(name, established(bounds), established(large), &CRASHES);
}
