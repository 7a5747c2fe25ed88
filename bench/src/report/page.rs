//! The page of a comparison: a list of sections, each in a file of its own.

use super::html::document;
use super::{
    Report, calibration, exact, failover, figures, latency, manifest, method, opening, runs,
    systems, throughput, timelines,
};

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
    let body: String = SECTIONS.iter().map(|section| section(report)).collect();
    document(&opening::title(&report.comparison), &body)
}
