//! What a comparison will do, decided before it begins: the order of the runs and the length of
//! every phase.

use std::collections::BTreeSet;
use std::time::Duration;

use consensus::{Protocol, Random};
use serde::{Deserialize, Serialize};

use super::contender::{Contender, Side};
use crate::Error;
use crate::cluster::Fault;
use crate::load::{CONNECTIONS_MAX, KEYS_MAX, KeyDistribution, Mix, STAMP_BYTES};

/// The blocks of a comparison without flags, and of a quick one.
const BLOCKS_DEFAULT: usize = 6;
const BLOCKS_QUICK: usize = 2;
/// The blocks where only some of it is measured, and how long that may take.
const BLOCKS_OF_PARTS: usize = 12;
const BUDGET_OF_PARTS: Duration = Duration::from_secs(57);
/// The most blocks that can be asked for.
pub(super) const BLOCKS_MAX: usize = 1_000;
/// The largest value.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// The most nodes of a cluster.
const NODES_MAX: usize = 9;
/// The most watchers.
const WATCHERS_MAX: usize = 10_000;
/// The most requests a second that may be due.
const RATE_MAX: f64 = 1e6;
/// How long a comparison without flags may take: three minutes, less what the report, its exact figures and the last
/// clean-up need.
const BUDGET_DEFAULT: Duration = Duration::from_secs(166);

/// What the user can choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Who is compared.
    pub contenders: [Contender; 2],
    /// What is measured.
    pub parts: BTreeSet<Part>,
    /// What happens to the leaders where failover is measured, in this order.
    #[serde(default = "killed")]
    pub faults: Vec<Fault>,
    /// Nodes of each cluster.
    pub nodes: usize,
    /// Clients of the closed loop.
    pub connections: usize,
    /// Blocks of four runs.
    pub blocks: usize,
    /// Where all randomness comes from: coins, keys, values, moments of faults, resampling.
    pub seed: u64,
    /// The size of a value in bytes.
    pub value_bytes: usize,
    /// How many keys there are.
    pub keys: u64,
    /// How they are drawn.
    pub key_distribution: KeyDistribution,
    /// Which nodes the clients ask.
    pub placement: Placement,
    /// Writes a second, those of a failover included, and operations of the mixed load, that are due whether or not
    /// earlier ones are answered; `None` for a closed loop, and for as many writes of a failover as are usual.
    pub rate: Option<f64>,
    /// What the mixed load is made of.
    pub mixed: MixedLoad,
    /// What the clients do while faults strike, beside the writes that time them; `None` for nothing.
    #[serde(default)]
    pub beside_faults: Option<Mix>,
    /// How many watchers are told of each put where watches are measured.
    pub watchers: usize,
    /// The phases of a run.
    pub phases: Phases,
    /// Whether the floors are measured too.
    #[serde(default = "with_floors")]
    pub floors: bool,
    /// No block begins that would probably end later than this. Time decides, never a result.
    pub budget: Option<Duration>,
}

/// The floors are measured unless somebody says that they are not.
fn with_floors() -> bool {
    true
}

fn killed() -> Vec<Fault> {
    vec![Fault::Kill]
}

/// Which nodes the clients of a load ask. Watchers are spread over all nodes either way, and the writes that time a
/// failover over those that survive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// All nodes, as many clients at each.
    #[default]
    Spread,
    /// The one that leads when a load begins.
    Leader,
}

impl Placement {
    /// Where the clients are, as the rest of a sentence.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Spread => "spread over all nodes",
            Self::Leader => "all at the leader",
        }
    }
}

/// Several kinds of operations at once, and who follows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MixedLoad {
    /// The kinds, in parts of all operations.
    pub mix: Mix,
    /// How many streams watch every key that is written.
    pub watchers: usize,
}

/// Something that is measured of each cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Writes by a closed loop.
    Writes,
    /// Linearizable reads by a closed loop.
    Reads,
    /// How long no write is acknowledged after the leader was killed.
    Failover,
    /// Writes, reads and ranges at once, by the same clients.
    Mixed,
    /// How long events take to many watchers of one key.
    Watch,
    /// Writes by closed loops of more and more clients.
    Sweep,
    /// Writes at higher and higher fixed rates.
    Paced,
}

impl Part {
    /// What is measured when nobody says what.
    pub const USUAL: [Self; 3] = [Self::Writes, Self::Reads, Self::Failover];

    /// Whether it is made of many steps, which take longer than a minute.
    pub(super) fn has_steps(self) -> bool {
        matches!(self, Self::Sweep | Self::Paced)
    }
}

/// The clients of a sweep, step by step, and the requests a second of the paced writes. Each step is twice the
/// last, so that a curve has as many points where little happens as where much does; where knees lie, rates have steps
/// between.
pub(super) const SWEEP: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
pub(super) const RATES: [f64; 8] =
    [500.0, 1_000.0, 2_000.0, 4_000.0, 8_000.0, 16_000.0, 24_000.0, 32_000.0];

/// How long the phases of one run are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phases {
    /// Writes that do not count.
    pub write_warmup: Duration,
    /// Writes that count.
    pub write: Duration,
    /// Reads that do not count.
    pub read_warmup: Duration,
    /// Reads that count.
    pub read: Duration,
    /// One step of a curve; it begins with 0.3 s that do not count.
    pub step: Duration,
    /// How often the leader is killed, or whatever else happens to it.
    pub kills: usize,
}

impl Settings {
    /// The comparison without flags, or the quick one.
    #[must_use]
    pub fn new(seed: u64, quick: bool) -> Self {
        let millis = Duration::from_millis;
        let phases = Phases {
            write_warmup: millis(500),
            write: if quick { millis(1_000) } else { millis(1_800) },
            read_warmup: millis(200),
            read: if quick { millis(500) } else { millis(800) },
            step: millis(1_000),
            kills: if quick { 1 } else { 2 },
        };
        Self {
            contenders: [Protocol::Raft, Protocol::Zab].map(Contender::new),
            parts: BTreeSet::from(Part::USUAL),
            faults: killed(),
            nodes: 3,
            connections: 64,
            blocks: if quick { BLOCKS_QUICK } else { BLOCKS_DEFAULT },
            seed,
            value_bytes: 256,
            keys: 10_000,
            key_distribution: KeyDistribution::Uniform,
            placement: Placement::Spread,
            rate: None,
            mixed: MixedLoad { mix: Mix { put: 10, get: 90, range: 0 }, watchers: 0 },
            beside_faults: None,
            watchers: 200,
            phases,
            floors: true,
            budget: (!quick).then_some(BUDGET_DEFAULT),
        }
    }

    /// Only some of it, or more: what takes less time leaves some for more blocks, enough for a difference of a
    /// few percent to show within a minute. Curves take as long as they take.
    #[must_use]
    pub fn only(self, parts: BTreeSet<Part>) -> Self {
        if parts == BTreeSet::from(Part::USUAL) || self.budget.is_none() {
            return Self { parts, ..self };
        }
        // Rather more blocks than longer phases: runs differ from each other by more than within themselves, and nothing
        // is to be seen of a warm-up after 0.2 s.
        let each = Duration::from_millis(1_000);
        let kills = if parts == BTreeSet::from([Part::Failover]) { 4 } else { self.phases.kills };
        let write_warmup = Duration::from_millis(200);
        let phases = Phases { write_warmup, write: each, read: each, kills, ..self.phases };
        let (blocks, budget) = match parts.iter().any(|part| part.has_steps()) {
            true => (BLOCKS_DEFAULT, None),
            false => (BLOCKS_OF_PARTS, Some(BUDGET_OF_PARTS)),
        };
        Self { parts, phases, blocks, budget, ..self }
    }

    /// Other faults than kills. They take as long as they take.
    #[must_use]
    pub fn with_faults(self, faults: Vec<Fault>) -> Self {
        if faults == self.faults {
            return self;
        }
        Self { faults, blocks: self.blocks.min(BLOCKS_DEFAULT), budget: None, ..self }
    }

    /// Every measured phase that long, however long the whole takes then.
    #[must_use]
    pub fn lasting(self, each: Duration) -> Self {
        let phases = Phases { write: each, read: each, step: each, ..self.phases };
        Self { phases, budget: None, ..self }
    }

    /// A side.
    #[must_use]
    pub fn contender(&self, side: Side) -> &Contender {
        &self.contenders[usize::from(side == Side::B)]
    }

    /// The name of a side.
    #[must_use]
    pub fn name(&self, side: Side) -> &str {
        &self.contender(side).name
    }

    /// Whether something is measured.
    #[must_use]
    pub fn measures(&self, part: Part) -> bool {
        self.parts.contains(&part) && (part != Part::Failover || self.nodes >= 3)
    }

    /// Refuses what can not be run.
    ///
    /// # Errors
    /// [`Error::Usage`] with what is allowed.
    pub fn check(&self) -> Result<(), Error> {
        let bounds = [
            ("--nodes", self.nodes, 1, NODES_MAX),
            ("--connections", self.connections, 1, CONNECTIONS_MAX),
            ("--blocks", self.blocks, 1, BLOCKS_MAX),
            ("keys", usize::try_from(self.keys).unwrap_or(usize::MAX), 1, KEYS_MAX as usize),
        ];
        for (name, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                return Err(Error::Usage(format!("{name} {value}: allowed are {least} to {most}")));
            }
        }
        self.check_faults()?;
        self.check_loads()?;
        if self.value_bytes > VALUE_BYTES_MAX {
            return Err(Error::Usage(format!(
                "--value-bytes {}: allowed are 0 to {VALUE_BYTES_MAX}",
                self.value_bytes
            )));
        }
        Ok(())
    }

    fn check_faults(&self) -> Result<(), Error> {
        if self.faults != [Fault::Kill] && !self.measures(Part::Failover) {
            return Err(Error::Usage(
                "--faults: no failover is measured; it takes at least 3 --nodes, and failover among --only"
                    .to_owned(),
            ));
        }
        let twice = (1..self.faults.len()).find(|&at| self.faults[..at].contains(&self.faults[at]));
        match twice {
            Some(at) => {
                let name = self.faults[at].name();
                Err(Error::Usage(format!("--faults: {name} is named twice; name each once")))
            }
            None => Ok(()),
        }
    }
}

impl Settings {
    fn check_loads(&self) -> Result<(), Error> {
        let usage = |what: String| Err(Error::Usage(what));
        if let Some(rate) = self.rate.filter(|rate| !(0.1..=RATE_MAX).contains(rate)) {
            return usage(format!("--rate {rate}: allowed are 0.1 to {RATE_MAX}"));
        }
        let has_rate = [Part::Writes, Part::Mixed, Part::Failover].map(|part| self.measures(part));
        if self.rate.is_some() && !has_rate.contains(&true) {
            return usage(
                "--rate is of writes, of the mixed load and of failover, and none of them is measured"
                    .to_owned(),
            );
        }
        self.check_rate_of_failovers()?;
        let Phases { write, read, step, .. } = self.phases;
        if let Some(short) = [write, read, step].into_iter().find(Duration::is_zero) {
            return usage(format!("--duration {short:?}: nothing can be measured in no time"));
        }
        let MixedLoad { mix, watchers } = self.mixed;
        if mix.parts() == 0 || self.beside_faults.is_some_and(|mix| mix.parts() == 0) {
            return usage("--mix: a mix of nothing; one part must be more than 0".to_owned());
        }
        if watchers > WATCHERS_MAX || !(1..=WATCHERS_MAX).contains(&self.watchers) {
            return usage(format!("watchers: allowed are {WATCHERS_MAX} at most"));
        }
        let watched = self.measures(Part::Watch) || self.measures(Part::Mixed) && watchers > 0;
        if watched && self.value_bytes < STAMP_BYTES {
            return usage(format!(
                "--value-bytes {}: watches are measured by what values say of themselves, which takes {STAMP_BYTES} \
                 bytes",
                self.value_bytes
            ));
        }
        if self.measures(Part::Mixed) && watchers > 0 && mix.put == 0 {
            return usage("--mix: watchers of a load without writes are told nothing".to_owned());
        }
        Ok(())
    }
}

/// Four runs, two of each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// What the coin said: true for A B B A, false for B A A B.
    pub a_outside: bool,
    /// The seed of the keys and values of all four runs, so that they do the same work.
    pub seed: u64,
}

impl Block {
    /// The sides in the order of their runs.
    #[must_use]
    pub fn order(self) -> [Side; 4] {
        use Side::{A, B};
        if self.a_outside { [A, B, B, A] } else { [B, A, A, B] }
    }

    /// The order in letters.
    #[must_use]
    pub fn letters(self) -> &'static str {
        if self.a_outside { "A B B A" } else { "B A A B" }
    }
}

/// All coins of a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The blocks in order.
    pub blocks: Vec<Block>,
}

impl Plan {
    /// Tosses the coins.
    #[must_use]
    pub fn toss(settings: &Settings) -> Self {
        let mut random = Random::new(settings.seed);
        let blocks = (0..settings.blocks)
            .map(|_| {
                // The seed stays below 2^53, so that every reader of the JSON reads the same number.
                let a_outside = random.next_u64() >> 63 == 1;
                Block { a_outside, seed: random.next_u64() >> 11 }
            })
            .collect();
        Self { blocks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_balanced_in_number_and_in_position() {
        for a_outside in [true, false] {
            let order = Block { a_outside, seed: 0 }.order();
            let places = |side| {
                let at = |(place, &one)| (one == side).then_some(place);
                order.iter().enumerate().filter_map(at).collect::<Vec<usize>>()
            };
            let (a, b) = (places(Side::A), places(Side::B));
            assert_eq!((a.len(), b.len()), (2, 2));
            // Equal sums of places: a drift that is linear in time hits both sides alike.
            assert_eq!(a.iter().sum::<usize>(), b.iter().sum::<usize>());
        }
    }

    #[test]
    fn the_coins_follow_from_the_seed_and_fall_on_both_sides() {
        let mut settings = Settings::new(7, false);
        settings.blocks = 400;
        let plan = Plan::toss(&settings);
        assert_eq!(plan, Plan::toss(&settings));
        let outside = plan.blocks.iter().filter(|block| block.a_outside).count();
        assert!((150..250).contains(&outside), "{outside} of 400");
        settings.seed = 8;
        assert_ne!(plan, Plan::toss(&settings));
        assert!(plan.blocks.iter().all(|block| block.seed < 1 << 53));
    }

    #[test]
    fn impossible_settings_are_refused_with_what_is_allowed() {
        let mut settings = Settings::new(1, false);
        settings.check().expect("the defaults are possible");
        settings.blocks = 0;
        let error = settings.check().expect_err("no blocks");
        assert_eq!(error.to_string(), "--blocks 0: allowed are 1 to 1000");
        let refused = |change: fn(&mut Settings)| {
            let mut settings = Settings::new(1, false);
            change(&mut settings);
            settings.check().expect_err("impossible").to_string()
        };
        for (change, why) in [
            ((|settings| settings.rate = Some(0.0)) as fn(&mut Settings), "--rate 0: allowed are"),
            (
                |settings| {
                    settings.rate = Some(100.0);
                    settings.parts = [Part::Reads].into();
                },
                "--rate is of writes",
            ),
            (
                |settings| *settings = settings.clone().lasting(Duration::ZERO),
                "--duration 0ns: nothing",
            ),
            (
                |settings| settings.mixed.mix = Mix { put: 0, get: 0, range: 0 },
                "--mix: a mix of nothing",
            ),
            (
                |settings| {
                    settings.parts = [Part::Watch].into();
                    settings.value_bytes = 15;
                },
                "--value-bytes 15: watches",
            ),
            (|settings| settings.watchers = 0, "watchers: allowed"),
        ] {
            let error = refused(change);
            assert!(error.starts_with(why), "{error}");
        }
    }

    #[test]
    fn phases_of_a_length_that_was_asked_for_take_as_long_as_they_take() {
        let settings = Settings::new(1, false).lasting(Duration::from_secs(7));
        assert_eq!(
            (settings.phases.write, settings.phases.read),
            (settings.phases.step, settings.phases.step)
        );
        assert_eq!((settings.phases.step, settings.budget), (Duration::from_secs(7), None));
    }

    #[test]
    fn faults_take_their_time_and_need_a_failover_to_be_measured() {
        let usual = Settings::new(1, false);
        assert_eq!(usual.clone().with_faults(vec![Fault::Kill]), usual);
        let faults = vec![Fault::Kill, Fault::IsolateIn];
        let settings = usual.with_faults(faults.clone());
        assert_eq!((&settings.faults, settings.budget), (&faults, None));
        settings.check().expect("possible");
        let writes = settings.clone().only(BTreeSet::from([Part::Writes]));
        let refused = writes.check().expect_err("nothing fails").to_string();
        assert!(refused.contains("failover among --only"), "{refused}");
        let twice = settings.with_faults(vec![Fault::Stop, Fault::Kill, Fault::Stop]);
        let refused = twice.check().expect_err("which is it?").to_string();
        assert_eq!(refused, "--faults: stop is named twice; name each once");
    }

    #[test]
    fn a_comparison_without_flags_has_enough_blocks_to_conclude_something() {
        assert!(Settings::new(1, false).blocks >= crate::stats::BLOCKS_TO_CONCLUDE);
    }
}
