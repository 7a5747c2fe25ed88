mod common;
use common::options;
use sim::*;
fn soak<C: consensus::Consensus>() {
    let n = |name: &str, d: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(d);
    let (first, n) = (n("FIRST", 0), n("N", 20));
    let mut worst = (std::time::Duration::ZERO, 0, Profile::Calm);
    for profile in Profile::ALL {
        let t = std::time::Instant::now();
        let mut fails = 0;
        let mut total = Vec::new();
        for seed in first..first + n {
            match run::<C>(&SimOptions {
                store: if seed % 4 == 0 { StoreKind::Redb } else { StoreKind::Memory },
                nodes: if seed % 8 == 7 { 5 } else { 3 },
                ..options(seed, 3, profile)
            }) {
                Ok(r) => {
                    worst = worst.max((r.recovery, seed, profile));
                    total.push(r);
                }
                Err(f) => {
                    fails += 1;
                    println!(
                        "FAIL {} {profile:?} {seed} {:.600}",
                        f.protocol,
                        f.violation.to_string()
                    );
                    if fails <= 2 {
                        std::fs::write(
                            format!("/tmp/simfail-{}-{profile:?}-{seed}.txt", f.protocol),
                            f.to_string(),
                        )
                        .unwrap();
                    }
                }
            }
        }
        let sum = |f: fn(&Counters) -> u64| total.iter().map(|r| f(&r.counters)).sum::<u64>();
        println!(
            "{profile:?} {:?} each; acked {} reads {} fetches {} trunc {} torn {} unack {} segs {} watched {} late {}",
            t.elapsed() / n as u32,
            sum(|c| c.acknowledged),
            sum(|c| c.reads),
            sum(|c| c.fetches),
            sum(|c| c.truncations),
            sum(|c| c.torn_tails),
            sum(|c| c.unacknowledged_found),
            sum(|c| c.segments),
            sum(|c| c.watched),
            sum(|c| c.late_frames)
        );
    }
    println!("worst recovery {worst:?}");
}
#[test]
fn soak_raft() {
    soak::<consensus_raft::Raft>();
}
#[test]
fn soak_zab() {
    soak::<consensus_zab::Zab>();
}
