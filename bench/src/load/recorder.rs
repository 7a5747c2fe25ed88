//! What one connection saw, and how the notes of all connections become one report.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::request::Kind;
use super::samples::Samples;
use crate::report::format::figure;

/// The width of a bar of the timeline.
pub const TIMELINE_STEP: Duration = Duration::from_millis(100);
/// The longest timeline that is kept: one hour. What comes later is counted in its last bar.
const TIMELINE_BARS_MAX: usize = 36_000;
/// The longest latency that is told apart from longer ones.
const LATENCY_MICROS_MAX: u64 = 60_000_000;
/// How many differently named errors are counted one by one; the rest counts as `other`.
const ERROR_NAMES_MAX: usize = 64;

/// The shares of requests whose latency the curve of a report shows.
const CURVE: [f64; 17] = [
    0.0, 0.1, 0.25, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999,
    0.9999,
];

/// The notes of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    start: Instant,
    window_start: Instant,
    window_end: Option<Instant>,
    /// Whether latencies are of what was due inside the window, whenever it was answered.
    by_due: bool,
    latencies: Histogram<u32>,
    /// The same of each kind, where clients say which kind an operation was.
    latencies_by_kind: BTreeMap<Kind, Histogram<u32>>,
    timeline: Vec<u32>,
    counted: u64,
    total: u64,
    not_found: u64,
    errors: BTreeMap<String, u64>,
    unknown_outcomes: u64,
    last: Instant,
}

impl Recorder {
    /// Notes for a run that starts now. What completes before the warm-up is over or after the
    /// window's end appears in the timeline alone.
    pub(crate) fn new(start: Instant, warmup: Duration, window: Option<Duration>) -> Self {
        let window_start = start + warmup;
        Self {
            start,
            window_start,
            window_end: window.map(|window| window_start + window),
            by_due: false,
            latencies: histogram(),
            latencies_by_kind: BTreeMap::new(),
            timeline: Vec::with_capacity(256),
            counted: 0,
            total: 0,
            not_found: 0,
            errors: BTreeMap::new(),
            unknown_outcomes: 0,
            last: start,
        }
    }

    /// The notes of an open loop. What is due shortly before the end of the window and waits has the longest latencies
    /// of all just when the service stalls there; chosen by when it was answered, it would be left out.
    pub(crate) fn of_what_was_due(self) -> Self {
        Self { by_due: true, ..self }
    }

    fn is_inside(&self, at: Instant) -> bool {
        at >= self.window_start && self.window_end.is_none_or(|end| at < end)
    }

    /// A request was answered as asked.
    pub(crate) fn success(&mut self, sent: Instant, done: Instant) {
        self.success_of(None, sent, done);
    }

    /// A request of a kind was answered as asked.
    pub(super) fn success_of(&mut self, kind: Option<Kind>, sent: Instant, done: Instant) {
        self.total += 1;
        self.last = done;
        let bar = (done - self.start).as_millis() / TIMELINE_STEP.as_millis();
        let bar = usize::try_from(bar).unwrap_or(usize::MAX).min(TIMELINE_BARS_MAX - 1);
        if bar >= self.timeline.len() {
            self.timeline.resize(bar + 1, 0);
        }
        self.timeline[bar] += 1;
        self.counted += u64::from(self.is_inside(done));
        if self.is_inside(if self.by_due { sent } else { done }) {
            let micros = u64::try_from((done - sent).as_micros()).unwrap_or(u64::MAX);
            self.latencies.saturating_record(micros);
            if let Some(kind) = kind {
                let of_kind = self.latencies_by_kind.entry(kind).or_insert_with(histogram);
                of_kind.saturating_record(micros);
            }
        }
    }

    /// A read found no such key, which is an answer and no error.
    pub(crate) fn not_found(&mut self) {
        self.not_found += 1;
    }

    /// A request failed. Errors count from the first moment to the last, warm-up or not.
    pub(crate) fn error(&mut self, name: &str, outcome_unknown: bool) {
        self.unknown_outcomes += u64::from(outcome_unknown);
        let known = self.errors.contains_key(name) || self.errors.len() < ERROR_NAMES_MAX;
        let name = if known { name } else { "other" };
        *self.errors.entry(name.to_owned()).or_default() += 1;
    }

    /// Adds the notes of another connection of the same run.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.latencies.add(&other.latencies).expect("all histograms have the same bounds");
        for (kind, latencies) in &other.latencies_by_kind {
            let mine = self.latencies_by_kind.entry(*kind).or_insert_with(histogram);
            mine.add(latencies).expect("all histograms have the same bounds");
        }
        if self.timeline.len() < other.timeline.len() {
            self.timeline.resize(other.timeline.len(), 0);
        }
        for (mine, theirs) in self.timeline.iter_mut().zip(&other.timeline) {
            *mine += theirs;
        }
        self.counted += other.counted;
        self.total += other.total;
        self.not_found += other.not_found;
        self.unknown_outcomes += other.unknown_outcomes;
        for (name, count) in &other.errors {
            *self.errors.entry(name.clone()).or_default() += count;
        }
        self.last = self.last.max(other.last);
    }

    /// The report of everything noted. Without a fixed window it ends with the last answer.
    pub(crate) fn report(&self) -> LoadReport {
        let window_end = self.window_end.unwrap_or(self.last).max(self.window_start);
        let window_seconds = (window_end - self.window_start).as_secs_f64();
        let per_second =
            if window_seconds > 0.0 { self.counted as f64 / window_seconds } else { 0.0 };
        LoadReport {
            warmup_ms: millis(self.window_start - self.start),
            window_ms: window_seconds * 1e3,
            operations: self.counted,
            operations_with_warmup: self.total,
            per_second,
            latency: LatencyReport::of(&self.latencies),
            latency_by_kind: self
                .latencies_by_kind
                .iter()
                .map(|(&kind, latencies)| (kind, LatencyReport::of(latencies)))
                .collect(),
            not_found: self.not_found,
            errors: self.errors.clone(),
            unknown_outcomes: self.unknown_outcomes,
            not_sent: 0,
            timeline_step_ms: millis(TIMELINE_STEP),
            timeline: self.timeline.clone(),
        }
    }
}

/// What a run of the load generator measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// How long the beginning was that does not count, in milliseconds.
    pub warmup_ms: f64,
    /// How long was measured, in milliseconds.
    pub window_ms: f64,
    /// Operations that succeeded and completed inside the window.
    pub operations: u64,
    /// All operations that succeeded, warm-up included.
    pub operations_with_warmup: u64,
    /// Operations a second inside the window.
    pub per_second: f64,
    /// How long operations took: in a closed loop those completed inside the window, from sending to the whole answer;
    /// in an open loop those that were due inside the window, from then to the whole answer, however late it came.
    pub latency: LatencyReport,
    /// The same of each kind of operation, of a mixed load.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub latency_by_kind: BTreeMap<Kind, LatencyReport>,
    /// Reads among the operations that found no such key, warm-up included.
    pub not_found: u64,
    /// Failed requests by the name of their error, warm-up included.
    pub errors: BTreeMap<String, u64>,
    /// Failed writes of which nobody knows whether they took effect; also counted in `errors`.
    pub unknown_outcomes: u64,
    /// In an open loop, requests that were due and for which no connection became free, not even within a second after
    /// the end. No latency says how long they waited, so those of a run that has any are too good.
    #[serde(default)]
    pub not_sent: u64,
    /// The width of a bar of the timeline in milliseconds.
    pub timeline_step_ms: f64,
    /// Operations completed in each bar, warm-up and the end's stragglers included.
    pub timeline: Vec<u32>,
}

/// Of what a quantile leaves out at the slow end, so much may have failed: whoever failed waited for an answer that was
/// never good, and belongs there.
const FAILED_OF_TAIL_MAX: f64 = 0.1;

impl LoadReport {
    /// How many requests failed, warm-up included.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Whether the latency that this share of the operations does not exceed says what clients saw. It does not where
    /// requests were due and not sent, or where so many failed that they would be a part of the tail to be noticed: of
    /// p99 one in a thousand.
    #[must_use]
    pub fn knows_quantile(&self, share: f64) -> bool {
        let failed = self.failed() as f64;
        let asked = failed + self.operations_with_warmup as f64;
        self.not_sent == 0 && failed <= FAILED_OF_TAIL_MAX * (1.0 - share) * asked
    }

    /// Why some loads have no tail that says what clients saw: what was not sent of them, and what failed.
    pub(crate) fn unanswered<'a>(loads: impl Iterator<Item = &'a Self>) -> Option<String> {
        let (mut not_sent, mut failed) = (0, 0);
        for report in loads.filter(|report| !report.knows_quantile(0.99)) {
            (not_sent, failed) = (not_sent + report.not_sent, failed + report.failed());
        }
        let count = |requests: u64| figure(requests as f64);
        match (not_sent, failed) {
            (0, 0) => None,
            (_, 0) => Some(format!("{} requests that were due could not be sent", count(not_sent))),
            (0, _) => Some(format!("{} requests failed", count(failed))),
            _ => Some(format!(
                "{} requests that were due could not be sent and {} failed",
                count(not_sent),
                count(failed)
            )),
        }
    }

    /// The median latency in milliseconds, if it says what clients saw.
    #[must_use]
    pub fn p50_ms(&self) -> Option<f64> {
        self.knows_quantile(0.5).then_some(self.latency.p50_ms)
    }

    /// What 99 of 100 operations did not exceed, in milliseconds, if that says what clients saw.
    #[must_use]
    pub fn p99_ms(&self) -> Option<f64> {
        self.knows_quantile(0.99).then_some(self.latency.p99_ms)
    }

    /// What 999 of 1,000 operations did not exceed, in milliseconds, if that says what clients saw.
    #[must_use]
    pub fn p999_ms(&self) -> Option<f64> {
        self.knows_quantile(0.999).then_some(self.latency.p999_ms)
    }
}

/// A distribution of latencies, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyReport {
    /// The mean.
    pub mean_ms: f64,
    /// The median.
    pub p50_ms: f64,
    /// 99 of 100 were no slower.
    pub p99_ms: f64,
    /// 999 of 1000 were no slower.
    pub p999_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// Pairs of a share of the requests and the latency that it did not exceed.
    pub curve: Vec<(f64, f64)>,
    /// All of them.
    #[serde(default, skip_serializing_if = "Samples::is_empty")]
    pub samples: Samples,
}

impl LatencyReport {
    fn of(latencies: &Histogram<u32>) -> Self {
        if latencies.is_empty() {
            return Self::default();
        }
        let at = |share: f64| latencies.value_at_quantile(share) as f64 / 1e3;
        Self {
            mean_ms: latencies.mean() / 1e3,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: latencies.max() as f64 / 1e3,
            // A share that not even one request stands for would only repeat the slowest.
            curve: CURVE
                .into_iter()
                .filter(|share| (1.0 - share) * latencies.len() as f64 >= 1.0)
                .map(|share| (share, at(share)))
                .collect(),
            samples: Samples::of(latencies),
        }
    }
}

fn histogram() -> Histogram<u32> {
    Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, 3)
        .expect("the bounds are constants that the histogram accepts")
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_completes_inside_the_window_counts() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut recorder =
            Recorder::new(start, Duration::from_millis(1_000), Some(Duration::from_millis(2_000)));
        recorder.success(at(0), at(999));
        recorder.success(at(990), at(1_000));
        recorder.success(at(2_900), at(2_999));
        recorder.success(at(2_900), at(3_000));
        let report = recorder.report();
        assert_eq!((report.operations, report.operations_with_warmup), (2, 4));
        assert_eq!(report.per_second, 1.0);
        assert_eq!(report.timeline[9..11], [1, 1]);
        assert_eq!(report.timeline[29..31], [1, 1]);
        assert_eq!(report.latency.max_ms.round(), 99.0);
    }

    #[test]
    fn an_open_loop_has_the_latencies_of_what_was_due_inside_the_window() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let (warmup, window) = (Duration::from_millis(1_000), Duration::from_millis(2_000));
        let mut recorder = Recorder::new(start, warmup, Some(window)).of_what_was_due();
        recorder.success(at(990), at(1_500));
        recorder.success(at(1_000), at(1_010));
        recorder.success(at(2_999), at(3_900));
        recorder.success(at(3_000), at(3_001));
        let report = recorder.report();
        assert_eq!((report.operations, report.per_second), (2, 1.0), "completed inside it");
        assert_eq!(report.latency.samples.count(), 2, "due inside it");
        assert_eq!(report.latency.max_ms.round(), 901.0);
    }

    #[test]
    fn merging_adds_everything() {
        let start = Instant::now();
        let mut one = Recorder::new(start, Duration::ZERO, None);
        let mut two = Recorder::new(start, Duration::ZERO, None);
        one.success(start, start + Duration::from_millis(10));
        two.success(start, start + Duration::from_millis(500));
        two.error("no_leader", false);
        two.error("unknown_outcome", true);
        one.error("no_leader", false);
        one.merge(&two);
        let report = one.report();
        assert_eq!(report.operations, 2);
        assert_eq!(report.window_ms, 500.0);
        assert_eq!(report.per_second, 4.0);
        assert_eq!(report.errors["no_leader"], 2);
        assert_eq!(report.unknown_outcomes, 1);
        assert_eq!(report.timeline.iter().sum::<u32>(), 2);
    }

    #[test]
    fn each_kind_of_a_mixed_load_keeps_its_own_latencies() {
        let start = Instant::now();
        let after = |ms: u64| start + Duration::from_millis(ms);
        let mut one = Recorder::new(start, Duration::ZERO, None);
        let mut two = Recorder::new(start, Duration::ZERO, None);
        one.success_of(Some(Kind::Put), start, after(10));
        one.success_of(Some(Kind::Get), start, after(1));
        two.success_of(Some(Kind::Get), start, after(3));
        two.success(start, after(99));
        one.merge(&two);
        let report = one.report();
        let longest = report.latency_by_kind.iter().map(|(kind, of)| (*kind, of.max_ms.round()));
        assert_eq!(longest.collect::<Vec<_>>(), [(Kind::Put, 10.0), (Kind::Get, 3.0)]);
        assert_eq!(report.latency_by_kind[&Kind::Get].samples.count(), 2);
        assert_eq!(report.latency.samples.count(), 4, "and all of them together");
    }

    #[test]
    fn quantiles_that_leave_out_who_failed_or_waits_are_not_told() {
        let start = Instant::now();
        let mut notes = Recorder::new(start, Duration::ZERO, None);
        for _ in 0..999 {
            notes.success(start, start + Duration::from_millis(1));
        }
        assert!(notes.report().p999_ms().is_some());
        notes.error("no_leader", false);
        let report = notes.report();
        assert_eq!((report.p50_ms().is_some(), report.p99_ms().is_some()), (true, true));
        assert_eq!(report.p999_ms(), None, "one of the ten that p99.9 and above is made of");
        notes.error("no_leader", false);
        assert_eq!(notes.report().p99_ms(), None);
        let report = LoadReport { not_sent: 1, ..report };
        assert_eq!(report.p50_ms(), None);
    }

    #[test]
    fn the_names_of_errors_are_bounded() {
        let mut recorder = Recorder::new(Instant::now(), Duration::ZERO, None);
        for number in 0..1_000 {
            recorder.error(&format!("error_{number}"), false);
        }
        let errors = recorder.report().errors;
        assert_eq!(errors.len(), ERROR_NAMES_MAX + 1);
        assert_eq!(errors["other"], 1_000 - ERROR_NAMES_MAX as u64);
    }

    #[test]
    fn an_empty_run_reports_zeros() {
        let report = Recorder::new(Instant::now(), Duration::ZERO, None).report();
        assert_eq!((report.per_second, report.latency.p999_ms), (0.0, 0.0));
        assert!(report.latency.curve.is_empty());
    }
}
