//! A report that is read from its file: the same page again, or a refusal that says why.

use std::path::Path;

use bench::report::Report;
use serde_json::{Value, json};

use crate::sample;
use crate::systems::made_up_systems;

/// A report of two blocks, as it is written.
fn written() -> Value {
    let mut comparison = sample::comparison(2, 1.1);
    for failover in comparison.runs.iter_mut().flat_map(|run| &mut run.failovers) {
        failover.probes.truncate(3);
    }
    serde_json::to_value(Report::new(comparison)).expect("plain data")
}

fn read(bytes: &[u8]) -> Result<Report, String> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("report.json");
    std::fs::write(&path, bytes).expect("written");
    let prefix = format!("{}: ", path.display());
    Report::read(&path).map_err(|error| {
        error.to_string().strip_prefix(&prefix).expect("it names the file").to_owned()
    })
}

fn refusal(value: &Value) -> String {
    read(&serde_json::to_vec(value).expect("JSON")).expect_err("to be refused")
}

#[test]
fn the_page_and_the_table_are_made_again_from_the_file_alone() {
    let mut report = Report::new(sample::comparison(6, 1.1));
    report.exact = Some(sample::brief(&mut consensus::Random::new(5)));
    report.systems = Some(made_up_systems());
    let directory = tempfile::tempdir().expect("a directory");
    let (json, html) = report.write(directory.path()).expect("written");
    let again = Report::read(&json).expect("it was just written");
    let page = std::fs::read_to_string(html).expect("there");
    assert_eq!(again.html(), page);
    assert_eq!((&again.exact, &again.systems), (&report.exact, &report.systems));
    assert_eq!(again.text(), report.text());
    assert_eq!(again.analysis, report.analysis);
    assert_eq!(again.comparison.plan, report.comparison.plan);
    assert_eq!(again.comparison.settings, report.comparison.settings);
    assert_eq!(again.comparison.runs.len(), report.comparison.runs.len());
    let elsewhere = directory.path().join("a/b");
    let rendered = again.write_page(&elsewhere).expect("directories are made");
    assert_eq!(std::fs::read_to_string(rendered).expect("there"), page);
    assert!(!elsewhere.join("report.json").exists());
    assert!(!page.contains("beside this page"), "it may lie elsewhere");
}

#[test]
fn what_was_concluded_is_concluded_anew() {
    let mut value = written();
    value["analysis"]["findings"][0]["verdict"] = "raft is 9.99 × faster".into();
    for analysis in [value["analysis"].clone(), json!({}), json!(null)] {
        value["analysis"] = analysis;
        let report = read(&serde_json::to_vec(&value).expect("JSON")).expect("whole");
        assert_eq!(report.analysis.findings[0].verdict, "too few blocks to say (2)");
    }
}

#[test]
fn what_is_no_report_is_refused_with_what_it_is() {
    for (text, why) in [
        ("", "the report is cut off"),
        ("{\"comparison\":{\"format\":3,", "the report is cut off"),
        ("no JSON", "no report of `duorum compare`: expected"),
        ("{}", "no report of `duorum compare`: it has no `comparison.format`"),
        ("[1, 2]", "no report of `duorum compare`: it has no `comparison.format`"),
    ] {
        let error = read(text.as_bytes()).expect_err(text);
        assert!(error.starts_with(why), "{text}: {error}");
    }
    let whole = serde_json::to_vec(&written()).expect("JSON");
    read(&whole).expect("whole");
    for cut in [whole.len() / 3, whole.len() - 2] {
        let error = read(&whole[..cut]).expect_err("cut off");
        assert!(error.starts_with("the report is cut off"), "{error}");
    }
    let absent =
        Report::read(Path::new("/no/such/report.json")).expect_err("not there").to_string();
    assert!(absent.starts_with("read /no/such/report.json: "), "{absent}");
}

#[test]
fn another_version_of_the_format_is_refused_with_who_can_read_it() {
    for format in [2, 4] {
        let mut value = written();
        value["comparison"]["format"] = format.into();
        let error = refusal(&value);
        let expected =
            format!("the report has format {format}, and this version reads 3: render it with");
        assert!(error.starts_with(&expected) && error.contains("(duorum 0.1.0)"), "{error}");
    }
}

#[test]
fn a_report_without_its_manifest_is_refused() {
    for name in
        ["machine", "settings", "command", "disk_before", "loopback_after", "file_system", "plan"]
    {
        let mut value = written();
        value["comparison"].as_object_mut().expect("an object").remove(name);
        let error = refusal(&value);
        assert!(error.starts_with("the report has lost its manifest"), "{error}");
        assert!(error.contains(&format!("`comparison.{name}")), "{error}");
    }
    for (part, name) in [("machine", "features"), ("file_system", "super_options")] {
        let mut value = written();
        value["comparison"][part].as_object_mut().expect("an object").remove(name);
        assert!(refusal(&value).contains(&format!("`comparison.{part}.{name}`")));
    }
    // A commit that is not known is said to be so, and not left out.
    let mut value = written();
    assert_eq!(value["comparison"]["machine"]["commit"], Value::Null);
    value["comparison"]["machine"].as_object_mut().expect("an object").remove("commit");
    assert!(refusal(&value).contains("`comparison.machine.commit`"));
}

#[test]
fn damage_is_told_with_its_place() {
    let mut value = written();
    value["comparison"]["runs"][3]["loads"]["write"]["report"]["per_second"] = "fast".into();
    let error = refusal(&value);
    let place = "the report is damaged at `comparison.runs[3].loads.write.report.per_second`";
    assert!(error.starts_with(place), "{error}");
    let mut value = written();
    value["comparison"]["runs"][5]["block"] = 7.into();
    assert_eq!(refusal(&value), "the report is damaged: runs[5]: there is no place 1 in block 7");
}

/// The places of all values below one; of the elements of a list, the first alone.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(member, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(elements) => {
            if let Some(first) = elements.first() {
                places(first, &format!("{at}/0"), found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

#[test]
fn whatever_one_value_is_there_is_a_page_or_a_refusal() {
    let value = written();
    let mut all = Vec::new();
    places(&value["comparison"], "/comparison", &mut all);
    assert!(all.len() > 100, "{}", all.len());
    let wrong = [json!(null), json!(0), json!(-1), json!(1e300), json!(u64::MAX), json!("x")];
    let (mut pages, mut refusals) = (0, 0);
    for place in &all {
        for wrong in &wrong {
            let mut value = value.clone();
            *value.pointer_mut(place).expect("a place") = wrong.clone();
            match read(&serde_json::to_vec(&value).expect("JSON")) {
                Ok(report) => {
                    let page = report.html();
                    assert!(!page.contains("NaN"), "{place} as {wrong}");
                    pages += 1;
                }
                Err(_) => refusals += 1,
            }
        }
    }
    assert!(pages > 100 && refusals > 300, "{pages} pages, {refusals} refusals");
}
