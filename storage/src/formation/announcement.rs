//! What a node tells of its data directory on every new connection.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut as _, Bytes, BytesMut};
use consensus::NodeId;
use consensus::codec::{self, CodecError, Wire};

use super::{Formation, VOTERS_MAX};
use crate::identity::DirectoryId;

/// What a node tells of its data directory on every new connection. All of it is durable there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Announcement {
    /// Its own data directory.
    pub directory: DirectoryId,
    /// The voters of the cluster as it was configured.
    pub voters: BTreeSet<NodeId>,
    /// What it knows of the cluster.
    pub formation: Formation,
}

impl Wire for Announcement {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u128_le(self.directory.0);
        put_count(out, self.voters.len());
        for voter in &self.voters {
            voter.encode(out);
        }
        put_count(out, self.formation.directories.len());
        for (voter, directory) in &self.formation.directories {
            voter.encode(out);
            out.put_u128_le(directory.0);
        }
        out.put_u8(self.formation.formed.into());
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        let directory = get_directory(input)?;
        let mut voters = BTreeSet::new();
        for _ in 0..get_count(input)? {
            let voter = NodeId::decode(input)?;
            if voters.last().is_some_and(|last| *last >= voter) {
                return Err(CodecError::Invalid("order of the voters"));
            }
            voters.insert(voter);
        }
        let mut directories = BTreeMap::new();
        for _ in 0..get_count(input)? {
            let voter = NodeId::decode(input)?;
            if directories.last_key_value().is_some_and(|(last, _)| *last >= voter) {
                return Err(CodecError::Invalid("order of the directories"));
            }
            directories.insert(voter, get_directory(input)?);
        }
        let formed = match codec::get_u8(input)? {
            0 => false,
            1 => true,
            _ => return Err(CodecError::Invalid("whether the cluster is formed")),
        };
        Ok(Self { directory, voters, formation: Formation { directories, formed } })
    }
}

fn put_count(out: &mut BytesMut, count: usize) {
    assert!(count <= VOTERS_MAX, "a cluster has at most {VOTERS_MAX} voters");
    out.put_u8(u8::try_from(count).expect("bounded just now"));
}

fn get_count(input: &mut Bytes) -> Result<usize, CodecError> {
    let count = usize::from(codec::get_u8(input)?);
    if count <= VOTERS_MAX { Ok(count) } else { Err(CodecError::Invalid("number of voters")) }
}

fn get_directory(input: &mut Bytes) -> Result<DirectoryId, CodecError> {
    let (low, high) = (codec::get_u64(input)?, codec::get_u64(input)?);
    Ok(DirectoryId(u128::from(low) | u128::from(high) << 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest() -> Announcement {
        let voters: BTreeSet<NodeId> = (1..=VOTERS_MAX as u64).map(NodeId).collect();
        let directories =
            voters.iter().map(|voter| (*voter, DirectoryId(u128::MAX - u128::from(voter.0))));
        Announcement {
            directory: DirectoryId(u128::MAX - 1),
            formation: Formation { directories: directories.collect(), formed: true },
            voters,
        }
    }

    #[test]
    fn the_largest_announcement_survives_the_wire_and_no_part_of_it_does() {
        let whole = largest().to_bytes();
        assert_eq!(Announcement::from_bytes(whole.clone()), Ok(largest()));
        for cut in 0..whole.len() {
            assert!(Announcement::from_bytes(whole.slice(..cut)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn each_announcement_has_one_form_and_a_bound() {
        let small = Announcement {
            directory: DirectoryId(7),
            voters: [NodeId(1), NodeId(2)].into(),
            formation: Formation::default(),
        };
        let whole = small.to_bytes();
        assert_eq!(Announcement::from_bytes(whole.clone()), Ok(small));
        let changed = |offset: usize, byte: u8| {
            let mut bytes = whole.to_vec();
            bytes[offset] = byte;
            Announcement::from_bytes(bytes.into())
        };
        // The number of voters, the second voter, and whether it is formed.
        assert_eq!(changed(16, 65), Err(CodecError::Invalid("number of voters")));
        assert_eq!(changed(25, 1), Err(CodecError::Invalid("order of the voters")));
        assert!(changed(34, 2).is_err());
    }
}
