//! `duorum bench failover`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use consensus::{Protocol, Random};

use super::super::fault::fault_parser;
use super::fresh::{ClusterArgs, Measurement};
use super::{errors_or_none, unless_broken};
use crate::Error;
use crate::cluster::{Agreement, Fault};
use crate::compare::FaultPart;
use crate::failover::{self, Failover, FailoverOptions};
use crate::load::Verdict;
use crate::report::format::{count_words, figure, seconds};
use crate::stats::{extent, median, quantile};

const EXAMPLES: &str = "\
Examples:
  duorum bench failover --protocol raft                        the leader is killed, 20 times
  duorum bench failover --protocol zab --fault isolate-in      it is heard, and hears nobody
  duorum bench failover --protocol zab --fault transfer --load 64
                                       it hands over, while 64 clients write as fast as they can

A write is sent every 2 ms, whether or not others are answered. The outage lasts to the first
acknowledgement of a write begun when the old leader could do nothing more. A leader that hands over, or
whose disk stalls, is probed as well; there the outage is the longest time without an acknowledgement.
Then the fault is undone, and every node catches up. The phases between are told by the nodes
(/v1/elections) and the probes, on the host's one clock; docs/failover.md says what each is.
A client that can not connect asks the next node: nothing was sent, so that is no error.
It ends with 1 if an acknowledged write is lost, the replicas differ, or leadership was to be handed
over and was not, or not without leaving the outcome of a write unknown.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct FailoverArgs {
    #[command(flatten)]
    cluster: ClusterArgs,

    /// What happens to the leader
    #[arg(long, value_parser = fault_parser(), default_value = "kill")]
    fault: Fault,

    /// How often
    #[arg(long, default_value_t = 20)]
    count: usize,

    /// Clients that write as fast as they can beside the paced writes
    #[arg(long, value_name = "CONNECTIONS", default_value_t = 0)]
    load: usize,
}

pub(super) async fn run_failover(args: FailoverArgs, logs: PathBuf) -> Result<ExitCode, Error> {
    args.cluster.check()?;
    let fault = args.fault;
    let options = FailoverOptions { load: args.load, ..FailoverOptions::new(fault) };
    options.check()?;
    let mut random = Random::new(args.cluster.seed);
    let mut measurement =
        Measurement::start(args.cluster, logs, &Fault::serve_flags(&[fault])).await?;
    let Measurement { fresh, bar, .. } = &mut measurement;
    let ledger = failover::ledger(&options);
    bar.set_length(args.count as u64);
    let mut failovers = Vec::new();
    for _ in 0..args.count {
        failovers
            .push(failover::measure(&mut fresh.cluster, &options, &ledger, &mut random).await?);
        bar.inc(1);
    }
    fresh.cluster.settle().await?;
    bar.set_message("do all replicas have the same?");
    let agreement = fresh.cluster.agreement().await?;
    bar.set_message("is everything there that was acknowledged?");
    let verdict = ledger.verify(&fresh.cluster.endpoints(), bar).await?;
    let results = serde_json::json!({
        "failovers": failovers,
        "agreement": agreement,
        "verdict": verdict,
    });
    measurement.tell(&options, &results, |protocol| failover_text(protocol, &options, &failovers));
    unless_broken(&broken(fault, &failovers, &agreement, &verdict))
}

fn broken(
    fault: Fault,
    failovers: &[Failover],
    agreement: &Agreement,
    verdict: &Verdict,
) -> Vec<String> {
    let mut broken = verdict.broken_promises(agreement);
    let refused: Vec<&String> = failovers.iter().filter_map(|one| one.refused.as_ref()).collect();
    if let Some(first) = refused.first() {
        broken.push(format!("{} of {} transfers failed: {first}", refused.len(), failovers.len()));
    }
    let unknown = failovers.iter().map(Failover::all_unknown_outcomes).sum::<u64>();
    if fault == Fault::Transfer && unknown > 0 {
        broken.push(format!(
            "leadership was handed over, and {unknown} writes failed with unknown outcome"
        ));
    }
    broken
}

fn failover_text(protocol: Protocol, options: &FailoverOptions, failovers: &[Failover]) -> String {
    // Those that were given up count as long as the limit, which is the least that they took, so
    // that the worst do not improve the median by being left out.
    let outages: Vec<f64> = failovers.iter().map(|one| one.outage_at_least_ms(options)).collect();
    let what = match options.fault {
        Fault::Kill => "from SIGKILL of the leader to the next acknowledged write",
        Fault::Stop => "from SIGSTOP of the leader to the next acknowledged write",
        Fault::IsolateIn | Fault::IsolateOut | Fault::IsolateBoth => {
            "from the leader's isolation to the next acknowledged write"
        }
        Fault::StallDisk => "the leader's disk stalls, longest time to the next acknowledged write",
        Fault::Transfer => "the leader hands over, longest time to the next acknowledged write",
        Fault::Terminate => "SIGTERM of the leader, longest time to the next acknowledged write",
        Fault::ColdStart => "from the start of the first process to the next acknowledged write",
        Fault::RollingRestart => "all nodes restarted, longest time to the next acknowledged write",
    };
    let beside = match options.load {
        0 => String::new(),
        load => format!(", beside {} that write all the time", count_words(load, "client")),
    };
    let mut text =
        format!("{protocol}: {what}, {}{beside}\n\n", count_words(failovers.len(), "time"));
    if let (Some(median), Some((min, max))) = (median(&outages), extent(&outages)) {
        let [median, min, max] = [median, min, max].map(|ms| options.outage_text(ms, figure));
        let _ = writeln!(text, "median {median} ms, {min} to {max} ms");
    }
    let whole = |ms| format!("{ms:.0}");
    let list: Vec<String> =
        outages.iter().map(|&outage| options.outage_text(outage, whole)).collect();
    let _ = writeln!(text, "each, in ms: {}", list.join(" "));
    let never = failovers.iter().filter(|failover| failover.outage_ms.is_none()).count();
    if never > 0 {
        let limit = seconds(options.limit);
        let _ = writeln!(text, "{never} took longer than {limit} and count as that long");
    }
    text.push_str(&phases_text(failovers));
    text.push_str(&turns_text(failovers));
    let latencies: Vec<f64> = failovers.iter().flat_map(Failover::latencies_after_ms).collect();
    if let [Some(p50), Some(p99), Some(max)] = [0.5, 0.99, 1.0].map(|at| quantile(&latencies, at)) {
        let [p50, p99, max] = [p50, p99, max].map(figure);
        let _ =
            writeln!(text, "paced writes from then on: p50 {p50} ms, p99 {p99} ms, max {max} ms");
    }
    let mut errors: BTreeMap<String, u64> = BTreeMap::new();
    for (name, count) in failovers.iter().flat_map(Failover::all_errors) {
        *errors.entry(name).or_default() += count;
    }
    let _ = writeln!(text, "errors that clients saw: {}", errors_or_none(&errors));
    let unknown = failovers.iter().map(Failover::all_unknown_outcomes).sum::<u64>();
    if unknown > 0 {
        let _ = writeln!(text, "{unknown} of them are writes of unknown outcome");
    }
    text
}

/// What the outages are made of, and what came after them.
fn phases_text(failovers: &[Failover]) -> String {
    let all: Vec<&Failover> = failovers.iter().collect();
    let parts = FaultPart::durations(&all);
    let mut text = String::new();
    if !parts.is_empty() {
        let _ = writeln!(text, "\n{:<38} {:>9} {:>9} {:>9}", "ms", "median", "p99", "longest");
    }
    for (part, found) in parts {
        let [median, p99, longest] = [found.median, found.p99, found.longest]
            .map(|ms| ms.map_or_else(|| "–".to_owned(), figure));
        let times = match found.count == failovers.len() {
            true => String::new(),
            false => format!("  {} of {}", found.count, failovers.len()),
        };
        let _ = writeln!(text, "{:<38} {median:>9} {p99:>9} {longest:>9}{times}", part.name());
    }
    let elections: Vec<usize> = failovers.iter().map(|one| one.timeline.elections).collect();
    let several = elections.iter().filter(|&&elections| elections > 1).count();
    if several > 0 {
        let _ = writeln!(text, "{several} took more elections than one");
    }
    if elections.iter().all(|&elections| elections == 0) {
        let _ = writeln!(text, "\nno election was held: the leader led on");
    }
    for (number, failover) in failovers.iter().enumerate() {
        for violation in &failover.timeline.violations {
            let _ = writeln!(text, "not as it must be, in number {}: {violation}", number + 1);
        }
    }
    text.push('\n');
    text
}

/// The restarts of rolling restarts: the longest time without a write of each turn.
fn turns_text(failovers: &[Failover]) -> String {
    let of = |led: bool| {
        let turns = failovers.iter().flat_map(|failover| {
            failover.turns.iter().filter(move |turn| (turn.node == failover.node) == led)
        });
        let gaps: Vec<f64> = turns.filter_map(|turn| turn.gap_ms).collect();
        median(&gaps).zip(extent(&gaps))
    };
    let (Some((followers, (_, longest))), Some((leaders, (_, longest_of_leaders)))) =
        (of(false), of(true))
    else {
        return String::new();
    };
    let [followers, longest, leaders, longest_of_leaders] =
        [followers, longest, leaders, longest_of_leaders].map(figure);
    format!(
        "longest without a write: {followers} ms (most {longest}) in a follower's turn, {leaders} ms (most \
         {longest_of_leaders}) in the leader's\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::Timeline;

    fn failover(outage_ms: Option<f64>) -> Failover {
        Failover {
            fault: Fault::Kill,
            node: 1,
            outage_ms,
            refused: None,
            probes: Vec::new(),
            errors: BTreeMap::new(),
            unknown_outcomes: 0,
            not_sent: 0,
            unanswered: 0,
            load: None,
            timeline: Timeline::default(),
            healing_gap_ms: None,
            turns: Vec::new(),
        }
    }

    #[test]
    fn an_outage_beyond_the_limit_counts_in_the_median_and_is_marked() {
        let options = FailoverOptions::new(Fault::Kill);
        let outages = [Some(20.0), Some(30.0), None, None, Some(40.0)].map(failover);
        let text = failover_text(Protocol::Zab, &options, &outages);
        assert!(text.contains("median 40.0 ms, 20.0 to > 15,000 ms"), "{text}");
        assert!(text.contains("each, in ms: 20 30 > 15000 > 15000 40"), "{text}");
        assert!(text.contains("2 took longer than 15 s"), "{text}");

        let outages = [None, Some(20.0), None].map(failover);
        let text = failover_text(Protocol::Zab, &options, &outages);
        assert!(text.contains("median > 15,000 ms"), "{text}");
    }

    #[test]
    fn what_a_handover_must_not_do_is_told() {
        let good = || (0..3).map(|_| failover(Some(5.0))).collect::<Vec<_>>();
        let (agree, digest_revision) = (Some(true), None);
        let agreement = Agreement { agree, answered: 3, members: 3, digest_revision };
        let told = |fault, failovers: &[Failover]| {
            broken(fault, failovers, &agreement, &Verdict::default())
        };
        assert_eq!(told(Fault::Transfer, &good()), Vec::<String>::new());
        let mut refused = good();
        refused[1].refused = Some("transfer_failed".to_owned());
        assert_eq!(told(Fault::Transfer, &refused), ["1 of 3 transfers failed: transfer_failed"]);
        let mut unknown = good();
        unknown[2].unknown_outcomes = 2;
        assert!(told(Fault::Transfer, &unknown)[0].contains("2 writes failed"));
        assert_eq!(told(Fault::Kill, &unknown), Vec::<String>::new(), "no promise of a kill");
    }
}
