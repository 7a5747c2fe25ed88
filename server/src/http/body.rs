//! Reading request bodies: bounded in bytes and in time, and all or nothing.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use hyper::header;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::App;
use super::error::{ApiError, ErrorName};

/// How much of a body that is refused is read and thrown away, so that the client, which is still
/// sending, lives to see the answer instead of a reset connection.
const DISCARD_BYTES_MAX: u64 = 32 << 20;
/// How long that may take, and how long it may stand still: who sends nothing can wait for the answer too.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);
/// Longer than TCP takes to send a lost packet again.
const DISCARD_PAUSE_MAX: Duration = Duration::from_millis(500);

/// A body, counted among the bodies of all requests under way until its place is dropped.
#[derive(Debug)]
pub(super) struct WholeBody {
    pub(super) bytes: Bytes,
    pub(super) place: Option<OwnedSemaphorePermit>,
}

/// Reads a body of at most `bytes_max` bytes within the time that clients have for it. When it is
/// announced to be longer, or there is no room for it, not a byte of it is kept.
pub(super) async fn read(
    app: &App,
    request: Request,
    bytes_max: usize,
    too_large: ErrorName,
) -> Result<WholeBody, ApiError> {
    let time_max = app.limits.read_timeout;
    let expects_continue = request.headers().contains_key(header::EXPECT);
    let mut body = request.into_body();
    let error = |length: Option<u64>| {
        let length = length.map_or("more than that".to_owned(), |length| format!("{length} bytes"));
        ApiError::new(
            too_large,
            format!("at most {bytes_max} bytes are allowed here; the body has {length}"),
        )
    };
    if let Some(length) = body.size_hint().exact()
        && length > bytes_max as u64
    {
        // A client that waits to be asked for the body has not sent it.
        if !expects_continue {
            discard(&mut body).await;
        }
        return Err(error(Some(length)));
    }
    // Of a body that does not say how long it is, the worst is assumed.
    let place = match app.budget.body(body.size_hint().exact().unwrap_or(bytes_max as u64)) {
        Ok(place) => place,
        Err(error) => {
            if !expects_continue {
                discard(&mut body).await;
            }
            return Err(error);
        }
    };
    let collected = {
        let mut collecting = pin!(collect(&mut body, bytes_max));
        match at_once(collecting.as_mut()).await {
            Some(collected) => Ok(collected),
            None => timeout(time_max, collecting).await,
        }
    };
    match collected {
        Ok(Ok(Some(bytes))) => Ok(WholeBody { bytes, place }),
        Ok(Ok(None)) => {
            discard(&mut body).await;
            Err(error(None))
        }
        Ok(Err(cause)) => Err(ApiError::new(
            ErrorName::BodyTruncated,
            format!("the body could not be read to its end, so nothing was done: {cause}"),
        )),
        Err(_) => Err(ApiError::new(
            ErrorName::BodyTimeout,
            format!(
                "the body did not arrive within {}, so nothing was done",
                humantime::format_duration(time_max)
            ),
        )),
    }
}

/// Reads the body of a request that is refused anyway, for its client's sake.
pub(crate) async fn discard_all(request: Request) {
    let expects_continue = request.headers().contains_key(header::EXPECT);
    let mut body = request.into_body();
    if !expects_continue && !body.is_end_stream() {
        discard(&mut body).await;
    }
}

/// What comes of a body that is there already. hyper begins to read a body when it is asked for, and hands
/// over what came together with the head when its connection is looked at again: so a body is asked for
/// twice. Most are there then, and need no timer.
async fn at_once<T>(mut collecting: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut is_asked = false;
    poll_fn(|context| match collecting.as_mut().poll(context) {
        Poll::Ready(collected) => Poll::Ready(Some(collected)),
        Poll::Pending if is_asked => Poll::Ready(None),
        Poll::Pending => {
            is_asked = true;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// The whole body; `None` when it is longer than allowed.
async fn collect(body: &mut Body, bytes_max: usize) -> Result<Option<Bytes>, axum::Error> {
    // Nearly every body comes as one frame, which is then not copied.
    let mut whole = Bytes::new();
    let mut joined: Option<BytesMut> = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if whole.len() + joined.as_ref().map_or(0, BytesMut::len) + data.len() > bytes_max {
            return Ok(None);
        }
        if let Some(joined) = &mut joined {
            joined.extend_from_slice(&data);
        } else if whole.is_empty() {
            whole = data;
        } else {
            let rest = usize::try_from(body.size_hint().lower()).unwrap_or(0).min(bytes_max);
            let mut buffer = BytesMut::with_capacity(whole.len() + data.len() + rest);
            buffer.extend_from_slice(&std::mem::take(&mut whole));
            buffer.extend_from_slice(&data);
            joined = Some(buffer);
        }
    }
    Ok(Some(joined.map_or(whole, BytesMut::freeze)))
}

async fn discard(body: &mut Body) {
    let all = async {
        let mut discarded = 0;
        while let Ok(Some(Ok(frame))) = timeout(DISCARD_PAUSE_MAX, body.frame()).await {
            discarded += frame.data_ref().map_or(0, Bytes::len) as u64;
            if discarded > DISCARD_BYTES_MAX {
                break;
            }
        }
    };
    // Whether it was all read makes no difference: the request is refused either way.
    let _ = timeout(DISCARD_TIME_MAX, all).await;
}
