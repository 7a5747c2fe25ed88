//! What is said on a snapshot's connection, read from any bytes.

use consensus::codec::check_decoding;

use super::wire::Part;

/// A part of a snapshot.
pub fn part(bytes: &[u8]) {
    check_decoding::<Part>(bytes);
}
