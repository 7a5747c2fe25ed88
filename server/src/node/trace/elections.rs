//! The elections of the cluster, put together from what each node saw.
//!
//! Times of nodes that share a boot are on one axis, so that phases seen by different nodes can be put
//! in order. An election's axis is that of the node that was elected, or, when that one does not
//! answer, of the boot that most of the others share. Whoever is on another axis shows only how long
//! things took there.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::{NodeId, Term};

use super::HostTime;
use super::episode::{Episode, Episodes};
use super::phases::{early_phases, late_phases, stepped_down};
use super::record::{NodeTrace, Record, RecordKind};

/// How much earlier than the winner's another node's trouble may have begun to belong to the same
/// election. Whoever had lost the leader before that was alone with it.
const EARLIER_MAX: Duration = Duration::from_secs(2);

/// One election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Election {
    /// The term or epoch that it began; `None` while it goes on.
    pub(crate) term: Option<Term>,
    /// Who was elected.
    pub(crate) leader: Option<NodeId>,
    /// Who led before, as far as is known.
    pub(crate) former_leader: Option<NodeId>,
    /// Why it was held.
    pub(crate) cause: String,
    /// The boot whose clock its phases are of.
    pub(crate) boot: Option<String>,
    /// The phases in the order of time.
    pub(crate) phases: Vec<Phase>,
    /// Which followers were brought up to date in the reign, each for the first time.
    pub(crate) followers: Vec<Follower>,
    /// What each node saw.
    pub(crate) nodes: Vec<NodeView>,
}

/// One moment of an election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    /// Its name.
    pub(crate) name: String,
    /// Who saw it.
    pub(crate) node: NodeId,
    /// When.
    pub(crate) time: HostTime,
    /// What was seen, in words.
    pub(crate) what: String,
}

/// A follower that was brought up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Follower {
    pub(crate) node: NodeId,
    /// When it first was.
    pub(crate) time: HostTime,
    /// When it last was: it may have come back after it was away.
    pub(crate) last: HostTime,
    /// By what means, the first time.
    pub(crate) means: String,
    /// Whether it was connected with the leader only after the election.
    pub(crate) joined_later: bool,
}

/// An election as one node saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeView {
    pub(crate) node: NodeId,
    /// Whether its times are on the election's axis.
    pub(crate) shares_axis: bool,
    /// Whether it came to the reign only after the election.
    pub(crate) joined_later: bool,
    /// What it saw.
    pub(crate) sights: Vec<Sight>,
}

/// Something that a node saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) time: HostTime,
    pub(crate) what: String,
}

/// The elections that these nodes tell of, the newest first.
pub(crate) fn elections(traces: &BTreeMap<NodeId, NodeTrace>) -> Vec<Election> {
    let mut decided: BTreeMap<Term, Vec<Episode>> = BTreeMap::new();
    let mut undecided = Vec::new();
    for (&node, trace) in traces {
        for episode in Episodes::of(node, &trace.records) {
            match episode.settled {
                Some(reign) => decided.entry(reign.term).or_default().push(episode),
                None => undecided.push(episode),
            }
        }
    }
    let boots: Boots<'_> =
        traces.iter().map(|(&node, trace)| (node, trace.boot.as_deref())).collect();
    let under_way = (!undecided.is_empty()).then(|| assemble(undecided, &boots));
    let decided = decided.into_values().rev().map(|episodes| assemble(episodes, &boots));
    under_way.into_iter().chain(decided).collect()
}

type Boots<'a> = BTreeMap<NodeId, Option<&'a str>>;

/// Puts together what the nodes saw of one election.
fn assemble(episodes: Vec<Episode>, boots: &Boots<'_>) -> Election {
    let reign = episodes.first().and_then(|episode| episode.settled);
    let axis = axis(&episodes, reign.map(|reign| reign.leader), boots);
    let shares_axis =
        |node: NodeId| node == axis || boots[&axis].is_some() && boots[&node] == boots[&axis];
    let shared: Vec<&Episode> =
        episodes.iter().filter(|episode| shares_axis(episode.node)).collect();
    let (elected_by, elected) = elected(&shared, reign.map(|reign| reign.leader));
    let took_part = took_part(&shared, elected_by, elected);
    let (cause, former_leader) = cause(&took_part, elected);
    let followers = elected_by.map(followers).unwrap_or_default();
    let mut phases = early_phases(&took_part, elected);
    phases.extend(late_phases(elected_by, &shared, &followers));
    phases.extend(stepped_down(&shared));
    // Stable: what happened in one microsecond stays in the order of the protocol.
    phases.sort_by_key(|phase| phase.time);
    let mut nodes: Vec<NodeView> =
        episodes.iter().map(|episode| view(episode, shares_axis(episode.node), elected)).collect();
    nodes.sort_by_key(|view| view.node);
    Election {
        term: reign.map(|reign| reign.term),
        leader: reign.map(|reign| reign.leader),
        former_leader,
        cause,
        boot: boots[&axis].map(str::to_owned),
        phases,
        followers,
        nodes,
    }
}

/// The node whose axis is the election's.
fn axis(episodes: &[Episode], leader: Option<NodeId>, boots: &Boots<'_>) -> NodeId {
    let peers = |node: NodeId| {
        let boot = boots[&node];
        episodes.iter().filter(|other| boot.is_some() && boots[&other.node] == boot).count()
    };
    let nodes = episodes.iter().map(|episode| episode.node);
    nodes
        .max_by_key(|&node| (Some(node) == leader, peers(node), std::cmp::Reverse(node)))
        .expect("an election was seen by somebody")
}

/// The winner's own view, if it is among these, and when the election was decided, as far as is known.
fn elected<'a>(
    shared: &[&'a Episode],
    leader: Option<NodeId>,
) -> (Option<&'a Episode>, Option<HostTime>) {
    let winner = shared
        .iter()
        .copied()
        .find(|episode| Some(episode.node) == leader && !episode.taking_the_lead().is_empty());
    let time = match winner {
        Some(winner) => winner.taking_the_lead().first().map(|record| record.time),
        None => shared
            .iter()
            .filter(|episode| episode.settled.is_some())
            .filter_map(|episode| episode.search.last())
            .map(|record| record.time)
            .min(),
    };
    (winner, time)
}

/// Those whose search belongs to this election, and not to an earlier loneliness or a later return.
fn took_part<'a>(
    shared: &[&'a Episode],
    winner: Option<&Episode>,
    elected: Option<HostTime>,
) -> Vec<&'a Episode> {
    let earliest = winner.map_or(HostTime::default(), |winner| winner.began().before(EARLIER_MAX));
    let latest = elected.unwrap_or(HostTime(u64::MAX));
    let belongs = |episode: &&Episode| {
        let lonely = episode.began() < earliest;
        !lonely && episode.began() <= latest
    };
    shared.iter().copied().filter(belongs).collect()
}

/// Why the election was held, in words, and who led before.
fn cause(took_part: &[&Episode], elected: Option<HostTime>) -> (String, Option<NodeId>) {
    let latest = elected.unwrap_or(HostTime(u64::MAX));
    let records = || {
        took_part
            .iter()
            .flat_map(|episode| episode.search.iter().map(|record| (episode.node, record)))
            .filter(|(_, record)| record.time <= latest)
    };
    let tells = |record: &Record| match record.kind {
        RecordKind::LeaderSuspected => true,
        RecordKind::RoleChanged => record.leader.is_none() && !record.cause.is_empty(),
        _ => false,
    };
    let first = records().filter(|(_, record)| tells(record)).min_by_key(|(_, record)| record.time);
    let cause = match first {
        Some((node, record)) if record.kind == RecordKind::RoleChanged => {
            format!("{node}: {}", record.cause)
        }
        Some((node, record)) => format!("{node} {}", record.text),
        None => "not known: it is over for longer than any of these nodes remembers".to_owned(),
    };
    let suspect = records()
        .filter(|(_, record)| record.kind == RecordKind::LeaderSuspected)
        .find_map(|(_, record)| record.peer);
    let former = took_part.iter().find_map(|episode| episode.former_leader);
    (cause, suspect.or(former))
}

/// The followers that the winner brought up to date.
fn followers(winner: &Episode) -> Vec<Follower> {
    let mut connected_later = Vec::new();
    let mut followers: Vec<Follower> = Vec::new();
    for record in &winner.reign {
        let Some(peer) = record.peer else { continue };
        match record.kind {
            RecordKind::PeerConnected => connected_later.push(peer),
            RecordKind::PeerSynchronized => {
                match followers.iter_mut().find(|follower| follower.node == peer) {
                    Some(known) => known.last = record.time,
                    None => followers.push(Follower {
                        node: peer,
                        time: record.time,
                        last: record.time,
                        means: record.name.clone(),
                        joined_later: connected_later.contains(&peer),
                    }),
                }
            }
            _ => {}
        }
    }
    followers
}

/// What one node saw.
fn view(episode: &Episode, shares_axis: bool, elected: Option<HostTime>) -> NodeView {
    /// The most that is told of one node: the beginning and the end.
    const SIGHTS_MAX: usize = 32;
    let records: Vec<&Record> = episode.search.iter().collect();
    let middle = records.len().saturating_sub(SIGHTS_MAX);
    let half = SIGHTS_MAX / 2;
    let shown = records
        .iter()
        .enumerate()
        .filter(|(place, _)| *place < half || *place >= half + middle)
        .map(|(_, record)| Sight { time: record.time, what: record.text.clone() });
    NodeView {
        node: episode.node,
        shares_axis,
        joined_later: shares_axis && elected.is_some_and(|elected| episode.began() > elected),
        sights: shown.collect(),
    }
}

#[cfg(test)]
mod tests {
    use consensus::{Event, Index, Suspicion};

    use super::*;

    fn role(role: &'static str, term: u64, leader: Option<u64>, cause: &str) -> Event {
        let (term, leader) = (Term(term), leader.map(NodeId));
        Event::RoleChanged { role, phase: None, term, leader, cause: cause.to_owned() }
    }

    fn trace(boot: &str, events: &[(u64, Event)]) -> NodeTrace {
        let record = |(millis, event): &(u64, Event)| Record::of(HostTime(millis * 1_000), event);
        let records = events.iter().map(record).collect();
        NodeTrace { boot: Some(boot.to_owned()), earlier: 0, records }
    }

    fn silence() -> Event {
        let cause = Suspicion::Silence { millis: 300 };
        Event::LeaderSuspected { leader: NodeId(1), cause }
    }

    /// Node 2 wins an election after node 1 fell silent.
    fn winner(boot: &str) -> NodeTrace {
        let followed =
            |peer| Event::PeerSynchronized { peer: NodeId(peer), means: "AppendEntries" };
        trace(
            boot,
            &[
                (1_000, role("follower", 1, Some(1), "n1 leads")),
                (5_300, silence()),
                (5_310, role("pre-candidate", 1, None, "no sign of life")),
                (5_312, role("candidate", 2, None, "would win")),
                (5_315, role("leader", 2, Some(2), "votes")),
                (5_317, Event::FirstCommit { term: Term(2), index: Index(9) }),
                (5_318, followed(3)),
                (5_320, Event::FirstWrite { term: Term(2), index: Index(10) }),
                (9_000, Event::PeerConnected { peer: NodeId(1) }),
                (9_001, followed(1)),
                (9_500, Event::PeerConnected { peer: NodeId(1) }),
                (9_502, followed(1)),
            ],
        )
    }

    fn follower(boot: &str, at: u64) -> NodeTrace {
        trace(
            boot,
            &[
                (at - 4_000, role("follower", 1, Some(1), "n1 leads")),
                (at, silence()),
                (at + 20, role("follower", 2, Some(2), "n2 leads")),
            ],
        )
    }

    fn named(election: &Election) -> Vec<(&str, u64, u64)> {
        let phases = election.phases.iter();
        phases.map(|p| (p.name.as_str(), p.node.0, p.time.0 / 1_000)).collect()
    }

    #[test]
    fn nodes_of_one_boot_share_the_axis_and_the_first_of_each_phase_is_told() {
        let traces = BTreeMap::from([(NodeId(2), winner("a")), (NodeId(3), follower("a", 5_298))]);
        let found = elections(&traces);
        assert_eq!(found.len(), 2, "the first election is known from its followers alone");
        let election = &found[0];
        assert_eq!(
            named(election),
            [
                ("fault_seen", 3, 4_998),
                ("suspected", 3, 5_298),
                ("pre_candidate", 2, 5_310),
                ("candidate", 2, 5_312),
                ("elected", 2, 5_315),
                ("first_commit", 2, 5_317),
                ("last_follower_caught_up", 2, 5_318),
                ("first_client_write", 2, 5_320),
            ]
        );
        assert_eq!(election.cause, "n3 suspects leader n1: no sign of life for 300 ms");
        assert_eq!((election.former_leader, election.leader), (Some(NodeId(1)), Some(NodeId(2))));
        let late: Vec<_> = election.followers.iter().map(|f| (f.node.0, f.joined_later)).collect();
        assert_eq!(late, [(3, false), (1, true)]);
        let times: Vec<_> =
            election.followers.iter().map(|f| (f.time.0 / 1_000, f.last.0 / 1_000)).collect();
        assert_eq!(times, [(5_318, 5_318), (9_001, 9_502)], "the one came back twice");
    }

    #[test]
    fn a_node_of_another_boot_adds_nothing_to_the_axis() {
        let traces = BTreeMap::from([(NodeId(2), winner("a")), (NodeId(3), follower("b", 77_000))]);
        let election = &elections(&traces)[0];
        assert_eq!(election.boot.as_deref(), Some("a"));
        assert!(election.phases.iter().all(|phase| phase.node == NodeId(2)));
        let axes: Vec<_> =
            election.nodes.iter().map(|view| (view.node.0, view.shares_axis)).collect();
        assert_eq!(axes, [(2, true), (3, false)]);
        // Nodes whose boot is not known share an axis with nobody, not even with one another.
        let unknown = |trace: NodeTrace| NodeTrace { boot: None, ..trace };
        let traces = BTreeMap::from([
            (NodeId(2), unknown(winner("a"))),
            (NodeId(3), unknown(follower("a", 5_298))),
        ]);
        let election = &elections(&traces)[0];
        assert_eq!(election.nodes.iter().filter(|view| view.shares_axis).count(), 1);
    }

    #[test]
    fn a_leader_that_gives_up_by_itself_is_told_and_one_that_hands_over_is_not() {
        let cut_off = |cause: Vec<(u64, Event)>| {
            let mut events = vec![(1_000, role("leader", 1, Some(1), "votes"))];
            events.extend(cause);
            events.push((9_001, role("follower", 2, Some(2), "n2 leads")));
            trace("a", &events)
        };
        let alone = cut_off(vec![(5_290, role("follower", 1, None, "no quorum answers"))]);
        let traces = BTreeMap::from([(NodeId(1), alone), (NodeId(2), winner("a"))]);
        let election = &elections(&traces)[0];
        assert!(named(election).contains(&("stepped_down", 1, 5_290)), "{election:?}");
        assert_eq!(election.cause, "n1: no quorum answers");

        let asked = cut_off(vec![
            (5_200, Event::TransferBegun { to: NodeId(2) }),
            (5_201, Event::HandsOver { to: NodeId(2) }),
            (5_202, role("follower", 2, None, "n2 asks for votes")),
        ]);
        let traces = BTreeMap::from([(NodeId(1), asked), (NodeId(2), winner("a"))]);
        let found = elections(&traces);
        let told = named(&found[0]);
        assert!(told.iter().all(|(name, ..)| *name != "stepped_down"), "{told:?}");
        assert!(told.iter().any(|(name, ..)| *name == "hands_over"), "{told:?}");
    }

    #[test]
    fn the_first_election_of_nodes_that_just_started_begins_with_their_start() {
        let mut started = winner("a");
        let start = Event::Started { last: Index(7) };
        started.records.retain(|record| record.time >= HostTime(5_300_000));
        started.records.retain(|record| record.kind != RecordKind::LeaderSuspected);
        started.records.insert(0, Record::of(HostTime(5_000_000), &start));
        let election = &elections(&BTreeMap::from([(NodeId(2), started)]))[0];
        let first: Vec<_> = named(election).into_iter().take(2).collect();
        assert_eq!(first, [("started", 2, 5_000), ("pre_candidate", 2, 5_310)]);
    }

    #[test]
    fn whoever_was_alone_before_does_not_make_the_election_longer() {
        // Node 3 had lost everybody a minute earlier, and hears of the new leader only now.
        let lonely = trace(
            "a",
            &[
                (900, role("follower", 1, Some(1), "n1 leads")),
                (1_500, silence()),
                (1_510, role("pre-candidate", 1, None, "no sign of life")),
                (6_000, role("follower", 2, Some(2), "n2 leads")),
            ],
        );
        let traces = BTreeMap::from([(NodeId(2), winner("a")), (NodeId(3), lonely)]);
        let election = &elections(&traces)[0];
        assert_eq!(named(election)[0], ("fault_seen", 2, 5_000));
        assert_eq!(election.cause, "n2 suspects leader n1: no sign of life for 300 ms");
        assert_eq!(election.nodes.len(), 2, "it is shown all the same");
    }

    #[test]
    fn without_the_winner_the_followers_tell_who_was_elected() {
        let traces = BTreeMap::from([(NodeId(3), follower("a", 5_298))]);
        let election = &elections(&traces)[0];
        assert_eq!(named(election).last(), Some(&("elected", 3, 5_318)));
        assert_eq!(election.leader, Some(NodeId(2)));
    }

    #[test]
    fn an_election_under_way_is_the_newest() {
        let mut searching = follower("a", 5_298);
        let candidate = role("candidate", 3, None, "would win");
        searching.records.push(Record::of(HostTime(9_000_000), &candidate));
        let traces = BTreeMap::from([(NodeId(3), searching)]);
        let found = elections(&traces);
        assert_eq!((found[0].term, found[1].term), (None, Some(Term(2))));
        assert_eq!(found[0].former_leader, Some(NodeId(2)));
        assert!(elections(&BTreeMap::new()).is_empty());
    }
}
