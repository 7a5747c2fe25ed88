//! The systems as text for a terminal.

use std::fmt::Write;

use super::options::{Options, PARTS};
use super::quantities::Quantity;
use super::record::{Installation, Systems};
use super::run::Subjects;
use crate::compare::{Part, Spread, aligned};
use crate::load::{KeyDistribution, LoadReport, errors_text};
use crate::report::format::{count_words, figure, seconds};

/// What the figures are and what they are not.
pub const HEADING: &str = "Systems, not protocols: beside the protocol these differ in language and runtime, in the \
     format on disk, in the client and in what it speaks, and each system runs with the settings that it \
     comes with. The figures say nothing about Raft and ZAB.";

/// What will be done, before it is done.
#[must_use]
pub fn plan_text(subjects: &Subjects, options: &Options) -> String {
    let found: Vec<String> = subjects.installations().iter().map(version_text).collect();
    format!(
        "Then {} beside both, a comparison of systems: {} of {}{}.\n",
        found.join(" and "),
        count_words(options.blocks, "block"),
        count_words(subjects.count(), "run"),
        if options.parts.len() < PARTS.len() { options.parts_text() } else { String::new() },
    )
}

fn version_text(installation: &Installation) -> String {
    format!("{} {}", installation.system, installation.version)
}

/// The result.
#[must_use]
pub fn table_text(systems: &Systems) -> String {
    let subjects = systems.subjects();
    let head = subjects.iter().map(|&subject| systems.heading(subject));
    let mut rows: Vec<Vec<String>> = vec![std::iter::once(String::new()).chain(head).collect()];
    rows.extend(Quantity::measured(systems).map(|quantity| {
        let cell = |&subject| {
            let text = |value| quantity.text(systems, value);
            quantity.spread(systems, subject).map_or_else(
                || "–".to_owned(),
                |Spread { median, min, max }| match systems.options.blocks {
                    1 => text(median),
                    _ => format!("{} ({}–{})", text(median), text(min), text(max)),
                },
            )
        };
        std::iter::once(quantity.name.to_owned()).chain(subjects.iter().map(cell)).collect()
    }));
    let mut text = format!("{HEADING}\n\n{}\n", aligned(&rows));
    for note in notes(systems) {
        let _ = writeln!(text, "{note}");
    }
    text
}

/// What belongs to the figures, sentence by sentence.
pub(crate) fn notes(systems: &Systems) -> Vec<String> {
    let options = &systems.options;
    let blocks = match options.blocks {
        1 => "One block, so nothing tells what is chance".to_owned(),
        blocks => format!("Median over {} (smallest–largest)", count_words(blocks, "block")),
    };
    let mut notes = vec![format!(
        "{blocks}; {} nodes each, one cluster at a time, {} {}, each with one request under way; {} of {} bytes, all \
         written before, chosen {}.",
        options.nodes,
        count_words(options.connections, "connection"),
        options.placement.text(),
        count_words(usize::try_from(options.keys).unwrap_or(usize::MAX), "key"),
        options.value_bytes,
        match options.key_distribution {
            KeyDistribution::Uniform => "uniformly",
            KeyDistribution::Zipf => "by zipf",
            KeyDistribution::Hot => "nine times of ten the same",
        },
    )];
    if options.measures(Part::Writes) {
        let due = options.rate.map(|rate| {
            format!(", {} a second due, with latencies from when each was,", figure(rate))
        });
        notes.push(format!(
            "Writes{} for {} after {} that do not count, for everybody; a Java machine may still be getting \
             faster by then.",
            due.unwrap_or_default(),
            seconds(options.write),
            seconds(options.write_warmup)
        ));
    }
    if options.measures(Part::Reads) {
        notes.push(format!(
            "Reads of each kind for {} after {}. Linearizable ones: Duorum's and etcd's default, each \
             confirmed by a quorum; of ZooKeeper, sync and getData sent together, where the sync is the \
             leader's word without a quorum. Local ones: consistency=local, serializable, and getData alone.",
            seconds(options.read),
            seconds(options.read_warmup)
        ));
    }
    if options.measures(Part::Failover) {
        notes.push(format!(
            "Leader killed: from SIGKILL to the first acknowledged write of those sent every {} ms to the \
             other nodes.",
            figure(systems.failover_options.period.as_secs_f64() * 1e3)
        ));
    }
    for installation in &systems.installations {
        let runtime = installation.runtime.as_ref().map(|runtime| format!(", on {runtime}"));
        notes.push(format!(
            "{}: {}{}; settings: {}.",
            version_text(installation),
            installation.program,
            runtime.unwrap_or_default(),
            installation.settings
        ));
    }
    for run in &systems.runs {
        for (phase, report) in run.reports().filter(|(_, report)| !report.errors.is_empty()) {
            let errors = errors_text(&report.errors);
            let name = options.name(run.subject);
            notes.push(format!("{name}, block {}, {phase}: error {errors}", run.block + 1));
        }
    }
    for run in &systems.runs {
        if let Some(why) = LoadReport::unanswered(run.write.iter().map(|write| &write.report)) {
            notes.push(format!(
                "left out: {}, block {}: latencies of writes: {why}",
                options.name(run.subject),
                run.block + 1,
            ));
        }
    }
    for exclusion in &systems.exclusions {
        notes.push(format!("left out: block {}: {}", exclusion.block + 1, exclusion.reason));
    }
    notes
}
