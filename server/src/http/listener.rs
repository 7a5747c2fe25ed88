//! The accept loop: where connections come in, are bounded, and end.
//!
//! `axum::serve` sets no NODELAY and has no timeouts, so connections are served by hyper directly.
//! Each has bounded buffers, a bounded time for the head of a request (waiting for the next one
//! included), a bounded time to take an answer, and is one of a bounded number.
//!
//! A connection that begins with something else than HTTP is told so, and so is one on which a head
//! goes wrong later, or is too long; then it ends.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tracing::{Instrument as _, Span};

use super::connection::{Beginning, Connection, beginning, refuse};
use super::error::{ApiError, ErrorName};
use super::head_timer::HeadTimer;
use super::routes::{self, Router};
use super::{App, Limits};
use crate::node::handle::NodeHandle;

/// The most that hyper buffers of one connection in each direction: the longest head of a request.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Connections that may wait to be accepted. When there are more, the system drops them, and their
/// clients try again after a whole second.
const BACKLOG: u32 = 4096;
/// How long to wait after the system had no descriptor left for a connection.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// How long at most.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How many surplus connections are told so at a time; any more are closed without a word.
const REFUSALS_MAX: usize = 64;
/// After how much silence the system asks whether the other end is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// A bound address with the API behind it.
pub struct Listener {
    listener: TcpListener,
    app: Arc<App>,
}

impl Listener {
    /// Binds an address. Port 0 takes any free one.
    ///
    /// # Errors
    /// When the address can not be bound.
    pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A server that was just stopped leaves connections behind that are no reason not to start.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    }

    /// The API of a node on a bound listener. It stops when `stop` turns true.
    #[must_use]
    pub fn new(
        listener: TcpListener,
        handle: NodeHandle,
        limits: Limits,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let address = listener.local_addr().ok().filter(|address| !address.ip().is_unspecified());
        Self { listener, app: Arc::new(App::new(handle, address, limits, stop)) }
    }

    /// Serves until told to stop. Then requests are answered for a moment more, each with the word that
    /// the connection ends; then idle connections are closed, and requests under way may go on for a
    /// while.
    pub async fn run(self) {
        let Self { listener, app } = self;
        let places = Arc::new(Semaphore::new(app.limits.connections_max));
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        let router = Router::new(app.clone());
        let metrics = app.handle.metrics().clone();
        let mut pause = PAUSE_MIN;
        let mut stopped = pin!(app.stopped());
        let accept = |stream: TcpStream| {
            if let Ok(place) = places.clone().try_acquire_owned() {
                metrics.http_connections_accepted.inc();
                let serving = serve(stream, app.clone(), router.clone(), place);
                // To enter the span costs something at every event of a connection, also if there is none.
                match Span::current() {
                    span if span.is_none() => tokio::spawn(serving),
                    span => tokio::spawn(serving.instrument(span)),
                };
            } else {
                metrics.http_connections_refused.inc();
                if let Ok(permit) = refusals.clone().try_acquire_owned() {
                    tokio::spawn(refuse_surplus(stream, app.clone(), permit));
                }
            }
        };
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped.as_mut() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    pause = PAUSE_MIN;
                    accept(stream);
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!("no client connection can be accepted for {pause:?}: {error}");
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
        // Whoever comes now is refused by the system, and knows that nothing happened; whoever has come
        // already is still answered.
        if let Ok(listener) = listener.into_std() {
            while let Ok((stream, _)) = listener.accept() {
                if stream.set_nonblocking(true).is_ok()
                    && let Ok(stream) = TcpStream::from_std(stream)
                {
                    accept(stream);
                }
            }
        }
        let all = u32::try_from(app.limits.connections_max).unwrap_or(u32::MAX);
        // Every connection gives its place back when it ends.
        if timeout(app.limits.stop_timeout + PAUSE_MAX, places.clone().acquire_many_owned(all))
            .await
            .is_err()
        {
            tracing::warn!("some requests were still under way when the node stopped");
        }
    }
}

/// Whether an accept failed because of the connection that was to be accepted, as when its client
/// gave up waiting.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

async fn serve(stream: TcpStream, app: Arc<App>, router: Router, place: OwnedSemaphorePermit) {
    if let Err(error) = prepare(&stream) {
        tracing::debug!("a client connection broke at once: {error}");
        return;
    }
    let open = &app.handle.metrics().http_connections_open;
    open.inc();
    let begun = timeout(app.limits.read_timeout, beginning(&stream));
    match app.unless_retired(begun).await {
        Some(Ok(Beginning::Http)) => serve_http(stream, &app, router).await,
        Some(Ok(Beginning::Other)) => refuse(stream, &app, &no_http()).await,
        Some(Ok(Beginning::Nothing) | Err(_)) | None => {}
    }
    open.dec();
    drop(place);
}

fn no_http() -> ApiError {
    ApiError::new(
        ErrorName::NotHttp,
        "this is no request of HTTP/1.1 (nor of 1.0): its first line is not `METHOD /path \
         HTTP/1.1`. There is no TLS here and no HTTP/2; a space in a path is %20",
    )
}

async fn serve_http(stream: TcpStream, app: &Arc<App>, router: Router) {
    let router = &router;
    let service = service_fn(move |request: hyper::Request<Incoming>| async move {
        let began = Instant::now();
        // It takes the processor, as code that is slower would.
        while !app.limits.handicap.is_zero() && began.elapsed() < app.limits.handicap {
            std::hint::spin_loop();
        }
        let asked = routes::asked(request.method(), request.uri().path());
        let mut response = router.answer(asked, request).await;
        app.sign(response.headers_mut());
        let status = response.status().as_u16();
        let counters = asked.call.map_or(&app.other_answers, |call| &app.answers[call]);
        counters.count(app.handle.metrics(), status, began.elapsed());
        Ok::<_, Infallible>(response)
    });
    // hyper's `pipeline_flush` is left off: it holds an answer back as long as anything unread is
    // in the buffer, be it half of the next request, so that bad requests get no answer at all.
    let mut connection = http1::Builder::new()
        .timer(HeadTimer::new())
        .header_read_timeout(app.limits.read_timeout)
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_header_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(Connection::new(stream, app.limits.write_timeout)), service);
    let result = match app.unless_retired(&mut connection).await {
        Some(result) => result,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            timeout(app.limits.stop_timeout, &mut connection).await.unwrap_or(Ok(()))
        }
    };
    let connection = connection.into_parts().io.into_inner();
    let ended = match result {
        Ok(()) => connection.finish().await,
        Err(cause) => {
            // Clients vanish, send garbage and take their time: that is their business.
            tracing::debug!("a client connection ended: {cause}");
            if let Some((stream, error)) = connection.into_refused(&cause) {
                refuse(stream, app, &error).await;
            }
            Ok(())
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a client connection ended: {error}");
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    Ok(())
}

/// Tells a client that there are too many.
async fn refuse_surplus(stream: TcpStream, app: Arc<App>, permit: OwnedSemaphorePermit) {
    let error = ApiError::new(
        ErrorName::TooManyConnections,
        format!(
            "this node has {} connections, as many as it takes; nothing happened. Try again \
             after a moment, or ask another node",
            app.limits.connections_max
        ),
    );
    refuse(stream, &app, &error).await;
    drop(permit);
}
