//! Distributions by their tails: the share that took longer, on a logarithmic axis, over how long that is.

use super::format::figure;
use super::marks::{class_of, labelled, mark_of};
use super::svg::{Plot, Scale};
use crate::compare::Side;
use crate::stats::extent;

/// The shares that are marked, and what they are called.
const MARKED: [(f64, &str); 3] = [(0.5, "p50"), (0.01, "p99"), (0.001, "p99.9")];
const TICKS: [(f64, &str); 6] = [
    (1.0, "100 %"),
    (0.1, "10 %"),
    (0.01, "1 %"),
    (0.001, "0.1 %"),
    (1e-4, "0.01 %"),
    (1e-5, "0.001 %"),
];

/// A point: a time in milliseconds, and the share that took longer.
type Point = (f64, f64);

/// The distribution of one side.
pub(super) struct Tail {
    pub(super) side: Side,
    pub(super) name: String,
    /// Times that grow, shares that shrink.
    pub(super) line: Vec<Point>,
    /// The shortest and the longest at each share among several runs; perhaps nothing.
    pub(super) band: [Vec<Point>; 2],
}

impl Tail {
    /// Of single times in milliseconds, in any order.
    pub(super) fn of_times(side: Side, name: &str, mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let count = times.len() as f64;
        let line = times.iter().enumerate().map(|(before, &time)| {
            // Of those from this one on, as if all of them took longer, so that the last one shows.
            (time, (count - before as f64) / count)
        });
        Self { side, name: name.to_owned(), line: line.collect(), band: Default::default() }
    }

    /// The time that at most this share exceeded.
    fn at(&self, share: f64) -> Option<f64> {
        self.line.iter().find(|point| point.1 <= share).map(|point| point.0)
    }
}

/// The tails of both sides; nothing without any point.
pub(super) fn plot(axis: &str, tails: &[Tail]) -> Option<String> {
    let mut plot = board(axis, tails)?;
    let least = least(tails)?;
    for tail in tails {
        for (share, percentile) in MARKED.into_iter().filter(|&(share, _)| share >= least) {
            let Some(time) = tail.at(share) else { continue };
            let text = format!("{}: {percentile} {} ms", tail.name, figure(time));
            plot.mark((time, share), mark_of(tail.side), class_of(tail.side), &text);
        }
    }
    Some(plot.finish(&format!("The share that took longer, over the {axis}")))
}

/// The axes, bands and lines alone.
pub(super) fn board(axis: &str, tails: &[Tail]) -> Option<Plot> {
    let points = || tails.iter().flat_map(|tail| &tail.line);
    let (fastest, slowest) = extent(&points().map(|point| point.0).collect::<Vec<_>>())?;
    let least = least(tails)?;
    let x = Scale::logarithmic(fastest.max(1e-3) * 0.9, slowest.max(1e-3) * 1.1);
    // Down to a tenth at least, so that a single one has an axis too.
    let mut plot = Plot::new(x, Scale::logarithmic(least.min(0.1), 1.0));
    plot.x_axis(axis, &labelled(x));
    let ticks = TICKS.into_iter().filter(|&(share, _)| share >= least.min(0.1));
    let ticks: Vec<(f64, String)> = ticks.map(|(share, label)| (share, label.to_owned())).collect();
    plot.y_axis("took longer", &ticks);
    for Tail { side, band: [low, high], .. } in tails {
        plot.area(low, high, class_of(*side));
    }
    for tail in tails {
        plot.line(&tail.line, class_of(tail.side));
    }
    Some(plot)
}

/// The smallest share that there is.
fn least(tails: &[Tail]) -> Option<f64> {
    tails.iter().flat_map(|tail| &tail.line).map(|point| point.1).reduce(f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_them_took_longer_than_the_median() {
        let times: Vec<f64> = (1..=1_000).rev().map(f64::from).collect();
        let tail = Tail::of_times(Side::A, "raft", times);
        assert_eq!((tail.line[0], tail.line[999]), ((1.0, 1.0), (1_000.0, 0.001)));
        assert_eq!(
            (tail.at(0.5), tail.at(0.001), tail.at(1e-9)),
            (Some(501.0), Some(1_000.0), None)
        );
        let drawn = plot("latency, ms", &[tail]).expect("there are points");
        assert_eq!(drawn.matches("<circle").count(), 3);
        assert_eq!(plot("latency, ms", &[Tail::of_times(Side::A, "raft", Vec::new())]), None);
    }
}
