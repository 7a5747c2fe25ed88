//! Ranges, puts, deletions, compactions.

use bytes::Bytes;

use super::{KeyValue, ResponseHeader};
use crate::http::v3::protojson::{enumeration, message};

enumeration! {
    /// In which order a range is told.
    SortOrder as SortOption {
        /// As it comes.
        None = "NONE",
        /// Smallest first.
        Ascend = "ASCEND",
        /// Largest first.
        Descend = "DESCEND",
    }
}

enumeration! {
    /// What a range is sorted by.
    SortTarget as SortOption {
        /// The key.
        Key = "KEY",
        /// The version.
        Version = "VERSION",
        /// The revision that created the key.
        Create = "CREATE",
        /// The revision that last wrote the key.
        Mod = "MOD",
        /// The value.
        Value = "VALUE",
    }
}

message! {
    /// Reads keys.
    RangeRequest {
        /// The key, or the first key.
        key: Bytes = "key",
        /// The first key that is not wanted any more; `\0` is beyond all keys.
        range_end: Bytes = "range_end" | "rangeEnd",
        /// The most keys; none or less is all.
        limit: i64 = "limit",
        /// The revision to read at; none or less is now.
        revision: i64 = "revision",
        /// The order.
        sort_order: SortOrder = "sort_order" | "sortOrder",
        /// What is ordered.
        sort_target: SortTarget = "sort_target" | "sortTarget",
        /// Whether this node's own state is fresh enough.
        serializable: bool = "serializable",
        /// Without values.
        keys_only: bool = "keys_only" | "keysOnly",
        /// Only their number.
        count_only: bool = "count_only" | "countOnly",
        /// Only keys last written at or after this revision.
        min_mod_revision: i64 = "min_mod_revision" | "minModRevision",
        /// Only keys last written at or before it.
        max_mod_revision: i64 = "max_mod_revision" | "maxModRevision",
        /// Only keys created at or after it.
        min_create_revision: i64 = "min_create_revision" | "minCreateRevision",
        /// Only keys created at or before it.
        max_create_revision: i64 = "max_create_revision" | "maxCreateRevision",
    }
}

message! {
    /// What is left out of an answer although it was asked for. etcd does not have it.
    Unavailable {
        /// Why, in a word.
        reason: String = "reason",
        /// How many keys.
        count: u32 = "count",
        /// Why, in a sentence.
        message: String = "message",
    }
}

message! {
    /// The keys of a range.
    RangeResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
        /// The keys.
        kvs: Vec<KeyValue> = "kvs",
        /// Whether the limit left keys out.
        more: bool = "more",
        /// How many keys the range has, whatever the limit and the bounds of revisions.
        count: i64 = "count",
        /// What of a transaction's read is left out.
        kvs_unavailable: Option<Unavailable> = "kvs_unavailable",
    }
}

message! {
    /// Stores a value.
    PutRequest {
        /// The key.
        key: Bytes = "key",
        /// The value.
        value: Bytes = "value",
        /// The lease that the key shall go with, or 0.
        lease: i64 = "lease",
        /// Whether the answer tells what was there before.
        prev_kv: bool = "prev_kv" | "prevKv",
        /// Whether the value stays as it is.
        ignore_value: bool = "ignore_value" | "ignoreValue",
        /// Whether the lease stays as it is.
        ignore_lease: bool = "ignore_lease" | "ignoreLease",
    }
}

message! {
    /// The value is stored.
    PutResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
        /// What was there before.
        prev_kv: Option<KeyValue> = "prev_kv" | "prevKv",
        /// What of that is left out.
        prev_unavailable: Option<Unavailable> = "prev_unavailable",
    }
}

message! {
    /// Deletes keys.
    DeleteRangeRequest {
        /// The key, or the first key.
        key: Bytes = "key",
        /// As in [`RangeRequest`].
        range_end: Bytes = "range_end" | "rangeEnd",
        /// Whether the answer tells what was there before.
        prev_kv: bool = "prev_kv" | "prevKv",
    }
}

message! {
    /// The keys are deleted.
    DeleteRangeResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
        /// How many there were.
        deleted: i64 = "deleted",
        /// What was there before.
        prev_kvs: Vec<KeyValue> = "prev_kvs" | "prevKvs",
        /// What of that is left out.
        prev_unavailable: Option<Unavailable> = "prev_unavailable",
    }
}

message! {
    /// Forgets history.
    CompactionRequest {
        /// The oldest revision that stays readable.
        revision: i64 = "revision",
        /// Whether to wait until what is forgotten is gone from the disk.
        physical: bool = "physical",
    }
}
