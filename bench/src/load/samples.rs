//! Every latency of a run, small enough to be kept.

use std::fmt::{self, Write as _};

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// More different latencies than a histogram tells apart.
const DIFFERENT_MAX: usize = 100_000;

/// Latencies in microseconds and how often each came, shortest first. Up to 2,047 µs they are exact; longer ones
/// are put together with those that are at most 0.1 % longer, as which they count.
///
/// Written as text, `812:3 815:1`: three requests took 812 µs, one 815.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples(Vec<(u64, u64)>);

impl Samples {
    pub(super) fn of(latencies: &Histogram<u32>) -> Self {
        let recorded = latencies.iter_recorded();
        let counts = recorded.map(|at| (at.value_iterated_to(), at.count_since_last_iteration()));
        Self(counts.filter(|&(_, count)| count > 0).collect())
    }

    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many requests there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|&(_, count)| count).sum()
    }

    /// All requests of several runs together.
    pub fn merged<'a>(runs: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all: Vec<(u64, u64)> = runs.into_iter().flat_map(|run| &run.0).copied().collect();
        all.sort_unstable();
        all.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        Self(all)
    }

    /// The latency in milliseconds that at most this share of the requests exceeded; `None` of nothing.
    #[must_use]
    pub fn exceeded_by(&self, share: f64) -> Option<f64> {
        let count = self.count() as f64;
        let mut beyond = self.count();
        self.0.iter().find_map(|&(micros, here)| {
            beyond -= here;
            (beyond as f64 <= share * count).then_some(micros as f64 / 1e3)
        })
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (micros, count)) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_char(' ')?;
            }
            write!(f, "{micros}:{count}")?;
        }
        Ok(())
    }
}

impl Serialize for Samples {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Samples {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

fn parse(text: &str) -> Result<Samples, String> {
    let mut samples: Vec<(u64, u64)> = Vec::new();
    for word in text.split_ascii_whitespace() {
        let pair = word.split_once(':').and_then(|(micros, count)| {
            // So few that no sum of them overflows.
            Some((micros.parse::<u32>().ok()?, count.parse::<u32>().ok()?))
        });
        let (micros, count) =
            pair.ok_or_else(|| format!("`{word}` is not a latency in µs and how often it came"))?;
        let is_next = samples.last().is_none_or(|&(before, _)| before < u64::from(micros));
        if !is_next || count == 0 || samples.len() == DIFFERENT_MAX {
            return Err(format!("`{word}`: latencies grow, and each came at least once"));
        }
        samples.push((micros.into(), count.into()));
    }
    Ok(Samples(samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram<u32> {
        let mut histogram = Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds");
        values.into_iter().for_each(|value| histogram.saturating_record(value));
        histogram
    }

    #[test]
    fn latencies_are_exact_where_it_was_said_and_close_beyond() {
        let short: Vec<(u64, u64)> = (1..=2_047).map(|micros| (micros, 1)).collect();
        assert_eq!(Samples::of(&histogram(1..=2_047)).0, short);
        for micros in [2_049, 5_003, 77_777, 1_234_567, 59_999_999] {
            let [(at, 1)] = Samples::of(&histogram([micros])).0[..] else { panic!("one sample") };
            assert!(
                at >= micros && (at - micros) as f64 <= 0.001 * micros as f64,
                "{micros}: {at}"
            );
        }
    }

    #[test]
    fn what_is_written_is_read_and_what_is_not_is_refused() {
        for samples in [Samples::default(), Samples::of(&histogram([5, 5, 7, 90_000]))] {
            let text = serde_json::to_string(&samples).expect("text");
            assert_eq!(serde_json::from_str::<Samples>(&text).expect("the same"), samples);
        }
        assert_eq!(Samples::of(&histogram([5, 5, 7])).to_string(), "5:2 7:1");
        for wrong in ["5", "5:", "5:x", "5:0", "7:1 5:1", "5:1 5:1", "-1:1", "5:9999999999"] {
            parse(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn shares_are_of_all_requests_together() {
        let one = Samples::of(&histogram(1..=50));
        let other = Samples::of(&histogram(51..=100));
        let all = Samples::merged([&one, &other, &one]);
        assert_eq!((all.count(), all.0[0]), (150, (1, 2)));
        let both = Samples::merged([&other, &one]);
        assert_eq!(both.exceeded_by(0.5), Some(0.05));
        assert_eq!(both.exceeded_by(0.01), Some(0.099));
        assert_eq!(both.exceeded_by(0.0), Some(0.1));
        assert_eq!(Samples::default().exceeded_by(0.5), None);
    }
}
