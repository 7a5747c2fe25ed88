//! The distributions of what depends on chance: how long it takes from the death of a leader until another one
//! serves.

use std::fmt::Write as _;
use std::time::Duration;

use consensus::{Protocol, Violation};
use consensus_raft::Raft;
use consensus_zab::Zab;
use sim::Links;
use sim::costs::{Failover, failover};

use super::threads::share;

/// How many elections there are of each protocol in each place.
pub const ELECTIONS_DEFAULT: u64 = 10_000;
/// How many seeds a thread takes at a time.
const PORTION: usize = 50;
const PLACES: [(Links, &str); 2] = [(Links::Lan, "LAN"), (Links::Wan, "WAN")];
const PROTOCOLS: [Protocol; 2] = [Protocol::Raft, Protocol::Zab];
const PERCENTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("longest", 1.0)];

/// Is told how many elections were held since it was told last.
pub type Progress<'a> = &'a (dyn Fn(u64) + Sync);

/// How long the elections of each protocol in each place took.
#[derive(Clone, Debug)]
pub struct Chances {
    elections: u64,
    failovers: Vec<(&'static str, Protocol, Vec<Failover>)>,
}

/// Holds so many elections of each protocol in each place, by as many threads as there are processors.
///
/// # Errors
/// When a law of the protocols is broken.
pub fn chances(elections: u64, progress: Progress<'_>) -> Result<Chances, Violation> {
    let seeds: Vec<u64> = (0..elections).collect();
    let mut failovers = Vec::new();
    for (links, place) in PLACES {
        for protocol in PROTOCOLS {
            let election = |&seed: &u64| match protocol {
                Protocol::Raft => failover::<Raft>(seed, links),
                _ => failover::<Zab>(seed, links),
            };
            failovers.push((place, protocol, share(&seeds, PORTION, election, progress)?));
        }
    }
    Ok(Chances { elections, failovers })
}

impl Chances {
    /// The elections of each protocol in each place, in the order of their seeds.
    pub(super) fn failovers(&self) -> impl Iterator<Item = (&'static str, Protocol, &[Failover])> {
        self.failovers.iter().map(|(place, protocol, held)| (*place, *protocol, &held[..]))
    }

    /// How many things happened in the simulator for them.
    #[must_use]
    pub fn happenings(&self) -> u64 {
        let held = self.failovers.iter().flat_map(|(.., held)| held);
        held.map(|failover| failover.happenings).sum()
    }

    pub(super) fn table(&self) -> String {
        let elections = self.elections;
        let mut out = format!(
            "\
## How long an election takes

{elections} elections of each protocol in each place, each from another seed: the leader of three voters is killed, and
its connections are closed. In a LAN a frame takes 0.08 to 0.16 ms and now and then 2; the WAN's nodes are in Virginia,
Oregon and Ireland. A sync takes 0.2 to 0.4 ms. The election timeout is 300 ms in the LAN and 1 s over the WAN. In
milliseconds from the death on, until

- somebody suspects the leader,
- another one is established: a quorum has voted for it (Raft), a quorum has synchronized with it (ZAB),
- a client's write is acknowledged that was begun after the death, of four clients who ask all the time.

| where | until | protocol | p50 | p90 | p99 | p99.9 | longest |
|---|---|---|---|---|---|---|---|
"
        );
        for (_, place) in PLACES {
            for (part, name) in PARTS {
                for (_, protocol, failovers) in self.failovers.iter().filter(|held| held.0 == place)
                {
                    let mut times: Vec<Duration> = failovers.iter().map(part).collect();
                    times.sort_unstable();
                    let told = PERCENTILES.map(|(_, share)| millis(at(&times, share)));
                    writeln!(out, "| {place} | {name} | {protocol} | {} |", told.join(" | "))
                        .expect("text");
                }
            }
        }
        out
    }
}

type Part = fn(&Failover) -> Duration;
const PARTS: [(Part, &str); 3] = [
    (|failover| failover.suspected, "suspected"),
    (|failover| failover.established, "established"),
    (|failover| failover.acknowledged, "acknowledged"),
];

/// The least time within which that share of them was over.
fn at(sorted: &[Duration], share: f64) -> Duration {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length is an index"
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_times_is_over_within_its_percentile() {
        let times: Vec<_> = (1..=1_000).map(Duration::from_millis).collect();
        for (share, millis) in [(0.5, 500), (0.99, 990), (0.999, 999), (1.0, 1_000), (0.0, 1)] {
            assert_eq!(at(&times, share), Duration::from_millis(millis), "{share}");
        }
    }
}
