//! The most telling figures of the cost sheet, counted anew for a report in a few seconds.

use consensus::{Protocol, Violation};
use consensus_raft::Raft;
use consensus_zab::Zab;
use serde::{Deserialize, Serialize};
use sim::costs::{Asked, Cost, Request, rejoin_cost};

use super::chances::{Progress, chances};
use super::tables::{THREE, both, uncontested};

/// How many puts come at one moment.
const BATCH: u64 = 64;
/// How many entries a follower is behind.
const BEHIND: u64 = 1_000;

/// What both protocols cost three voters, and how long their elections take. Exact: counted in the simulator, and
/// the same on every machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Brief {
    /// What things cost.
    pub costs: Vec<BriefCost>,
    /// How long elections take.
    pub elections: Vec<BriefElections>,
}

/// What something costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BriefCost {
    /// What it is.
    pub what: String,
    /// How often it was done at once; the figures are of all of them.
    pub times: u64,
    /// What Raft sends and syncs for it.
    pub raft: BriefFigures,
    /// What ZAB sends and syncs for it.
    pub zab: BriefFigures,
}

/// What all nodes together send and sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BriefFigures {
    /// Messages, as the papers count them.
    pub messages: u64,
    /// Frames on connections.
    pub frames: u64,
    /// The bytes of the frames.
    pub bytes: u64,
    /// Syncs of logs.
    pub syncs: u64,
}

/// How long the elections of a protocol take in a place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BriefElections {
    /// Where the nodes are.
    pub place: String,
    /// The protocol's name.
    pub protocol: String,
    /// From the death of the leader until another one is established, in microseconds, in the order of the seeds.
    pub established_micros: Vec<u64>,
    /// From the death until a write is acknowledged that was begun after it, in the same order.
    pub acknowledged_micros: Vec<u64>,
}

impl From<&Cost> for BriefFigures {
    fn from(cost: &Cost) -> Self {
        let total = cost.total();
        let (messages, frames, bytes) = (total.messages, total.frames, total.bytes);
        Self { messages, frames, bytes, syncs: cost.syncs }
    }
}

/// Counts them, with so many elections of each protocol in each place.
///
/// # Errors
/// When a law of the protocols is broken.
pub fn brief(elections: u64, progress: Progress<'_>) -> Result<Brief, Violation> {
    let puts = |count| both(THREE, Asked::Leader, Request::Put, count);
    let read = |asked| both(THREE, asked, Request::Linearizable, 1);
    let costs = [
        ("a put", 1, puts(1)?),
        ("64 puts at once", BATCH, puts(BATCH)?),
        ("a linearizable read at the leader", 1, read(Asked::Leader)?),
        ("a linearizable read at a follower", 1, read(Asked::Follower)?),
        ("an election", 1, [uncontested::<Raft>(THREE)?, uncontested::<Zab>(THREE)?]),
        (
            "a follower 1,000 entries behind",
            1,
            [rejoin_cost::<Raft>(THREE, BEHIND)?, rejoin_cost::<Zab>(THREE, BEHIND)?],
        ),
    ];
    let costs = costs.into_iter().map(|(what, times, [raft, zab])| BriefCost {
        what: what.to_owned(),
        times,
        raft: (&raft).into(),
        zab: (&zab).into(),
    });
    let held = chances(elections, progress)?;
    let elections = held.failovers().map(|(place, protocol, failovers)| {
        let micros = |of: fn(&sim::costs::Failover) -> std::time::Duration| {
            let times = failovers.iter().map(|failover| of(failover).as_micros());
            times.map(|micros| u64::try_from(micros).expect("minutes at most")).collect()
        };
        BriefElections {
            place: place.to_owned(),
            protocol: protocol.name().to_owned(),
            established_micros: micros(|failover| failover.established),
            acknowledged_micros: micros(|failover| failover.acknowledged),
        }
    });
    Ok(Brief { costs: costs.collect(), elections: elections.collect() })
}

impl Brief {
    /// What a protocol costs; `None` for one that is not compared.
    #[must_use]
    pub fn figures_of(cost: &BriefCost, protocol: Protocol) -> Option<BriefFigures> {
        match protocol {
            Protocol::Raft => Some(cost.raft),
            Protocol::Zab => Some(cost.zab),
            Protocol::Null => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_cost_sheet_says() {
        let brief = brief(3, &|_| {}).expect("no law is broken");
        let sheet = include_str!("../../../docs/cost-sheet.md");
        let row = |of: BriefFigures| {
            let BriefFigures { messages, frames, bytes, syncs } = of;
            format!("{messages} | {frames} | {bytes} | {syncs}")
        };
        for (cost, name) in
            brief.costs.iter().zip(["3 voters", "64", "", "", "3 voters", "1000 entries"])
        {
            let row = format!("| {name} | {} | {} |", row(cost.raft), row(cost.zab));
            assert!(name.is_empty() || sheet.contains(&row), "{}: {row}", cost.what);
        }
        assert_eq!(brief.elections.len(), 4);
        for held in &brief.elections {
            assert_eq!(held.established_micros.len(), 3);
            let both = held.established_micros.iter().zip(&held.acknowledged_micros);
            assert!(
                both.into_iter().all(|(established, acknowledged)| established <= acknowledged)
            );
        }
    }
}
