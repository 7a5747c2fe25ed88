//! One node's view of one election: from the first sign of trouble until it knows a leader, and what
//! it saw of that leader's reign.

use consensus::{NodeId, Term};

use super::HostTime;
use super::record::{Record, RecordKind};

/// A node's way from one leader to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Episode {
    pub(crate) node: NodeId,
    /// What happened until the leader was known, in order; at least one record.
    pub(crate) search: Vec<Record>,
    /// The reign in which the search ended; `None` while it goes on.
    pub(crate) settled: Option<Reign>,
    /// What happened in the reign.
    pub(crate) reign: Vec<Record>,
    /// The leader that the node knew before.
    pub(crate) former_leader: Option<NodeId>,
}

/// A leader and its term or epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reign {
    pub(crate) term: Term,
    pub(crate) leader: NodeId,
}

impl Episode {
    /// When the trouble was noticed.
    pub(crate) fn began(&self) -> HostTime {
        self.search.first().map_or(HostTime::default(), |record| record.time)
    }

    /// Where this node took the lead, if the election made it leader: the changes of role from being
    /// elected to being established.
    pub(crate) fn taking_the_lead(&self) -> &[Record] {
        if self.settled.is_none_or(|reign| reign.leader != self.node) {
            return &[];
        }
        let Some(last) = self.search.last() else { return &[] };
        let leads =
            |record: &&Record| record.kind == RecordKind::RoleChanged && record.name == last.name;
        let count = self.search.iter().rev().take_while(leads).count();
        &self.search[self.search.len() - count..]
    }

    /// Whether nothing happened yet but a suspicion or a start, which may come to nothing.
    fn is_only_a_suspicion(&self) -> bool {
        self.search.iter().all(|record| {
            matches!(
                record.kind,
                RecordKind::LeaderSuspected | RecordKind::PeerLost | RecordKind::Started
            )
        })
    }
}

/// The reign in which a change of role says that the node has its place.
fn settles(record: &Record) -> Option<Reign> {
    let established = record.phase.is_empty() || record.phase == "broadcast";
    let reign = Reign { term: record.term?, leader: record.leader? };
    (record.kind == RecordKind::RoleChanged && established).then_some(reign)
}

/// Takes the records of one node apart.
#[derive(Debug)]
pub(crate) struct Episodes {
    node: NodeId,
    done: Vec<Episode>,
    open: Option<Episode>,
    settled: Option<Reign>,
    /// What announced the end of the reign, as long as nothing follows from it: the loss of the
    /// leader's connection, or a transfer.
    omens: Vec<Record>,
}

impl Episodes {
    /// The episodes that these records tell of, the last of them perhaps unfinished.
    pub(crate) fn of(node: NodeId, records: &[Record]) -> Vec<Episode> {
        let mut episodes =
            Self { node, done: Vec::new(), open: None, settled: None, omens: Vec::new() };
        for record in records {
            episodes.add(record);
        }
        let unfinished = episodes.open.filter(|open| !open.is_only_a_suspicion());
        episodes.done.into_iter().chain(unfinished).collect()
    }

    fn add(&mut self, record: &Record) {
        match record.kind {
            RecordKind::Started => self.search(record),
            RecordKind::PeerLost => {
                let leads = self.settled.is_some_and(|reign| record.peer == Some(reign.leader));
                if self.open.is_none() && leads {
                    self.omens = vec![record.clone()];
                }
            }
            RecordKind::PeerConnected => {
                let undone =
                    |omen: &Record| omen.kind == RecordKind::PeerLost && omen.peer == record.peer;
                self.omens.retain(|omen| !undone(omen));
                self.note(record);
            }
            RecordKind::TransferBegun => self.omens = vec![record.clone()],
            RecordKind::HandsOver => self.omens.push(record.clone()),
            RecordKind::TransferFailed => self.omens.clear(),
            RecordKind::LeaderSuspected => {
                // The leader was heard again after an earlier suspicion, which came to nothing.
                if self.open.as_ref().is_some_and(Episode::is_only_a_suspicion) {
                    self.open = None;
                }
                self.search(record);
            }
            RecordKind::Voted => self.search(record),
            RecordKind::RoleChanged => match settles(record) {
                Some(reign) => self.settle(record, reign),
                None => self.search(record),
            },
            RecordKind::FirstCommit | RecordKind::FirstWrite | RecordKind::PeerSynchronized => {
                self.note(record);
            }
            RecordKind::Truncated
            | RecordKind::Committed
            | RecordKind::Sent
            | RecordKind::Received
            | RecordKind::Other
            | RecordKind::FaultBegan
            | RecordKind::FaultEnded => {}
        }
    }

    /// A step of the search for a leader.
    fn search(&mut self, record: &Record) {
        let omens = std::mem::take(&mut self.omens);
        let (node, settled) = (self.node, self.settled);
        let open = self.open.get_or_insert_with(|| Episode {
            node,
            search: omens,
            settled: None,
            reign: Vec::new(),
            former_leader: settled.map(|reign| reign.leader),
        });
        open.search.push(record.clone());
    }

    fn settle(&mut self, record: &Record, reign: Reign) {
        if self.settled == Some(reign) {
            // It was a false alarm: the reign goes on.
            self.open = None;
            return;
        }
        self.search(record);
        self.settled = Some(reign);
        if let Some(open) = self.open.take() {
            self.done.push(Episode { settled: Some(reign), ..open });
        }
    }

    /// Something that belongs to the reign.
    fn note(&mut self, record: &Record) {
        if self.open.is_none()
            && let Some(last) = self.done.last_mut()
        {
            last.reign.push(record.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use consensus::{Event, Suspicion};

    use super::*;

    fn role(
        role: &'static str,
        phase: Option<&'static str>,
        term: u64,
        leader: Option<u64>,
    ) -> Event {
        let (term, leader) = (Term(term), leader.map(NodeId));
        Event::RoleChanged { role, phase, term, leader, cause: "so".to_owned() }
    }

    fn episodes(events: &[Event]) -> Vec<Episode> {
        let records: Vec<_> =
            (1..).zip(events).map(|(time, event)| Record::of(HostTime(time), event)).collect();
        Episodes::of(NodeId(2), &records)
    }

    fn suspected() -> Event {
        Event::LeaderSuspected { leader: NodeId(1), cause: Suspicion::ConnectionLost }
    }

    #[test]
    fn a_lost_leader_begins_an_episode_and_a_known_one_ends_it() {
        let found = episodes(&[
            role("follower", None, 1, Some(1)),
            Event::PeerLost { peer: NodeId(1) },
            suspected(),
            role("pre-candidate", None, 1, None),
            role("candidate", None, 2, None),
            role("leader", None, 2, Some(2)),
            Event::FirstCommit { term: Term(2), index: consensus::Index(4) },
        ]);
        assert_eq!(found.len(), 2);
        let election = &found[1];
        assert_eq!(election.settled, Some(Reign { term: Term(2), leader: NodeId(2) }));
        assert_eq!((election.search.len(), election.reign.len()), (5, 1));
        assert_eq!(election.former_leader, Some(NodeId(1)));
        assert_eq!(election.taking_the_lead().len(), 1);
        assert!(found[0].taking_the_lead().is_empty());
    }

    #[test]
    fn a_transfer_begins_with_what_the_old_leader_is_asked_unless_it_comes_to_nothing() {
        let begun = || Event::TransferBegun { to: NodeId(3) };
        let failed = Event::TransferFailed { to: NodeId(3), cause: "so".to_owned() };
        let found = episodes(&[
            role("leader", None, 1, Some(2)),
            begun(),
            failed,
            begun(),
            Event::HandsOver { to: NodeId(3) },
            role("follower", None, 2, None),
            role("follower", None, 2, Some(3)),
        ]);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].began(), HostTime(4));
        assert_eq!(found[1].search.len(), 4);
    }

    #[test]
    fn the_phases_of_zab_count_as_taking_the_lead_and_failed_attempts_do_not() {
        let found = episodes(&[
            role("LOOKING", None, 1, None),
            role("LEADING", Some("discovery"), 1, None),
            role("LOOKING", None, 1, None),
            role("LEADING", Some("discovery"), 1, None),
            role("LEADING", Some("synchronization"), 3, None),
            role("LEADING", Some("broadcast"), 3, Some(2)),
        ]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].taking_the_lead().len(), 3);
    }

    #[test]
    fn a_false_alarm_is_no_election_and_neither_is_a_connection_that_comes_back() {
        let found = episodes(&[
            role("FOLLOWING", Some("broadcast"), 1, Some(1)),
            suspected(),
            role("LOOKING", None, 1, None),
            role("FOLLOWING", Some("discovery"), 1, Some(1)),
            role("FOLLOWING", Some("broadcast"), 1, Some(1)),
            Event::PeerLost { peer: NodeId(1) },
            Event::PeerConnected { peer: NodeId(1) },
            role("LOOKING", None, 1, None),
        ]);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].search.len(), 1, "the connection that came back is not its cause");
        assert_eq!(found[1].settled, None, "it goes on");
    }

    #[test]
    fn a_suspicion_that_came_to_nothing_does_not_begin_a_later_election() {
        let found = episodes(&[
            role("follower", None, 1, Some(1)),
            suspected(),
            suspected(),
            role("follower", None, 2, Some(3)),
        ]);
        assert_eq!(found[1].search.len(), 2);
        assert_eq!(found[1].began(), HostTime(3));
        // A suspicion alone is no election under way.
        assert_eq!(episodes(&[role("follower", None, 1, Some(1)), suspected()]).len(), 1);
    }
}
