//! What the papers claim, one claim a test: "In Search of an Understandable Consensus Algorithm"
//! (Ongaro and Ousterhout, extended version, 2014). The claims are those that etcd's
//! `raft_paper_test.go` checks; those of the dissertation are in `thesis_raft.rs`.

mod elections;
#[path = "../node/mod.rs"]
mod node;
mod replication;

use consensus::{Leadership, NodeId, Term};

fn following(leader: u64, term: u64) -> Leadership {
    Leadership::Following { leader: NodeId(leader), term: Term(term) }
}
