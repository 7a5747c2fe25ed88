//! How many requests a second: the ratios, the floors, curves over clients and rates, blocks and time.

use super::Report;
use super::format::figure;
use super::html::{capitalized, escape, table};
use super::marks::{class_of, drawing, figure_of_tick, gallery, labelled, mark_of};
use super::svg::{Plot, Scale};
use crate::compare::{
    Better, Comparison, Curve, CurveKind, CurvePoint, Finding, Measure, Run, Side, Spread,
};
use crate::load::LoadReport;
use crate::stats::{extent, median};

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
            "Writes a second, beside the same stack without replication and a bare HTTP echo.",
            floors(report),
        ),
    ];
    for of in &report.analysis.curves {
        let caption = match of.kind {
            CurveKind::SweepThroughput => {
                "Closed loops of more and more clients. Line: the median over the blocks; band: the extremes."
            }
            CurveKind::PacedP50 | CurveKind::PacedP99 => {
                "Writes that are due at fixed moments; latency from then. A curve ends where not all could be sent; \
                 the upright lines are the last rates that are kept up with."
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
            timelines(comparison, side),
        ));
    }
    let tables: String =
        report.analysis.curves.iter().map(|curve| curve_table(comparison, curve)).collect();
    gallery("Differences and throughput", drawings) + &tables
}

/// The steps of a curve with their intervals.
fn curve_table(comparison: &Comparison, curve: &Curve) -> String {
    let spread = |spread: &Spread| {
        let [median, min, max] = [spread.median, spread.min, spread.max].map(figure);
        format!("{median}<small>{min} – {max}</small>")
    };
    let row = |point: &CurvePoint| {
        let ratio = point.ratio.map_or_else(
            || "–".to_owned(),
            |ratio| {
                format!("{:.2}<small>{:.2} – {:.2}</small>", ratio.ratio, ratio.low, ratio.high)
            },
        );
        vec![figure_of_tick(point.at), spread(&point.a), spread(&point.b), ratio]
    };
    let rows: Vec<Vec<String>> = curve.points.iter().map(row).collect();
    let [a, b] = comparison.names();
    let ratio = format!("{a} / {b}");
    format!(
        "<details><summary>{}</summary>\n{}</details>\n",
        escape(&capitalized(curve.kind.name())),
        table(&[curve.kind.axis(), a, b, &ratio], &rows)
    )
}

/// Every ratio with its interval, turned so that right is better for the first.
fn ratios(report: &Report) -> Option<String> {
    let rows: Vec<(&Finding, f64, f64, f64)> = report
        .analysis
        .findings
        .iter()
        .filter(|finding| !finding.measure.is_cost())
        .filter_map(|finding| {
            let ratio = finding.ratio?;
            Some(match finding.measure.better() {
                Better::Higher => (finding, ratio.ratio, ratio.low, ratio.high),
                Better::Lower => (finding, 1.0 / ratio.ratio, 1.0 / ratio.high, 1.0 / ratio.low),
            })
        })
        .collect();
    let widest =
        rows.iter().flat_map(|&(_, _, low, high)| [1.0 / low, high]).fold(1.15, f64::max).min(20.0)
            * 1.08;
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
        .map(|(place, (finding, ..))| (row_of(place), finding.measure.name().to_owned()))
        .collect();
    plot.y_names(&labels);
    plot.rule(1.0, "equal");
    for (place, (finding, ratio, low, high)) in rows.iter().enumerate() {
        let concludes = finding.ratio.is_some_and(|ratio| ratio.concludes());
        let winner = if *ratio > 1.0 { Side::A } else { Side::B };
        let class = if concludes { class_of(winner) } else { "open" };
        let y = row_of(place);
        plot.line(&[(*low, y), (*high, y)], &format!("{class} thick"));
        let text = format!("{}: {}", finding.measure.name(), finding.verdict);
        plot.mark((*ratio, y), mark_of(winner), class, &text);
    }
    (!rows.is_empty()).then(|| plot.finish("The ratio of each measure with its 95 % interval"))
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
fn timelines(comparison: &Comparison, side: Side) -> Option<String> {
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
    let highest = comparison.runs.iter().flat_map(writes).map(|(_, rate)| rate).reduce(f64::max)?;
    let first = comparison.all_runs_of(side).find_map(|run| run.loads.write_report())?;
    let (warmup, end) = (first.warmup_ms / 1e3, (first.warmup_ms + first.window_ms) / 1e3);
    let x = Scale::linear(0.0, end);
    let y = Scale::linear(0.0, highest * 1.1);
    let mut plot = Plot::new(x, y);
    plot.region(0.0, warmup, "discarded");
    plot.x_axis("seconds of the write phase", &labelled(x));
    plot.y_axis("writes/s in each 100 ms", &labelled(y));
    for run in comparison.all_runs_of(side) {
        plot.line(&writes(run), &format!("{} thin", class_of(side)));
    }
    Some(plot.finish(&format!("Write throughput of {} over time", comparison.name(side))))
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
    let spread = |point: &CurvePoint, side| if side == Side::A { point.a } else { point.b };
    let all = || curve.points.iter().flat_map(|point| [point.a, point.b]);
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
    for side in Side::BOTH {
        let points = curve.points.iter().map(|point| (point.at, spread(point, side)));
        let points: Vec<(f64, Spread)> = points.collect();
        let band: Vec<_> = points.iter().map(|&(at, of)| (at, of.min, of.max)).collect();
        let line: Vec<_> = points.iter().map(|&(at, of)| (at, of.median)).collect();
        plot.band(&band, class_of(side));
        plot.line(&line, class_of(side));
        for &(at, of) in &points {
            let text = format!(
                "{}, {} {}: {} ({}–{})",
                report.comparison.name(side),
                figure(at),
                curve.kind.axis(),
                figure(of.median),
                figure(of.min),
                figure(of.max)
            );
            plot.mark((at, of.median), mark_of(side), class_of(side), &text);
        }
    }
    for knee in curve.knees.into_iter().flatten() {
        plot.rule(knee, "equal");
    }
    Some(plot.finish(curve.kind.name()))
}
