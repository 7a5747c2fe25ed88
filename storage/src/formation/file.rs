//! The file that holds what a data directory knows of its cluster.
//!
//! `duorum.formation` is replaced as a whole each time it changes, a few times in the life of a
//! directory. It is text, so that an operator who finds a directory can read what it is:
//!
//! ```text
//! duorum formation, format 1
//! directory = 0123456789abcdef0123456789abcdef
//! formed = yes
//! voter 1 = 0123456789abcdef0123456789abcdef
//! voter 2 = 123456789abcdef0123456789abcdef0
//! checksum = 89abcdef
//! ```
//!
//! The first directory is the one that the file is in: a copy from elsewhere is refused. The checksum
//! is the CRC-32 of everything before its line.

use std::fmt;

use consensus::NodeId;

use super::{Formation, VOTERS_MAX};
use crate::disk::{self, Disk};
use crate::identity::DirectoryId;

/// The name of the file.
pub const FORMATION_FILE: &str = "duorum.formation";

const FIRST_LINE: &str = "duorum formation, format 1";

/// No such file is longer.
const BYTES_MAX: u64 = 8192;

/// Why what a directory knows of its cluster can not be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum FormationError {
    /// The disk failed.
    Io(std::io::Error),
    /// The file is damaged, or of another directory.
    Damaged {
        /// Where the file is.
        location: String,
        /// What is wrong with it.
        what: String,
    },
}

impl fmt::Display for FormationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Damaged { location, what } => write!(
                f,
                "{location}: {what}; restore the file as it was, or remove it while another node of \
                 the formed cluster runs: this one then learns from it again who votes"
            ),
        }
    }
}

impl std::error::Error for FormationError {}

/// Reads what a directory knows of its cluster; nothing, when it never heard of one.
///
/// # Errors
/// When the disk fails, and when the file is damaged or of another directory.
pub fn read<D: Disk>(disk: &D, directory: DirectoryId) -> Result<Formation, FormationError> {
    if !disk.exists(FORMATION_FILE).map_err(FormationError::Io)? {
        return Ok(Formation::default());
    }
    let bytes = disk::read_small(disk, FORMATION_FILE, BYTES_MAX).map_err(FormationError::Io)?;
    parse(&bytes, directory)
        .map_err(|what| FormationError::Damaged { location: disk.location(FORMATION_FILE), what })
}

/// Writes what a directory knows of its cluster. After a crash either all of it is there or what was
/// there before.
///
/// # Errors
/// When the disk fails. What is durable is then unknown, and the node must stop.
pub fn write<D: Disk>(
    disk: &D,
    directory: DirectoryId,
    formation: &Formation,
) -> std::io::Result<()> {
    assert!(formation.directories.len() <= VOTERS_MAX, "a cluster has at most {VOTERS_MAX} voters");
    disk::write_atomically(disk, FORMATION_FILE, format(directory, formation).as_bytes())
}

fn format(directory: DirectoryId, formation: &Formation) -> String {
    let formed = if formation.formed { "yes" } else { "no" };
    let mut text = format!("{FIRST_LINE}\ndirectory = {directory}\nformed = {formed}\n");
    for (voter, directory) in &formation.directories {
        text.push_str(&format!("voter {} = {directory}\n", voter.0));
    }
    let checksum = crc32fast::hash(text.as_bytes());
    format!("{text}checksum = {checksum:08x}\n")
}

fn parse(bytes: &[u8], expected: DirectoryId) -> Result<Formation, String> {
    let text = str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let (body, checksum) = text.rsplit_once("checksum = ").ok_or("it has no checksum")?;
    let computed = format!("{:08x}\n", crc32fast::hash(body.as_bytes()));
    if checksum != computed {
        return Err(format!("its checksum is {computed:?}, where {checksum:?} is written"));
    }
    let mut lines = body.lines();
    let first = lines.next().unwrap_or_default();
    if first != FIRST_LINE {
        return Err(format!("its first line is {first:?}, where {FIRST_LINE:?} was expected"));
    }
    let mut formation = Formation::default();
    let (mut own, mut formed) = (None, None);
    for line in lines {
        let unknown = || format!("its line {line:?} means nothing to this version");
        let (name, value) = line.split_once(" = ").ok_or_else(unknown)?;
        match (name, value) {
            ("directory", id) => own = Some(parse_directory(id).ok_or_else(unknown)?),
            ("formed", "yes") => formed = Some(true),
            ("formed", "no") => formed = Some(false),
            _ => {
                let voter = name.strip_prefix("voter ").and_then(|voter| voter.parse().ok());
                let voter = voter.map(NodeId).ok_or_else(unknown)?;
                let id = parse_directory(value).ok_or_else(unknown)?;
                formation.directories.insert(voter, id);
            }
        }
    }
    let count = formation.directories.len();
    if count > VOTERS_MAX {
        return Err(format!("it names {count} voters, where at most {VOTERS_MAX} are possible"));
    }
    let own = own.ok_or("it names no directory")?;
    if own != expected {
        return Err(format!("it belongs to the data directory {own}, and this one is {expected}"));
    }
    formation.formed = formed.ok_or("it does not say whether the cluster is formed")?;
    Ok(formation)
}

fn parse_directory(text: &str) -> Option<DirectoryId> {
    u128::from_str_radix(text, 16).ok().map(DirectoryId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimulatedDisk;

    const OWN: DirectoryId = DirectoryId(u128::MAX - 7);

    fn formation(voters: u64, formed: bool) -> Formation {
        let directories = (1..=voters).map(|voter| (NodeId(voter), DirectoryId(voter.into())));
        Formation { directories: directories.collect(), formed }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let disk = SimulatedDisk::new();
        assert_eq!(read(&disk, OWN).expect("it works"), Formation::default());
        for written in [formation(0, false), formation(2, false), formation(64, true)] {
            write(&disk, OWN, &written).expect("it works");
            assert_eq!(read(&disk, OWN).expect("it works"), written);
        }
    }

    #[test]
    fn too_many_voters_are_refused() {
        let text = format(OWN, &formation(VOTERS_MAX as u64 + 1, true));
        let problem = parse(text.as_bytes(), OWN).expect_err("one too many");
        assert!(problem.contains("65 voters"), "{problem}");
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let text = format(OWN, &formation(2, true)).into_bytes();
        assert!(parse(&text, OWN).is_ok());
        for position in 0..text.len() {
            for bit in 0..8 {
                let mut damaged = text.clone();
                damaged[position] ^= 1 << bit;
                assert!(parse(&damaged, OWN).is_err(), "byte {position}, bit {bit}");
            }
            assert!(parse(&text[..position], OWN).is_err(), "cut to {position} bytes");
        }
    }

    #[test]
    fn a_copy_from_another_directory_is_refused_with_where_it_is_and_what_to_do() {
        let disk = SimulatedDisk::new();
        write(&disk, DirectoryId(5), &formation(3, true)).expect("it works");
        let message = read(&disk, OWN).expect_err("of another").to_string();
        for words in [FORMATION_FILE, "00000005", "learns from it again"] {
            assert!(message.contains(words), "`{words}` is not in: {message}");
        }
    }

    #[test]
    fn a_power_cut_leaves_what_was_or_what_is() {
        let (old, new) = (formation(2, false), formation(3, true));
        for seed in 0..200 {
            for lasts in 0..3 {
                let mut disk = SimulatedDisk::new();
                write(&disk, OWN, &old).expect("it works");
                disk.fail_sync(lasts);
                let result = write(&disk, OWN, &new);
                disk.crash(seed);
                let found = read(&disk, OWN).expect("whole");
                assert!(found == new || (found == old && result.is_err()), "{seed}: {found:?}");
            }
        }
    }
}
