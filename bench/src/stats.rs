//! The statistics of a comparison: medians, quantiles and the paired bootstrap.
//!
//! Two runs of the same thing never measure the same, so the question is not whether two numbers
//! differ but whether they differ by more than chance would make them. Blocks answer it: within a
//! block both protocols ran close together under the same conditions, so the block's ratio is free
//! of what drifts from block to block, and the spread of the ratios over the blocks shows how much
//! chance there is. The bootstrap draws blocks with replacement, again and again, and looks how far
//! the mean ratio strays (Efron 1979; Kalibera and Jones, ISMM 2013, for its use on benchmarks).
//!
//! # Caveats
//! A bootstrap of few blocks is too sure of itself: the plain percentile interval of five blocks
//! covers the truth in about 84 of 100 cases instead of 95. The percentiles are therefore widened as
//! Hesterberg proposes (The American Statistician 69(4), 2015, "expanded percentile interval"), and
//! below [`BLOCKS_TO_CONCLUDE`] blocks, where no resampling can reach 95 %, nothing is concluded.

use consensus::Random;
use serde::{Deserialize, Serialize};

/// How often blocks are drawn anew unless asked otherwise.
pub const RESAMPLES: usize = 20_000;

/// How often blocks are drawn anew for the interval of a median. There are many of them and nobody concludes anything
/// from their last digit.
pub const RESAMPLES_OF_MEDIANS: usize = 2_000;

/// With fewer blocks no winner is named: even the widest interval that resampling can give, from the
/// smallest ratio to the largest, covers the median ratio of four blocks in 7 of 8 cases only.
pub const BLOCKS_TO_CONCLUDE: usize = 5;

/// The two-sided 95 % quantiles of Student's t with 1, 2, … degrees of freedom.
const STUDENT_T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// The middle value, or the mean of the two middle ones; `None` of nothing.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The value below which this share of the values lies, interpolated linearly between neighbours
/// (Hyndman and Fan's type 7); `None` of nothing.
///
/// # Panics
/// If the share is not within 0 and 1, or a value is not a number.
#[must_use]
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).expect("a measured value is a number"));
    quantile_of_sorted(&sorted, share)
}

fn quantile_of_sorted(sorted: &[f64], share: f64) -> Option<f64> {
    assert!((0.0..=1.0).contains(&share), "a share lies within 0 and 1");
    let last = sorted.len().checked_sub(1)?;
    let rank = share * last as f64;
    let below = sorted[rank.floor() as usize];
    let above = sorted[rank.ceil() as usize];
    Some(below + (above - below) * rank.fract())
}

/// A quantile and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantileInterval {
    /// The quantile of these values.
    pub middle: f64,
    /// The lower end; `None` where so few values bound the quantile on this side by none of them.
    pub low: Option<f64>,
    /// The upper end, as the lower one.
    pub high: Option<f64>,
}

/// A quantile between the ends of its 95 % interval, whatever the distribution: the order statistics within which it
/// lies in 95 of 100 samples, by the normal approximation of the binomial. `None` of nothing.
///
/// # Panics
/// As [`quantile`].
#[must_use]
pub fn quantile_interval(values: &[f64], share: f64) -> Option<QuantileInterval> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = quantile_of_sorted(&sorted, share)?;
    let count = sorted.len() as f64;
    let wide = 1.96 * (count * share * (1.0 - share)).sqrt();
    // The largest of 40 values is below their 99th percentile in two of three samples: it is no upper end.
    let at = |rank: f64| (rank >= 0.0).then(|| sorted.get(rank as usize).copied()).flatten();
    let (low, high) = (at((count * share - wide).floor() - 1.0), at((count * share + wide).ceil()));
    Some(QuantileInterval { middle, low, high })
}

/// The 95 % interval of the median of all values, which come in blocks: within a block they resemble one another, so
/// that blocks are drawn with replacement and not single values. `None` of fewer than [`BLOCKS_TO_CONCLUDE`] blocks that
/// hold any.
///
/// # Panics
/// If a value is not a number.
#[must_use]
pub fn median_interval(blocks: &[Vec<f64>], resamples: usize, seed: u64) -> Option<(f64, f64)> {
    let blocks: Vec<&Vec<f64>> = blocks.iter().filter(|block| !block.is_empty()).collect();
    if blocks.len() < BLOCKS_TO_CONCLUDE || resamples == 0 {
        return None;
    }
    let mut random = Random::new(seed);
    let mut pooled = Vec::new();
    let mut medians: Vec<f64> = (0..resamples)
        .map(|_| {
            pooled.clear();
            for _ in 0..blocks.len() {
                let block = random.below(blocks.len() as u64);
                pooled.extend_from_slice(blocks[usize::try_from(block).expect("an index")]);
            }
            median(&pooled).expect("no block is empty")
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let tail = expanded_tail(blocks.len());
    Some((quantile_of_sorted(&medians, tail)?, quantile_of_sorted(&medians, 1.0 - tail)?))
}

/// The smallest and the largest value; `None` of nothing.
#[must_use]
pub fn extent(values: &[f64]) -> Option<(f64, f64)> {
    let smallest = values.iter().copied().reduce(f64::min)?;
    let largest = values.iter().copied().reduce(f64::max)?;
    Some((smallest, largest))
}

/// The mean of ratios: the number whose logarithm is the mean of the logarithms, so that a ratio and
/// its inverse weigh the same. `None` of nothing.
#[must_use]
pub fn geometric_mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    Some((values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp())
}

/// A ratio and what is known about it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatioInterval {
    /// The geometric mean of the blocks' ratios.
    pub ratio: f64,
    /// The lower end of the 95 % interval.
    pub low: f64,
    /// The upper end of the 95 % interval.
    pub high: f64,
    /// How many blocks there were.
    pub blocks: usize,
    /// How often blocks were drawn anew.
    pub resamples: usize,
}

impl RatioInterval {
    /// Whether the measurements say which side is larger: the interval leaves 1 out, and there are
    /// enough blocks to mean that.
    #[must_use]
    pub fn concludes(&self) -> bool {
        self.blocks >= BLOCKS_TO_CONCLUDE && (self.high < 1.0 || self.low > 1.0)
    }

    /// The ratio and the ends of its interval as people read them: with two digits, or with as many more as it takes to see
    /// on which side of 1 an end is.
    #[must_use]
    pub fn texts(&self) -> [String; 3] {
        let is_one = |digits: usize, end: f64| format!("{end:.digits$}").parse() == Ok(1.0);
        let hides = |digits: &usize| {
            [self.low, self.high].iter().any(|&end| end != 1.0 && is_one(*digits, end))
        };
        let digits = (2..4).find(|digits| !hides(digits)).unwrap_or(4);
        [self.ratio, self.low, self.high].map(|value| format!("{value:.digits$}"))
    }

    /// The second to the first.
    #[must_use]
    pub fn inverse(self) -> Self {
        Self { ratio: 1.0 / self.ratio, low: 1.0 / self.high, high: 1.0 / self.low, ..self }
    }
}

/// The ratio of the first to the second of each pair, with its 95 % interval by resampling pairs.
/// `None` when there are fewer than two pairs, of which nothing can be resampled.
///
/// # Panics
/// If a value is not positive: it has no ratio.
#[must_use]
pub fn paired_ratio(pairs: &[(f64, f64)], resamples: usize, seed: u64) -> Option<RatioInterval> {
    if pairs.len() < 2 || resamples == 0 {
        return None;
    }
    let logarithms: Vec<f64> = pairs
        .iter()
        .map(|&(a, b)| {
            assert!(a > 0.0 && b > 0.0, "a ratio needs positive values, not {a} and {b}");
            (a / b).ln()
        })
        .collect();
    let blocks = logarithms.len();
    let mut random = Random::new(seed);
    let mut means: Vec<f64> = (0..resamples)
        .map(|_| {
            let drawn = (0..blocks).map(|_| {
                let block = random.below(blocks as u64);
                logarithms[usize::try_from(block).expect("an index")]
            });
            drawn.sum::<f64>() / blocks as f64
        })
        .collect();
    means.sort_by(|a, b| a.partial_cmp(b).expect("a logarithm of a positive number"));
    let tail = expanded_tail(blocks);
    let end = |share| quantile_of_sorted(&means, share).expect("there are resamples").exp();
    let ratio = (logarithms.iter().sum::<f64>() / blocks as f64).exp();
    Some(RatioInterval { ratio, low: end(tail), high: end(1.0 - tail), blocks, resamples })
}

/// The share to cut off at each end so that a percentile interval is about as wide as a t interval
/// would be: Φ(−√(n/(n−1)) · t), instead of 2.5 %.
fn expanded_tail(blocks: usize) -> f64 {
    let freedom = blocks - 1;
    let t = STUDENT_T.get(freedom - 1).copied().unwrap_or(1.96 + 2.4 / freedom as f64);
    normal_below(-(blocks as f64 / freedom as f64).sqrt() * t)
}

/// The standard normal distribution function (Abramowitz and Stegun 26.2.17, to 7.5e-8).
fn normal_below(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let polynomial = t
        * (0.319_381_530
            + t * (-0.356_563_782
                + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let upper = density * polynomial;
    if x < 0.0 { upper } else { 1.0 - upper }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_seen_on_which_side_of_one_an_interval_lies() {
        let texts = |ratio, low, high| {
            RatioInterval { ratio, low, high, blocks: 6, resamples: 1 }.texts().join(" ")
        };
        assert_eq!(texts(1.05, 1.02, 1.08), "1.05 1.02 1.08");
        assert_eq!(texts(1.016, 1.003, 1.029), "1.016 1.003 1.029");
        assert_eq!(texts(0.98, 0.9712, 0.999_6), "0.9800 0.9712 0.9996");
        assert_eq!(texts(1.0, 1.0, 1.0), "1.00 1.00 1.00");
        assert_eq!(texts(1.0, 0.999_999, 1.2), "1.0000 1.0000 1.2000", "no further than that");
    }

    #[test]
    fn known_medians_and_quantiles() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(quantile(&[10.0, 20.0, 30.0, 40.0, 50.0], 0.9), Some(46.0));
        assert_eq!(extent(&[2.0, -1.0, 5.0]), Some((-1.0, 5.0)));
        let mean = geometric_mean(&[0.5, 2.0, 1.0]).expect("not empty");
        assert!((mean - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_interval_of_a_quantile_covers_it_about_as_often_as_it_says() {
        assert_eq!(quantile_interval(&[], 0.5), None);
        let alone = quantile_interval(&[7.0], 0.5);
        assert_eq!(alone, Some(QuantileInterval { middle: 7.0, low: None, high: None }));
        let mut random = Random::new(11);
        for (share, count) in
            [(0.5, 40), (0.9, 40), (0.99, 40), (0.9, 200), (0.99, 300), (0.99, 900)]
        {
            let mut sides = [0, 0];
            for _ in 0..1_000 {
                let values: Vec<f64> = (0..count).map(|_| random.below(1 << 20) as f64).collect();
                let found = quantile_interval(&values, share).expect("not empty");
                let truth = share * f64::from(1 << 20);
                assert!(found.low.is_none_or(|low| low <= found.middle));
                assert!(found.high.is_none_or(|high| found.middle <= high));
                sides[0] += i32::from(found.low.is_some_and(|low| low > truth));
                sides[1] += i32::from(found.high.is_some_and(|high| high < truth));
            }
            // Each end misses in about 25 of 1,000.
            assert!(sides.iter().all(|&missed| missed <= 45), "{share} of {count}: {sides:?}");
        }
    }

    #[test]
    fn too_few_values_bound_no_high_quantile_from_above() {
        let values = |count: u32| (0..count).map(f64::from).collect::<Vec<f64>>();
        for (count, is_bound) in [(40, false), (200, false), (300, false), (600, true)] {
            let found = quantile_interval(&values(count), 0.99).expect("not empty");
            assert_eq!((found.low.is_some(), found.high.is_some()), (true, is_bound), "{count}");
        }
        assert_eq!(quantile_interval(&values(10), 0.01).expect("not empty").low, None);
    }

    #[test]
    fn the_interval_of_a_median_counts_blocks_and_not_the_values_in_them() {
        let same = vec![vec![3.0; 4]; 6];
        assert_eq!(median_interval(&same, 500, 1), Some((3.0, 3.0)));
        assert_eq!(median_interval(&same[..BLOCKS_TO_CONCLUDE - 1], 500, 1), None);
        let mut random = Random::new(5);
        let mut normal = |scale: f64| {
            let uniform = |random: &mut Random| random.below(1 << 53) as f64 / (1u64 << 53) as f64;
            ((0..12).map(|_| uniform(&mut random)).sum::<f64>() - 6.0) * scale
        };
        for blocks in [6, 12] {
            let covered = (0..400).filter(|&seed| {
                // What a block has in common is as large as what its values differ by.
                let values: Vec<Vec<f64>> = (0..blocks)
                    .map(|_| {
                        let common = normal(5.0);
                        (0..4).map(|_| 100.0 + common + normal(5.0)).collect()
                    })
                    .collect();
                let (low, high) = median_interval(&values, 400, seed).expect("enough");
                (low..=high).contains(&100.0)
            });
            let covered = covered.count();
            assert!((364..=399).contains(&covered), "{blocks} blocks: {covered} of 400");
        }
    }

    #[test]
    fn the_normal_distribution_at_known_points() {
        for (x, share) in [(-1.959_964, 0.025), (0.0, 0.5), (1.0, 0.841_344_7), (-3.0, 0.001_349_9)]
        {
            assert!((normal_below(x) - share).abs() < 1e-6, "{x}");
        }
    }

    #[test]
    fn the_tail_is_wider_for_few_blocks_and_the_usual_one_for_many() {
        assert!(expanded_tail(5) < 0.0015);
        assert!((expanded_tail(1_000) - 0.025).abs() < 0.001);
        for blocks in 2..200 {
            assert!(expanded_tail(blocks) < expanded_tail(blocks + 1), "{blocks}");
        }
    }

    #[test]
    fn without_spread_the_interval_is_the_ratio() {
        let pairs: Vec<_> = (1..=8).map(|n| (3.0 * f64::from(n), f64::from(n))).collect();
        let interval = paired_ratio(&pairs, 10_000, 1).expect("enough pairs");
        for value in [interval.ratio, interval.low, interval.high] {
            assert!((value - 3.0).abs() < 1e-9, "{value}");
        }
        assert!(interval.concludes());
    }

    #[test]
    fn few_blocks_conclude_nothing() {
        let pairs = [(2.0, 1.0); BLOCKS_TO_CONCLUDE - 1];
        let interval = paired_ratio(&pairs, 1_000, 1).expect("enough to resample");
        assert!(interval.low > 1.9 && !interval.concludes());
        assert_eq!(paired_ratio(&pairs[..1], 1_000, 1), None);
    }

    /// Draws blocks from a known truth: a drift that both share, and noise of each.
    fn blocks_of(ratio: f64, blocks: usize, random: &mut Random) -> Vec<(f64, f64)> {
        let mut normal = |scale: f64| {
            let sum: f64 =
                (0..12).map(|_| random.below(1 << 53) as f64 / (1u64 << 53) as f64).sum();
            ((sum - 6.0) * scale).exp()
        };
        (0..blocks)
            .map(|_| {
                let drift = normal(0.5);
                (1_000.0 * ratio * drift * normal(0.05), 1_000.0 * drift * normal(0.05))
            })
            .collect()
    }

    fn coverage(blocks: usize, trials: u64) -> f64 {
        let mut random = Random::new(42 + blocks as u64);
        let covered = (0..trials)
            .filter(|&seed| {
                let pairs = blocks_of(1.08, blocks, &mut random);
                let interval = paired_ratio(&pairs, 2_000, seed).expect("enough pairs");
                (interval.low..=interval.high).contains(&1.08)
            })
            .count();
        covered as f64 / trials as f64
    }

    #[test]
    fn the_interval_covers_the_truth_about_as_often_as_it_says() {
        for (blocks, least) in [(5, 0.90), (6, 0.92), (8, 0.92), (20, 0.93)] {
            let covered = coverage(blocks, 1_500);
            assert!((least..=0.985).contains(&covered), "{blocks} blocks: {covered}");
        }
    }

    #[test]
    fn a_drift_that_both_share_does_not_widen_the_interval() {
        let mut random = Random::new(9);
        let interval =
            paired_ratio(&blocks_of(1.5, 8, &mut random), 5_000, 1).expect("enough pairs");
        assert!(interval.low > 1.3 && interval.high < 1.7, "{interval:?}");
    }

    proptest! {
        #[test]
        fn a_quantile_lies_between_the_extremes_and_grows_with_the_share(
            values in prop::collection::vec(-1e6..1e6f64, 1..50),
            share in 0.0..1.0f64,
            more in 0.0..1.0f64,
        ) {
            let (smallest, largest) = extent(&values).expect("not empty");
            let low = quantile(&values, share.min(more)).expect("not empty");
            let high = quantile(&values, share.max(more)).expect("not empty");
            prop_assert!(smallest <= low && low <= high && high <= largest);
        }

        #[test]
        fn the_interval_holds_the_ratio_and_lies_within_the_blocks_extremes(
            pairs in prop::collection::vec((1.0..1e6f64, 1.0..1e6f64), 2..20),
            seed: u64,
        ) {
            let interval = paired_ratio(&pairs, 500, seed).expect("enough pairs");
            let ratios: Vec<f64> = pairs.iter().map(|&(a, b)| a / b).collect();
            let (smallest, largest) = extent(&ratios).expect("not empty");
            let slack = 1.0 + 1e-9;
            prop_assert!(interval.low <= interval.ratio * slack);
            prop_assert!(interval.ratio <= interval.high * slack);
            prop_assert!(smallest <= interval.low * slack && interval.high <= largest * slack);
        }

        #[test]
        fn exchanging_the_sides_inverts_the_ratio(
            pairs in prop::collection::vec((1.0..1e6f64, 1.0..1e6f64), 2..10),
            seed: u64,
        ) {
            let swapped: Vec<_> = pairs.iter().map(|&(a, b)| (b, a)).collect();
            let one = paired_ratio(&pairs, 300, seed).expect("enough pairs");
            let other = paired_ratio(&swapped, 300, seed).expect("enough pairs");
            prop_assert!((one.ratio * other.ratio - 1.0).abs() < 1e-9);
            prop_assert!((one.low * other.high - 1.0).abs() < 1e-6);
            prop_assert!((one.inverse().low - other.low).abs() < 1e-6 * other.low);
        }

        #[test]
        fn the_same_seed_gives_the_same_interval(
            pairs in prop::collection::vec((1.0..1e6f64, 1.0..1e6f64), 2..10),
            seed: u64,
        ) {
            prop_assert_eq!(paired_ratio(&pairs, 200, seed), paired_ratio(&pairs, 200, seed));
        }
    }
}
