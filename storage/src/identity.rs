//! Whose data directory this is.
//!
//! The file `duorum.identity` is written when a directory is first used, and never again. It is
//! text, so that an operator who finds a directory can read what it is:
//!
//! ```text
//! duorum data directory, format 1
//! cluster = default
//! node = 1
//! protocol = raft
//! directory = 0123456789abcdef0123456789abcdef
//! checksum = 89abcdef
//! ```
//!
//! The checksum is the CRC-32 of everything before its line. The directory's number is random; it
//! tells a disk that was wiped and set up anew from the one that the cluster knows, and it is part
//! of every checksum in the log, so that no file of another directory can pass for one of this.

#[cfg(feature = "fuzzing")]
pub mod fuzzing;

use std::fmt;

use consensus::{NodeId, Protocol};

use crate::disk::{self, Disk};

/// The name of the identity file.
pub const IDENTITY_FILE: &str = "duorum.identity";

const FIRST_LINE: &str = "duorum data directory, format 1";

/// No identity file is longer.
const BYTES_MAX: u64 = 4096;

/// The most bytes that the name of a cluster may have.
pub const CLUSTER_NAME_BYTES_MAX: usize = 256;

/// What a data directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's name: not empty, at most [`CLUSTER_NAME_BYTES_MAX`] bytes, no control
    /// characters.
    pub cluster: String,
    /// The node within the cluster.
    pub node: NodeId,
    /// The protocol that the cluster runs.
    pub protocol: Protocol,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, node, protocol } = self;
        write!(f, "node {} of the {protocol} cluster {cluster:?}", node.0)
    }
}

/// The random number of a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirectoryId(pub u128);

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Why an identity file was not accepted.
#[derive(Debug)]
pub(crate) enum IdentityError {
    Io(std::io::Error),
    /// The file holds something else than an identity.
    Damaged(String),
}

/// Reads the identity of a directory; `None` when it has none yet.
pub(crate) fn read<D: Disk>(disk: &D) -> Result<Option<(Identity, DirectoryId)>, IdentityError> {
    if !disk.exists(IDENTITY_FILE).map_err(IdentityError::Io)? {
        return Ok(None);
    }
    let bytes = disk::read_small(disk, IDENTITY_FILE, BYTES_MAX).map_err(IdentityError::Io)?;
    parse(&bytes).map(Some).map_err(IdentityError::Damaged)
}

/// Writes the identity of a new directory, durably.
pub(crate) fn write<D: Disk>(
    disk: &D,
    identity: &Identity,
    directory: DirectoryId,
) -> std::io::Result<()> {
    disk::write_atomically(disk, IDENTITY_FILE, format(identity, directory).as_bytes())
}

/// Says what is wrong with an identity that a caller wants to write, if anything.
pub(crate) fn objection(identity: &Identity) -> Option<String> {
    let name = &identity.cluster;
    if name.is_empty() || name.len() > CLUSTER_NAME_BYTES_MAX || name.chars().any(char::is_control)
    {
        return Some(format!(
            "the cluster's name {name:?} must have 1 to {CLUSTER_NAME_BYTES_MAX} bytes and no \
             control characters"
        ));
    }
    (identity.node.0 == 0).then(|| "a node's number must be 1 or more".to_string())
}

fn format(identity: &Identity, directory: DirectoryId) -> String {
    let Identity { cluster, node, protocol } = identity;
    let text = format!(
        "{FIRST_LINE}\ncluster = {cluster}\nnode = {}\nprotocol = {protocol}\n\
         directory = {directory}\n",
        node.0
    );
    let checksum = crc32fast::hash(text.as_bytes());
    format!("{text}checksum = {checksum:08x}\n")
}

fn parse(bytes: &[u8]) -> Result<(Identity, DirectoryId), String> {
    let text = str::from_utf8(bytes).map_err(|_| "it is not text".to_string())?;
    let first = text.lines().next().unwrap_or_default();
    if first != FIRST_LINE {
        return Err(format!("its first line is {first:?}, where {FIRST_LINE:?} was expected"));
    }
    let (body, checksum) = text.rsplit_once("checksum = ").ok_or("it has no checksum")?;
    let computed = format!("{:08x}\n", crc32fast::hash(body.as_bytes()));
    if checksum != computed {
        return Err(format!("its checksum is {computed:?}, where {checksum:?} is written"));
    }
    let field = |name: &str| {
        let start = format!("{name} = ");
        body.lines()
            .find_map(|line| line.strip_prefix(start.as_str()))
            .ok_or(format!("it names no {name}"))
    };
    let node = field("node")?.parse().map_err(|_| "its node is no number".to_string())?;
    let protocol = field("protocol")?;
    let protocol = Protocol::from_name(protocol)
        .ok_or(format!("its protocol {protocol:?} is not known to this version"))?;
    let directory = u128::from_str_radix(field("directory")?, 16)
        .map_err(|_| "its directory is no number".to_string())?;
    let identity =
        Identity { cluster: field("cluster")?.to_string(), node: NodeId(node), protocol };
    objection(&identity).map_or(Ok((identity, DirectoryId(directory))), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Identity {
        Identity { cluster: "checksum = 1".to_string(), node: NodeId(7), protocol: Protocol::Zab }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let directory = DirectoryId(u128::MAX - 5);
        let text = format(&sample(), directory);
        assert_eq!(parse(text.as_bytes()), Ok((sample(), directory)));
    }

    #[test]
    fn what_can_not_be_written_can_not_be_read() {
        for wrong in [
            Identity { cluster: "two lines\r".to_string(), ..sample() },
            Identity { cluster: String::new(), ..sample() },
            Identity { node: NodeId(0), ..sample() },
        ] {
            // A carriage return in front of the end of a line belongs to it.
            let text = format(&wrong, DirectoryId(12)).replace('\r', "\r\r");
            let (body, _) = text.rsplit_once("checksum = ").expect("it has one");
            let text = format!("{body}checksum = {:08x}\n", crc32fast::hash(body.as_bytes()));
            let problem = parse(text.as_bytes()).expect_err("not an identity");
            assert!(problem.contains("must"), "{problem}");
        }
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let text = format(&sample(), DirectoryId(12)).into_bytes();
        for position in 0..text.len() {
            for bit in 0..8 {
                let mut damaged = text.clone();
                damaged[position] ^= 1 << bit;
                assert!(parse(&damaged).is_err(), "byte {position}, bit {bit}");
            }
            assert!(parse(&text[..position]).is_err(), "cut to {position} bytes");
        }
    }
}
