//! Transactions.

use bytes::Bytes;

use super::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    ResponseHeader,
};
use crate::http::v3::protojson::{enumeration, message};

enumeration! {
    /// How a number or a value of a key must stand to the one given.
    CompareResult as Body {
        /// The same.
        Equal = "EQUAL",
        /// Greater.
        Greater = "GREATER",
        /// Less.
        Less = "LESS",
        /// Another.
        NotEqual = "NOT_EQUAL",
    }
}

enumeration! {
    /// What of a key is compared.
    CompareTarget as Body {
        /// Its version.
        Version = "VERSION",
        /// The revision that created it.
        Create = "CREATE",
        /// The revision that last wrote it.
        Mod = "MOD",
        /// Its value.
        Value = "VALUE",
        /// Its lease.
        Lease = "LEASE",
    }
}

message! {
    /// What must hold for a key, or for every key of a range.
    Compare {
        /// The comparison.
        result: CompareResult = "result",
        /// What is compared.
        target: CompareTarget = "target",
        /// The key, or the first key.
        key: Bytes = "key",
        /// With this version.
        version: Option<i64> = "version",
        /// With this revision of creation.
        create_revision: Option<i64> = "create_revision" | "createRevision",
        /// With this revision of the last write.
        mod_revision: Option<i64> = "mod_revision" | "modRevision",
        /// With this value.
        value: Option<Bytes> = "value",
        /// With this lease.
        lease: Option<i64> = "lease",
        /// As in [`RangeRequest`].
        range_end: Bytes = "range_end" | "rangeEnd",
    }
    one of { version, create_revision, mod_revision, value, lease }
}

message! {
    /// One operation of a transaction.
    RequestOp {
        /// A read.
        request_range: Option<RangeRequest> = "request_range" | "requestRange",
        /// A put.
        request_put: Option<PutRequest> = "request_put" | "requestPut",
        /// A deletion.
        request_delete_range: Option<DeleteRangeRequest> =
            "request_delete_range" | "requestDeleteRange",
        /// A transaction within.
        request_txn: Option<TxnRequest> = "request_txn" | "requestTxn",
    }
    one of { request_range, request_put, request_delete_range, request_txn }
}

message! {
    /// What came of one operation.
    ResponseOp {
        /// Of a read.
        response_range: Option<RangeResponse> = "response_range" | "responseRange",
        /// Of a put.
        response_put: Option<PutResponse> = "response_put" | "responsePut",
        /// Of a deletion.
        response_delete_range: Option<DeleteRangeResponse> =
            "response_delete_range" | "responseDeleteRange",
        /// Of a transaction within.
        response_txn: Option<TxnResponse> = "response_txn" | "responseTxn",
    }
    one of { response_range, response_put, response_delete_range, response_txn }
}

message! {
    /// Operations that are carried out together, depending on what is compared.
    TxnRequest {
        /// What must hold, all of it.
        compare: Vec<Compare> = "compare",
        /// Carried out if it holds.
        success: Vec<RequestOp> = "success",
        /// Carried out if it does not.
        failure: Vec<RequestOp> = "failure",
    }
}

message! {
    /// What came of a transaction.
    TxnResponse {
        /// See [`ResponseHeader`].
        header: Option<ResponseHeader> = "header",
        /// Whether all that was compared holds.
        succeeded: bool = "succeeded",
        /// Of each operation that was carried out, in order.
        responses: Vec<ResponseOp> = "responses",
    }
}
