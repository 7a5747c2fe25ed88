//! Sending on a link: what the driver puts together, and what faults hold up of it.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::lane::Lane;

/// Writes chunks of frames until the connection ends: because it broke, because the driver let go of
/// it, or because the peer takes nothing any more. Returns why it did.
pub(super) async fn send(
    mut writer: OwnedWriteHalf,
    mut to_send: mpsc::Receiver<Bytes>,
    write_timeout: Duration,
    mut lane: Lane,
) -> String {
    loop {
        let chunk = if lane.is_holding() {
            tokio::select! {
                chunk = to_send.recv() => Some(chunk),
                () = lane.changed() => None,
            }
        } else {
            Some(to_send.recv().await)
        };
        let frames = match chunk {
            Some(None) => return "this node closed it".to_owned(),
            Some(Some(chunk)) if lane.is_clear() => {
                match write(&mut writer, chunk, write_timeout).await {
                    Ok(()) => continue,
                    Err(problem) => return problem,
                }
            }
            Some(Some(chunk)) => match lane.take_chunk(chunk) {
                Ok(frames) => frames,
                Err(problem) => return problem,
            },
            None => Vec::new(),
        };
        for frame in frames.into_iter().chain(std::iter::from_fn(|| lane.next())) {
            if let Err(problem) = write(&mut writer, frame, write_timeout).await {
                return problem;
            }
        }
    }
}

async fn write(
    writer: &mut OwnedWriteHalf,
    mut chunk: Bytes,
    write_timeout: Duration,
) -> Result<(), String> {
    while !chunk.is_empty() {
        match timeout(write_timeout, writer.write_buf(&mut chunk)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("the peer took nothing for {write_timeout:?}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::BytesMut;
    use consensus::NodeId;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::super::frame::{FrameKind, put_frame};
    use super::*;
    use crate::node::faults::{FaultRequest, Faults};

    async fn connection() -> (TcpStream, OwnedWriteHalf) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (dialled, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (_, writer) = accepted.expect("accepted").0.into_split();
        (dialled.expect("connected"), writer)
    }

    /// How long the peer may take nothing.
    const PATIENCE: Duration = Duration::from_secs(10);

    fn lane() -> Lane {
        lane_with(&Arc::new(Faults::new(NodeId(1), 7)), &[])
    }

    fn lane_with(faults: &Arc<Faults>, jsons: &[&str]) -> Lane {
        let members = (1..=3).map(|id| (NodeId(id), String::new())).collect();
        for json in jsons {
            let request: FaultRequest = serde_json::from_str(json).expect(json);
            let fault = request.check(NodeId(1), &members).expect(json);
            faults.begin(fault).expect("there is room");
        }
        Lane::new(faults, NodeId(1), NodeId(2))
    }

    /// A chunk of a message and of a reply, which belongs to no protocol.
    fn chunk() -> (Bytes, Bytes, Bytes) {
        let framed = |kind, content: &'static [u8]| {
            let mut out = BytesMut::new();
            put_frame(&mut out, kind, |out| out.extend_from_slice(content));
            out.freeze()
        };
        let message = framed(FrameKind::Message, b"message");
        let reply = framed(FrameKind::Reply, b"reply");
        (Bytes::from([&message[..], &reply[..]].concat()), message, reply)
    }

    #[tokio::test]
    async fn what_a_partition_holds_up_arrives_in_order_once_it_is_healed() {
        let faults = Arc::new(Faults::new(NodeId(1), 7));
        let lane = lane_with(&faults, &[r#"{"kind":"partition","from":1,"to":2}"#]);
        let (mut peer, writer) = connection().await;
        let (outgoing, to_send) = mpsc::channel(4);
        let (chunk, message, reply) = chunk();
        let sending = tokio::spawn(send(writer, to_send, PATIENCE, lane));
        for _ in 0..2 {
            outgoing.try_send(chunk.clone()).expect("there is room");
        }
        // What belongs to no protocol is not held up.
        let mut received = vec![0; 2 * reply.len()];
        peer.read_exact(&mut received).await.expect("the replies");
        assert_eq!(received, [&reply[..], &reply[..]].concat());
        let mut more = [0; 1];
        let silent = timeout(Duration::from_millis(100), peer.read(&mut more)).await;
        assert!(silent.is_err(), "nothing else arrives: {silent:?}");
        assert_eq!(faults.heal(1).expect("it was there").struck, 2);
        received = vec![0; 2 * message.len()];
        peer.read_exact(&mut received).await.expect("the messages");
        assert_eq!(received, [&message[..], &message[..]].concat());
        drop(outgoing);
        assert_eq!(sending.await.expect("no panic"), "this node closed it");
    }

    #[tokio::test]
    async fn a_delayed_message_is_late_and_a_lost_one_ends_its_connection() {
        let faults = Arc::new(Faults::new(NodeId(1), 7));
        let lane = lane_with(&faults, &[r#"{"kind":"delay","ms":50}"#]);
        let (mut peer, writer) = connection().await;
        let (outgoing, to_send) = mpsc::channel(4);
        let (chunk, message, reply) = chunk();
        let sending = tokio::spawn(send(writer, to_send, PATIENCE, lane));
        let began = std::time::Instant::now();
        outgoing.try_send(chunk.clone()).expect("there is room");
        let mut received = vec![0; chunk.len()];
        peer.read_exact(&mut received).await.expect("both");
        assert_eq!(received, [&reply[..], &message[..]].concat());
        assert!(began.elapsed() >= Duration::from_millis(50));
        lane_with(&faults, &[r#"{"kind":"drop","to":2,"from":1}"#]);
        outgoing.try_send(chunk).expect("there is room");
        assert_eq!(sending.await.expect("no panic"), "fault 1-2 lost a message");
        assert_eq!(peer.read(&mut received).await.expect("closed"), 0, "nothing of it arrives");
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_loses_its_connection() {
        let (silent, writer) = connection().await;
        let (outgoing, to_send) = mpsc::channel(64);
        for _ in 0..64 {
            outgoing.try_send(Bytes::from(vec![0; 1 << 20])).expect("there is room");
        }
        let problem = send(writer, to_send, Duration::from_millis(200), lane()).await;
        assert!(problem.contains("took nothing"), "{problem}");
        drop(silent);
    }

    #[tokio::test]
    async fn a_connection_that_the_driver_lets_go_of_ends_after_what_it_had_to_send() {
        let (mut peer, writer) = connection().await;
        let (outgoing, to_send) = mpsc::channel(4);
        // As the other threads hold it: it does not keep the connection alive.
        let weak = outgoing.downgrade();
        outgoing.try_send(Bytes::from_static(b"last")).expect("there is room");
        drop(outgoing);
        assert_eq!(send(writer, to_send, PATIENCE, lane()).await, "this node closed it");
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.expect("closed");
        assert_eq!(received, b"last");
        assert!(weak.upgrade().is_none());
    }
}
