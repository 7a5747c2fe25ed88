//! What peers say besides the protocol, read from any bytes.

use bytes::{Bytes, BytesMut};
use consensus::codec::check_decoding;

use super::frame::{FRAME_BYTES_MAX, FrameKind, put_frame, take_frame};
use super::hello::Hello;
use super::question::{decode_question, decode_reply, encode_question, encode_reply};

/// Frames one after the other, as they come from a socket: the first half, and then the rest.
pub fn frames(bytes: &[u8]) {
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    let frames = take_all(&[first, rest]);
    assert_eq!(frames, take_all(&[bytes]), "frames are the same however they arrive");
    let mut encoded = BytesMut::new();
    for (kind, content) in &frames {
        put_frame(&mut encoded, *kind, |out| out.extend_from_slice(content));
    }
    assert_eq!(encoded, bytes[..encoded.len()], "a frame has one form");
}

/// The frames up to the first error, which ends a connection.
fn take_all(parts: &[&[u8]]) -> Vec<(FrameKind, Bytes)> {
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for part in parts {
        buffer.extend_from_slice(part);
        loop {
            match take_frame(&mut buffer, FRAME_BYTES_MAX) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    frames
}

/// A greeting.
pub fn hello(bytes: &[u8]) {
    check_decoding::<Hello>(bytes);
}

/// A question of one node to another.
pub fn question(bytes: &[u8]) {
    let Ok((number, question)) = decode_question(Bytes::copy_from_slice(bytes)) else { return };
    let mut encoded = BytesMut::new();
    encode_question(number, &question, &mut encoded);
    assert_eq!(encoded, bytes, "a question has one form");
}

/// The answer to it.
pub fn reply(bytes: &[u8]) {
    let Ok((number, reply)) = decode_reply(Bytes::copy_from_slice(bytes)) else { return };
    let mut encoded = BytesMut::new();
    encode_reply(number, &reply, &mut encoded);
    assert!(encoded.len() <= bytes.len(), "an encoding is no longer than what was read");
    assert_eq!(decode_reply(encoded.freeze()), Ok((number, reply)), "it survives its encoding");
}
