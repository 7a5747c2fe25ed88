//! What the method makes of no difference: each contender against itself.
//!
//! It takes no time of its own. Two blocks hold four runs of a contender, two early ones and two late ones. The early
//! run of one block and the late one of the other are put on one side, the other two on the other side: two figures of
//! the same thing, each of two runs, each with a run of either block, so that what drifts from block to block is in
//! both. What drifts within blocks is in both alike where the coin fell the same way twice; else two places of it are
//! on one side, as often on this one as on the other. So many blocks give as many such pairs, half of them of either
//! contender, and they are judged by the same rule. An interval that leaves 1 out is a false alarm; one of twenty
//! should be.
//!
//! # Caveats
//! The pairs are made of the same runs as the comparison, so a disturbance is in both. `duorum compare --a raft --b raft`
//! makes runs of its own.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::contender::Side;
use super::curves::Curve;
use super::record::{Comparison, Run};
use super::topic::{Compared, Topic};
use crate::stats::{RESAMPLES, RatioInterval, paired_ratio};

/// The same contender twice.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// By what.
    pub topic: Topic,
    /// One half of a contender's runs over the other; in truth it is 1.
    pub ratio: RatioInterval,
}

/// The calibration by all that is compared and that users notice, from these blocks.
pub(super) fn of(
    comparison: &Comparison,
    valid: &BTreeSet<usize>,
    compared: &[Compared],
    curves: &[Curve],
) -> Vec<Calibration> {
    let noticed = compared.iter().map(|compared| compared.topic).filter(|topic| !topic.is_cost());
    let calibration = |topic: Topic| {
        let figure = |runs: [&Run; 2]| topic.of_runs(&runs, comparison, curves);
        let of_side = |side| pairs(comparison, side, valid, figure);
        let pairs: Vec<(f64, f64)> = Side::BOTH.into_iter().flat_map(of_side).collect();
        let ratio = paired_ratio(&pairs, RESAMPLES, comparison.settings.seed)?;
        Some(Calibration { topic, ratio })
    };
    noticed.filter_map(calibration).collect()
}

/// Figures of the same contender, paired.
fn pairs(
    comparison: &Comparison,
    side: Side,
    valid: &BTreeSet<usize>,
    figure: impl Fn([&Run; 2]) -> Option<f64>,
) -> Vec<(f64, f64)> {
    let whole: Vec<[&Run; 2]> = valid
        .iter()
        .filter_map(|&block| comparison.runs_of(side, block).collect::<Vec<&Run>>().try_into().ok())
        .collect();
    whole
        .chunks_exact(2)
        .filter_map(|blocks| {
            let [[early, late], [other_early, other_late]] = [blocks[0], blocks[1]];
            Some((figure([early, other_late])?, figure([late, other_early])?))
        })
        .collect()
}
