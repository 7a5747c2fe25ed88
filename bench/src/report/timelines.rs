//! The failovers of a comparison on its page: their phases, stacked, and the outage as clients saw it.

use std::fmt::Write;

use super::Report;
use super::cells::{NONE, ratio_cell};
use super::format::{count_words, figure};
use super::html::{escape, table};
use super::marks::{class_of, labelled};
use super::svg::{Plot, Scale};
use crate::cluster::Fault;
use crate::compare::{Comparison, Durations, FaultFinding, FaultPart, Side};
use crate::failover::{Failover, Phase, Span};
use crate::stats::{BLOCKS_TO_CONCLUDE, extent, median};

/// The single failovers that are drawn of each side; of more, as many are taken evenly from the shortest to the
/// longest.
const ROWS_MAX: usize = 48;
/// The heights of a row, of a single failover and of the medians, in units of the drawing.
const ROW: f64 = 3.4;
const BAR: f64 = 24.0;
/// The space between the sides, and above and below.
const SPACE: f64 = 10.0;
/// What a plot is higher than its rows.
const AXIS: f64 = 56.0;
/// How many times the longest median is shown; longer rows are cut there.
const LONGEST_SHOWN: f64 = 4.0;

/// The whole section; nothing where no leader came to harm.
pub(super) fn section(report: &Report) -> String {
    let findings = &report.analysis.faults;
    if findings.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "<h2>Failover, phase by phase</h2>\n<p>All moments are read from the one clock of the host, those of the nodes \
         and those of the clients. T0 is the fault. <b>Detection</b> ends with T1, the first suspicion (or the leader \
         itself finds that no quorum answers it); <b>candidacy</b> with T2, when a node seeks a leader; \
         <b>election</b> with T3, when a quorum has voted; <b>discovery</b>, of ZAB alone, with T3z, when a quorum has \
         accepted the epoch; <b>synchronization</b> with T4, when what came before is committed, which is the first \
         commit of the new leader; <b>first write</b> with T5, when a client&#8217;s new write is acknowledged. Wide \
         bars are made of the medians of these moments, thin rows are single failovers.</p>\n",
    );
    text.push_str(&legend(findings));
    for (place, finding) in findings.iter().enumerate() {
        let figures = figures(report, finding);
        let name = finding.fault.name();
        let what = escape(finding.fault.what());
        let says = escape(&finding.verdict);
        if place == 0 {
            let _ = write!(text, "<h3>{name}: {what}</h3>\n<p>{says}</p>\n{figures}");
        } else {
            let _ = write!(
                text,
                "<details open=\"\"><summary><b>{name}</b>: {what}. {says}</summary>\n{figures}</details>\n"
            );
        }
    }
    text.push_str(&durations(&report.comparison, findings));
    text.push_str(&violations(findings));
    text
}

/// The colours of the phases that there are.
fn legend(findings: &[FaultFinding]) -> String {
    let parts = || findings.iter().flat_map(|finding| &finding.parts);
    let is_there = |phase: &Phase| parts().any(|found| found.part == FaultPart::Phase(*phase));
    let keys = Phase::ALL.into_iter().filter(is_there).map(|phase| {
        format!(
            "<span title=\"ends: {}\"><i class=\"key {}\"></i>{}</span>",
            escape(phase.ends()),
            class_of_phase(phase),
            phase.name()
        )
    });
    format!("<p class=\"keys\">{}</p>\n", keys.collect::<String>())
}

fn class_of_phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Start => "phase start",
        Phase::Handover => "phase handover",
        Phase::Detection => "phase detection",
        Phase::Candidacy => "phase candidacy",
        Phase::Election => "phase election",
        Phase::Discovery => "phase discovery",
        Phase::Synchronization => "phase synchronization",
        Phase::FirstWrite => "phase first-write",
    }
}

fn figures(report: &Report, finding: &FaultFinding) -> String {
    let fault = finding.fault;
    let mut text = String::from("<div class=\"plots\">\n");
    let mut add = |class: &str, title: &str, caption: &str, plot: String| {
        let _ = write!(
            text,
            "<figure{class}><h3>{}</h3><figcaption>{}</figcaption>\n{plot}</figure>\n",
            escape(title),
            escape(caption)
        );
    };
    if let Some(plot) = stacked(report, fault) {
        let title = "From the fault to the first new write";
        add(" class=\"alone\"", title, "Each single one below the medians.", plot);
    }
    for side in Side::BOTH {
        if let Some((plot, failover)) = outage(report, fault, side) {
            let caption = format!(
                "Latency of every paced write of one of {}, that with the middle outage, from the moment at which it \
                 was to be sent. {}Crosses are errors.",
                count_words(report.valid_failovers_of(side, fault).count(), "failover"),
                failover
                    .outage_ms
                    .map_or_else(String::new, |outage| format!("Outage {} ms. ", figure(outage)))
            );
            add("", &format!("The outage of {}", report.comparison.name(side)), &caption, plot);
        }
    }
    text.push_str("</div>\n");
    text
}

/// The medians of the moments that end the phases, as spans.
fn median_spans(failovers: &[&Failover]) -> Vec<Span> {
    let mut from_ms = 0.0f64;
    let mut spans = Vec::new();
    for phase in Phase::ALL {
        let ends = failovers.iter().flat_map(|failover| failover.timeline.spans());
        let ends: Vec<f64> =
            ends.filter(|span| span.phase == phase).map(|span| span.to_ms).collect();
        // What only a few went through is no part of the middle one.
        if 2 * ends.len() >= failovers.len()
            && let Some(end) = median(&ends)
        {
            let to_ms = end.max(from_ms);
            spans.push(Span { phase, from_ms, to_ms });
            from_ms = to_ms;
        }
    }
    spans
}

/// The failovers of a side, from the shortest outage to the longest.
fn sorted(report: &Report, side: Side, fault: Fault) -> Vec<&Failover> {
    let with_phases = |failover: &&Failover| !failover.timeline.spans().is_empty();
    let mut failovers: Vec<&Failover> =
        report.valid_failovers_of(side, fault).filter(with_phases).collect();
    failovers.sort_by(|one, other| end_of(one).total_cmp(&end_of(other)));
    failovers
}

fn end_of(failover: &Failover) -> f64 {
    failover.timeline.spans().last().map_or(0.0, |span| span.to_ms)
}

/// Some of them, evenly, the first and the last included.
fn thinned<'a>(failovers: &[&'a Failover]) -> Vec<&'a Failover> {
    let count = failovers.len().min(ROWS_MAX);
    let at = |row: usize| row * failovers.len().saturating_sub(1) / count.saturating_sub(1).max(1);
    (0..count).map(|row| failovers[at(row)]).collect()
}

/// The phases of both sides: the medians, and every failover.
fn stacked(report: &Report, fault: Fault) -> Option<String> {
    let sides = Side::BOTH.map(|side| (side, sorted(report, side, fault)));
    let medians = sides.iter().map(|(_, failovers)| median_spans(failovers));
    let medians: Vec<Vec<Span>> = medians.collect();
    let middle = medians.iter().filter_map(|spans| Some(spans.last()?.to_ms)).reduce(f64::max)?;
    let ends: Vec<f64> =
        sides.iter().flat_map(|(_, all)| all.iter().map(|one| end_of(one))).collect();
    let (_, longest) = extent(&ends)?;
    let end = longest.min(LONGEST_SHOWN * middle);
    let rows = sides.each_ref().map(|(_, failovers)| thinned(failovers));
    let height_of = |rows: &[&Failover]| BAR + rows.len() as f64 * ROW + SPACE;
    let height: f64 = SPACE + rows.iter().map(|rows| height_of(rows)).sum::<f64>();
    // The vertical axis is that of the drawing itself, from the bottom.
    let x = Scale::linear(0.0, end * 1.02);
    let mut plot = Plot::with_size(x, Scale::linear(0.0, height), 90.0, height + AXIS);
    plot.x_axis("ms after the fault", &labelled(x));
    let mut top = height - SPACE;
    let mut names = Vec::new();
    for ((side, _), (spans, rows)) in sides.iter().zip(medians.iter().zip(&rows)) {
        let name = report.comparison.name(*side);
        names.push((top - BAR / 2.0, name.to_owned()));
        draw(&mut plot, spans, top - BAR / 2.0, BAR - 4.0, &format!("{name}, medians"), "");
        for (row, failover) in rows.iter().enumerate() {
            let y = top - BAR - (row as f64 + 0.5) * ROW;
            draw(&mut plot, &failover.timeline.spans(), y, ROW - 0.6, name, " faint");
        }
        top -= height_of(rows);
    }
    plot.y_names(&names);
    Some(plot.finish(&format!("The phases of both sides: {}", fault.what())))
}

fn draw(plot: &mut Plot, spans: &[Span], y: f64, height: f64, name: &str, faint: &str) {
    for span in spans {
        let text = format!(
            "{name}, {}: {} ms, from {} to {} ms",
            span.phase.name(),
            figure(span.to_ms - span.from_ms),
            figure(span.from_ms),
            figure(span.to_ms)
        );
        let class = format!("{}{faint}", class_of_phase(span.phase));
        plot.bar((span.from_ms, span.to_ms), y, height, &class, &text);
    }
}

/// The failover with the middle outage.
fn middle(report: &Report, side: Side, fault: Fault) -> Option<&Failover> {
    let options = report.comparison.failover_options.with_fault(fault);
    let mut failovers: Vec<&Failover> = report.valid_failovers_of(side, fault).collect();
    let of = |failover: &Failover| failover.outage_at_least_ms(&options);
    failovers.sort_by(|one, other| of(one).total_cmp(&of(other)));
    let last = failovers.len().checked_sub(1)?;
    failovers.get(last / 2).copied()
}

/// What the paced writes saw of one failover of a side, and which it is.
fn outage(report: &Report, fault: Fault, side: Side) -> Option<(String, &Failover)> {
    let both = Side::BOTH.map(|side| middle(report, side, fault));
    let failovers = || both.into_iter().flatten();
    let probes = || failovers().flat_map(|failover| &failover.probes);
    let (shown_from, shown_to) = match fault.spares_writes() {
        true => (f64::MIN, f64::MAX),
        false => focus(failovers().filter_map(|failover| failover.outage_ms)),
    };
    // Both sides have the same axes, so that they can be compared by eye.
    let first = probes().map(|probe| probe.intended_ms).reduce(f64::min)?.max(shown_from);
    let last = probes().map(|probe| probe.intended_ms).reduce(f64::max)?.min(shown_to);
    let slowest = probes().map(|probe| probe.latency_ms).reduce(f64::max)?;
    let fastest = probes().map(|probe| probe.latency_ms).reduce(f64::min)?;
    let failover = middle(report, side, fault)?;
    let timeline = &failover.timeline;
    let last = last.max(first + 1.0);
    let x = Scale::linear(first, last);
    let y = Scale::logarithmic((fastest * 0.6).max(0.05), (slowest * 3.0).max(10.0));
    let mut plot = Plot::new(x, y);
    if let Some(outage) = failover.outage_ms.filter(|_| !fault.spares_writes()) {
        plot.region(0.0, outage, "");
    }
    plot.x_axis("when the write was to be sent, ms after the fault", &labelled(x));
    plot.y_axis("latency from then, ms", &labelled(y));
    let marks = [
        ("T0", Some(0.0)),
        ("T1", timeline.suspected_ms),
        ("T3", timeline.elected_ms),
        ("T4", timeline.synchronized_ms),
        ("T5", timeline.first_write_ms),
        ("healed", timeline.healed_ms),
        ("T6", timeline.all_caught_up_ms),
    ];
    let known = marks.into_iter().filter_map(|(name, ms)| Some((name, ms?)));
    let mut levels = Levels::default();
    for (name, at) in known.filter(|&(_, at)| at >= first && at <= last) {
        plot.rule(at, "moment");
        plot.note_above(at, levels.of((at - first) / (last - first)), name);
    }
    let place = |probe: &crate::failover::Probe| (probe.intended_ms, probe.latency_ms);
    let shown = failover.probes.iter().filter(|probe| (first..=last).contains(&probe.intended_ms));
    let (failed, answered): (Vec<_>, Vec<_>) = shown.partition(|probe| probe.error.is_some());
    plot.cloud(answered.into_iter().map(place), class_of(side));
    plot.crosses(failed.into_iter().map(place), "failed");
    let name = report.comparison.name(side);
    Some((
        plot.finish(&format!("Latency of paced writes through one failover of {name}")),
        failover,
    ))
}

/// From when to when an outage is drawn so that it can be seen: what comes later, such as the healing, only if it does
/// not make the outage small. In milliseconds after the fault.
fn focus(outages: impl Iterator<Item = f64>) -> (f64, f64) {
    let longest = outages.fold(0.0, f64::max);
    (-(25.0 + 0.4 * longest), 40.0 + 1.6 * longest)
}

/// The lines on which labels above a plot are written so that none lies on another.
#[derive(Default)]
struct Levels {
    /// Where each line is taken up to, as a share of the width.
    taken: [Option<f64>; 5],
}

impl Levels {
    /// The share of the width that a label takes.
    const WIDTH: f64 = 0.11;

    fn of(&mut self, share: f64) -> usize {
        let free = |taken: &Option<f64>| taken.is_none_or(|taken| share >= taken);
        let level = self.taken.iter().position(free).unwrap_or(self.taken.len() - 1);
        self.taken[level] = Some(share + Self::WIDTH);
        level
    }
}

/// All parts of all kinds as a table.
fn durations(comparison: &Comparison, findings: &[FaultFinding]) -> String {
    let cell = |found: &Durations| {
        let (Some(median), Some(p99), Some(longest)) = (found.median, found.p99, found.longest)
        else {
            return NONE.to_owned();
        };
        let interval = found.interval.map_or_else(
            || "no interval".to_owned(),
            |(low, high)| format!("{} – {}", figure(low), figure(high)),
        );
        let [median, p99, longest] = [median, p99, longest].map(figure);
        format!("{median}<small>{interval}</small><small>p99 {p99}, longest {longest}</small>")
    };
    let mut rows = Vec::new();
    for finding in findings {
        let [a, b] = &finding.outages;
        rows.push(vec![
            format!("<b>{}: outage</b>", finding.fault.name()),
            cell(a),
            cell(b),
            ratio_cell(finding.ratio),
            format!("{}, {}", a.count, b.count),
        ]);
        rows.extend(finding.parts.iter().map(|found| {
            let [a, b] = &found.sides;
            let counts = format!("{}, {}", a.count, b.count);
            vec![escape(found.part.name()), cell(a), cell(b), String::new(), counts]
        }));
    }
    let [a, b] = Side::BOTH.map(|side| comparison.name(side).to_owned());
    let ratio = format!("{a} / {b}");
    format!(
        "<p>In milliseconds: the median, below it its 95 % interval, by blocks, of which it takes {BLOCKS_TO_CONCLUDE}; \
         then the 99th percentile and the longest of n, which are too few for intervals; the ratio with its 95 % interval, \
         by blocks. Where a leader may take writes meanwhile, the outage is the longest time without \
         one.</p>\n{}",
        table(&["", &a, &b, &ratio, "n"], &rows)
    )
}

fn violations(findings: &[FaultFinding]) -> String {
    let mut text = String::new();
    let of_kind = |finding: &FaultFinding| {
        let name = finding.fault.name();
        let all = finding.violations.iter().map(move |what| format!("{name}, {what}"));
        all.collect::<Vec<String>>()
    };
    let all: Vec<String> = findings.iter().flat_map(of_kind).collect();
    if !all.is_empty() {
        text.push_str("<h3>Not as it must be</h3>\n<ul>\n");
        for what in all {
            let _ = writeln!(text, "<li>{}</li>", escape(&what));
        }
        text.push_str("</ul>\n");
    }
    text
}
