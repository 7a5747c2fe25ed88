//! A scenario in the simulator: what of it can be simulated, and what came of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use bench::compare::{Contender, MixedLoad, Placement};
use bench::load::{KeyDistribution, Mix};
use bench::scenario::{FaultKind, MIX_DEFAULT, Scenario};
use consensus::Protocol;
use sim::{LeaderFault, Workload, WorkloadReport};

use super::{Complaint, Exit};

/// Every key is judged by itself, so that there can not be as many as on real clusters.
const KEYS_MAX: u64 = 1_000;
const KEYS_DEFAULT: u64 = 100;
/// Every value that was ever written is kept to judge by.
const VALUE_BYTES_MAX: usize = 16 << 10;
const VALUE_BYTES_DEFAULT: usize = 256;
/// The weight of the most popular key.
const ZIPF_WEIGHT: f64 = 1e9;
const ZIPF_EXPONENT: f64 = 0.99;

fn refused(scenario: &Scenario, why: &str) -> Complaint {
    Complaint::new(Exit::Usage, format!("{}: {why}", scenario.path.display()))
}

/// The protocols of a scenario.
///
/// # Errors
/// When a contender has flags, which mean something to real servers alone.
pub(super) fn protocols(scenario: &Scenario) -> Result<Vec<Protocol>, Complaint> {
    let mut protocols = BTreeSet::new();
    for (text, usual) in [(&scenario.a, "raft"), (&scenario.b, "zab")] {
        let text = text.as_deref().unwrap_or(usual);
        let contender =
            Contender::parse(text).map_err(|error| refused(scenario, &error.to_string()))?;
        if !contender.flags.is_empty() {
            return Err(refused(
                scenario,
                &format!(
                    "`{text}`: the simulator has no flags of `duorum serve`; expected raft or zab alone, or `duorum \
                     compare --scenario`"
                ),
            ));
        }
        protocols.insert(contender.protocol.name());
    }
    Ok(protocols.into_iter().filter_map(Protocol::from_name).collect())
}

/// What clients do and what happens to leaders.
///
/// # Errors
/// With what the simulator can not do of it.
pub(super) fn workload(scenario: &Scenario) -> Result<Workload, Complaint> {
    if let Some(rate) = scenario.rate {
        return Err(refused(
            scenario,
            &format!(
                "rate = {rate}: the simulator's clients ask again when they have their answer, after [sim] think; a \
                 fixed rate is for `duorum compare --scenario`"
            ),
        ));
    }
    let keys = scenario.keys.unwrap_or(KEYS_DEFAULT);
    if !(1..=KEYS_MAX).contains(&keys) {
        let why = format!(
            "keys = {keys}: the simulator judges each by itself; allowed are 1 to {KEYS_MAX}"
        );
        return Err(refused(scenario, &why));
    }
    let value_bytes = scenario.value_bytes.unwrap_or(VALUE_BYTES_DEFAULT);
    if value_bytes > VALUE_BYTES_MAX {
        let why = format!(
            "value_bytes = {value_bytes}: the simulator keeps every value; allowed are 0 to {VALUE_BYTES_MAX}"
        );
        return Err(refused(scenario, &why));
    }
    let Mix { put, get, range } = scenario.mix.map_or(MIX_DEFAULT, |MixedLoad { mix, .. }| mix);
    if put + get + range == 0 {
        return Err(refused(scenario, "mix: a mix of nothing; one part must be more than 0"));
    }
    let faults = scenario.faults.iter().flatten().map(|fault| match fault {
        FaultKind::Kill => LeaderFault::Kill,
        FaultKind::PowerCut => LeaderFault::PowerCut,
        FaultKind::Stop => LeaderFault::Stop,
        FaultKind::IsolateIn => LeaderFault::IsolateIn,
        FaultKind::IsolateOut => LeaderFault::IsolateOut,
        FaultKind::IsolateBoth => LeaderFault::IsolateBoth,
        FaultKind::Transfer => LeaderFault::Transfer,
    });
    Ok(Workload {
        scenario: scenario.path.display().to_string(),
        key_weights: weights(scenario.key_distribution.unwrap_or_default(), keys),
        value_bytes,
        put,
        get,
        range,
        at_leader: scenario.placement == Some(Placement::Leader),
        faults: faults.collect(),
    })
}

/// How often each key is drawn, as by the load generator.
fn weights(distribution: KeyDistribution, keys: u64) -> Vec<u64> {
    match distribution {
        KeyDistribution::Uniform => vec![1; usize::try_from(keys).expect("a thousand at most")],
        KeyDistribution::Zipf => (1..=keys)
            .map(|rank| (ZIPF_WEIGHT / (rank as f64).powf(ZIPF_EXPONENT)) as u64)
            .collect(),
        // Nine times of ten it is the first, and else any.
        KeyDistribution::Hot => std::iter::once(9 * keys + 1).chain((1..keys).map(|_| 1)).collect(),
    }
}

/// What came of it, by protocol.
#[derive(Debug, Default)]
pub(super) struct Worked(Vec<(Protocol, u64, WorkloadReport)>);

impl Worked {
    /// Adds a run.
    pub(super) fn add(&mut self, protocol: Protocol, report: &WorkloadReport) {
        let place = self.0.iter().position(|(known, ..)| *known == protocol);
        let place = place.unwrap_or_else(|| {
            self.0.push((protocol, 0, WorkloadReport::default()));
            self.0.len() - 1
        });
        let (_, runs, all) = &mut self.0[place];
        *runs += 1;
        all.writes.extend(&report.writes);
        all.reads.extend(&report.reads);
        all.failed += report.failed;
        all.outages.extend(&report.outages);
    }

    /// A paragraph for each protocol.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (protocol, runs, report) in &self.0 {
            let _ = writeln!(text, "\n{protocol}, {runs} runs, in virtual time");
            for (name, times) in [("writes", &report.writes), ("reads", &report.reads)] {
                if !times.is_empty() {
                    let _ =
                        writeln!(text, "  {name:<10}{:>9}  {}", times.len(), percentiles(times));
                }
            }
            let _ = writeln!(text, "  {:<10}{:>9}", "failed", report.failed);
            if !report.outages.is_empty() {
                let over: Vec<Duration> = report.outages.iter().flatten().copied().collect();
                let never = report.outages.len() - over.len();
                let never =
                    if never > 0 { format!(", {never} not over in time") } else { String::new() };
                let count = report.outages.len();
                let _ =
                    writeln!(text, "  {:<10}{count:>9}  {}{never}", "outages", percentiles(&over));
            }
        }
        text
    }
}

/// `p50 0.612 ms, p99 1.204 ms, longest 9.311 ms`.
fn percentiles(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let Some(longest) = sorted.last() else { return "none".to_owned() };
    let at = |share: f64| sorted[((share * sorted.len() as f64) as usize).min(sorted.len() - 1)];
    let millis = |time: Duration| format!("{:.3} ms", time.as_secs_f64() * 1e3);
    format!("p50 {}, p99 {}, longest {}", millis(at(0.5)), millis(at(0.99)), millis(*longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(scenario: Scenario) -> String {
        let scenario = Scenario { path: "it.toml".into(), ..scenario };
        let error = protocols(&scenario).and_then(|_| workload(&scenario));
        error.expect_err("to be refused").to_string()
    }

    #[test]
    fn what_can_not_be_simulated_is_refused_with_who_can() {
        for (scenario, why) in [
            (
                Scenario { rate: Some(5.0), ..Scenario::default() },
                "it.toml: rate = 5: the simulator's clients",
            ),
            (
                Scenario { keys: Some(1_001), ..Scenario::default() },
                "it.toml: keys = 1001: the simulator judges",
            ),
            (
                Scenario { value_bytes: Some(1 << 20), ..Scenario::default() },
                "it.toml: value_bytes = 1048576",
            ),
            (
                Scenario { b: Some("zab --finalize-wait 0ms".to_owned()), ..Scenario::default() },
                "it.toml: `zab --finalize-wait 0ms`: the simulator has no flags",
            ),
            (
                Scenario { a: Some("paxos".to_owned()), ..Scenario::default() },
                "it.toml: `paxos`: expected raft",
            ),
        ] {
            let error = refusal(scenario);
            assert!(error.starts_with(why), "{error}");
        }
    }

    #[test]
    fn weights_are_those_of_the_load_generator() {
        assert_eq!(weights(KeyDistribution::Uniform, 3), [1, 1, 1]);
        assert_eq!(weights(KeyDistribution::Hot, 4), [37, 1, 1, 1]);
        let zipf = weights(KeyDistribution::Zipf, 100);
        let ratio = zipf[0] as f64 / zipf[9] as f64;
        assert!((ratio / 10f64.powf(ZIPF_EXPONENT) - 1.0).abs() < 1e-6, "{ratio}");
    }

    #[test]
    fn percentiles_are_of_all_runs() {
        let mut worked = Worked::default();
        let writes = |range: std::ops::RangeInclusive<u64>| WorkloadReport {
            writes: range.map(Duration::from_millis).collect(),
            outages: vec![Some(Duration::from_millis(7)), None],
            ..WorkloadReport::default()
        };
        worked.add(Protocol::Raft, &writes(1..=50));
        worked.add(Protocol::Raft, &writes(51..=100));
        let text = worked.text();
        for line in [
            "raft, 2 runs, in virtual time",
            "  writes          100  p50 51.000 ms, p99 100.000 ms, longest 100.000 ms",
            "  outages           4  p50 7.000 ms, p99 7.000 ms, longest 7.000 ms, 2 not over in time",
        ] {
            assert!(text.contains(line), "no `{line}` in\n{text}");
        }
    }
}
