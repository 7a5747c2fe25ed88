//! How long no write was acknowledged after each kind of fault, and what clients saw of kills.

use super::Report;
use super::format::{count_words, figure};
use super::marks::{class_of, drawing, gallery, labelled, mark_of};
use super::svg::{Plot, Scale};
use super::tails::{self, Tail};
use crate::cluster::Fault;
use crate::compare::{FaultFinding, Side};
use crate::failover::Probe;

pub(super) fn section(report: &Report) -> String {
    let comparison = &report.comparison;
    let mut drawings: Vec<Option<String>> = Vec::new();
    let [a, b] = comparison.names();
    for FaultFinding { fault, .. } in &report.analysis.faults {
        let [of_a, of_b] = Side::BOTH.map(|side| report.valid_failovers_of(side, *fault).count());
        let caption = format!(
            "The share of {} of {a} and {} of {b} that lasted longer, on a logarithmic axis. Each is one mark, and so has \
             no interval; the table below has that of the median.",
            count_words(of_a, "outage"),
            of_b
        );
        let title = format!("Outage: {}", fault.what());
        drawings.push(drawing(&title, &caption, outages(report, *fault)));
    }
    for side in Side::BOTH {
        drawings.push(drawing(
            &format!("Writes through the kills: {}", comparison.name(side)),
            "Paced writes to the surviving nodes; latency from the intended moment. \
             Crosses are errors.",
            probes(report, side),
        ));
    }
    gallery("Outages", drawings)
}

/// The outages of both sides by their tails, each one marked.
fn outages(report: &Report, fault: Fault) -> Option<String> {
    let options = report.comparison.failover_options.with_fault(fault);
    let tail = |side| {
        let failovers = report.valid_failovers_of(side, fault);
        let outages = failovers.map(|failover| failover.outage_at_least_ms(&options));
        Tail::of_times(side, report.comparison.name(side), outages.collect())
    };
    let tails = Side::BOTH.map(tail);
    let mut plot = tails::board("outage, ms", &tails)?;
    for tail in &tails {
        for &(outage, share) in &tail.line {
            let text = format!("{}: {} ms", tail.name, options.outage_text(outage, figure));
            plot.mark((outage, share), mark_of(tail.side), class_of(tail.side), &text);
        }
    }
    Some(plot.finish(&format!("The share of outages that lasted longer: {}", fault.what())))
}

/// What the paced writes saw around the faults of one side.
fn probes(report: &Report, side: Side) -> Option<String> {
    let probes = || {
        let sides = Side::BOTH.into_iter();
        let failovers = sides.flat_map(|side| report.valid_failovers_of(side, Fault::Kill));
        failovers.flat_map(|failover| &failover.probes)
    };
    // Both panels have the same axes, so that they can be compared by eye.
    let first = probes().map(|probe| probe.intended_ms).reduce(f64::min)?;
    let last = probes().map(|probe| probe.intended_ms).reduce(f64::max)?.max(first + 1.0);
    let slowest = probes().map(|probe| probe.latency_ms).reduce(f64::max)?;
    let x = Scale::linear(first, last);
    let y = Scale::logarithmic(0.1, (slowest * 1.2).max(1.0));
    let mut plot = Plot::new(x, y);
    plot.x_axis("when the write was to be sent, ms after SIGKILL", &labelled(x));
    plot.y_axis("latency from then, ms", &labelled(y));
    plot.rule(0.0, "equal");
    let mine = || {
        let failovers = report.valid_failovers_of(side, Fault::Kill);
        failovers.flat_map(|failover| &failover.probes)
    };
    let place = |probe: &Probe| (probe.intended_ms, probe.latency_ms);
    plot.cloud(mine().filter(|probe| probe.error.is_none()).map(place), class_of(side));
    plot.crosses(mine().filter(|probe| probe.error.is_some()).map(place), "failed");
    mine().next()?;
    let name = report.comparison.name(side);
    Some(plot.finish(&format!("Latency of paced writes around the kills of leaders: {name}")))
}
