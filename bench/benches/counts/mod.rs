//! Counting, and comparing with what was counted before.

mod page;
mod tools;

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::process::{Command, Stdio};

use serde_json::{Deserializer, Value};

use self::page::Page;

/// A count that differs by more than this from the page is one that the change made. The counts of most
/// paths do not differ at all; those that go through the runtime by less than a tenth of this.
const TOLERANCE_PERCENT: f64 = 2.0;

/// Says to this program that it is gungraun's harness.
const COUNTING: &str = "DUORUM_COUNTS_INSTRUCTIONS";

/// Set, it has the page written anew, as it does with the transcripts of scripts.
const UPDATE: &str = "UPDATE_GOLDENFILES";

/// A path as the page lists it.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// How many requests, entries, keys or watchers one run is about.
    pub(crate) elements: u64,
}

/// Whether this process is gungraun's: the one that begins the counting, or one under valgrind.
pub(crate) fn is_counted() -> bool {
    env::var_os(COUNTING).is_some()
        || env::args().nth(1).is_some_and(|first| first == "--gungraun-run")
}

/// Counts every path, and says how that differs from the page; or writes the page anew.
///
/// # Errors
/// When there is nothing to count with, when counting fails, and when a count differs too much.
pub(crate) fn compare(rows: &[Row]) -> Result<(), String> {
    let tools = tools::find()?;
    let page = Page::read()?;
    println!("counted by {tools}");
    let before = page.tools();
    if before != tools {
        println!(
            "the page was counted by {before}: what differs may come from that, and not from a change of \
             the code"
        );
    }
    println!("\n{:<30} {:>13} {:>13} {:>9}", "path", "instructions", "on the page", "change");
    let mut differing = Vec::new();
    let counted = count(|name, count| {
        let known = page.count(name);
        let change = known.map(|known| (count as f64 / known as f64 - 1.0) * 100.0);
        if change.is_none_or(|change| change.abs() > TOLERANCE_PERCENT) {
            differing.push(name.to_owned());
        }
        let known = known.map_or("-".to_owned(), page::grouped);
        let change = change.map_or("new".to_owned(), |change| format!("{change:+.2} %"));
        println!("{name:<30} {:>13} {known:>13} {change:>9}", page::grouped(count));
    })?;
    if env::var_os(UPDATE).is_some() {
        return page.write(rows, &counted, &tools);
    }
    if differing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "more than {TOLERANCE_PERCENT} % off what docs/instruction-counts.md has: {}. If that is meant, \
         `{UPDATE}=1 cargo bench -p bench --bench instructions` writes the page anew, and the commit says \
         why. `callgrind_annotate target/gungraun/bench/instructions/paths/NAME.run/callgrind.NAME.run.out` \
         says where the instructions of a path are",
        differing.join(", ")
    ))
}

/// Has gungraun count, and tells each count as it comes.
fn count(tell: impl FnMut(&str, u64)) -> Result<BTreeMap<String, u64>, String> {
    let program = env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
    let mut harness = Command::new(program)
        .args(env::args_os().skip(1))
        .env(COUNTING, "1")
        .env("GUNGRAUN_OUTPUT_FORMAT", "json")
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("this program can not be run again: {error}"))?;
    let summaries = harness.stdout.take().expect("it is piped");
    let counted = read_summaries(io::BufReader::new(summaries), tell);
    let status = harness.wait().map_err(|error| format!("gungraun: {error}"))?;
    // What it says on its way out is the cause of whatever else is wrong.
    if !status.success() {
        return Err(format!("gungraun could not count ({status}); see above"));
    }
    counted
}

/// Reads what gungraun says of each path.
fn read_summaries(
    summaries: impl io::Read,
    mut tell: impl FnMut(&str, u64),
) -> Result<BTreeMap<String, u64>, String> {
    let mut counted = BTreeMap::new();
    for summary in Deserializer::from_reader(summaries).into_iter::<Value>() {
        let summary = summary.map_err(|error| format!("what gungraun says is no JSON: {error}"))?;
        let (name, count) = read_summary(&summary)
            .ok_or_else(|| format!("gungraun says something unexpected: {summary}"))?;
        tell(&name, count);
        counted.insert(name, count);
    }
    Ok(counted)
}

/// The name of a path, and what was counted.
fn read_summary(summary: &Value) -> Option<(String, u64)> {
    let name = summary.get("function_name")?.as_str()?;
    let count = summary.pointer("/profiles/0/data/total/metrics/Ir/values/new")?;
    let count = count.as_u64().or_else(|| count.get("Int")?.as_u64())?;
    Some((name.to_owned(), count))
}
