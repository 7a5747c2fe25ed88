//! What the plots of all sections have in common.

use super::format::figure;
use super::html::escape;
use super::svg::{Mark, Scale};
use crate::compare::Side;

pub(super) fn mark_of(side: Side) -> Mark {
    if side == Side::A { Mark::Circle } else { Mark::Square }
}

/// The style of what belongs to a side.
pub(super) fn class_of(side: Side) -> &'static str {
    if side == Side::A { "a" } else { "b" }
}

pub(super) fn labelled(scale: Scale) -> Vec<(f64, String)> {
    scale.ticks().into_iter().map(|tick| (tick, figure_of_tick(tick))).collect()
}

/// Ticks are round, so they need no digits that say nothing.
pub(super) fn figure_of_tick(tick: f64) -> String {
    if tick.fract() == 0.0 && tick.abs() < 1_000.0 {
        return format!("{tick:.0}");
    }
    let text = figure(tick);
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

/// A plot with its title and what it shows.
pub(super) fn drawing(title: &str, caption: &str, plot: Option<String>) -> Option<String> {
    let plot = plot?;
    Some(format!(
        "<figure><h3>{}</h3><figcaption>{}</figcaption>\n{plot}</figure>\n",
        escape(title),
        escape(caption)
    ))
}

/// A section of plots; nothing if there are none.
pub(super) fn gallery(title: &str, drawings: impl IntoIterator<Item = Option<String>>) -> String {
    let drawings: String = drawings.into_iter().flatten().collect();
    if drawings.is_empty() {
        return String::new();
    }
    format!("<h2>{}</h2>\n<div class=\"plots\">\n{drawings}</div>\n", escape(title))
}
