//! The page of a comparison: a list of sections, each in a file of its own.

use super::html::escape;
use super::{
    Report, calibration, exact, failover, figures, latency, manifest, method, opening, runs,
    systems, throughput, timelines,
};

const STYLE: &str = include_str!("style.css");

/// What the page is made of, in this order. A section about something that was not measured is empty.
const SECTIONS: &[fn(&Report) -> String] = &[
    opening::section,
    figures::section,
    throughput::section,
    latency::section,
    failover::section,
    timelines::section,
    systems::section,
    exact::section,
    calibration::section,
    method::section,
    manifest::section,
    runs::section,
];

pub(super) fn page(report: &Report) -> String {
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(&opening::title(&report.comparison))
    );
    for section in SECTIONS {
        text.push_str(&section(report));
    }
    text.push_str("</main>\n</body>\n</html>\n");
    text
}
