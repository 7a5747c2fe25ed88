//! The script that a seed draws.

use std::time::Duration;

use consensus::{NodeId, Random, Time};

use super::{Crash, Fault, Occasion, Step, StepNumber, When, Who};
use crate::options::{Profile, SimOptions, Span, Surroundings};

/// Occasions of each kind that a script looks ahead to.
const OCCASIONS_MAX: u64 = 500;

/// A kind of fault, before it is drawn whom it strikes and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    CrashOne,
    CrashLeader,
    CrashAll,
    Partition,
    IsolateLeader,
    Disconnect,
    Flap,
    Sever,
    Isolate,
    SlowLink,
    Stall,
    Pause,
    PauseLeader,
    SlowDisk,
    FailSync,
    FailWrite,
    FullDisk,
    StuckDisk,
    FlipBit,
    JumpClock,
    DriftClock,
    LateTimers,
    Transfer,
    Wipe,
}

impl Profile {
    fn kinds(self) -> &'static [Kind] {
        use Kind::*;
        match self {
            Self::Calm => &[],
            Self::Crashes => {
                &[CrashOne, CrashOne, CrashLeader, CrashLeader, CrashAll, Transfer, Transfer]
            }
            Self::Partitions => &[
                Partition,
                IsolateLeader,
                Disconnect,
                Flap,
                Sever,
                Isolate,
                SlowLink,
                Stall,
                Pause,
                PauseLeader,
                Transfer,
                Transfer,
            ],
            Self::Churn => {
                &[CrashOne, CrashLeader, Partition, IsolateLeader, Sever, Stall, Transfer]
            }
            Self::Disks => &[
                SlowDisk, SlowDisk, SlowDisk, FailSync, FailWrite, FullDisk, StuckDisk, FlipBit,
                CrashOne, CrashAll, Transfer,
            ],
            Self::WipedDisks => {
                &[Wipe, CrashOne, CrashLeader, CrashAll, IsolateLeader, Partition, Stall, Transfer]
            }
            Self::Hostile | Self::Datagrams => &[
                CrashOne,
                CrashLeader,
                CrashAll,
                Partition,
                IsolateLeader,
                Disconnect,
                Flap,
                Sever,
                Isolate,
                SlowLink,
                Stall,
                Pause,
                PauseLeader,
                SlowDisk,
                FailSync,
                FailWrite,
                FullDisk,
                StuckDisk,
                FlipBit,
                JumpClock,
                DriftClock,
                LateTimers,
                Transfer,
                Transfer,
            ],
        }
    }

    fn has(self, kind: Kind) -> bool {
        self.kinds().contains(&kind)
    }
}

/// Draws everything that breaks in a run with these options.
pub(crate) fn draw(options: &SimOptions, surroundings: &Surroundings) -> Vec<Step> {
    let random = Random::new(options.seed ^ 0xFA17_0000);
    let mut drawing = Drawing { options, surroundings, random, steps: Vec::new() };
    if options.profile == Profile::Calm {
        return Vec::new();
    }
    drawing.timed();
    drawing.with_role_changes();
    drawing.with_leaders();
    drawing.with_installs();
    drawing.with_snapshots();
    drawing.steps
}

struct Drawing<'a> {
    options: &'a SimOptions,
    surroundings: &'a Surroundings,
    random: Random,
    steps: Vec<Step>,
}

impl Drawing<'_> {
    fn add(&mut self, when: When, fault: Fault) {
        let number = StepNumber(u32::try_from(self.steps.len() + 1).expect("some thousands"));
        self.steps.push(Step { number, when, fault });
    }

    fn span(&mut self, least_millis: u64, most_millis: u64) -> Duration {
        Span::millis(least_millis, most_millis).draw(&mut self.random)
    }

    fn any(&mut self) -> NodeId {
        self.options.any_member(&mut self.random)
    }

    fn crash(&mut self, who: Who) -> Fault {
        let how = if self.random.one_in(2) { Crash::Kill } else { Crash::PowerCut };
        Fault::Crash { who, how, down: self.span(1, 1_200) }
    }

    /// What comes whatever happens, one thing after the other until the clients' time is over.
    fn timed(&mut self) {
        let kinds = self.options.profile.kinds();
        let mut time = Time(0);
        loop {
            time = time + self.surroundings.fault_interval.draw(&mut self.random);
            if time >= Time(0) + self.options.duration {
                return;
            }
            let choice = self.random.below(kinds.len() as u64);
            let kind = kinds[usize::try_from(choice).expect("a few")];
            for (later, fault) in self.faults(kind) {
                self.add(When::At(time + later), fault);
            }
        }
    }

    /// What a kind comes to, and how much later.
    fn faults(&mut self, kind: Kind) -> Vec<(Duration, Fault)> {
        let any = self.any();
        match kind {
            Kind::CrashAll => {
                let members = (1..=self.options.members()).map(NodeId);
                members.map(|node| (Duration::ZERO, self.crash(Who::Node(node)))).collect()
            }
            Kind::Flap => {
                let (b, every) = (self.any(), self.span(5, 250));
                let times = 2 + u32::try_from(self.random.below(12)).expect("a few");
                (0..times).map(|time| (every * time, Fault::Disconnect { a: any, b })).collect()
            }
            one => vec![(Duration::ZERO, self.fault(one, any))],
        }
    }

    fn fault(&mut self, kind: Kind, any: NodeId) -> Fault {
        let leader = Who::Leader(any);
        match kind {
            Kind::CrashOne => self.crash(Who::Node(any)),
            Kind::CrashLeader => self.crash(leader),
            Kind::Wipe => Fault::Wipe {
                node: any,
                directory: self.random.next_u64(),
                down: self.span(1, 300),
            },
            Kind::Partition => {
                // The one that was drawn, and any of the others; if that is all, it alone.
                let members = (1..=self.options.members()).map(NodeId);
                let side: Vec<Who> = members
                    .filter(|&id| id == any || self.random.one_in(2))
                    .map(Who::Node)
                    .collect();
                let is_all = side.len() as u64 == self.options.members();
                self.partition(if is_all { vec![Who::Node(any)] } else { side })
            }
            Kind::IsolateLeader => self.partition(vec![leader]),
            Kind::Sever => Fault::Sever { a: any, b: self.any(), lasts: self.span(50, 3_000) },
            Kind::Isolate => Fault::Isolate {
                who: if self.random.one_in(2) { leader } else { Who::Node(any) },
                hears: self.random.one_in(2),
                lasts: self.span(50, 2_000),
            },
            Kind::SlowLink => Fault::SlowLink {
                from: any,
                to: self.any(),
                by: self.span(1, 400),
                lasts: self.span(50, 3_000),
            },
            Kind::Disconnect => Fault::Disconnect { a: any, b: self.any() },
            Kind::CrashAll | Kind::Flap => unreachable!("{kind:?} is several faults"),
            Kind::Stall => {
                // Some stalls outlive several reigns, so that what was said in one comes in another.
                let most = if self.random.one_in(4) { 5_000 } else { 1_500 };
                Fault::Stall { from: any, to: Who::Node(self.any()), lasts: self.span(50, most) }
            }
            Kind::Pause => Fault::Pause { who: Who::Node(any), lasts: self.span(20, 2_500) },
            Kind::PauseLeader => Fault::Pause { who: leader, lasts: self.span(20, 2_500) },
            Kind::SlowDisk => Fault::SlowDisk {
                node: any,
                times: 1 + u32::try_from(self.random.below(300)).expect("small"),
                lasts: self.span(100, 2_000),
            },
            Kind::FailSync => Fault::FailSync { node: any },
            Kind::FailWrite => Fault::FailWrite { node: any },
            Kind::FullDisk => Fault::FullDisk { node: any, lasts: self.span(50, 2_000) },
            Kind::StuckDisk => Fault::StuckDisk { node: any, lasts: self.span(100, 4_000) },
            Kind::FlipBit => Fault::FlipBit {
                node: any,
                place: self.random.next_u64(),
                down: self.span(1, 1_200),
            },
            Kind::DriftClock => {
                let most =
                    [500, 10_000, 200_000][usize::try_from(self.random.below(3)).expect("3")];
                let millionths = i64::try_from(self.random.below(2 * most)).expect("small");
                let most = i64::try_from(most).expect("small");
                Fault::DriftClock { node: any, millionths: millionths - most }
            }
            Kind::JumpClock => {
                let millis = i64::try_from(self.random.below(20_000)).expect("small");
                Fault::JumpClock { node: any, millis: millis - 10_000 }
            }
            Kind::LateTimers => Fault::LateTimers { node: any, up_to: self.span(0, 400) },
            Kind::Transfer => {
                let to = self.any();
                let to = (!self.random.one_in(3)).then_some(to);
                let asked = if self.random.one_in(3) { Who::Node(any) } else { leader };
                Fault::Transfer { asked, to }
            }
        }
    }

    fn partition(&mut self, side: Vec<Who>) -> Fault {
        let (breaks, late) = (self.random.one_in(2), self.random.one_in(2));
        Fault::Partition { side, lasts: self.span(50, 2_000), breaks, late }
    }

    /// A node's role changes, which is when faults hurt most: now and then one comes just then.
    fn with_role_changes(&mut self) {
        let crashes = self.options.profile.has(Kind::CrashOne);
        let cuts = self.options.profile.has(Kind::Disconnect);
        for count in 1..=OCCASIONS_MAX {
            if !self.random.one_in(16) {
                continue;
            }
            let delay = self.surroundings.link_delay.draw(&mut self.random);
            let delay = self.random.duration_up_to(delay * 4);
            let fault = if crashes && (!cuts || self.random.one_in(2)) {
                self.crash(Who::There)
            } else {
                Fault::CutOff { who: Who::There }
            };
            self.add(When::After(Occasion::RoleChange, count, delay), fault);
        }
    }

    /// A node begins to lead: with every other one something comes soon, so that logs branch, and reigns
    /// overlap with what is left of earlier ones.
    fn with_leaders(&mut self) {
        if self.options.profile != Profile::Churn {
            return;
        }
        for count in 1..=OCCASIONS_MAX {
            let most = [5, 50, 400][usize::try_from(self.random.below(3)).expect("three")];
            let delay = self.span(0, most);
            let who = Who::There;
            let fault = match self.random.below(13) {
                0 | 1 => Fault::Crash { who, how: Crash::Kill, down: self.span(1, 200) },
                2 => Fault::Crash { who, how: Crash::PowerCut, down: self.span(1, 200) },
                3 | 4 => {
                    let mut side = vec![who];
                    if self.options.nodes > 3 {
                        side.push(Who::Node(self.any()));
                    }
                    self.partition(side)
                }
                5 => {
                    let hears = self.random.one_in(2);
                    Fault::Isolate { who, hears, lasts: self.span(50, 3_000) }
                }
                6 => Fault::CutOff { who },
                7 => {
                    // It hears of one node late, and in a reign of its own that it may have later.
                    let from = self.any();
                    Fault::Stall { from, to: who, lasts: self.span(500, 5_000) }
                }
                8 => {
                    // It stands still, and nothing tells it that the others went on without it.
                    let lasts = self.span(500, 3_000);
                    self.add(
                        When::After(Occasion::Leads, count, delay),
                        Fault::Partition { side: vec![who], lasts, breaks: true, late: true },
                    );
                    Fault::Pause { who, lasts: lasts.mul_f64(0.7) }
                }
                9..=11 => {
                    // The same, and what the others said while they followed it reaches it only when it
                    // has gone on for a while.
                    let lasts = self.span(700, 2_000);
                    self.add(
                        When::After(Occasion::Leads, count, delay),
                        Fault::Isolate { who, hears: false, lasts },
                    );
                    let (first, last) = (self.span(50, 300), self.span(5, 150));
                    let lasts = lasts - first - last;
                    self.add(
                        When::After(Occasion::Leads, count, delay + first),
                        Fault::Pause { who, lasts },
                    );
                    continue;
                }
                _ => continue,
            };
            self.add(When::After(Occasion::Leads, count, delay), fault);
        }
    }

    /// An install is about to become durable: now and then the node stops before the machine has it.
    fn with_installs(&mut self) {
        if !self.options.profile.has(Kind::CrashOne) {
            return;
        }
        for count in 1..=OCCASIONS_MAX {
            if !self.random.one_in(6) {
                continue;
            }
            let delay = self.surroundings.sync_delay.most + self.surroundings.apply_delay.most;
            let delay = self.random.duration_up_to(delay);
            let fault = self.crash(Who::There);
            self.add(When::After(Occasion::Install, count, delay), fault);
        }
    }

    /// A snapshot begins, which is when faults hurt: now and then one comes while it is under way.
    fn with_snapshots(&mut self) {
        let has = |kind| self.options.profile.has(kind);
        let (crashes, cuts) = (has(Kind::CrashOne), has(Kind::Disconnect));
        let transfers = has(Kind::Transfer);
        for count in 1..=OCCASIONS_MAX {
            let delay = self.random.duration_up_to(self.surroundings.part_delay.most * 16);
            let fault = match self.random.below(10) {
                0 if crashes => self.crash(Who::There),
                1 if crashes => self.crash(Who::Receiver),
                2 if cuts => Fault::CutOff { who: Who::Receiver },
                3 | 4 if cuts => Fault::BreakSnapshot,
                5 | 6 if transfers => Fault::Transfer { asked: Who::There, to: None },
                _ => continue,
            };
            self.add(When::After(Occasion::Snapshot, count, delay), fault);
        }
    }
}
