//! Leases.

use bytes::Bytes;

use super::ResponseHeader;
use crate::http::v3::protojson::message;

message! {
    /// Grants a lease.
    LeaseGrantRequest {
        /// How long it shall live without being renewed, in seconds.
        ttl: i64 = "TTL",
        /// Its number; 0 is any.
        id: i64 = "ID",
    }
}

message! {
    /// The lease is granted.
    LeaseGrantResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
        /// Its number.
        id: i64 = "ID",
        /// How long it lives without being renewed, in seconds.
        ttl: i64 = "TTL",
        /// Never said: what goes wrong is an error.
        error: String = "error",
    }
}

message! {
    /// Asks something of one lease: to revoke it, or to keep it alive.
    LeaseRequest {
        /// Which.
        id: i64 = "ID",
    }
}

message! {
    /// The lease is renewed; without `TTL` there is no such lease.
    LeaseKeepAliveResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
        /// Which.
        id: i64 = "ID",
        /// How long it lives from now on, in seconds.
        ttl: i64 = "TTL",
    }
}

message! {
    /// Asks how long a lease still lives.
    LeaseTimeToLiveRequest {
        /// Which.
        id: i64 = "ID",
        /// Whether the answer names its keys.
        keys: bool = "keys",
    }
}

message! {
    /// How long a lease still lives.
    LeaseTimeToLiveResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
        /// Which.
        id: i64 = "ID",
        /// In seconds; -1 if there is no such lease.
        ttl: i64 = "TTL",
        /// For how long it was granted, in seconds.
        granted_ttl: i64 = "grantedTTL",
        /// Its keys.
        keys: Vec<Bytes> = "keys",
    }
}

message! {
    /// A lease that there is.
    LeaseStatus {
        /// Its number.
        id: i64 = "ID",
    }
}

message! {
    /// All leases.
    LeaseLeasesResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
        /// Each of them.
        leases: Vec<LeaseStatus> = "leases",
    }
}
