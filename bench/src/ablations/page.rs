//! The page: one table, what each line means, how far it can be trusted, and where it was measured.

use std::fmt::Write;

use super::record::Ablations;
use super::table::{
    HEAD, Line, NO_FLOORS, Twice, calibrations, comparisons, lines, machine_text, measured,
    warnings,
};
use crate::report::calibration::{probes, said};
use crate::report::cells::{NONE, ratio_cell, spread_cell};
use crate::report::format::{count_words, utc};
use crate::report::html::{document, escape, table};
use crate::report::manifest;

const TITLE: &str = "What each mechanism is worth";

pub(super) fn page(ablations: &Ablations) -> String {
    let mut text = format!("<h1>{TITLE}</h1>\n");
    if let Some(comparison) = comparisons(ablations).next() {
        let _ = writeln!(text, "<p class=\"when\">{}</p>", utc(comparison.began_at_seconds));
    }
    text.push_str(
        "<p>Each line compares a protocol as it is with the same protocol with one mechanism changed: taken away, or \
         less of it, or more. A ratio above 1 means that there is more of what is measured with the protocol as it is. \
         Medians over n paired blocks, below them the smallest and the largest block; the ratio with its 95 % interval. \
         Where it leaves 1 out, the line stands out.</p>\n",
    );
    for warning in warnings(ablations) {
        let _ = writeln!(text, "<p class=\"warning\">{}</p>", escape(&warning));
    }
    let rows: Vec<Vec<String>> =
        ablations.pairs.iter().flat_map(lines).map(|line| row(&line)).collect();
    text.push_str(&table(&HEAD, &rows));
    text.push_str("<h2>What is changed</h2>\n<dl>\n");
    for ablation in measured(ablations) {
        let _ = writeln!(
            text,
            "<dt>{}</dt><dd>{}</dd>",
            escape(ablation.name()),
            escape(ablation.sentence())
        );
    }
    text.push_str("</dl>\n");
    text.push_str(&calibration(ablations));
    text.push_str(&places(ablations));
    document(TITLE, &text)
}

fn row(line: &Line) -> Vec<String> {
    let mark = |cell: String| match line.concludes() {
        true => format!("<strong>{cell}</strong>"),
        false => cell,
    };
    let mut row: Vec<String> = line.names.iter().map(|name| mark(escape(name))).collect();
    row.extend(line.sides.map(|side| side.as_ref().map_or_else(|| NONE.to_owned(), spread_cell)));
    row.push(line.blocks.to_string());
    row.push(mark(ratio_cell(line.ratio)));
    row
}

/// What the method makes of no difference.
fn calibration(ablations: &Ablations) -> String {
    let row = |Twice { names, ratio }: Twice| {
        let mut row: Vec<String> = names.iter().map(|name| escape(name)).collect();
        row.extend([ratio.blocks.to_string(), ratio_cell(Some(ratio)), said(&ratio).to_owned()]);
        row
    };
    let rows: Vec<Vec<String>> = calibrations(ablations).into_iter().map(row).collect();
    let twice = match rows.is_empty() {
        true => "<p>There are too few blocks to compare each of them with itself.</p>\n".to_owned(),
        false => format!(
            "<p>The runs of the protocol as it is, and those of the changed one, are each put into two halves, an early \
             run of one block with a late run of the next, and the halves are compared by the same rule. In truth they \
             are equal. One interval of twenty misses 1 by chance.</p>\n{}",
            table(
                &[HEAD[0], HEAD[1], HEAD[2], HEAD[3], "n", "the same twice", "what is said of it"],
                &rows
            )
        ),
    };
    format!("<h2>Calibration</h2>\n{twice}<p>{NO_FLOORS}</p>\n")
}

/// The machine, and of each pair all that belongs to its figures.
fn places(ablations: &Ablations) -> String {
    let mut text = String::from("<h2>Where</h2>\n");
    if let Some(comparison) = comparisons(ablations).next() {
        let _ = writeln!(text, "<p>{}</p>", escape(machine_text(comparison).trim_end()));
    }
    let _ = writeln!(text, "<p><code>{}</code></p>", escape(&ablations.command));
    for ablated in &ablations.pairs {
        let Some(report) = &ablated.report else { continue };
        let comparison = &report.comparison;
        let _ = writeln!(
            text,
            "<details><summary>{}: machine and settings, {}</summary>\n{}{}</details>",
            escape(&ablated.pair.title()),
            count_words(comparison.plan.blocks.len(), "block"),
            probes(comparison),
            manifest::tables(comparison)
        );
    }
    text.push_str(
        "<p class=\"quiet\">Every raw figure is in the <code>ablations.json</code> that this page was made of.</p>\n",
    );
    text
}
