//! Cells of tables, with what is known about each figure below it.

use super::format::figure;
use crate::compare::Spread;
use crate::stats::RatioInterval;

/// What stands where there is no figure.
pub(crate) const NONE: &str = "–";

/// A figure, and below it what it lies between.
pub(crate) fn between(middle: &str, low: &str, high: &str) -> String {
    format!("{middle}<small>{low} – {high}</small>")
}

/// The median of some blocks, and their extremes.
pub(crate) fn spread_cell(spread: &Spread) -> String {
    let [median, min, max] = [spread.median, spread.min, spread.max].map(figure);
    between(&median, &min, &max)
}

/// A ratio and its interval.
pub(crate) fn ratio_cell(ratio: Option<RatioInterval>) -> String {
    ratio.map_or_else(
        || NONE.to_owned(),
        |ratio| {
            let [ratio, low, high] = ratio.texts();
            between(&ratio, &low, &high)
        },
    )
}
