//! How the page begins: what was found, and what a reader must know before believing it.

use std::fmt::Write;
use std::time::Duration;

use super::format::{count_words, seconds, utc};
use super::html::{capitalized, escape};
use super::{Report, answer, warnings};
use crate::compare::{Better, Comparison, Finding, Measure};

/// The measures that the page opens with.
const HEADLINES: [Measure; 8] = [
    Measure::WriteThroughput,
    Measure::WriteLatencyP99,
    Measure::ReadThroughput,
    Measure::Failover,
    Measure::MixedThroughput,
    Measure::MixedLatencyP99,
    Measure::DeliveryP99,
    Measure::WatchLatencyP99,
];

pub(super) fn section(report: &Report) -> String {
    let comparison = &report.comparison;
    let mut text = format!(
        "<h1>{}</h1>\n<p class=\"when\">{} · {} · {} of 4 runs</p>\n",
        escape(&title(comparison)),
        utc(comparison.began_at_seconds),
        seconds(Duration::from_secs_f64(comparison.took_seconds.round())),
        count_words(comparison.plan.blocks.len(), "block"),
    );
    let answer = answer::sentences(comparison, &report.analysis).join(" ");
    let _ = writeln!(text, "<p class=\"answer\">{}</p>", escape(&answer));
    text.push_str("<div class=\"findings\">\n");
    for finding in HEADLINES.iter().filter_map(|&measure| report.analysis.finding(measure)) {
        text.push_str(&headline(finding, comparison.names()));
    }
    let [a, b] = comparison.names().map(escape);
    let _ = writeln!(
        text,
        "</div>\n<p class=\"keys\"><span><i class=\"key a\"></i>{a}</span>\
         <span><i class=\"key b\"></i>{b}</span>\
         <span><i class=\"key open\"></i>neither</span></p>"
    );
    let _ = writeln!(
        text,
        "<p>What this does not say: clients and servers shared {} of one machine and talked over \
         loopback, so the network costs nothing and everybody competes for the processor. The \
         ratios compare the protocols on equal terms; the absolute figures are this machine's. \
         Where the interval contains 1, no winner is named.</p>",
        count_words(comparison.machine.cores, "core")
    );
    for warning in warnings(comparison) {
        let _ = writeln!(text, "<p class=\"warning\">{}</p>", escape(&warning));
    }
    text
}

fn headline(finding: &Finding, [a, b]: [&str; 2]) -> String {
    let measure = finding.measure;
    let class = match finding.ratio {
        Some(ratio) if ratio.concludes() => {
            let a_wins = (ratio.ratio > 1.0) == (measure.better() == Better::Higher);
            if a_wins { "a" } else { "b" }
        }
        _ => "open",
    };
    let interval = finding.ratio.map_or_else(String::new, |ratio| {
        format!(
            "<span>{} / {} {:.2}, 95 % interval {:.2} to {:.2}, n = {}</span>",
            escape(a),
            escape(b),
            ratio.ratio,
            ratio.low,
            ratio.high,
            ratio.blocks
        )
    });
    format!(
        "<div class=\"finding {class}\">{}<strong>{}</strong>\
         <span>{} {}, {} {}</span>{interval}</div>\n",
        capitalized(measure.name()),
        escape(&finding.verdict),
        escape(a),
        measure.with_unit(finding.a.median),
        escape(b),
        measure.with_unit(finding.b.median),
    )
}

pub(super) fn title(comparison: &Comparison) -> String {
    let [a, b] = comparison.names();
    format!("{a} and {b} on the same stack")
}
