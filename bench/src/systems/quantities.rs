//! What is told of a subject: the rows of the table, and the columns of the single runs.

use super::Subject;
use super::record::{SystemRun, Systems};
use crate::compare::Spread;
use crate::failover::FailoverOptions;
use crate::report::format::figure;

/// Something that was measured of every subject.
pub(crate) struct Quantity {
    /// What it is, with its unit.
    pub(crate) name: &'static str,
    of_run: fn(&SystemRun, &FailoverOptions) -> Option<f64>,
    in_words: fn(f64, &FailoverOptions) -> String,
}

fn plain(value: f64, _: &FailoverOptions) -> String {
    figure(value)
}

impl Quantity {
    const ALL: [Self; 8] = [
        Self {
            name: "writes/s",
            of_run: |run, _| Some(run.write.as_ref()?.report.per_second),
            in_words: plain,
        },
        Self {
            name: "write latency p50, ms",
            of_run: |run, _| run.write.as_ref()?.report.p50_ms(),
            in_words: plain,
        },
        Self {
            name: "write latency p99, ms",
            of_run: |run, _| run.write.as_ref()?.report.p99_ms(),
            in_words: plain,
        },
        Self {
            name: "processor time per write, µs",
            of_run: |run, _| {
                let write = run.write.as_ref()?;
                let count = write.report.operations_with_warmup;
                (count > 0).then(|| write.used.cpu_seconds * 1e6 / count as f64)
            },
            in_words: plain,
        },
        Self {
            name: "linearizable reads/s",
            of_run: |run, _| Some(run.read.as_ref()?.per_second),
            in_words: plain,
        },
        Self {
            name: "local reads/s",
            of_run: |run, _| Some(run.local_read.as_ref()?.per_second),
            in_words: plain,
        },
        Self {
            name: "leader killed to next write, ms",
            of_run: |run, options| Some(run.failover.as_ref()?.outage_at_least_ms(options)),
            in_words: |value, options| options.outage_text(value, figure),
        },
        Self {
            name: "memory of the largest node, MiB",
            of_run: |run, _| Some(run.memory_peak_bytes as f64 / f64::from(1 << 20)),
            in_words: plain,
        },
    ];

    /// Those of which there is a figure at all.
    pub(crate) fn measured(systems: &Systems) -> impl Iterator<Item = &'static Self> {
        let of_any = |quantity: &Self| {
            systems.runs.iter().any(|run| quantity.of_run(systems, run).is_some())
        };
        const { &Self::ALL }.iter().filter(move |quantity| of_any(quantity))
    }

    /// One run's figure; one that is missing is a dash.
    pub(crate) fn text_of_run(&self, systems: &Systems, run: &SystemRun) -> String {
        let value = self.of_run(systems, run);
        value.map_or_else(|| "–".to_owned(), |value| self.text(systems, value))
    }

    /// The figures of one subject over all of its runs; `None` where half of them or more have none, for what is left is
    /// the better half.
    pub(crate) fn spread(&self, systems: &Systems, subject: Subject) -> Option<Spread> {
        let runs = systems.runs.iter().filter(|run| run.subject == subject);
        let figures: Vec<Option<f64>> = runs.map(|run| self.of_run(systems, run)).collect();
        let values: Vec<f64> = figures.iter().copied().flatten().collect();
        if 2 * values.len() > figures.len() { Spread::of(&values) } else { None }
    }

    /// A figure as people read it.
    pub(crate) fn text(&self, systems: &Systems, value: f64) -> String {
        (self.in_words)(value, &systems.failover_options)
    }

    fn of_run(&self, systems: &Systems, run: &SystemRun) -> Option<f64> {
        (self.of_run)(run, &systems.failover_options)
    }
}
