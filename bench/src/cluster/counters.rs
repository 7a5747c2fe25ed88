//! What the nodes count of themselves: messages, frames, bytes and fsyncs, which say why one protocol
//! is faster than the other where a clock only says that it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The counters at `/metrics`, by their Prometheus name with labels, of all nodes together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters(BTreeMap<String, f64>);

impl Counters {
    /// Adds the counters of a page in Prometheus' text format. Lines that are no counters do not
    /// matter here.
    pub(super) fn add_page(&mut self, page: &str) {
        for line in page.lines() {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let family = name.split('{').next().unwrap_or(name);
            if line.starts_with('#') || !family.ends_with("_total") {
                continue;
            }
            if let Ok(value) = value.parse::<f64>() {
                *self.0.entry(name.to_owned()).or_default() += value;
            }
        }
    }

    /// Adds what another node has counted.
    pub(crate) fn add(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            *self.0.entry(name.clone()).or_default() += value;
        }
    }

    /// How far each counter went since an earlier look; those that stood still are left out.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let moved = |(name, value): (&String, &f64)| {
            let before = earlier.0.get(name).copied().unwrap_or(0.0);
            (*value > before).then(|| (name.clone(), value - before))
        };
        Self(self.0.iter().filter_map(moved).collect())
    }

    /// A counter, summed over its labels; `None` when nobody counts that.
    #[must_use]
    pub fn sum(&self, family: &str) -> Option<f64> {
        let of_family = |name: &str| name.split('{').next() == Some(family);
        let values = self.0.iter().filter(|(name, _)| of_family(name)).map(|(_, value)| *value);
        values.reduce(|sum, value| sum + value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# HELP sent Messages.\n\
# TYPE sent counter\n\
sent_total{message=\"A B\"} 3\n\
sent_total{message=\"C\"} 4.5\n\
sent_totals_total 9\n\
pending 7\n\
# EOF\n";

    #[test]
    fn counters_are_summed_over_nodes_and_labels() {
        let mut counters = Counters::default();
        counters.add_page(PAGE);
        counters.add_page(PAGE);
        assert_eq!(counters.sum("sent_total"), Some(15.0));
        assert_eq!(counters.sum("sent_totals_total"), Some(18.0));
        assert_eq!(counters.sum("pending"), None);
    }

    #[test]
    fn only_what_moved_is_left_of_a_difference() {
        let mut before = Counters::default();
        before.add_page(PAGE);
        let mut after = before.clone();
        after.add_page("sent_total{message=\"C\"} 2\n");
        let difference = after.since(&before);
        assert_eq!(difference.sum("sent_total"), Some(2.0));
        assert_eq!(difference.sum("sent_totals_total"), None);
    }
}
