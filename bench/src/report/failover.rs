//! How long no write was acknowledged after the leader was killed.

use super::Report;
use super::format::figure;
use super::marks::{class_of, drawing, gallery, labelled, mark_of};
use super::svg::{Plot, Scale};
use crate::cluster::Fault;
use crate::compare::{Comparison, Side};
use crate::failover::Probe;
use crate::stats::{extent, median};

pub(super) fn section(report: &Report) -> String {
    let comparison = &report.comparison;
    let mut drawings = vec![drawing(
        "Outage after SIGKILL of the leader",
        "Every kill is one mark.",
        outages(comparison),
    )];
    for side in Side::BOTH {
        drawings.push(drawing(
            &format!("Writes through the kills: {}", comparison.name(side)),
            "Paced writes to the surviving nodes; latency from the intended moment. \
             Crosses are errors.",
            probes(comparison, side),
        ));
    }
    gallery("When the leader is killed", drawings)
}

/// The outages of both sides, sorted.
fn outages(comparison: &Comparison) -> Option<String> {
    let options = &comparison.failover_options;
    let sorted = |side| {
        let failovers = comparison.failovers_of(side, Fault::Kill);
        let mut outages: Vec<f64> =
            failovers.map(|failover| failover.outage_at_least_ms(options)).collect();
        outages.sort_by(f64::total_cmp);
        outages
    };
    let curves = Side::BOTH.map(|side| (side, sorted(side)));
    let all: Vec<f64> = curves.iter().flat_map(|(_, outages)| outages.iter().copied()).collect();
    let (smallest, largest) = extent(&all)?;
    let x = if largest > 10.0 * median(&all)? {
        Scale::logarithmic(smallest.max(1.0) * 0.8, largest * 1.1)
    } else {
        Scale::linear(0.0, largest * 1.08)
    };
    let mut plot = Plot::new(x, Scale::linear(0.0, 100.0));
    plot.x_axis("from SIGKILL of the leader to the next acknowledged write, ms", &labelled(x));
    let shares = [0.0, 25.0, 50.0, 75.0, 100.0];
    plot.y_axis(
        "kills that were over by then, %",
        &shares.map(|share| (share, format!("{share:.0}"))),
    );
    for (side, outages) in &curves {
        let step = 100.0 / outages.len() as f64;
        let mut line = Vec::new();
        for (place, &outage) in outages.iter().enumerate() {
            line.push((outage, place as f64 * step));
            line.push((outage, (place + 1) as f64 * step));
        }
        plot.line(&line, class_of(*side));
        for (place, &outage) in outages.iter().enumerate() {
            let name = comparison.name(*side);
            let text = format!("{name}: {} ms", options.outage_text(outage, figure));
            let y = (place as f64 + 0.5) * step;
            plot.mark((outage, y), mark_of(*side), class_of(*side), &text);
        }
    }
    Some(plot.finish("Distribution of the outages after the leader was killed"))
}

/// What the paced writes saw around the faults of one side.
fn probes(comparison: &Comparison, side: Side) -> Option<String> {
    let probes = || {
        let sides = Side::BOTH.into_iter();
        let failovers = sides.flat_map(|side| comparison.failovers_of(side, Fault::Kill));
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
        let failovers = comparison.failovers_of(side, Fault::Kill);
        failovers.flat_map(|failover| &failover.probes)
    };
    let place = |probe: &Probe| (probe.intended_ms, probe.latency_ms);
    plot.cloud(mine().filter(|probe| probe.error.is_none()).map(place), class_of(side));
    plot.crosses(mine().filter(|probe| probe.error.is_some()).map(place), "failed");
    mine().next()?;
    let name = comparison.name(side);
    Some(plot.finish(&format!("Latency of paced writes around the kills of leaders: {name}")))
}
