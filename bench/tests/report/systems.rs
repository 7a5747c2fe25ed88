//! Systems that others wrote, beside the contenders.

use bench::compare::Side;
use bench::report::Report;
use bench::systems::{self, Installation, Options, Subject, System, SystemRun, SystemWrites};

use crate::page::{check_self_contained, check_well_formed};
use crate::sample;

/// A report of systems with made-up figures.
pub(crate) fn made_up_systems() -> systems::Systems {
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
    assert!(report.text().ends_with(&format!("\n{table}")), "{}", report.text());
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

#[test]
fn latencies_of_a_system_without_those_who_failed_are_left_out() {
    let mut measured = made_up_systems();
    let write = measured.runs[0].write.as_mut().expect("a part");
    write.report.errors.insert("connection_lost".to_owned(), 5_000);
    let table = systems::table_text(&measured);
    let note = "ZooKeeper, block 1: latencies of writes: 5,000 requests failed";
    assert!(table.contains(note), "{table}");
    let row = |name: &str| table.lines().find(|line| line.starts_with(name)).expect(name);
    assert!(
        row("write latency p99").trim_end().ends_with('–'),
        "one of two is the better one: {table}"
    );
    assert!(row("writes/s").ends_with(')'), "{table}");
}
