//! What the faults of both sides came to: the outage of each kind of fault, and the phases that it is made of.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::contender::Side;
use super::plan::Settings;
use super::record::{Comparison, Run};
use super::table::{aligned, ratio_text};
use super::topic::{Compared, Topic};
use crate::cluster::Fault;
use crate::failover::{Failover, FailoverOptions, Phase};
use crate::report::format::{count_words, figure};
use crate::stats::{
    RESAMPLES_OF_MEDIANS, RatioInterval, extent, median, median_interval, quantile,
};

/// What one kind of fault came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultFinding {
    /// The fault.
    pub fault: Fault,
    /// The outage of both sides.
    pub outages: [Durations; 2],
    /// The block's number, and the median outage of each side in it.
    pub blocks: Vec<(usize, f64, f64)>,
    /// The first side's outage over the second's; `None` for fewer than two blocks.
    pub ratio: Option<RatioInterval>,
    /// What may be said about it.
    pub verdict: String,
    /// The parts of both sides, in order; what neither has is not there.
    pub parts: Vec<PartFinding>,
    /// What was out of order or could not be found out, with the place where.
    pub violations: Vec<String>,
}

/// Some durations in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Durations {
    /// How many there are.
    pub count: usize,
    /// Their median; `None` of nothing, as the others.
    pub median: Option<f64>,
    /// The ends of the 95 % interval of the median; `None` where there are too few blocks for one, or none.
    pub interval: Option<(f64, f64)>,
    /// 99 of 100 were no longer.
    pub p99: Option<f64>,
    /// The longest.
    pub longest: Option<f64>,
}

impl Durations {
    /// What there is to say of these, in milliseconds.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        Self {
            count: values.len(),
            median: median(values),
            interval: None,
            p99: quantile(values, 0.99),
            longest: extent(values).map(|(_, longest)| longest),
        }
    }

    /// The same of durations that come in blocks.
    #[must_use]
    fn of_blocks(blocks: &[Vec<f64>], seed: u64) -> Self {
        let interval = median_interval(blocks, RESAMPLES_OF_MEDIANS, seed);
        Self { interval, ..Self::of(&blocks.concat()) }
    }

    /// `19.9 [18.2, 21.0] (28.3)`: the median with its interval, and the longest; with their number where there are not
    /// as many as failovers.
    fn text(&self, failovers: usize) -> String {
        let (Some(median), Some(longest)) = (self.median, self.longest) else {
            return "–".to_owned();
        };
        let few = match self.count == failovers {
            true => String::new(),
            false => format!(" × {}", self.count),
        };
        let interval = self.interval.map_or_else(String::new, |(low, high)| {
            format!("[{}, {}] ", figure(low), figure(high))
        });
        format!("{} {interval}({}){few}", figure(median), figure(longest))
    }
}

/// A part of a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultPart {
    /// A phase on the way to the first new write.
    Phase(Phase),
    /// From the election to the last of the followers that were there.
    Followers,
    /// From the undoing of the fault until the last node was up to date.
    Rejoin,
    /// From the undoing of the fault, the longest time without an acknowledgement.
    HealingGap,
}

/// A part of both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartFinding {
    /// Which.
    pub part: FaultPart,
    /// How long it took.
    pub sides: [Durations; 2],
}

impl FaultPart {
    /// All of them, in order.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let phases = Phase::ALL.map(Self::Phase);
        [&phases[..], &[Self::Followers, Self::Rejoin, Self::HealingGap]].concat()
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Phase(phase) => phase.name(),
            Self::Followers => "elected to last follower caught up",
            Self::Rejoin => "healed to old leader caught up",
            Self::HealingGap => "longest without a write from healing on",
        }
    }

    /// How long it took in one failover, in milliseconds.
    #[must_use]
    pub fn of(self, failover: &Failover) -> Option<f64> {
        let timeline = &failover.timeline;
        match self {
            Self::Phase(phase) => {
                let spans = timeline.spans();
                let span = spans.iter().find(|span| span.phase == phase)?;
                Some(span.to_ms - span.from_ms)
            }
            Self::Followers => Some(timeline.followers_caught_up_ms? - timeline.elected_ms?),
            Self::Rejoin => timeline.rejoin_ms(),
            Self::HealingGap => failover.healing_gap_ms,
        }
    }

    /// The parts of some failovers of one kind; what none of them has is left out.
    pub fn durations(failovers: &[&Failover]) -> Vec<(Self, Durations)> {
        let durations = |part: Self| {
            let values: Vec<f64> =
                failovers.iter().filter_map(|failover| part.of(failover)).collect();
            (part, Durations::of(&values))
        };
        Self::all().into_iter().map(durations).filter(|(_, found)| found.count > 0).collect()
    }
}

/// What every kind of fault that was made came to, from these blocks.
pub(super) fn findings(comparison: &Comparison, valid: &BTreeSet<usize>) -> Vec<FaultFinding> {
    let kinds = Fault::ALL.into_iter();
    kinds.filter_map(|fault| finding(comparison, fault, valid)).collect()
}

fn finding(comparison: &Comparison, fault: Fault, valid: &BTreeSet<usize>) -> Option<FaultFinding> {
    let options = comparison.failover_options.with_fault(fault);
    let seed = comparison.settings.seed;
    let durations = |of: &dyn Fn(&Failover) -> Option<f64>| {
        Side::BOTH.map(|side| {
            let of_block = |&block: &usize| {
                let failovers = comparison.runs_of(side, block).flat_map(|run| &run.failovers);
                failovers.filter(|failover| failover.fault == fault).filter_map(of).collect()
            };
            Durations::of_blocks(&valid.iter().map(of_block).collect::<Vec<Vec<f64>>>(), seed)
        })
    };
    let outages = durations(&|failover| Some(failover.outage_at_least_ms(&options)));
    if outages.iter().all(|outages| outages.count == 0) {
        return None;
    }
    let blocks: Vec<(usize, f64, f64)> = valid
        .iter()
        .filter_map(|&block| {
            let runs = |side| comparison.runs_of(side, block).collect::<Vec<&Run>>();
            let of = |side| block_outage(&runs(side), &options);
            Some((block, of(Side::A)?, of(Side::B)?))
        })
        .collect();
    let pairs: Vec<(f64, f64)> = blocks.iter().map(|&(_, a, b)| (a, b)).collect();
    let compared = Compared::of(Topic::Fault(fault), &pairs, valid.len(), seed);
    let parts = FaultPart::all().into_iter().filter_map(|part| {
        let sides = durations(&|failover| part.of(failover));
        sides.iter().any(|side| side.count > 0).then_some(PartFinding { part, sides })
    });
    let violations = comparison.runs.iter().flat_map(|run| {
        let mine = run.failovers.iter().filter(move |failover| failover.fault == fault);
        mine.flat_map(|failover| &failover.timeline.violations).map(move |what| {
            format!("block {}, {}: {what}", run.block + 1, comparison.name(run.side))
        })
    });
    Some(FaultFinding {
        fault,
        outages,
        blocks,
        ratio: compared.ratio,
        verdict: compared.verdict(comparison.names()),
        parts: parts.collect(),
        violations: violations.collect(),
    })
}

/// The median outage of one contender in two runs, both of which must be there.
pub(super) fn block_outage(runs: &[&Run], options: &FailoverOptions) -> Option<f64> {
    let failovers = runs.iter().flat_map(|run| &run.failovers);
    let outages: Vec<f64> = failovers
        .filter(|failover| failover.fault == options.fault)
        .map(|failover| failover.outage_at_least_ms(options))
        .collect();
    (runs.len() == 2).then(|| median(&outages))?
}

/// What is done to the leaders, as the rest of a sentence.
pub(super) fn plan_text(settings: &Settings) -> String {
    let times = count_words(settings.phases.kills, "time");
    if settings.faults == [Fault::Kill] {
        return format!("leader killed {times}");
    }
    let names: Vec<&str> = settings.faults.iter().map(|fault| fault.name()).collect();
    format!("{} {times} each", names.join(", "))
}

/// The findings as text.
pub(super) fn text(comparison: &Comparison, findings: &[FaultFinding]) -> String {
    let mut text = String::new();
    if findings.is_empty() {
        return text;
    }
    let [a, b] = Side::BOTH.map(|side| comparison.name(side).to_owned());
    let outages = findings.iter().flat_map(|finding| &finding.outages);
    let interval =
        if outages.filter_map(|side| side.interval).count() > 0 { " [95 %]" } else { "" };
    let mut rows = vec![vec![
        format!("failover, ms: median{interval} (longest)"),
        a.clone(),
        b.clone(),
        format!("{a} / {b} [95 %]"),
    ]];
    for finding in findings {
        rows.push(vec![
            format!("{}, × {}", finding.fault.name(), finding.outages[0].count),
            finding.outages[0].text(finding.outages[0].count),
            finding.outages[1].text(finding.outages[1].count),
            ratio_text(finding.ratio),
        ]);
        rows.extend(finding.parts.iter().map(|part| {
            let [a, b] = [0, 1].map(|side| part.sides[side].text(finding.outages[side].count));
            vec![format!("  {}", part.part.name()), a, b, String::new()]
        }));
    }
    text.push_str(&aligned(&rows));
    text.push('\n');
    let violations: Vec<&String> =
        findings.iter().flat_map(|finding| &finding.violations).collect();
    if !violations.is_empty() {
        let _ = writeln!(
            text,
            "{} not as {} must be, the first: {}",
            count_words(violations.len(), "moment"),
            if violations.len() == 1 { "it" } else { "they" },
            violations[0]
        );
    }
    text
}
