//! What can be said of both sides: about what, by which interval, and who wins.

use serde::{Deserialize, Serialize};

use super::contender::Side;
use super::curves::{self, Curve, CurveKind};
use super::faults::block_outage;
use super::measures::{Better, Measure};
use super::record::{Comparison, Run};
use crate::cluster::Fault;
use crate::report::format::{count_words, figure};
use crate::stats::{BLOCKS_TO_CONCLUDE, RESAMPLES, RatioInterval, paired_ratio};

/// What an interval is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// A measure; kills of leaders are among them.
    Measure(Measure),
    /// A curve as a whole.
    Curve(CurveKind),
    /// The outage of a kind of fault.
    Fault(Fault),
}

/// Both sides by one topic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// What is compared.
    pub topic: Topic,
    /// The median of each side over the blocks; `None` of a curve, which is no single figure.
    pub medians: Option<[f64; 2]>,
    /// The first over the second; `None` for fewer than two blocks, and where something is lacking.
    pub ratio: Option<RatioInterval>,
    /// How many of the blocks that count have no figure of one side or of both.
    pub lacking: usize,
}

impl Compared {
    /// From the figures of both sides in each block that has them, of so many blocks that count. One without a figure was
    /// a bad one for somebody, who would be compared by the better ones.
    pub(super) fn of(topic: Topic, pairs: &[(f64, f64)], valid: usize, seed: u64) -> Self {
        let lacking = valid - pairs.len();
        let ratio = match lacking {
            0 => paired_ratio(pairs, RESAMPLES, seed),
            _ => None,
        };
        Self { topic, medians: None, ratio, lacking }
    }

    /// What may be said, by the names of both sides.
    #[must_use]
    pub fn verdict(&self, names: [&str; 2]) -> String {
        match self.lacking {
            0 => self.topic.verdict(self.ratio, names),
            lacking => {
                format!("not to be said: {} without a figure", count_words(lacking, "block"))
            }
        }
    }
}

impl Topic {
    /// Its name in tables and lists.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Measure(measure) => measure.name().to_owned(),
            Self::Curve(kind) => kind.summary().to_owned(),
            Self::Fault(fault) => format!("outage, {}", fault.name()),
        }
    }

    /// Which direction is better.
    #[must_use]
    pub fn better(self) -> Better {
        match self {
            Self::Measure(measure) => measure.better(),
            Self::Curve(CurveKind::SweepThroughput) => Better::Higher,
            Self::Curve(_) | Self::Fault(_) => Better::Lower,
        }
    }

    /// Whether this is what a write costs, which explains, rather than what a user notices.
    #[must_use]
    pub fn is_cost(self) -> bool {
        matches!(self, Self::Measure(measure) if measure.is_cost())
    }

    /// What the winner is said to be: "1.08 × faster".
    #[must_use]
    pub fn advantage(self) -> &'static str {
        match self {
            Self::Measure(measure) => measure.advantage(),
            Self::Curve(_) => "faster",
            Self::Fault(_) => "sooner back",
        }
    }

    /// Where the winner is that: "faster in write throughput".
    #[must_use]
    pub fn place(self) -> String {
        match self {
            Self::Measure(measure) => measure.place(),
            Self::Curve(_) => format!("in {}", self.name()),
            Self::Fault(fault) => after(fault).to_owned(),
        }
    }

    /// A figure with its unit.
    #[must_use]
    pub fn with_unit(self, value: f64) -> String {
        match self {
            Self::Measure(measure) => measure.with_unit(value),
            Self::Curve(CurveKind::SweepThroughput) => format!("{}/s", figure(value)),
            Self::Curve(_) | Self::Fault(_) => format!("{} ms", figure(value)),
        }
    }

    /// Who wins: somebody only where the interval leaves 1 out, over enough blocks.
    #[must_use]
    pub fn winner(self, ratio: RatioInterval) -> Option<Side> {
        let a_wins = (ratio.ratio > 1.0) == (self.better() == Better::Higher);
        ratio.concludes().then_some(if a_wins { Side::A } else { Side::B })
    }

    /// What may be said, by the names of both sides.
    #[must_use]
    pub fn verdict(self, ratio: Option<RatioInterval>, [a, b]: [&str; 2]) -> String {
        let Some(interval) = ratio else {
            return "too few blocks to say".to_owned();
        };
        if interval.blocks < BLOCKS_TO_CONCLUDE {
            return format!("too few blocks to say ({})", interval.blocks);
        }
        let Some(winner) = self.winner(interval) else {
            return "no difference shown".to_owned();
        };
        let winner = if winner == Side::A { a } else { b };
        let factor = interval.ratio.max(1.0 / interval.ratio);
        format!("{winner} is {factor:.2} × {}", self.advantage())
    }

    /// The figure of two runs of one contender, as those of a block give it; of a curve, over the steps at which both
    /// sides have figures.
    pub(super) fn of_runs(
        self,
        runs: &[&Run],
        comparison: &Comparison,
        curves: &[Curve],
    ) -> Option<f64> {
        let options = &comparison.failover_options;
        match self {
            Self::Measure(measure) => measure.of_block(runs, options),
            Self::Curve(kind) => {
                let curve = curves.iter().find(|curve| curve.kind == kind)?;
                curves::level(kind, runs, &curve.steps_of_both())
            }
            Self::Fault(fault) => block_outage(runs, &options.with_fault(fault)),
        }
    }
}

/// When a winner is sooner back.
fn after(fault: Fault) -> &'static str {
    match fault {
        Fault::Kill => "after its leader was killed",
        Fault::Stop => "after its leader was stopped",
        Fault::IsolateIn => "after its leader heard nothing any more",
        Fault::IsolateOut => "after its leader was not heard any more",
        Fault::IsolateBoth => "after its leader was cut off",
        Fault::StallDisk => "after the disk of its leader stalled",
        Fault::Transfer => "after its leader was asked to hand over",
        Fault::Terminate => "after its leader was sent SIGTERM",
        Fault::ColdStart => "after a cold start",
        Fault::RollingRestart => "during a rolling restart",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(ratio: f64, low: f64, high: f64, blocks: usize) -> Option<RatioInterval> {
        Some(RatioInterval { ratio, low, high, blocks, resamples: 1 })
    }

    #[test]
    fn a_winner_is_named_only_where_the_interval_leaves_one_out() {
        let throughput = Topic::Measure(Measure::WriteThroughput);
        let latency = Topic::Measure(Measure::WriteLatencyP99);
        let failover = Topic::Measure(Measure::Failover);
        for (topic, interval, said) in [
            (throughput, interval(1.08, 1.02, 1.15, 6), "raft is 1.08 × faster"),
            (throughput, interval(0.8, 0.7, 0.9, 6), "zab is 1.25 × faster"),
            (latency, interval(1.25, 1.1, 1.4, 6), "zab is 1.25 × faster"),
            (latency, interval(0.5, 0.4, 0.6, 6), "raft is 2.00 × faster"),
            (failover, interval(0.5, 0.4, 0.6, 6), "raft is 2.00 × sooner back"),
            (Topic::Fault(Fault::Stop), interval(2.0, 1.9, 2.1, 6), "zab is 2.00 × sooner back"),
            (Topic::Curve(CurveKind::PacedP99), interval(2.0, 1.9, 2.1, 6), "zab is 2.00 × faster"),
            (throughput, interval(1.08, 0.99, 1.15, 6), "no difference shown"),
            (throughput, interval(1.08, 1.02, 1.15, 4), "too few blocks to say (4)"),
            (throughput, None, "too few blocks to say"),
        ] {
            assert_eq!(topic.verdict(interval, ["raft", "zab"]), said, "{topic:?}");
        }
    }

    #[test]
    fn whoever_is_named_is_the_winner() {
        for (better, factor) in
            [(Topic::Measure(Measure::WriteThroughput), 2.0), (Topic::Fault(Fault::Kill), 0.5)]
        {
            let ratio = interval(factor, factor * 0.9, factor * 1.1, 6).expect("made");
            assert_eq!(better.winner(ratio), Some(Side::A));
            assert_eq!(better.winner(ratio.inverse()), Some(Side::B));
            assert_eq!(better.winner(RatioInterval { blocks: 4, ..ratio }), None);
        }
    }
}
