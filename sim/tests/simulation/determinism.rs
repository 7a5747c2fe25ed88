//! A simulation is of use only if it can be repeated.

use consensus::{Consensus, Null};
use consensus_raft::Raft;
use consensus_zab::Zab;
use sim::costs::{failover, throughput};
use sim::{Links, Profile, SimOptions, run};

fn same_seed_same_run<C: Consensus>(nodes: u64) {
    // Seeds 2 and 3 differ in where the rows are.
    for seed in [2, 3] {
        let options = SimOptions::of_seed(seed, nodes, Profile::Hostile);
        let first = run::<C>(&options).expect("the laws hold");
        let second = run::<C>(&options).expect("the laws hold");
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn the_same_seed_twice_gives_the_same_run() {
    same_seed_same_run::<Raft>(3);
    same_seed_same_run::<Zab>(3);
    same_seed_same_run::<Null>(1);
}

#[test]
fn different_seeds_give_different_runs() {
    let hash = |seed| {
        run::<Raft>(&SimOptions::of_seed(seed, 3, Profile::Crashes)).expect("the laws hold").hash
    };
    assert_ne!(hash(0), hash(1));
}

#[test]
fn measurements_can_be_repeated() {
    let election = failover::<Raft>(7, Links::Wan).expect("the laws hold");
    assert_eq!(failover::<Raft>(7, Links::Wan), Ok(election));
    let writes = throughput::<Zab>(7).expect("the laws hold");
    assert_eq!(throughput::<Zab>(7), Ok(writes));
}
