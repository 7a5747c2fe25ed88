//! What many messages hold.

use bytes::Bytes;
use kvcore::LeaseId;

use crate::http::v3::protojson::message;

message! {
    /// What every answer begins with.
    ResponseHeader {
        /// Which cluster this is.
        cluster_id: u64 = "cluster_id" | "clusterId",
        /// Which member answered.
        member_id: u64 = "member_id" | "memberId",
        /// The store's revision; what it is exactly depends on the call.
        revision: i64 = "revision",
        /// The term, or ZAB's epoch.
        raft_term: u64 = "raft_term" | "raftTerm",
    }
}

message! {
    /// A request or an answer with nothing in it.
    Empty {}
}

message! {
    /// An answer that says nothing but where it comes from.
    HeaderResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
    }
}

message! {
    /// One key as it was at some revision.
    KeyValue {
        /// The key.
        key: Bytes = "key",
        /// The revision that created the key's generation.
        create_revision: i64 = "create_revision" | "createRevision",
        /// The revision that last wrote the key.
        mod_revision: i64 = "mod_revision" | "modRevision",
        /// How often the key was written since it was created.
        version: i64 = "version",
        /// The value.
        value: Bytes = "value",
        /// The lease that the key goes with, or 0.
        lease: i64 = "lease",
    }
}

/// A revision or a version as the wire has it. None is ever beyond the bounds of the wire's type.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl From<kvcore::KeyValue> for KeyValue {
    fn from(found: kvcore::KeyValue) -> Self {
        Self {
            key: found.key,
            create_revision: signed(found.create_revision.0),
            mod_revision: signed(found.mod_revision.0),
            version: signed(found.version),
            value: found.value,
            lease: LeaseId::number(found.lease),
        }
    }
}
