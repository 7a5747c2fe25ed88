//! What happened, folded into one number always and written down as lines when asked for.
//!
//! The number tells whether two runs were the same run. The lines cost more than everything else in
//! a simulation, so a run goes without them; when it fails, it is run again, with them.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use consensus::Time;
use rustc_hash::FxHasher;

/// How many of the last lines are kept.
const LINES_MAX: usize = 200;

/// The record of a run.
pub(crate) struct Trace {
    /// It has no keys: the same on every run.
    hasher: FxHasher,
    lines: Option<VecDeque<String>>,
}

impl Trace {
    pub(crate) fn new(transcript: bool) -> Self {
        Self { hasher: FxHasher::default(), lines: transcript.then(VecDeque::new) }
    }

    /// Folds something that happened into the number.
    pub(crate) fn fold(&mut self, what: impl Hash) {
        what.hash(&mut self.hasher);
    }

    /// The number so far.
    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// Whether lines are written down.
    pub(crate) fn is_written(&self) -> bool {
        self.lines.is_some()
    }

    /// Adds a line; its text is made only when lines are written down.
    pub(crate) fn line<D: fmt::Display>(&mut self, time: Time, text: impl FnOnce() -> D) {
        let Some(lines) = &mut self.lines else { return };
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(match (time.0 / 1_000, time.0 % 1_000) {
            (millis, 0) => format!("t={millis:04} {}", text()),
            (millis, micros) => format!("t={millis:04}.{micros:03} {}", text()),
        });
    }

    /// The last lines.
    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.map(Vec::from).unwrap_or_default()
    }
}

/// Something folded into a number, always into the same.
pub(crate) fn fold(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
