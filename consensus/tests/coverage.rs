//! `docs/coverage.md` says which script or test proves which scenario. Here it is held against the
//! repository: what it names must be there and must be run, every row must name something or say why
//! it does not apply, and no script may be missing from it.

#![allow(clippy::disallowed_methods, reason = "the test reads the page and what the page names")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/coverage.md";

/// Where scripts are.
const SCRIPTS: [&str; 3] =
    ["consensus/tests/scripts", "consensus-raft/scripts", "consensus-zab/scripts"];

/// The cases of the suite for every protocol are functions, and this file makes tests of them.
const CONFORMANCE: &str = "consensus/src/conformance.rs";

/// How the last cell of a row begins if nothing of ours belongs there.
const NOT_OURS: &str = "Does not apply";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(root().join(path)).map_err(|error| format!("{path}: {error}"))
}

/// What stands between backticks and looks like a path, with the test that may be named behind it.
fn references(text: &str) -> impl Iterator<Item = &str> {
    let code = text.split('`').skip(1).step_by(2);
    code.filter(|span| span.contains('/') && !span.contains(char::is_whitespace))
}

/// The rows of tables, without their headings, as the text of their cells.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let mut rows = Vec::new();
    let mut in_table = false;
    for line in page.lines() {
        if !line.starts_with('|') {
            in_table = false;
        } else if line.starts_with("|--") {
            in_table = true;
        } else if in_table {
            rows.push(line.trim_matches('|').split('|').map(str::trim).collect());
        }
    }
    rows
}

/// Whether a line of a source begins a function of that name.
fn begins(line: &str, name: &str) -> bool {
    let rest = line.split_once("fn ").and_then(|(_, rest)| rest.strip_prefix(name));
    rest.is_some_and(|rest| rest.starts_with(['(', '<']))
}

/// Whether a source has that function with the attribute of a test.
fn has_attribute(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    (0..lines.len()).filter(|&at| begins(lines[at], name)).any(|at| {
        let mut above = lines[..at].iter().rev().take_while(|line| line.starts_with(['#', '/']));
        above.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

/// Whether a source has a function that is run as a test: by its attribute, or because `makers`, which
/// makes tests of functions, does so with this one.
fn has_test(source: &str, makers: &str, name: &str) -> bool {
    let is_there = source.lines().any(|line| begins(line, name));
    // The names that a macro is given stand on lines of their own, or between commas and parentheses.
    let mut words = makers.lines().flat_map(|line| line.split([',', '(', ')']));
    let is_listed = words.any(|word| word.trim() == name);
    is_there && (has_attribute(source, name) || has_attribute(makers, name) || is_listed)
}

/// Why a reference leads nowhere.
fn fault(reference: &str) -> Option<String> {
    let (path, name) = match reference.split_once("::") {
        Some((path, name)) => (path, Some(name)),
        None => (reference, None),
    };
    let source = match read(path) {
        Ok(source) => source,
        Err(error) => return Some(error),
    };
    match name {
        None if path.ends_with(".rs") => Some(format!("{path}: which test of it?")),
        None => None,
        Some(name) => {
            let is_case = path.starts_with("consensus/src/conformance/");
            let makers =
                if is_case { read(CONFORMANCE).expect("it is there") } else { source.clone() };
            let found = has_test(&source, &makers, name);
            (!found).then(|| format!("{path} has no test `{name}`"))
        }
    }
}

/// All that is wrong with a page.
fn faults(page: &str) -> Vec<String> {
    let nowhere = references(page).filter_map(fault);
    let rows = rows(page);
    let empty = rows.iter().filter_map(|cells| {
        let ours = cells.last().expect("a row has cells");
        let told = ours.starts_with(NOT_OURS) || references(ours).next().is_some();
        (!told).then(|| format!("`{}` names nothing and does not say why", cells[0]))
    });
    let named: BTreeSet<&str> = references(page).collect();
    let scripts = SCRIPTS.iter().flat_map(|directory| {
        let entries = fs::read_dir(root().join(directory)).expect("a directory of scripts");
        entries.map(move |entry| {
            let name = entry.expect("an entry").file_name();
            format!("{directory}/{}", name.to_str().expect("names of scripts are text"))
        })
    });
    let missing = scripts
        .filter(|script| !named.contains(script.as_str()))
        .map(|script| format!("{script} is not on the page"));
    nowhere.chain(empty).chain(missing).collect()
}

#[test]
fn the_page_names_what_is_there_and_every_script() {
    let page = read(PAGE).expect("the page");
    let faults = faults(&page);
    assert!(faults.is_empty(), "{PAGE}:\n{}", faults.join("\n"));
    // The tables were found, and are not a page without any.
    assert!(rows(&page).len() >= 100, "{} rows", rows(&page).len());
}

#[test]
fn what_leads_nowhere_is_noticed() {
    let page = "\
| theirs | ours |
|---|---|
| one | `consensus-raft/scripts/there_is_no_such_script` |
| two | `consensus/tests/coverage.rs::there_is_no_such_test` |
| three | `consensus/tests/coverage.rs::read` |
| four | `consensus/tests/coverage.rs` |
| five | |
| six | Does not apply: a reason |
| seven | `consensus/tests/coverage.rs::what_leads_nowhere_is_noticed` |
| eight | `consensus/src/conformance/cases.rs::commands_are_applied_in_order_on_every_node` |
| nine | `consensus/src/conformance/walk.rs::random_walks` |
| ten | `consensus/src/conformance.rs::told` |
";
    let faults = faults(page);
    let about = |words: &str| faults.iter().filter(|fault| fault.contains(words)).count();
    assert_eq!(about("there_is_no_such_script"), 1, "{faults:?}");
    assert_eq!(about("there_is_no_such_test"), 1);
    assert_eq!(about("`read`"), 1, "a function that is no test");
    assert_eq!(about("which test"), 1);
    assert_eq!(about("`five` names nothing"), 1);
    assert_eq!(about("names nothing"), 1, "a reason is enough");
    assert_eq!(
        about("what_leads_nowhere") + about("commands_are") + about("random_walks"),
        0,
        "these are tests"
    );
    assert_eq!(about("`told`"), 1);
    assert!(about("is not on the page") > 80, "every script, but none");
}
