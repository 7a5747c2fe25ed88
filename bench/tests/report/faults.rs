//! Faults and what they are made of.

use bench::cluster::Fault;
use bench::compare::{FaultPart, Measure, Part, Side, table_text};
use bench::failover::{Phase, Timeline};
use bench::report::Report;

use crate::answer::answer;
use crate::made::only;
use crate::page::{check_self_contained, check_well_formed};
use crate::sample;

#[test]
fn an_outage_that_never_ended_counts_as_long_as_the_limit() {
    let mut comparison = sample::comparison(6, 1.0);
    for run in &mut comparison.runs {
        if run.side == Side::B {
            for failover in &mut run.failovers {
                failover.outage_ms = None;
            }
        }
    }
    let report = Report::new(comparison);
    let finding = report.analysis.finding(Measure::Failover).expect("a finding");
    assert_eq!(finding.b.median, 15_000.0);
    assert!(finding.verdict.starts_with("raft is "), "{}", finding.verdict);
    check_well_formed(&report.html());
}

#[test]
fn every_kind_of_fault_has_its_phases_and_only_kills_count_as_kills() {
    let mut comparison = sample::comparison(6, 1.25);
    for run in &mut comparison.runs {
        let mut stopped = run.failovers[0].clone();
        stopped.fault = Fault::Stop;
        stopped.outage_ms = stopped.outage_ms.map(|outage| 3.0 * outage);
        let mut stalled = stopped.clone();
        stalled.fault = Fault::StallDisk;
        stalled.timeline = Timeline { first_write_ms: Some(1.5), ..Timeline::default() };
        run.failovers.extend([stopped, stalled]);
    }
    comparison.runs[3].failovers[0].timeline.violations.push("that was <not> so".to_owned());
    let report = Report::new(comparison);
    let kills = report.analysis.finding(Measure::Failover).expect("a finding");
    let [kill, stop, stall] = &report.analysis.faults[..] else { panic!("three kinds") };
    let kinds = [kill.fault, stop.fault, stall.fault];
    assert_eq!(kinds, [Fault::Kill, Fault::Stop, Fault::StallDisk]);
    assert_eq!((kills.blocks.len(), &kills.blocks), (6, &kill.blocks), "told twice, counted alike");
    assert!(stop.outages[0].median > kill.outages[0].median.map(|median| 2.0 * median));
    assert!(kill.verdict.starts_with("raft is "), "{}", kill.verdict);
    let detection = FaultPart::Phase(Phase::Detection);
    let of_kill = kill.parts.iter().find(|found| found.part == detection).expect("a phase");
    let tenth = kill.outages[1].median.expect("outages") / 10.0;
    assert!((of_kill.sides[1].median.expect("phases") - tenth).abs() < 0.5, "{of_kill:?}");
    assert!(stall.parts.iter().all(|found| found.part != detection), "nobody suspected anybody");

    let table = table_text(&report.comparison, &report.analysis);
    for part in
        ["kill, × 24", "stop, × 12", "  detection ", "  healed to old leader", "1 moment not"]
    {
        assert!(table.contains(part), "no {part} in\n{table}");
    }
    let page = report.html();
    check_well_formed(&page);
    check_self_contained(&page);
    for part in [
        "Failover, phase by phase",
        "class=\"phase detection\"",
        "class=\"phase first-write faint\"",
        "The outage of zab",
        "<h3>Outage: SIGSTOP of the leader</h3>",
        "stall-disk: outage",
        "that was &lt;not&gt; so",
    ] {
        assert!(page.contains(part), "no {part} on the page");
    }
}

#[test]
fn whatever_fault_happens_has_an_answer() {
    for (place, fault) in Fault::ALL.into_iter().enumerate() {
        let report = Report::new(only(&[Part::Failover], &[fault], 1.4));
        let page = report.html();
        check_well_formed(&page);
        let answer = answer(&page);
        assert!(
            answer.starts_with("Over 6 blocks on this machine, raft was 1."),
            "{place}: {answer}"
        );
        assert!(answer.contains(" × sooner back "), "{}: {answer}", fault.name());
        assert!(
            page.contains(&format!(
                "<h3>Outage: {}",
                fault.what().split('\'').next().expect("some")
            ))
        );
        let text = table_text(&report.comparison, &report.analysis);
        assert!(text.contains("Median over 6 blocks"), "{}: {text}", fault.name());
        assert!(text.contains(": raft is 1."), "{}: {text}", fault.name());
    }
    let report = Report::new(only(&[Part::Failover], &Fault::ALL, 1.4));
    let page = report.html();
    assert_eq!(answer(&page).matches(" × sooner back ").count(), Fault::ALL.len());
    assert_eq!(page.matches("<h3>Outage: ").count(), Fault::ALL.len());
}

#[test]
fn medians_of_faults_and_of_their_phases_have_intervals_where_there_are_blocks_enough() {
    let mut comparison = only(&[Part::Failover], &[Fault::Stop], 1.2);
    let report = Report::new(comparison.clone());
    let [stop] = &report.analysis.faults[..] else { panic!("one kind") };
    let rejoin = stop.parts.iter().find(|found| found.part == FaultPart::Rejoin).expect("T6");
    for found in [&stop.outages, &rejoin.sides] {
        for side in found {
            let (low, high) = side.interval.expect("six blocks");
            let median = side.median.expect("durations");
            assert!(low <= median && median <= high && low < high, "{side:?}");
        }
    }
    let page = report.html();
    assert!(page.contains("</small><small>p99 ") && !page.contains("<small>no interval</small>"));
    let text = table_text(&report.comparison, &report.analysis);
    let row = text.lines().find(|line| line.trim_start().starts_with("healed to")).expect("T6");
    assert_eq!(row.matches('[').count(), 2, "{row}");

    comparison.runs.retain(|run| run.block < 4);
    let report = Report::new(comparison);
    assert!(report.analysis.faults[0].outages.iter().all(|side| side.interval.is_none()));
    assert!(report.html().contains("<small>no interval</small>"));
}

#[test]
fn the_tail_of_outages_is_on_logarithmic_axes() {
    let mut comparison = only(&[Part::Failover], &[Fault::Kill], 1.0);
    comparison.runs[0].failovers[0].outage_ms = Some(9_000.0);
    let page = Report::new(comparison).html();
    let (_, section) = page.split_once("<h3>Outage: SIGKILL of the leader</h3>").expect("a plot");
    let (plot, _) = section.split_once("</svg>").expect("an end");
    for tick in [">100 %<", ">10 %<", ">1,000<"] {
        assert!(plot.contains(tick), "no {tick} in {plot}");
    }
    assert_eq!(plot.matches("class=\"mark ").count(), 48, "each outage is a mark");
}
