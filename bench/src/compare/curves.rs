//! What is measured in steps: throughput over the number of clients, latency over the rate of requests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::analysis::Spread;
use super::contender::Side;
use super::record::{Comparison, Loads, Step};
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

    /// The figure of a step; `None` where it has none: latencies of a run that could not send everything would be
    /// too good.
    fn of_step(self, step: &Step) -> Option<f64> {
        let report = &step.report;
        let figure = match self {
            Self::SweepThroughput => report.per_second,
            _ if report.not_sent > 0 => return None,
            Self::PacedP50 => report.latency.p50_ms,
            Self::PacedP99 => report.latency.p99_ms,
        };
        (figure.is_finite() && figure > 0.0).then_some(figure)
    }
}

/// A curve of both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// What it shows.
    pub kind: CurveKind,
    /// Its points, in the order of the steps, as far as both sides have figures in every block.
    pub points: Vec<CurvePoint>,
    /// The last step, of each side, up to which p99 is below twice that of the first step, or below 10 ms if
    /// that is more: beyond it queues grow. Of latencies only.
    pub knees: [Option<f64>; 2],
}

/// A step of both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Clients, or requests a second.
    pub at: f64,
    /// The first over the blocks.
    pub a: Spread,
    /// The second over the blocks.
    pub b: Spread,
    /// The first over the second; `None` for fewer than two blocks.
    pub ratio: Option<RatioInterval>,
}

/// How long 99 of 100 writes may take where nothing waits, in milliseconds, however short they were at the lowest rate.
const UNLOADED_P99_MS: f64 = 10.0;

/// The curves that were measured.
pub(super) fn of(comparison: &Comparison) -> Vec<Curve> {
    let curves = CurveKind::ALL.into_iter().map(|kind| curve(comparison, kind));
    curves.filter(|curve| !curve.points.is_empty()).collect()
}

fn curve(comparison: &Comparison, kind: CurveKind) -> Curve {
    let mut points = Vec::new();
    let is_whole = |block: &usize| {
        Side::BOTH.iter().all(|&side| comparison.runs_of(side, *block).count() == 2)
    };
    let whole = (0..comparison.plan.blocks.len()).filter(is_whole).count();
    let steps = comparison.runs.first().map_or(&[][..], |run| kind.steps(&run.loads));
    for (number, step) in steps.iter().enumerate() {
        let [a, b] = Side::BOTH.map(|side| blocks(comparison, kind, side, number));
        let pairs: Vec<(f64, f64)> =
            a.iter().filter_map(|(block, a)| Some((*a, *b.get(block)?))).collect();
        if pairs.len() < whole {
            break;
        }
        let values = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).collect::<Vec<f64>>();
        let (Some(a), Some(b)) =
            (Spread::of(&values(|pair| pair.0)), Spread::of(&values(|pair| pair.1)))
        else {
            break;
        };
        let ratio = paired_ratio(&pairs, RESAMPLES, comparison.settings.seed);
        points.push(CurvePoint { at: step.at, a, b, ratio });
    }
    let knees =
        Side::BOTH.map(|side| (kind == CurveKind::PacedP99).then(|| knee(&points, side)).flatten());
    Curve { kind, points, knees }
}

/// The figures of a side at a step, by blocks that are whole.
fn blocks(
    comparison: &Comparison,
    kind: CurveKind,
    side: Side,
    number: usize,
) -> BTreeMap<usize, f64> {
    let of_block = |block: usize| {
        let runs = comparison.runs_of(side, block);
        let figures: Option<Vec<f64>> = runs
            .map(|run| kind.steps(&run.loads).get(number).and_then(|step| kind.of_step(step)))
            .collect();
        let figures = figures.filter(|figures| figures.len() == 2)?;
        Some((block, geometric_mean(&figures)?))
    };
    (0..comparison.plan.blocks.len()).filter_map(of_block).collect()
}

fn knee(points: &[CurvePoint], side: Side) -> Option<f64> {
    let of = |point: &CurvePoint| if side == Side::A { point.a.median } else { point.b.median };
    let first = of(points.first()?);
    let most = (2.0 * first).max(UNLOADED_P99_MS);
    let within = points.iter().take_while(|point| of(point) <= most);
    within.last().map(|point| point.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: f64, p99: f64) -> CurvePoint {
        let spread = Spread { median: p99, min: p99, max: p99 };
        CurvePoint { at, a: spread, b: spread, ratio: None }
    }

    #[test]
    fn the_knee_is_the_last_step_before_queues_grow() {
        let points = [point(1.0, 6.0), point(2.0, 7.0), point(4.0, 11.0), point(8.0, 90.0)];
        assert_eq!(knee(&points, Side::A), Some(4.0));
        assert_eq!(knee(&points[3..], Side::B), Some(8.0));
        assert_eq!(knee(&[], Side::A), None);
    }
}
