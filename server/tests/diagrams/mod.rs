//! Strict readers of the formats that `/v1/trace` writes: what these take, the real programs take.

use std::collections::BTreeMap;

use serde_json::Value;

/// What a sequence diagram says.
#[derive(Debug, Default)]
pub(crate) struct Diagram {
    pub(crate) participants: Vec<String>,
    /// From, arrow, to, text.
    pub(crate) arrows: Vec<(String, &'static str, String, String)>,
    /// Over whom, text.
    pub(crate) notes: Vec<(String, String)>,
}

/// Reads the part of Mermaid's language that a trace uses.
///
/// # Panics
/// When a line is anything else.
pub(crate) fn read_mermaid(text: &str) -> Diagram {
    assert!(text.chars().count() < 50_000, "Mermaid refuses longer texts");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("sequenceDiagram"));
    let mut diagram = Diagram::default();
    for line in lines {
        let line = line.strip_prefix("    ").unwrap_or_else(|| panic!("no indentation: {line:?}"));
        if let Some(name) = line.strip_prefix("participant ") {
            assert!(diagram.arrows.is_empty() && diagram.notes.is_empty(), "they come first");
            diagram.participants.push(actor(name));
        } else if let Some(note) = line.strip_prefix("Note over ") {
            let (over, text) = note.split_once(": ").unwrap_or_else(|| panic!("no text: {line}"));
            for name in over.split(',') {
                assert!(diagram.participants.contains(&actor(name)), "{line}");
            }
            diagram.notes.push((over.to_owned(), plain(text)));
        } else {
            let (ends, text) = line.split_once(": ").unwrap_or_else(|| panic!("no text: {line}"));
            let (from, arrow, to) = ["-->>", "->>", "-)"]
                .into_iter()
                .find_map(|arrow| ends.split_once(arrow).map(|(from, to)| (from, arrow, to)))
                .unwrap_or_else(|| panic!("no arrow: {line}"));
            for name in [from, to] {
                assert!(diagram.participants.contains(&actor(name)), "{line}");
            }
            diagram.arrows.push((from.to_owned(), arrow, to.to_owned(), plain(text)));
        }
    }
    assert!(!diagram.participants.is_empty(), "a diagram of nobody");
    diagram
}

/// A name of a node.
fn actor(name: &str) -> String {
    let number = name.strip_prefix('n').unwrap_or_else(|| panic!("no node: {name:?}"));
    assert!(number.parse::<u64>().is_ok_and(|number| number > 0), "no node: {name:?}");
    name.to_owned()
}

/// A text without anything that means something to Mermaid, with its numbers turned into characters.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    assert!(!text.trim().is_empty(), "an arrow without a text is an error");
    while let Some((before, after)) = rest.split_once('#') {
        let (number, after) = after.split_once(';').unwrap_or_else(|| panic!("{text}"));
        let character = number.parse().ok().and_then(char::from_u32);
        out.push_str(clean(before));
        out.push(character.unwrap_or_else(|| panic!("no character: #{number}; in {text}")));
        rest = after;
    }
    out + clean(rest)
}

fn clean(text: &str) -> &str {
    assert!(
        !text.contains([';', '%', '<', '>', '{', '}', '"', '\r']),
        "not written as a number: {text}"
    );
    text
}

/// An entry of a log for ShiViz.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) host: String,
    pub(crate) clock: BTreeMap<String, u64>,
    pub(crate) event: String,
}

/// Reads a log for ShiViz as ShiViz does: the parser, the separator of executions, the entries.
///
/// # Panics
/// When ShiViz would refuse it.
pub(crate) fn read_shiviz(text: &str) -> Vec<Entry> {
    let mut lines = text.lines();
    // What follows reads by hand what this expression describes.
    let parser = r"(?<host>\S+) (?<clock>\{[^}]*\}) (?<time>\S+) ms (?<event>.*)";
    assert_eq!(lines.next(), Some(parser));
    assert_eq!(lines.next(), Some(""), "there is one execution");
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen: BTreeMap<(String, u64), BTreeMap<String, u64>> = BTreeMap::new();
    lines
        .map(|line| {
            let (host, rest) = line.split_once(' ').unwrap_or_else(|| panic!("no clock: {line}"));
            let end = rest.find('}').unwrap_or_else(|| panic!("no clock: {line}"));
            let clock: BTreeMap<String, u64> = serde_json::from_str(&rest[..=end])
                .unwrap_or_else(|error| panic!("{error}: {line}"));
            let rest = rest[end + 1..].strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
            let (time, event) = rest.split_once(" ms ").unwrap_or_else(|| panic!("{line}"));
            assert!(time.parse::<f64>().is_ok_and(|time| time >= 0.0), "{line}");
            assert!(!event.is_empty(), "{line}");
            let own = *clock.get(host).unwrap_or_else(|| panic!("not its own clock: {line}"));
            let before = last.insert(host.to_owned(), own).unwrap_or_default();
            assert_eq!(own, before + 1, "an own clock counts from 1 without a gap: {line}");
            for (other, &count) in &clock {
                assert!(count > 0, "{line}");
                if other != host {
                    // Whoever knows of an entry knows what happened before that.
                    let theirs = &seen[&(other.clone(), count)];
                    assert!(theirs.iter().all(|(node, count)| clock[node] >= *count), "{line}");
                }
            }
            seen.insert((host.to_owned(), own), clock.clone());
            Entry { host: host.to_owned(), clock, event: event.to_owned() }
        })
        .collect()
}

/// Reads a trace as lines of JSON: the head, and the lines.
///
/// # Panics
/// When they are not, or a message arrives before it left.
pub(crate) fn read_ndjson(text: &str) -> (Value, Vec<Value>) {
    let mut lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    let head = lines.next().expect("a head");
    let lines: Vec<Value> = lines.collect();
    assert_eq!(head["events"].as_u64(), Some(lines.len() as u64));
    assert!(head["revision"].is_u64(), "{head}");
    let mut left = std::collections::BTreeSet::new();
    for line in &lines {
        let (node, peer) = (line["node"].as_u64(), line["peer"].as_u64());
        let passage = (line["connection"].as_str(), line["frame"].as_u64());
        match line["event"].as_str().expect("a kind") {
            "sent" => assert!(left.insert((node, peer, passage)), "sent twice: {line}"),
            "received" if line["matched"] == true => {
                assert!(left.remove(&(peer, node, passage)), "it never left: {line}");
            }
            _ => {}
        }
    }
    (head, lines)
}
