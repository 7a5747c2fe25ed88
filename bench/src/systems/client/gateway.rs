//! etcd by the HTTP gateway that it has built in: JSON in which keys and values are base64.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{Value, failed, key_name};
use crate::load::Outcome;
use crate::load::http::HttpConnection;
use crate::load::request::Request;
use crate::systems::Consistency;

/// A connection to the gateway of a node.
#[derive(Debug)]
pub(in crate::systems) struct Gateway {
    address: SocketAddr,
    host: String,
    /// None after it broke, until the next request.
    connection: Option<HttpConnection>,
    value: Value,
}

impl Gateway {
    pub(super) async fn open(address: SocketAddr, value: Value) -> Result<Self, String> {
        let connection = HttpConnection::connect(address).await;
        let connection = Some(connection.map_err(|_| "connection_failed".to_owned())?);
        Ok(Self { address, host: address.to_string(), connection, value })
    }

    pub(super) async fn put(&mut self, key: u64, stamp: u64) -> Outcome {
        let value = STANDARD.encode(self.value.stamped(stamp));
        let body = format!(r#"{{"key":"{}","value":"{value}"}}"#, STANDARD.encode(key_name(key)));
        self.ask("/v3/kv/put", &body, true, |_| Outcome::Success).await
    }

    pub(super) async fn range(&mut self, key: u64, consistency: Consistency) -> Outcome {
        let key = STANDARD.encode(key_name(key));
        let serializable = consistency == Consistency::Local;
        let body = format!(r#"{{"key":"{key}","serializable":{serializable}}}"#);
        self.ask("/v3/kv/range", &body, false, found).await
    }

    async fn ask(
        &mut self,
        path: &str,
        body: &str,
        writes: bool,
        judge: fn(&[u8]) -> Outcome,
    ) -> Outcome {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => match HttpConnection::connect(self.address).await {
                Ok(connection) => connection,
                // Nothing was sent.
                Err(_) => return failed("connection_failed", false),
            },
        };
        let request = Request::post_json(&self.host, path, body);
        let Ok(answer) = connection.exchange(&request).await else {
            return failed("connection_lost", writes);
        };
        let body = connection.body(&answer);
        let outcome = match answer.status {
            200 => judge(body),
            status => failed(error_name(status, body), writes),
        };
        if !answer.closes {
            self.connection = Some(connection);
        }
        outcome
    }
}

/// Whether a range found the key. What is empty is left out of the gateway's JSON.
fn found(body: &[u8]) -> Outcome {
    const FIELD: &[u8] = b"\"kvs\":";
    let there = body.windows(FIELD.len()).any(|bytes| bytes == FIELD);
    if there { Outcome::Success } else { Outcome::NotFound }
}

/// The words of an error, which all versions have, or else the status.
fn error_name(status: u16, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body {
        message: String,
    }
    let words = serde_json::from_slice::<Body>(body).ok().map(|body| body.message);
    words.unwrap_or_else(|| format!("http_{status}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_whether_the_key_is_there() {
        let body =
            br#"{"header":{"revision":"4"},"kvs":[{"key":"Yg==","value":"Yg=="}],"count":"1"}"#;
        assert_eq!(found(body), Outcome::Success);
        assert_eq!(found(br#"{"header":{"revision":"4"}}"#), Outcome::NotFound);
    }

    #[test]
    fn an_error_is_named_by_its_words_or_else_by_its_status() {
        let body =
            br#"{"error":"etcdserver: no leader","code":14,"message":"etcdserver: no leader"}"#;
        assert_eq!(error_name(503, body), "etcdserver: no leader");
        assert_eq!(error_name(502, b"Bad Gateway"), "http_502");
    }
}
