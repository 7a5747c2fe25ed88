//! The suite that every protocol passes: what the layers above rely on, whoever is below.

use consensus_raft::Raft;

consensus::conformance!(Raft);
