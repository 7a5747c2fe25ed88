//! The systems that others wrote, on the page of a comparison.

use std::fmt::Write;

use super::Report;
use super::cells::{NONE, between};
use super::format::figure;
use super::html::{escape, table};
use crate::compare::Spread;
use crate::systems::{HEADING, Quantity, SystemRun, Systems, notes};

/// The section: the figures, what belongs to them, every run, and how the nodes were started.
pub(super) fn section(report: &Report) -> String {
    let Some(systems) = &report.systems else { return String::new() };
    let mut text = format!(
        "<h2>Other systems</h2>\n<p class=\"warning\">{}</p>\n{}<ul>\n",
        escape(HEADING),
        figures(systems)
    );
    for note in notes(systems) {
        let _ = writeln!(text, "<li>{}</li>", escape(&note));
    }
    text.push_str("</ul>\n");
    text.push_str(&runs(systems));
    text.push_str(&commands(systems));
    text
}

fn figures(systems: &Systems) -> String {
    let subjects = systems.subjects();
    let row = |quantity: &Quantity| {
        let cell = |&subject| {
            let text = |value| escape(&quantity.text(systems, value));
            quantity.spread(systems, subject).map_or_else(
                || NONE.to_owned(),
                |Spread { median, min, max }| match systems.options.blocks {
                    1 => text(median),
                    _ => between(&text(median), &text(min), &text(max)),
                },
            )
        };
        std::iter::once(escape(quantity.name)).chain(subjects.iter().map(cell)).collect()
    };
    let rows: Vec<Vec<String>> = Quantity::measured(systems).map(row).collect();
    let names: Vec<String> = subjects.iter().map(|&subject| systems.heading(subject)).collect();
    let head: Vec<&str> = std::iter::once("").chain(names.iter().map(String::as_str)).collect();
    table(&head, &rows)
}

fn runs(systems: &Systems) -> String {
    let quantities: Vec<&Quantity> = Quantity::measured(systems).collect();
    let row = |run: &SystemRun| {
        let name = escape(&systems.options.name(run.subject));
        let mut cells =
            vec![format!("{}.{} {name}", run.block + 1, run.place + 1), figure(run.start_ms)];
        let texts = quantities.iter().map(|quantity| quantity.text_of_run(systems, run));
        cells.extend(texts.map(|text| escape(&text)));
        cells
    };
    let rows: Vec<Vec<String>> = systems.runs.iter().map(row).collect();
    let mut head = vec!["block.run", "start, ms"];
    head.extend(quantities.iter().map(|quantity| quantity.name));
    format!("<details><summary>Every run</summary>\n{}</details>\n", table(&head, &rows))
}

/// How the nodes of one run of each subject were started, with what they read.
fn commands(systems: &Systems) -> String {
    let mut text =
        String::from("<details><summary>How the nodes of the systems were started</summary>\n");
    for subject in systems.subjects() {
        let Some(run) = systems.runs.iter().find(|run| run.subject == subject) else {
            continue;
        };
        let _ = writeln!(text, "<h3>{}</h3>", escape(&systems.heading(subject)));
        for command in &run.commands {
            let _ = writeln!(text, "<pre><code>{}</code></pre>", escape(command));
        }
    }
    text.push_str("</details>\n");
    text
}
