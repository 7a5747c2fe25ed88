//! The page: one table, what each line means, and where it was measured.

use std::fmt::Write;

use super::record::Ablations;
use super::table::{RATIO, comparisons, lines, machine_text, measured, warnings};
use crate::report::format::utc;
use crate::report::html::{escape, table};

const STYLE: &str = include_str!("../report/style.css");

pub(super) fn page(ablations: &Ablations) -> String {
    let title = "What each mechanism is worth";
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    if let Some(comparison) = comparisons(ablations).next() {
        let _ = writeln!(text, "<p class=\"when\">{}</p>", utc(comparison.began_at_seconds));
    }
    text.push_str(
        "<p>Each line compares a protocol as it is with the same protocol without one mechanism, in paired \
         blocks. A ratio above 1 means that there is more with it. Where the interval leaves 1 out, the line \
         stands out.</p>\n",
    );
    for warning in warnings(ablations) {
        let _ = writeln!(text, "<p class=\"warning\">{}</p>", escape(&warning));
    }
    let rows: Vec<Vec<String>> = ablations
        .pairs
        .iter()
        .flat_map(lines)
        .map(|line| {
            let cell = |text: &String| match line.concludes {
                true => format!("<strong>{}</strong>", escape(text)),
                false => escape(text),
            };
            line.cells.iter().map(cell).collect()
        })
        .collect();
    let head = ["mechanism", "protocol", "instead", "measure", "with", "without", RATIO];
    text.push_str(&table(&head, &rows));
    text.push_str("<h2>What is taken away</h2>\n<dl>\n");
    for ablation in measured(ablations) {
        let _ = writeln!(
            text,
            "<dt>{}</dt><dd>{}</dd>",
            escape(ablation.name()),
            escape(ablation.sentence())
        );
    }
    text.push_str("</dl>\n<h2>Where</h2>\n");
    if let Some(comparison) = comparisons(ablations).next() {
        let _ = writeln!(text, "<p>{}</p>", escape(machine_text(comparison).trim_end()));
    }
    let _ = writeln!(
        text,
        "<p><code>{}</code></p>\n<p class=\"quiet\">Every raw figure is in ablations.json.</p>",
        escape(&ablations.command)
    );
    text.push_str("</main>\n</body>\n</html>\n");
    text
}
