//! The page as a whole: well formed, needing nothing but itself, and saying what must be known.

use std::path::Path;

use bench::cluster::Fault;
use bench::compare::Part;
use bench::report::{Report, warnings};

use crate::made::only;
use crate::sample;

/// Whether every element is closed, by itself or by its end, in order.
pub(crate) fn check_well_formed(page: &str) {
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

pub(crate) fn check_self_contained(page: &str) {
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
        let (_, body) = page.split_once("</style>").expect("a style");
        let blank = body.find('{').map(|at| head(&body[at..]));
        assert_eq!(blank, None, "every blank is filled in");
        // Left for whoever wants to look at it.
        let directory =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{blocks}-{advantage}"));
        std::fs::create_dir_all(&directory).expect("a directory");
        report.write(&directory).expect("written");
    }
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
    // A p99 of 200 has no upper end; the longest of them is not one.
    assert_eq!(page.matches(" – ?</small>").count(), 8, "of four distributions until two moments");
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exact");
    std::fs::create_dir_all(&directory).expect("a directory");
    report.write(&directory).expect("written");
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
fn what_was_measured_of_the_floors_is_on_the_page_though_the_rest_is_missing() {
    let mut comparison = sample::comparison(6, 1.0);
    let whole = Report::new(comparison.clone()).html();
    assert!(
        whole.contains("a bare HTTP echo answered ") && whole.contains("the null protocol, which")
    );
    assert_eq!(whole.matches("(n = 2, no interval)").count(), 2);
    for floor in &mut comparison.floors {
        floor.null.write = None;
    }
    let page = Report::new(comparison.clone()).html();
    assert!(
        page.contains("a bare HTTP echo answered ") && !page.contains("the null protocol, which")
    );
    comparison.floors.clear();
    let page = Report::new(comparison).html();
    assert!(page.contains("<b>The floors</b> were not measured"));
    check_well_formed(&page);
}

#[test]
fn every_interval_is_counted_where_false_alarms_are_told_of() {
    let report = Report::new(sample::comparison(6, 1.0));
    let ratios = report.analysis.findings.iter().filter(|finding| finding.ratio.is_some()).count();
    assert_eq!((ratios, report.analysis.intervals()), (14, 14));
    assert!(report.html().contains("14 ratios with their intervals are on this page"));
    let parts = [Part::Sweep, Part::Paced, Part::Failover];
    let report = Report::new(only(&parts, &[Fault::Kill, Fault::Stop], 1.0));
    // Both faults; the sweep with its 3 points, and two latencies with 3 points each.
    assert_eq!(report.analysis.intervals(), 2 + 4 + 4 + 4);
    assert!(report.html().contains("14 ratios with their intervals are on this page"));
}
