//! Every law holds as well without what the protocols do to be fast and soon back: that is what an
//! ablation compares, and it must compare two correct protocols.

use std::collections::BTreeSet;
use std::time::Duration;

use consensus::Consensus;
use consensus_raft::Raft;
use consensus_zab::Zab;
use sim::{Ablation, Report, SimOptions, run};

/// Runs of all profiles with nodes that do without these.
fn reports<C: Consensus>(seeds: u64, ablations: &[Ablation]) -> Vec<Report> {
    let ablations: BTreeSet<Ablation> = ablations.iter().copied().collect();
    let options = (0..seeds).map(SimOptions::in_turn);
    let suited = options.filter(|options| options.profile.suits(C::PROTOCOL));
    suited
        .map(|options| SimOptions {
            ablations: ablations.clone(),
            duration: Duration::from_millis(1_500),
            ..options
        })
        .map(|options| run::<C>(&options).unwrap_or_else(|failure| panic!("{failure}")))
        .collect()
}

fn laws_hold_without_each_and_without_all<C: Consensus>() {
    for ablation in Ablation::ALL {
        reports::<C>(16, &[ablation]);
    }
    reports::<C>(32, &Ablation::ALL);
}

#[test]
fn raft_keeps_every_law_without_any_mechanism() {
    laws_hold_without_each_and_without_all::<Raft>();
}

#[test]
fn zab_keeps_every_law_without_any_mechanism() {
    laws_hold_without_each_and_without_all::<Zab>();
}

#[test]
fn without_batching_there_is_at_least_a_sync_for_each_entry_at_each_voter() {
    let per_entry = |report: &Report| report.counters.log_syncs as f64 / report.committed.0 as f64;
    let calm = |ablations: &[Ablation]| {
        let ablations = ablations.iter().copied().collect();
        let options = SimOptions {
            ablations,
            profile: sim::Profile::Calm,
            clients: 20,
            observers: 0,
            ..SimOptions::new(1)
        };
        run::<Raft>(&options).unwrap_or_else(|failure| panic!("{failure}"))
    };
    let (with, without) = (calm(&[]), calm(&[Ablation::Batching]));
    assert!(per_entry(&with) < 2.5, "{with:?}");
    assert!(per_entry(&without) >= 3.0, "{without:?}");
}
