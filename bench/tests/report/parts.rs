//! Comparisons of some parts alone: loads, curves, watchers.

use std::path::Path;

use bench::cluster::Fault;
use bench::compare::{
    Comparison, Curve, CurveKind, Knee, Measure, Part, Side, Step, plan_text, table_text,
};
use bench::report::Report;

use crate::answer::answer;
use crate::made::{mixed_comparison, only};
use crate::page::check_well_formed;
use crate::sample;

#[test]
fn a_comparison_of_some_parts_tells_of_those_and_of_no_others() {
    let mut comparison = sample::comparison(12, 1.05);
    comparison.settings = comparison.settings.only([Part::Writes].into());
    for loads in comparison.runs.iter_mut().map(|run| &mut run.loads) {
        (loads.fill, loads.read) = (None, None);
    }
    for floor in &mut comparison.floors {
        floor.null.read = None;
    }
    for run in &mut comparison.runs {
        run.failovers.clear();
    }
    let report = Report::new(comparison);
    assert!(report.analysis.finding(Measure::ReadThroughput).is_none());
    assert!(report.analysis.finding(Measure::Failover).is_none());
    let page = report.html();
    check_well_formed(&page);
    for missing in ["linearizable reads", "Outage: ", "Read throughput", "<h2>Failover"] {
        assert!(!page.contains(missing), "{missing} is on the page");
        assert!(Report::new(sample::comparison(6, 1.0)).html().contains(missing), "of the whole");
    }
    let text = table_text(&report.comparison, &report.analysis);
    assert!(text.contains("write throughput: raft is 1.0") && !text.contains("read"), "{text}");
}

#[test]
fn a_mixed_load_and_its_watchers_are_measures_of_their_own() {
    let report = Report::new(mixed_comparison(1.3));
    let found: Vec<Measure> =
        report.analysis.findings.iter().map(|finding| finding.measure).collect();
    let expected = [
        // Not how many a second: that was asked for.
        Measure::MixedLatencyP50,
        Measure::MixedLatencyP99,
        Measure::MixedPutLatencyP99,
        Measure::MixedGetLatencyP99,
        Measure::MixedRangeLatencyP99,
        Measure::DeliveryP50,
        Measure::DeliveryP99,
    ];
    assert_eq!(found, expected);
    let page = report.html();
    check_well_formed(&page);
    for part in [
        "How long mixed operations took",
        "How long the writes among them took",
        "How long the ranges among them took",
        "faster in latency p99 of reads in the mix",
        "How long it took until streams told of a write",
        "all at the leader",
        "are an open loop",
        "<b>Watches.</b>",
        "faster in delivery to watchers p99",
    ] {
        assert!(page.contains(part), "no {part}");
    }
    let plan = plan_text(&report.comparison.settings, &report.comparison.plan);
    for part in [
        "64 connections all at the leader",
        "writes to reads to ranges as 10 to 90 to 0, 5,000 a second due, for 1 s",
        "beside 2 watchers of all keys",
    ] {
        assert!(plan.contains(part), "no {part} in {plan}");
    }
}

#[test]
fn curves_have_a_row_and_a_mark_for_each_step_that_could_be_measured() {
    let comparison = only(&[Part::Sweep, Part::Paced], &[Fault::Kill], 1.3);
    let report = Report::new(comparison);
    let curves = &report.analysis.curves;
    let lengths: Vec<_> = curves.iter().map(|curve| (curve.kind, curve.points.len())).collect();
    let expected = [
        (CurveKind::SweepThroughput, 3),
        // At the highest rate not everything could be sent.
        (CurveKind::PacedP50, 3),
        (CurveKind::PacedP99, 3),
    ];
    assert_eq!(lengths, expected);
    for ratio in [curves[0].points[2].ratio, curves[0].ratio] {
        let ratio = ratio.expect("six blocks");
        assert!(ratio.low > 1.2 && ratio.high < 1.4, "{ratio:?}");
    }
    let knees = curves[2].knees.as_ref().expect("of p99");
    let at = Some(8_000.0);
    assert_eq!(knees.sides, [Knee { median: at, min: at, max: at }; 2]);
    assert!(curves[..2].iter().all(|curve| curve.knees.is_none()));
    let page = report.html();
    check_well_formed(&page);
    for part in [
        "class=\"knee a\"",
        "class=\"knee b\"",
        ">raft 8,000 (8,000–8,000)<",
        ">zab 8,000 (8,000–8,000)<",
        "highest rate kept up with",
        "latency p99, ms at that rate of its own",
    ] {
        assert!(page.contains(part), "no {part} on the page");
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("curves");
    std::fs::create_dir_all(&directory).expect("a directory");
    report.write(&directory).expect("written");
    let text = table_text(&report.comparison, &report.analysis);
    assert!(
        text.contains("raft: keeps up to 8,000 a second (8,000–8,000 over 6 blocks)"),
        "{text}"
    );
}

/// The paced steps of a side, with where they are.
fn paced(comparison: &mut Comparison, side: Side) -> impl Iterator<Item = (usize, &mut Step)> {
    let runs = comparison.runs.iter_mut().filter(move |run| run.side == side);
    runs.flat_map(|run| run.loads.paced.iter_mut().map(|step| (run.block, step)))
}

#[test]
fn who_does_not_keep_up_with_the_lowest_rate_is_told_of() {
    // Either what is due is not all sent, or not answered, or after a time that nobody takes for short.
    let not_sent = |step: &mut Step| step.report.not_sent = 10;
    let not_answered = |step: &mut Step| step.report.per_second = 0.9 * step.at;
    let slow = |step: &mut Step| step.report.latency.p99_ms = 2_000.0;
    for worse in [not_sent as fn(&mut Step), not_answered, slow] {
        let mut comparison = only(&[Part::Paced], &[Fault::Kill], 1.0);
        for (_, step) in paced(&mut comparison, Side::B) {
            worse(step);
        }
        let report = Report::new(comparison);
        let knees = |curve: &Curve| curve.knees.clone();
        let knees = report.analysis.curves.iter().find_map(knees).expect("knees");
        assert_eq!(knees.sides[0].median, Some(8_000.0));
        assert_eq!(knees.sides[1].max, None);
        let text = table_text(&report.comparison, &report.analysis);
        let expected = "zab: does not keep up with the lowest rate in any of 6 blocks";
        assert!(text.contains(expected), "{text}");
        check_well_formed(&report.html());
    }
}

#[test]
fn a_knee_is_what_most_blocks_say_with_what_the_others_say() {
    let mut comparison = only(&[Part::Paced], &[Fault::Kill], 1.0);
    for (block, step) in paced(&mut comparison, Side::A) {
        if step.at == 8_000.0 && block < 2 {
            step.report.latency.p99_ms = 60.0;
        }
        if step.at == 16_000.0 && block == 5 {
            step.report.latency.p99_ms = 5.0;
        }
    }
    let report = Report::new(comparison);
    let curve = report.analysis.curves.iter().find(|curve| curve.knees.is_some());
    let knees = curve.and_then(|curve| curve.knees.clone()).expect("knees");
    let [low, middle, high] = [1_000.0, 8_000.0, 16_000.0].map(Some);
    assert_eq!(knees.sides[0], Knee { median: middle, min: low, max: high });
    assert!(report.html().contains(">raft 8,000 (1,000–16,000)<"));
}

#[test]
fn whatever_part_is_measured_alone_has_an_answer() {
    let cases: [(&[Part], &str); 8] = [
        (&[Part::Writes], "× faster in write throughput "),
        (&[Part::Reads], "× faster in linearizable read latency p99 "),
        (&[Part::Failover], "× sooner back after its leader was killed "),
        (&[Part::Mixed], "× faster in mixed throughput "),
        (&[Part::Watch], "× faster in watch latency p99 "),
        (&[Part::Sweep], "× faster in write throughput over all numbers of clients "),
        (&[Part::Paced], "× faster in latency p99 of writes over all rates "),
        (&[Part::Sweep, Part::Paced], "Everything that was looked at differs."),
    ];
    for (parts, expected) in cases {
        let report = Report::new(only(parts, &[Fault::Kill], 1.4));
        let page = report.html();
        check_well_formed(&page);
        let answer = answer(&page);
        assert!(
            answer.starts_with("Over 6 blocks on this machine, raft was 1."),
            "{parts:?}: {answer}"
        );
        assert!(answer.contains(expected), "{parts:?}: {answer}");
        assert!(page.contains("class=\"finding a\""), "{parts:?}");
        let text = table_text(&report.comparison, &report.analysis);
        assert!(text.contains("Median over 6 blocks"), "{parts:?}: {text}");
        assert!(text.contains(": raft is 1."), "{parts:?}: {text}");
        assert!(text.contains("Each contender against itself: "), "{parts:?}: {text}");
    }
}
