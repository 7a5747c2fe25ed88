//! The plots of a report.

use super::Report;
use super::format::figure;
use super::svg::{Mark, Plot, Scale};
use crate::cluster::Fault;
use crate::compare::{
    Better, Comparison, Curve, CurveKind, CurvePoint, Finding, Measure, Run, Side, Spread,
};
use crate::load::LoadReport;
use crate::stats::{extent, median};

fn mark_of(side: Side) -> Mark {
    if side == Side::A { Mark::Circle } else { Mark::Square }
}

/// The style of what belongs to a side.
pub(super) fn class_of(side: Side) -> &'static str {
    if side == Side::A { "a" } else { "b" }
}

pub(super) fn labelled(scale: Scale) -> Vec<(f64, String)> {
    scale.ticks().into_iter().map(|tick| (tick, figure_of_tick(tick))).collect()
}

/// Ticks are round, so they need no digits that say nothing.
fn figure_of_tick(tick: f64) -> String {
    if tick.fract() == 0.0 && tick.abs() < 1_000.0 {
        return format!("{tick:.0}");
    }
    let text = figure(tick);
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

/// Every ratio with its interval, turned so that right is better for the first.
pub(super) fn ratios(report: &Report) -> Option<String> {
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
pub(super) fn blocks(report: &Report, measure: Measure) -> Option<String> {
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

/// The whole distribution of write latencies: the median over the runs, and their extremes.
pub(super) fn latencies(comparison: &Comparison) -> Option<String> {
    let curve = |side: Side| {
        let writes = comparison.all_runs_of(side).filter_map(|run| run.loads.write_report());
        let runs: Vec<&LoadReport> = writes.collect();
        let shares: Vec<f64> =
            runs.first()?.latency.curve.iter().map(|&(share, _)| share).collect();
        let points = shares.into_iter().filter_map(|share| {
            let at = |write: &&LoadReport| {
                let curve = &write.latency.curve;
                curve.iter().find(|&&(other, _)| other == share).map(|&(_, latency)| latency)
            };
            // A share that not every run is long enough for would compare different runs.
            let values: Vec<f64> = runs.iter().map(at).collect::<Option<_>>()?;
            let (low, high) = extent(&values)?;
            Some((-(1.0 - share).log10(), median(&values)?, low.max(1e-3), high))
        });
        Some(points.collect::<Vec<_>>())
    };
    let curves: Vec<(Side, Vec<_>)> =
        Side::BOTH.into_iter().filter_map(|side| Some((side, curve(side)?))).collect();
    let points = || curves.iter().flat_map(|(_, points)| points);
    let lowest = points().map(|point| point.2).reduce(f64::min)?;
    let highest = points().map(|point| point.3).reduce(f64::max)?;
    let last = points().map(|point| point.0).reduce(f64::max)?;
    let y = Scale::logarithmic(lowest * 0.9, highest * 1.1);
    let mut plot = Plot::new(Scale::linear(0.0, last), y);
    let shares = [(0.0, "best"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %")];
    let ticks: Vec<(f64, String)> = shares
        .into_iter()
        .chain([(0.9999, "99.99 %")])
        .map(|(share, label)| (-(1.0f64 - share).log10(), label.to_owned()))
        .filter(|&(place, _)| place <= last + 1e-9)
        .collect();
    plot.x_axis("share of the writes that were no slower", &ticks);
    plot.y_axis("write latency, ms", &labelled(y));
    for (side, points) in &curves {
        let band: Vec<_> = points.iter().map(|&(x, _, low, high)| (x, low, high)).collect();
        plot.band(&band, class_of(*side));
    }
    for (side, points) in &curves {
        let line: Vec<_> = points.iter().map(|&(x, middle, ..)| (x, middle)).collect();
        plot.line(&line, class_of(*side));
        for &(x, middle, low, high) in points {
            let text = format!(
                "{}: {} ms (runs {}–{})",
                comparison.name(*side),
                figure(middle),
                figure(low),
                figure(high)
            );
            let class = format!("{} small", class_of(*side));
            plot.mark((x, middle), mark_of(*side), &class, &text);
        }
    }
    Some(plot.finish("Write latency by share of the writes"))
}

/// The outages of both sides, sorted.
pub(super) fn outages(comparison: &Comparison) -> Option<String> {
    let options = &comparison.failover_options;
    let sorted = |side| {
        let failovers = comparison.failovers_of(side, Fault::Kill);
        let mut outages: Vec<f64> =
            failovers.map(|failover| failover.outage_at_least_ms(options)).collect();
        outages.sort_by(f64::total_cmp);
        outages
    };
    let curves = Side::BOTH.map(|side| (side, sorted(side)));
    let all: Vec<f64> = curves.iter().flat_map(|(_, outages)| outages.iter().copied()).collect();
    let (smallest, largest) = extent(&all)?;
    let x = if largest > 10.0 * median(&all)? {
        Scale::logarithmic(smallest.max(1.0) * 0.8, largest * 1.1)
    } else {
        Scale::linear(0.0, largest * 1.08)
    };
    let mut plot = Plot::new(x, Scale::linear(0.0, 100.0));
    plot.x_axis("from SIGKILL of the leader to the next acknowledged write, ms", &labelled(x));
    let shares = [0.0, 25.0, 50.0, 75.0, 100.0];
    plot.y_axis(
        "kills that were over by then, %",
        &shares.map(|share| (share, format!("{share:.0}"))),
    );
    for (side, outages) in &curves {
        let step = 100.0 / outages.len() as f64;
        let mut line = Vec::new();
        for (place, &outage) in outages.iter().enumerate() {
            line.push((outage, place as f64 * step));
            line.push((outage, (place + 1) as f64 * step));
        }
        plot.line(&line, class_of(*side));
        for (place, &outage) in outages.iter().enumerate() {
            let name = comparison.name(*side);
            let text = format!("{name}: {} ms", options.outage_text(outage, figure));
            let y = (place as f64 + 0.5) * step;
            plot.mark((outage, y), mark_of(*side), class_of(*side), &text);
        }
    }
    Some(plot.finish("Distribution of the outages after the leader was killed"))
}

/// What the paced writes saw around the faults of one side.
pub(super) fn probes(comparison: &Comparison, side: Side) -> Option<String> {
    let probes = || {
        let sides = Side::BOTH.into_iter();
        let failovers = sides.flat_map(|side| comparison.failovers_of(side, Fault::Kill));
        failovers.flat_map(|failover| &failover.probes)
    };
    // Both panels have the same axes, so that they can be compared by eye.
    let first = probes().map(|probe| probe.intended_ms).reduce(f64::min)?;
    let last = probes().map(|probe| probe.intended_ms).reduce(f64::max)?.max(first + 1.0);
    let slowest = probes().map(|probe| probe.latency_ms).reduce(f64::max)?;
    let x = Scale::linear(first, last);
    let y = Scale::logarithmic(0.1, (slowest * 1.2).max(1.0));
    let mut plot = Plot::new(x, y);
    plot.x_axis("when the write was to be sent, ms after SIGKILL", &labelled(x));
    plot.y_axis("latency from then, ms", &labelled(y));
    plot.rule(0.0, "equal");
    let mine = || {
        let failovers = comparison.failovers_of(side, Fault::Kill);
        failovers.flat_map(|failover| &failover.probes)
    };
    let place = |probe: &crate::failover::Probe| (probe.intended_ms, probe.latency_ms);
    plot.cloud(mine().filter(|probe| probe.error.is_none()).map(place), class_of(side));
    plot.crosses(mine().filter(|probe| probe.error.is_some()).map(place), "failed");
    mine().next()?;
    let name = comparison.name(side);
    Some(plot.finish(&format!("Latency of paced writes around the kills of leaders: {name}")))
}

/// Writes in each tenth of a second, one line for each run, with what was discarded.
pub(super) fn timelines(comparison: &Comparison, side: Side) -> Option<String> {
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
pub(super) fn floors(report: &Report) -> Option<String> {
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
pub(super) fn curve(report: &Report, curve: &Curve) -> Option<String> {
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
