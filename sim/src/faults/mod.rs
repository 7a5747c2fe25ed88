//! What breaks. The seed draws all of it before anything happens, as a script of steps; a run carries
//! them out, and may leave any of them out, which is how a failing run is made short.

mod disks;
mod draw;
mod inject;
mod links;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use consensus::{NodeId, Time};

pub(crate) use draw::draw;
pub(crate) use inject::Scene;

/// The number of a step in the script that its seed draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepNumber(pub u32);

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Crash {
    /// It is killed; the system keeps what it wrote and closes its connections.
    Kill,
    /// The machine loses its power: what was not synced is lost or torn, and nobody is told.
    PowerCut,
}

/// Whom a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    Node(NodeId),
    /// Whoever leads when it comes; this node if nobody does.
    Leader(NodeId),
    /// Whose change of role, or whose install, it comes with; of a snapshot the sender.
    There,
    /// The receiver of the snapshot that it comes with.
    Receiver,
}

/// One thing that breaks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// The process ends, and starts again after a while.
    Crash { who: Who, how: Crash, down: Duration },
    /// The disk is replaced by an empty one while the process is down.
    Wipe { node: NodeId, directory: u64, down: Duration },
    /// One side of the network can not connect with the other. The connections that there are break, or
    /// stall; that side notices the breaks soon, or late.
    Partition { side: Vec<Who>, lasts: Duration, breaks: bool, late: bool },
    /// The connection of two nodes breaks.
    Disconnect { a: NodeId, b: NodeId },
    /// All connections of a node break.
    CutOff { who: Who },
    /// Nothing arrives in one direction for a while.
    Stall { from: NodeId, to: Who, lasts: Duration },
    /// Two nodes can not connect with each other, and may both be connected with all others.
    Sever { a: NodeId, b: NodeId, lasts: Duration },
    /// For a while nothing arrives from a node, or nothing arrives at it.
    Isolate { who: Who, hears: bool, lasts: Duration },
    /// Everything takes longer in one direction for a while.
    SlowLink { from: NodeId, to: NodeId, by: Duration, lasts: Duration },
    /// The process is stopped for a while.
    Pause { who: Who, lasts: Duration },
    /// Syncs take so many times as long for a while.
    SlowDisk { node: NodeId, times: u32, lasts: Duration },
    /// The next sync fails.
    FailSync { node: NodeId },
    /// The next write fails, half done.
    FailWrite { node: NodeId },
    /// There is no room on the disk for a while.
    FullDisk { node: NodeId, lasts: Duration },
    /// The disk does nothing for a while.
    StuckDisk { node: NodeId, lasts: Duration },
    /// A bit of the log flips while the process is down. Whoever looks after the node finds that it does
    /// not start, and has a disk that is well.
    FlipBit { node: NodeId, place: u64, down: Duration },
    /// The wall clock is off by so much from now on.
    JumpClock { node: NodeId, millis: i64 },
    /// The clock goes fast or slow by so many millionths from now on.
    DriftClock { node: NodeId, millionths: i64 },
    /// Timers fire up to so much too late from now on.
    LateTimers { node: NodeId, up_to: Duration },
    /// Somebody is asked to have another node lead.
    Transfer { asked: Who, to: Option<NodeId> },
    /// The connection of the snapshot that it comes with breaks.
    BreakSnapshot,
}

/// When a step comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum When {
    /// At a time.
    At(Time),
    /// So long after something happened for the so manieth time.
    After(Occasion, u64, Duration),
}

/// What happens to nodes, and is a bad moment for anything to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Occasion {
    /// A node's role changes.
    RoleChange,
    /// A node begins to lead, or goes on to the next phase of it.
    Leads,
    /// A node is about to make a snapshot its state.
    Install,
    /// A snapshot begins to be sent.
    Snapshot,
}

/// One step of a script.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    pub(crate) number: StepNumber,
    pub(crate) when: When,
    pub(crate) fault: Fault,
}

impl Step {
    /// Its number in the script that the seed draws.
    #[must_use]
    pub fn number(&self) -> StepNumber {
        self.number
    }
}

/// Everything that breaks in a run.
#[derive(Debug, Default)]
pub(crate) struct Script {
    steps: BTreeMap<When, Vec<Step>>,
    occasions: BTreeMap<Occasion, u64>,
    /// The numbers of those that came, in their order.
    pub(crate) came: Vec<Step>,
}

impl Script {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let mut script = Self::default();
        for step in steps {
            let when = match step.when {
                When::After(occasion, count, _) => When::After(occasion, count, Duration::ZERO),
                at @ When::At(_) => at,
            };
            script.steps.entry(when).or_default().push(step);
        }
        script
    }

    /// When steps come whatever happens.
    pub(crate) fn times(&self) -> Vec<Time> {
        let times = self.steps.keys().filter_map(|when| match when {
            When::At(time) => Some(*time),
            When::After(..) => None,
        });
        times.collect()
    }

    /// The steps of a time.
    pub(crate) fn at(&mut self, time: Time) -> Vec<Step> {
        self.steps.remove(&When::At(time)).unwrap_or_default()
    }

    /// Something happened once more: the steps that come with it, and how long after it.
    pub(crate) fn occurred(&mut self, occasion: Occasion) -> Vec<(Duration, Step)> {
        let count = self.occasions.entry(occasion).or_default();
        *count += 1;
        let steps = self.steps.remove(&When::After(occasion, *count, Duration::ZERO));
        let delayed = |step: Step| match step.when {
            When::After(_, _, delay) => (delay, step),
            When::At(_) => unreachable!("it is filed under an occasion"),
        };
        steps.unwrap_or_default().into_iter().map(delayed).collect()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>3}  {}: {}", self.number.0, self.when, self.fault)
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(time) => write!(f, "at {time}"),
            Self::After(occasion, count, delay) => {
                let what = match occasion {
                    Occasion::RoleChange => "change of a role",
                    Occasion::Leads => "beginning of a reign",
                    Occasion::Install => "install of a snapshot",
                    Occasion::Snapshot => "snapshot",
                };
                write!(f, "{delay:?} after {what} {count}")
            }
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => node.fmt(f),
            Self::Leader(_) => f.write_str("leader"),
            Self::There => f.write_str("that node"),
            Self::Receiver => f.write_str("its receiver"),
        }
    }
}

/// The words are those of `POST /v1/faults`, and of scripts; what neither has has words of its own.
/// With `from` and `to` nothing arrives and nobody is told; with `vs` connections break.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash { who, how: Crash::Kill, down } => write!(f, "crash {who} for={down:?}"),
            Self::Crash { who, how: Crash::PowerCut, down } => {
                write!(f, "crash {who} power-cut for={down:?}")
            }
            Self::Wipe { node, down, .. } => write!(f, "wipe {node} for={down:?}"),
            Self::Partition { side, lasts, breaks, late } => {
                let side: Vec<String> = side.iter().map(Who::to_string).collect();
                if *breaks {
                    let noticed = if *late { " noticed=late" } else { "" };
                    write!(f, "partition {} vs others{noticed} for={lasts:?}", side.join(" "))
                } else {
                    write!(f, "partition from={} both=true for={lasts:?}", side.join(","))
                }
            }
            Self::Disconnect { a, b } => write!(f, "drop from={a} to={b}"),
            Self::CutOff { who } => write!(f, "drop from={who}"),
            Self::Stall { from, to, lasts } => {
                write!(f, "partition from={from} to={to} for={lasts:?}")
            }
            Self::Sever { a, b, lasts } => write!(f, "partition {a} vs {b} for={lasts:?}"),
            Self::Isolate { who, hears: true, lasts } => {
                write!(f, "partition from={who} for={lasts:?}")
            }
            Self::Isolate { who, hears: false, lasts } => {
                write!(f, "partition to={who} for={lasts:?}")
            }
            Self::SlowLink { from, to, by, lasts } => {
                let (ms, micros) = (by.as_millis(), by.subsec_micros() % 1_000);
                write!(f, "delay from={from} to={to} ms={ms}.{micros:03} for={lasts:?}")
            }
            Self::Pause { who, lasts } => write!(f, "pause {who} for={lasts:?}"),
            Self::SlowDisk { node, times, lasts } => {
                write!(f, "slow-disk {node} times={times} for={lasts:?}")
            }
            Self::FailSync { node } => write!(f, "fail-disk {node}"),
            Self::FailWrite { node } => write!(f, "fail-write {node}"),
            Self::FullDisk { node, lasts } => write!(f, "full-disk {node} for={lasts:?}"),
            Self::StuckDisk { node, lasts } => write!(f, "stuck-disk {node} for={lasts:?}"),
            Self::FlipBit { node, place, down } => {
                write!(f, "flip-bit {node} place={place} for={down:?}")
            }
            Self::DriftClock { node, millionths } => {
                write!(f, "clock-drift {node} millionths={millionths}")
            }
            Self::JumpClock { node, millis } => write!(f, "clock-skew {node} ms={millis}"),
            Self::LateTimers { node, up_to } => write!(f, "late-timers {node} up-to={up_to:?}"),
            Self::Transfer { asked, to: Some(to) } => write!(f, "transfer {asked} to={to}"),
            Self::Transfer { asked, to: None } => write!(f, "transfer {asked}"),
            Self::BreakSnapshot => f.write_str("drop the snapshot"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_the_names_that_they_have_in_calls_and_scripts() {
        let [n1, n2] = [NodeId(1), NodeId(2)];
        let (one, leader) = (Who::Node(n1), Who::Leader(n2));
        let lasts = Duration::from_millis(300);
        let partition = |side: &[Who], breaks, late| {
            Fault::Partition { side: side.to_vec(), lasts, breaks, late }.to_string()
        };
        assert_eq!(
            partition(&[one, leader], true, false),
            "partition n1 leader vs others for=300ms"
        );
        assert_eq!(partition(&[one], true, true), "partition n1 vs others noticed=late for=300ms");
        assert_eq!(
            partition(&[one, leader], false, true),
            "partition from=n1,leader both=true for=300ms"
        );
        let crash = |how| Fault::Crash { who: leader, how, down: lasts }.to_string();
        assert_eq!(crash(Crash::Kill), "crash leader for=300ms");
        assert_eq!(crash(Crash::PowerCut), "crash leader power-cut for=300ms");
        let isolate = |hears| Fault::Isolate { who: one, hears, lasts }.to_string();
        assert_eq!(isolate(true), "partition from=n1 for=300ms", "it hears the others alone");
        assert_eq!(isolate(false), "partition to=n1 for=300ms");
        let by = Duration::from_micros(40_005);
        for (fault, words) in [
            (Fault::Stall { from: n2, to: one, lasts }, "partition from=n2 to=n1 for=300ms"),
            (Fault::Sever { a: n1, b: n2, lasts }, "partition n1 vs n2 for=300ms"),
            (
                Fault::SlowLink { from: n1, to: n2, by, lasts },
                "delay from=n1 to=n2 ms=40.005 for=300ms",
            ),
            (Fault::Disconnect { a: n1, b: n2 }, "drop from=n1 to=n2"),
            (Fault::CutOff { who: one }, "drop from=n1"),
            (Fault::Pause { who: one, lasts }, "pause n1 for=300ms"),
            (Fault::SlowDisk { node: n1, times: 20, lasts }, "slow-disk n1 times=20 for=300ms"),
            (Fault::FailSync { node: n1 }, "fail-disk n1"),
            (Fault::JumpClock { node: n1, millis: -50 }, "clock-skew n1 ms=-50"),
        ] {
            assert_eq!(fault.to_string(), words);
        }
    }
}
