//! One target, chosen by the environment, under libFuzzer. `../README.md` has the commands.

#![no_main]

use std::sync::OnceLock;

use fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

/// The target that `DUORUM_FUZZ_TARGET` names.
fn target() -> &'static Target {
    static CHOSEN: OnceLock<&'static Target> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let name = std::env::var("DUORUM_FUZZ_TARGET").unwrap_or_default();
        let known = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
        let chosen = TARGETS.iter().find(|target| target.name == name);
        chosen.unwrap_or_else(|| panic!("DUORUM_FUZZ_TARGET is `{name}`; allowed: {}", known()))
    })
}

fuzz_target!(|input: &[u8]| fuzz::check(target(), input));
