//! The lines that a script prints: one vocabulary for all protocols.

use std::collections::VecDeque;
use std::fmt;

use crate::Time;

/// How many lines are kept to be shown with a failure.
const KEPT_LINES_MAX: usize = 400;

/// How much is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Nothing, for speed.
    Nothing,
    /// What the protocol tells as events, answers and changes of leadership.
    Events,
    /// Also frames, writes and applied entries.
    Everything,
    /// Also each single delivery and completion.
    Steps,
}

/// The lines so far.
#[derive(Clone, Debug)]
pub(crate) struct Transcript {
    detail: Detail,
    /// Lines not yet taken by the command that made them.
    fresh: Vec<String>,
    kept: VecDeque<String>,
}

impl Transcript {
    pub(crate) fn new(detail: Detail) -> Self {
        Self { detail, fresh: Vec::new(), kept: VecDeque::new() }
    }

    pub(crate) fn set_detail(&mut self, detail: Detail) -> Detail {
        std::mem::replace(&mut self.detail, detail)
    }

    /// Adds a line. The text is made only if it is wanted.
    pub(crate) fn line<D: fmt::Display>(
        &mut self,
        detail: Detail,
        time: Time,
        text: impl FnOnce() -> D,
    ) {
        if detail > self.detail || self.detail == Detail::Nothing {
            return;
        }
        let millis = time.0 / 1_000;
        let line = match time.0 % 1_000 {
            0 => format!("t={millis} {}", text()),
            micros => format!("t={millis}.{micros:03} {}", text()),
        };
        self.kept.push_back(line.clone());
        if self.kept.len() > KEPT_LINES_MAX {
            self.kept.pop_front();
        }
        self.fresh.push(line);
        // A walk never takes its lines; the kept ones are enough for it.
        if self.fresh.len() > 100 * KEPT_LINES_MAX {
            self.fresh.clear();
        }
    }

    /// The lines since the last call.
    pub(crate) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.fresh)
    }

    /// The last lines, to be shown with a failure.
    pub(crate) fn last_lines(&self) -> String {
        let lines: Vec<&str> = self.kept.iter().map(String::as_str).collect();
        lines.join("\n")
    }
}
