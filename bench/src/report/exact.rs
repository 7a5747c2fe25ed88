//! What the protocols cost and how long their elections take, counted in the simulator.

use std::fmt::Write;

use consensus::Protocol;

use super::Report;
use super::cells::{NONE, between};
use super::format::{count_words, figure};
use super::html::{escape, table};
use super::marks::{class_of, drawing};
use super::svg::{Plot, Scale};
use super::tails::{self, Tail};
use crate::compare::{Comparison, Side};
use crate::exact::{Brief, BriefElections, BriefFigures};
use crate::stats::{QuantileInterval, quantile_interval};

/// One of the figures.
type Figure = fn(BriefFigures) -> u64;

/// What is counted.
const COUNTED: [(&str, Figure); 4] = [
    ("messages", |figures| figures.messages),
    ("frames", |figures| figures.frames),
    ("bytes between nodes", |figures| figures.bytes),
    ("syncs of logs", |figures| figures.syncs),
];
const PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];

pub(super) fn section(report: &Report) -> String {
    let Some(brief) = &report.exact else { return String::new() };
    let comparison = &report.comparison;
    let mut text = String::from(
        "<h2>Exact, simulated</h2>\n<p>Counted in the simulator, in which whole clusters run this server's own code in \
         virtual time: three voters with default settings, whatever flags the contenders above had. No machine has a \
         part in these figures, so what is counted has no interval; the whole sheet is what <code>duorum compare \
         --exact</code> prints. All nodes together, from a cluster at rest until nothing follows any more. Each pair \
         of bars is drawn to its own scale.</p>\n<div class=\"plots\">\n",
    );
    for (name, of) in COUNTED {
        let title = format!("What it costs: {name}");
        let plot = bars(comparison, brief, of);
        text.extend(drawing(&title, "Shorter is cheaper. The numbers are the exact counts.", plot));
    }
    let mut places: Vec<&str> = brief.elections.iter().map(|held| &held.place[..]).collect();
    places.dedup();
    for place in places {
        let held = brief.elections.iter().find(|held| held.place == place);
        let elections = held.map_or(0, |held| held.established_micros.len());
        let caption = format!(
            "{} of each protocol, simulated, from the death of the leader until another one is established. The share \
             that took longer, on a logarithmic axis.",
            count_words(elections, "election")
        );
        let title = format!("How long an election takes: {place}");
        text.extend(drawing(&title, &caption, elections_of(comparison, brief, place)));
    }
    let _ = write!(text, "</div>\n{}", elections_table(brief));
    text
}

/// The protocol of a side.
fn protocol(comparison: &Comparison, side: Side) -> Protocol {
    comparison.settings.contender(side).protocol
}

/// Two bars for each thing, as long as they are to each other.
fn bars(comparison: &Comparison, brief: &Brief, of: Figure) -> Option<String> {
    let rows = brief.costs.len();
    if rows == 0 {
        return None;
    }
    let y = Scale::linear(-0.5, rows as f64 - 0.5);
    let mut plot = Plot::with_size(Scale::linear(0.0, 1.25), y, 205.0, 62.0 + 38.0 * rows as f64);
    let mut names = Vec::new();
    for (row, cost) in brief.costs.iter().enumerate() {
        let middle = (rows - 1 - row) as f64;
        names.push((middle, cost.what.clone()));
        let of_side = |side| Some(of(Brief::figures_of(cost, protocol(comparison, side))?));
        let [Some(a), Some(b)] = Side::BOTH.map(of_side) else { return None };
        let most = a.max(b).max(1) as f64;
        for (side, value, y) in [(Side::A, a, middle + 0.19), (Side::B, b, middle - 0.19)] {
            let length = value as f64 / most;
            plot.line(&[(0.0, y), (length, y)], &format!("{} bar thin", class_of(side)));
            plot.note((length, y), &figure_of_count(value));
        }
    }
    plot.y_names(&names);
    plot.x_axis("to the scale of the larger of the two", &[]);
    let names = comparison.names();
    Some(plot.finish(&format!("What things cost {} and {}", names[0], names[1])))
}

/// A count is exact, so that all its digits are there.
fn figure_of_count(count: u64) -> String {
    if count < 1_000 { count.to_string() } else { figure(count as f64) }
}

fn elections_of(comparison: &Comparison, brief: &Brief, place: &str) -> Option<String> {
    let tail = |side| {
        let name = protocol(comparison, side).name();
        let mut held = brief.elections.iter();
        let held = held.find(|held| held.place == place && held.protocol == name)?;
        let times = held.established_micros.iter().map(|&micros| micros as f64 / 1e3);
        Some(Tail::of_times(side, name, times.collect()))
    };
    let tails: Vec<Tail> = Side::BOTH.into_iter().filter_map(tail).collect();
    tails::plot("from the death to the next leader, ms", &tails)
}

/// Percentiles with their intervals, since other seeds would give others.
fn elections_table(brief: &Brief) -> String {
    let cells = |held: &BriefElections, micros: &[u64]| -> Vec<String> {
        let times: Vec<f64> = micros.iter().map(|&micros| micros as f64 / 1e3).collect();
        let cell = |(_, share)| match quantile_interval(&times, share) {
            Some(QuantileInterval { middle, low, high }) => {
                let end = |end: Option<f64>| end.map_or_else(|| "?".to_owned(), figure);
                between(&figure(middle), &end(low), &end(high))
            }
            None => NONE.to_owned(),
        };
        let mut row = vec![escape(&held.place), escape(&held.protocol)];
        row.extend(PERCENTILES.map(cell));
        row
    };
    let mut rows = Vec::new();
    for held in &brief.elections {
        for (until, micros) in [
            ("next leader", &held.established_micros),
            ("next acknowledged write", &held.acknowledged_micros),
        ] {
            let mut row = cells(held, micros);
            row.insert(2, until.to_owned());
            row.push(micros.len().to_string());
            rows.push(row);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let head =
        ["where", "protocol", "from the death until the", "p50, ms", "p90, ms", "p99, ms", "n"];
    format!(
        "{}<p class=\"quiet\">Below each percentile its 95 % interval, by order statistics of the n elections. Where an \
         end is unknown (?), they are too few for one: the longest of them is no upper bound.</p>\n",
        table(&head, &rows)
    )
}
