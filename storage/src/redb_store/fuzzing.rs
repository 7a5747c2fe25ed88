//! The values of the store's tables, read from any bytes. Only for the crate `fuzz`.

use kvcore::store::{Revision, RowId};

use super::encoding::{decode_row, decode_state, encode_row, encode_state};
use crate::identity::DirectoryId;

/// Reads bytes as a row.
///
/// # Panics
/// If they are one and do not come out again.
pub fn row(bytes: &[u8]) {
    let id = RowId { revision: Revision(1), place: 0 };
    let Ok(row) = decode_row(id, bytes, "store-0.redb") else { return };
    let mut encoded = Vec::new();
    encode_row(&row, &mut encoded);
    assert_eq!(encoded, bytes, "a row has one form");
}

/// Reads bytes as a state, of whichever data directory they say.
///
/// # Panics
/// If they are one and do not come out again, in the present format.
pub fn state(bytes: &[u8]) {
    let directory = bytes.get(4..).and_then(|rest| rest.first_chunk());
    let directory = DirectoryId(directory.map_or(0, |chunk| u128::from_le_bytes(*chunk)));
    let Ok(state) = decode_state(bytes, directory) else { return };
    let encoded = encode_state(&state, directory);
    let is_same = encoded[4..] == bytes[4..];
    assert!(is_same || encoded.len() > bytes.len(), "a state has one form in each format");
    assert_eq!(decode_state(&encoded, directory), Ok(state), "what is written is read");
}
