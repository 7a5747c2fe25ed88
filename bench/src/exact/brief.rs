//! The most telling figures of the cost sheet, counted anew for a report in a few seconds.

use consensus::{Protocol, Violation};
use serde::{Deserialize, Serialize};
use sim::costs::{Asked, Cost, Request, Shape};

use super::chances::{Progress, chances};
use super::counts::{Counts, Deed};

/// How many puts come at one moment.
const BATCH: u64 = 64;
/// What is counted, in words; how often it is done at once; and what it is.
const COUNTED: [(&str, u64, Deed); 6] = [
    ("a put", 1, Deed::Puts(Asked::Leader, 1)),
    ("64 puts at once", BATCH, Deed::Puts(Asked::Leader, BATCH)),
    ("a linearizable read at the leader", 1, Deed::Read(Asked::Leader, Request::Linearizable)),
    ("a linearizable read at a follower", 1, Deed::Read(Asked::Follower, Request::Linearizable)),
    ("an election", 1, Deed::Election),
    ("a follower 1,000 entries behind", 1, Deed::Rejoin(1_000)),
];
const THREE: Shape = Shape { voters: 3, observers: 0 };

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
    let counts = Counts::of_items(COUNTED.map(|(.., deed)| (deed, THREE)).to_vec())?;
    let costs = COUNTED.into_iter().filter_map(|(what, times, deed)| {
        let [raft, zab] = counts.get(deed, THREE)?.each_ref().map(|counted| (&counted.cost).into());
        Some(BriefCost { what: what.to_owned(), times, raft, zab })
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
        let cells = |line: &str| -> Vec<String> {
            line.split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        let figures = |of: BriefFigures| {
            [of.messages, of.frames, of.bytes, of.syncs].map(|figure| figure.to_string()).to_vec()
        };
        // A row of the sheet begins with these; behind the four figures of a protocol is what is waited for.
        for (cost, labels) in brief.costs.iter().zip([
            &["3 voters"][..],
            &[],
            &["linearizable", "leader", "3 voters"],
            &["linearizable", "follower", "3 voters"],
            &["3 voters"],
            &["1000 entries", "3 voters"],
        ]) {
            let is_told = sheet.lines().map(cells).any(|row| {
                let figures_at = |at: usize| row.get(at..at + 4).map(<[String]>::to_vec);
                let at = 1 + labels.len();
                row.get(1..at).is_some_and(|begins| begins == labels)
                    && figures_at(at) == Some(figures(cost.raft))
                    && figures_at(at + 5) == Some(figures(cost.zab))
            });
            assert!(labels.is_empty() || is_told, "{}: {cost:?}", cost.what);
        }
        // Those of batches are in tables of their own, a figure each.
        let batch = &brief.costs[1];
        for (protocol, of) in [("Raft", batch.raft), ("ZAB", batch.zab)] {
            for figure in [of.messages, of.bytes] {
                let is_told = sheet.lines().map(cells).any(|row| {
                    row.get(1..3).is_some_and(|begins| begins == [protocol, "3 voters"])
                        && row.get(9) == Some(&figure.to_string())
                });
                assert!(is_told, "{protocol}: {figure}");
            }
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
