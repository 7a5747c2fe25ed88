//! The HTTP API over real sockets: a server of one node in this process, and a client that speaks
//! HTTP by hand, so that it can also speak it badly.

#![allow(clippy::disallowed_methods, reason = "these tests run in real time")]

mod bodies;
mod client;
mod conditions;
mod errors;
mod keys;
mod operations;
mod ranges;
mod stopping;
mod watches;

use consensus::Protocol;
use server::config::ServeConfig;
use server::serve::Server;
use tempfile::TempDir;

use client::Http;

/// A running server and its data.
struct Fixture {
    server: Server,
    http: Http,
    _data: TempDir,
}

impl Fixture {
    /// A server with the defaults.
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A server with something changed.
    async fn start_with(change: impl FnOnce(&mut ServeConfig)) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let mut config = ServeConfig::alone(Protocol::Null, data.path().join("node"));
        change(&mut config);
        let server = Server::start(config).await.expect("a server");
        server.ready().await;
        let http = Http::new(server.http_address());
        Self { server, http, _data: data }
    }

    /// Stops the server. Every test ends with it, so that stopping is tested most of all.
    async fn stop(self) {
        self.server.stop().await;
    }
}
