//! The measurement of systems that others wrote: who is not there, who does not start, who ends, what ends
//! with whom, and our own rows. The processes are this program itself: asked to `serve`, it is the small node
//! of the tests of processes.
//!
//! None of that needs etcd or ZooKeeper. What does is only done where the environment names them,
//! `DUORUM_WITH=etcd,zookeeper cargo test -p bench --test systems`, and is said not to be done otherwise.

#![allow(clippy::disallowed_methods, reason = "these tests start processes and read clocks")]

mod fake_etcd;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bench::Error;
use bench::compare::{Environment, Part, Placement, Settings, Side};
use bench::systems::{Options, Subject, Subjects, Systems, With, measure, plan_text, table_text};
use clap::Parser;
use support::fake_node;
use support::runner::{self, Test};

/// The real verb, and nodes that are none.
#[derive(Parser)]
enum Verbs {
    Serve(fake_node::ServeArgs),
    Bench(bench::cli::BenchArgs),
    Compare(Box<bench::cli::CompareArgs>),
}

const TESTS: &[Test] = &[
    ("a_system_that_is_not_there_is_refused_before_anything_is_measured", not_there),
    ("a_program_of_others_gets_none_of_the_users_settings", no_settings),
    ("a_program_of_others_ends_with_the_process_that_started_it", ends_with_parent),
    ("a_program_of_others_is_not_started_by_somebody_elses_child", wrong_parent),
    ("a_system_that_does_not_start_is_reported_with_its_last_words", does_not_start),
    (
        "a_system_that_finds_its_port_taken_is_started_on_others_before_anybody_is_told",
        finds_its_port_taken,
    ),
    ("a_system_of_which_a_node_ends_while_it_is_driven_is_reported_soon", ends_while_driven),
    ("our_own_rows_are_measured_by_the_loop_of_the_systems", own_rows),
    ("parts_that_were_not_asked_for_are_not_measured_and_leave_no_gaps", parts),
    ("writes_of_systems_are_due_at_the_rate_of_the_comparison", due),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|verb| verb == "fake-etcd") {
        return fake_etcd::run(&arguments);
    }
    if !runner::has_verb(&["serve", "bench", "compare"]) {
        let code = runner::run(TESTS);
        real_systems(&arguments[1..]);
        return code;
    }
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

fn this_program() -> Command {
    Command::new(std::env::current_exe().expect("this program"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn compare(directory: &Path, with: &str) -> Output {
    let out = directory.join("out").display().to_string();
    let arguments = ["compare", "--quick", "--out", &out, "--data-dir", &out, "--with"];
    this_program().args(arguments).args(with.split(' ')).output().expect("this program starts")
}

fn not_there() {
    let directory = tempfile::tempdir().expect("a directory");
    for (with, complaint) in [
        ("etcd=/nowhere/etcd", "--with etcd=/nowhere/etcd: there is no program etcd; name it"),
        ("zookeeper=/nowhere", "--with zookeeper=/nowhere: there is no bin/zkServer.sh; name"),
        ("etcd,etcd", "etcd is named more than once"),
        ("consul", "allowed are etcd, zookeeper, etcd=PATH and zookeeper=PATH"),
        ("etcd --only sweep", "add one of them to --only"),
        ("etcd --faults kill,stop", "--faults kill,stop: with systems"),
        ("zookeeper --value-bytes 1048576", "--value-bytes 1048576: with zookeeper"),
    ] {
        let output = compare(directory.path(), with);
        assert!(!output.status.success(), "{with}");
        let error = text(&output.stderr);
        assert!(error.contains(complaint), "{with}: {error}");
        assert!(output.stdout.is_empty(), "nothing was begun");
        assert!(!directory.path().join("out").exists(), "nothing was made");
    }
}

/// This program as it is told to become another one, which is a shell.
fn launch(parent: u32, script: &str) -> Command {
    let mut command = this_program();
    command.args(["bench", "launch", "--stop-with-parent", &parent.to_string()]);
    command.args(["--", "/bin/sh", "-c", script]);
    command
}

fn no_settings() {
    let script = r#"echo "[$ETCD_NAME][$JAVA_TOOL_OPTIONS][$ZOOCFGDIR][$OF_THE_TEST]""#;
    let output = launch(std::process::id(), script)
        .envs([("ETCD_NAME", "a"), ("JAVA_TOOL_OPTIONS", "b"), ("ZOOCFGDIR", "c")])
        .env("OF_THE_TEST", "d")
        .output()
        .expect("this program starts");
    assert_eq!(text(&output.stdout), "[][][][d]\n", "{}", text(&output.stderr));
}

fn wrong_parent() {
    let output = launch(u32::MAX, "echo started").output().expect("this program starts");
    assert!(!output.status.success() && output.stdout.is_empty());
    let error = text(&output.stderr);
    assert!(error.contains("which started this one, is gone"), "{error}");
}

fn ends_with_parent() {
    let own = std::env::current_exe().expect("this program").display().to_string();
    let script = format!(
        "{own} bench launch --stop-with-parent $$ -- /bin/sh -c \"trap '' TERM; exec /bin/sleep 1000\" & \
         echo $!; wait"
    );
    let mut parent = Command::new("/bin/sh")
        .args(["-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell starts");
    let mut line = String::new();
    let output = parent.stdout.take().expect("piped");
    BufReader::new(output).read_line(&mut line).expect("a number");
    let process = format!("/proc/{}", line.trim());
    let name = || fs::read_to_string(format!("{process}/comm")).unwrap_or_default();
    eventually("it became the other program", || name() == "sleep\n");
    parent.kill().expect("running");
    parent.wait().expect("ended");
    eventually("it ended with its parent", || name() != "sleep\n");
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn environment(directory: &Path) -> Environment {
    Environment {
        executable: std::env::current_exe().expect("this program"),
        data: directory.to_owned(),
        logs: directory.to_owned(),
        command: "a test".to_owned(),
    }
}

/// Phases as short as they can be.
fn options() -> Options {
    let mut options = Options::beside(&Settings::new(1, true), Some(2), true);
    let short = Duration::from_millis(50);
    (options.connections, options.keys) = (3, 40);
    (options.write_warmup, options.write, options.read_warmup, options.read) =
        (short, short, short, short);
    options
}

fn measured(
    directory: &Path,
    options: &Options,
    subjects: &Subjects,
    told: &Mutex<Vec<String>>,
) -> Result<Systems, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let tell = |what: &str| told.lock().expect("not poisoned").push(what.to_owned());
    let environment = environment(directory);
    runtime.expect("a runtime").block_on(measure(&environment, options, subjects, &tell))
}

/// Measures an etcd that is a script: told its version, and what it does beyond that.
fn measured_with_etcd(directory: &Path, does: &str) -> String {
    let program = directory.join("etcd");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && echo 'etcd Version: 9.8.7' && exit\n{does}\n"
    );
    fs::write(&program, script).expect("writable");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("settable");
    let with = format!("etcd={}", directory.display()).parse().expect("valid");
    let options = options();
    let subjects = Subjects::find(&[with], &options).expect("it tells a version");
    assert_eq!(subjects.count(), 4, "both contenders and two ways to etcd");
    let plan = plan_text(&subjects, &options);
    assert_eq!(plan, "Then etcd 9.8.7 beside both, a comparison of systems: 2 blocks of 4 runs.\n");
    let error = measured(directory, &options, &subjects, &Mutex::default()).expect_err("it ends");
    error.to_string()
}

fn does_not_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let error = measured_with_etcd(directory.path(), "echo \"what is $1 $2\"\nexit 3");
    assert!(error.starts_with("etcd (g"), "which of both ways is for the coin: {error}");
    for part in ["a cluster of 3 nodes, system-1-", "ended: exit status: 3", "what is --name node-"]
    {
        assert!(error.contains(part), "no {part} in {error}");
    }
}

fn finds_its_port_taken() {
    let directory = tempfile::tempdir().expect("a directory");
    let does = "echo \"$@\" >> \"${0%/*}/starts\"\necho 'listen tcp: bind: address already in use'\nexit 1";
    let error = measured_with_etcd(directory.path(), does);
    assert!(
        error.contains("Another program took a port that was free a moment ago: run it again."),
        "{error}"
    );
    let starts = fs::read_to_string(directory.path().join("starts")).expect("it was started");
    // Of each cluster at least the node came to this that ended it; the others may have been killed before.
    let members = |start: &str| {
        let mut flags = start.split(' ').skip_while(|flag| *flag != "--initial-cluster");
        flags.nth(1).expect("who belongs to it").to_owned()
    };
    let clusters: BTreeSet<String> = starts.lines().map(members).collect();
    assert_eq!(clusters.len(), 3, "it was tried with other ports: {starts}");
}

fn ends_while_driven() {
    let directory = tempfile::tempdir().expect("a directory");
    let own = std::env::current_exe().expect("this program").display().to_string();
    let error = measured_with_etcd(directory.path(), &format!("exec {own} fake-etcd \"$@\""));
    for part in ["node 2 ended: exit status: 3", fake_etcd::LAST_WORDS] {
        assert!(error.contains(part), "no {part} in {error}");
    }
}

fn own_rows() {
    let directory = tempfile::tempdir().expect("a directory");
    let (options, told) = (options(), Mutex::default());
    let subjects = Subjects::find(&[], &options).expect("nothing to find");
    let systems =
        measured(directory.path(), &options, &subjects, &told).expect("our own are there");
    assert_eq!(told.lock().expect("not poisoned").len(), 4);
    assert_eq!((systems.runs.len(), systems.exclusions.len()), (4, 0));
    for run in &systems.runs {
        assert_eq!(run.fill.operations, options.keys);
        let write = &run.write.as_ref().expect("a part").report;
        for report in [write].into_iter().chain(&run.read).chain(&run.local_read) {
            assert!(report.operations > 0 && report.errors.is_empty(), "{report:?}");
        }
        let failover = run.failover.as_ref().expect("three nodes");
        let outage = failover.outage_ms.expect("the others took over");
        let least = fake_node::INTERREGNUM.as_secs_f64() * 1e3;
        assert!(outage > least, "{outage}");
        assert!(
            failover.probes.iter().any(|probe| probe.intended_ms < 0.0 && probe.error.is_none())
        );
        assert!(failover.probes.iter().any(|probe| probe.intended_ms > outage));
        assert_eq!(run.commands.len(), 3);
        assert!(run.memory_peak_bytes > 0);
    }
    assert_eq!(systems.subjects(), Side::BOTH.map(Subject::Duorum));
    let table = table_text(&systems);
    for part in ["Duorum raft", "Duorum zab", "\nleader killed to next write, ms", "2 blocks"] {
        assert!(table.contains(part), "no {part} in {table}");
    }
    let data = fs::read_dir(directory.path()).expect("readable").filter_map(Result::ok);
    assert!(data.map(|entry| entry.path()).all(|path| path.is_file()), "only logs are left");
}

fn parts() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut options = options();
    (options.blocks, options.parts) = (1, [Part::Reads].into());
    let subjects = Subjects::find(&[], &options).expect("nothing to find");
    let systems = measured(directory.path(), &options, &subjects, &Mutex::default());
    let systems = systems.expect("our own are there");
    for run in &systems.runs {
        assert!(run.write.is_none() && run.failover.is_none());
        assert!(run.read.is_some() && run.local_read.is_some());
    }
    let table = table_text(&systems);
    assert!(table.contains("\nlocal reads/s"), "{table}");
    for absent in ["writes/s", "leader killed", "  –"] {
        assert!(!table.contains(absent), "{absent} in {table}");
    }
}

fn due() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut options = options();
    (options.blocks, options.parts) = (1, [Part::Writes].into());
    (options.placement, options.rate) = (Placement::Leader, Some(400.0));
    let subjects = Subjects::find(&[], &options).expect("nothing to find");
    let systems = measured(directory.path(), &options, &subjects, &Mutex::default());
    let systems = systems.expect("our own are there");
    assert_eq!(systems.runs.len(), 2);
    for run in &systems.runs {
        let report = &run.write.as_ref().expect("a part").report;
        let all = report.operations_with_warmup + report.not_sent;
        assert_eq!(all, 40, "as many as were due in a tenth of a second: {report:?}");
    }
    let table = table_text(&systems);
    for part in ["3 connections all at the leader", "Writes, 400 a second due, with latencies"] {
        assert!(table.contains(part), "no {part} in {table}");
    }
}

/// Real processes of real systems, if the environment asks for any. No test claims to have done it
/// otherwise.
fn real_systems(arguments: &[String]) {
    const NAME: &str = "real_systems_are_started_driven_and_stopped";
    if arguments.iter().any(|argument| !argument.starts_with('-') && !NAME.contains(&**argument)) {
        return;
    }
    let mut output = std::io::stdout();
    let Ok(asked) = std::env::var("DUORUM_WITH") else {
        let _ = writeln!(output, "not done: {NAME}: DUORUM_WITH=etcd,zookeeper asks for it");
        return;
    };
    let asked: Vec<With> = asked.split(',').map(|one| one.parse().expect("DUORUM_WITH")).collect();
    let directory = tempfile::tempdir().expect("a directory");
    let mut options = options();
    options.blocks = 1;
    // What etcd's gateway answers in chunks.
    options.value_bytes = 4_000;
    let subjects = Subjects::find(&asked, &options).unwrap_or_else(|error| panic!("{error}"));
    let systems = measured(directory.path(), &options, &subjects, &Mutex::default());
    let systems = systems.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((systems.runs.len(), systems.exclusions.len()), (subjects.count(), 0));
    for run in &systems.runs {
        let name = systems.heading(run.subject);
        let write = &run.write.as_ref().expect("a part").report;
        for report in [write].into_iter().chain(&run.read).chain(&run.local_read) {
            assert!(report.operations > 0, "{name}: {report:?}");
            assert!(report.errors.is_empty(), "{name}: {report:?}");
        }
        let failover = run.failover.as_ref().expect("three nodes");
        assert!(failover.outage_ms.is_some(), "{name} never came back: {:?}", failover.errors);
        let _ = writeln!(output, "done: {NAME}: {name}");
    }
}
