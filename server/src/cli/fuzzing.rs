//! The command line's own parsers, given any text.

use super::client::parse_endpoint;

/// `--endpoint`.
pub fn endpoint(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(address) = parse_endpoint(text) else { return };
    let again = parse_endpoint(&address).ok();
    assert_eq!(again.as_deref(), Some(&address[..]), "an address is an endpoint, too");
}
