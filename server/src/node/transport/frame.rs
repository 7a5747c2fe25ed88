//! Frames on a peer connection.
//!
//! ```text
//! bytes  frame
//!     4  length of the body, kind included
//!     4  CRC-32 of the body
//!     1  kind
//!        content
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The largest body of a frame. A message of entries is bounded by one entry above
/// `message_bytes_max`, and an entry by the largest value.
pub(crate) const FRAME_BYTES_MAX: usize = 40 << 20;

const HEADER_BYTES: usize = 8;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// A message of the protocol or of the replica.
    Message = 1,
    /// A question of a node to another, outside of any protocol.
    Question = 2,
    /// The answer to it.
    Reply = 3,
    /// The greeting; the first frame, and only that.
    Hello = 4,
    /// A part of a snapshot, on a connection of its own.
    Snapshot = 5,
    /// A word about faults, or the answer to it, on a connection of its own.
    Lab = 6,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Message, Self::Question, Self::Reply, Self::Hello, Self::Snapshot, Self::Lab]
            .into_iter()
            .find(|&kind| kind as u8 == byte)
    }
}

/// Appends a frame whose content the closure writes.
pub(crate) fn put_frame(out: &mut BytesMut, kind: FrameKind, content: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_bytes(0, HEADER_BYTES);
    out.put_u8(kind as u8);
    content(out);
    let body = &out[start + HEADER_BYTES..];
    assert!(body.len() <= FRAME_BYTES_MAX, "a frame is within its bound");
    let length = u32::try_from(body.len()).expect("checked just now");
    let checksum = crc32fast::hash(body);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// Takes a whole frame off the front, if there is one.
///
/// The content is a copy of its own size: entries stay in memory for long, and if they shared the
/// buffer's memory, one small entry would keep all of it, and each read would need a new buffer.
pub(crate) fn take_frame(
    buffer: &mut BytesMut,
    bytes_max: usize,
) -> Result<Option<(FrameKind, Bytes)>, String> {
    if buffer.len() < HEADER_BYTES {
        return Ok(None);
    }
    let length = (&buffer[0..4]).get_u32_le() as usize;
    if length == 0 || length > bytes_max {
        return Err(format!("a frame claims {length} bytes; 1 to {bytes_max} are allowed"));
    }
    // No room is made for what has not come: the length alone is not to be trusted.
    if buffer.len() < HEADER_BYTES + length {
        return Ok(None);
    }
    let checksum = (&buffer[4..8]).get_u32_le();
    buffer.advance(HEADER_BYTES);
    let body = &buffer[..length];
    let computed = crc32fast::hash(body);
    if computed != checksum {
        return Err(format!("a frame's checksum is {computed:08x}, not {checksum:08x} as it says"));
    }
    let Some(kind) = FrameKind::from_byte(body[0]) else {
        return Err(format!("a frame is of the unknown kind {}", body[0]));
    };
    let content = Bytes::copy_from_slice(&body[1..]);
    buffer.advance(length);
    Ok(Some((kind, content)))
}

/// Takes the next of the frames that this node has put together, header included.
pub(crate) fn split_frame(chunk: &mut Bytes) -> Option<Bytes> {
    if chunk.is_empty() {
        return None;
    }
    let length = (&chunk[0..4]).get_u32_le() as usize;
    Some(chunk.split_to(HEADER_BYTES + length))
}

/// The kind of a whole frame.
pub(crate) fn kind_of(frame: &[u8]) -> Option<FrameKind> {
    frame.get(HEADER_BYTES).copied().and_then(FrameKind::from_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_cut_into_the_frames_that_it_was_put_together_from() {
        let mut chunk = BytesMut::new();
        put_frame(&mut chunk, FrameKind::Message, |out| out.put_slice(b"first"));
        put_frame(&mut chunk, FrameKind::Reply, |out| out.put_slice(b""));
        let mut chunk = chunk.freeze();
        let first = split_frame(&mut chunk).expect("a frame");
        assert_eq!((kind_of(&first), &first[9..]), (Some(FrameKind::Message), &b"first"[..]));
        let second = split_frame(&mut chunk).expect("a frame");
        assert_eq!((kind_of(&second), second.len()), (Some(FrameKind::Reply), 9));
        assert_eq!(split_frame(&mut chunk), None);
    }

    fn framed(content: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        put_frame(&mut out, FrameKind::Message, |out| out.put_slice(content));
        out
    }

    #[test]
    fn a_frame_comes_out_as_it_went_in_once_it_is_whole() {
        let whole = framed(b"hello");
        for cut in 0..whole.len() {
            let mut part = BytesMut::from(&whole[..cut]);
            assert_eq!(take_frame(&mut part, 1024), Ok(None), "after {cut} bytes");
        }
        let mut buffer = whole;
        buffer.extend_from_slice(b"next");
        let (kind, content) = take_frame(&mut buffer, 1024).unwrap().unwrap();
        assert_eq!((kind, &content[..]), (FrameKind::Message, &b"hello"[..]));
        assert_eq!(&buffer[..], b"next");
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let whole = framed(b"hello");
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // A larger length makes the frame look unfinished; it never looks whole.
            assert!(!matches!(take_frame(&mut damaged, 1 << 20), Ok(Some(_))), "bit {bit}");
        }
    }

    #[test]
    fn a_length_alone_makes_no_room() {
        let mut begun = BytesMut::from(&framed(&[0; 1 << 20])[..20]);
        assert_eq!(take_frame(&mut begun, FRAME_BYTES_MAX), Ok(None));
        assert!(begun.capacity() < 1024);
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_anything_is_allocated() {
        let mut garbage = BytesMut::from(&b"GET / HTTP/1.1\r\n\r\n"[..]);
        let error = take_frame(&mut garbage, 1024).unwrap_err();
        assert!(error.contains("1 to 1024 are allowed"), "{error}");
        assert!(garbage.capacity() < 1024);
    }
}
