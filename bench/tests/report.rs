//! The page of a comparison, from data made up for the purpose.

#![allow(clippy::disallowed_methods, reason = "the reports lie in files")]

mod sample;

use std::path::Path;

use bench::cluster::Fault;
use bench::compare::{
    Comparison, Contender, CurveKind, Exclusion, FaultPart, Loads, Measure, Part, Placement, Side,
    plan_text, table_text,
};
use bench::failover::{Phase, Timeline};
use bench::report::{Report, warnings};
use bench::systems::{self, Installation, Options, Subject, System, SystemRun, SystemWrites};

/// Whether every element is closed, by itself or by its end, in order.
fn check_well_formed(page: &str) {
    let mut open: Vec<String> = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "a stray > before: {}", head(&rest[start..]));
        let end = start + rest[start..].find('>').unwrap_or_else(|| panic!("{}", head(rest)));
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if tag.starts_with('!') || tag.ends_with('/') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "before: {}", head(rest));
            continue;
        }
        let name = tag.split_whitespace().next().expect("a name").to_owned();
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes of <{tag}>");
        // The text of a style is no markup.
        if name == "style" {
            rest = &rest[rest.find("</style>").expect("an end")..];
        }
        open.push(name);
    }
    assert!(open.is_empty(), "never closed: {open:?}");
}

fn head(text: &str) -> String {
    text.chars().take(120).collect()
}

fn check_self_contained(page: &str) {
    for reference in ["http:", "https:", "//", "src=", "<link", "<script", "@import", "url("] {
        assert!(!page.contains(reference), "the page refers to something outside: {reference}");
    }
}

#[test]
fn a_page_is_well_formed_and_needs_nothing_but_itself() {
    for (blocks, advantage) in [(6, 1.0), (6, 1.25), (2, 1.25), (1, 1.0), (30, 0.9)] {
        let report = Report::new(sample::comparison(blocks, advantage));
        let page = report.html();
        check_well_formed(&page);
        check_self_contained(&page);
        assert!(page.contains("<svg") && !page.contains("NaN") && !page.contains("inf "));
        assert!(!page.contains('{') || !page.contains("{KEYS}"), "every blank is filled in");
        // Left for whoever wants to look at it.
        let directory =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{blocks}-{advantage}"));
        std::fs::create_dir_all(&directory).expect("a directory");
        report.write(&directory).expect("written");
    }
}

/// What stands before the figures.
fn answer(page: &str) -> &str {
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
        (1, 1.0, "There is too little here to compare raft and zab by their figures."),
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
        assert_eq!(twice.len(), 6, "of each measure that users notice");
        for twice in twice {
            assert_eq!(twice.ratio.blocks, 6, "three pairs of each contender");
            assert!((0.95..1.05).contains(&twice.ratio.ratio), "{twice:?}");
        }
        // One of twenty is a false alarm by chance.
        let alarms = twice.iter().filter(|twice| twice.ratio.concludes()).count();
        assert!(alarms <= 1, "{alarms} of 6");
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
fn exact_figures_have_a_section_where_they_are_there() {
    let mut report = Report::new(sample::comparison(6, 1.0));
    assert!(!report.html().contains("Exact, simulated"));
    report.exact = Some(sample::brief(&mut consensus::Random::new(5)));
    let page = report.html();
    check_well_formed(&page);
    check_self_contained(&page);
    for part in
        ["Exact, simulated", "What it costs: messages", "200 elections of each protocol", "384"]
    {
        assert!(page.contains(part), "no {part}");
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exact");
    std::fs::create_dir_all(&directory).expect("a directory");
    report.write(&directory).expect("written");
}

#[test]
fn what_comes_from_outside_is_escaped() {
    let mut comparison = sample::comparison(5, 1.0);
    comparison.command = "duorum compare --out \"<script>alert(1)</script>&\"".to_owned();
    let write = comparison.runs[0].loads.write.as_mut().expect("there are writes");
    write.report.errors.insert("<b>".to_owned(), 3);
    let page = Report::new(comparison).html();
    check_well_formed(&page);
    check_self_contained(&page);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&amp;"));
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
        "stall-disk: outage",
        "that was &lt;not&gt; so",
    ] {
        assert!(page.contains(part), "no {part} on the page");
    }
}

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
fn the_json_can_be_read_back() {
    let report = Report::new(sample::comparison(5, 1.1));
    let directory = tempfile::tempdir().expect("a directory");
    let (json, _) = report.write(directory.path()).expect("written");
    let read: Report = serde_json::from_slice(&std::fs::read(json).expect("there")).expect("valid");
    // Numbers come back to within the last bit, so the texts of both are compared in short.
    assert_eq!(read.html(), report.html());
    assert_eq!(read.comparison.plan, report.comparison.plan);
    assert_eq!(read.comparison.settings, report.comparison.settings);
    assert_eq!(read.comparison.runs.len(), report.comparison.runs.len());
}

#[test]
fn memory_file_systems_busy_machines_and_slow_builds_are_warned_of() {
    let mut comparison = sample::comparison(6, 1.0);
    assert!(warnings(&comparison).is_empty(), "{:?}", warnings(&comparison));
    comparison.file_system.kind = "tmpfs".to_owned();
    comparison.machine.optimized = false;
    comparison.machine.load_average = Some(4.0);
    comparison.stolen_percent = Some(12.0);
    comparison.disk_after.p50_ms = 10.0 * comparison.disk_before.p50_ms;
    let all = warnings(&comparison).join("\n");
    for part in
        ["fdatasync did nothing", "without optimisation", "busy", "hypervisor", "the disk changed"]
    {
        assert!(all.contains(part), "no {part} in {all}");
    }
    assert_eq!(Report::new(comparison).html().matches("class=\"warning\"").count(), 5);
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
    assert!(!page.contains("linearizable reads for") && !page.contains("Outage after"), "left out");
    let text = table_text(&report.comparison, &report.analysis);
    assert!(text.contains("write throughput: raft is 1.0") && !text.contains("read"), "{text}");
}

/// Six blocks of a mixed load alone.
fn mixed_comparison(factor: f64) -> Comparison {
    let mut comparison = sample::comparison(6, 1.0);
    comparison.settings = comparison.settings.only([Part::Mixed].into());
    comparison.settings.mixed.watchers = 2;
    comparison.settings.placement = Placement::Leader;
    comparison.settings.rate = Some(5_000.0);
    let mut random = consensus::Random::new(6);
    for run in &mut comparison.runs {
        let factor = if run.side == Side::A { factor } else { 1.0 };
        let mixed = sample::mixed(factor, &mut random);
        run.loads = Loads { mixed: Some(mixed), ..Loads::default() };
        run.failovers.clear();
    }
    comparison
}

#[test]
fn a_mixed_load_and_its_watchers_are_measures_of_their_own() {
    let report = Report::new(mixed_comparison(1.3));
    let found: Vec<Measure> =
        report.analysis.findings.iter().map(|finding| finding.measure).collect();
    let expected = [
        Measure::MixedThroughput,
        Measure::MixedLatencyP50,
        Measure::MixedLatencyP99,
        Measure::DeliveryP50,
        Measure::DeliveryP99,
    ];
    assert_eq!(found, expected);
    let page = report.html();
    check_well_formed(&page);
    for part in [
        "How long mixed operations took",
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
        "writes to reads to ranges as 10 to 90 to 0, 5,000 a second due, for 1.2 s",
        "beside 2 watchers of all keys",
    ] {
        assert!(plan.contains(part), "no {part} in {plan}");
    }
}

#[test]
fn latencies_of_what_could_not_all_be_sent_are_left_out() {
    let mut comparison = mixed_comparison(1.0);
    for run in comparison.runs.iter_mut().filter(|run| run.block == 3) {
        run.loads.mixed.as_mut().expect("it is mixed").report.not_sent = 100;
    }
    let report = Report::new(comparison);
    let blocks = |measure| report.analysis.finding(measure).expect("a finding").blocks.len();
    assert_eq!((blocks(Measure::MixedThroughput), blocks(Measure::MixedLatencyP99)), (6, 5));
    assert!(report.html().contains("block 4: 400 requests that were due could not be sent"));
}

#[test]
fn a_block_whose_watchers_were_not_told_everything_does_not_count() {
    let mut comparison = mixed_comparison(1.0);
    for run in comparison.runs.iter_mut().filter(|run| run.block == 1 && run.place == 2) {
        let mixed = run.loads.mixed.as_mut().expect("it is mixed");
        mixed.delivery.as_mut().expect("it has watchers").missed = 3;
    }
    let report = Report::new(comparison);
    let finding = report.analysis.finding(Measure::MixedThroughput).expect("a finding");
    assert_eq!(finding.blocks.len(), 5);
    assert!(report.html().contains("block 2: 3 events were not told"));
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
fn curves_have_a_row_and_a_mark_for_each_step_that_could_be_measured() {
    let mut comparison = sample::comparison(6, 1.0);
    comparison.settings = comparison.settings.only([Part::Sweep, Part::Paced].into());
    let mut random = consensus::Random::new(5);
    for run in &mut comparison.runs {
        let factor = if run.side == Side::A { 1.3 } else { 1.0 };
        let [sweep, paced] = sample::steps(factor, &mut random);
        run.loads = Loads { sweep, paced, ..Loads::default() };
        run.failovers.clear();
    }
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
    let ratio = curves[0].points[2].ratio.expect("six blocks");
    assert!(ratio.low > 1.2 && ratio.high < 1.4, "{ratio:?}");
    assert_eq!(curves[2].knees, [Some(8_000.0); 2]);
    let page = report.html();
    check_well_formed(&page);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("curves");
    std::fs::create_dir_all(&directory).expect("a directory");
    report.write(&directory).expect("written");
    let text = table_text(&report.comparison, &report.analysis);
    assert!(text.contains("raft: keeps up to 8,000 a second"), "{text}");
}

/// A report of systems with made-up figures.
fn made_up_systems() -> systems::Systems {
    let comparison = sample::comparison(2, 1.2);
    let run = |block: usize, place: usize, subject: Subject| {
        let one = &comparison.runs[place];
        let write = one.loads.write.clone().expect("there are writes");
        SystemRun {
            block,
            place,
            subject,
            start_ms: 900.0,
            commands: vec!["/usr/bin/etcd --name <node-1>".to_owned()],
            fill: one.loads.fill.clone().expect("there is a fill"),
            write: Some(SystemWrites { report: write.report, used: write.used }),
            read: one.loads.read.clone(),
            local_read: one.loads.read.clone(),
            memory_peak_bytes: 100 << 20,
            failover: one.failovers.first().cloned(),
        }
    };
    let subjects = [Subject::ZooKeeper, Subject::EtcdGrpc, Subject::Duorum(Side::A)];
    let runs = |block| subjects.iter().enumerate().map(move |(place, &one)| (block, place, one));
    let runs = (0..2).flat_map(runs).map(|(block, place, subject)| run(block, place, subject));
    systems::Systems {
        took_seconds: 60.0,
        installations: vec![Installation {
            system: System::Etcd,
            version: "3.4.23".to_owned(),
            program: "/usr/bin/etcd".to_owned(),
            runtime: None,
            settings: "none".to_owned(),
        }],
        options: Options::beside(&comparison.settings, Some(2), true),
        failover_options: comparison.failover_options.clone(),
        orders: vec![subjects.into(); 2],
        runs: runs.collect(),
        exclusions: Vec::new(),
    }
}

#[test]
fn a_report_with_systems_says_what_they_are_and_is_read_back() {
    let mut report = Report::new(sample::comparison(2, 1.2));
    let without = serde_json::to_value(&report).expect("plain data");
    assert!(without.get("systems").is_none(), "an old report and one without are the same");
    let old: Report = serde_json::from_value(without).expect("valid");
    assert!(old.systems.is_none() && !old.html().contains("Other systems"));

    let mut measured = made_up_systems();
    // What etcd did not come back from is as long as the limit at least.
    for run in measured.runs.iter_mut().filter(|run| run.subject == Subject::EtcdGrpc) {
        run.failover.as_mut().expect("one").outage_ms = None;
    }
    let write = measured.runs[0].write.as_mut().expect("a part");
    write.report.errors.insert("<lost>".to_owned(), 2);
    let table = systems::table_text(&measured);
    assert!(table.starts_with(systems::HEADING) && table.contains("error <lost> × 2"), "{table}");
    let rows: Vec<&str> = table.lines().skip_while(|line| !line.starts_with(' ')).collect();
    let places = ["Duorum raft", "etcd 3.4.23 (gRPC)", "ZooKeeper"].map(|name| rows[0].find(name));
    assert!(places.is_sorted() && places[0].is_some(), "{table}");
    let row = |name: &str| rows.iter().find(|row| row.starts_with(name)).expect(name);
    assert!(row("leader killed").contains("> 15,000 (> 15,000–> 15,000)"), "{table}");
    assert_eq!(row("memory").matches("100 (100–100)").count(), 3, "{table}");

    report.systems = Some(measured);
    let page = report.html();
    for part in [
        "Other systems",
        systems::HEADING,
        "&lt;node-1&gt;",
        "&lt;lost&gt; × 2",
        "etcd 3.4.23 (gRPC)",
    ] {
        assert!(page.contains(part), "no {part} on the page");
    }
    check_well_formed(&page);
    check_self_contained(&page);
    assert!(!page.contains("<node-1>") && !page.contains("<lost>"));
    let json = serde_json::to_vec(&report).expect("plain data");
    let read: Report = serde_json::from_slice(&json).expect("valid");
    assert_eq!(read.systems, report.systems);
}
