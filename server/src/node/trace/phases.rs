//! The phases of an election: which moments it is told by.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::NodeId;

use super::HostTime;
use super::elections::{Follower, Phase};
use super::episode::Episode;
use super::record::{Record, RecordKind};

/// What happened until somebody was elected: of each kind the first.
pub(super) fn early_phases(took_part: &[&Episode], elected: Option<HostTime>) -> Vec<Phase> {
    let latest = elected.unwrap_or(HostTime(u64::MAX));
    let mut first: BTreeMap<(u8, String), Phase> = BTreeMap::new();
    let mut add = |order: u8, phase: Phase| {
        if phase.time <= latest {
            let known = first.entry((order, phase.name.clone())).or_insert_with(|| phase.clone());
            if phase.time < known.time {
                *known = phase;
            }
        }
    };
    for episode in took_part {
        for record in &episode.search {
            let phase = |name: &str, time, what: String| Phase {
                name: name.to_owned(),
                node: episode.node,
                time,
                what,
            };
            match record.kind {
                RecordKind::Started => add(0, phase("started", record.time, record.text.clone())),
                RecordKind::PeerLost => {
                    add(0, phase("fault_seen", record.time, record.text.clone()));
                }
                RecordKind::TransferBegun => {
                    add(0, phase("transfer_begun", record.time, record.text.clone()));
                }
                RecordKind::HandsOver => {
                    add(1, phase("hands_over", record.time, record.text.clone()));
                }
                RecordKind::LeaderSuspected => {
                    let silence = Duration::from_millis(record.silence_ms.unwrap_or(0));
                    let peer = record.peer.unwrap_or_default();
                    if record.silence_ms.is_some() {
                        let what = format!("the last sign of life of {peer}");
                        add(0, phase("fault_seen", record.time.before(silence), what));
                    }
                    add(1, phase("suspected", record.time, record.text.clone()));
                }
                RecordKind::RoleChanged if seeks(record) => {
                    let name = record.name.to_lowercase().replace('-', "_");
                    let order = if name == "candidate" { 3 } else { 2 };
                    add(order, phase(&name, record.time, record.text.clone()));
                }
                _ => {}
            }
        }
    }
    first.into_values().collect()
}

/// Whether a role is one in which a leader is sought.
fn seeks(record: &Record) -> bool {
    matches!(record.name.as_str(), "pre-candidate" | "candidate" | "LOOKING")
}

/// What happened from the moment in which somebody was elected.
pub(super) fn late_phases(
    winner: Option<&Episode>,
    shared: &[&Episode],
    followers: &[Follower],
) -> Vec<Phase> {
    let phase = |name: &str, node: NodeId, record: &Record| Phase {
        name: name.to_owned(),
        node,
        time: record.time,
        what: record.text.clone(),
    };
    let Some(winner) = winner else {
        // Nobody but the followers can tell any more.
        let told = shared.iter().filter(|episode| episode.settled.is_some());
        let first = told
            .filter_map(|episode| Some((episode.node, episode.search.last()?)))
            .min_by_key(|(_, record)| record.time);
        return first.map(|(node, record)| phase("elected", node, record)).into_iter().collect();
    };
    let mut phases = Vec::new();
    for (place, record) in winner.taking_the_lead().iter().enumerate() {
        // A change into one phase is the end of the phase before it.
        let name = match record.phase.as_str() {
            _ if place == 0 => "elected",
            "synchronization" => "discovery",
            "broadcast" => "synchronization",
            _ => continue,
        };
        phases.push(phase(name, winner.node, record));
    }
    for (kind, name) in
        [(RecordKind::FirstCommit, "first_commit"), (RecordKind::FirstWrite, "first_client_write")]
    {
        let record = winner.reign.iter().find(|record| record.kind == kind);
        phases.extend(record.map(|record| phase(name, winner.node, record)));
    }
    let last = followers.iter().filter(|follower| !follower.joined_later).max_by_key(|f| f.time);
    phases.extend(last.map(|follower| Phase {
        name: "last_follower_caught_up".to_owned(),
        node: winner.node,
        time: follower.time,
        what: format!("{} is synchronized by {}", follower.node, follower.means),
    }));
    phases
}

/// When the leader before gave up by itself, because no quorum answered it or another term or epoch had begun. It
/// may be before another one is elected or, if it was cut off, long after.
pub(super) fn stepped_down(shared: &[&Episode]) -> Option<Phase> {
    let gave_up = |episode: &&Episode| {
        let handed_over = |record: &Record| record.kind == RecordKind::HandsOver;
        if episode.former_leader != Some(episode.node) || episode.search.iter().any(handed_over) {
            return None;
        }
        let gives_up =
            |record: &&Record| record.kind == RecordKind::RoleChanged && record.leader.is_none();
        let record = episode.search.iter().find(gives_up)?;
        Some(Phase {
            name: "stepped_down".to_owned(),
            node: episode.node,
            time: record.time,
            what: record.text.clone(),
        })
    };
    shared.iter().filter_map(gave_up).min_by_key(|phase| phase.time)
}
