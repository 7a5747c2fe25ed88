//! Watching.

use bytes::Bytes;

use super::{Empty, KeyValue, ResponseHeader};
use crate::http::v3::protojson::{enumeration, message};

enumeration! {
    /// Which events are not told.
    FilterType as Body {
        /// Puts.
        NoPut = "NOPUT",
        /// Deletions.
        NoDelete = "NODELETE",
    }
}

enumeration! {
    /// What happened.
    EventType as Body {
        /// A value was stored.
        Put = "PUT",
        /// The key was deleted.
        Delete = "DELETE",
    }
}

message! {
    /// What happened to a key.
    Event {
        /// What.
        kind: EventType = "type",
        /// The key afterwards; of a deletion only key and `mod_revision`.
        kv: Option<KeyValue> = "kv",
        /// The key before.
        prev_kv: Option<KeyValue> = "prev_kv" | "prevKv",
    }
}

message! {
    /// Begins to watch.
    WatchCreateRequest {
        /// The key, or the first key.
        key: Bytes = "key",
        /// As in [`super::RangeRequest`].
        range_end: Bytes = "range_end" | "rangeEnd",
        /// The first revision that is told; 0 is the next one.
        start_revision: i64 = "start_revision" | "startRevision",
        /// Whether to tell from time to time up to where everything was told.
        progress_notify: bool = "progress_notify" | "progressNotify",
        /// What is not told.
        filters: Vec<FilterType> = "filters",
        /// Whether to tell what was there before.
        prev_kv: bool = "prev_kv" | "prevKv",
        /// The watch's number on its stream; 0 is any.
        watch_id: i64 = "watch_id" | "watchId",
        /// Whether long messages may be split.
        fragment: bool = "fragment",
    }
}

message! {
    /// Ends a watch.
    WatchCancelRequest {
        /// Which.
        watch_id: i64 = "watch_id" | "watchId",
    }
}

message! {
    /// Something that is asked of a stream of watches.
    WatchRequest {
        /// Begins a watch.
        create_request: Option<WatchCreateRequest> = "create_request" | "createRequest",
        /// Ends one.
        cancel_request: Option<WatchCancelRequest> = "cancel_request" | "cancelRequest",
        /// Asks up to where everything was told.
        progress_request: Option<Empty> = "progress_request" | "progressRequest",
    }
    one of { create_request, cancel_request, progress_request }
}

message! {
    /// Something that a stream of watches tells.
    WatchResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
        /// Which watch tells it.
        watch_id: i64 = "watch_id" | "watchId",
        /// The watch has begun.
        created: bool = "created",
        /// The watch is over.
        canceled: bool = "canceled",
        /// The oldest revision that can be watched from, where the one asked for is forgotten.
        compact_revision: i64 = "compact_revision" | "compactRevision",
        /// Why the watch is over.
        cancel_reason: String = "cancel_reason" | "cancelReason",
        /// Whether more of the same message follows.
        fragment: bool = "fragment",
        /// What happened.
        events: Vec<Event> = "events",
    }
}
