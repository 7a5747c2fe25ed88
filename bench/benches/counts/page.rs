//! The page of counts: `docs/instruction-counts.md`.

use std::collections::BTreeMap;
use std::fs;

use super::Row;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/instruction-counts.md");
/// What is between these lines is written by the benchmark.
const BEGIN: &str = "<!-- counts: written by the benchmark `instructions` -->\n";
const END: &str = "<!-- end of counts -->\n";
/// How the line begins that says what it was counted by.
const COUNTED_BY: &str = "Counted by ";

/// The page as it is.
pub(super) struct Page {
    before: String,
    counts: String,
    after: String,
}

impl Page {
    pub(super) fn read() -> Result<Self, String> {
        let page = fs::read_to_string(PATH).map_err(|error| format!("{PATH}: {error}"))?;
        let parts = page.split_once(BEGIN).and_then(|(before, rest)| {
            let (counts, after) = rest.split_once(END)?;
            Some((before.to_owned(), counts.to_owned(), after.to_owned()))
        });
        let (before, counts, after) =
            parts.ok_or_else(|| format!("{PATH} lacks the lines `{BEGIN}` and `{END}`"))?;
        Ok(Self { before, counts, after })
    }

    /// What the page was counted by.
    pub(super) fn tools(&self) -> &str {
        let line = self.counts.lines().find_map(|line| line.strip_prefix(COUNTED_BY));
        line.unwrap_or("nobody yet.").trim_end_matches('.')
    }

    /// What the page has of a path.
    pub(super) fn count(&self, name: &str) -> Option<u64> {
        let row = format!("| `{name}` |");
        let row = self.counts.lines().find(|line| line.starts_with(&row))?;
        row.split('|').nth(3)?.trim().replace(',', "").parse().ok()
    }

    /// Writes the page anew.
    ///
    /// # Errors
    /// When not every path was counted, or the page can not be written.
    pub(super) fn write(
        &self,
        rows: &[Row],
        counted: &BTreeMap<String, u64>,
        tools: &str,
    ) -> Result<(), String> {
        let mut table = format!(
            "{COUNTED_BY}{tools}.\n\n| path | what it does | instructions | for each |\n|---|---|--:|--:|\n"
        );
        for Row { name, what, elements } in rows {
            let count = *counted
                .get(*name)
                .ok_or_else(|| format!("the page has all paths, and {name} was not counted"))?;
            let (count, each) = (grouped(count), grouped((count + elements / 2) / elements));
            table.push_str(&format!("| `{name}` | {what} | {count} | {each} |\n"));
        }
        let page = [&self.before, BEGIN, &table, END, &self.after].concat();
        fs::write(PATH, page).map_err(|error| format!("{PATH}: {error}"))?;
        println!("\nwritten to docs/instruction-counts.md");
        Ok(())
    }
}

/// A number as people read it: 1,234,567.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
