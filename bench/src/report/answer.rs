//! The answer in two sentences: what differs, by how much and how sure that is, and what does not.

use super::format::{count_words, listed};
use crate::compare::{Analysis, Compared, Comparison, Side, Topic};
use crate::stats::{BLOCKS_TO_CONCLUDE, RatioInterval};

/// Something that was looked at, and what is known about it.
type LookedAt = (Topic, RatioInterval);

/// The sentences, as text.
pub(super) fn sentences(comparison: &Comparison, analysis: &Analysis) -> Vec<String> {
    let noticed: Vec<Compared> =
        analysis.compared().into_iter().filter(|compared| !compared.topic.is_cost()).collect();
    let with_ratio = noticed.iter().filter_map(|one| Some((one.topic, one.ratio?)));
    let looked_at: Vec<LookedAt> = with_ratio.collect();
    let without_ratio = noticed.iter().filter(|one| one.ratio.is_none());
    let unsaid: Vec<String> = without_ratio.map(|one| one.topic.name()).collect();
    let unsaid = match unsaid.is_empty() {
        true => String::new(),
        false => format!(
            " Nothing can be said of {}, of which some block has no figure.",
            listed(unsaid.into_iter())
        ),
    };
    let [a, b] = comparison.names();
    let Some(blocks) = looked_at.iter().map(|(_, ratio)| ratio.blocks).max() else {
        let why = match analysis.blocks() < BLOCKS_TO_CONCLUDE {
            true => format!(
                "An answer takes {}, and here {} counts.",
                count_words(BLOCKS_TO_CONCLUDE, "block"),
                if analysis.blocks() == 0 {
                    "none".to_owned()
                } else {
                    analysis.blocks().to_string()
                }
            ),
            false => "There is nothing that both have a figure of in every block.".to_owned(),
        };
        return vec![
            format!("There is too little here to compare {a} and {b} by their figures."),
            why,
        ];
    };
    if blocks < BLOCKS_TO_CONCLUDE {
        return vec![
            format!(
                "{} of {a} and {b} are too few for an answer: it takes {BLOCKS_TO_CONCLUDE}.",
                count_words(blocks, "block")
            ),
            format!(
                "So far the ratios {a} / {b} are: {}.{unsaid}",
                listed(looked_at.iter().map(interval))
            ),
        ];
    }
    let (differ, same): (Vec<LookedAt>, Vec<LookedAt>) =
        looked_at.into_iter().partition(|(topic, ratio)| topic.winner(*ratio).is_some());
    let over = format!("Over {} on this machine", count_words(blocks, "block"));
    let ranges = listed(same.iter().map(interval));
    if differ.is_empty() {
        return vec![
            format!("{over}, no difference between {a} and {b} was shown."),
            format!(
                "What difference there may be lies, with 95 % confidence, within these ratios {a} / {b}: {ranges}.{unsaid}"
            ),
        ];
    }
    let advantages = Side::BOTH.into_iter().filter_map(|side| {
        let mine = differ.iter().filter(|(topic, ratio)| topic.winner(*ratio) == Some(side));
        let mine: Vec<String> = mine.map(advantage).collect();
        let name = comparison.name(side);
        (!mine.is_empty()).then(|| format!("{name} was {}", listed(mine.into_iter())))
    });
    let first = format!("{over}, {}.", advantages.collect::<Vec<_>>().join("; "));
    let second = match same.is_empty() {
        true if unsaid.is_empty() => "Everything that was looked at differs.".to_owned(),
        true => unsaid.trim_start().to_owned(),
        false => format!("No difference was shown in these ratios {a} / {b}: {ranges}.{unsaid}"),
    };
    vec![first, second]
}

/// What a winner was, turned so that more is better.
fn advantage((topic, ratio): &LookedAt) -> String {
    let turned = if ratio.ratio > 1.0 { *ratio } else { ratio.inverse() };
    let [factor, low, high] = turned.texts();
    format!("{factor} × {} {} (95 % interval {low} to {high})", topic.advantage(), topic.place())
}

fn interval((topic, ratio): &LookedAt) -> String {
    let [ratio, low, high] = ratio.texts();
    format!("{} {ratio} ({low} to {high})", topic.name())
}
