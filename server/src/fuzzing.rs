//! What reads the bytes of peers, clients and users, laid open for the crate `fuzz`.
//!
//! Each function reads any bytes as one thing, and panics if they are one and do not come out again.

pub use crate::cli::fuzzing::endpoint;
pub use crate::config::fuzzing::{cluster, config_file};
pub use crate::dev::fuzzing::command;
pub use crate::http::fuzzing::{body, cursor, headers, path, query};
pub use crate::node::snapshots::fuzzing::part;
pub use crate::node::transport::fuzzing::{frames, hello, question, reply};
