//! What will be done and what came of it, as the terminal shows it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use super::kind::Ablation;
use super::pair::Pair;
use super::record::{Ablated, Ablations};
use crate::compare::{
    Calibration, Comparison, Measure, Settings, Spread, Topic, aligned, ratio_text,
};
use crate::report::cells::NONE;
use crate::report::format::{count_words, figure};
use crate::stats::RatioInterval;

/// The headings of the columns.
pub(super) const HEAD: [&str; 8] = [
    "mechanism",
    "protocol",
    "changed to",
    "measure",
    "as it is",
    "changed",
    "n",
    "as it is / changed [95 %]",
];

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
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    for ablated in &ablations.pairs {
        rows.extend(lines(ablated).iter().map(cells));
    }
    let mut text = aligned(&rows);
    text.push('\n');
    for ablation in measured(ablations) {
        let _ = writeln!(text, "{}: {}", ablation.name(), ablation.sentence());
    }
    text.push_str(
        "\nMedian over n blocks; intervals by paired bootstrap. One that contains 1 shows no difference.\n",
    );
    let twice = calibrations(ablations);
    if !twice.is_empty() {
        let alarms = twice.iter().filter(|line| line.ratio.concludes()).count();
        let _ = writeln!(
            text,
            "Each of them against itself, by the same rule: {} with its interval, {} a false alarm. {NO_FLOORS}",
            count_words(twice.len(), "ratio"),
            if alarms == 0 { "none of them".to_owned() } else { alarms.to_string() }
        );
    }
    if let Some(comparison) = comparisons(ablations).next() {
        text.push_str(&machine_text(comparison));
    }
    for warning in warnings(ablations) {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

/// Why there are no floors.
pub(super) const NO_FLOORS: &str = "The floors (the null protocol, an HTTP echo) are not measured here: they say nothing about a protocol \
     against itself.";

/// A line of the table.
pub(super) struct Line {
    /// The mechanism, the protocol, the flags that change it, and the measure, or what went wrong.
    pub(super) names: [String; 4],
    /// As it is, and changed, over the blocks; `None` where there is no figure.
    pub(super) sides: [Option<Spread>; 2],
    /// As it is over changed.
    pub(super) ratio: Option<RatioInterval>,
    /// In how many blocks both sides have figures.
    pub(super) blocks: usize,
}

impl Line {
    /// Whether the interval shows a difference.
    pub(super) fn concludes(&self) -> bool {
        self.ratio.is_some_and(|ratio| ratio.concludes())
    }
}

/// A line as the terminal shows it.
fn cells(line: &Line) -> Vec<String> {
    let [as_it_is, changed] =
        line.sides.map(|side| side.map_or_else(|| NONE.to_owned(), |spread| figure(spread.median)));
    let figures = [as_it_is, changed, line.blocks.to_string(), ratio_text(line.ratio)];
    [&line.names[..], &figures[..]].concat()
}

/// The lines of a pair: one for each measure, or what went wrong.
pub(super) fn lines(ablated: &Ablated) -> Vec<Line> {
    let pair = &ablated.pair;
    let line = |measure: String| Line {
        names: names(pair, measure),
        sides: [None; 2],
        ratio: None,
        blocks: 0,
    };
    let Some(report) = &ablated.report else {
        let why = ablated.failure.as_deref().unwrap_or("it was not measured");
        return vec![line(why.lines().next().unwrap_or_default().to_owned())];
    };
    let measures = pair.ablation.measures().iter();
    let mut lines: Vec<Line> = measures
        .map(|&measure| match report.analysis.finding(measure) {
            Some(finding) => Line {
                sides: [finding.a, finding.b].map(Some),
                ratio: finding.ratio,
                blocks: finding.blocks.len(),
                ..line(measure.heading())
            },
            None => line(format!("{}: no figures", measure.name())),
        })
        .collect();
    lines.extend(report.analysis.faults.iter().map(|finding| {
        let (a, b): (Vec<f64>, Vec<f64>) = finding.blocks.iter().map(|&(_, a, b)| (a, b)).unzip();
        Line {
            sides: [Spread::of(&a), Spread::of(&b)],
            ratio: finding.ratio,
            blocks: finding.blocks.len(),
            ..line(format!("outage after {}, ms", finding.fault.what()))
        }
    }));
    if lines.is_empty() { vec![line("no figures".to_owned())] } else { lines }
}

fn names(pair: &Pair, measure: String) -> [String; 4] {
    let protocol = pair.contenders[0].protocol.to_string();
    [pair.ablation.name().to_owned(), protocol, pair.flags(), measure]
}

/// A line of the calibration.
pub(super) struct Twice {
    /// As of the lines.
    pub(super) names: [String; 4],
    /// One half of a contender's runs over the other; in truth it is 1.
    pub(super) ratio: RatioInterval,
}

/// Each contender of each pair against itself, by what the mechanism concerns.
pub(super) fn calibrations(ablations: &Ablations) -> Vec<Twice> {
    let of_pair = |ablated: &Ablated| -> Vec<Twice> {
        let pair = &ablated.pair;
        let calibration = ablated.report.iter().flat_map(|report| &report.analysis.calibration);
        let concerned = calibration.filter(|twice| match twice.topic {
            Topic::Measure(Measure::Failover) | Topic::Fault(_) => true,
            Topic::Measure(measure) => pair.ablation.measures().contains(&measure),
            Topic::Curve(_) => false,
        });
        let line = |twice: &Calibration| Twice {
            names: names(pair, twice.topic.name()),
            ratio: twice.ratio,
        };
        concerned.map(line).collect()
    };
    ablations.pairs.iter().flat_map(of_pair).collect()
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
