//! A trace as a sequence diagram of Mermaid.
//!
//! A message whose two ends were both recorded is one arrow, where it arrives: before whatever came of
//! it, and after everything that led to it. One whose arrival is not among the records is an open
//! arrow, and one whose departure is not, a dashed arrow.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Shown;
use crate::node::trace::{Placed, RecordKind};

/// Mermaid takes texts of up to 50,000 characters by default; there must be room for the head.
const CHARACTERS_MAX: usize = 45_000;
/// The longest text of one arrow or note.
const TEXT_CHARACTERS_MAX: usize = 160;

/// The whole diagram.
pub(super) fn write(shown: &Shown<'_>) -> String {
    let times = shown.since_first();
    let lines: Vec<String> =
        shown.placed.iter().zip(times).filter_map(|(placed, at_ms)| line(placed, at_ms)).collect();
    let mut characters = 0;
    let fit = lines.iter().rev().take_while(|line| {
        characters += line.chars().count() + 1;
        characters <= CHARACTERS_MAX
    });
    let left_out = lines.len() - fit.count();
    let mut out = String::from("sequenceDiagram\n");
    let members = members(shown);
    for node in &members {
        put(&mut out, &format!("participant n{node}"));
    }
    let over = match (members.first(), members.last()) {
        (Some(first), Some(last)) if first != last => format!("n{first},n{last}"),
        (Some(only), _) => format!("n{only}"),
        _ => return out,
    };
    let earlier = shown.earlier.saturating_add(left_out as u64);
    if earlier > 0 {
        put(&mut out, &format!("Note over {over}: {earlier} earlier events are left out"));
    }
    for node in shown.silent() {
        put(&mut out, &format!("Note over n{node}: did not answer"));
    }
    if lines.is_empty() {
        put(&mut out, &format!("Note over {over}: nothing is recorded yet"));
    }
    for line in &lines[left_out..] {
        put(&mut out, line);
    }
    out
}

fn put(out: &mut String, line: &str) {
    writeln!(out, "    {line}").expect("a string takes everything written to it");
}

/// The numbers of all nodes, also of such that only messages name.
fn members(shown: &Shown<'_>) -> BTreeSet<u64> {
    let peers = shown.placed.iter().filter_map(|placed| placed.record.peer);
    shown.answers.keys().copied().chain(peers).map(|node| node.0).collect()
}

fn line(placed: &Placed, at_ms: f64) -> Option<String> {
    let record = &placed.record;
    let (node, text) = (placed.node, escape(&record.text));
    let at = format!("{at_ms:.3} ms");
    match (record.kind, record.peer, placed.matched) {
        // Its arrival is the arrow.
        (RecordKind::Sent, _, true) => None,
        (RecordKind::Sent, Some(peer), false) => Some(format!("{node}-){peer}: {text}")),
        (RecordKind::Received, Some(peer), true) => Some(format!("{peer}->>{node}: {text}")),
        (RecordKind::Received, Some(peer), false) => Some(format!("{peer}-->>{node}: {text}")),
        _ => Some(format!("Note over {node}: {at} {text}")),
    }
}

/// A text that Mermaid shows as it is: what means something to it is written as its number, and what
/// is too long is cut.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for (place, character) in text.chars().enumerate() {
        if place == TEXT_CHARACTERS_MAX {
            out.push('…');
            break;
        }
        let plain = character.is_alphanumeric() || " .,:=@()[]/+-_→←⇨…!?'*|".contains(character);
        if plain {
            out.push(character);
        } else {
            write!(out, "#{};", u32::from(character)).expect("a string takes everything");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use consensus::{Event, NodeId};

    use super::*;
    use crate::http::elections::Answers;
    use crate::node::trace::{HostTime, NodeTrace, Record};

    #[test]
    fn a_node_that_claims_to_have_forgotten_everything_is_drawn_all_the_same() {
        let event = Event::FaultBegan { fault: "~".repeat(TEXT_CHARACTERS_MAX) };
        let records = (0..1_000).map(|time| Record::of(HostTime(time), &event)).collect();
        let trace = NodeTrace { boot: None, earlier: u64::MAX, records };
        let answers = Answers::from([(NodeId(1), Some(trace))]);
        let diagram = write(&Shown::new(&answers, 1_000, 7, "raft"));
        assert!(diagram.contains(&format!("{} earlier events are left out", u64::MAX)));
    }

    #[test]
    fn what_means_something_to_mermaid_is_written_as_a_number() {
        assert_eq!(escape("n2 ⇨ leader: 3@2"), "n2 ⇨ leader: 3@2");
        assert_eq!(escape("a;b#c%d\ne<f>"), "a#59;b#35;c#37;d#10;e#60;f#62;");
        assert_eq!(escape(&"x".repeat(500)).chars().count(), TEXT_CHARACTERS_MAX + 1);
    }
}
