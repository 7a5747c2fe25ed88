//! Comparisons of some parts alone, with made-up figures.

use std::collections::BTreeMap;
use std::mem;

use bench::cluster::Fault;
use bench::compare::{Comparison, Loads, Part, Placement, Side};
use bench::watch::{Told, WatchReport};
use consensus::Random;

use crate::sample;

/// Six blocks of these parts alone, and of these faults if failover is among them, in which Raft is better by this
/// factor.
pub(crate) fn only(parts: &[Part], faults: &[Fault], factor: f64) -> Comparison {
    let mut comparison = sample::comparison(6, factor);
    comparison.settings.parts = parts.iter().copied().collect();
    comparison.settings.faults = faults.to_vec();
    let is_measured = |part| parts.contains(&part);
    let mut random = Random::new(5);
    for run in &mut comparison.runs {
        let factor = if run.side == Side::A { factor } else { 1.0 };
        let whole = mem::take(&mut run.loads);
        let [sweep, paced] = sample::steps(factor, &mut random);
        run.loads = Loads {
            fill: None,
            write: whole.write.filter(|_| is_measured(Part::Writes)),
            read: whole.read.clone().filter(|_| is_measured(Part::Reads)),
            mixed: is_measured(Part::Mixed).then(|| sample::mixed(factor, &mut random)),
            watch: is_measured(Part::Watch).then(|| watched(factor, &mut random)),
            sweep: if is_measured(Part::Sweep) { sweep } else { Vec::new() },
            paced: if is_measured(Part::Paced) { paced } else { Vec::new() },
        };
        let kills = mem::take(&mut run.failovers);
        for &fault in faults.iter().filter(|_| is_measured(Part::Failover)) {
            run.failovers.extend(kills.iter().cloned().map(|mut failover| {
                failover.fault = fault;
                failover
            }));
        }
    }
    for floor in &mut comparison.floors {
        floor.null.write = floor.null.write.take().filter(|_| is_measured(Part::Writes));
        floor.null.read = floor.null.read.take().filter(|_| is_measured(Part::Reads));
    }
    comparison
}

/// Many watchers of one key.
fn watched(factor: f64, random: &mut Random) -> WatchReport {
    let latency = sample::mixed(factor, random).report.latency;
    WatchReport {
        seconds: 1.8,
        acknowledged: 90,
        unknown_outcomes: 0,
        errors: BTreeMap::new(),
        write_latency: latency.clone(),
        told: Told { events: 9_000, ..Told::default() },
        events_due: 9_000,
        events_per_second: 5_000.0,
        latency,
        client_cores: 0.1,
        server_cores: 0.2,
        nodes: Vec::new(),
    }
}

/// Six blocks of a mixed load alone.
pub(crate) fn mixed_comparison(factor: f64) -> Comparison {
    let mut comparison = sample::comparison(6, 1.0);
    comparison.settings = comparison.settings.only([Part::Mixed].into());
    comparison.settings.mixed.watchers = 2;
    comparison.settings.placement = Placement::Leader;
    comparison.settings.rate = Some(5_000.0);
    let mut random = consensus::Random::new(6);
    for run in &mut comparison.runs {
        let factor = if run.side == Side::A { factor } else { 1.0 };
        let mixed = sample::mixed(factor, &mut random);
        run.loads = Loads { mixed: Some(mixed), ..Loads::default() };
        run.failovers.clear();
    }
    comparison
}
