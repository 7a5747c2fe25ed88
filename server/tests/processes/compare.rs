//! `duorum compare` as the README tells a newcomer to run it, only shorter: real processes of Raft,
//! ZAB and the null protocol, and every file and figure that comes of them. And what becomes of the
//! processes when the measurement itself is killed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use bench::ablations::Ablations;
use bench::compare::{Comparison, Measure, Side, Writes};
use bench::report::Report;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{PROGRAM, Place, eventually};

/// What the nodes count; every measure of cost must come from one of these.
const COUNTERS: [&str; 5] = [
    "duorum_protocol_messages_sent_total",
    "duorum_peer_frames_sent_total",
    "etcd_network_peer_sent_bytes_total",
    "duorum_wal_fsyncs_total",
    "etcd_disk_wal_write_bytes_total",
];

/// What is measured when nobody says what: everything but the mixed load and the watches.
fn usual() -> impl Iterator<Item = Measure> {
    let on_request = [
        Measure::MixedThroughput,
        Measure::MixedLatencyP50,
        Measure::MixedLatencyP99,
        Measure::MixedPutLatencyP99,
        Measure::MixedGetLatencyP99,
        Measure::MixedRangeLatencyP99,
        Measure::DeliveryP50,
        Measure::DeliveryP99,
        Measure::WatchLatencyP50,
        Measure::WatchLatencyP99,
    ];
    Measure::ALL.into_iter().filter(move |measure| !on_request.contains(measure))
}

#[test]
fn the_first_command_of_the_readme_compares_real_clusters_and_every_figure_is_there() {
    // Outages are timed.
    let _place = Place::take_all();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (out, data) = (directory.path().join("out"), directory.path().join("data"));
    let output = Command::new(PROGRAM)
        .args(["compare", "--quick", "--blocks", "1", "--connections", "8", "--seed", "7"])
        .arg("--out")
        .arg(&out)
        .arg("--data-dir")
        .arg(&data)
        .output()
        .expect("the program runs");
    let errors = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.success(), "{errors}");
    let table = String::from_utf8(output.stdout).expect("text");
    for measure in usual() {
        let heading = measure.heading();
        let row = table.lines().find(|line| line.starts_with(&heading));
        let row = row.unwrap_or_else(|| panic!("no row for {heading} in\n{table}"));
        assert!(row.contains(" ("), "raft and zab with their spreads: {row}");
    }
    let json = fs::read(out.join("report.json")).expect("a report");
    let report: Report = serde_json::from_slice(&json).expect("a report");
    check_figures(&report);
    check_counters(&report.comparison);
    let page = fs::read_to_string(out.join("index.html")).expect("a page");
    assert!(page.ends_with("</html>\n"));
    for measure in usual() {
        assert!(page.contains(measure.name()), "no {} on the page", measure.name());
    }
    assert_eq!(entries(&out), 2, "the logs are gone");
    assert_eq!(entries(&data), 0, "the data is gone");
    assert_eq!(servers_with(&data), 0);
}

/// Every measure has a figure of both protocols, and of the null protocol where one node can have it.
fn check_figures(report: &Report) {
    for measure in usual() {
        let finding = report.analysis.finding(measure);
        let finding = finding.unwrap_or_else(|| panic!("no figures for {}", measure.name()));
        let between_nodes = matches!(
            measure,
            Measure::Failover
                | Measure::MessagesPerWrite
                | Measure::FramesPerWrite
                | Measure::NetworkPerWrite
        );
        assert_eq!(finding.null.is_none(), between_nodes, "{}", measure.name());
    }
    assert_eq!(report.analysis.exclusions, []);
    for run in &report.comparison.runs {
        let keys = report.comparison.settings.keys;
        let filled = run.loads.fill.as_ref().expect("it is filled before reads").operations;
        assert_eq!((filled, run.loads.reads_not_found()), (keys, 0));
        assert_eq!(run.failovers.len(), 1);
        assert!(run.failovers[0].outage_ms.is_some_and(|outage| outage > 1.0));
    }
}

/// Every counter that the comparison reads is one that the real server has, by that very name.
fn check_counters(comparison: &Comparison) {
    let read: Vec<&str> = Measure::ALL.into_iter().filter_map(Measure::counter).collect();
    assert_eq!(read, COUNTERS);
    for side in Side::BOTH {
        assert_eq!(comparison.all_runs_of(side).count(), 2);
        for run in comparison.all_runs_of(side) {
            let Writes { report, counters, .. } = run.loads.write.as_ref().expect("writes");
            for counter in COUNTERS {
                let count = counters.sum(counter);
                assert!(count > Some(0.0), "{} does not count {counter}", comparison.name(side));
            }
            let writes = report.operations_with_warmup as f64;
            // Each of three nodes has every value in its log, and syncs several at once or each alone.
            let bytes = counters.sum("etcd_disk_wal_write_bytes_total");
            assert!(bytes.is_some_and(|bytes| bytes > 3.0 * 256.0 * writes), "{bytes:?}");
            let fsyncs = counters.sum("duorum_wal_fsyncs_total");
            assert!(fsyncs.is_some_and(|fsyncs| fsyncs < 4.0 * writes), "{fsyncs:?}");
        }
    }
    for floor in &comparison.floors {
        for counter in ["duorum_wal_fsyncs_total", "etcd_disk_wal_write_bytes_total"] {
            let counters = &floor.null.write.as_ref().expect("writes").counters;
            let count = counters.sum(counter);
            assert!(count > Some(0.0), "null does not count {counter}");
        }
    }
}

/// The same protocol twice, of which one is slowed, and nothing but its writes.
#[test]
fn contenders_are_started_with_their_flags_and_only_what_was_asked_for_is_measured() {
    let _place = Place::take_all();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new(PROGRAM)
        .args(["compare", "--quick", "--blocks", "1", "--connections", "8", "--seed", "7"])
        .args(["--a", "raft", "--b", "raft --handicap 1us", "--only", "writes"])
        .args(["--value-bytes", "1000"])
        .arg("--out")
        .arg(directory.path())
        .output()
        .expect("the program runs");
    let errors = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.success(), "{errors}");
    let json = fs::read(directory.path().join("report.json")).expect("a report");
    let Report { comparison, .. } = serde_json::from_slice(&json).expect("a report");
    assert_eq!(comparison.name(Side::B), "raft --handicap 1us");
    for run in &comparison.runs {
        let slowed = run.commands.iter().all(|command| command.contains("--handicap 1us"));
        assert_eq!(slowed, run.side == Side::B, "{:?}", run.commands);
        assert!(run.loads.write_report().is_some_and(|write| write.operations > 0));
        assert!(run.loads.fill.is_none() && run.loads.read.is_none() && run.failovers.is_empty());
    }
}

/// A protocol with and without one mechanism, and what can not be done.
#[test]
fn an_ablation_takes_one_mechanism_from_one_side_and_tells_both() {
    let _place = Place::take_all();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ablate = |flags: &[&str]| {
        Command::new(PROGRAM)
            .args(["compare", "--quick", "--blocks", "1", "--seed", "7", "--ablate"])
            .args(flags)
            .arg("--out")
            .arg(directory.path())
            .output()
            .expect("the program runs")
    };
    let output = ablate(&["pre-vote"]);
    let errors = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.success(), "{errors}");
    let table = String::from_utf8(output.stdout).expect("text");
    assert!(table.contains("outage after SIGKILL of the leader, ms"), "{table}");
    let json = fs::read(directory.path().join("ablations.json")).expect("a report");
    let ablations: Ablations = serde_json::from_slice(&json).expect("a report");
    let [ablated] = &ablations.pairs[..] else { panic!("ZAB has no PreVote: {ablations:?}") };
    let comparison = &ablated.report.as_ref().expect("it was measured").comparison;
    assert_eq!(comparison.floors, []);
    for run in &comparison.runs {
        let asks = run.statuses.iter().all(|status| status["mechanisms"]["pre_vote"] == true);
        assert_eq!(asks, run.side == Side::A, "{:?}", run.commands);
        assert_eq!(run.failovers.len(), 1);
    }
    let page = fs::read_to_string(directory.path().join("ablations.html")).expect("a page");
    assert!(page.contains("--pre-vote off") && page.ends_with("</html>\n"));
    assert_eq!(entries(directory.path()), 2, "neither data nor logs are left");
    for (flags, words) in [
        (&["detector", "--nodes", "2"][..], "at least 3 nodes"),
        (&["everything"], "possible values: all, fsync"),
        (&["fsync", "--a", "raft"], "cannot be used with"),
    ] {
        let output = ablate(flags);
        let errors = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(words), "{flags:?}: {errors}");
    }
}

#[test]
fn every_load_is_what_its_verb_says() {
    let _place = Place::take();
    for (flags, said) in [
        (&["get", "--consistency", "local"][..], "local reads on 4 connections"),
        (&["range", "--limit", "10"], "linearizable reads of 10 keys on 4 connections"),
        (&["txn", "--operations", "8"], "transactions of 8 writes on 4 connections"),
        (&["mixed", "--mix", "2:1:1"], "writes to reads to ranges as 2 to 1 to 1"),
        (&["put", "--rate", "500", "--key-distribution", "zipf"], "due per second"),
    ] {
        let output = Command::new(PROGRAM)
            .arg("bench")
            .args(flags)
            .args(["--protocol", "null", "--connections", "4", "--duration", "300ms"])
            .args(["--warmup", "0s", "--keys", "200"])
            .output()
            .expect("the program runs");
        let errors = String::from_utf8(output.stderr).expect("text");
        assert!(output.status.success(), "{flags:?}: {errors}");
        let told = String::from_utf8(output.stdout).expect("text");
        assert!(told.contains(said), "{flags:?}: {told}");
        let errors =
            told.lines().find(|line| line.starts_with("errors")).expect("a line of errors");
        assert!(errors.ends_with("none") && !told.contains("not found"), "{flags:?}: {told}");
    }
}

#[test]
fn no_server_outlives_a_measurement_that_is_killed() {
    let _place = Place::take();
    for measurement in [
        &["compare", "--quick"][..],
        &["compare", "--ablate", "batching"],
        &["bench", "put", "--protocol", "raft", "--duration", "60s"],
        // Of three nodes one is stopped most of the time, and a stopped process takes no SIGTERM.
        &["bench", "failover", "--protocol", "zab", "--fault", "stop", "--count", "1000"],
    ] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut child = Command::new(PROGRAM)
            .args(measurement)
            .arg("--data-dir")
            .arg(directory.path())
            .current_dir(directory.path())
            // What is killed can not remove its logs; here they go with the directory.
            .env("TMPDIR", directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        eventually("three nodes run", || servers_with(directory.path()) == 3);
        if measurement.contains(&"stop") {
            eventually("one of them is stopped", || stopped_servers_with(directory.path()) == 1);
        }
        child.kill().expect("it runs");
        child.wait().expect("it ended");
        eventually("its nodes end as well", || servers_with(directory.path()) == 0);
    }
}

#[test]
fn a_server_whose_parent_is_gone_before_it_starts_ends_at_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    // A process that certainly did not start it: the server itself can not have had this number.
    let output = Command::new(PROGRAM)
        .args(["serve", "--http", "127.0.0.1:0", "--peer", "127.0.0.1:0", "--data-dir"])
        .arg(directory.path().join("data"))
        .args(["--stop-with-parent", "4294967295"])
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).expect("text");
    assert!(error.contains("process 4294967295, which started this one, is gone"), "{error}");
    assert!(!directory.path().join("data").exists(), "it did not get as far as the data");
}

#[test]
fn an_interrupted_comparison_leaves_no_server_and_no_file() {
    let _place = Place::take();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut child = Command::new(PROGRAM)
        .args(["compare", "--quick", "--out"])
        .arg(directory.path())
        .arg("--data-dir")
        .arg(directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    eventually("nodes run", || servers_with(directory.path()) == 3);
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    assert_eq!(child.wait().expect("it ended").code(), Some(1));
    assert_eq!(servers_with(directory.path()), 0);
    assert_eq!(entries(directory.path()), 0, "neither data nor logs are left");
}

fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).expect("a directory").count()
}

/// The numbers of the servers whose command line names this directory.
fn servers(directory: &Path) -> Vec<u32> {
    let directory = directory.display().to_string();
    let serves = |id: &u32| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains("\0serve\0") && line.contains(&directory)
    };
    let processes = fs::read_dir("/proc").expect("a /proc").filter_map(Result::ok);
    processes
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .filter(serves)
        .collect()
}

fn servers_with(directory: &Path) -> usize {
    servers(directory).len()
}

fn stopped_servers_with(directory: &Path) -> usize {
    let is_stopped = |id: &u32| {
        let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    };
    servers(directory).into_iter().filter(|id| is_stopped(id)).count()
}
