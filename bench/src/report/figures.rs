//! The figures as tables.

use super::Report;
use super::cells::{NONE, ratio_cell, spread_cell};
use super::html::{escape, table};
use crate::compare::Finding;

pub(super) fn section(report: &Report) -> String {
    let row = |finding: &Finding| {
        vec![
            escape(&finding.measure.heading()),
            spread_cell(&finding.a),
            spread_cell(&finding.b),
            ratio_cell(finding.ratio),
            finding.blocks.len().to_string(),
            finding.null.as_ref().map_or_else(|| NONE.to_owned(), spread_cell),
            escape(&finding.verdict),
        ]
    };
    let rows = |costs: bool| -> Vec<Vec<String>> {
        let findings = report.analysis.findings.iter();
        findings.filter(|finding| finding.measure.is_cost() == costs).map(row).collect()
    };
    let [a, b] = report.comparison.names().map(escape);
    let ratio = format!("{a} / {b}");
    let head = ["", &a, &b, &ratio, "n", "null, 1 node", "what may be said"];
    let part = |text: &str, rows: Vec<Vec<String>>| match rows.is_empty() {
        true => String::new(),
        false => format!("{text}{}", table(&head, &rows)),
    };
    part(
        "<h2>Figures</h2>\n<p>Medians over n blocks, below them the smallest and the largest block, which from six \
         blocks on hold the true median between them with more than 95 % confidence; the ratio with its 95 % interval. \
         The null protocol does not replicate: the distance to it is the price of replication. It is measured twice, \
         before and after (n = 2), which makes no interval: below it are both figures.</p>\n",
        rows(false),
    ) + &part(
        "<h2>What a write costs</h2>\n<p>Of all nodes together, from their own counters: what \
         explains the figures above. A frame can carry many messages, and one fdatasync can make \
         many writes durable; the more there is to do at once, the more are carried together.</p>\n",
        rows(true),
    )
}
