//! How far the figures can be trusted: the same contender twice, the floors, the disk and the loopback interface.

use super::Report;
use super::cells::ratio_cell;
use super::format::figure;
use super::html::{escape, table};
use crate::compare::{Calibration, Comparison};
use crate::stats::RatioInterval;

const TWICE: &str = "\
<p><b>The same contender twice.</b> Each contender's runs are put into two halves, an early run of one block with a late
run of the next, and the halves are compared as if they were two contenders, by the same rule. In truth they are equal,
so this is what the method makes of no difference: a ratio near 1 in an interval about as wide as that of the comparison.
One interval of twenty misses 1 by chance.</p>\n";

pub(super) fn section(report: &Report) -> String {
    let comparison = &report.comparison;
    let mut text = String::from("<h2>Calibration</h2>\n");
    if !report.analysis.calibration.is_empty() {
        let [a, b] = comparison.names();
        let rows: Vec<Vec<String>> =
            report.analysis.calibration.iter().map(|twice| row(report, twice)).collect();
        let compared = format!("{a} / {b}");
        let head = ["", "the same twice", "n", "what is said of it", &compared];
        text.push_str(TWICE);
        text.push_str(&table(&head, &rows));
    }
    text.push_str(&floors(report));
    text.push_str(&probes(comparison));
    text
}

fn row(report: &Report, twice: &Calibration) -> Vec<String> {
    let Calibration { topic, ratio } = *twice;
    let compared = report.analysis.compared().into_iter().find(|compared| compared.topic == topic);
    vec![
        escape(&topic.name()),
        ratio_cell(Some(ratio)),
        ratio.blocks.to_string(),
        said(&ratio).to_owned(),
        ratio_cell(compared.and_then(|compared| compared.ratio)),
    ]
}

/// What the rule says of no difference.
pub(crate) fn said(ratio: &RatioInterval) -> &'static str {
    if ratio.concludes() { "a difference: a false alarm" } else { "no difference shown" }
}

/// What was measured of the floors: each of them, though the other may be missing.
fn floors(report: &Report) -> String {
    let null = report.comparison.floors.iter().filter_map(|floor| floor.null.write_report());
    // Those that are due at a rate are as many as were asked for.
    let null = null.filter(|_| report.comparison.settings.rate.is_none());
    let null: Vec<f64> = null.map(|writes| writes.per_second).collect();
    let all = |figures: &[f64]| {
        let figures: Vec<String> = figures.iter().map(|&per_second| figure(per_second)).collect();
        format!("{} (n = {}, no interval)", figures.join(" and "), figures.len())
    };
    let echo = &report.analysis.echo_per_second;
    let mut said = Vec::new();
    if !echo.is_empty() {
        said.push(format!("a bare HTTP echo answered {} requests a second", all(echo)));
    }
    if !null.is_empty() {
        said.push(format!(
            "the null protocol, which writes to disk and replicates nothing, {} writes a second",
            all(&null)
        ));
    }
    if said.is_empty() {
        return "<p><b>The floors</b> were not measured: how much of what this machine can do is left is not known.</p>\n"
            .to_owned();
    }
    format!(
        "<p><b>The floors.</b> On this machine {}: no protocol on this stack can do more.</p>\n",
        said.join("; ")
    )
}

/// What the disk and the loopback interface took before and after.
pub(crate) fn probes(comparison: &Comparison) -> String {
    let Comparison { disk_before, disk_after, loopback_before, loopback_after, .. } = comparison;
    let rows = [
        ("fdatasync of a small write, before", disk_before.p50_ms, disk_before.p99_ms),
        ("and after", disk_after.p50_ms, disk_after.p99_ms),
        ("round trip over loopback, before", loopback_before.p50_ms, loopback_before.p99_ms),
        ("and after", loopback_after.p50_ms, loopback_after.p99_ms),
    ];
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, p50, p99)| vec![name.to_owned(), figure(p50), figure(p99)])
        .collect();
    format!(
        "<p><b>The machine</b>, when nothing of this comparison ran: a write that a quorum makes durable takes at least \
         one fdatasync and two round trips.</p>\n{}",
        table(&["", "p50, ms", "p99, ms"], &rows)
    )
}
