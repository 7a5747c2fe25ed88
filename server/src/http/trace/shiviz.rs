//! A trace as a log for ShiViz.
//!
//! The first line of such a file is the regular expression that takes each entry apart, the second the
//! separator of several executions, of which there is none here; the rest is the log. Each entry has
//! its host and that host's vector clock, which counts the host's own entries from 1 without a gap.

use std::fmt::Write as _;

use super::Shown;

/// Takes an entry apart.
const PARSER: &str = r"(?<host>\S+) (?<clock>\{[^}]*\}) (?<time>\S+) ms (?<event>.*)";

/// The whole log.
pub(super) fn write(shown: &Shown<'_>) -> String {
    let mut out = format!("{PARSER}\n\n");
    for (placed, at_ms) in shown.placed.iter().zip(shown.since_first()) {
        let clock: Vec<String> =
            placed.clock.iter().map(|(node, count)| format!("\"{node}\":{count}")).collect();
        let text = placed.record.line().replace(['\n', '\r'], " ");
        let (node, clock) = (placed.node, clock.join(","));
        writeln!(out, "{node} {{{clock}}} {at_ms:.3} ms {text}")
            .expect("a string takes everything written to it");
    }
    out
}
