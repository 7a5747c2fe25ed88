//! The table and the page of ablations, from data made up for the purpose.

use bench::ablations::{Ablated, Ablation, Ablations, pairs, plan_text, table_text};
use bench::compare::Settings;
use bench::report::Report;
use serde_json::Value;

use crate::page::check_well_formed;
use crate::sample;

/// Each pair with the same made-up figures, in which there is a quarter more of the protocol as it is; the last
/// pair failed.
fn measured(ablations: &[Ablation]) -> Ablations {
    let mut measured = Ablations::new("duorum compare --ablate <made up>".to_owned());
    for pair in pairs(ablations) {
        let mut comparison = sample::comparison(6, 1.25);
        comparison.settings.contenders = pair.contenders.clone();
        comparison.floors.clear();
        for failover in comparison.runs.iter_mut().flat_map(|run| &mut run.failovers) {
            failover.fault = pair.ablation.fault();
        }
        let report = Some(Report::new(comparison));
        measured.pairs.push(Ablated { pair, report, failure: None });
    }
    let last = measured.pairs.last_mut().expect("there are some");
    (last.report, last.failure) = (None, Some("node 2 of <zab>: ended\nand more".to_owned()));
    measured
}

#[test]
fn the_table_has_a_line_for_each_figure_that_a_mechanism_concerns() {
    let measured = measured(&[Ablation::Batching, Ablation::PreVote, Ablation::Detector]);
    assert!(!measured.is_complete());
    let table = table_text(&measured);
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    let line = |start: [&str; 4]| {
        let found = lines.iter().find(|line| line.starts_with(&start));
        found.unwrap_or_else(|| panic!("no {start:?} in\n{table}"))
    };
    for protocol in ["raft", "zab"] {
        let throughput = line(["batching", protocol, "--batching off", "write throughput, /s"]);
        assert_eq!(throughput[6], "6", "blocks");
        assert!(throughput[7].starts_with("1.2") && throughput[7].contains('['), "{throughput:?}");
        line(["batching", protocol, "--batching off", "fdatasyncs per write"]);
    }
    let failover = "outage after SIGKILL of the leader, ms";
    line(["pre-vote", "raft", "--pre-vote off", failover]);
    line(["detector", "raft", "--failure-detector silence", failover]);
    line(["detector", "zab", "--failure-detector silence", "node 2 of <zab>: ended"]);
    assert!(table.contains("warning: zab without detector (--failure-detector silence) could not"));
    assert!(table.contains("pre-vote: Whoever suspects its leader campaigns"));
    assert!(!lines.iter().any(|line| line.starts_with(&["pre-vote", "zab"])), "{table}");
    assert!(table.contains("Each of them against itself, by the same rule: "), "{table}");
}

#[test]
fn more_of_a_mechanism_does_not_stand_under_without() {
    let measured = measured(&[Ablation::Timeouts, Ablation::FinalizeWait]);
    for text in [table_text(&measured), measured.html()] {
        for part in ["--election-jitter 300ms", "--finalize-wait 200ms", "as it is", "changed to"] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        assert!(!text.contains("without"), "{text}");
    }
}

#[test]
fn the_page_shows_the_same_and_what_was_measured_survives_the_file() {
    let measured = measured(&Ablation::ALL);
    let directory = tempfile::tempdir().expect("a directory");
    Ablations::check_writable(directory.path()).expect("nothing is in the way");
    let (json, html) = measured.write(directory.path()).expect("written");
    let page = std::fs::read_to_string(html).expect("a page");
    assert!(page.ends_with("</html>\n") && !page.contains("<zab>") && !page.contains("<made up>"));
    for ablation in Ablation::ALL {
        assert!(page.contains(&format!("<dt>{}</dt>", ablation.name())), "{}", ablation.name());
    }
    assert_eq!(page.matches("<tr>").count(), page.matches("</tr>").count());
    assert!(!page.contains("http:") && !page.contains("src="), "it needs nothing but itself");
    check_well_formed(&page);
    for part in [
        "Calibration",
        "The floors (the null protocol",
        "<td>6</td>",
        "frequency governor",
        "coins",
    ] {
        assert!(page.contains(part), "no {part}");
    }
    let again = Ablations::read(&json).expect("it was just written");
    assert_eq!((again.html(), table_text(&again)), (page, table_text(&measured)));
    let rendered = again.write_page(&directory.path().join("a/b")).expect("directories are made");
    assert_eq!(std::fs::read_to_string(rendered).expect("a page"), again.html());
}

#[test]
fn the_plan_says_what_will_be_done_and_how_long_it_takes() {
    let pairs = pairs(&[Ablation::FinalizeWait, Ablation::Timeouts]);
    let settings: Vec<Settings> = pairs
        .iter()
        .map(|pair| pair.settings(&Settings::new(7, false)).expect("possible"))
        .collect();
    let plan = plan_text(&pairs, &settings);
    assert!(plan.starts_with("4 pairs, each a comparison of its own"), "{plan}");
    assert!(plan.contains("zab --finalize-wait 200ms: 3 nodes, 12 blocks of 4 runs"), "{plan}");
    assert!(plan.contains("about 6 minutes in all"), "{plan}");
}

/// Why a file of ablations is refused.
fn refusal(measured: &Value) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ablations.json");
    std::fs::write(&path, measured.to_string()).expect("written");
    let error = Ablations::read(&path).expect_err("to be refused").to_string();
    error.strip_prefix(&format!("{}: ", path.display())).expect("it names the file").to_owned()
}

#[test]
fn a_result_without_its_manifest_is_refused() {
    let whole =
        serde_json::to_value(measured(&[Ablation::Fsync, Ablation::PreVote])).expect("JSON");
    for name in ["machine", "settings", "command", "disk_before", "loopback_after", "plan"] {
        let mut value = whole.clone();
        let comparison = &mut value["pairs"][1]["report"]["comparison"];
        comparison.as_object_mut().expect("an object").remove(name);
        let error = refusal(&value);
        assert!(
            error.starts_with("pairs[1]: the report has lost its manifest: there is no"),
            "{error}"
        );
        assert!(error.contains(&format!("`comparison.{name}")), "{error}");
    }
    let mut value = whole.clone();
    value["format"] = 9.into();
    assert!(refusal(&value).starts_with("the report has format 9, and this version reads 1: "));
    let mut value = whole.clone();
    value.as_object_mut().expect("an object").remove("command");
    assert!(refusal(&value).contains("missing field `command`"), "{}", refusal(&value));
    let mut value = whole.clone();
    value["pairs"][0]["report"]["comparison"]["runs"][5]["block"] = 77.into();
    let error = refusal(&value);
    assert!(
        error.contains("pairs[0].report`: runs[5]: there is no place 1 in block 77"),
        "{error}"
    );
    let mut value = whole;
    value["pairs"][0]["pair"]["contenders"][1]["flags"][1] = "on".into();
    let error = refusal(&value);
    assert!(
        error.contains("pairs[0] is about raft without fsync (--fsync on), and its"),
        "{error}"
    );
}
