//! Which keys clients choose.

use consensus::Random;
use serde::{Deserialize, Serialize};

/// How keys are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyDistribution {
    /// Each as often as any other.
    #[default]
    Uniform,
    /// The n-th most popular key 1/n^0.99 times as often as the most popular one, as in YCSB; which keys are
    /// popular has nothing to do with their order.
    Zipf,
    /// One key nine times of ten, and any other else.
    Hot,
}

impl KeyDistribution {
    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
            Self::Hot => "one hot key nine times of ten",
        }
    }
}

/// The exponent of the distribution, as in YCSB.
const ZIPF_EXPONENT: f64 = 0.99;
/// How many requests of ten are about the hot key.
const HOT_OF_TEN: u64 = 9;

/// Draws the numbers of keys.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyDraw {
    Uniform { keys: u64 },
    Zipf { keys: u64, harmonic: f64, eta: f64 },
    Hot { keys: u64 },
}

impl KeyDraw {
    /// Takes time that grows with the number of keys for the zipf distribution.
    pub(crate) fn new(distribution: KeyDistribution, keys: u64) -> Self {
        match distribution {
            KeyDistribution::Uniform => Self::Uniform { keys },
            KeyDistribution::Hot => Self::Hot { keys },
            KeyDistribution::Zipf => {
                let harmonic_of =
                    |keys: u64| (1..=keys).map(|rank| weight(rank as f64)).sum::<f64>();
                let harmonic = harmonic_of(keys);
                let tail = 1.0 - (2.0 / keys as f64).powf(1.0 - ZIPF_EXPONENT);
                let eta = tail / (1.0 - harmonic_of(2) / harmonic);
                Self::Zipf { keys, harmonic, eta }
            }
        }
    }

    /// The next key.
    pub(crate) fn draw(&self, random: &mut Random) -> u64 {
        match *self {
            Self::Uniform { keys } => random.below(keys),
            Self::Hot { keys } if random.below(10) < HOT_OF_TEN => scattered(0, keys),
            Self::Hot { keys } => random.below(keys),
            Self::Zipf { keys, harmonic, eta } => {
                scattered(rank(fraction(random), keys, harmonic, eta), keys)
            }
        }
    }
}

fn weight(rank: f64) -> f64 {
    1.0 / rank.powf(ZIPF_EXPONENT)
}

fn fraction(random: &mut Random) -> f64 {
    random.below(1 << 53) as f64 / (1u64 << 53) as f64
}

/// The rank, from 0 on, of which a share of the requests are at or before it: Gray et al., "Quickly generating
/// billion-record synthetic databases" (SIGMOD 1994), which YCSB uses as well.
fn rank(share: f64, keys: u64, harmonic: f64, eta: f64) -> u64 {
    let weighed = share * harmonic;
    if weighed < 1.0 || keys == 1 {
        return 0;
    }
    if weighed < 1.0 + weight(2.0) || keys == 2 {
        return 1;
    }
    let continuous = keys as f64 * (eta * share - eta + 1.0).powf(1.0 / (1.0 - ZIPF_EXPONENT));
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it lies between 0 and the number of keys"
    )]
    let rank = continuous as u64;
    rank.min(keys - 1)
}

/// Where a rank lies among the keys: popular keys are not neighbours.
fn scattered(rank: u64, keys: u64) -> u64 {
    // A multiplier that has no factor in common with any power of ten, nor with most other numbers; where it
    // has, several ranks share a key, which does no harm.
    (rank.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11) % keys
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const DRAWS: u64 = 200_000;

    /// How often each key was drawn, most often first.
    fn counts(distribution: KeyDistribution, keys: u64) -> Vec<u64> {
        let draw = KeyDraw::new(distribution, keys);
        let mut random = Random::new(7);
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for _ in 0..DRAWS {
            let key = draw.draw(&mut random);
            assert!(key < keys);
            *counts.entry(key).or_default() += 1;
        }
        let mut counts: Vec<u64> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts
    }

    #[test]
    fn uniform_draws_all_keys_alike() {
        let counts = counts(KeyDistribution::Uniform, 100);
        assert_eq!(counts.len(), 100);
        assert!(counts[0] < 2 * counts[99], "{counts:?}");
    }

    #[test]
    fn one_key_is_hot() {
        let counts = counts(KeyDistribution::Hot, 1_000);
        assert!((counts[0] as f64 / DRAWS as f64 - 0.9).abs() < 0.01, "{}", counts[0]);
        assert!(counts[1] < 100);
    }

    #[test]
    fn zipf_gives_each_rank_its_share() {
        let keys = 10_000;
        let counts = counts(KeyDistribution::Zipf, keys);
        let harmonic: f64 = (1..=keys).map(|rank| weight(rank as f64)).sum();
        for rank in [1usize, 2, 10, 100] {
            let expected = weight(rank as f64) / harmonic;
            let drawn = counts[rank - 1] as f64 / DRAWS as f64;
            assert!((drawn / expected - 1.0).abs() < 0.25, "rank {rank}: {drawn}, not {expected}");
        }
    }

    #[test]
    fn few_keys_are_drawn_in_any_way() {
        for distribution in [KeyDistribution::Uniform, KeyDistribution::Zipf, KeyDistribution::Hot]
        {
            for keys in 1..=3 {
                counts(distribution, keys);
            }
        }
    }
}
