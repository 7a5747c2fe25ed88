//! What reads the bytes of peers, clients and users, laid open for the crate `fuzz`.
//!
//! Each function reads any bytes as one thing, and panics if they are one and do not come out again.

pub use crate::cli::fuzzing::{answer, endpoint, numbers};
pub use crate::config::fuzzing::{cluster, config_file};
pub use crate::dev::fuzzing::command;
pub use crate::http::fuzzing::{
    beginning, body, cursor, fault, fault_name, headers, lease, path, query, route, traces,
    transaction, v3_body,
};
pub use crate::node::faults::fuzzing::{reply as lab_reply, word as lab_word};
pub use crate::node::snapshots::fuzzing::part;
pub use crate::node::transport::fuzzing::{frames, hello, question, reply};
