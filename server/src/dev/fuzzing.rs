//! What may be typed while the nodes run, given any text.

use super::command::parse;
use super::config::DevConfig;

/// A line.
pub fn command(bytes: &[u8]) {
    let Ok(line) = str::from_utf8(bytes) else { return };
    for protocol in ["both", "zab"] {
        let config = DevConfig::new(protocol, 3, 7000, None).expect("the defaults are allowed");
        let _ = parse(line, &config);
    }
}
