//! A workload that somebody chose, instead of the one that the seed draws: so many clients do so much of each, and
//! leaders fail at moments fixed in advance. Every law is checked as ever.
//!
//! The surroundings are those in which times are measured (a network and a disk that are fast and even), so that what
//! it comes to can be told in virtual time.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use consensus::{Consensus, NodeId, Random, Time, Violation};
use kvcore::{Command, Keys};

use crate::agenda::Happening;
use crate::client::{Client, ClientId};
use crate::cluster::Cluster;
use crate::faults::{Crash, Fault, Script, Step, StepNumber, When, Who};
use crate::history::{Action, Consistency, OperationResult, Query};

/// How many keys a range reads, as that of the load generator.
const RANGE_LIMIT: usize = 100;
/// How long a cluster may take to begin.
const BEGIN_MAX: Duration = Duration::from_secs(60);
/// For how long a leader is away at most.
const AWAY_MAX: Duration = Duration::from_millis(500);

/// What clients do, and what happens to leaders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The file that says so, for the command that repeats a run.
    pub scenario: String,
    /// How often each key is drawn, in parts of all draws; there are as many keys.
    pub key_weights: Vec<u64>,
    /// The size of a value in bytes.
    pub value_bytes: usize,
    /// How many parts of the operations are writes.
    pub put: u32,
    /// Linearizable reads of a key.
    pub get: u32,
    /// Linearizable reads of a hundred keys.
    pub range: u32,
    /// Whether all clients ask the leader; otherwise they are spread over all nodes.
    pub at_leader: bool,
    /// What happens to leaders, in equal distances over the whole time.
    pub faults: Vec<LeaderFault>,
}

/// What happens to a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaderFault {
    /// Its process is killed, and started again after half a second at most.
    Kill,
    /// Its machine loses its power, and what was not synced.
    PowerCut,
    /// Its process is stopped, and goes on.
    Stop,
    /// Nothing gets to it from other nodes for a while, and nobody is told.
    IsolateIn,
    /// Nothing gets from it to other nodes.
    IsolateOut,
    /// Both.
    IsolateBoth,
    /// It is asked to have another node lead.
    Transfer,
}

/// What a workload came to, in virtual time, before everything was repaired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadReport {
    /// How long each acknowledged write took.
    pub writes: Vec<Duration>,
    /// How long each read took that was answered.
    pub reads: Vec<Duration>,
    /// Operations that failed, or whose outcome their client does not know.
    pub failed: u64,
    /// From each fault until a write was acknowledged that was begun after it; `None` if none was.
    pub outages: Vec<Option<Duration>>,
}

impl Workload {
    /// Its keys.
    pub(crate) fn keys(&self) -> BTreeSet<Bytes> {
        (0..self.key_weights.len()).map(key).collect()
    }

    /// What breaks, of a time that begins at this moment.
    fn steps(&self, began: Time, duration: Duration) -> Vec<Step> {
        let count = u32::try_from(self.faults.len()).expect("a few");
        let distance = duration / (count + 1);
        let lasts = AWAY_MAX.min(distance / 2);
        let step = |(number, fault): (u32, &LeaderFault)| {
            let who = Who::Leader(NodeId(1));
            let fault = match fault {
                LeaderFault::Kill => Fault::Crash { who, how: Crash::Kill, down: lasts },
                LeaderFault::PowerCut => Fault::Crash { who, how: Crash::PowerCut, down: lasts },
                LeaderFault::Stop => Fault::Pause { who, lasts },
                LeaderFault::IsolateIn => Fault::Isolate { who, hears: false, lasts },
                LeaderFault::IsolateOut => Fault::Isolate { who, hears: true, lasts },
                LeaderFault::IsolateBoth => {
                    Fault::Partition { side: vec![who], lasts, breaks: false, late: false }
                }
                LeaderFault::Transfer => Fault::Transfer { asked: who, to: None },
            };
            let when = When::At(began + distance * number);
            Step { number: StepNumber(number), when, fault }
        };
        (1..).zip(&self.faults).map(step).collect()
    }

    fn draw_key(&self, random: &mut Random) -> Bytes {
        let mut drawn = random.below(self.key_weights.iter().sum());
        let place = self.key_weights.iter().position(|&weight| match drawn.checked_sub(weight) {
            Some(left) => {
                drawn = left;
                false
            }
            None => true,
        });
        key(place.expect("less than all weights together"))
    }
}

fn key(number: usize) -> Bytes {
    Bytes::from(format!("bench/{number:06}"))
}

impl Client {
    /// What it does next of a workload. A write whose answer it did not get it may make again.
    pub(crate) fn work(&mut self, workload: &Workload) -> Action {
        if let Some((command, key)) = self.takes_again() {
            return Action::Write(command, key);
        }
        let parts = [workload.put, workload.get, workload.range].map(u64::from);
        let part = self.random.below(parts.iter().sum());
        let key = workload.draw_key(&mut self.random);
        if part < parts[0] {
            return Action::Write(self.put_of(key, workload.value_bytes), None);
        }
        let query = if part < parts[0] + parts[1] {
            Query::of(Keys::One(key))
        } else {
            let mut query = Query::of(Keys::Between { from: key, to: None });
            query.range.limit = Some(RANGE_LIMIT);
            query
        };
        Action::Read(query, Consistency::Linearizable)
    }

    /// A write of the workload, whatever its parts are.
    pub(crate) fn work_put(&mut self, workload: &Workload) -> Action {
        let key = workload.draw_key(&mut self.random);
        Action::Write(self.put_of(key, workload.value_bytes), None)
    }

    fn put_of(&mut self, key: Bytes, value_bytes: usize) -> Command {
        let mut value = self.value(1).to_vec();
        value.resize(value_bytes.max(value.len()), b'.');
        Command::put(key, Bytes::from(value))
    }

    /// The node that it asks.
    pub(crate) fn work_place(
        &self,
        workload: &Workload,
        leader: Option<NodeId>,
        members: u64,
    ) -> NodeId {
        let ClientId(number) = self.id();
        let home = NodeId(1 + number as u64 % members);
        if workload.at_leader { leader.unwrap_or(home) } else { home }
    }
}

impl<C: Consensus> Cluster<C> {
    /// Waits until the cluster serves, which real clusters are waited for as well, and begins the workload's time.
    pub(crate) fn begin_workload(&mut self) -> Result<(), Violation> {
        let Some(workload) = self.options.workload.clone() else { return Ok(()) };
        let serves = |cluster: &Self| cluster.last_acknowledged.is_some();
        if !self.run_until(Time(0) + BEGIN_MAX, serves)? {
            let details = format!("not within {BEGIN_MAX:?}");
            return Err(Violation::new("a cluster begins to serve", details));
        }
        self.began = self.agenda.now();
        let mut steps = workload.steps(self.began, self.options.duration);
        if let Some(only) = &self.options.only_faults {
            steps.retain(|step| only.contains(&step.number()));
        }
        self.script = Script::new(steps);
        for time in self.script.times() {
            self.agenda.at(time, Happening::Faults);
        }
        Ok(())
    }

    /// What the workload came to, if there is one.
    pub(crate) fn workload_report(&self) -> Option<WorkloadReport> {
        self.options.workload.as_ref()?;
        let end = self.began + self.options.duration;
        let mut report = WorkloadReport::default();
        let struck = self.script.came.iter().filter_map(|step| match step.when {
            When::At(time) => Some(time),
            When::After(..) => None,
        });
        let struck: Vec<Time> = struck.collect();
        report.outages = vec![None; struck.len()];
        for (_, operation) in self.history.iter() {
            let Some((done, result)) = &operation.completed else { continue };
            if operation.invoked < self.began || *done > end {
                continue;
            }
            let took = done.since(operation.invoked);
            match result {
                OperationResult::Written { .. } => {
                    report.writes.push(took);
                    for (struck, outage) in struck.iter().zip(&mut report.outages) {
                        if operation.invoked >= *struck {
                            let since = done.since(*struck);
                            *outage = Some(outage.map_or(since, |known| known.min(since)));
                        }
                    }
                }
                OperationResult::Read(_) => report.reads.push(took),
                _ => report.failed += 1,
            }
        }
        Some(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(key_weights: Vec<u64>, faults: Vec<LeaderFault>) -> Workload {
        let scenario = "it.toml".to_owned();
        Workload {
            scenario,
            key_weights,
            value_bytes: 32,
            put: 1,
            get: 0,
            range: 0,
            at_leader: false,
            faults,
        }
    }

    #[test]
    fn keys_are_drawn_as_often_as_their_weights_say() {
        let workload = workload(vec![1, 0, 8, 1], Vec::new());
        let mut random = Random::new(3);
        let drawn: Vec<Bytes> = (0..10_000).map(|_| workload.draw_key(&mut random)).collect();
        let count = |number| drawn.iter().filter(|&drawn| *drawn == key(number)).count();
        assert_eq!(count(1), 0);
        assert!((7_800..8_200).contains(&count(2)), "{}", count(2));
        assert!(count(0) + count(2) + count(3) == 10_000 && count(0) > 800 && count(3) > 800);
    }

    #[test]
    fn faults_come_in_equal_distances_and_are_over_before_the_next() {
        let workload = workload(vec![1], vec![LeaderFault::Kill, LeaderFault::Stop]);
        let duration = Duration::from_millis(600);
        let steps = workload.steps(Time(1_000), duration);
        let told: Vec<String> = steps.iter().map(Step::to_string).collect();
        assert_eq!(
            told,
            [
                "  1  at 201.000ms: crash leader for=100ms",
                "  2  at 401.000ms: pause leader for=100ms"
            ]
        );
    }
}
