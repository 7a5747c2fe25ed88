//! What will be done and what came of it, as the terminal shows it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use super::kind::Ablation;
use super::pair::Pair;
use super::record::{Ablated, Ablations};
use crate::compare::{Comparison, Measure, Settings, aligned, ratio_text};
use crate::report::format::{count_words, figure};
use crate::stats::RatioInterval;

/// The heading of the ratio.
pub(super) const RATIO: &str = "with / without [95 %]";

/// What will be done, before it is done.
#[must_use]
pub fn plan_text(pairs: &[Pair], settings: &[Settings]) -> String {
    let mut text = format!(
        "{}, each a comparison of its own, one cluster at a time:\n",
        count_words(pairs.len(), "pair")
    );
    for (pair, settings) in pairs.iter().zip(settings) {
        let _ = writeln!(
            text,
            "  {}: {} nodes, {} of 4 runs",
            pair.title(),
            settings.nodes,
            count_words(settings.blocks, "block")
        );
    }
    let budgets: Option<Duration> = settings.iter().map(|settings| settings.budget).sum();
    if let Some(budgets) = budgets {
        let minutes = budgets.as_secs().div_ceil(60);
        let _ = writeln!(
            text,
            "No block begins for which a pair has no time left: about {} in all.",
            count_words(usize::try_from(minutes).unwrap_or(usize::MAX), "minute")
        );
    }
    text
}

/// The result.
#[must_use]
pub fn table_text(ablations: &Ablations) -> String {
    let head = ["mechanism", "protocol", "instead", "measure", "with", "without", RATIO];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for ablated in &ablations.pairs {
        rows.extend(lines(ablated).into_iter().map(|line| line.cells.to_vec()));
    }
    let mut text = aligned(&rows);
    text.push('\n');
    for ablation in measured(ablations) {
        let _ = writeln!(text, "{}: {}", ablation.name(), ablation.sentence());
    }
    text.push_str("\nMedian over the blocks; intervals by paired bootstrap. One that contains 1 shows no difference.\n");
    if let Some(comparison) = comparisons(ablations).next() {
        text.push_str(&machine_text(comparison));
    }
    for warning in warnings(ablations) {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

/// A line of the table.
pub(super) struct Line {
    /// The mechanism, the protocol, the flags that take it away, the measure, and its figures.
    pub(super) cells: [String; 7],
    /// Whether the interval shows a difference.
    pub(super) concludes: bool,
}

/// The lines of a pair: one for each measure, or what went wrong.
pub(super) fn lines(ablated: &Ablated) -> Vec<Line> {
    let pair = &ablated.pair;
    let line = |measure: String, figures: [String; 3], concludes| {
        let [with, without, ratio] = figures;
        let names = [pair.ablation.name().to_owned(), pair.contenders[0].protocol.to_string()];
        let [mechanism, protocol] = names;
        let cells = [mechanism, protocol, pair.flags(), measure, with, without, ratio];
        Line { cells, concludes }
    };
    let nothing = || "–".to_owned();
    let missing = |why: String| line(why, [nothing(), nothing(), nothing()], false);
    let Some(report) = &ablated.report else {
        let why = ablated.failure.as_deref().unwrap_or("it was not measured");
        return vec![missing(why.lines().next().unwrap_or_default().to_owned())];
    };
    let concludes = |ratio: Option<RatioInterval>| ratio.is_some_and(|ratio| ratio.concludes());
    let measures = pair.ablation.measures().iter();
    let mut lines: Vec<Line> = measures
        .map(|&measure| match report.analysis.finding(measure) {
            Some(finding) => {
                let sides = [&finding.a, &finding.b].map(|spread| Some(spread.median));
                line(measure.heading(), figures(sides, finding.ratio), concludes(finding.ratio))
            }
            None => missing(format!("{}: no figures", measure.name())),
        })
        .collect();
    lines.extend(report.analysis.faults.iter().map(|finding| {
        let sides = finding.outages.map(|outages| outages.median);
        let heading = format!("outage after {}, ms", finding.fault.what());
        line(heading, figures(sides, finding.ratio), concludes(finding.ratio))
    }));
    if lines.is_empty() { vec![missing("no figures".to_owned())] } else { lines }
}

fn figures(sides: [Option<f64>; 2], ratio: Option<RatioInterval>) -> [String; 3] {
    let [with, without] = sides.map(|side| side.map_or_else(|| "–".to_owned(), figure));
    [with, without, ratio_text(ratio)]
}

/// The mechanisms that were measured, in order.
pub(super) fn measured(ablations: &Ablations) -> Vec<Ablation> {
    let measured: BTreeSet<Ablation> =
        ablations.pairs.iter().map(|ablated| ablated.pair.ablation).collect();
    Ablation::ALL.into_iter().filter(|ablation| measured.contains(ablation)).collect()
}

/// The comparisons that were made.
pub(super) fn comparisons(ablations: &Ablations) -> impl Iterator<Item = &Comparison> {
    let reports = ablations.pairs.iter().filter_map(|ablated| ablated.report.as_ref());
    reports.map(|report| &report.comparison)
}

/// Where it was measured.
pub(super) fn machine_text(comparison: &Comparison) -> String {
    let machine = &comparison.machine;
    format!(
        "Clients and servers share {}, over loopback. {}, {}; data on {} ({}); fdatasync p50 {} ms.\n",
        count_words(machine.cores, "core"),
        machine.cpu,
        machine.kernel,
        comparison.file_system.mount_point,
        comparison.file_system.kind,
        figure(comparison.disk_before.p50_ms),
    )
}

/// What a reader must know, each once.
pub(super) fn warnings(ablations: &Ablations) -> BTreeSet<String> {
    let mut warnings: BTreeSet<String> =
        comparisons(ablations).flat_map(crate::report::warnings).collect();
    for ablated in &ablations.pairs {
        let Some(report) = &ablated.report else {
            warnings.insert(format!("{} could not be measured", ablated.pair.title()));
            continue;
        };
        let excluded = &report.analysis.exclusions;
        // Without fsync there is no number of syncs to compare.
        let of_syncs = |reason: &str| reason.starts_with(Measure::FsyncsPerWrite.name());
        for exclusion in excluded.iter().filter(|exclusion| !of_syncs(&exclusion.reason)) {
            let block = exclusion.block + 1;
            warnings.insert(format!(
                "{}: block {block}: {}",
                ablated.pair.title(),
                exclusion.reason
            ));
        }
    }
    warnings
}
