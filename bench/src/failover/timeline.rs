//! What happened when, from a fault to the last follower that has caught up, on the one clock of the host.
//!
//! The moments are those of every failover (T0 to T6): the nodes tell theirs at `/v1/elections`, and the clients
//! theirs by the probes. Both read the host's monotonic clock, so that they can be put in order; that they are in
//! order is checked, and what is not is told.

use serde::{Deserialize, Serialize};

use crate::cluster::Election;

/// When what happened, in milliseconds after the fault. What did not happen, or nobody saw, is not there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// T0, the fault, on the host's monotonic clock, in microseconds since some point of its boot.
    pub fault_us: u64,
    /// The first node had started (of a cold start).
    pub started_ms: Option<f64>,
    /// The successor lacked nothing and was told to take over (of a leader that hands over).
    pub handed_over_ms: Option<f64>,
    /// T1: a follower first suspected the leader, or the leader itself found that no quorum answers it.
    pub suspected_ms: Option<f64>,
    /// The old leader gave up; perhaps only after it was healed.
    pub stepped_down_ms: Option<f64>,
    /// T2: a node first sought a leader: as pre-candidate or candidate (Raft), LOOKING (ZAB).
    pub candidate_ms: Option<f64>,
    /// T3: a quorum had voted for the new leader.
    pub elected_ms: Option<f64>,
    /// T3z: a quorum had accepted the new epoch (ZAB).
    pub discovered_ms: Option<f64>,
    /// T4: the empty entry of the term is committed (Raft), or a quorum has joined the epoch (ZAB).
    pub synchronized_ms: Option<f64>,
    /// The first commit of the new reign, which in both protocols is what T4 is.
    pub first_commit_ms: Option<f64>,
    /// The first write of a client in the new reign was committed.
    pub first_write_committed_ms: Option<f64>,
    /// T5: the first new write was acknowledged, as a client saw it.
    pub first_write_ms: Option<f64>,
    /// Those followers that the new leader had when it was elected were up to date.
    pub followers_caught_up_ms: Option<f64>,
    /// The fault was undone.
    pub healed_ms: Option<f64>,
    /// T6: the last follower, the old leader included, was up to date.
    pub all_caught_up_ms: Option<f64>,
    /// How many elections it took until writes succeeded.
    pub elections: usize,
    /// What was not in the order in which it must be, or could not be found out.
    pub violations: Vec<String>,
}

/// What clients and the measurement itself know of a failover, in microseconds of the host's clock.
#[derive(Clone, Debug, Default)]
pub(super) struct Witnessed {
    /// The fault.
    pub(super) fault_us: u64,
    /// The acknowledgement that ended the outage, if it is known to be of the new reign.
    pub(super) back_us: Option<u64>,
    /// All acknowledgements from the fault on, in order.
    pub(super) acknowledged_us: Vec<u64>,
    /// When the fault was undone.
    pub(super) healed_us: Option<u64>,
    /// From when on it counts that the node that was hit was brought up to date.
    pub(super) returned_us: u64,
    /// When the node that was hit had caught up, where no election tells it.
    pub(super) caught_up_us: Option<u64>,
    /// The node that was hit.
    pub(super) node: u64,
    /// How many nodes there are.
    pub(super) nodes: usize,
}

/// A part of the way from the fault to the first new write. Each begins where the one before it that there was
/// ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Until the first node had started.
    Start,
    /// Until the leader told its successor to take over.
    Handover,
    /// Until the leader was first suspected.
    Detection,
    /// Until a node first sought a leader.
    Candidacy,
    /// Until a leader was elected.
    Election,
    /// Until the epoch was accepted (ZAB).
    Discovery,
    /// Until the new reign had committed what came before it.
    Synchronization,
    /// Until the first new write was acknowledged.
    FirstWrite,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Self; 8] = [
        Self::Start,
        Self::Handover,
        Self::Detection,
        Self::Candidacy,
        Self::Election,
        Self::Discovery,
        Self::Synchronization,
        Self::FirstWrite,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Handover => "handover",
            Self::Detection => "detection",
            Self::Candidacy => "candidacy",
            Self::Election => "election",
            Self::Discovery => "discovery",
            Self::Synchronization => "synchronization",
            Self::FirstWrite => "first write",
        }
    }

    /// What ends it.
    #[must_use]
    pub fn ends(self) -> &'static str {
        match self {
            Self::Start => "the first process runs",
            Self::Handover => "the successor lacks nothing and is told to take over",
            Self::Detection => "T1, the first suspicion",
            Self::Candidacy => "T2, a node seeks a leader",
            Self::Election => "T3, a quorum has voted",
            Self::Discovery => "T3z, a quorum has accepted the epoch (ZAB)",
            Self::Synchronization => "T4, what came before is committed",
            Self::FirstWrite => "T5, a client's new write is acknowledged",
        }
    }
}

/// A phase of one failover.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Which.
    pub phase: Phase,
    /// Where it begins, in milliseconds after the fault.
    pub from_ms: f64,
    /// Where it ends.
    pub to_ms: f64,
}

impl Timeline {
    /// Puts together what the nodes told and the clients saw. `boot` is this host's.
    pub(super) fn of(witnessed: &Witnessed, elections: &[Election], boot: Option<&str>) -> Self {
        let zero = witnessed.fault_us;
        let after = |us: u64| (us as f64 - zero as f64) / 1e3;
        let mut timeline = Self {
            fault_us: zero,
            healed_ms: witnessed.healed_us.map(after),
            all_caught_up_ms: witnessed.caught_up_us.map(after),
            first_write_ms: witnessed.back_us.map(after),
            ..Self::default()
        };
        let since: Vec<&Election> = since(witnessed, elections);
        let Some(&reign) = reign(&since) else {
            timeline.check();
            return timeline;
        };
        if reign.boot.is_none() || reign.boot.as_deref() != boot {
            let what = "the nodes told times of another clock than this host's";
            timeline.violations.push(what.to_owned());
            return timeline;
        }
        // What led to the reign may have taken more elections than one.
        let until = reign.at_us("elected");
        let attempts: Vec<&Election> =
            since.into_iter().filter(|election| election.at_us("elected") <= until).collect();
        let first = |names: &[&str]| {
            let moments = attempts
                .iter()
                .flat_map(|attempt| names.iter().filter_map(move |name| attempt.at_us(name)));
            moments.min()
        };
        let of_reign = |name: &str| reign.at_us(name).map(after);
        let stepped_down = first(&["stepped_down"]);
        // That a leader gives up when there is another one already is no suspicion.
        let gave_up = stepped_down.filter(|&us| until.is_none_or(|until| us <= until));
        let suspected = [first(&["suspected"]), gave_up].into_iter().flatten().min();
        timeline.elections = attempts.len();
        timeline.started_ms = first(&["started"]).map(after);
        timeline.handed_over_ms = first(&["hands_over"]).map(after);
        timeline.suspected_ms = suspected.map(after);
        timeline.stepped_down_ms = stepped_down.map(after);
        timeline.candidate_ms = first(&["pre_candidate", "candidate", "looking"]).map(after);
        timeline.elected_ms = of_reign("elected");
        timeline.discovered_ms = of_reign("discovery");
        timeline.first_commit_ms = of_reign("first_commit");
        timeline.synchronized_ms = of_reign("synchronization").or(timeline.first_commit_ms);
        let committed = reign.at_us("first_client_write");
        timeline.first_write_committed_ms = committed.map(after);
        if timeline.first_write_ms.is_none() {
            // The old leader took writes until it had handed over.
            let answered = &witnessed.acknowledged_us;
            let new = |committed: u64| answered.iter().find(|&&us| us >= committed);
            timeline.first_write_ms = committed.and_then(new).copied().map(after);
        }
        let hit = witnessed.healed_us.map(|_| witnessed.node);
        timeline.followers_caught_up_ms = reign.first_followers_us(hit).map(after);
        let rejoined = caught_up_us(witnessed, elections);
        if let Some(rejoined) = rejoined {
            let others = timeline.followers_caught_up_ms.unwrap_or(f64::MIN);
            timeline.all_caught_up_ms = Some(after(rejoined).max(others));
        }
        timeline.check();
        timeline
    }

    /// Finds out what is not in its order.
    fn check(&mut self) {
        let way = [
            ("the fault", Some(0.0)),
            ("the start of a node", self.started_ms),
            ("the handover", self.handed_over_ms),
            ("the first suspicion", self.suspected_ms),
            ("the first candidate", self.candidate_ms),
            ("the election", self.elected_ms),
            ("the end of discovery", self.discovered_ms),
            ("the end of synchronization", self.synchronized_ms),
            ("the first commit", self.first_commit_ms),
            ("the commit of the first write", self.first_write_committed_ms),
            ("the first new acknowledgement", self.first_write_ms),
        ];
        let followers =
            [("the election", self.elected_ms), ("the last follower", self.followers_caught_up_ms)];
        let healed = [("the healing", self.healed_ms), ("the last node", self.all_caught_up_ms)];
        for chain in [&way[..], &followers, &healed] {
            let known: Vec<(&str, f64)> =
                chain.iter().filter_map(|&(name, ms)| Some((name, ms?))).collect();
            for two in known.windows(2) {
                let [(earlier, before), (later, then)] = [two[0], two[1]];
                if then < before {
                    self.violations.push(format!(
                        "{later} ({then:.3} ms) lies before {earlier} ({before:.3} ms)"
                    ));
                }
            }
        }
    }

    /// The moment that ends a phase.
    #[must_use]
    pub fn end_of(&self, phase: Phase) -> Option<f64> {
        match phase {
            Phase::Start => self.started_ms,
            Phase::Handover => self.handed_over_ms,
            Phase::Detection => self.suspected_ms,
            Phase::Candidacy => self.candidate_ms,
            Phase::Election => self.elected_ms,
            Phase::Discovery => self.discovered_ms,
            Phase::Synchronization => self.synchronized_ms,
            Phase::FirstWrite => self.first_write_ms,
        }
    }

    /// The phases from the fault to the first new write, without gaps, as far as their ends are known. Without an
    /// election there are none: nothing but the write itself was waited for.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        if self.elected_ms.is_none() {
            return Vec::new();
        }
        let mut from_ms = 0.0f64;
        let mut spans = Vec::new();
        for phase in Phase::ALL {
            if let Some(end) = self.end_of(phase) {
                // What is out of order is told as such, and not drawn backwards.
                let to_ms = end.max(from_ms);
                spans.push(Span { phase, from_ms, to_ms });
                from_ms = to_ms;
            }
        }
        spans
    }

    /// From the undoing of the fault until the last node was up to date, in milliseconds.
    #[must_use]
    pub fn rejoin_ms(&self) -> Option<f64> {
        Some(self.all_caught_up_ms? - self.healed_ms?)
    }
}

/// The elections that were decided after the fault, the newest first.
fn since<'a>(witnessed: &Witnessed, elections: &'a [Election]) -> Vec<&'a Election> {
    let decided = |election: &&Election| {
        election.term.is_some()
            && election.at_us("elected").is_some_and(|us| us >= witnessed.fault_us)
    };
    elections.iter().filter(decided).collect()
}

/// The reign in which clients could write again, or, if that is not known, the newest.
fn reign<'a, 'b>(since: &'b [&'a Election]) -> Option<&'b &'a Election> {
    let written = since.iter().rev().find(|one| one.at_us("first_client_write").is_some());
    written.or(since.first())
}

/// Whether the reign that followed a fault is told to its end: what is missing comes within a moment.
pub(super) fn is_told(witnessed: &Witnessed, elections: &[Election]) -> bool {
    let told = ["first_commit", "first_client_write", "last_follower_caught_up"];
    let since = since(witnessed, elections);
    reign(&since).is_some_and(|reign| told.iter().all(|name| reign.at_us(name).is_some()))
}

/// When the last node was up to date: the one that was hit, after it was healed, or where nothing was to be healed
/// the last follower of the reign.
pub(super) fn caught_up_us(witnessed: &Witnessed, elections: &[Election]) -> Option<u64> {
    let returned = |(node, us): (u64, u64)| {
        (node != witnessed.node || us >= witnessed.returned_us).then_some((node, us))
    };
    let since = since(witnessed, elections);
    if witnessed.healed_us.is_some() {
        let all = since.iter().flat_map(|election| election.caught_up_us());
        let mine = all.filter_map(returned).filter(|&(node, _)| node == witnessed.node);
        return mine.map(|(_, us)| us).min();
    }
    let followers = reign(&since)?.caught_up_us().into_iter();
    let all: Vec<u64> = followers.filter_map(returned).map(|(_, us)| us).collect();
    (all.len() + 1 == witnessed.nodes).then(|| all.into_iter().max())?
}

#[cfg(test)]
mod tests;
