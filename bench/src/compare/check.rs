//! Whether a comparison can have been measured: one that was read from a file may hold anything.

use super::plan::BLOCKS_MAX;
use super::record::{Comparison, Loads, Run};
use crate::failover::Failover;
use crate::load::{LatencyReport, LoadReport};

/// Nothing that is measured is more, in any unit.
const FIGURE_MAX: f64 = 1e12;

impl Comparison {
    /// Refuses what can not have been measured.
    ///
    /// # Errors
    /// What, and where.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.settings.check().map_err(|error| format!("its settings: {error}"))?;
        figures("took_seconds", [self.took_seconds])?;
        positive("failover_options.limit", self.failover_options.limit_ms())?;
        if self.plan.blocks.len() > BLOCKS_MAX {
            return Err(format!("{} blocks: allowed are {BLOCKS_MAX}", self.plan.blocks.len()));
        }
        for (number, run) in self.runs.iter().enumerate() {
            let Run { block, place, .. } = run;
            if *block >= self.plan.blocks.len() || *place >= 4 {
                return Err(format!("runs[{number}]: there is no place {place} in block {block}"));
            }
            figures("start_ms", [run.start_ms])
                .and_then(|()| loads(&run.loads))
                .and_then(|()| run.failovers.iter().try_for_each(failover))
                .and_then(|()| run.beside_faults.iter().try_for_each(load))
                .map_err(|why| format!("runs[{number}]: {why}"))?;
        }
        for (number, floor) in self.floors.iter().enumerate() {
            load(&floor.echo)
                .and_then(|()| loads(&floor.null))
                .map_err(|why| format!("floors[{number}]: {why}"))?;
        }
        match self.exclusions.iter().find(|left_out| left_out.block > BLOCKS_MAX) {
            Some(left_out) => Err(format!("there is no block {}", left_out.block)),
            None => Ok(()),
        }
    }
}

fn figures(name: &str, values: impl IntoIterator<Item = f64>) -> Result<(), String> {
    match values.into_iter().find(|value| !(0.0..=FIGURE_MAX).contains(value)) {
        Some(value) => Err(format!("{name} can not be {value}")),
        None => Ok(()),
    }
}

fn positive(name: &str, value: f64) -> Result<(), String> {
    if value > 0.0 { figures(name, [value]) } else { Err(format!("{name} can not be {value}")) }
}

fn loads(loads: &Loads) -> Result<(), String> {
    for step in loads.sweep.iter().chain(&loads.paced) {
        positive("a step", step.at)?;
    }
    if let Some(write) = &loads.write {
        figures("cpu_seconds", [write.used.cpu_seconds])?;
    }
    if let Some(watch) = &loads.watch {
        figures("a watch", [watch.seconds, watch.events_per_second])?;
        latency(&watch.latency)?;
        latency(&watch.write_latency)?;
    }
    if let Some(delivery) = loads.mixed.as_ref().and_then(|mixed| mixed.delivery.as_ref()) {
        latency(&delivery.latency)?;
    }
    loads.reports().try_for_each(load)
}

fn load(report: &LoadReport) -> Result<(), String> {
    positive("timeline_step_ms", report.timeline_step_ms)?;
    figures("a load", [report.warmup_ms, report.window_ms, report.per_second])?;
    latency(&report.latency)
}

fn latency(report: &LatencyReport) -> Result<(), String> {
    let LatencyReport { mean_ms, p50_ms, p99_ms, p999_ms, max_ms, curve, samples: _ } = report;
    figures("a latency", [*mean_ms, *p50_ms, *p99_ms, *p999_ms, *max_ms])?;
    figures("a latency", curve.iter().map(|point| point.1))?;
    match curve.iter().find(|point| !(0.0..1.0).contains(&point.0)) {
        Some((share, _)) => Err(format!("a share of all requests can not be {share}")),
        None => Ok(()),
    }
}

fn failover(failover: &Failover) -> Result<(), String> {
    if let Some(outage) = failover.outage_ms {
        positive("outage_ms", outage)?;
    }
    let probes = &failover.probes;
    figures("latency_ms", probes.iter().map(|probe| probe.latency_ms))?;
    figures("intended_ms", probes.iter().map(|probe| probe.intended_ms.abs()))
}
