//! The end of ZAB's 32-bit counter, through the whole stack: the log and the stores on simulated disks,
//! snapshots, clients, faults.
//!
//! Four thousand million entries are too many to be written, and no start leads there: each leader begins
//! a new epoch, whose counter is at its beginning. So all directories begin with a log that has forgotten
//! so many entries of epoch 1, as after a snapshot; and the first server goes on leading that epoch, as if
//! it had never stopped, until it stops for the first time. Everything else is as always.

use bytes::Bytes;
use consensus::{
    CodecError, Consensus, Effects, Index, Input, Now, Pledge, Position, Protocol, Recovered,
    Settings, StartError, Status, Term, View, Wire,
};
use consensus_raft::Raft;
use consensus_zab::{Epoch, Promise, Zab, ZabMessage};
use sim::{Beginning, Profile, Report, SimOptions, run};

/// The last index for which the first epoch has a zxid.
const END: u64 = u32::MAX as u64;

const EPOCH: Epoch = Epoch(1);

/// What the first server begins with, and no other: it has accepted the epoch and is about to join it.
const ABOUT_TO_LEAD: Promise = Promise { accepted: EPOCH, current: Epoch(0) };
const JOINED: Promise = Promise { accepted: EPOCH, current: EPOCH };

/// Zab, whose first server goes on leading.
#[derive(Clone, Debug, PartialEq, Hash)]
struct LateZab {
    core: Zab,
    reign: Reign,
}

#[derive(Clone, Debug, PartialEq, Hash)]
enum Reign {
    /// It is about to lead.
    Begins,
    /// Its promise is being written. Until that is durable it hears nothing, and so says nothing: when
    /// it stops before, it begins anew, and nobody has heard of its first attempt.
    Waits(Vec<Input<ZabMessage>>),
    /// It goes on as any other.
    Begun,
}

impl Consensus for LateZab {
    const PROTOCOL: Protocol = Protocol::Zab;

    type Message = ZabMessage;

    fn start(now: Now, settings: Settings, recovered: Recovered) -> Result<Self, StartError> {
        let begins = recovered.promise == Some(ABOUT_TO_LEAD.to_bytes());
        let reign = if begins { Reign::Begins } else { Reign::Begun };
        Ok(Self { core: Zab::start(now, settings, recovered)?, reign })
    }

    fn step(&mut self, now: Now, input: Input<ZabMessage>, effects: &mut Effects<ZabMessage>) {
        if matches!(self.reign, Reign::Begins) {
            self.core.continue_to_lead(now, EPOCH, Index(0), effects);
            self.reign = Reign::Waits(Vec::new());
        }
        let Reign::Waits(waiting) = &mut self.reign else {
            return self.core.step(now, input, effects);
        };
        match input {
            Input::Flush | Input::Timer(_) => self.core.step(now, input, effects),
            Input::Persisted(_) => {
                let waiting = std::mem::take(waiting);
                self.reign = Reign::Begun;
                for input in std::iter::once(input).chain(waiting) {
                    self.core.step(now, input, effects);
                }
            }
            other => waiting.push(other),
        }
    }

    fn status(&self) -> Status {
        self.core.status()
    }

    fn describe(&self, position: Position) -> String {
        self.core.describe(position)
    }

    fn view(&self) -> View<'_> {
        self.core.view()
    }

    fn pledge(&self, to: consensus::NodeId, message: &ZabMessage) -> Pledge {
        self.core.pledge(to, message)
    }

    fn read_promise(promise: Bytes) -> Result<Pledge, CodecError> {
        Zab::read_promise(promise)
    }
}

/// Options whose history begins so many entries before the end.
fn late(seed: u64, profile: Profile, promises: [Bytes; 2]) -> SimOptions {
    let options = SimOptions::of_seed(seed, 3, profile);
    let position = Position::new(1, END - 10 - seed * 37 % 120);
    let [first, other] = promises;
    let others = std::iter::repeat_n(other, 4);
    let promises = std::iter::once(first).chain(others).collect();
    SimOptions { beginning: Some(Beginning { position, promises }), ..options }
}

/// Whether the first epoch ended with its last zxid, and another one went on behind it.
fn rolled_over(report: &Report) -> bool {
    report.terms.get(&Index(1)) == Some(&EPOCH.term())
        && report.terms.get(&Index(END + 1)).is_some_and(|&epoch| epoch > EPOCH.term())
}

/// Lets so many seeds run with each profile. Returns the reports of those that rolled over.
fn roll_over(seeds: u64) -> Vec<Report> {
    let profiles = Profile::ALL.into_iter().filter(|profile| profile.suits(Protocol::Zab));
    let runs = profiles.flat_map(|profile| (0..seeds).map(move |seed| (seed, profile)));
    let promises = [ABOUT_TO_LEAD, JOINED].map(|promise| promise.to_bytes());
    let reports = runs.map(|(seed, profile)| {
        run::<LateZab>(&late(seed, profile, promises.clone()))
            .unwrap_or_else(|failure| panic!("{failure}"))
    });
    reports.filter(rolled_over).collect()
}

#[test]
fn an_epoch_whose_counter_is_used_up_ends_and_nothing_is_lost() {
    let reports = roll_over(12);
    let sum = |what: fn(&Report) -> u64| reports.iter().map(what).sum::<u64>();
    assert!(reports.len() >= 12, "in {} runs an epoch ended so", reports.len());
    assert!(sum(|report| report.committed.0 - END) > 10_000, "and the next ones went on");
    assert!(sum(|report| report.counters.crashes) > 50, "though servers crashed");
    assert!(sum(|report| report.counters.installed) > 10, "and got snapshots");
}

/// Raft's index has 64 bits, so nothing happens there.
#[test]
fn raft_goes_on_beyond_thirty_two_bits() {
    let promise = consensus_raft::Promise { term: Term(1), vote: None }.to_bytes();
    let runs = (0..).zip(Profile::ALL).map(|(seed, profile)| {
        let options = late(seed, profile, [promise.clone(), promise.clone()]);
        run::<Raft>(&options).unwrap_or_else(|failure| panic!("{failure}"))
    });
    let beyond = runs.filter(|report| report.committed > Index(END + 100)).count();
    assert!(beyond >= 4, "{beyond} runs went on");
}
