//! The machine and the settings, without which no figure means anything.

use std::fmt::Write;

use super::Report;
use super::format::{bytes, count_words, figure};
use super::html::{escape, table};
use crate::compare::{Comparison, Side, phases_text};
use crate::loopback::LoopbackProbe;
use crate::machine::DiskProbe;

pub(super) fn section(report: &Report) -> String {
    format!("<h2>Machine and settings</h2>\n{}", tables(&report.comparison))
}

/// The machine, the settings and the command lines.
pub(crate) fn tables(comparison: &Comparison) -> String {
    let machine = &comparison.machine;
    let (file_system, settings) = (&comparison.file_system, &comparison.settings);
    let disk = |probe: &DiskProbe| {
        format!(
            "p50 {} ms, p99 {} ms ({} writes of {} bytes)",
            figure(probe.p50_ms),
            figure(probe.p99_ms),
            probe.writes,
            probe.write_bytes
        )
    };
    let loopback = |probe: &LoopbackProbe| {
        format!(
            "p50 {} ms, p99 {} ms ({} round trips of {} bytes)",
            figure(probe.p50_ms),
            figure(probe.p99_ms),
            probe.round_trips,
            probe.bytes
        )
    };
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "not known".to_owned());
    let coins: Vec<&str> = comparison.plan.blocks.iter().map(|block| block.letters()).collect();
    let rows = [
        ("cores", machine.cores.to_string()),
        ("processor", machine.cpu.clone()),
        ("frequency governor", or_unknown(machine.frequency_governor.clone())),
        ("memory", bytes(machine.memory_bytes)),
        ("kernel", machine.kernel.clone()),
        ("load average before", or_unknown(machine.load_average.map(|load| load.to_string()))),
        (
            "time given to other machines",
            or_unknown(comparison.stolen_percent.map(|stolen| format!("{stolen:.2} %"))),
        ),
        ("network", "loopback; clients and servers on the same machine".to_owned()),
        ("data directory", file_system.directory.clone()),
        (
            "file system",
            format!(
                "{} on {} at {} ({}; the file system itself: {})",
                file_system.kind,
                file_system.device,
                file_system.mount_point,
                file_system.options,
                file_system.super_options
            ),
        ),
        ("fdatasync before", disk(&comparison.disk_before)),
        ("fdatasync after", disk(&comparison.disk_after)),
        ("loopback before", loopback(&comparison.loopback_before)),
        ("loopback after", loopback(&comparison.loopback_after)),
        (
            "duorum",
            format!(
                "{}, commit {}, {}, Cargo features: {}",
                machine.duorum,
                machine.commit.as_deref().unwrap_or("not known"),
                if machine.optimized { "optimised" } else { "not optimised" },
                match machine.features.is_empty() {
                    true => "none".to_owned(),
                    false => machine.features.join(", "),
                }
            ),
        ),
        ("compiler", machine.rustc.clone()),
        ("command", comparison.command.clone()),
        ("nodes of each cluster", settings.nodes.to_string()),
        ("clients", settings.clients_text()),
        ("each run", format!("a cluster from nothing{}", phases_text(settings))),
        ("values", count_words(settings.value_bytes, "byte")),
        ("keys", format!("{}, {}", figure(settings.keys as f64), settings.key_distribution.name())),
        (
            "due",
            settings.rate.map_or_else(
                || "when the last answer is there".to_owned(),
                |rate| format!("{} a second", figure(rate)),
            ),
        ),
        ("seed", settings.seed.to_string()),
        ("A", comparison.name(Side::A).to_owned()),
        ("B", comparison.name(Side::B).to_owned()),
        ("coins", coins.join(" | ")),
    ];
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(name, value)| vec![name.to_owned(), escape(&value)]).collect();
    format!("<div class=\"manifest\">\n{}</div>\n{}", table(&[], &rows), commands(comparison))
}

/// The command lines of one cluster of each side: their settings, which are otherwise the
/// defaults.
fn commands(comparison: &Comparison) -> String {
    let mut text = String::from("<details><summary>How the nodes were started</summary>\n");
    for side in Side::BOTH {
        if let Some(run) = comparison.all_runs_of(side).next() {
            for command in &run.commands {
                let _ = writeln!(text, "<p><code>{}</code></p>", escape(command));
            }
        }
    }
    text.push_str(
        "<p>All other settings are the defaults, which both sides share. The nodes' \
         environment was cleared of settings.</p>\n</details>\n",
    );
    text
}
