//! What is measured in steps: throughput over the number of clients, latency over the rate of requests.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::analysis::Spread;
use super::contender::Side;
use super::record::{Comparison, Exclusion, Loads, Run, Step};
use crate::report::format::{count_words, figure};
use crate::stats::{RESAMPLES, RatioInterval, geometric_mean, paired_ratio};

/// What a curve shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CurveKind {
    /// Writes a second of so many clients.
    SweepThroughput,
    /// The median latency of writes that are due at a rate.
    PacedP50,
    /// 99 of 100 such writes took no longer.
    PacedP99,
}

impl CurveKind {
    const ALL: [Self; 3] = [Self::SweepThroughput, Self::PacedP50, Self::PacedP99];

    /// Its title.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SweepThroughput => "writes/s by the number of clients",
            Self::PacedP50 => "latency p50, ms, of writes that are due at a rate",
            Self::PacedP99 => "latency p99, ms, of writes that are due at a rate",
        }
    }

    /// The curve as a whole, in lists.
    #[must_use]
    pub fn summary(self) -> &'static str {
        match self {
            Self::SweepThroughput => "write throughput over all numbers of clients",
            Self::PacedP50 => "latency p50 of writes over all rates at which both answered",
            Self::PacedP99 => "latency p99 of writes over all rates at which both answered",
        }
    }

    /// What its figures are, in short.
    #[must_use]
    pub fn figure(self) -> &'static str {
        match self {
            Self::SweepThroughput => "writes/s",
            Self::PacedP50 => "latency p50, ms",
            Self::PacedP99 => "latency p99, ms",
        }
    }

    /// What its steps are.
    #[must_use]
    pub fn axis(self) -> &'static str {
        match self {
            Self::SweepThroughput => "clients",
            Self::PacedP50 | Self::PacedP99 => "due/s",
        }
    }

    fn steps(self, loads: &Loads) -> &[Step] {
        match self {
            Self::SweepThroughput => &loads.sweep,
            Self::PacedP50 | Self::PacedP99 => &loads.paced,
        }
    }

    /// The figure of a step; `None` where it has none: latencies of a run in which not all was sent and answered would
    /// be too good.
    fn of_step(self, step: &Step) -> Option<f64> {
        let report = &step.report;
        let figure = match self {
            Self::SweepThroughput => report.per_second,
            Self::PacedP50 => report.p50_ms()?,
            Self::PacedP99 => report.p99_ms()?,
        };
        (figure.is_finite() && figure > 0.0).then_some(figure)
    }
}

/// A curve of both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// What it shows.
    pub kind: CurveKind,
    /// Its points, in the order of the steps, as far as any side has figures.
    pub points: Vec<CurvePoint>,
    /// The first over the second, in the geometric mean over the points that have a ratio.
    pub ratio: Option<RatioInterval>,
    /// Up to which rate each side keeps up. Of p99 only.
    pub knees: Option<Knees>,
}

/// A step of both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Clients, or requests a second.
    pub at: f64,
    /// Each side over the blocks; `None` if it has no figure in half of them or more: what is left is the better half.
    pub sides: [Option<Spread>; 2],
    /// In how many blocks each side has a figure.
    pub blocks: [usize; 2],
    /// The first over the second; `None` where one of them has no figure in some block, since it would be compared by
    /// its better ones, and for fewer than two blocks.
    pub ratio: Option<RatioInterval>,
}

/// The knees of both sides: beyond them queues grow. There is no ratio: each knee is only known to lie between two rates
/// that were tried, which are further apart than an interval by blocks could say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Knees {
    /// Of each side.
    pub sides: [Knee; 2],
    /// Over how many blocks.
    pub blocks: usize,
}

/// The highest rate that a side keeps up with, over the blocks. `None`: not even with the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Knee {
    /// The median; of two middle ones the lower, which was measured.
    pub median: Option<f64>,
    /// The lowest.
    pub min: Option<f64>,
    /// The highest.
    pub max: Option<f64>,
}

/// So much of what was due is answered by who keeps up. From step to step the rate grows by a third at least, so that
/// the throughput of who keeps up grows at least half as much as what is due.
const ANSWERED_MIN: f64 = 0.95;
/// What nobody calls a queue however short p99 was at the lowest rate, and what everybody does however long, in
/// milliseconds.
const LIMIT_MIN_MS: f64 = 10.0;
const LIMIT_MAX_MS: f64 = 100.0;

impl Curve {
    /// The steps at which both sides have figures in every block.
    #[must_use]
    pub fn steps_of_both(&self) -> Vec<f64> {
        let whole = self.points.iter().filter(|point| point.ratio.is_some());
        whole.map(|point| point.at).collect()
    }
}

impl CurvePoint {
    /// In how many blocks there are figures: `6`, or of each side, `6, 4`.
    #[must_use]
    pub fn blocks_text(&self) -> String {
        let [a, b] = self.blocks;
        if a == b { a.to_string() } else { format!("{a}, {b}") }
    }
}

impl Knee {
    /// What it says over so many blocks: `keeps up to 8,000 a second (4,000–16,000 over 6 blocks)`.
    #[must_use]
    pub fn text(&self, blocks: usize) -> String {
        let over = count_words(blocks, "block");
        let least = self.min.map_or_else(|| "none".to_owned(), figure);
        match (self.median, self.max) {
            (Some(median), Some(max)) => {
                format!(
                    "keeps up to {} a second ({least}–{} over {over})",
                    figure(median),
                    figure(max)
                )
            }
            (_, Some(max)) => {
                format!(
                    "does not keep up with the lowest rate in half of {over} or more; at best with {} a second",
                    figure(max)
                )
            }
            _ => format!("does not keep up with the lowest rate in any of {over}"),
        }
    }
}

/// The curves that were measured, from these blocks. What was not answered is told among the exclusions.
pub(super) fn of(
    comparison: &Comparison,
    valid: &BTreeSet<usize>,
    exclusions: &mut Vec<Exclusion>,
) -> Vec<Curve> {
    exclusions.extend(valid.iter().filter_map(|&block| not_answered(comparison, block)));
    CurveKind::ALL.into_iter().filter_map(|kind| curve(comparison, kind, valid)).collect()
}

fn curve(comparison: &Comparison, kind: CurveKind, valid: &BTreeSet<usize>) -> Option<Curve> {
    let steps = valid.iter().flat_map(|&block| comparison.runs_of(Side::A, block));
    let steps = steps.map(|run| kind.steps(&run.loads)).find(|steps| !steps.is_empty())?;
    let ats: Vec<f64> = steps.iter().map(|step| step.at).collect();
    let runs = |side, block| comparison.runs_of(side, block).collect::<Vec<&Run>>();
    let point = |&at: &f64| {
        let figures = Side::BOTH.map(|side| {
            let of_block = |&block: &usize| Some((block, at_step(kind, &runs(side, block), at)?));
            valid.iter().filter_map(of_block).collect::<BTreeMap<usize, f64>>()
        });
        let sides = figures.each_ref().map(|figures| {
            let values: Vec<f64> = figures.values().copied().collect();
            if 2 * values.len() > valid.len() { Spread::of(&values) } else { None }
        });
        let blocks = figures.each_ref().map(BTreeMap::len);
        let pairs: Vec<(f64, f64)> =
            figures[0].values().copied().zip(figures[1].values().copied()).collect();
        let ratio = match blocks == [valid.len(); 2] {
            true => paired_ratio(&pairs, RESAMPLES, comparison.settings.seed),
            false => None,
        };
        CurvePoint { at, sides, blocks, ratio }
    };
    let mut points: Vec<CurvePoint> = ats.iter().map(point).collect();
    while points.pop_if(|point| point.sides == [None; 2]).is_some() {}
    let mut curve = Curve { kind, points, ratio: None, knees: None };
    let both = curve.steps_of_both();
    let pairs: Option<Vec<(f64, f64)>> = valid
        .iter()
        .map(|&block| {
            let level = |side| level(kind, &runs(side, block), &both);
            Some((level(Side::A)?, level(Side::B)?))
        })
        .collect();
    curve.ratio = paired_ratio(&pairs.unwrap_or_default(), RESAMPLES, comparison.settings.seed);
    if kind == CurveKind::PacedP99 {
        let blocks = valid.iter().map(|&block| Side::BOTH.map(|side| knee(&runs(side, block))));
        curve.knees = Some(knees(&blocks.collect::<Vec<_>>()));
    }
    Some(curve)
}

/// The figure of some runs at a step; `None` if one of them has none.
fn at_step(kind: CurveKind, runs: &[&Run], at: f64) -> Option<f64> {
    let of_run = |run: &&Run| kind.of_step(step_at(kind, run, at)?);
    geometric_mean(&runs.iter().map(of_run).collect::<Option<Vec<f64>>>()?)
}

fn step_at(kind: CurveKind, run: &Run, at: f64) -> Option<&Step> {
    kind.steps(&run.loads).iter().find(|step| step.at == at)
}

/// How high a curve lies: the geometric mean of these steps, which counts each factor alike.
pub(super) fn level(kind: CurveKind, runs: &[&Run], steps: &[f64]) -> Option<f64> {
    let figures: Option<Vec<f64>> = steps.iter().map(|&at| at_step(kind, runs, at)).collect();
    geometric_mean(&figures?)
}

/// The highest rate up to which some runs keep up with every rate: all that is due is sent and nearly all of it answered,
/// and p99 is at most twice that of the lowest rate, within limits. `None`: not even with the lowest.
fn knee(runs: &[&Run]) -> Option<f64> {
    let kind = CurveKind::PacedP99;
    let steps = kind.steps(&runs.first()?.loads);
    let unloaded = at_step(kind, runs, steps.first()?.at)?;
    let most = (2.0 * unloaded).clamp(LIMIT_MIN_MS, LIMIT_MAX_MS);
    let is_answered = |step: &Step| step.report.per_second >= ANSWERED_MIN * step.at;
    let keeps_up = |at: &f64| {
        runs.iter().all(|run| step_at(kind, run, *at).is_some_and(is_answered))
            && at_step(kind, runs, *at).is_some_and(|p99| p99 <= most)
    };
    steps.iter().map(|step| step.at).take_while(keeps_up).last()
}

/// From the knees of both sides in each block.
fn knees(blocks: &[[Option<f64>; 2]]) -> Knees {
    let sides = [0, 1].map(|side| {
        let mut rates: Vec<Option<f64>> = blocks.iter().map(|block| block[side]).collect();
        // None is less than any rate.
        rates.sort_by(|one, other| one.partial_cmp(other).expect("a rate is a number"));
        let at = |place: usize| rates.get(place).copied().flatten();
        let last = rates.len().saturating_sub(1);
        Knee { median: at(last / 2), min: at(0), max: at(last) }
    });
    Knees { sides, blocks: blocks.len() }
}

/// The rates at which not everything of a block was sent and answered, and whose.
fn not_answered(comparison: &Comparison, block: usize) -> Option<Exclusion> {
    let mut rates: Vec<(f64, BTreeSet<&str>)> = Vec::new();
    for run in comparison.runs.iter().filter(|run| run.block == block) {
        for step in run.loads.paced.iter().filter(|step| !step.report.knows_quantile(0.99)) {
            let name = comparison.name(run.side);
            match rates.iter_mut().find(|(at, _)| *at == step.at) {
                Some((_, names)) => drop(names.insert(name)),
                None => rates.push((step.at, BTreeSet::from([name]))),
            }
        }
    }
    rates.sort_by(|one, other| one.0.total_cmp(&other.0));
    let rates: Vec<String> = rates
        .into_iter()
        .map(|(at, names)| {
            format!("{}/s ({})", figure(at), names.into_iter().collect::<Vec<_>>().join(", "))
        })
        .collect();
    (!rates.is_empty()).then(|| Exclusion {
        block,
        reason: format!(
            "writes due at {}: not all were answered, so their latencies would be too good",
            rates.join(", ")
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_knee_that_is_not_there_is_lower_than_any() {
        let found = knees(&[[Some(4.0), None], [Some(8.0), Some(2.0)], [Some(2.0), None]]);
        assert_eq!(found.sides[0], Knee { median: Some(4.0), min: Some(2.0), max: Some(8.0) });
        assert_eq!(found.sides[1], Knee { median: None, min: None, max: Some(2.0) });
        assert_eq!(found.blocks, 3);
        assert_eq!(knees(&[]).sides[0].median, None);
    }
}
