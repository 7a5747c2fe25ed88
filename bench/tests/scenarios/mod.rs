//! Comparisons of more than one kind of load, by flags and by scenarios, and what of these is refused.

use std::path::Path;

use bench::report::Report;
use bench::scenario::Scenario;

use super::{run, text};

/// Compares in one short block; returns what is printed and the report.
fn compare(arguments: &[&str]) -> (String, Report) {
    let out = tempfile::tempdir().expect("a directory");
    let directory = out.path().display().to_string();
    let short = ["compare", "--quick", "--blocks", "1", "--duration", "100ms", "--out", &directory];
    let output = run(&[&short[..], arguments].concat());
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let report = Report::read(&out.path().join("report.json")).expect("a report");
    (text(&output.stdout), report)
}

pub(crate) fn compare_mixed() {
    let load = ["--mix", "40:50:10:2", "--placement", "leader", "--key-distribution", "zipf"];
    let parts =
        ["--only", "mixed,watch", "--watchers", "10", "--keys", "200", "--connections", "8"];
    let (printed, report) = compare(&[&load[..], &parts].concat());
    assert!(printed.contains("8 connections all at the leader"), "{printed}");
    assert_eq!(report.comparison.runs.len(), 4);
    for run in &report.comparison.runs {
        let mixed = run.loads.mixed.as_ref().expect("it was measured");
        assert!(mixed.report.operations > 0 && mixed.report.latency.p50_ms > 0.0);
        let delivery = mixed.delivery.as_ref().expect("there were watchers");
        assert!(delivery.broken().is_empty() && delivery.events > 0, "{delivery:?}");
        assert!(delivery.latency.p50_ms > 0.0 && delivery.latency.p50_ms < 5_000.0, "{delivery:?}");
        let watch = run.loads.watch.as_ref().expect("it was measured");
        assert!(watch.broken().is_empty() && watch.told.events >= 10, "{watch:?}");
        assert!(
            run.loads.write.is_none() && run.failovers.is_empty(),
            "nothing else was asked for"
        );
    }
}

/// What a file says, on real clusters and in the simulator.
pub(crate) fn both() {
    for name in ["hot-key", "failover"] {
        let path = format!("{}/../docs/scenarios/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let scenario = ["--scenario", &path];
        let (printed, report) = compare(&[&scenario[..], &["--nodes", "3"]].concat());
        let settings = &report.comparison.settings;
        let strike = "beside 16 clients with writes to reads to ranges as 50 to 50 to 0";
        assert_eq!(printed.contains(strike), name == "failover", "{printed}");
        let timed = &report.comparison.failover_options;
        assert_eq!((timed.keys, timed.value_bytes), (settings.keys, settings.value_bytes));
        let read = Scenario::read(Path::new(&path)).expect("a scenario");
        assert_eq!(Some(settings.connections), read.connections);
        assert_eq!(Some(settings.keys), read.keys);
        assert_eq!(Some(settings.mixed), read.mix);
        assert_eq!((settings.nodes, settings.blocks), (3, 1), "flags take the place of the file");
        for run in &report.comparison.runs {
            assert!(run.loads.mixed.is_some());
            let faults = read.faults.as_ref().map_or(0, Vec::len);
            assert_eq!((run.failovers.len(), run.beside_faults.len()), (faults, faults));
            for beside in &run.beside_faults {
                // Writes and reads went on while the leader was dead and came back.
                assert!(beside.operations > 100 && beside.not_found == 0, "{beside:?}");
                assert!(beside.window_ms > 250.0, "{beside:?}");
            }
        }

        let output =
            run(&[&["sim", "--seeds", "2", "--duration", "400ms"], &scenario[..]].concat());
        let (told, error) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{told}{error}");
        assert!(told.contains("4 runs of 2 seeds: every law held"), "{told}");
        for protocol in ["raft", "zab"] {
            let heading = format!("{protocol}, 2 runs, in virtual time");
            let (_, rest) = told.split_once(&heading).unwrap_or_else(|| panic!("{told}"));
            assert!(rest.contains("writes ") && rest.contains("reads "), "{told}");
        }
        assert_eq!(
            told.matches("outages ").count(),
            if name == "failover" { 2 } else { 0 },
            "{told}"
        );
    }
}

pub(crate) fn refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("it.toml");
    let both = [&["compare"][..], &["sim"]];
    for (content, verbs, complaint) in [
        ("nodes = 3\nnods = 5\n", &both[..], "unknown field `nods`"),
        ("mix = \"1:2\"", &both, "expected three numbers"),
        ("faults = [\"kill\", \"power-cut\"]", &both[..1], "no machine loses its power here"),
        ("a = \"raft\"\nb = \"raft --heartbeat 5ms\"", &both[1..], "no flags of `duorum serve`"),
        ("rate = 100", &both[1..], "a fixed rate is for `duorum compare --scenario`"),
        ("[sim]\nlinks = \"pigeons\"", &both[1..], "expected drawn, lan, wan"),
        ("[compare]\nonly = [\"writing\"]", &both[..1], "compare.only `writing`: expected writes"),
        (
            "connections = 5000",
            &both[1..],
            "connections = 5000: allowed in the simulator are 1 to 1000",
        ),
    ] {
        std::fs::write(&path, content).expect("written");
        let name = path.display().to_string();
        for verb in verbs {
            let output = run(&[verb, &["--scenario", &name][..]].concat());
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{content}: {error}");
            assert!(error.contains(complaint), "{content}: {error}");
        }
    }
    for (arguments, complaint) in [
        (&["--mix", "1:1:1", "--only", "writes"][..], "add `mixed` to --only"),
        (&["--watchers", "10"], "--watchers is for --only watch"),
        (&["--rate", "100", "--only", "reads"], "--rate is of writes, of the mixed load and of"),
        (&["--rate", "20000", "--only", "failover"], "allowed are 10 to 10000 where failover"),
        (&["--only", "failover", "--placement", "leader"], "--placement: a failover alone"),
        (&["--only", "failover", "--duration", "1s"], "--duration: a failover lasts as long"),
        (&["--only", "watch", "--key-distribution", "hot"], "--key-distribution: watchers watch"),
        (&["--mix", "0:1:0:5"], "watchers of a load without writes"),
        (&["--only", "watch", "--value-bytes", "8"], "watches are measured by what values say"),
        (&["--duration", "0s"], "nothing can be measured in no time"),
        (&["--render", "x.json", "--only", "writes"], "cannot be used with"),
        (&["--exact", "--scenario", "x.toml"], "cannot be used with"),
        (&["--render", "/no/such/report.json"], "read /no/such/report.json"),
    ] {
        let output = run(&[&["compare"], arguments].concat());
        let error = text(&output.stderr);
        assert!(!output.status.success() && error.contains(complaint), "{arguments:?}: {error}");
    }
}
