//! The greeting on a new peer connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};
use consensus::{NodeId, Protocol};

use super::frame::{FrameKind, put_frame, take_frame};

/// The version of everything that travels between nodes.
const VERSION: u32 = 3;

const MAGIC: u64 = u64::from_le_bytes(*b"DUORUMPR");

/// A greeting is never longer.
pub(super) const GREETING_BYTES_MAX: usize = 1024;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HelloPurpose {
    /// Everything that the protocol says.
    Link,
    /// One snapshot.
    Snapshot,
}

/// Who greets, and whom it expects at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) cluster: String,
    pub(crate) protocol: Protocol,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    /// The random number of the sender's data directory.
    pub(crate) directory: u128,
    /// A number for the link, not used before by this node. The one of the side that dials names the
    /// link at both ends. A snapshot says by it which link it belongs to.
    pub(crate) connection: u64,
    /// What the connection is for.
    pub(crate) purpose: HelloPurpose,
}

impl Hello {
    /// Whether the one who greets with `theirs` belongs here, and is the expected peer if there is
    /// one.
    ///
    /// # Errors
    /// What does not fit: what was said, and what was expected.
    pub(crate) fn accepts(&self, theirs: &Self, expected: Option<NodeId>) -> Result<(), String> {
        let differs = |what: &str, said: String, wanted: String| {
            Err(format!("it says that {what} is {said}; here it is {wanted}"))
        };
        if theirs.cluster != self.cluster {
            let (said, wanted) = (format!("{:?}", theirs.cluster), format!("{:?}", self.cluster));
            return differs("its cluster", said, wanted);
        }
        if theirs.protocol != self.protocol {
            return differs("its protocol", theirs.protocol.to_string(), self.protocol.to_string());
        }
        if theirs.to != self.from {
            return differs("this node", theirs.to.0.to_string(), self.from.0.to_string());
        }
        match expected {
            Some(expected) if theirs.from != expected => {
                differs("its own number", theirs.from.0.to_string(), expected.0.to_string())
            }
            _ => Ok(()),
        }
    }
}

impl Wire for Hello {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(MAGIC);
        out.put_u32_le(VERSION);
        codec::put_bytes(out, self.cluster.as_bytes());
        codec::put_bytes(out, self.protocol.name().as_bytes());
        self.from.encode(out);
        self.to.encode(out);
        out.put_u128_le(self.directory);
        out.put_u64_le(self.connection);
        (self.purpose == HelloPurpose::Snapshot).encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        if codec::get_u64(input)? != MAGIC {
            return Err(CodecError::Invalid("greeting: this is not a duorum node"));
        }
        if codec::get_u32(input)? != VERSION {
            return Err(CodecError::Invalid("version of the peer protocol"));
        }
        let cluster = get_text(input)?;
        let protocol =
            Protocol::from_name(&get_text(input)?).ok_or(CodecError::Invalid("protocol name"))?;
        let (from, to) = (NodeId::decode(input)?, NodeId::decode(input)?);
        let (low, high) = (codec::get_u64(input)?, codec::get_u64(input)?);
        let directory = u128::from(low) | u128::from(high) << 64;
        let connection = codec::get_u64(input)?;
        let purpose =
            if bool::decode(input)? { HelloPurpose::Snapshot } else { HelloPurpose::Link };
        Ok(Self { cluster, protocol, from, to, directory, connection, purpose })
    }
}

/// Greets over a blocking socket as the side that dials. Returns what came behind the answer.
///
/// # Errors
/// When who answers is not whom the greeting is for, or the connection ends.
pub(crate) fn greet_blocking(
    stream: &mut TcpStream,
    hello: &Hello,
    patience: Duration,
) -> Result<BytesMut, String> {
    let mut out = BytesMut::new();
    put_frame(&mut out, FrameKind::Hello, |out| hello.encode(out));
    let send = |stream: &mut TcpStream| {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(&out)
    };
    send(stream).map_err(|error| error.to_string())?;
    let mut received = BytesMut::new();
    loop {
        if let Some((kind, content)) = take_frame(&mut received, GREETING_BYTES_MAX)? {
            if kind != FrameKind::Hello {
                return Err("it does not greet".to_owned());
            }
            let theirs = Hello::from_bytes(content).map_err(|error| error.to_string())?;
            hello.accepts(&theirs, Some(hello.to))?;
            return Ok(received);
        }
        let mut some = [0; GREETING_BYTES_MAX];
        match stream.read(&mut some) {
            Ok(0) => return Err("it closed the connection without a greeting".to_owned()),
            Ok(read) => received.extend_from_slice(&some[..read]),
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn get_text(input: &mut Bytes) -> Result<String, CodecError> {
    String::from_utf8(codec::get_bytes(input)?.to_vec()).map_err(|_| CodecError::Invalid("text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(from: u64, to: u64) -> Hello {
        Hello {
            cluster: "duorum".to_owned(),
            protocol: Protocol::Zab,
            from: NodeId(from),
            to: NodeId(to),
            directory: u128::MAX - 7,
            connection: u64::MAX - 9,
            purpose: HelloPurpose::Snapshot,
        }
    }

    #[test]
    fn a_greeting_survives_the_wire() {
        let sent = hello(1, 2);
        assert_eq!(Hello::from_bytes(sent.to_bytes()), Ok(sent));
    }

    #[test]
    fn strangers_are_told_what_does_not_fit() {
        let here = hello(2, 1);
        assert_eq!(here.accepts(&hello(1, 2), Some(NodeId(1))), Ok(()));
        let other = Hello { cluster: "other".to_owned(), ..hello(1, 2) };
        assert!(here.accepts(&other, None).unwrap_err().contains("its cluster is \"other\""));
        let other = Hello { protocol: Protocol::Raft, ..hello(1, 2) };
        assert!(here.accepts(&other, None).unwrap_err().contains("raft; here it is zab"));
        assert!(here.accepts(&hello(1, 3), None).unwrap_err().contains("this node is 3"));
        assert!(here.accepts(&hello(3, 2), Some(NodeId(1))).unwrap_err().contains("number is 3"));
    }
}
