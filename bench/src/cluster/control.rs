//! The calls that a measurement makes about a node rather than to measure it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use crate::load::http::HttpConnection;
use crate::load::request::Request;

/// What a node says of itself at `/v1/status`, as far as a measurement needs it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct NodeStatus {
    /// The role in the protocol's own word.
    pub role: String,
    /// The number of the node that leads, if the node knows one.
    pub leader: Option<u64>,
}

impl NodeStatus {
    /// Asks a node.
    ///
    /// # Errors
    /// When it does not answer in time or not as the API says.
    pub async fn ask(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let (status, body) = get(address, "/v1/status", timeout).await?;
        if status != 200 {
            return Err(io::Error::other(format!("/v1/status answered {status}")));
        }
        serde_json::from_slice(&body)
            .map_err(|error| io::Error::other(format!("/v1/status: {error}")))
    }
}

/// The status and body of a page, over a connection of its own.
pub(crate) async fn get(
    address: SocketAddr,
    path: &str,
    timeout: Duration,
) -> io::Result<(u16, Vec<u8>)> {
    ask(address, Request::page(&address.to_string(), path), timeout).await
}

/// The status and body of the answer to a POST without a body, over a connection of its own.
pub(crate) async fn post(
    address: SocketAddr,
    path: &str,
    timeout: Duration,
) -> io::Result<(u16, Vec<u8>)> {
    ask(address, Request::post(&address.to_string(), path), timeout).await
}

/// The status and body of the answer to a POST of JSON, over a connection of its own.
pub(crate) async fn post_json(
    address: SocketAddr,
    path: &str,
    body: &str,
    timeout: Duration,
) -> io::Result<(u16, Vec<u8>)> {
    ask(address, Request::post_json(&address.to_string(), path, body), timeout).await
}

/// The status and body of the answer to a DELETE, over a connection of its own.
pub(crate) async fn delete(
    address: SocketAddr,
    path: &str,
    timeout: Duration,
) -> io::Result<(u16, Vec<u8>)> {
    ask(address, Request::delete(&address.to_string(), path), timeout).await
}

async fn ask(
    address: SocketAddr,
    request: Vec<u8>,
    timeout: Duration,
) -> io::Result<(u16, Vec<u8>)> {
    let exchange = async {
        let mut connection = HttpConnection::connect(address).await?;
        let answer = connection.exchange(&request).await?;
        Ok((answer.status, connection.body(&answer).to_vec()))
    };
    match tokio::time::timeout(timeout, exchange).await {
        Ok(answered) => answered,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
    }
}
