//! What a simulation is asked to do, and the surroundings that its seed draws.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::ablation::Ablation;
use crate::costs::ELECTION_TIMEOUT;
use crate::faults::StepNumber;
use crate::latency::{self, Links};
use crate::workload::Workload;
use bytes::Bytes;
use consensus::{Mutant, NodeId, Position, Protocol, Random, mutant};
use kvcore::{IDEMPOTENCY_KEYS_MAX, IDEMPOTENCY_WINDOW_MILLIS, IdempotencyLimits};

/// Which run of which cluster. Equal options give equal runs, to the last byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimOptions {
    /// Decides everything that is not decided below.
    pub seed: u64,
    /// How many voters there are.
    pub nodes: u64,
    /// How many nodes only observe. Their numbers follow those of the voters.
    pub observers: u64,
    /// For how long clients make requests while things break, in virtual time. Then everything is
    /// repaired, and the cluster has to show that it serves again.
    pub duration: Duration,
    /// What breaks.
    pub profile: Profile,
    /// What the nodes are connected by.
    pub links: Links,
    /// How much of a node is the real thing.
    pub depth: Depth,
    /// How many clients make requests, one at a time each.
    pub clients: usize,
    /// How many watchers there are.
    pub watchers: usize,
    /// How long a client thinks between two requests, on the average; `None` is drawn, a few milliseconds.
    pub think: Option<Duration>,
    /// What clients do and what happens to leaders; `None` is drawn, and done by a profile.
    pub workload: Option<Workload>,
    /// What was before the simulation; `None` is nothing.
    pub beginning: Option<Beginning>,
    /// Of what breaks by the profile, only these steps; `None` is all. A failing run is made short so.
    pub only_faults: Option<BTreeSet<StepNumber>>,
    /// What all nodes do without.
    pub ablations: BTreeSet<Ablation>,
    /// A wrong version of the protocol, to show that the checkers notice it.
    pub mutant: Option<Mutant>,
}

/// A history that is older than the simulation. All data directories begin with it: with a log that has
/// forgotten everything up to a position, as after a snapshot, and with an empty store of that position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// The last entry. All have its term.
    pub position: Position,
    /// What each node has promised, the first node first, as the protocol writes it.
    pub promises: Vec<Bytes>,
}

impl SimOptions {
    /// Three nodes, six seconds, everything breaks.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            nodes: 3,
            observers: 0,
            duration: Duration::from_secs(6),
            profile: Profile::Hostile,
            links: Links::Drawn,
            depth: Depth::Protocol,
            clients: 5,
            watchers: 2,
            think: None,
            workload: None,
            beginning: None,
            only_faults: None,
            ablations: BTreeSet::new(),
            mutant: None,
        }
    }

    /// What a seed stands for when nothing else is said: every fourth or so has its store on the simulated
    /// disk, every third one or two observers, and now and then the links are those of a LAN or a WAN. Each
    /// is drawn for itself, so that all of them meet.
    #[must_use]
    pub fn of_seed(seed: u64, nodes: u64, profile: Profile) -> Self {
        let mut random = Random::new(seed ^ 0x0571_0000);
        let depth = if random.one_in(4) { Depth::Whole } else { Depth::Protocol };
        let observers = if random.one_in(3) { 1 + random.below(2) } else { 0 };
        let links = match random.below(12) {
            0 | 1 => Links::Lan,
            2 => Links::Wan,
            _ => Links::Drawn,
        };
        Self { nodes, observers, profile, depth, links, ..Self::new(seed) }
    }

    /// What a seed stands for when nothing at all is said: the profiles take turns, and every third or so
    /// has five voters.
    #[must_use]
    pub fn in_turn(seed: u64) -> Self {
        let profiles = Profile::ALL.len() as u64;
        let profile = Profile::ALL[usize::try_from(seed % profiles).expect("a few")];
        let nodes = if Random::new(seed ^ 0x0572_0000).one_in(3) { 5 } else { 3 };
        Self::of_seed(seed, nodes, profile)
    }

    /// Where the history begins.
    pub(crate) fn begins_after(&self) -> Position {
        self.beginning.as_ref().map_or(Position::ZERO, |beginning| beginning.position)
    }

    /// All nodes, voters first.
    pub(crate) fn members(&self) -> u64 {
        self.nodes + self.observers
    }

    /// How many of what waits are taken at a time, of so many at most.
    pub(crate) fn at_a_time(&self, most: usize) -> usize {
        if self.ablations.contains(&Ablation::Batching) { 1 } else { most }
    }

    /// Any of all nodes.
    pub(crate) fn any_member(&self, random: &mut Random) -> NodeId {
        NodeId(1 + random.below(self.members()))
    }
}

impl SimOptions {
    /// The command that runs it again. What was before the simulation only tests can say.
    #[must_use]
    pub fn command(&self, protocol: Protocol) -> String {
        let depth = self.depth.name();
        let mut words = vec![
            format!("duorum sim --protocol {protocol} --from {} --seeds 1", self.seed),
            match &self.workload {
                Some(workload) => format!("--scenario {}", workload.scenario),
                None => format!("--profile {}", self.profile.name()),
            },
            format!("--depth {depth} --links {}", self.links.name()),
            format!("--nodes {} --observers {}", self.nodes, self.observers),
            format!("--clients {} --watchers {}", self.clients, self.watchers),
            format!("--duration {}us", self.duration.as_micros()),
        ];
        if let Some(think) = self.think {
            words.push(format!("--think {}us", think.as_micros()));
        }
        if !self.ablations.is_empty() {
            let names: Vec<&str> = self.ablations.iter().map(|ablation| ablation.name()).collect();
            words.push(format!("--ablate {}", names.join(",")));
        }
        if let Some(mutant) = self.mutant {
            words.push(format!("--mutant {}", mutant.name()));
        }
        if let Some(faults) = &self.only_faults {
            let numbers: Vec<String> = faults.iter().map(|step| step.0.to_string()).collect();
            let numbers = if numbers.is_empty() { "none".to_owned() } else { numbers.join(",") };
            words.push(format!("--only-faults {numbers}"));
        }
        words.join(" ")
    }
}

/// Which faults a simulation injects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// None.
    Calm,
    /// Nodes are killed or lose their power, alone and all at once, and start again.
    Crashes,
    /// Connections break, directions stall, the network falls apart, processes are stopped.
    Partitions,
    /// Leaders come and go, and hardly ever finish what they began.
    Churn,
    /// Disks are slow, stuck or full, writes and syncs fail, bits flip, and nodes crash meanwhile.
    Disks,
    /// Nodes lose their disks, fewer voters than make a quorum impossible, and crash meanwhile.
    WipedDisks,
    /// All of these but wiped disks, clocks that jump and drift, and late timers.
    Hostile,
    /// As hostile, and the messages of the protocol are datagrams: they are lost, come twice, and overtake
    /// each other. For Raft alone, which needs no order; ZAB is made of connections that keep it.
    Datagrams,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 8] = [
        Self::Calm,
        Self::Crashes,
        Self::Partitions,
        Self::Churn,
        Self::Disks,
        Self::WipedDisks,
        Self::Hostile,
        Self::Datagrams,
    ];

    /// Whether a protocol promises anything under it.
    #[must_use]
    pub fn suits(self, protocol: Protocol) -> bool {
        self != Self::Datagrams || protocol == Protocol::Raft
    }

    /// Its name in flags.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Crashes => "crashes",
            Self::Partitions => "partitions",
            Self::Churn => "churn",
            Self::Disks => "disks",
            Self::WipedDisks => "wiped-disks",
            Self::Hostile => "hostile",
            Self::Datagrams => "datagrams",
        }
    }

    /// The profile of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }
}

/// How much of a simulated node is the real thing. At either depth its log is written to the simulated
/// disk as the server writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// The store is in memory that outlives the node; each write is atomic and durable. Fast.
    Protocol,
    /// The store is redb over the simulated disk, which crashes may interrupt anywhere.
    Whole,
}

impl Depth {
    /// Its name in flags.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::Whole => "whole",
        }
    }
}

/// The surroundings of one run, drawn from its seed: how fast things are and how little fits.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) links: Links,
    pub(crate) link_delay: Span,
    pub(crate) loop_delay: Span,
    pub(crate) sync_delay: Span,
    /// One sync in so many takes up to a hundred times as long.
    pub(crate) long_sync_one_in: u64,
    pub(crate) apply_delay: Span,
    pub(crate) fetch_delay: Span,
    pub(crate) flush_interval: Span,
    pub(crate) store_delay: Span,
    pub(crate) client_delay: Span,
    pub(crate) think: Span,
    pub(crate) redial: Span,
    /// How long the system of a killed process takes to close its connections.
    pub(crate) kill_notice: Span,
    /// Whether the news of a closed connection takes as long as a frame besides.
    pub(crate) closing_travels: bool,
    pub(crate) election_timeout: Duration,
    pub(crate) message_bytes_max: usize,
    pub(crate) memory_log_bytes_max: usize,
    pub(crate) inflight_messages_max: usize,
    pub(crate) unapplied_bytes_max: usize,
    pub(crate) uncommitted_bytes_max: usize,
    pub(crate) requests_max: usize,
    pub(crate) retain_revisions: Option<u64>,
    pub(crate) retain_for: Option<Duration>,
    /// The most bytes of rows. Where there is a most, nobody but the leader compacts, and it would keep far
    /// more revisions than fit.
    pub(crate) quota_bytes: Option<u64>,
    /// Whether alarms are raised by hand, and ended.
    pub(crate) alarms: bool,
    pub(crate) suspect_on_connection_loss: bool,
    pub(crate) value_bytes_max: u64,
    pub(crate) fault_interval: Span,
    /// How many entries the log keeps behind what the store holds; `None` keeps all. The fewest are less
    /// than what peers lag at every hiccup, so that they need one snapshot after another.
    pub(crate) retain_entries: Option<u64>,
    /// How many entries the log keeps at most for peers that were sent a snapshot.
    pub(crate) pressing_entries: u64,
    pub(crate) segment_bytes: u64,
    /// How much is remembered of idempotency keys, as clients are promised.
    pub(crate) idempotency: IdempotencyLimits,
    /// How much more time than it has a lease may have in the log.
    pub(crate) lease_checkpoint_interval: Duration,
    /// How long after a change digests are compared.
    pub(crate) digest_interval: Option<Duration>,
    /// The bytes of rows that a part of a snapshot carries, about.
    pub(crate) part_bytes_max: usize,
    /// How long it takes to read or to write a part of a snapshot.
    pub(crate) part_delay: Span,
}

/// A range of durations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) least: Duration,
    pub(crate) most: Duration,
}

impl Span {
    pub(crate) fn micros(least: u64, most: u64) -> Self {
        Self { least: Duration::from_micros(least), most: Duration::from_micros(most) }
    }

    pub(crate) fn millis(least: u64, most: u64) -> Self {
        Self { least: Duration::from_millis(least), most: Duration::from_millis(most) }
    }

    pub(crate) fn draw(&self, random: &mut Random) -> Duration {
        self.least + random.duration_up_to(self.most.saturating_sub(self.least))
    }
}

impl Surroundings {
    /// What the machine of a node really remembers of idempotency keys; `None` is the model.
    pub(crate) fn remembers(&self, node: Option<NodeId>) -> IdempotencyLimits {
        let IdempotencyLimits { keys_max, window_millis } = self.idempotency;
        let less = mutant::on(Mutant::KeysForgottenEarly)
            || node == Some(NodeId(1)) && mutant::on(Mutant::KeysForgottenUnequally);
        if less {
            IdempotencyLimits { keys_max: keys_max - 1, window_millis: window_millis - 1 }
        } else {
            self.idempotency
        }
    }

    /// Different ones for each seed: most are roomy, some are so narrow that every queue fills.
    pub(crate) fn draw(random: &mut Random) -> Self {
        let mut pick = |choices: &[usize]| {
            let count = choices.len() as u64;
            choices[usize::try_from(random.below(count)).expect("a small number")]
        };
        let link_micros = pick(&[100, 300, 2_000, 10_000]) as u64;
        let sync_micros = pick(&[200, 500, 3_000]) as u64;
        let apply_micros = pick(&[20, 100, 2_000]) as u64;
        let flush_millis = pick(&[5, 40, 300]) as u64;
        Self {
            links: Links::Drawn,
            link_delay: Span::micros(link_micros / 2, link_micros * 2),
            loop_delay: Span::micros(2, 50),
            sync_delay: Span::micros(sync_micros / 2, sync_micros * 2),
            long_sync_one_in: pick(&[50, 1_000, 1_000_000]) as u64,
            apply_delay: Span::micros(apply_micros / 4, apply_micros * 2),
            fetch_delay: Span::micros(50, 3_000),
            flush_interval: Span::millis(1, flush_millis),
            store_delay: Span::micros(200, 20_000),
            client_delay: Span::micros(50, 1_000),
            think: Span::micros(0, pick(&[500, 5_000, 30_000]) as u64),
            redial: Span::millis(1, pick(&[10, 100, 400]) as u64),
            kill_notice: Span::millis(0, 5),
            closing_travels: false,
            election_timeout: Duration::from_millis(pick(&[150, 300, 300, 600]) as u64),
            message_bytes_max: pick(&[200, 4 << 10, 1 << 20]),
            memory_log_bytes_max: pick(&[0, 2 << 10, 16 << 10, 16 << 20]),
            inflight_messages_max: pick(&[1, 4, 256]),
            unapplied_bytes_max: pick(&[1, 2 << 10, 16 << 20]),
            uncommitted_bytes_max: pick(&[1 << 10, 32 << 20, 32 << 20]),
            requests_max: pick(&[2, 1_000, 1_000]),
            retain_revisions: [None, Some(20), Some(200)][pick(&[0, 1, 2])],
            retain_for: [None, Some(300), Some(2_000)][pick(&[0, 0, 1, 2])]
                .map(Duration::from_millis),
            quota_bytes: None,
            alarms: false,
            suspect_on_connection_loss: pick(&[0, 1]) == 1,
            value_bytes_max: pick(&[20, 300, 3_000]) as u64,
            fault_interval: Span::millis(20, pick(&[300, 800, 1_500]) as u64),
            retain_entries: [Some(3), Some(30), Some(300), None][pick(&[0, 0, 1, 1, 2, 3])],
            pressing_entries: pick(&[1_000, 10_000]) as u64,
            segment_bytes: pick(&[8 << 10, 64 << 10]) as u64,
            idempotency: IdempotencyLimits {
                keys_max: pick(&[3, 12, 60, IDEMPOTENCY_KEYS_MAX]),
                window_millis: [100, 600, 3_000, IDEMPOTENCY_WINDOW_MILLIS][pick(&[0, 1, 2, 3, 3])],
            },
            lease_checkpoint_interval: Duration::from_millis(pick(&[50, 200, 600]) as u64),
            digest_interval: Some(Duration::from_millis(pick(&[20, 200, 1_000]) as u64)),
            part_bytes_max: pick(&[600, 4 << 10]),
            part_delay: Span::micros(20, pick(&[300, 3_000, 15_000]) as u64),
        }
    }

    /// The same, sometimes with a store that has room for a dozen rows, and as many leases and counters.
    pub(crate) fn with_quota(self, random: &mut Random) -> Self {
        if !random.one_in(6) {
            return self;
        }
        let quota_bytes = Some(12 * (self.value_bytes_max + 200));
        Self { quota_bytes, retain_revisions: Some(200), retain_for: None, ..self }
    }

    /// The same with clients that think for so long.
    pub(crate) fn with_think(self, think: Option<Duration>) -> Self {
        let think = think.map(|think| Span { least: Duration::ZERO, most: think * 2 });
        Self { think: think.unwrap_or(self.think), ..self }
    }

    /// The same for a profile: where reigns are cut short, entries mostly travel alone, so that a reign may
    /// end between any two of them.
    pub(crate) fn with_profile(self, profile: Profile, random: &mut Random) -> Self {
        if profile == Profile::Churn && !random.one_in(3) {
            return Self { message_bytes_max: 200, ..self };
        }
        self
    }

    /// The same with other links, and with timeouts that suit them.
    pub(crate) fn with_links(self, links: Links, random: &mut Random) -> Self {
        match links {
            Links::Drawn => self,
            Links::Lan => Self { links, link_delay: Span::micros(80, 160), ..self },
            Links::Wan => Self {
                links,
                link_delay: Span::millis(10, 160),
                redial: Span::millis(20, 400),
                election_timeout: Duration::from_millis(1_500 + 500 * random.below(4)),
                ..self
            },
        }
    }

    /// How long a frame takes.
    pub(crate) fn frame_delay(&self, from: NodeId, to: NodeId, random: &mut Random) -> Duration {
        latency::delay(self.links, self.link_delay, from, to, random)
    }

    /// The surroundings of measurements: a fast network and disk, and room enough.
    pub(crate) fn for_measurements() -> Self {
        Self {
            links: Links::Drawn,
            link_delay: Span::micros(80, 120),
            loop_delay: Span::micros(5, 15),
            sync_delay: Span::micros(200, 400),
            long_sync_one_in: u64::MAX,
            apply_delay: Span::micros(5, 20),
            fetch_delay: Span::micros(100, 200),
            flush_interval: Span::millis(20, 50),
            store_delay: Span::millis(5, 20),
            client_delay: Span::micros(50, 100),
            think: Span::micros(0, 0),
            redial: Span::millis(5, 20),
            kill_notice: Span::millis(0, 5),
            closing_travels: false,
            election_timeout: Duration::from_millis(300),
            message_bytes_max: 1 << 20,
            memory_log_bytes_max: 16 << 20,
            inflight_messages_max: 256,
            unapplied_bytes_max: 16 << 20,
            uncommitted_bytes_max: 32 << 20,
            requests_max: 10_000,
            retain_revisions: None,
            retain_for: None,
            quota_bytes: None,
            alarms: false,
            suspect_on_connection_loss: true,
            value_bytes_max: 256,
            fault_interval: Span::millis(1_000, 1_000),
            retain_entries: None,
            pressing_entries: u64::MAX,
            segment_bytes: 64 << 10,
            idempotency: IdempotencyLimits::default(),
            lease_checkpoint_interval: Duration::from_secs(5),
            digest_interval: None,
            part_bytes_max: 256 << 10,
            part_delay: Span::micros(500, 1_000),
        }
    }

    /// The surroundings of a workload: those of measurements, with clients that think as long as they are told to.
    pub(crate) fn for_workload(links: Links, think: Option<Duration>, value_bytes: usize) -> Self {
        let measured = Self { think: Span::micros(0, 0), ..Self::for_failovers(links) };
        Self { value_bytes_max: value_bytes as u64, ..measured.with_think(think) }
    }

    /// The surroundings in which costs are counted: only links and syncs take time, and always as long.
    pub(crate) fn for_costs(link: Duration, sync: Duration) -> Self {
        let always = |time| Span { least: time, most: time };
        let nothing = always(Duration::ZERO);
        Self {
            link_delay: always(link),
            loop_delay: nothing,
            sync_delay: always(sync),
            apply_delay: nothing,
            fetch_delay: nothing,
            flush_interval: always(Duration::from_secs(1)),
            store_delay: nothing,
            client_delay: nothing,
            // Nobody dials a node in vain more often than needed.
            redial: always(Duration::from_secs(1)),
            kill_notice: nothing,
            closing_travels: true,
            election_timeout: ELECTION_TIMEOUT,
            ..Self::for_measurements()
        }
    }

    /// The surroundings in which the deaths of leaders are measured.
    pub(crate) fn for_failovers(links: Links) -> Self {
        // Few writes, so that there are many elections.
        let think = Span::millis(2, 20);
        let measured = Self { closing_travels: true, think, ..Self::for_measurements() };
        match links {
            Links::Drawn => measured,
            Links::Lan => Self { links, kill_notice: Span::micros(0, 200), ..measured },
            Links::Wan => Self {
                links,
                kill_notice: Span::micros(0, 200),
                election_timeout: Duration::from_secs(1),
                redial: Span::millis(50, 200),
                ..measured
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Nothing of what a seed stands for is tied to anything else of it.
    #[test]
    fn everything_that_a_seed_stands_for_meets_everything_else() {
        let seeds: Vec<SimOptions> = (0..40_000).map(SimOptions::in_turn).collect();
        for protocol in [Protocol::Raft, Protocol::Zab] {
            let suited: Vec<_> =
                seeds.iter().filter(|options| options.profile.suits(protocol)).collect();
            let whole = suited.iter().filter(|options| options.depth == Depth::Whole).count();
            assert!(whole * 5 >= suited.len(), "{protocol}: {whole} of {} are whole", suited.len());
            let met = suited.iter().map(|options| {
                let observed = options.observers > 0;
                (
                    options.profile.name(),
                    options.depth.name(),
                    options.links.name(),
                    options.nodes,
                    observed,
                )
            });
            let met: BTreeSet<_> = met.collect();
            let profiles = Profile::ALL.iter().filter(|profile| profile.suits(protocol)).count();
            assert_eq!(met.len(), profiles * 2 * 3 * 2 * 2, "{protocol}");
        }
    }
}
