//! How the page begins: what was found, and what a reader must know before believing it.

use std::fmt::Write;
use std::time::Duration;

use super::format::{count_words, seconds, utc};
use super::html::{capitalized, escape};
use super::marks::class_of;
use super::{Report, answer, warnings};
use crate::compare::{Compared, Comparison, CurveKind, Measure, Topic};

/// Whether the page opens with it. What is said of the median as well is said of the tail.
fn is_headline(topic: Topic) -> bool {
    match topic {
        Topic::Measure(measure) => matches!(
            measure,
            Measure::WriteThroughput
                | Measure::WriteLatencyP99
                | Measure::ReadThroughput
                | Measure::Failover
                | Measure::MixedThroughput
                | Measure::MixedLatencyP99
                | Measure::DeliveryP99
                | Measure::WatchLatencyP99
        ),
        Topic::Curve(kind) => kind != CurveKind::PacedP50,
        Topic::Fault(_) => true,
    }
}

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
    for compared in report.analysis.compared().iter().filter(|one| is_headline(one.topic)) {
        text.push_str(&headline(compared, comparison.names()));
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

fn headline(compared: &Compared, names: [&str; 2]) -> String {
    let Compared { topic, medians, ratio, .. } = *compared;
    let class = ratio.and_then(|ratio| topic.winner(ratio)).map_or("open", class_of);
    let [a, b] = names.map(escape);
    let medians = medians.map_or_else(String::new, |medians| {
        let [of_a, of_b] = medians.map(|median| topic.with_unit(median));
        format!("<span>{a} {of_a}, {b} {of_b}</span>")
    });
    let interval = ratio.map_or_else(String::new, |ratio| {
        let n = ratio.blocks;
        let [ratio, low, high] = ratio.texts();
        format!("<span>{a} / {b} {ratio}, 95 % interval {low} to {high}, n = {n}</span>")
    });
    format!(
        "<div class=\"finding {class}\">{}<strong>{}</strong>{medians}{interval}</div>\n",
        escape(&capitalized(&topic.name())),
        escape(&compared.verdict(names)),
    )
}

pub(super) fn title(comparison: &Comparison) -> String {
    let [a, b] = comparison.names();
    format!("{a} and {b} on the same stack")
}
