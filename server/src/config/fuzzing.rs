//! The configuration, given any text.

use super::{ServeConfig, ServeFlags, parse_cluster};

/// `--cluster`.
pub fn cluster(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(members) = parse_cluster(text) else { return };
    let listed = members.iter().map(|(id, member)| {
        let role = if member.observes { "/observer" } else { "" };
        format!("{}={}{role}", id.0, member.address)
    });
    let again = parse_cluster(&listed.collect::<Vec<_>>().join(","));
    assert_eq!(again.expect("it was one"), members, "a cluster survives being listed");
}

/// The file of `--config`.
pub fn config_file(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(flags) = toml::from_str::<ServeFlags>(text) else { return };
    // Names of hosts are not looked up, and no other file is read.
    let flags = ServeFlags { config: None, http: None, peer: None, cluster: None, ..flags };
    if let Ok(config) = ServeConfig::from_flags(flags) {
        let _ = config.warnings();
    }
}
