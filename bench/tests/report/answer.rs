//! What is concluded, and how the page opens with it.

use bench::compare::{Contender, Measure, Side, plan_text, table_text};
use bench::report::Report;

use crate::page::check_well_formed;
use crate::sample;

/// What stands before the figures.
pub(crate) fn answer(page: &str) -> &str {
    let (_, rest) = page.split_once("<p class=\"answer\">").expect("the page opens with an answer");
    rest.split_once("</p>").expect("an end").0
}

#[test]
fn the_page_opens_with_the_answer_in_two_sentences() {
    for (blocks, advantage, expected) in [
        (
            6,
            1.0,
            "Over 6 blocks on this machine, no difference between raft and zab was shown. What difference there may be lies, with 95 % confidence, within these ratios raft / zab: write throughput ",
        ),
        (6, 1.25, "Over 6 blocks on this machine, raft was 1.2"),
        (6, 0.8, "Over 6 blocks on this machine, zab was 1.2"),
        (
            2,
            1.25,
            "2 blocks of raft and zab are too few for an answer: it takes 5. So far the ratios raft / zab are: write throughput 1.2",
        ),
        (
            1,
            1.0,
            "There is too little here to compare raft and zab by their figures. An answer takes 5 blocks, and here 1 counts.",
        ),
    ] {
        let page = Report::new(sample::comparison(blocks, advantage)).html();
        assert!(answer(&page).starts_with(expected), "{}", answer(&page));
    }
    let mut comparison = sample::comparison(6, 1.0);
    for run in comparison.runs.iter_mut().filter(|run| run.side == Side::A) {
        for failover in &mut run.failovers {
            failover.outage_ms = failover.outage_ms.map(|outage| 2.0 * outage);
        }
    }
    let page = Report::new(comparison).html();
    let answer = answer(&page);
    assert!(
        answer.contains("zab was ")
            && answer.contains(" × sooner back after its leader was killed (95 % interval ")
    );
    assert!(
        answer.contains(". No difference was shown in these ratios raft / zab: write throughput "),
        "{answer}"
    );
}

#[test]
fn a_contender_does_not_differ_from_itself() {
    for advantage in [1.0, 1.5] {
        let report = Report::new(sample::comparison(6, advantage));
        let twice = &report.analysis.calibration;
        assert_eq!(twice.len(), 8, "of each measure that users notice");
        for twice in twice {
            assert_eq!(twice.ratio.blocks, 6, "three pairs of each contender");
            assert!((0.95..1.05).contains(&twice.ratio.ratio), "{twice:?}");
        }
        // One of twenty is a false alarm by chance, so two of 8 are in 6 of 100 comparisons; three in less than one.
        let alarms = twice.iter().filter(|twice| twice.ratio.concludes()).count();
        assert!(alarms <= 2, "{alarms} of 8");
        let text = table_text(&report.comparison, &report.analysis);
        assert!(text.contains("Each contender against itself: write throughput "), "{text}");
    }
    let few = Report::new(sample::comparison(1, 1.0));
    assert!(few.analysis.calibration.is_empty(), "one block has nothing to pair it with");
    check_well_formed(&few.html());
}

#[test]
fn a_false_alarm_of_the_calibration_is_called_one() {
    let mut comparison = sample::comparison(10, 1.0);
    for run in &mut comparison.runs {
        // The halves are the early run of one block with the late run of the next.
        let early = run.place < 2;
        let write = run.loads.write.as_mut().expect("there are writes");
        write.report.per_second *= if early == (run.block % 2 == 0) { 1.2 } else { 1.0 };
    }
    let report = Report::new(comparison);
    let text = table_text(&report.comparison, &report.analysis);
    assert!(text.contains("itself: write throughput 1.19 [1.18, 1.21], a false alarm;"), "{text}");
    assert!(report.html().contains("a difference: a false alarm"));
}

#[test]
fn a_tie_names_no_winner_and_a_difference_does() {
    let tie = Report::new(sample::comparison(6, 1.0));
    let finding = tie.analysis.finding(Measure::WriteThroughput).expect("a finding");
    assert_eq!(finding.verdict, "no difference shown");
    assert!(tie.html().contains("no difference shown"));

    let difference = Report::new(sample::comparison(6, 1.25));
    let finding = difference.analysis.finding(Measure::WriteThroughput).expect("a finding");
    assert!(finding.verdict.starts_with("raft is 1.2"), "{}", finding.verdict);
    let ratio = finding.ratio.expect("six blocks");
    assert!(ratio.low < 1.25 && 1.25 < ratio.high, "{ratio:?}");
}

#[test]
fn the_same_contender_twice_is_told_apart() {
    let mut comparison = sample::comparison(6, 1.25);
    let raft = Contender::new(consensus::Protocol::Raft);
    comparison.settings.contenders = Contender::pair(raft.clone(), raft);
    let report = Report::new(comparison);
    let finding = report.analysis.finding(Measure::WriteThroughput).expect("a finding");
    assert!(finding.verdict.starts_with("raft (A) is 1.2"), "{}", finding.verdict);
    check_well_formed(&report.html());
    let plan = plan_text(&report.comparison.settings, &report.comparison.plan);
    assert!(plan.starts_with("raft (A) and raft (B), 3 nodes each"), "{plan}");
}

#[test]
fn the_table_says_what_was_found_and_under_which_conditions() {
    let comparison = sample::comparison(6, 1.25);
    let report = Report::new(comparison);
    let table = table_text(&report.comparison, &report.analysis);
    for part in [
        "raft / zab [95 %]",
        "write throughput: raft is 1.2",
        "Clients and servers share 2 cores",
        "Median over 6 blocks",
        "fdatasync p50",
    ] {
        assert!(table.contains(part), "no {part} in\n{table}");
    }
    let plan = plan_text(&report.comparison.settings, &report.comparison.plan);
    assert!(plan.contains("6 blocks of 4 runs by coin (seed 7)"), "{plan}");
}
