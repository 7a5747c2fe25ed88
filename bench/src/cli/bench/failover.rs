//! `duorum bench failover`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use consensus::{Protocol, Random};

use super::fresh::{ClusterArgs, Measurement};
use super::{errors_or_none, unless_broken};
use crate::Error;
use crate::cluster::{Agreement, Fault};
use crate::failover::{self, Failover, FailoverOptions};
use crate::load::Verdict;
use crate::report::format::{count_words, figure, seconds};
use crate::stats::{extent, median, quantile};

const EXAMPLES: &str = "\
Examples:
  duorum bench failover --protocol raft                        the leader is killed, 20 times
  duorum bench failover --protocol zab --fault transfer --load 64
                                       it hands over, while 64 clients write as fast as they can

A write is sent every 2 ms, whether or not others are answered. After SIGKILL and SIGSTOP the outage
lasts to the first acknowledgement of a write begun when the old leader could do nothing more. A leader
that hands over is probed as well; there the outage is the longest time without an acknowledgement.
A client that can not connect asks the next node: nothing was sent, so that is no error.
It ends with 1 if an acknowledged write is lost, the replicas differ, or leadership was to be handed
over and was not, or not without leaving the outcome of a write unknown.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FaultName {
    /// SIGKILL
    Kill,
    /// SIGSTOP
    Stop,
    /// POST /v1/cluster/transfer: it hands over and goes on as a follower
    Transfer,
    /// SIGTERM: it hands over and ends
    Terminate,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct FailoverArgs {
    #[command(flatten)]
    cluster: ClusterArgs,

    /// What happens to the leader
    #[arg(long, value_enum, default_value_t = FaultName::Kill)]
    fault: FaultName,

    /// How often
    #[arg(long, default_value_t = 20)]
    count: usize,

    /// Clients that write as fast as they can beside the paced writes
    #[arg(long, value_name = "CONNECTIONS", default_value_t = 0)]
    load: usize,
}

pub(super) async fn run_failover(args: FailoverArgs, logs: PathBuf) -> Result<ExitCode, Error> {
    args.cluster.check()?;
    let fault = match args.fault {
        FaultName::Kill => Fault::Kill,
        FaultName::Stop => Fault::Stop,
        FaultName::Transfer => Fault::Transfer,
        FaultName::Terminate => Fault::Terminate,
    };
    let options = FailoverOptions { load: args.load, ..FailoverOptions::new(fault) };
    options.check()?;
    let mut random = Random::new(args.cluster.seed);
    let mut measurement = Measurement::start(args.cluster, logs, &[]).await?;
    let Measurement { fresh, bar, .. } = &mut measurement;
    let ledger = failover::ledger(&options);
    bar.set_length(args.count as u64);
    let mut failovers = Vec::new();
    for _ in 0..args.count {
        let (node, failover) =
            failover::measure(&mut fresh.cluster, &options, &ledger, &mut random).await?;
        failovers.push(failover);
        fresh.cluster.heal(node, fault)?;
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
        Fault::Transfer => "the leader hands over, longest time to the next acknowledged write",
        Fault::Terminate => "SIGTERM of the leader, longest time to the next acknowledged write",
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

#[cfg(test)]
mod tests {
    use super::*;

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
