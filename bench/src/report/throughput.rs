//! How many requests a second: the ratios, the floors, curves over clients and rates, blocks and time.

use super::Report;
use super::cells::{NONE, between, ratio_cell, spread_cell};
use super::format::{count_words, figure};
use super::html::{capitalized, escape, table};
use super::marks::{class_of, drawing, figure_of_tick, gallery, labelled, mark_of};
use super::svg::{Plot, Scale};
use crate::compare::{
    Better, Comparison, Curve, CurveKind, CurvePoint, Knee, Knees, Measure, Run, Side, Spread,
    Topic,
};
use crate::load::LoadReport;
use crate::stats::{RatioInterval, extent, median};

pub(super) fn section(report: &Report) -> String {
    let comparison = &report.comparison;
    let mut drawings = vec![
        drawing(
            "How much better, and how sure",
            "The bar is the 95 % interval; it is grey where it contains 1 or the blocks are too few.",
            ratios(report),
        ),
        drawing(
            "What replication costs",
            &format!(
                "Writes a second, beside the same stack without replication and a bare HTTP echo: medians of {} and, of \
                 the floors, n = {}, too few for an interval.",
                count_words(report.analysis.blocks(), "block"),
                report.analysis.echo_per_second.len()
            ),
            floors(report),
        ),
    ];
    for of in &report.analysis.curves {
        let caption = match of.kind {
            CurveKind::SweepThroughput => {
                "Closed loops of more and more clients. Line: the median over the blocks; band: the extremes."
            }
            CurveKind::PacedP50 => {
                "Writes that are due at fixed moments; latency from then. Line: the median over the blocks; band: the \
                 extremes. A side's curve ends where not all were answered."
            }
            CurveKind::PacedP99 => {
                "Writes that are due at fixed moments; latency from then. Line: the median over the blocks; band: the \
                 extremes. A side's curve ends where not all were answered. The upright lines are the highest rates \
                 that each side keeps up with, in the median, with the extremes of the blocks."
            }
        };
        drawings.push(drawing(&capitalized(of.kind.name()), caption, curve(report, of)));
    }
    drawings.push(drawing(
        "Write throughput by block",
        "The two marks of a block were measured close together, under the same conditions.",
        blocks(report, Measure::WriteThroughput),
    ));
    drawings.push(drawing(
        "Read throughput by block",
        "Linearizable reads, each confirmed by a quorum.",
        blocks(report, Measure::ReadThroughput),
    ));
    for side in Side::BOTH {
        drawings.push(drawing(
            &format!("Write throughput over time: {}", comparison.name(side)),
            "One line for each run. The shaded beginning does not count.",
            timelines(report, side),
        ));
    }
    let tables: String =
        report.analysis.curves.iter().map(|curve| curve_table(comparison, curve)).collect();
    gallery("Differences and throughput", drawings) + &tables
}

/// The steps of a curve with their intervals.
fn curve_table(comparison: &Comparison, curve: &Curve) -> String {
    let row = |point: &CurvePoint| {
        let [a, b] = point
            .sides
            .map(|side| side.as_ref().map_or_else(|| "not all answered".to_owned(), spread_cell));
        vec![figure_of_tick(point.at), a, b, ratio_cell(point.ratio), point.blocks_text()]
    };
    let mut rows: Vec<Vec<String>> = curve.points.iter().map(row).collect();
    rows.push(vec![
        "all of them".to_owned(),
        String::new(),
        String::new(),
        ratio_cell(curve.ratio),
        curve.ratio.map_or_else(String::new, |ratio| ratio.blocks.to_string()),
    ]);
    if let Some(Knees { sides, blocks }) = &curve.knees {
        let cell = |knee: &Knee| {
            let [median, min, max] = [knee.median, knee.min, knee.max]
                .map(|rate| rate.map_or_else(|| "none".to_owned(), figure));
            between(&median, &min, &max)
        };
        rows.push(vec![
            "highest rate kept up with".to_owned(),
            cell(&sides[0]),
            cell(&sides[1]),
            NONE.to_owned(),
            blocks.to_string(),
        ]);
        let at_knee = |side: usize| {
            let point = curve.points.iter().find(|point| Some(point.at) == sides[side].median);
            let spread = point.and_then(|point| point.sides[side]);
            spread.as_ref().map_or_else(|| NONE.to_owned(), spread_cell)
        };
        rows.push(vec![
            format!("{} at that rate of its own", curve.kind.figure()),
            at_knee(0),
            at_knee(1),
            NONE.to_owned(),
            blocks.to_string(),
        ]);
    }
    let [a, b] = comparison.names();
    let ratio = format!("{a} / {b}");
    format!(
        "<details open=\"\"><summary>{}</summary>\n<p class=\"quiet\">Medians over n blocks, below them the smallest and the \
         largest; the ratio with its 95 % interval, where both sides have a figure in every block.</p>\n{}</details>\n",
        escape(&capitalized(curve.kind.name())),
        table(&[curve.kind.axis(), a, b, &ratio, "n"], &rows)
    )
}

/// Every ratio with its interval, turned so that right is better for the first.
fn ratios(report: &Report) -> Option<String> {
    let rows: Vec<(Topic, RatioInterval, RatioInterval)> = report
        .analysis
        .compared()
        .into_iter()
        .filter(|compared| !compared.topic.is_cost())
        .filter_map(|compared| {
            let ratio = compared.ratio?;
            let turned = match compared.topic.better() {
                Better::Higher => ratio,
                Better::Lower => ratio.inverse(),
            };
            Some((compared.topic, ratio, turned))
        })
        .collect();
    let widest =
        rows.iter().flat_map(|(_, _, turned)| [1.0 / turned.low, turned.high]).fold(1.15, f64::max);
    let widest = widest.min(20.0) * 1.08;
    let y = Scale::linear(-0.5, rows.len() as f64 - 0.5);
    let row_of = |place: usize| (rows.len() - 1 - place) as f64;
    let height = 60.0 + 27.0 * rows.len() as f64;
    let mut plot = Plot::with_size(Scale::logarithmic(1.0 / widest, widest), y, 190.0, height);
    let candidates: &[f64] = if widest < 1.6 {
        &[1.0, 1.1, 1.2, 1.3, 1.5]
    } else if widest < 4.0 {
        &[1.0, 1.5, 2.0, 3.0]
    } else if widest < 8.0 {
        &[1.0, 2.0, 4.0]
    } else {
        &[1.0, 2.0, 5.0, 10.0, 20.0]
    };
    let mut ticks = Vec::new();
    for &factor in candidates.iter().filter(|&&factor| factor < widest) {
        let label = format!("{}×", figure_of_tick(factor));
        if factor > 1.0 {
            ticks.push((1.0 / factor, label.clone()));
        }
        ticks.push((factor, label));
    }
    let [a, b] = Side::BOTH.map(|side| report.comparison.name(side));
    plot.x_axis(&format!("← {b} better by\u{2003}\u{2003}{a} better by →"), &ticks);
    let labels: Vec<(f64, String)> = rows
        .iter()
        .enumerate()
        .map(|(place, (topic, ..))| (row_of(place), short(*topic)))
        .collect();
    plot.y_names(&labels);
    plot.rule(1.0, "equal");
    for (place, (topic, ratio, turned)) in rows.iter().enumerate() {
        let class = topic.winner(*ratio).map_or("open", class_of);
        let y = row_of(place);
        plot.line(&[(turned.low, y), (turned.high, y)], &format!("{class} thick"));
        let ahead = if turned.ratio > 1.0 { Side::A } else { Side::B };
        let verdict = topic.verdict(Some(*ratio), report.comparison.names());
        plot.mark(
            (turned.ratio, y),
            mark_of(ahead),
            class,
            &format!("{}: {verdict}", topic.name()),
        );
    }
    (!rows.is_empty()).then(|| plot.finish("The ratio of each measure with its 95 % interval"))
}

/// What has room beside a plot.
fn short(topic: Topic) -> String {
    match topic {
        Topic::Curve(CurveKind::SweepThroughput) => "throughput, all clients".to_owned(),
        Topic::Curve(CurveKind::PacedP50) => "latency p50, all rates".to_owned(),
        Topic::Curve(CurveKind::PacedP99) => "latency p99, all rates".to_owned(),
        Topic::Measure(Measure::ReadThroughput) => "read throughput".to_owned(),
        Topic::Measure(Measure::ReadLatencyP50) => "read latency p50".to_owned(),
        Topic::Measure(Measure::ReadLatencyP99) => "read latency p99".to_owned(),
        Topic::Measure(_) | Topic::Fault(_) => topic.name(),
    }
}

/// One measure over the blocks: the blocks' figures, paired.
fn blocks(report: &Report, measure: Measure) -> Option<String> {
    let finding = report.analysis.finding(measure)?;
    let values: Vec<f64> = finding.blocks.iter().flat_map(|&(_, a, b)| [a, b]).collect();
    let (smallest, largest) = extent(&values)?;
    let margin = ((largest - smallest) * 0.25).max(largest * 0.02);
    let y = Scale::linear((smallest - margin).max(0.0), largest + margin);
    let count = report.comparison.plan.blocks.len();
    let mut plot = Plot::new(Scale::linear(-0.5, count as f64 - 0.5), y);
    let ticks: Vec<(f64, String)> = (0..count)
        .filter(|block| count <= 12 || block % count.div_ceil(12) == 0)
        .map(|block| (block as f64, (block + 1).to_string()))
        .collect();
    plot.x_axis("block", &ticks);
    plot.y_axis(&format!("{}, {}", measure.name(), measure.unit()), &labelled(y));
    for &(block, a, b) in &finding.blocks {
        let (left, right) = (block as f64 - 0.12, block as f64 + 0.12);
        plot.line(&[(left, a), (right, b)], "pair");
        for (x, value, side) in [(left, a, Side::A), (right, b, Side::B)] {
            let letters = report.comparison.plan.blocks[block].letters();
            let text = format!(
                "block {} ({letters}), {}: {} {}",
                block + 1,
                report.comparison.name(side),
                figure(value),
                measure.unit()
            );
            plot.mark((x, value), mark_of(side), class_of(side), &text);
        }
    }
    Some(plot.finish(&format!("{} of both sides in each block", measure.name())))
}

/// Writes in each tenth of a second, one line for each run, with what was discarded.
fn timelines(report: &Report, side: Side) -> Option<String> {
    let series = |write: &LoadReport| {
        let step = write.timeline_step_ms;
        let end = write.warmup_ms + write.window_ms;
        let bars = write.timeline.iter().enumerate();
        bars.map(|(bar, &count)| (bar as f64 * step, f64::from(count) * 1e3 / step))
            // The last answers after the end belong to no full bar.
            .filter(|&(begin, _)| begin + step <= end + 1e-6)
            .map(|(begin, rate)| ((begin + step / 2.0) / 1e3, rate))
            .collect::<Vec<_>>()
    };
    let writes = |run: &'_ Run| run.loads.write_report().map(series).unwrap_or_default();
    let all = Side::BOTH.into_iter().flat_map(|side| report.valid_runs_of(side));
    let highest = all.flat_map(writes).map(|(_, rate)| rate).reduce(f64::max)?;
    let first = report.valid_runs_of(side).find_map(|run| run.loads.write_report())?;
    let (warmup, end) = (first.warmup_ms / 1e3, (first.warmup_ms + first.window_ms) / 1e3);
    let x = Scale::linear(0.0, end);
    let y = Scale::linear(0.0, highest * 1.1);
    let mut plot = Plot::new(x, y);
    plot.region(0.0, warmup, "discarded");
    plot.x_axis("seconds of the write phase", &labelled(x));
    plot.y_axis("writes/s in each 100 ms", &labelled(y));
    for run in report.valid_runs_of(side) {
        plot.line(&writes(run), &format!("{} thin", class_of(side)));
    }
    Some(plot.finish(&format!("Write throughput of {} over time", report.comparison.name(side))))
}

/// The floors beside both sides: how much of what is possible replication leaves.
fn floors(report: &Report) -> Option<String> {
    let finding = report.analysis.finding(Measure::WriteThroughput)?;
    let null = finding.null?;
    let echo = median(&report.analysis.echo_per_second)?;
    let rows = [
        ("HTTP echo", echo, "open"),
        ("null, 1 node", null.median, "open"),
        (report.comparison.name(Side::A), finding.a.median, "a"),
        (report.comparison.name(Side::B), finding.b.median, "b"),
    ];
    let x = Scale::linear(0.0, echo.max(null.median) * 1.18);
    let y = Scale::linear(-0.6, rows.len() as f64 - 0.4);
    let mut plot = Plot::with_size(x, y, 90.0, 190.0);
    plot.x_axis("requests a second", &labelled(x));
    let row_of = |place: usize| (rows.len() - 1 - place) as f64;
    let labels: Vec<(f64, String)> = rows
        .iter()
        .enumerate()
        .map(|(place, (name, ..))| (row_of(place), (*name).to_owned()))
        .collect();
    plot.y_names(&labels);
    for (place, &(_, value, class)) in rows.iter().enumerate() {
        let y = row_of(place);
        plot.line(&[(0.0, y), (value, y)], &format!("{class} bar"));
        plot.note((value, y), &figure(value));
    }
    Some(plot.finish("Writes a second of both sides beside the floors"))
}

/// A curve of both sides over its steps: the median over the blocks, and the extremes.
fn curve(report: &Report, curve: &Curve) -> Option<String> {
    let (first, last) = (curve.points.first()?.at, curve.points.last()?.at);
    let all = || curve.points.iter().flat_map(|point| point.sides).flatten();
    let lowest = all().map(|spread| spread.min).reduce(f64::min)?;
    let highest = all().map(|spread| spread.max).reduce(f64::max)?;
    let y = match curve.kind {
        CurveKind::SweepThroughput => Scale::linear(0.0, highest * 1.1),
        CurveKind::PacedP50 | CurveKind::PacedP99 => {
            Scale::logarithmic(lowest * 0.8, highest * 1.2)
        }
    };
    let x = Scale::logarithmic(first * 0.9, last * 1.1);
    let mut plot = Plot::new(x, y);
    let ticks = curve.points.iter().map(|point| (point.at, figure_of_tick(point.at)));
    plot.x_axis(curve.kind.axis(), &ticks.collect::<Vec<_>>());
    plot.y_axis(curve.kind.figure(), &labelled(y));
    for (number, side) in Side::BOTH.into_iter().enumerate() {
        let points = curve.points.iter().filter_map(|point| Some((point, point.sides[number]?)));
        let points: Vec<(&CurvePoint, Spread)> = points.collect();
        let band: Vec<_> = points.iter().map(|&(point, of)| (point.at, of.min, of.max)).collect();
        let line: Vec<_> = points.iter().map(|&(point, of)| (point.at, of.median)).collect();
        plot.band(&band, class_of(side));
        plot.line(&line, class_of(side));
        for &(point, of) in &points {
            let text = format!(
                "{}, {} {}: {} ({}–{}, n = {})",
                report.comparison.name(side),
                figure(point.at),
                curve.kind.axis(),
                figure(of.median),
                figure(of.min),
                figure(of.max),
                point.blocks[number]
            );
            plot.mark((point.at, of.median), mark_of(side), class_of(side), &text);
        }
    }
    if let Some(knees) = &curve.knees {
        mark_knees(&mut plot, &report.comparison, knees);
    }
    Some(plot.finish(curve.kind.name()))
}

/// The knees of both sides as upright lines that say whose they are; two at the same rate have their names one below the
/// other.
fn mark_knees(plot: &mut Plot, comparison: &Comparison, knees: &Knees) {
    for (line, (side, knee)) in Side::BOTH.into_iter().zip(&knees.sides).enumerate() {
        let Some(rate) = knee.median else { continue };
        let [min, max] =
            [knee.min, knee.max].map(|rate| rate.map_or_else(|| "none".to_owned(), figure_of_tick));
        plot.rule(rate, &format!("knee {}", class_of(side)));
        let text = format!("{} {} ({min}–{max})", comparison.name(side), figure_of_tick(rate));
        plot.note_before(rate, line, &text);
    }
}
