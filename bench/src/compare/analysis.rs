//! From the runs to what may be concluded.

use std::collections::{BTreeMap, BTreeSet};

use consensus::Protocol;
use serde::{Deserialize, Serialize};

use super::calibration::{self, Calibration};
use super::contender::Side;
use super::curves::{self, Curve};
use super::faults::{self, FaultFinding};
use super::measures::Measure;
use super::record::{Comparison, Exclusion, Run};
use super::topic::{Compared, Topic};
use crate::cluster::Fault;
use crate::stats::{RatioInterval, extent, median};

/// What the comparison found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The blocks that count, from 0.
    pub valid: BTreeSet<usize>,
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
    /// The first over the second; `None` for fewer than two blocks, and where one that counts has no figure.
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
            exclusions.extend(comparison.latencies_too_good(block));
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
        let compared = compared(&findings, &curves, &faults, &valid);
        Self {
            calibration: calibration::of(comparison, &valid, &compared, &curves),
            valid,
            findings,
            curves,
            faults,
            exclusions,
            errors: errors_of(comparison),
            echo_per_second: comparison.floors.iter().map(|floor| floor.echo.per_second).collect(),
        }
    }

    /// How many blocks count.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.valid.len()
    }

    /// Both sides by everything that was measured: measures, curves as wholes, and kinds of faults.
    #[must_use]
    pub fn compared(&self) -> Vec<Compared> {
        compared(&self.findings, &self.curves, &self.faults, &self.valid)
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

/// Counts what failed under load, of both sides and of the null protocol. Failed probes of a killed leader are the
/// outage itself and are reported there; what other clients saw of it is told apart from what failed without a fault.
fn errors_of(comparison: &Comparison) -> Vec<(String, BTreeMap<String, u64>)> {
    let mut errors = Vec::new();
    for side in Side::BOTH {
        let runs = || comparison.all_runs_of(side);
        let name = comparison.name(side).to_owned();
        let beside: BTreeMap<String, u64> = sum(runs().flat_map(Run::errors_beside_faults));
        errors.push((name.clone(), sum(runs().flat_map(|run| run.loads.errors()))));
        if !beside.is_empty() {
            errors.push((format!("{name}, while faults struck"), beside));
        }
    }
    let null = comparison.floors.iter().flat_map(|floor| floor.null.errors());
    errors.push((Protocol::Null.to_string(), sum(null)));
    errors
}

fn sum(errors: impl Iterator<Item = (String, u64)>) -> BTreeMap<String, u64> {
    let mut sum = BTreeMap::new();
    for (name, count) in errors {
        *sum.entry(name).or_default() += count;
    }
    sum
}

fn compared(
    findings: &[Finding],
    curves: &[Curve],
    faults: &[FaultFinding],
    valid: &BTreeSet<usize>,
) -> Vec<Compared> {
    let mut compared: Vec<Compared> = findings
        .iter()
        .map(|finding| Compared {
            topic: Topic::Measure(finding.measure),
            medians: Some([finding.a.median, finding.b.median]),
            ratio: finding.ratio,
            lacking: valid.len() - finding.blocks.len(),
        })
        .collect();
    compared.extend(curves.iter().map(|curve| Compared {
        topic: Topic::Curve(curve.kind),
        medians: None,
        ratio: curve.ratio,
        lacking: 0,
    }));
    // Kills are a measure.
    compared.extend(faults.iter().filter(|finding| finding.fault != Fault::Kill).map(|finding| {
        let [a, b] = finding.outages.map(|outages| outages.median);
        let medians = a.zip(b).map(|(a, b)| [a, b]);
        Compared {
            topic: Topic::Fault(finding.fault),
            medians,
            ratio: finding.ratio,
            lacking: valid.len() - finding.blocks.len(),
        }
    }));
    compared
}

fn finding(
    comparison: &Comparison,
    measure: Measure,
    valid: &BTreeSet<usize>,
    exclusions: &mut Vec<Exclusion>,
) -> Option<Finding> {
    if measure.is_asked_for(&comparison.settings) {
        return None;
    }
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
    // What is left of fewer is the better half.
    if 2 * blocks.len() <= valid.len() {
        return None;
    }
    let a: Vec<f64> = blocks.iter().map(|&(_, a, _)| a).collect();
    let b: Vec<f64> = blocks.iter().map(|&(_, _, b)| b).collect();
    let floors: Vec<f64> =
        comparison.floors.iter().filter_map(|floor| measure.of_floor(floor)).collect();
    let pairs: Vec<(f64, f64)> = blocks.iter().map(|&(_, a, b)| (a, b)).collect();
    let seed = comparison.settings.seed;
    let compared = Compared::of(Topic::Measure(measure), &pairs, valid.len(), seed);
    Some(Finding {
        measure,
        a: Spread::of(&a)?,
        b: Spread::of(&b)?,
        null: Spread::of(&floors),
        blocks,
        ratio: compared.ratio,
        verdict: compared.verdict(comparison.names()),
    })
}
