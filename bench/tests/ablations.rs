//! The table and the page of ablations, from data made up for the purpose.

#![allow(clippy::disallowed_methods, reason = "the reports lie in files")]

#[allow(dead_code, reason = "other tests need the rest of it")]
mod sample;

use bench::ablations::{Ablated, Ablation, Ablations, pairs, plan_text, table_text};
use bench::compare::Settings;
use bench::report::Report;

/// Each pair with the same made-up figures, in which there is a quarter more with than without; the last
/// pair failed.
fn measured(ablations: &[Ablation]) -> Ablations {
    let mut measured = Ablations::new("duorum compare --ablate <made up>".to_owned());
    for pair in pairs(ablations) {
        let mut comparison = sample::comparison(6, 1.25);
        comparison.settings.contenders = pair.contenders.clone();
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
        assert!(throughput[6].starts_with("1.2") && throughput[6].contains('['), "{throughput:?}");
        line(["batching", protocol, "--batching off", "fdatasyncs per write"]);
    }
    let failover = "outage after SIGKILL of the leader, ms";
    line(["pre-vote", "raft", "--pre-vote off", failover]);
    line(["detector", "raft", "--failure-detector silence", failover]);
    line(["detector", "zab", "--failure-detector silence", "node 2 of <zab>: ended"]);
    assert!(table.contains("warning: zab without detector (--failure-detector silence) could not"));
    assert!(table.contains("pre-vote: Whoever suspects its leader campaigns"));
    assert!(!lines.iter().any(|line| line.starts_with(&["pre-vote", "zab"])), "{table}");
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
    let json = std::fs::read(json).expect("a file");
    let again: Ablations = serde_json::from_slice(&json).expect("the same format");
    assert_eq!(table_text(&again), table_text(&measured));
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
