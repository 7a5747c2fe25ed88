//! An HTTP server that answers every body with itself: the floor under every HTTP server.
//!
//! It stands on the same parts as Duorum's own server, axum's router on hyper connections with
//! NODELAY, and does nothing else. What it can not do in a second, nothing on these parts can.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

use crate::Error;
use crate::cluster::{free_address, get, stop_with_parent_flag};

/// How long to wait after a failed accept, which usually means that there are too many open files.
const PAUSE_AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(10);
/// The receive buffer of a connection; hyper's default of about 400 KB is for other bodies.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// How long the process may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(10);
const START_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Listens and echoes until the process ends.
///
/// # Errors
/// When the address can not be bound.
pub async fn serve(address: SocketAddr) -> Result<Infallible, Error> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| Error::Io { what: format!("listen on {address}"), source })?;
    Ok(serve_on(listener).await)
}

/// Echoes on a listener until the future is dropped; open connections go on by themselves.
pub async fn serve_on(listener: TcpListener) -> Infallible {
    let router = Router::new()
        .route("/", post(|body: Bytes| async move { body }))
        .route("/readyz", axum::routing::get(|| async { "ok" }));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE_AFTER_FAILED_ACCEPT).await;
            continue;
        };
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let service = TowerToHyperService::new(router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .pipeline_flush(true)
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // A client that hangs up in the middle of a request is no concern of an echo.
            let _ = connection.await;
        });
    }
}

/// The echo in a process of its own, as servers have it; killed when dropped.
#[derive(Debug)]
pub struct EchoProcess {
    child: Child,
    address: SocketAddr,
}

impl EchoProcess {
    /// Starts `<executable> bench echo-server` and waits until it answers.
    ///
    /// # Errors
    /// When it can not be started or does not answer in time.
    pub async fn start(executable: &Path) -> Result<Self, Error> {
        let address = free_address()?;
        let child = Command::new(executable)
            .args(["bench", "echo-server", "--http", &address.to_string()])
            .args(stop_with_parent_flag())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|source| Error::path("start", executable, source))?;
        let mut process = Self { child, address };
        let deadline = Instant::now() + START_TIMEOUT;
        while get(address, "/readyz", START_TIMEOUT).await.is_err() {
            if let Ok(Some(status)) = process.child.try_wait() {
                return Err(Error::node(format!("the echo server ended: {status}")));
            }
            if Instant::now() > deadline {
                return Err(Error::node("the echo server does not answer"));
            }
            tokio::time::sleep(START_POLL_INTERVAL).await;
        }
        Ok(process)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for EchoProcess {
    fn drop(&mut self) {
        // Either fails only when the process is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
