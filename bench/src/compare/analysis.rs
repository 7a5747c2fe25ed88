//! From the runs to what may be concluded.

use std::collections::{BTreeMap, BTreeSet};

use consensus::Protocol;
use serde::{Deserialize, Serialize};

use super::calibration::{self, Calibration};
use super::contender::Side;
use super::curves::{self, Curve};
use super::faults::{self, FaultFinding};
use super::measures::{Better, Measure};
use super::record::{Comparison, Exclusion, Loads, Run};
use crate::load::LoadReport;
use crate::stats::{BLOCKS_TO_CONCLUDE, RESAMPLES, RatioInterval, extent, median, paired_ratio};

/// What the comparison found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// One finding for each measure that both sides have figures for.
    pub findings: Vec<Finding>,
    /// What was measured in steps.
    #[serde(default)]
    pub curves: Vec<Curve>,
    /// What the faults came to, kind by kind.
    #[serde(default)]
    pub faults: Vec<FaultFinding>,
    /// Each contender against itself: what the method makes of no difference.
    pub calibration: Vec<Calibration>,
    /// Blocks that a measure had to leave out.
    pub exclusions: Vec<Exclusion>,
    /// Failed requests of both sides and of the null protocol, warm-ups included.
    pub errors: Vec<(String, BTreeMap<String, u64>)>,
    /// The echo's requests a second, in the order of the floors.
    pub echo_per_second: Vec<f64>,
}

/// One measure of both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The measure.
    pub measure: Measure,
    /// The first over the blocks.
    pub a: Spread,
    /// The second over the blocks.
    pub b: Spread,
    /// The null protocol on one node.
    pub null: Option<Spread>,
    /// The block's number, the first's figure and the second's.
    pub blocks: Vec<(usize, f64, f64)>,
    /// The first over the second; `None` for fewer than two blocks.
    pub ratio: Option<RatioInterval>,
    /// What may be said about it.
    pub verdict: String,
}

/// The median of some figures and their extremes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let (min, max) = extent(values)?;
        Some(Self { median: median(values)?, min, max })
    }
}

impl Analysis {
    /// Analyses a comparison.
    #[must_use]
    pub fn of(comparison: &Comparison) -> Self {
        let mut exclusions = comparison.exclusions.clone();
        let mut valid = BTreeSet::new();
        for block in 0..comparison.plan.blocks.len() {
            let broken = comparison.broken(block);
            if broken.is_empty() {
                valid.insert(block);
            } else {
                exclusions.push(Exclusion { block, reason: broken.join("; ") });
            }
            let runs = comparison.runs.iter().filter(|run| run.block == block);
            let not_sent: u64 = runs.map(|run| run.loads.not_sent()).sum();
            if not_sent > 0 {
                let reason = format!(
                    "{not_sent} requests that were due could not be sent, so latencies would be too good"
                );
                exclusions.push(Exclusion { block, reason });
            }
        }
        let findings = Measure::ALL
            .into_iter()
            .filter_map(|measure| finding(comparison, measure, &valid, &mut exclusions))
            .collect();
        let loads_of = |side| comparison.all_runs_of(side).map(|run| &run.loads);
        let mut errors: Vec<_> = Side::BOTH
            .into_iter()
            .map(|side| (comparison.name(side).to_owned(), errors_of(loads_of(side))))
            .collect();
        let null = errors_of(comparison.floors.iter().map(|floor| &floor.null));
        errors.push((Protocol::Null.to_string(), null));
        Self {
            findings,
            curves: curves::of(comparison),
            faults: faults::findings(comparison),
            calibration: calibration::of(comparison, &valid),
            exclusions,
            errors,
            echo_per_second: comparison.floors.iter().map(|floor| floor.echo.per_second).collect(),
        }
    }

    /// The finding about one measure.
    #[must_use]
    pub fn finding(&self, measure: Measure) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.measure == measure)
    }
}

/// Counts what failed under load. Failed probes of a killed leader are the outage itself and are
/// reported there.
fn errors_of<'a>(loads: impl Iterator<Item = &'a Loads>) -> BTreeMap<String, u64> {
    let mut errors = BTreeMap::new();
    for report in loads.flat_map(Loads::reports) {
        add_errors(&mut errors, report);
    }
    errors
}

/// Adds what failed, and reads that found no key: every key was written before, so that is a fault.
fn add_errors(sum: &mut BTreeMap<String, u64>, report: &LoadReport) {
    for (name, count) in &report.errors {
        *sum.entry(name.clone()).or_default() += count;
    }
    if report.not_found > 0 {
        *sum.entry("not_found".to_owned()).or_default() += report.not_found;
    }
}

fn finding(
    comparison: &Comparison,
    measure: Measure,
    valid: &BTreeSet<usize>,
    exclusions: &mut Vec<Exclusion>,
) -> Option<Finding> {
    let mut blocks = Vec::new();
    for &block in valid {
        let figure = |side| {
            let runs: Vec<&Run> = comparison.runs_of(side, block).collect();
            // Half a block is not balanced, so it does not count.
            (runs.len() == 2)
                .then(|| measure.of_block(&runs, &comparison.failover_options))
                .flatten()
        };
        match (figure(Side::A), figure(Side::B)) {
            (Some(a), Some(b)) => blocks.push((block, a, b)),
            (None, None) => {}
            _ => exclusions.push(Exclusion {
                block,
                reason: format!("{}: one side has no figure", measure.name()),
            }),
        }
    }
    let a: Vec<f64> = blocks.iter().map(|&(_, a, _)| a).collect();
    let b: Vec<f64> = blocks.iter().map(|&(_, _, b)| b).collect();
    let floors: Vec<f64> =
        comparison.floors.iter().filter_map(|floor| measure.of_floor(floor)).collect();
    let pairs: Vec<(f64, f64)> = blocks.iter().map(|&(_, a, b)| (a, b)).collect();
    let ratio = paired_ratio(&pairs, RESAMPLES, comparison.settings.seed);
    Some(Finding {
        measure,
        a: Spread::of(&a)?,
        b: Spread::of(&b)?,
        null: Spread::of(&floors),
        blocks,
        ratio,
        verdict: verdict(measure, ratio, Side::BOTH.map(|side| comparison.name(side))),
    })
}

/// What may be said: a winner only where the interval leaves 1 out.
fn verdict(measure: Measure, ratio: Option<RatioInterval>, names: [&str; 2]) -> String {
    verdict_of(measure.better(), measure.advantage(), ratio, names)
}

/// The same of anything that both sides have figures of.
pub(super) fn verdict_of(
    better: Better,
    advantage: &str,
    ratio: Option<RatioInterval>,
    [a, b]: [&str; 2],
) -> String {
    let Some(interval) = ratio else {
        return "too few blocks to say (1)".to_owned();
    };
    if interval.blocks < BLOCKS_TO_CONCLUDE {
        return format!("too few blocks to say ({})", interval.blocks);
    }
    if !interval.concludes() {
        return "no difference shown".to_owned();
    }
    let a_wins = (interval.ratio > 1.0) == (better == Better::Higher);
    let winner = if a_wins { a } else { b };
    let factor = interval.ratio.max(1.0 / interval.ratio);
    format!("{winner} is {factor:.2} × {advantage}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(ratio: f64, low: f64, high: f64, blocks: usize) -> Option<RatioInterval> {
        Some(RatioInterval { ratio, low, high, blocks, resamples: 1 })
    }

    #[test]
    fn a_winner_is_named_only_where_the_interval_leaves_one_out() {
        let throughput = Measure::WriteThroughput;
        let latency = Measure::WriteLatencyP99;
        for (measure, interval, said) in [
            (throughput, interval(1.08, 1.02, 1.15, 6), "raft is 1.08 × faster"),
            (throughput, interval(0.8, 0.7, 0.9, 6), "zab is 1.25 × faster"),
            (latency, interval(1.25, 1.1, 1.4, 6), "zab is 1.25 × faster"),
            (latency, interval(0.5, 0.4, 0.6, 6), "raft is 2.00 × faster"),
            (Measure::Failover, interval(0.5, 0.4, 0.6, 6), "raft is 2.00 × sooner back"),
            (throughput, interval(1.08, 0.99, 1.15, 6), "no difference shown"),
            (throughput, interval(1.08, 1.02, 1.15, 4), "too few blocks to say (4)"),
            (throughput, None, "too few blocks to say (1)"),
        ] {
            assert_eq!(verdict(measure, interval, ["raft", "zab"]), said);
        }
    }
}
