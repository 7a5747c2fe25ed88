//! The formation file, given any text. Only for the crate `fuzz`.

use super::file::{FORMATION_FILE, read, write};
use crate::SimulatedDisk;
use crate::identity::DirectoryId;

/// Reads bytes as a formation file, and again with the checksum that they should have.
///
/// # Panics
/// If they are one and do not come out again.
pub fn file(bytes: &[u8]) {
    let own = DirectoryId(7);
    let checksum = format!("checksum = {:08x}\n", crc32fast::hash(bytes));
    for bytes in [bytes, &[bytes, checksum.as_bytes()].concat()] {
        let disk = SimulatedDisk::new();
        disk.put(FORMATION_FILE, bytes);
        let Ok(formation) = read(&disk, own) else { continue };
        write(&disk, own, &formation).expect("the disk works");
        assert_eq!(read(&disk, own).ok(), Some(formation), "it survives being written");
    }
}
