//! Status, alarms, hashes, snapshots, leadership.

use bytes::Bytes;

use super::ResponseHeader;
use crate::http::v3::protojson::{enumeration, message};

enumeration! {
    /// What is done about alarms.
    AlarmAction as Body {
        /// They are listed.
        Get = "GET",
        /// One is raised.
        Activate = "ACTIVATE",
        /// One is ended.
        Deactivate = "DEACTIVATE",
    }
}

enumeration! {
    /// What an alarm is about.
    AlarmType as Body {
        /// Nothing, or anything.
        None = "NONE",
        /// The space quota is used up.
        NoSpace = "NOSPACE",
        /// Replicas differ.
        Corrupt = "CORRUPT",
    }
}

message! {
    /// Lists, raises or ends alarms.
    AlarmRequest {
        /// Which of these.
        action: AlarmAction = "action",
        /// Of which member; 0 is all.
        member_id: u64 = "memberID",
        /// About what.
        alarm: AlarmType = "alarm",
    }
}

message! {
    /// An alarm of a member.
    AlarmMember {
        /// Whose.
        member_id: u64 = "memberID",
        /// About what.
        alarm: AlarmType = "alarm",
    }
}

message! {
    /// The alarms that the request was about.
    AlarmResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
        /// Each of them.
        alarms: Vec<AlarmMember> = "alarms",
    }
}

message! {
    /// What a member is and knows.
    StatusResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
        /// The version of etcd whose API this is.
        version: String = "version",
        /// The bytes of the store's file.
        db_size: i64 = "dbSize",
        /// Who leads, or 0.
        leader: u64 = "leader",
        /// The last committed entry.
        raft_index: u64 = "raftIndex",
        /// The term, or ZAB's epoch.
        raft_term: u64 = "raftTerm",
        /// The last applied entry.
        raft_applied_index: u64 = "raftAppliedIndex",
        /// What is wrong.
        errors: Vec<String> = "errors",
        /// The bytes of the store's file that are used.
        db_size_in_use: i64 = "dbSizeInUse",
        /// Whether it does not vote.
        is_learner: bool = "isLearner",
        /// The version of the store's format, as etcd tells that of its own.
        storage_version: String = "storageVersion",
        /// The most bytes that there may be; 0 for no limit.
        db_size_quota: i64 = "dbSizeQuota",
        /// See [`DowngradeInfo`].
        downgrade_info: Option<DowngradeInfo> = "downgradeInfo",
    }
}

message! {
    /// Whether the cluster is going back to an earlier version, which it never is.
    DowngradeInfo {
        /// Whether it is.
        enabled: bool = "enabled",
        /// To which version.
        target_version: String = "targetVersion",
    }
}

message! {
    /// Of authentication, that there is none.
    AuthStatusResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
        /// Whether it is enabled.
        enabled: bool = "enabled",
        /// How often it was changed, and once more.
        auth_revision: u64 = "authRevision",
    }
}

message! {
    /// The hash of a store.
    HashResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
        /// The hash.
        hash: u32 = "hash",
    }
}

message! {
    /// Asks for the hash of all keys at a revision.
    HashKvRequest {
        /// Which; 0 is the current one.
        revision: i64 = "revision",
    }
}

message! {
    /// The hash of all keys at a revision.
    HashKvResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
        /// The hash.
        hash: u32 = "hash",
        /// The oldest revision that could be read then.
        compact_revision: i64 = "compact_revision" | "compactRevision",
        /// The revision.
        hash_revision: i64 = "hash_revision" | "hashRevision",
    }
}

message! {
    /// A part of a snapshot.
    SnapshotResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
        /// How much still comes, about.
        remaining_bytes: u64 = "remaining_bytes" | "remainingBytes",
        /// The next bytes.
        blob: Bytes = "blob",
        /// The version of what made it.
        version: String = "version",
    }
}

message! {
    /// Has another member lead.
    MoveLeaderRequest {
        /// Which.
        target_id: u64 = "targetID",
    }
}
