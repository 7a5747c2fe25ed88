//! What does not count, and that it is said.

use bench::cluster::Fault;
use bench::compare::{CurveKind, Exclusion, Measure, Part, Side, table_text};
use bench::report::Report;

use crate::made::{mixed_comparison, only};
use crate::page::check_well_formed;
use crate::sample;

#[test]
fn half_a_block_does_not_count() {
    let mut comparison = sample::comparison(6, 1.0);
    comparison.runs.retain(|run| !(run.block == 5 && run.place > 1));
    comparison.exclusions.push(Exclusion { block: 5, reason: "a node ended".to_owned() });
    let report = Report::new(comparison);
    let finding = report.analysis.finding(Measure::ReadThroughput).expect("a finding");
    assert_eq!(finding.blocks.len(), 5);
    assert!(report.html().contains("block 6: a node ended"));
}

#[test]
fn a_block_whose_reads_missed_keys_does_not_count_and_is_warned_of() {
    let mut comparison = sample::comparison(6, 1.0);
    for run in comparison.runs.iter_mut().filter(|run| run.block == 2 && run.place == 1) {
        // Reads that find nothing are faster.
        let read = run.loads.read.as_mut().expect("there are reads");
        read.per_second *= 100.0;
        read.not_found = 7;
    }
    let read = comparison.floors[0].null.read.as_mut().expect("there are reads");
    read.not_found = 3;
    read.per_second *= 100.0;
    let report = Report::new(comparison);
    for finding in &report.analysis.findings {
        let counted: Vec<usize> = finding.blocks.iter().map(|&(block, ..)| block).collect();
        assert_eq!(counted, [0, 1, 3, 4, 5], "{:?}", finding.measure);
    }
    let null = report.analysis.finding(Measure::ReadThroughput).and_then(|finding| finding.null);
    let untouched = report.comparison.floors[1].null.read.as_ref().expect("reads").per_second;
    assert_eq!(null.expect("the other floor").median, untouched);
    let table = table_text(&report.comparison, &report.analysis);
    for part in [
        "not_found × 7",
        "null: error not_found × 3",
        "left out: block 3: 7 reads found no key",
        "warning: 10 reads found no key",
    ] {
        assert!(table.contains(part), "no {part} in\n{table}");
        let page = report.html();
        let part = part.trim_start_matches("left out: ").trim_start_matches("warning: ");
        let part = part.replace("null: error", "null:");
        assert!(page.contains(&part), "no {part} on the page");
    }
}

#[test]
fn a_comparison_of_single_nodes_has_no_outages_and_still_a_report() {
    let mut comparison = sample::comparison(6, 1.0);
    comparison.settings.nodes = 1;
    for run in &mut comparison.runs {
        run.failovers.clear();
    }
    let report = Report::new(comparison);
    assert!(report.analysis.finding(Measure::Failover).is_none());
    check_well_formed(&report.html());
}

#[test]
fn latencies_of_what_could_not_all_be_sent_are_left_out() {
    let mut comparison = mixed_comparison(1.0);
    for run in comparison.runs.iter_mut().filter(|run| run.block == 3) {
        run.loads.mixed.as_mut().expect("it is mixed").report.not_sent = 100;
    }
    let report = Report::new(comparison);
    let blocks = |measure| report.analysis.finding(measure).expect("a finding").blocks.len();
    assert_eq!((blocks(Measure::DeliveryP99), blocks(Measure::MixedLatencyP99)), (6, 5));
    // What is left are the better blocks, which say nothing of both sides.
    let latency = report.analysis.finding(Measure::MixedLatencyP99).expect("a finding");
    assert_eq!(
        (latency.ratio, &latency.verdict[..]),
        (None, "not to be said: 1 block without a figure")
    );
    let page = report.html();
    assert!(
        page.contains("Nothing can be said of mixed latency p50, mixed latency p99, "),
        "{page}"
    );
    let drawn = page.matches("in 10 runs of raft").count();
    assert_eq!(drawn, 4, "the runs that could not send all are not drawn");
    assert!(report.html().contains("block 4: 400 requests that were due could not be sent"));
}

#[test]
fn latencies_without_those_who_failed_are_left_out() {
    let mut comparison = sample::comparison(6, 1.0);
    for run in comparison.runs.iter_mut().filter(|run| run.block == 1 && run.side == Side::B) {
        let write = run.loads.write.as_mut().expect("there are writes");
        write.report.errors.insert("no_leader".to_owned(), 500);
    }
    let report = Report::new(comparison);
    let ratio = |measure| report.analysis.finding(measure).expect("a finding").ratio;
    assert!(ratio(Measure::WriteThroughput).is_some(), "it is what succeeded");
    assert_eq!((ratio(Measure::WriteLatencyP99), ratio(Measure::WriteLatencyP999)), (None, None));
    let text = table_text(&report.comparison, &report.analysis);
    assert!(text.contains("left out: block 2: 1,000 requests failed, so latencies"), "{text}");
}

#[test]
fn what_blocks_lack_alike_is_told_once() {
    let lacking = |block, reason: &str| Exclusion { block, reason: reason.to_owned() };
    let mut exclusions: Vec<Exclusion> =
        [1, 6, 7, 8].map(|block| lacking(block, "a node ended")).to_vec();
    exclusions.push(lacking(3, "no leader"));
    let texts = Exclusion::texts(&exclusions);
    assert_eq!(texts, ["blocks 2 and 7 to 9: a node ended", "block 4: no leader"]);
}

#[test]
fn drawings_are_made_of_the_blocks_that_count() {
    let mut comparison = only(&[Part::Reads, Part::Failover], &[Fault::Kill], 1.0);
    for run in comparison.runs.iter_mut().filter(|run| run.block == 1) {
        run.loads.read.as_mut().expect("there are reads").not_found = 1;
    }
    let page = Report::new(comparison).html();
    assert!(page.contains("in 10 runs of raft") && !page.contains("in 12 runs of raft"));
    assert!(page.contains("The share of 20 outages of raft and 20 of zab"));
}

#[test]
fn a_block_whose_watchers_were_not_told_everything_does_not_count() {
    let mut comparison = mixed_comparison(1.0);
    for run in comparison.runs.iter_mut().filter(|run| run.block == 1 && run.place == 2) {
        let mixed = run.loads.mixed.as_mut().expect("it is mixed");
        mixed.delivery.as_mut().expect("it has watchers").missed = 3;
    }
    let report = Report::new(comparison);
    let finding = report.analysis.finding(Measure::MixedLatencyP99).expect("a finding");
    assert_eq!(finding.blocks.len(), 5);
    assert!(report.html().contains("block 2: 3 events were not told"));
}

#[test]
fn one_side_that_could_not_send_in_one_block_does_not_end_the_curve_of_both() {
    let mut comparison = only(&[Part::Paced], &[Fault::Kill], 1.3);
    for run in comparison.runs.iter_mut().filter(|run| run.block == 2 && run.side == Side::B) {
        let step = run.loads.paced.iter_mut().find(|step| step.at == 8_000.0).expect("a step");
        step.report.not_sent = 40;
    }
    let report = Report::new(comparison);
    let curve = &report.analysis.curves[1];
    assert_eq!(curve.kind, CurveKind::PacedP99);
    let points: Vec<_> =
        curve.points.iter().map(|point| (point.at, point.blocks, point.ratio.is_some())).collect();
    // At 32,000 a second nobody could send everything.
    let expected = [(1_000.0, [6, 6], true), (8_000.0, [6, 5], false), (16_000.0, [6, 6], true)];
    assert_eq!(points, expected);
    assert!(curve.points.iter().all(|point| point.sides.iter().all(Option::is_some)));
    let reasons: Vec<&str> =
        report.analysis.exclusions.iter().map(|exclusion| &exclusion.reason[..]).collect();
    assert_eq!(reasons.len(), 6, "{reasons:?}");
    assert!(
        reasons[2].starts_with("writes due at 8,000/s (zab), 32,000/s (raft, zab): not all"),
        "{reasons:?}"
    );
    assert!(report.html().contains("block 3: writes due at 8,000/s (zab), 32,000/s (raft, zab)"));
}

#[test]
fn a_side_that_could_send_in_few_blocks_has_no_figure_there() {
    let mut comparison = only(&[Part::Paced], &[Fault::Kill], 1.3);
    for run in comparison.runs.iter_mut().filter(|run| run.block < 3 && run.side == Side::B) {
        let step = run.loads.paced.iter_mut().find(|step| step.at == 16_000.0).expect("a step");
        step.report.not_sent = 40;
    }
    let report = Report::new(comparison);
    let point = &report.analysis.curves[1].points[2];
    assert!(point.sides[0].is_some() && point.sides[1].is_none(), "{point:?}");
    let text = table_text(&report.comparison, &report.analysis);
    assert!(
        text.lines().any(|line| line.starts_with("16,000") && line.contains("not all answered")),
        "{text}"
    );
    check_well_formed(&report.html());
}

#[test]
fn curves_and_faults_leave_out_the_same_blocks_as_everything_else() {
    let mut comparison = only(&[Part::Reads, Part::Sweep, Part::Failover], &[Fault::Stop], 1.0);
    for run in comparison.runs.iter_mut().filter(|run| run.block == 1) {
        run.loads.read.as_mut().expect("there are reads").not_found = 1;
        run.failovers[0].outage_ms = Some(9_000.0);
        run.loads.sweep[0].report.per_second = 1e6;
    }
    let report = Report::new(comparison);
    assert_eq!(report.analysis.blocks(), 5);
    let point = &report.analysis.curves[0].points[0];
    assert_eq!(point.blocks, [5, 5]);
    assert!(point.sides[0].expect("a figure").max < 1e6);
    let stop = &report.analysis.faults[0];
    assert_eq!((stop.blocks.len(), stop.outages[0].count), (5, 20));
    assert!(stop.outages[0].longest < Some(9_000.0), "{:?}", stop.outages);
}
