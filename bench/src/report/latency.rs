//! How long requests took: what share of them took longer, down to one in ten thousand.

use super::Report;
use super::format::{count_words, figure};
use super::marks::{drawing, gallery};
use super::tails::{self, Tail};
use crate::compare::{Loads, Side};
use crate::load::{Kind, LoadReport, Samples};
use crate::stats::extent;

/// Places on the axis of shares for each of its decades.
const STEPS_OF_DECADE: i32 = 16;

/// All latencies of something in a run; none of a run whose tail would be too good.
type Timed = fn(&Loads) -> Option<&Samples>;

/// What is drawn, as far as it was measured: its title, its axis, and where it comes from.
const DRAWN: [(&str, &str, Timed); 8] = [
    ("How long writes took", "write latency, ms", |loads| all_of(loads.write_report()?)),
    ("How long linearizable reads took", "read latency, ms", |loads| all_of(loads.read.as_ref()?)),
    ("How long mixed operations took", "latency, ms", |loads| {
        all_of(&loads.mixed.as_ref()?.report)
    }),
    ("How long the writes among them took", "write latency, ms", |loads| of_kind(loads, Kind::Put)),
    ("How long the reads among them took", "read latency, ms", |loads| of_kind(loads, Kind::Get)),
    ("How long the ranges among them took", "range latency, ms", |loads| {
        of_kind(loads, Kind::Range)
    }),
    (
        "How long it took until streams told of a write",
        "from the write to its event, ms",
        |loads| Some(&loads.mixed.as_ref()?.delivery.as_ref()?.latency.samples),
    ),
    (
        "How long it took until each of many watchers was told",
        "from the put to its event, ms",
        |loads| Some(&loads.watch.as_ref()?.latency.samples),
    ),
];

fn all_of(report: &LoadReport) -> Option<&Samples> {
    report.knows_quantile(0.99).then_some(&report.latency.samples)
}

fn of_kind(loads: &Loads, kind: Kind) -> Option<&Samples> {
    let report = &loads.mixed.as_ref()?.report;
    let latency = report.latency_by_kind.get(&kind)?;
    report.knows_quantile(0.99).then_some(&latency.samples)
}

pub(super) fn section(report: &Report) -> String {
    let drawings = DRAWN.into_iter().map(|(title, axis, of)| {
        drawing(title, &caption(report, of), distribution(report, axis, of))
    });
    gallery("Latency", drawings)
}

/// What is drawn, of how much.
fn caption(report: &Report, of: Timed) -> String {
    let counts = Side::BOTH.map(|side| {
        let runs = report.valid_runs_of(side).filter_map(|run| of(&run.loads));
        let (mut runs_with_any, mut requests) = (0, 0);
        for samples in runs {
            (runs_with_any, requests) = (runs_with_any + 1, requests + samples.count());
        }
        format!(
            "n = {} in {} of {}",
            figure(requests as f64),
            count_words(runs_with_any, "run"),
            report.comparison.name(side)
        )
    });
    format!(
        "The share of all that took longer, on a logarithmic axis, so that the tail shows. Line: all runs together; \
         band: the extremes of single runs, which is no confidence interval. Marked: p50, p99, p99.9 of all ({}). Blocks \
         that were left out are not drawn, nor are runs in which not all was sent and answered.",
        counts.join(", ")
    )
}

/// The latencies of both sides.
fn distribution(report: &Report, axis: &str, of: Timed) -> Option<String> {
    let tail = |side| {
        let runs: Vec<&Samples> =
            report.valid_runs_of(side).filter_map(|run| of(&run.loads)).collect();
        let all = Samples::merged(runs.iter().copied());
        let line = shares(all.count()).filter_map(|share| Some((all.exceeded_by(share)?, share)));
        let name = report.comparison.name(side).to_owned();
        Tail { side, name, line: line.collect(), band: band(&runs) }
    };
    tails::plot(axis, &Side::BOTH.map(tail))
}

/// The shares, from all on, that at least one of so many requests stands for.
fn shares(count: u64) -> impl Iterator<Item = f64> {
    let share = |step: i32| 10f64.powf(-f64::from(step) / f64::from(STEPS_OF_DECADE));
    (0..).map(share).take_while(move |share| share * count as f64 >= 1.0)
}

/// The shortest and the longest among the runs at each share, as far as each run has any.
fn band(runs: &[&Samples]) -> [Vec<(f64, f64)>; 2] {
    let fewest = runs.iter().map(|run| run.count()).min().unwrap_or(0);
    let extremes = shares(fewest).filter_map(|share| {
        let runs: Option<Vec<f64>> = runs.iter().map(|run| run.exceeded_by(share)).collect();
        let (low, high) = extent(&runs?)?;
        Some(((low, share), (high, share)))
    });
    let (low, high) = extremes.unzip();
    [low, high]
}
