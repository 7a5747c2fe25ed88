//! What is never reached is never tested: the simulations must get into every corner that they are
//! meant for.

use consensus::{Consensus, Null};
use consensus_raft::Raft;
use consensus_zab::Zab;
use sim::costs::{failover, throughput};
use sim::{Counters, Links, Profile, SimOptions, run};

fn corners<C: Consensus>() {
    // Other seeds for each profile, and so other surroundings.
    let reports: Vec<_> = (100..)
        .step_by(16)
        .zip(Profile::ALL)
        .filter(|(_, profile)| profile.suits(C::PROTOCOL))
        .flat_map(|(first, profile)| {
            (first..first + 16).map(move |seed| SimOptions::of_seed(seed, 3, profile))
        })
        .map(|options| run::<C>(&options).unwrap_or_else(|failure| panic!("{failure}")))
        .collect();
    let most =
        |what: fn(&Counters) -> u64| reports.iter().map(|report| what(&report.counters)).sum();
    let reached: [(&str, u64, u64); 46] = [
        ("acknowledged writes", most(|counters| counters.acknowledged), 10_000),
        ("writes answered once more", most(|counters| counters.repeated), 500),
        ("keys whose time was up", most(|counters| counters.keys_expired), 500),
        ("keys that later ones pushed out", most(|counters| counters.keys_evicted), 500),
        ("writes done anew under a forgotten key", most(|counters| counters.done_anew), 50),
        ("copies refused for a forgotten key", most(|counters| counters.refused_forgotten), 5),
        ("writes through observers", most(|counters| counters.observer_writes), 500),
        ("reads at observers", most(|counters| counters.observer_reads), 500),
        ("snapshots installed by observers", most(|counters| counters.observer_installs), 5),
        ("reads", most(|counters| counters.reads), 10_000),
        ("reads in steps", most(|counters| counters.reads_in_steps), 5_000),
        ("reads begun anew", most(|counters| counters.reads_vanished), 50),
        ("pages after the first", most(|counters| counters.pages), 500),
        ("pages that were compacted", most(|counters| counters.pages_compacted), 50),
        ("transactions", most(|counters| counters.transactions), 2_000),
        ("leases granted", most(|counters| counters.leases_granted), 500),
        ("leases whose time was over", most(|counters| counters.leases_expired), 500),
        ("keepalives", most(|counters| counters.keepalives), 1_000),
        ("keepalives in the log", most(|counters| counters.keepalives_logged), 200),
        ("locks won", most(|counters| counters.locks_won), 100),
        ("comparisons of digests", most(|counters| counters.digests_compared), 2_000),
        ("requests refused for want of room", most(|counters| counters.overloaded), 100),
        ("requests refused under an alarm", most(|counters| counters.refused_corrupt), 100),
        ("writes refused for want of space", most(|counters| counters.refused_full), 100),
        ("failed requests", most(|counters| counters.failed), 100),
        ("revisions watched", most(|counters| counters.watched), 5_000),
        ("watches that began ahead", most(|counters| counters.watches_ahead), 200),
        ("watches of what was compacted meanwhile", most(|counters| counters.watches_vanished), 1),
        ("entries read back from the log", most(|counters| counters.fetches), 1_000),
        ("truncations", most(|counters| counters.truncations), 20),
        ("torn writes", most(|counters| counters.torn_tails), 1),
        (
            "writes found that nobody acknowledged",
            most(|counters| counters.unacknowledged_found),
            20,
        ),
        ("segments", most(|counters| counters.segments), 100),
        ("damaged logs that were refused", most(|counters| counters.flips_refused), 8),
        ("late frames", most(|counters| counters.late_frames), 50),
        ("wiped disks", most(|counters| counters.wipes), 10),
        ("crashes", most(|counters| counters.crashes), 200),
        ("transfers of leadership", most(|counters| counters.transfers), 50),
        ("entries forgotten", most(|counters| counters.forgotten), 10_000),
        ("segments removed", most(|counters| counters.segments_removed), 100),
        ("snapshots sent", most(|counters| counters.snapshots), 80),
        ("snapshots installed", most(|counters| counters.installed), 50),
        ("snapshots broken off", most(|counters| counters.broken_off), 8),
        ("snapshots gone on with", most(|counters| counters.resumed), 4),
        ("snapshots of no use", most(|counters| counters.useless), 1),
        ("installs finished by a start", most(|counters| counters.installed_by_start), 1),
    ];
    for (what, count, least) in reached {
        assert!(count >= least, "{}: {what}: {count}, at least {least} wanted", C::PROTOCOL);
    }
    // A search per key that is given up proves nothing.
    let given_up = most(|counters| counters.searches_given_up);
    let searches = 9 * reports.len() as u64;
    assert!(given_up * 20 < searches, "{given_up} of {searches} searches are given up");
    let leaders = reports.iter().map(|report| report.leaders).sum::<usize>();
    assert!(leaders > 3 * reports.len(), "leaders change: {leaders}");
    let calm = reports.iter().take(16).filter(|report| report.leaders == 1).count();
    assert!(calm >= 12, "with nothing broken leaders stay: in {calm} of 16 runs");
}

#[test]
fn every_corner_is_reached_with_raft() {
    corners::<Raft>();
}

#[test]
fn every_corner_is_reached_with_zab() {
    corners::<Zab>();
}

fn elects<C: Consensus>() {
    for seed in 0..8 {
        let measured = failover::<C>(seed, Links::Lan).expect("a new leader appears");
        assert!(measured.suspected <= measured.established, "{measured:?}");
        assert!(measured.established <= measured.acknowledged, "{measured:?}");
        assert!(measured.acknowledged.as_millis() < 500, "{measured:?}");
    }
}

#[test]
fn measurements_are_plausible() {
    elects::<Raft>();
    elects::<Zab>();
    let null = throughput::<Null>(1).expect("it serves").writes_per_second();
    for measured in [throughput::<Raft>(1), throughput::<Zab>(1)] {
        let replicated = measured.expect("it serves").writes_per_second();
        assert!(replicated > 10_000.0, "{replicated} writes each second");
        assert!(replicated < null, "replication is not free: {replicated}, alone {null}");
    }
}
