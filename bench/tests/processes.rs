//! Clusters of real processes, killed and stopped, and the two verbs from their flags to their
//! report.
//!
//! The processes are this program itself: asked to `serve`, it is a small node that knows nothing of
//! consensus but behaves to the outside as a node does (`fake_node`). The verbs are the real ones.

#![allow(clippy::disallowed_methods, reason = "these tests start processes and read clocks")]

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Output};
use std::time::{Duration, Instant};

use bench::cluster::{Cluster, ClusterOptions, Fault};
use bench::compare::{Environment, Measure, Phases, Settings, compare};
use bench::failover::{self, FailoverOptions};
use bench::report::Report;
use clap::Parser;
use consensus::{NodeId, Protocol, Random};
use support::fake_node;
use support::runner::{self, Test};

#[derive(Parser)]
enum Verbs {
    Serve(fake_node::ServeArgs),
    Bench(bench::cli::BenchArgs),
    Compare(Box<bench::cli::CompareArgs>),
}

const TESTS: &[Test] = &[
    ("a_cluster_starts_agrees_on_a_leader_and_leaves_nothing_behind", starts_and_goes),
    ("a_killed_leader_is_replaced_and_comes_back", killed_leader),
    ("a_stopped_leader_is_replaced_and_comes_back", stopped_leader),
    ("a_node_that_does_not_start_is_reported_with_its_last_words", bad_start),
    ("bench_put_prints_a_table_and_json", bench_put),
    ("bench_pairs_fills_and_measures_a_fresh_cluster", bench_pairs),
    ("bench_failover_lists_every_outage", bench_failover),
    ("bench_rolling_finds_out_that_writes_are_lost", forgetful_rolling),
    ("bench_echo_measures_a_process_of_its_own", bench_echo),
    ("a_comparison_writes_a_report_and_cleans_up", comparison),
    (
        "a_failover_alone_is_timed_by_the_writes_that_were_asked_for_and_has_its_floor",
        failover_alone,
    ),
    ("a_block_that_does_not_fit_into_the_time_is_not_begun_and_listed", no_time_left),
    ("a_comparison_that_fails_keeps_the_logs_and_says_where", failed_comparison),
    ("reads_that_miss_keys_make_a_block_invalid", forgetful_comparison),
    ("a_report_that_can_not_be_written_is_refused_before_measuring", unwritable_report),
    ("an_interrupted_comparison_kills_its_processes", interrupted),
];

fn main() -> ExitCode {
    if runner::has_verb(&["serve", "bench", "compare"]) { act() } else { runner::run(TESTS) }
}

/// What the program does when it is not the tests.
fn act() -> ExitCode {
    let done = match Verbs::parse() {
        Verbs::Serve(args) => return fake_node::run(args),
        Verbs::Bench(args) => bench::cli::run_bench(args),
        Verbs::Compare(args) => bench::cli::run_compare(*args),
    };
    done.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "error: {error}");
        ExitCode::FAILURE
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn options(directory: &Path, nodes: usize) -> ClusterOptions {
    ClusterOptions {
        executable: std::env::current_exe().expect("this program"),
        protocol: Protocol::Raft,
        nodes,
        data: directory.join("data"),
        logs: directory.to_owned(),
        name: "test".to_owned(),
        flags: Vec::new(),
    }
}

fn verb(arguments: &[&str]) -> Output {
    Command::new(std::env::current_exe().expect("this program"))
        .args(arguments)
        .output()
        .expect("this program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Whether any process has this text in its command line.
fn processes_with(text: &str) -> usize {
    let processes = fs::read_dir("/proc").expect("a /proc").filter_map(Result::ok);
    processes
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).contains(text))
        .filter(|line| String::from_utf8_lossy(line).contains("\0serve\0"))
        .count()
}

fn starts_and_goes() {
    let directory = tempfile::tempdir().expect("a directory");
    let marker = directory.path().display().to_string();
    runtime().block_on(async {
        let mut cluster = Cluster::start(options(directory.path(), 3)).await.expect("a cluster");
        assert_eq!(cluster.settle().await.expect("a leader"), NodeId(1));
        assert_eq!(cluster.endpoints().len(), 3);
        assert_eq!(cluster.statuses().await.expect("statuses").len(), 3);
        assert!(cluster.resource_use().memory_peak_bytes_max > 100_000);
        assert_eq!(processes_with(&marker), 3);
        cluster.remove().expect("removable");
        assert_eq!(processes_with(&marker), 0);
        assert!(!directory.path().join("data").exists());
        let cluster = Cluster::start(options(directory.path(), 2)).await.expect("a cluster");
        drop(cluster);
        assert_eq!(processes_with(&marker), 0, "dropping a cluster kills it");
    });
}

fn fault(fault: Fault) {
    let directory = tempfile::tempdir().expect("a directory");
    runtime().block_on(async {
        let mut cluster = Cluster::start(options(directory.path(), 3)).await.expect("a cluster");
        let measured = FailoverOptions::new(fault);
        let mut random = Random::new(1);
        let ledger = failover::ledger(&measured);
        for _ in 0..2 {
            let failover = failover::measure(&mut cluster, &measured, &ledger, &mut random)
                .await
                .expect("measured");
            assert_eq!((failover.node, cluster.endpoints().len()), (1, 3), "it is healed");
            assert_eq!(failover.timeline.elections, 0, "nobody told of any");
            assert_eq!(failover.timeline.violations, Vec::<String>::new());
            assert!(failover.timeline.first_write_ms.is_some(), "the probes tell that");
            let outage = failover.outage_ms.expect("the others go on");
            let interregnum = fake_node::INTERREGNUM.as_secs_f64() * 1e3;
            assert!(outage >= interregnum && outage < 5_000.0, "{outage}");
            assert!(failover.errors.contains_key("no_leader"), "{:?}", failover.errors);
            let probes = &failover.probes;
            assert!(probes.windows(2).all(|two| two[0].intended_ms <= two[1].intended_ms));
            assert!(probes.first().expect("probes").intended_ms < -100.0);
            let acknowledged = |from: f64, to: f64| {
                probes
                    .iter()
                    .filter(|probe| probe.intended_ms > from && probe.intended_ms < to)
                    .filter(|probe| probe.error.is_none())
                    .count()
            };
            assert!(acknowledged(-100.0, -5.0) > 5, "writes succeed before the fault");
            assert!(acknowledged(outage - 1.0, outage + 100.0) > 5, "and after it");
            assert_eq!(cluster.settle().await.expect("agreed again"), NodeId(1));
        }
        cluster.remove().expect("removable");
    });
}

fn killed_leader() {
    fault(Fault::Kill);
}

fn stopped_leader() {
    fault(Fault::Stop);
}

fn bad_start() {
    let directory = tempfile::tempdir().expect("a directory");
    runtime().block_on(async {
        let mut options = options(directory.path(), 3);
        // The fake node refuses the null protocol in a cluster of several, as the real one does.
        options.protocol = Protocol::Null;
        let error = Cluster::start(options).await.expect_err("refused").to_string();
        assert!(error.contains("ended: exit status: 1"), "{error}");
        assert!(error.contains("the null protocol does not replicate"), "{error}");
        assert!(error.contains(&directory.path().display().to_string()), "{error}");
    });
}

fn bench_put() {
    let directory = tempfile::tempdir().expect("a directory");
    let here = directory.path().display().to_string();
    let put = [
        "bench",
        "put",
        "--protocol",
        "raft",
        "--data-dir",
        &here,
        "--duration",
        "300ms",
        "--warmup",
        "100ms",
        "--connections",
        "6",
        "--fdatasync-in",
        &here,
    ];
    let output = verb(&put);
    let table = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for line in ["writes on 6 connections", "per second", "p99.9", "fdatasync p50", "errors"] {
        assert!(table.contains(line), "no {line} in:\n{table}");
    }
    let output = verb(&[&put[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(json["report"]["operations"].as_u64() > Some(0), "{json}");
    assert_eq!(json["report"]["errors"], serde_json::json!({}));
    assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 0, "nothing is left");

    let output = verb(&["bench", "put", "--endpoints", "https://127.0.0.1:1"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("plain HTTP"), "{}", text(&output.stderr));
}

fn bench_pairs() {
    let output = verb(&[
        "bench",
        "pairs",
        "--protocol",
        "raft",
        "--nodes",
        "1",
        "--at-leader",
        "--count",
        "300",
        "--warmup",
        "0s",
        "--keys",
        "10",
        "--fill",
        "--json",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["report"]["operations"], 300);
    assert_eq!(json["report"]["errors"], serde_json::json!({}));
}

fn bench_failover() {
    let output = verb(&["bench", "failover", "--protocol", "zab", "--count", "2"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(
        table.contains("zab: from SIGKILL of the leader") && table.contains("median "),
        "{table}"
    );
}

fn forgetful_rolling() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["bench", "rolling", "--protocol", "raft", "--times", "1", "--load", "2"])
        .args(["--keys", "20", "--rate", "200", "--data-dir"])
        .arg(directory.path())
        .env("TMPDIR", directory.path())
        .env("FAKE_NODE_FORGETS", "raft")
        .output()
        .expect("this program starts");
    assert_eq!(output.status.code(), Some(1));
    let table = text(&output.stdout);
    assert!(table.contains("3, ") && table.contains(" of them of the leader"), "{table}");
    let error = text(&output.stderr);
    assert!(error.contains("a promise is broken: "), "{error}");
    assert!(error.contains("it is not there, though "), "{error}");
    assert_eq!(processes_with(&directory.path().display().to_string()), 0);
}

fn bench_echo() {
    let output = verb(&["bench", "echo", "--duration", "300ms", "--warmup", "100ms", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(json["report"]["operations"].as_u64() > Some(100), "{json}");
}

fn comparison() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("out");
    let data = directory.path().join("data");
    let output = verb(&[
        "compare",
        "--quick",
        "--seed",
        "5",
        "--connections",
        "8",
        "--blocks",
        "1",
        "--out",
        &out.display().to_string(),
        "--data-dir",
        &data.display().to_string(),
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(printed.contains("1 block of 4 runs by coin (seed 5)"), "{printed}");
    assert!(printed.contains("write throughput: too few blocks to say"), "{printed}");
    let json = fs::read(out.join("report.json")).expect("a report");
    let report: Report = serde_json::from_slice(&json).expect("a report");
    let comparison = &report.comparison;
    let again = Report::new(comparison.clone());
    for (one, other) in report.analysis.findings.iter().zip(&again.analysis.findings) {
        assert_eq!((one.measure, &one.verdict), (other.measure, &other.verdict));
        assert!((one.a.median / other.a.median - 1.0).abs() < 1e-9, "it follows from the data");
    }
    assert_eq!((comparison.runs.len(), comparison.floors.len()), (4, 2));
    let order = comparison.plan.blocks[0].order();
    assert!(comparison.runs.iter().map(|run| run.side).eq(order));
    let fsyncs = report.analysis.finding(Measure::FsyncsPerWrite).expect("the nodes count them");
    assert_eq!((fsyncs.a.median * 1e3).round(), 500.0, "half of one for each write");
    for run in &comparison.runs {
        let (write, read) = (run.loads.write_report(), run.loads.read.as_ref());
        assert!(write.is_some_and(|write| write.operations > 0));
        assert!(read.is_some_and(|read| read.operations > 0));
        let filled = run.loads.fill.as_ref().map(|fill| fill.operations);
        assert_eq!(filled, Some(comparison.settings.keys));
        assert_eq!(run.failovers.len(), 1);
        assert!(run.failovers[0].outage_ms.is_some());
    }
    assert!(fs::read_to_string(out.join("index.html")).expect("a page").contains("</html>"));
    assert_eq!(fs::read_dir(&out).expect("readable").count(), 2, "no logs are left");
    assert_eq!(fs::read_dir(&data).expect("readable").count(), 0, "no data is left");
    assert_eq!(processes_with(&data.display().to_string()), 0);
}

fn failover_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let here = directory.path().display().to_string();
    let output = verb(&[
        "compare",
        "--quick",
        "--blocks",
        "1",
        "--only",
        "failover",
        "--value-bytes",
        "1000",
        "--keys",
        "7",
        "--rate",
        "1000",
        "--out",
        &here,
        "--data-dir",
        &here,
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    for part in
        ["no clients but those of the failovers", "under 1,000 writes a second of 1,000 bytes"]
    {
        assert!(printed.contains(part), "no {part} in {printed}");
    }
    let report = Report::read(&directory.path().join("report.json")).expect("a report");
    for floor in &report.comparison.floors {
        let writes = floor.null.write_report().expect("every comparison has its floor");
        assert!(writes.operations > 0 && writes.window_ms > 0.0, "{writes:?}");
    }
    for run in &report.comparison.runs {
        assert!(run.loads.write.is_none() && run.beside_faults.is_empty());
        let probes = &run.failovers[0].probes;
        let due: Vec<f64> =
            probes.windows(2).map(|two| two[1].intended_ms - two[0].intended_ms).collect();
        let apart = due.iter().copied().fold(f64::INFINITY, f64::min);
        assert!((apart - 1.0).abs() < 1e-6, "a probe was due each millisecond: {apart}");
    }
}

fn forgetful_comparison() {
    let directory = tempfile::tempdir().expect("a directory");
    let here = directory.path().display().to_string();
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["compare", "--quick", "--blocks", "1", "--connections", "4"])
        .args(["--out", &here, "--data-dir", &here])
        .env("FAKE_NODE_FORGETS", "zab")
        .output()
        .expect("this program starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(table.contains("zab: error not_found × "), "{table}");
    assert!(table.contains("reads found no key, though every key was written"), "{table}");
    assert!(!table.contains("write throughput,"), "the only block is not valid: {table}");
}

fn unwritable_report() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    fs::write(at("file"), "").expect("writable");
    fs::create_dir_all(at("out/report.json")).expect("writable");
    for (out, data, complaint) in [
        (at("file/out"), at("data"), "create "),
        (at("out"), at("data"), "write "),
        (at("other"), at("file"), "create "),
    ] {
        let began = Instant::now();
        let (out, data) = (out.display().to_string(), data.display().to_string());
        let output = verb(&["compare", "--quick", "--out", &out, "--data-dir", &data]);
        assert!(!output.status.success());
        let error = text(&output.stderr);
        assert!(error.contains(complaint) && error.contains("choose another with --"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(3), "it is found out before measuring");
    }
}

fn no_time_left() {
    let directory = tempfile::tempdir().expect("a directory");
    let environment = Environment {
        executable: std::env::current_exe().expect("this program"),
        data: directory.path().to_owned(),
        logs: directory.path().to_owned(),
        command: "a test".to_owned(),
    };
    let mut settings = Settings::new(1, true);
    settings.connections = 2;
    settings.keys = 20;
    settings.phases = Phases {
        step: Duration::from_millis(100),
        write_warmup: Duration::from_millis(20),
        write: Duration::from_millis(50),
        read_warmup: Duration::from_millis(20),
        read: Duration::from_millis(50),
        kills: 0,
    };
    settings.budget = Some(Duration::from_millis(1));
    let measured = compare(&environment, &settings, false);
    let comparison = runtime().block_on(measured).expect("the first block is always measured");
    assert_eq!((comparison.plan.blocks.len(), comparison.runs.len()), (2, 4));
    let reasons: Vec<_> =
        comparison.exclusions.iter().map(|one| (one.block, one.reason.as_str())).collect();
    assert_eq!(reasons, [(1, "not begun: there was no time left for a whole block")]);
    assert!(comparison.runs.iter().all(|run| run.failovers.is_empty()));
    let report = Report::new(comparison);
    assert!(report.html().contains("block 2: not begun"));
}

fn failed_comparison() {
    let directory = tempfile::tempdir().expect("a directory");
    let here = directory.path().display().to_string();
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["compare", "--quick", "--out", &here, "--data-dir", &here])
        .env("FAKE_NODE_FAILS", "zab")
        .output()
        .expect("this program starts");
    assert!(!output.status.success());
    let error = text(&output.stderr);
    assert!(error.contains("this fake node fails on purpose"), "{error}");
    let kept = error.rsplit_once("are kept in ").expect("it says where").1.trim().to_owned();
    let logs: Vec<_> = fs::read_dir(&kept).expect("logs").filter_map(Result::ok).collect();
    assert!(logs.iter().any(|log| log.file_name().to_string_lossy().contains("zab-node-1")));
    assert_eq!(processes_with(&here), 0);
}

fn interrupted() {
    let directory = tempfile::tempdir().expect("a directory");
    let here = directory.path().display().to_string();
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["compare", "--quick", "--out", &here, "--data-dir", &here])
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("this program starts");
    let deadline = Instant::now() + Duration::from_secs(30);
    while processes_with(&here) == 0 {
        assert!(Instant::now() < deadline, "no node appeared");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("signalled");
    assert!(!child.wait().expect("ended").success());
    assert_eq!(processes_with(&here), 0);
    let left: Vec<_> = fs::read_dir(directory.path()).expect("readable").collect();
    assert!(left.is_empty(), "{left:?}");
}
