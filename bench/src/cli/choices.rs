//! What a comparison can be asked for: by flags, and by a scenario for what they leave open.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::fault::fault_parser;
use crate::Error;
use crate::cluster::Fault;
use crate::compare::{Contender, MixedLoad, Part, Placement, Settings};
use crate::load::{KeyDistribution, Mix};
use crate::scenario::{FaultKind, MIX_DEFAULT, Scenario};

/// The flags that a scenario can take the place of.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ChoiceArgs {
    /// Two short blocks: enough to see that everything works, too few to name a winner
    #[arg(long)]
    pub(super) quick: bool,

    /// The first contender: raft or zab, with flags of `duorum serve` behind it [default: raft]
    #[arg(long, value_name = "CONTENDER")]
    a: Option<String>,

    /// The second one, as `zab`, or `"raft --finalize-wait 0ms"`; the same as the first to see what the method
    /// makes of no difference [default: zab]
    #[arg(long, value_name = "CONTENDER")]
    b: Option<String>,

    /// Measure only this, in more blocks, within a minute; may be given more than once
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<PartName>,

    /// What happens to the leaders where failover is measured, one after another [default: kill]
    #[arg(long, value_parser = fault_parser(), value_delimiter = ',', value_name = "FAULT")]
    faults: Vec<Fault>,

    /// Nodes of each cluster [default: 3]
    #[arg(long, env = "DUORUM_NODES")]
    nodes: Option<usize>,

    /// Clients, each a connection with one request under way [default: 64]
    #[arg(long, env = "DUORUM_CONNECTIONS")]
    connections: Option<usize>,

    /// Which nodes the clients ask [default: spread]
    #[arg(long, value_enum)]
    placement: Option<PlacementName>,

    /// The size of a value in bytes [default: 256]
    #[arg(long, alias = "value-size", env = "DUORUM_VALUE_BYTES")]
    value_bytes: Option<usize>,

    /// How many keys there are [default: 10000]
    #[arg(long, env = "DUORUM_KEYS")]
    keys: Option<u64>,

    /// Which keys are chosen [default: uniform]
    #[arg(long, value_enum)]
    key_distribution: Option<Keys>,

    /// Writes a second that are due whether or not earlier ones are answered, those that time a failover included, and
    /// so operations of a mixed load; latencies count from when each was due. Without it each client asks again as
    /// soon as it has its answer, and a failover is timed by 500 writes a second
    #[arg(long, env = "DUORUM_RATE", value_name = "REQUESTS")]
    rate: Option<f64>,

    /// Measure a mixed load: how many parts of the operations are writes, reads of one key and reads of a hundred
    /// keys, and how many streams watch all that is written. Without --only nothing else is measured
    #[arg(long, value_name = "PUT:GET:RANGE[:WATCH]", value_parser = parse_mixed)]
    mix: Option<MixedLoad>,

    /// With --only watch, how many watchers are told of each put [default: 200]
    #[arg(long)]
    watchers: Option<usize>,

    /// How long each measured phase is, and each step of a curve; the whole then takes as long as that takes
    #[arg(long, env = "DUORUM_DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,

    /// Blocks of four runs, however long they take. Without it 6 or as many as fit into three minutes, with --only 12 or
    /// as many as fit into one, 2 with --quick, and 6 of curves and of other faults than kill
    #[arg(long, env = "DUORUM_BLOCKS")]
    pub(super) blocks: Option<usize>,

    /// Where coins, keys, values and moments of faults come from; without it, the time of day
    #[arg(long, env = "DUORUM_SEED")]
    seed: Option<u64>,

    /// Where the report goes [default: report]
    #[arg(long, env = "DUORUM_OUT", value_name = "DIR")]
    pub(super) out: Option<PathBuf>,

    /// Where the nodes keep their data; must be on a disk for durability to mean anything
    #[arg(long, env = "DUORUM_DATA_DIR", value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,

    /// How often each of the faults happens in each run; by a scenario alone.
    #[arg(skip)]
    kills: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Keys {
    /// Each as often as any other
    Uniform,
    /// The n-th most popular one 1/n^0.99 times as often as the first, as in YCSB
    Zipf,
    /// One key nine times of ten
    Hot,
}

impl From<Keys> for KeyDistribution {
    fn from(keys: Keys) -> Self {
        match keys {
            Keys::Uniform => Self::Uniform,
            Keys::Zipf => Self::Zipf,
            Keys::Hot => Self::Hot,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PlacementName {
    /// All nodes, as many clients at each
    Spread,
    /// The node that leads
    Leader,
}

impl From<PlacementName> for Placement {
    fn from(name: PlacementName) -> Self {
        match name {
            PlacementName::Spread => Self::Spread,
            PlacementName::Leader => Self::Leader,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PartName {
    /// Writes on all connections, as fast as they can
    Writes,
    /// Linearizable reads on all connections, as fast as they can
    Reads,
    /// From a fault of the leader, SIGKILL unless --faults says otherwise, to the next acknowledged write
    Failover,
    /// Writes, reads and ranges at once, as --mix says, or else 10:90:0
    Mixed,
    /// How long events take to the watchers of one key
    Watch,
    /// Writes by 1 to 256 clients, each as fast as it can: throughput over clients; takes minutes
    Sweep,
    /// Writes that are due at 500 to 32,000 a second: latency over rates; takes minutes
    Paced,
}

impl From<PartName> for Part {
    fn from(name: PartName) -> Self {
        match name {
            PartName::Writes => Self::Writes,
            PartName::Reads => Self::Reads,
            PartName::Failover => Self::Failover,
            PartName::Mixed => Self::Mixed,
            PartName::Watch => Self::Watch,
            PartName::Sweep => Self::Sweep,
            PartName::Paced => Self::Paced,
        }
    }
}

/// Reads `50:45:5`, or `50:45:5:2` with watchers.
fn parse_mixed(text: &str) -> Result<MixedLoad, String> {
    crate::scenario::parse_mixed(text)
}

/// Reads `50:45:5`.
pub(super) fn parse_mix(text: &str) -> Result<Mix, String> {
    match parse_mixed(text) {
        Ok(MixedLoad { mix, watchers: 0 }) if text.split(':').count() == 3 => Ok(mix),
        _ => Err("expected three numbers up to 1000000, as in 50:45:5".to_owned()),
    }
}

/// What a scenario does to leaders.
struct Faults {
    kinds: Vec<Fault>,
    /// How often each of them happens: as often as the one that is named most often.
    times: usize,
}

/// What a scenario's faults are in a comparison.
fn faults_of(named: &[FaultKind]) -> Result<Faults, Error> {
    let mut kinds = Vec::new();
    for kind in named {
        let fault = match kind {
            FaultKind::Kill => Fault::Kill,
            FaultKind::Stop => Fault::Stop,
            FaultKind::IsolateIn => Fault::IsolateIn,
            FaultKind::IsolateOut => Fault::IsolateOut,
            FaultKind::IsolateBoth => Fault::IsolateBoth,
            FaultKind::Transfer => Fault::Transfer,
            FaultKind::PowerCut => {
                return Err(Error::Usage(format!(
                    "faults `{}`: no machine loses its power here: expected kill, stop, isolate-in, isolate-out, isolate-both or transfer. `duorum \
                     sim --scenario` does it in virtual time",
                    kind.name()
                )));
            }
        };
        if !kinds.contains(&fault) {
            kinds.push(fault);
        }
    }
    let times = |kind: &FaultKind| named.iter().filter(|other| *other == kind).count();
    Ok(Faults { kinds, times: named.iter().map(times).max().unwrap_or(0) })
}

impl ChoiceArgs {
    /// These flags, and what they leave open from a scenario.
    ///
    /// # Errors
    /// [`Error::Usage`] with what of the scenario is not for real clusters.
    pub(super) fn or_scenario(self, scenario: &Scenario) -> Result<Self, Error> {
        let parts = |names: &[String]| -> Result<Vec<PartName>, Error> {
            let part = |name: &String| {
                PartName::from_str(name, false).map_err(|_| {
                    let names =
                        PartName::value_variants().iter().filter_map(ValueEnum::to_possible_value);
                    let names: Vec<String> = names.map(|name| name.get_name().to_owned()).collect();
                    Error::Usage(format!("compare.only `{name}`: expected {}", names.join(", ")))
                })
            };
            names.iter().map(part).collect()
        };
        let Scenario { compare, .. } = scenario;
        let faults = faults_of(scenario.faults.as_deref().unwrap_or_default())?;
        let keys = scenario.key_distribution.map(|keys| match keys {
            KeyDistribution::Uniform => Keys::Uniform,
            KeyDistribution::Zipf => Keys::Zipf,
            KeyDistribution::Hot => Keys::Hot,
        });
        let placement = scenario.placement.map(|placement| match placement {
            Placement::Spread => PlacementName::Spread,
            Placement::Leader => PlacementName::Leader,
        });
        Ok(Self {
            quick: self.quick || compare.quick,
            a: self.a.or_else(|| scenario.a.clone()),
            b: self.b.or_else(|| scenario.b.clone()),
            only: if self.only.is_empty() { parts(&compare.only)? } else { self.only },
            faults: if self.faults.is_empty() { faults.kinds } else { self.faults },
            nodes: self.nodes.or(scenario.nodes),
            connections: self.connections.or(scenario.connections),
            placement: self.placement.or(placement),
            value_bytes: self.value_bytes.or(scenario.value_bytes),
            keys: self.keys.or(scenario.keys),
            key_distribution: self.key_distribution.or(keys),
            rate: self.rate.or(scenario.rate),
            mix: self.mix.or(scenario.mix),
            watchers: self.watchers.or(compare.watchers),
            duration: self.duration.or(scenario.duration),
            blocks: self.blocks.or(compare.blocks),
            seed: self.seed.or(scenario.seed),
            out: self.out.or_else(|| compare.out.clone()),
            data_dir: self.data_dir.or_else(|| compare.data_dir.clone()),
            kills: scenario.faults.as_ref().map(|_| faults.times),
        })
    }

    /// The settings of the comparison.
    ///
    /// # Errors
    /// [`Error::Usage`] with what is allowed.
    pub(super) fn settings(&self, seed: u64) -> Result<Settings, Error> {
        let mut settings = Settings::new(self.seed.unwrap_or(seed), self.quick);
        let contender =
            |text: &Option<String>, usual: &str| Contender::parse(text.as_deref().unwrap_or(usual));
        settings.contenders =
            Contender::pair(contender(&self.a, "raft")?, contender(&self.b, "zab")?);
        if let Some(parts) = self.parts()? {
            settings = settings.only(parts.into_iter().collect());
        }
        if !self.faults.is_empty() {
            settings = settings.with_faults(self.faults.clone());
        }
        settings.nodes = self.nodes.unwrap_or(settings.nodes);
        settings.connections = self.connections.unwrap_or(settings.connections);
        settings.placement = self.placement.map_or(settings.placement, Placement::from);
        settings.value_bytes = self.value_bytes.unwrap_or(settings.value_bytes);
        settings.keys = self.keys.unwrap_or(settings.keys);
        settings.key_distribution =
            self.key_distribution.map_or(settings.key_distribution, KeyDistribution::from);
        settings.rate = self.rate;
        settings.mixed = self.mix.unwrap_or(settings.mixed);
        // The faults of a scenario strike while its clients are at work.
        let strikes = self.kills.is_some_and(|kills| kills > 0);
        settings.beside_faults =
            strikes.then(|| self.mix.map_or(MIX_DEFAULT, |MixedLoad { mix, .. }| mix));
        settings.watchers = self.watchers.unwrap_or(settings.watchers);
        settings.phases.kills =
            self.kills.filter(|&kills| kills > 0).unwrap_or(settings.phases.kills);
        // Who asks for so much gets it, however long it takes.
        if let Some(duration) = self.duration {
            settings = settings.lasting(duration);
        }
        if let Some(blocks) = self.blocks {
            settings.blocks = blocks;
            settings.budget = None;
        }
        settings.check()?;
        self.check_use(&settings)?;
        Ok(settings)
    }

    /// How long each phase is, if anything says so.
    pub(super) fn duration(&self) -> Option<Duration> {
        self.duration
    }

    /// Refuses what would be said in vain: a failover alone has no clients whose place could be chosen, and lasts as long
    /// as it does.
    fn check_use(&self, settings: &Settings) -> Result<(), Error> {
        let alone = settings.parts.iter().all(|&part| part == Part::Failover);
        if alone && self.duration.is_some() {
            return Err(Error::Usage(
                "--duration: a failover lasts as long as it does, and nothing else is measured; leave it away, or add \
                 a load to --only"
                    .to_owned(),
            ));
        }
        if !settings.has_placement() && self.placement.is_some() {
            return Err(Error::Usage(
                "--placement: a failover alone is timed by writes to the nodes that survive; leave it away, or add a \
                 load to --only"
                    .to_owned(),
            ));
        }
        if self.key_distribution.is_some() && settings.parts.iter().all(|&part| part == Part::Watch)
        {
            return Err(Error::Usage(
                "--key-distribution: watchers watch one key, and nothing else is measured; leave it away, or add \
                 another load to --only"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// What is measured, if anything says so.
    fn parts(&self) -> Result<Option<Vec<Part>>, Error> {
        let asked = |part: PartName, flag: &str| -> Result<(), Error> {
            if self.only.is_empty() || self.only.contains(&part) {
                return Ok(());
            }
            let name = part
                .to_possible_value()
                .map_or_else(String::new, |name| name.get_name().to_owned());
            Err(Error::Usage(format!(
                "{flag} is for what --only leaves out: add `{name}` to --only, or leave {flag} away"
            )))
        };
        if self.mix.is_some() {
            asked(PartName::Mixed, "--mix")?;
        }
        if self.watchers.is_some() {
            if self.only.is_empty() {
                return Err(Error::Usage("--watchers is for --only watch".to_owned()));
            }
            asked(PartName::Watch, "--watchers")?;
        }
        if self.kills.is_some_and(|kills| kills > 0) {
            asked(PartName::Failover, "faults")?;
        }
        if !self.only.is_empty() {
            return Ok(Some(self.only.iter().map(|&part| part.into()).collect()));
        }
        let mut parts = match self.mix {
            Some(_) => vec![Part::Mixed],
            None if self.kills == Some(0) => vec![Part::Writes, Part::Reads],
            None => return Ok(None),
        };
        if self.kills.is_some_and(|kills| kills > 0) {
            parts.push(Part::Failover);
        }
        Ok(Some(parts))
    }
}
