//! The answer in two sentences: what differs, by how much and how sure that is, and what does not.

use super::format::count_words;
use crate::compare::{Analysis, Better, Comparison, Finding, Side};
use crate::stats::{BLOCKS_TO_CONCLUDE, RatioInterval};

/// The sentences, as text.
pub(super) fn sentences(comparison: &Comparison, analysis: &Analysis) -> Vec<String> {
    let looked_at: Vec<(&Finding, RatioInterval)> = (analysis.findings.iter())
        .filter(|finding| !finding.measure.is_cost())
        .filter_map(|finding| Some((finding, finding.ratio?)))
        .collect();
    let [a, b] = comparison.names();
    let Some(blocks) = looked_at.iter().map(|(_, ratio)| ratio.blocks).max() else {
        return vec![format!("There is too little here to compare {a} and {b} by their figures.")];
    };
    if blocks < BLOCKS_TO_CONCLUDE {
        return vec![
            format!(
                "{} of {a} and {b} are too few for an answer: it takes {BLOCKS_TO_CONCLUDE}.",
                count_words(blocks, "block")
            ),
            format!("So far the ratios {a} / {b} are: {}.", listed(looked_at.iter().map(interval))),
        ];
    }
    let (differ, same): (Vec<_>, Vec<_>) =
        looked_at.into_iter().partition(|(_, ratio)| ratio.concludes());
    let over = format!("Over {} on this machine", count_words(blocks, "block"));
    let ranges = listed(same.iter().map(interval));
    if differ.is_empty() {
        return vec![
            format!("{over}, no difference between {a} and {b} was shown."),
            format!(
                "What difference there may be lies, with 95 % confidence, within these ratios {a} / {b}: {ranges}."
            ),
        ];
    }
    let advantages = Side::BOTH.into_iter().filter_map(|side| {
        let mine = differ.iter().filter(|(finding, ratio)| winner(finding, ratio) == side);
        let mine: Vec<String> = mine.map(|(finding, ratio)| advantage(finding, ratio)).collect();
        let name = comparison.name(side);
        (!mine.is_empty()).then(|| format!("{name} was {}", listed(mine.into_iter())))
    });
    let first = format!("{over}, {}.", advantages.collect::<Vec<_>>().join("; "));
    let second = match same.is_empty() {
        true => "Everything that was looked at differs.".to_owned(),
        false => format!("No difference was shown in these ratios {a} / {b}: {ranges}."),
    };
    vec![first, second]
}

fn winner(finding: &Finding, ratio: &RatioInterval) -> Side {
    match (ratio.ratio > 1.0) == (finding.measure.better() == Better::Higher) {
        true => Side::A,
        false => Side::B,
    }
}

/// What a winner was, turned so that more is better.
fn advantage(finding: &Finding, ratio: &RatioInterval) -> String {
    let RatioInterval { ratio, low, high, .. } = *ratio;
    let (factor, low, high) =
        if ratio > 1.0 { (ratio, low, high) } else { (1.0 / ratio, 1.0 / high, 1.0 / low) };
    format!(
        "{factor:.2} × {} {} (95 % interval {low:.2} to {high:.2})",
        finding.measure.advantage(),
        finding.measure.place()
    )
}

fn interval((finding, ratio): &(&Finding, RatioInterval)) -> String {
    format!("{} {:.2} ({:.2} to {:.2})", finding.measure.name(), ratio.ratio, ratio.low, ratio.high)
}

/// `one, two and three`.
fn listed(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    match items.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_as_they_are_spoken() {
        for (items, text) in [
            (&[][..], ""),
            (&["one"], "one"),
            (&["one", "two"], "one and two"),
            (&["one", "two", "three"], "one, two and three"),
        ] {
            assert_eq!(listed(items.iter().map(|&item| item.to_owned())), text);
        }
    }
}
