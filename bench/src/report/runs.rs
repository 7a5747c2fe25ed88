//! Every run, what was left out, and what failed.

use std::fmt::Write;

use super::Report;
use super::format::{bytes, figure};
use super::html::{escape, table};
use crate::cluster::Fault;
use crate::compare::{Comparison, Exclusion, Run};
use crate::failover::Failover;
use crate::load::LatencyReport;

pub(super) fn section(report: &Report) -> String {
    let comparison = &report.comparison;
    let mut text = String::from("<h2>Runs</h2>\n");
    text.push_str(&runs_table(comparison));
    text.push_str("<h3>Left out</h3>\n");
    if report.analysis.exclusions.is_empty() {
        text.push_str("<p>Nothing.</p>\n");
    } else {
        text.push_str("<ul>\n");
        for exclusion in Exclusion::texts(&report.analysis.exclusions) {
            let _ = writeln!(text, "<li>{}</li>", escape(&exclusion));
        }
        text.push_str("</ul>\n");
    }
    text.push_str("<h3>Errors under load, warm-ups included</h3>\n<ul>\n");
    for (protocol, errors) in &report.analysis.errors {
        let list: Vec<String> =
            errors.iter().map(|(name, count)| format!("{name} × {count}")).collect();
        let list = if list.is_empty() { "none".to_owned() } else { list.join(", ") };
        let _ = writeln!(text, "<li>{}: {}</li>", escape(protocol), escape(&list));
    }
    text.push_str(
        "</ul>\n<p class=\"quiet\">Everything measured is in the <code>report.json</code> that this page was made \
         of: each run's percentiles, timelines, probes and the nodes' own status.</p>\n",
    );
    text
}

fn runs_table(comparison: &Comparison) -> String {
    let or_none = |figure: Option<String>| figure.unwrap_or_else(|| "–".to_owned());
    let row = |run: &Run| {
        let (write, read) = (run.loads.write_report(), run.loads.read.as_ref());
        let errors = run.loads.errors().chain(run.errors_beside_faults());
        let errors: u64 = errors.map(|(_, count)| count).sum();
        let outage = |failover: &Failover| {
            let outage = failover.outage_ms;
            let outage = outage.map_or_else(|| "never".to_owned(), |outage| format!("{outage:.0}"));
            match failover.fault {
                Fault::Kill => outage,
                fault => format!("{} {outage}", fault.name()),
            }
        };
        let outages: Vec<String> = run.failovers.iter().map(outage).collect();
        let latency = |of: fn(&LatencyReport) -> f64| {
            or_none(write.map(|report| figure(of(&report.latency))))
        };
        let used = run.loads.write.as_ref().map(|write| write.used.memory_peak_bytes_max);
        vec![
            format!("{}.{} {}", run.block + 1, run.place + 1, escape(comparison.name(run.side))),
            format!("{:.0}", run.start_ms),
            or_none(write.map(|report| figure(report.per_second))),
            latency(|latency| latency.p50_ms),
            latency(|latency| latency.p99_ms),
            latency(|latency| latency.p999_ms),
            latency(|latency| latency.max_ms),
            or_none(read.map(|report| figure(report.per_second))),
            or_none((!outages.is_empty()).then(|| outages.join(", "))),
            or_none(used.map(bytes)),
            errors.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = comparison.runs.iter().map(row).collect();
    let head = [
        "block.run",
        "start ms",
        "writes/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "reads/s",
        "outages ms",
        "largest node",
        "errors",
    ];
    table(&head, &rows)
}
