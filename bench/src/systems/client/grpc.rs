//! etcd by gRPC, as its own clients speak to it.
//!
//! The four messages are those of etcd's `rpc.proto` and `kv.proto`, with the fields that are used; a reader
//! of protocol buffers skips what it does not know.

use std::net::SocketAddr;

use axum::http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc as Stub;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::{Value, failed, key_name};
use crate::load::Outcome;
use crate::systems::Consistency;

/// `etcdserverpb.PutRequest`.
#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `etcdserverpb.PutResponse`.
#[derive(Clone, PartialEq, Message)]
struct PutResponse {}

/// `etcdserverpb.RangeRequest`.
#[derive(Clone, PartialEq, Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bool, tag = "7")]
    serializable: bool,
}

/// `etcdserverpb.RangeResponse`.
#[derive(Clone, PartialEq, Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

/// `mvccpb.KeyValue`.
#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(bytes = "vec", tag = "5")]
    value: Vec<u8>,
}

/// A connection to a node. Clones share it.
#[derive(Clone, Debug)]
pub(in crate::systems) struct Grpc {
    stub: Stub<Channel>,
    value: Value,
}

impl Grpc {
    pub(super) async fn open(address: SocketAddr, value: Value) -> Result<Self, String> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .expect("a socket's address makes a URL");
        let channel = endpoint.connect().await.map_err(|_| "connection_failed".to_owned())?;
        Ok(Self { stub: Stub::new(channel), value })
    }

    pub(super) async fn put(&mut self, key: u64, stamp: u64) -> Outcome {
        let value = self.value.stamped(stamp).to_vec();
        let request = PutRequest { key: key_name(key).into_bytes(), value };
        match self.call::<_, PutResponse>("/etcdserverpb.KV/Put", request).await {
            Ok(PutResponse {}) => Outcome::Success,
            Err(status) => failed(error_name(&status), true),
        }
    }

    pub(super) async fn range(&mut self, key: u64, consistency: Consistency) -> Outcome {
        let serializable = consistency == Consistency::Local;
        let request = RangeRequest { key: key_name(key).into_bytes(), serializable };
        match self.call::<_, RangeResponse>("/etcdserverpb.KV/Range", request).await {
            Ok(answer) if answer.kvs.is_empty() => Outcome::NotFound,
            Ok(_) => Outcome::Success,
            Err(status) => failed(error_name(&status), false),
        }
    }

    async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let ready = self.stub.ready().await;
        ready.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static(path);
        let answer = self.stub.unary(Request::new(request), path, ProstCodec::default()).await?;
        Ok(answer.into_inner())
    }
}

/// The words of an error, or else the name of its code.
fn error_name(status: &Status) -> String {
    match status.message() {
        "" => format!("{:?}", status.code()),
        words => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_on_the_wire_what_etcds_definition_says() {
        let put = PutRequest { key: b"k".to_vec(), value: b"v".to_vec() };
        assert_eq!(put.encode_to_vec(), b"\x0a\x01k\x12\x01v");
        let range = RangeRequest { key: b"k".to_vec(), serializable: true };
        assert_eq!(range.encode_to_vec(), b"\x0a\x01k\x38\x01");
        // A header of two bytes, one pair of key 1, create_revision 2 and value 5, and a count.
        let answer = b"\x0a\x02\x18\x07\x12\x08\x0a\x01k\x10\x02\x2a\x01v\x20\x01";
        let answer = RangeResponse::decode(&answer[..]).expect("valid");
        assert_eq!(answer.kvs, [KeyValue { value: b"v".to_vec() }]);
    }

    #[test]
    fn an_error_is_named_by_its_words_or_else_by_its_code() {
        assert_eq!(
            error_name(&Status::unavailable("etcdserver: no leader")),
            "etcdserver: no leader"
        );
        assert_eq!(error_name(&Status::unavailable("")), "Unavailable");
    }
}
