//! The plan and the result of a comparison as text for a terminal.

use std::fmt::Write;

use super::analysis::{Analysis, Finding, Spread};
use super::contender::Side;
use super::curves::Curve;
use super::faults;
use super::measures::Measure;
use super::plan::{MixedLoad, Part, Plan, RATES, SWEEP, Settings};
use super::record::{Comparison, Exclusion};
use super::strikes;
use crate::load::{KeyDistribution, Mix};
use crate::report::format::{bytes, count_words, figure, seconds};
use crate::stats::RatioInterval;

/// What will be done, before it is done.
#[must_use]
pub fn plan_text(settings: &Settings, plan: &Plan) -> String {
    let coins: Vec<&str> = plan.blocks.iter().map(|block| block.letters()).collect();
    let [a, b] = &settings.contenders;
    let mut text = format!(
        "{} (A) and {} (B), {} nodes each, one cluster at a time, {}.\n\
         {} of 4 runs by coin (seed {}): {}\n\
         Each run: a cluster from nothing{}.\n\
         Before and after: one node of the null protocol, and an HTTP echo, as floors{}.\n",
        a.name.trim_end_matches(" (A)"),
        b.name.trim_end_matches(" (B)"),
        settings.nodes,
        settings.clients_text(),
        count_words(settings.blocks, "block"),
        settings.seed,
        coins.join(" | "),
        phases_text(settings),
        match settings.has_clients() {
            true => String::new(),
            false => format!(", by {}", count_words(settings.connections, "connection")),
        },
    );
    if let Some(budget) = settings.budget {
        let _ = writeln!(text, "No block begins that would end after {}.", seconds(budget));
    }
    text
}

/// What is done with each cluster, as the rest of a sentence.
pub(crate) fn phases_text(settings: &Settings) -> String {
    let phases = &settings.phases;
    let mut text = String::new();
    if settings.measures(Part::Watch) {
        let _ = write!(
            text,
            ", {} of one key for {} ({} discarded)",
            count_words(settings.watchers, "watcher"),
            seconds(phases.write),
            seconds(phases.read_warmup)
        );
    }
    if settings.measures(Part::Reads) || settings.measures(Part::Mixed) {
        let keys = usize::try_from(settings.keys).unwrap_or(usize::MAX);
        let _ = write!(text, ", {} filled", count_words(keys, "key"));
    }
    if settings.measures(Part::Writes) {
        let _ = write!(
            text,
            ", writes of {} bytes{} for {} ({} discarded)",
            settings.value_bytes,
            due(settings),
            seconds(phases.write),
            seconds(phases.write_warmup)
        );
    }
    if settings.measures(Part::Mixed) {
        let MixedLoad { mix: Mix { put, get, range }, watchers } = settings.mixed;
        let _ = write!(
            text,
            ", writes to reads to ranges as {put} to {get} to {range}{} for {} ({} discarded)",
            due(settings),
            seconds(phases.write),
            seconds(phases.write_warmup)
        );
        if watchers > 0 {
            let _ = write!(text, " beside {} of all keys", count_words(watchers, "watcher"));
        }
    }
    if settings.measures(Part::Reads) {
        let (read, warmup) = (seconds(phases.read), seconds(phases.read_warmup));
        let _ = write!(text, ", linearizable reads for {read} ({warmup} discarded)");
    }
    if settings.measures(Part::Sweep) {
        let (least, most) = (SWEEP[0], SWEEP[SWEEP.len() - 1]);
        let _ =
            write!(text, ", writes by {least} to {most} clients, {} each", seconds(phases.step));
    }
    if settings.measures(Part::Paced) {
        let (least, most) = (figure(RATES[0]), figure(RATES[RATES.len() - 1]));
        let _ = write!(
            text,
            ", {least} to {most} writes a second that are due, {} each",
            seconds(phases.step)
        );
    }
    if settings.measures(Part::Failover) {
        let _ = write!(text, ", {}{}", faults::plan_text(settings), strikes::plan_text(settings));
    } else if settings.parts.contains(&Part::Failover) {
        text.push_str(", leader not killed, with fewer than three nodes");
    }
    text
}

/// When requests are due, if that is not when the last ones are answered.
fn due(settings: &Settings) -> String {
    let rate = settings.rate.map(|rate| format!(", {} a second due,", figure(rate)));
    let keys = match settings.key_distribution {
        KeyDistribution::Uniform => "",
        KeyDistribution::Zipf => " to keys by zipf",
        KeyDistribution::Hot => " to a hot key",
    };
    format!("{keys}{}", rate.unwrap_or_default())
}

/// The result.
#[must_use]
pub fn table_text(comparison: &Comparison, analysis: &Analysis) -> String {
    let [a, b] = Side::BOTH.map(|side| comparison.name(side).to_owned());
    let ratio = format!("{a} / {b} [95 %]");
    let mut rows = vec![vec![String::new(), a, b, ratio, "null, 1 node".to_owned()]];
    rows.extend(analysis.findings.iter().map(row));
    let mut text = if rows.len() > 1 { aligned(&rows) + "\n" } else { String::new() };
    for curve in &analysis.curves {
        text.push_str(&curve_text(comparison, curve));
        text.push('\n');
    }
    text.push_str(&faults::text(comparison, &analysis.faults));
    let names = comparison.names();
    for compared in analysis.compared().iter().filter(|compared| !compared.topic.is_cost()) {
        let verdict = compared.verdict(names);
        let _ = writeln!(text, "{}: {verdict}", compared.topic.name());
    }
    text.push('\n');
    text.push_str(&footnotes(comparison, analysis));
    text
}

fn spread_text(spread: &Spread) -> String {
    format!("{} ({}–{})", figure(spread.median), figure(spread.min), figure(spread.max))
}

pub(crate) fn ratio_text(ratio: Option<RatioInterval>) -> String {
    ratio.map_or_else(
        || "–".to_owned(),
        |ratio| {
            let [ratio, low, high] = ratio.texts();
            format!("{ratio} [{low}, {high}]")
        },
    )
}

/// A curve, a step a line.
fn curve_text(comparison: &Comparison, curve: &Curve) -> String {
    let [a, b] = Side::BOTH.map(|side| comparison.name(side).to_owned());
    let ratio = format!("{a} / {b} [95 %]");
    let mut rows = vec![vec![curve.kind.axis().to_owned(), a, b, ratio, "n".to_owned()]];
    rows.extend(curve.points.iter().map(|point| {
        let [a, b] = point
            .sides
            .map(|side| side.as_ref().map_or_else(|| "not all answered".to_owned(), spread_text));
        let blocks = point.blocks_text();
        vec![figure(point.at), a, b, ratio_text(point.ratio), blocks]
    }));
    rows.push(vec![
        "all".to_owned(),
        String::new(),
        String::new(),
        ratio_text(curve.ratio),
        String::new(),
    ]);
    let mut text = format!("{}\n{}", curve.kind.name(), aligned(&rows));
    if let Some(knees) = &curve.knees {
        for (side, knee) in Side::BOTH.into_iter().zip(&knees.sides) {
            let _ = writeln!(text, "{}: {}", comparison.name(side), knee.text(knees.blocks));
        }
    }
    text
}

fn row(finding: &Finding) -> Vec<String> {
    vec![
        finding.measure.heading(),
        spread_text(&finding.a),
        spread_text(&finding.b),
        ratio_text(finding.ratio),
        finding.null.as_ref().map_or_else(|| "–".to_owned(), |null| figure(null.median)),
    ]
}

/// Columns as wide as their widest cell.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).filter_map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What the method makes of no difference.
fn calibration_text(analysis: &Analysis) -> String {
    let twice = analysis.calibration.iter().map(|twice| {
        let alarm = if twice.ratio.concludes() { ", a false alarm" } else { "" };
        format!("{} {}{alarm}", twice.topic.name(), ratio_text(Some(twice.ratio)))
    });
    let twice: Vec<String> = twice.collect();
    match twice.is_empty() {
        true => String::new(),
        false => format!("Each contender against itself: {}.\n", twice.join("; ")),
    }
}

fn footnotes(comparison: &Comparison, analysis: &Analysis) -> String {
    let machine = &comparison.machine;
    let mut text = format!(
        "Median over {} (smallest–largest); intervals by paired bootstrap.\n",
        count_words(analysis.blocks(), "block")
    );
    text.push_str(&calibration_text(analysis));
    let echo = crate::stats::median(&analysis.echo_per_second);
    let null = analysis.finding(Measure::WriteThroughput).and_then(|finding| finding.null);
    if let Some(echo) = echo {
        let share = null.map_or_else(String::new, |null| {
            format!(", the null protocol writes {:.0} % of that", 100.0 * null.median / echo)
        });
        let _ = writeln!(text, "Floor: a bare HTTP echo answers {}/s{share}.", figure(echo));
    }
    let _ = writeln!(
        text,
        "Clients and servers share {}, over loopback. {}, {} of memory, {}; data on {} ({}); \
         fdatasync p50 {} ms, p99 {} ms.",
        count_words(machine.cores, "core"),
        machine.cpu,
        bytes(machine.memory_bytes),
        machine.kernel,
        comparison.file_system.mount_point,
        comparison.file_system.kind,
        figure(comparison.disk_before.p50_ms),
        figure(comparison.disk_before.p99_ms),
    );
    for (protocol, errors) in &analysis.errors {
        for (name, count) in errors {
            let _ = writeln!(text, "{protocol}: error {name} × {count}");
        }
    }
    for exclusion in Exclusion::texts(&analysis.exclusions) {
        let _ = writeln!(text, "left out: {exclusion}");
    }
    for warning in crate::report::warnings(comparison) {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}
