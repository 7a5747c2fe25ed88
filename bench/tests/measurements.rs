//! The measurements that take a cluster through something, on real servers, in small.
//!
//! The processes are this program itself: with any verb it is `duorum`.

#![allow(clippy::disallowed_methods, reason = "these tests start processes")]

#[path = "support/runner.rs"]
mod runner;
mod scenarios;

use std::process::{Command, ExitCode, Output};

use runner::Test;
use serde_json::Value;

const TESTS: &[Test] = &[
    ("a_raft_leader_hands_over_under_load_without_an_error", || hand_over("raft")),
    ("a_zab_leader_hands_over_under_load_without_an_error", || hand_over("zab")),
    ("a_leader_that_is_told_to_end_is_replaced", terminate),
    ("a_leader_is_killed_under_load", kill),
    ("a_raft_leader_that_hears_nobody_is_replaced_and_healed", || isolate("raft", "isolate-in")),
    ("a_zab_leader_that_nobody_hears_is_replaced_and_healed", || isolate("zab", "isolate-out")),
    ("a_raft_leader_that_is_cut_off_is_replaced_and_healed", || isolate("raft", "isolate-both")),
    ("a_leader_whose_disk_stalls_leads_on_until_it_is_healed", stall),
    ("a_zab_cluster_starts_cold", cold_start),
    ("a_raft_cluster_is_restarted_in_turn_with_its_leader_last", rolling_restart),
    ("a_raft_follower_comes_back_by_log", || rejoin_by_log("raft")),
    ("a_zab_follower_comes_back_by_log", || rejoin_by_log("zab")),
    ("a_raft_follower_comes_back_by_snapshot", || rejoin_by_snapshot("raft")),
    ("a_zab_follower_comes_back_by_snapshot", || rejoin_by_snapshot("zab")),
    ("a_raft_cluster_is_restarted_node_by_node", || rolling("raft")),
    ("a_zab_cluster_is_restarted_node_by_node", || rolling("zab")),
    ("a_soak_looks_at_every_node_and_checks_every_key", soak),
    ("watchers_of_raft_are_told_every_put_once", || watch("raft")),
    ("watchers_of_zab_are_told_every_put_once", || watch("zab")),
    ("writes_are_measured_with_idle_watchers_and_without", idle_watchers),
    ("a_store_is_read_out_and_its_nodes_are_restarted", store),
    ("history_is_compacted_under_paced_writes", compaction),
    ("impossible_flags_are_refused_before_anything_starts", impossible),
    ("a_load_on_servers_that_are_not_there_says_what_to_do", nobody_there),
    ("a_mixed_load_with_watchers_is_compared_at_the_leader", scenarios::compare_mixed),
    ("the_same_scenario_runs_on_real_clusters_and_in_the_simulator", scenarios::both),
    ("what_of_a_scenario_can_not_be_done_is_refused", scenarios::refused),
];

fn main() -> ExitCode {
    if runner::has_verb(&["serve", "bench", "compare", "sim"]) {
        server::cli::main()
    } else {
        runner::run(TESTS)
    }
}

fn bench(arguments: &[&str]) -> Output {
    run(&[&["bench"], arguments].concat())
}

fn run(arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    Command::new(std::env::current_exe().expect("this program"))
        .args(arguments)
        .env("DUORUM_DATA_DIR", directory.path())
        // The logs of a failed measurement go with the directory; the errors show their ends.
        .env("TMPDIR", directory.path())
        .output()
        .expect("this program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The table that a measurement prints when every promise was kept.
fn table(arguments: &[&str]) -> String {
    let output = bench(arguments);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn json(arguments: &[&str]) -> Value {
    let text = table(&[arguments, &["--json"]].concat());
    serde_json::from_str(&text).expect("JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("a number, not {value}"))
}

/// What every measurement that wrote has checked at the end.
fn assert_checked(measured: &Value) {
    assert_eq!(measured["agreement"]["agree"], true);
    assert_eq!(measured["agreement"]["answered"], 3);
    assert!(number(&measured["verdict"]["acknowledged"]) > 10.0, "{measured}");
    assert_eq!(measured["verdict"]["broken_keys"], 0);
}

fn hand_over(protocol: &str) {
    let fault = ["failover", "--protocol", protocol, "--fault", "transfer", "--count", "3"];
    let measured = json(&[&fault[..], &["--load", "4"]].concat());
    assert_checked(&measured);
    let failovers = measured["failovers"].as_array().expect("a list");
    assert_eq!(failovers.len(), 3);
    for failover in failovers {
        assert_eq!(failover["refused"], Value::Null);
        let outage = number(&failover["outage_ms"]);
        assert!(outage > 0.0 && outage < 5_000.0, "{outage}");
        assert!(number(&failover["load"]["acknowledged"]) > 0.0, "the writers beside it wrote");
        assert_eq!(failover["unknown_outcomes"], 0);
        let probes = failover["probes"].as_array().expect("a list");
        let after = probes.iter().filter(|probe| number(&probe["intended_ms"]) > 0.0);
        assert!(after.count() > 5, "probes went on");
    }
    let led: Vec<&Value> = failovers.iter().map(|failover| &failover["node"]).collect();
    assert!(led.windows(2).all(|two| two[0] != two[1]), "somebody else led: {led:?}");
}

fn terminate() {
    let table = table(&["failover", "--protocol", "zab", "--fault", "terminate", "--count", "2"]);
    for line in ["zab: SIGTERM of the leader, longest", "median ", "errors that clients saw: "] {
        assert!(table.contains(line), "no {line} in:\n{table}");
    }
}

fn kill() {
    let measured = json(&["failover", "--protocol", "raft", "--count", "2", "--load", "4"]);
    assert_checked(&measured);
    for failover in measured["failovers"].as_array().expect("a list") {
        assert_eq!(failover["fault"], "kill");
        let timeline = &failover["timeline"];
        assert_eq!(timeline["violations"], serde_json::json!([]), "{timeline}");
        assert_told(timeline, &["suspected_ms", "candidate_ms", "elected_ms", "synchronized_ms"]);
        assert_told(timeline, &["first_write_ms", "followers_caught_up_ms", "all_caught_up_ms"]);
        let outage = number(&failover["outage_ms"]);
        assert!((outage - number(&timeline["first_write_ms"])).abs() < 0.01, "{failover}");
    }
}

/// What one fault came to, after what every failover must show: that writes succeeded again, that an election was
/// held unless it is `None`, and that all moments are in order.
fn failover(protocol: &str, fault: &str) -> Value {
    let measured = json(&["failover", "--protocol", protocol, "--fault", fault, "--count", "1"]);
    assert_eq!(measured["agreement"]["agree"], true, "{measured}");
    let failover = measured["failovers"][0].clone();
    assert_eq!(
        failover["timeline"]["violations"],
        serde_json::json!([]),
        "{}",
        failover["timeline"]
    );
    assert!(number(&failover["outage_ms"]) > 0.0);
    failover
}

/// The moments of a timeline that are there, and that all of these are.
fn assert_told(timeline: &Value, names: &[&str]) {
    for name in names {
        assert!(!timeline[name].is_null(), "no {name} in {timeline}");
    }
}

fn isolate(protocol: &str, fault: &str) {
    let failover = failover(protocol, fault);
    let timeline = &failover["timeline"];
    let way = ["suspected_ms", "candidate_ms", "elected_ms", "synchronized_ms", "first_write_ms"];
    assert_told(timeline, &way);
    assert_told(timeline, &["stepped_down_ms", "healed_ms", "all_caught_up_ms"]);
    assert_eq!(timeline["discovered_ms"].is_null(), protocol == "raft", "{timeline}");
    // It was silent one way or the other, so that it took an election timeout, less one heartbeat.
    assert!(number(&timeline["suspected_ms"]) > 200.0, "{timeline}");
    assert!(number(&timeline["all_caught_up_ms"]) > number(&timeline["healed_ms"]), "{timeline}");
    assert!(number(&timeline["elections"]) >= 1.0, "{timeline}");
}

fn stall() {
    let failover = failover("raft", "stall-disk");
    let timeline = &failover["timeline"];
    assert_eq!(timeline["elections"], 0, "nobody missed the leader: {timeline}");
    assert_eq!(timeline["elected_ms"], Value::Null);
    assert_told(timeline, &["first_write_ms", "healed_ms", "all_caught_up_ms"]);
    assert!(number(&timeline["healed_ms"]) > 2_900.0, "it stalled for long: {timeline}");
    // The log of the leader was not durable while its disk stalled, and was when it did no more.
    assert!(number(&timeline["all_caught_up_ms"]) >= number(&timeline["healed_ms"]), "{timeline}");
}

fn cold_start() {
    let failover = failover("zab", "cold-start");
    let timeline = &failover["timeline"];
    // Whoever starts is LOOKING already, so that there is no moment in which it begins to be.
    let way = ["started_ms", "elected_ms", "discovered_ms", "first_write_ms"];
    assert_told(timeline, &way);
    assert_told(timeline, &["all_caught_up_ms"]);
    assert_eq!(timeline["suspected_ms"], Value::Null, "there was nobody to suspect: {timeline}");
}

fn rolling_restart() {
    let failover = failover("raft", "rolling-restart");
    let timeline = &failover["timeline"];
    assert_told(timeline, &["elected_ms", "synchronized_ms", "first_write_ms", "all_caught_up_ms"]);
    let turns = failover["turns"].as_array().expect("a list");
    assert_eq!(turns.len(), 3);
    assert_eq!(turns[2]["node"], failover["node"], "the leader is the last");
    assert_eq!(number(&turns[2]["sent_ms"]), 0.0, "the fault is its SIGTERM");
    for turn in turns {
        assert!(number(&turn["ready_ms"]) > number(&turn["ended_ms"]), "{turn}");
        assert!(number(&turn["gap_ms"]) > 0.0, "{turn}");
    }
}

fn rejoin_by_log(protocol: &str) {
    let behind = ["rejoin", "--protocol", protocol, "--behind", "200", "--load", "4"];
    let measured = json(&[&behind[..], &["--before", "300ms", "--keys", "50"]].concat());
    let rejoin = &measured["rejoin"];
    assert_checked(rejoin);
    assert!(number(&rejoin["behind_entries"]) >= 200.0, "{rejoin}");
    assert!(number(&rejoin["caught_up_ms"]) > 1.0, "{rejoin}");
    assert_eq!(number(&rejoin["snapshot_sent_bytes"]), 0.0);
    for side in ["sender", "receiver"] {
        let memory = &rejoin[side];
        assert!(number(&memory["peak_bytes"]) >= number(&memory["sampled_max_bytes"]), "{memory}");
        assert!(number(&memory["sampled_max_bytes"]) > 1e6, "{memory}");
    }
    for window in ["before", "during"] {
        assert!(number(&rejoin[window]["acknowledged"]) > 0.0, "{window}: {rejoin}");
    }
}

/// Large values fill the first segment of the log, of 8 MiB, in a moment.
fn rejoin_by_snapshot(protocol: &str) {
    let table = table(&[
        "rejoin",
        "--protocol",
        protocol,
        "--behind-bytes",
        "9MB",
        "--snapshot",
        "--value-bytes",
        "100000",
        "--keys",
        "40",
        "--load",
        "4",
        "--rate",
        "20",
        "--before",
        "300ms",
        "--retain-log-entries",
        "1",
        "--retain-log-bytes",
        "0",
        "--limit",
        "60s",
    ]);
    for line in ["comes back by snapshot", "killed half way", "p99 meanwhile / before", "peak "] {
        assert!(table.contains(line), "no {line} in:\n{table}");
    }
    let snapshots = table.lines().find(|line| line.starts_with("snapshots")).expect("a line");
    assert!(!snapshots.contains(" 0 sent"), "{snapshots}");
    let changes = table.lines().find(|line| line.starts_with("changes of the leader"));
    assert_eq!(changes.and_then(|line| line.split_whitespace().last()), Some("0"));
}

fn rolling(protocol: &str) {
    let once = ["rolling", "--protocol", protocol, "--times", "1", "--load", "4"];
    let measured = json(&[&once[..], &["--rate", "300", "--keys", "100"]].concat());
    let rolling = &measured["rolling"];
    assert_checked(rolling);
    let restarts = rolling["restarts"].as_array().expect("a list");
    let nodes: Vec<f64> = restarts.iter().map(|restart| number(&restart["node"])).collect();
    assert_eq!(nodes, [1.0, 2.0, 3.0]);
    assert!(restarts.iter().any(|restart| restart["led"] == true), "one of them led");
    for restart in restarts {
        assert!(number(&restart["stop_ms"]) > 0.0 && number(&restart["ready_ms"]) > 0.0);
        assert!(number(&restart["window"]["acknowledged"]) > 0.0, "the others went on");
        assert!(number(&restart["window"]["gap_max_ms"]) > 0.0);
    }
}

fn soak() {
    let small = ["soak", "--protocol", "raft", "--count", "2000", "--keys", "40"];
    let fast = ["--connections", "8", "--interval", "200ms", "--warmup", "0s"];
    let printed = table(&[&small[..], &fast[..], &["--json"]].concat());
    let lines: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (report, looks) = lines.split_last().expect("lines");
    let soak = &report["report"]["soak"];
    assert_checked(soak);
    assert!(number(&soak["acknowledged"]) >= 2_000.0);
    assert_eq!(number(&soak["verdict"]["acknowledged"]), number(&soak["acknowledged"]));
    assert_eq!(number(&soak["verdict"]["keys"]), 40.0);
    assert_eq!(number(&soak["live_bytes"]), 40.0 * (12.0 + 256.0));
    let retained = number(&soak["retained_log_bytes"]);
    assert!(retained > 2_000.0 * 256.0 && retained < 2_000.0 * 2_560.0, "{retained}");
    assert!(number(&report["report"]["disk_ratio"]) > 0.0);
    let last = &looks.last().expect("a look")["look"];
    for node in last["nodes"].as_array().expect("a list") {
        assert!(number(&node["memory"]["resident_bytes"]) > 1e6, "{node}");
        assert!(number(&node["disk"]["log_bytes"]) > 2_000.0 * 256.0, "{node}");
        assert!(number(&node["disk"]["store_bytes"]) > 0.0, "{node}");
    }
    let printed = table(&[&small[..], &fast[..]].concat());
    for line in ["each node: memory, log + store", "last / first", "disk / (3 live + retained)"] {
        assert!(printed.contains(line), "no {line} in:\n{printed}");
    }
}

fn watch(protocol: &str) {
    let few =
        ["watch", "--protocol", protocol, "--watchers", "20", "--streams", "4", "--keys", "3"];
    let short = ["--rate", "50", "--warmup", "200ms", "--duration", "1s"];
    let measured = json(&[&few[..], &short[..]].concat());
    let watch = &measured["watch"];
    assert_eq!(watch["errors"], serde_json::json!({}));
    assert_eq!(watch["acknowledged"], 60);
    // Of 20 watchers 7, 7 and 6 watch a key that is put 20 times.
    assert_eq!((&watch["events_due"], &watch["told"]["events"]), (&400.into(), &400.into()));
    for wrong in ["missed", "repeated", "foreign", "cancelled"] {
        assert_eq!(watch["told"][wrong], 0, "{wrong}");
    }
    for latency in ["latency", "write_latency"] {
        assert!(number(&watch[latency]["p50_ms"]) > 0.0, "{watch}");
    }
    assert!(number(&watch["latency"]["max_ms"]) < 30_000.0, "{watch}");
    let nodes = watch["nodes"].as_array().expect("a list");
    assert_eq!(nodes.len(), 3);
    assert!(nodes.iter().all(|node| number(&node["memory"]["peak_bytes"]) > 1e6), "{watch}");
}

fn idle_watchers() {
    let few = ["idle-watchers", "--protocol", "zab", "--watchers", "12", "--streams", "3"];
    let short = ["--pairs", "2", "--warmup", "100ms", "--duration", "400ms", "--keys", "50"];
    let measured = json(&[&few[..], &short[..]].concat());
    let idle = &measured["idle_watchers"];
    assert_eq!(idle["told"]["events"], 0);
    let pairs = idle["pairs"].as_array().expect("a list");
    assert_eq!(pairs.len(), 2);
    for pair in pairs {
        assert!(number(&pair["with"]["operations"]) > 0.0, "{pair}");
        assert!(number(&pair["without"]["operations"]) > 0.0, "{pair}");
    }
    assert!(number(&idle["ratio"]["ratio"]) > 0.0, "{idle}");
}

fn store() {
    let small = ["store", "--protocol", "raft", "--keys", "30000", "--burst", "200"];
    let measured = json(&[&small[..], &["--value-bytes", "64"]].concat());
    let store = &measured["store"];
    assert_eq!(store["agreement"]["agree"], true);
    let ranges = store["ranges"].as_array().expect("a list");
    assert_eq!(ranges.len(), 6, "two of each node");
    for range in ranges {
        assert_eq!(range["keys"], 30_000, "{range}");
        assert!(number(&range["bytes"]) > 30_000.0 * 64.0, "{range}");
        assert!(number(&range["memory_before_bytes"]) > 1e6, "{range}");
    }
    let restarts = store["restarts"].as_array().expect("a list");
    let shape = |restart: &Value| {
        let nodes = restart["nodes"].as_array().expect("a list").len();
        (restart["ending"].as_str().expect("text").to_owned(), nodes)
    };
    let (clean, killed) = ("clean".to_owned(), "killed".to_owned());
    let of = |ending: &String, nodes| (ending.clone(), nodes);
    let each = |ending| [of(ending, 1), of(ending, 1), of(ending, 1)];
    let expected =
        [&each(&clean)[..], &each(&killed)[..], &[of(&clean, 3), of(&killed, 3)]].concat();
    assert_eq!(restarts.iter().map(shape).collect::<Vec<_>>(), expected);
    for restart in restarts {
        assert!(number(&restart["serving_ms"]) > 1.0, "{restart}");
    }
}

fn compaction() {
    let small = ["compaction", "--protocol", "zab", "--revisions", "5000", "--keys", "100"];
    let short = ["--rate", "500", "--window", "500ms", "--connections", "8"];
    let measured = json(&[&small[..], &short[..]].concat());
    let compaction = &measured["compaction"];
    assert_checked(compaction);
    assert!(number(&compaction["revision"]) > 5_000.0, "{compaction}");
    assert!(number(&compaction["forgotten"]) >= 4_900.0, "{compaction}");
    for window in ["before", "during", "after"] {
        assert!(number(&compaction[window]["acknowledged"]) > 0.0, "{window}: {compaction}");
    }
    assert!(number(&measured["p99_ratio"]) > 0.0, "{measured}");
}

fn impossible() {
    for (arguments, complaint) in [
        (&["rejoin", "--protocol", "raft"][..], "--behind"),
        (&["rejoin", "--protocol", "raft", "--behind-bytes", "5mb"], "a whole number with a unit"),
        (&["rejoin", "--protocol", "raft", "--behind", "1", "--load", "0"], "0 connections"),
        (&["rolling", "--protocol", "raft", "--nodes", "2"], "fewer than 3 nodes"),
        (&["rolling", "--protocol", "raft", "--keys", "3"], "needs keys of its own"),
        (&["soak", "--protocol", "raft", "--interval", "1ms"], "allowed are 100 or more"),
        (&["failover", "--protocol", "raft", "--load", "20000"], "allowed are 0 to 10000"),
        (&["watch", "--protocol", "raft", "--watchers", "9", "--streams", "10"], "a watcher each"),
        (&["watch", "--protocol", "raft", "--value-bytes", "8"], "which say which put it is"),
        (&["idle-watchers", "--protocol", "raft", "--pairs", "0"], "allowed are 1 to 1000"),
        (&["store", "--protocol", "raft", "--keys", "2000000"], "allowed are 1 to 1000000"),
        (&["store", "--protocol", "raft", "--nodes", "2"], "fewer than 3 nodes"),
        (&["compaction", "--protocol", "raft", "--rate", "0"], "allowed are 0.1 to 1000000"),
    ] {
        let output = bench(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let error = text(&output.stderr);
        assert!(error.contains(complaint), "{error}");
    }
}

fn nobody_there() {
    // Port 1 is nobody's.
    let output = bench(&["put", "--endpoints", "http://127.0.0.1:1"]);
    let error = text(&output.stderr);
    assert!(!output.status.success(), "{error}");
    assert!(error.contains("no server listens there; start one"), "{error}");
    assert!(!error.contains("logs"), "no node of ours was there: {error}");
}
