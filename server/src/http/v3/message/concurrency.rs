//! Locks and elections.

use bytes::Bytes;

use super::{KeyValue, ResponseHeader};
use crate::http::v3::protojson::message;

message! {
    /// Takes a lock.
    LockRequest {
        /// Its name.
        name: Bytes = "name",
        /// The lease that it is held by, or 0.
        lease: i64 = "lease",
    }
}

message! {
    /// The lock is taken.
    LockResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
        /// The key that holds it.
        key: Bytes = "key",
    }
}

message! {
    /// Gives a lock back.
    UnlockRequest {
        /// The key that holds it.
        key: Bytes = "key",
    }
}

message! {
    /// A holder of an office.
    LeaderKey {
        /// The election.
        name: Bytes = "name",
        /// The key that holds the office.
        key: Bytes = "key",
        /// The revision that created the key.
        rev: i64 = "rev",
        /// The lease that the key goes with.
        lease: i64 = "lease",
    }
}

message! {
    /// Stands for an office, and waits until it is won.
    CampaignRequest {
        /// The election.
        name: Bytes = "name",
        /// The lease that the office is held by.
        lease: i64 = "lease",
        /// What the holder proclaims.
        value: Bytes = "value",
    }
}

message! {
    /// The office is won.
    CampaignResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
        /// What shows it.
        leader: Option<LeaderKey> = "leader",
    }
}

message! {
    /// Proclaims something else.
    ProclaimRequest {
        /// What shows the office.
        leader: Option<LeaderKey> = "leader",
        /// What the holder proclaims from now on.
        value: Bytes = "value",
    }
}

message! {
    /// Asks who holds an office, once or from now on.
    LeaderRequest {
        /// The election.
        name: Bytes = "name",
    }
}

message! {
    /// Who holds an office, and proclaims what.
    LeaderResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
        /// The key that holds it.
        kv: Option<KeyValue> = "kv",
    }
}

message! {
    /// Gives an office back.
    ResignRequest {
        /// What shows it.
        leader: Option<LeaderKey> = "leader",
    }
}
