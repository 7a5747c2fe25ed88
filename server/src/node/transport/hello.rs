//! The greeting on a new peer connection.

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};
use consensus::{NodeId, Protocol};
use storage::formation::Announcement;

/// The version of everything that travels between nodes.
const VERSION: u32 = 5;

const MAGIC: u64 = u64::from_le_bytes(*b"DUORUMPR");

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HelloPurpose {
    /// Everything that the protocol says.
    Link,
    /// One snapshot.
    Snapshot,
    /// A word about faults.
    Lab,
}

impl HelloPurpose {
    const ALL: [Self; 3] = [Self::Link, Self::Snapshot, Self::Lab];
}

/// Who greets, and whom it expects at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) cluster: String,
    pub(crate) protocol: Protocol,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    /// A number for the link, not used before by this node. The one of the side that dials names the
    /// link at both ends. A snapshot says by it which link it belongs to.
    pub(crate) connection: u64,
    /// What the connection is for.
    pub(crate) purpose: HelloPurpose,
    /// What the sender's data directory is, and what it knows of the cluster.
    pub(crate) announcement: Announcement,
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
        out.put_u64_le(self.connection);
        out.put_u8(self.purpose as u8);
        self.announcement.encode(out);
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
        let connection = codec::get_u64(input)?;
        let purpose = HelloPurpose::ALL.get(usize::from(codec::get_u8(input)?));
        let purpose = *purpose.ok_or(CodecError::Invalid("purpose of a connection"))?;
        let announcement = Announcement::decode(input)?;
        Ok(Self { cluster, protocol, from, to, connection, purpose, announcement })
    }
}

fn get_text(input: &mut Bytes) -> Result<String, CodecError> {
    String::from_utf8(codec::get_bytes(input)?.to_vec()).map_err(|_| CodecError::Invalid("text"))
}

#[cfg(test)]
mod tests {
    use storage::{DirectoryId, Formation};

    use super::*;

    fn hello(from: u64, to: u64) -> Hello {
        Hello {
            cluster: "duorum".to_owned(),
            protocol: Protocol::Zab,
            from: NodeId(from),
            to: NodeId(to),
            connection: u64::MAX - 9,
            purpose: HelloPurpose::Snapshot,
            announcement: Announcement {
                directory: DirectoryId(u128::MAX - 7),
                voters: [NodeId(from), NodeId(to)].into(),
                formation: Formation {
                    directories: [(NodeId(from), DirectoryId(u128::MAX - 7))].into(),
                    formed: false,
                },
            },
        }
    }

    #[test]
    fn a_greeting_survives_the_wire() {
        for purpose in HelloPurpose::ALL {
            let sent = Hello { purpose, ..hello(1, 2) };
            assert_eq!(Hello::from_bytes(sent.to_bytes()), Ok(sent));
        }
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
