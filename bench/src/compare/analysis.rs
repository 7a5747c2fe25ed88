//! From the runs to what may be concluded.

use std::collections::{BTreeMap, BTreeSet};

use consensus::Protocol;
use serde::{Deserialize, Serialize};

use super::calibration::{self, Calibration};
use super::contender::Side;
use super::curves::{self, Curve};
use super::faults::{self, FaultFinding};
use super::measures::Measure;
use super::record::{Comparison, Exclusion, Loads, Run};
use super::topic::{Compared, Topic};
use crate::cluster::Fault;
use crate::load::LoadReport;
use crate::stats::{RESAMPLES, RatioInterval, extent, median, paired_ratio};

/// What the comparison found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// How many blocks count.
    pub blocks: usize,
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
        // Half a block is not balanced, so it does not count; why it is half is told where it was measured.
        valid.retain(|&block| {
            Side::BOTH.iter().all(|&side| comparison.runs_of(side, block).count() == 2)
        });
        let findings: Vec<Finding> = Measure::ALL
            .into_iter()
            .filter_map(|measure| finding(comparison, measure, &valid, &mut exclusions))
            .collect();
        let curves = curves::of(comparison, &valid, &mut exclusions);
        let faults = faults::findings(comparison, &valid);
        let compared = compared(&findings, &curves, &faults);
        let loads_of = |side| comparison.all_runs_of(side).map(|run| &run.loads);
        let mut errors: Vec<_> = Side::BOTH
            .into_iter()
            .map(|side| (comparison.name(side).to_owned(), errors_of(loads_of(side))))
            .collect();
        let null = errors_of(comparison.floors.iter().map(|floor| &floor.null));
        errors.push((Protocol::Null.to_string(), null));
        Self {
            blocks: valid.len(),
            calibration: calibration::of(comparison, &valid, &compared, &curves),
            findings,
            curves,
            faults,
            exclusions,
            errors,
            echo_per_second: comparison.floors.iter().map(|floor| floor.echo.per_second).collect(),
        }
    }

    /// Both sides by everything that was measured: measures, curves as wholes, and kinds of faults.
    #[must_use]
    pub fn compared(&self) -> Vec<Compared> {
        compared(&self.findings, &self.curves, &self.faults)
    }

    /// How many intervals of ratios there are for a reader to look at, the single points of curves included.
    #[must_use]
    pub fn intervals(&self) -> usize {
        let points = self.curves.iter().flat_map(|curve| &curve.points);
        self.compared().iter().filter(|compared| compared.ratio.is_some()).count()
            + points.filter(|point| point.ratio.is_some()).count()
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

fn compared(findings: &[Finding], curves: &[Curve], faults: &[FaultFinding]) -> Vec<Compared> {
    let mut compared: Vec<Compared> = findings
        .iter()
        .map(|finding| Compared {
            topic: Topic::Measure(finding.measure),
            medians: Some([finding.a.median, finding.b.median]),
            ratio: finding.ratio,
        })
        .collect();
    for curve in curves {
        compared.push(Compared {
            topic: Topic::Curve(curve.kind),
            medians: None,
            ratio: curve.ratio,
        });
        if let Some(knees) = &curve.knees {
            let [a, b] = knees.sides.map(|knee| knee.median);
            let medians = a.zip(b).map(|(a, b)| [a, b]);
            compared.push(Compared { topic: Topic::Knee, medians, ratio: knees.ratio });
        }
    }
    // Kills are a measure.
    compared.extend(faults.iter().filter(|finding| finding.fault != Fault::Kill).map(|finding| {
        let [a, b] = finding.outages.map(|outages| outages.median);
        let medians = a.zip(b).map(|(a, b)| [a, b]);
        Compared { topic: Topic::Fault(finding.fault), medians, ratio: finding.ratio }
    }));
    compared
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
            measure.of_block(&runs, &comparison.failover_options)
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
        verdict: Topic::Measure(measure).verdict(ratio, comparison.names()),
    })
}
