//! How far the figures can be trusted: the same contender twice, the floors, the disk and the loopback interface.

use super::Report;
use super::format::figure;
use super::html::{escape, table};
use crate::compare::{Calibration, Comparison};
use crate::stats::median;

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
    let Calibration { measure, ratio } = twice;
    let interval = |ratio: &crate::stats::RatioInterval| {
        format!("{:.2}<small>{:.2} – {:.2}</small>", ratio.ratio, ratio.low, ratio.high)
    };
    let compared = report.analysis.finding(*measure).and_then(|finding| finding.ratio);
    let said =
        if ratio.concludes() { "a difference: a false alarm" } else { "no difference shown" };
    vec![
        escape(measure.name()),
        interval(ratio),
        ratio.blocks.to_string(),
        said.to_owned(),
        compared.as_ref().map_or_else(|| "–".to_owned(), interval),
    ]
}

fn floors(report: &Report) -> String {
    let null = report.comparison.floors.iter().filter_map(|floor| floor.null.write_report());
    let null: Vec<f64> = null.map(|writes| writes.per_second).collect();
    let (Some(echo), Some(null)) = (median(&report.analysis.echo_per_second), median(&null)) else {
        return String::new();
    };
    format!(
        "<p><b>The floors.</b> A bare HTTP echo answered {} requests a second, the null protocol, which writes to disk \
         and replicates nothing, {} writes: no protocol on this stack and this machine can do more.</p>\n",
        figure(echo),
        figure(null)
    )
}

fn probes(comparison: &Comparison) -> String {
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
