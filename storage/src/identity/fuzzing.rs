//! The identity file, given any text. Only for the crate `fuzz`.

use super::{format, parse};

/// Reads bytes as an identity file, and again with the checksum that they should have.
///
/// # Panics
/// If they are one and do not come out again.
pub fn file(bytes: &[u8]) {
    let checksum = format!("checksum = {:08x}\n", crc32fast::hash(bytes));
    for bytes in [bytes, &[bytes, checksum.as_bytes()].concat()] {
        let Ok((identity, directory)) = parse(bytes) else { continue };
        let text = format(&identity, directory);
        assert_eq!(parse(text.as_bytes()), Ok((identity, directory)), "it survives being written");
    }
}
