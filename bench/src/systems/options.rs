//! How the systems are measured: what, how often, how long, and in which order.

use std::collections::BTreeSet;
use std::time::Duration;

use consensus::Random;
use serde::{Deserialize, Serialize};

use super::Subject;
use super::choice::System;
use crate::Error;
use crate::cluster::Fault;
use crate::compare::{Contender, Part, Placement, Settings, Side};
use crate::load::{KeyDistribution, Mix};

/// The blocks unless asked otherwise, and of a quick comparison.
const BLOCKS_DEFAULT: usize = 3;
const BLOCKS_QUICK: usize = 1;
/// Set apart from the comparison's, whose coins come from the same number.
const SEED_OF_SYSTEMS: u64 = 0x7379_7374_656d_7300;
/// The parts of a comparison that systems have as well.
pub(super) const PARTS: [Part; 3] = [Part::Writes, Part::Reads, Part::Failover];
/// The largest value of ZooKeeper: its packets are shorter than a MiB (`jute.maxbuffer`), and a value is not
/// all that is in one.
const ZOOKEEPER_VALUE_BYTES_MAX: usize = 1_000_000;

/// How the systems are measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// The contenders that stand beside the systems.
    pub contenders: [Contender; 2],
    /// What is measured.
    pub parts: BTreeSet<Part>,
    /// Nodes of each cluster.
    pub nodes: usize,
    /// Clients of the closed loop.
    pub connections: usize,
    /// Blocks, each with one run of every subject.
    pub blocks: usize,
    /// Where all randomness comes from.
    pub seed: u64,
    /// The size of a value in bytes.
    pub value_bytes: usize,
    /// How many keys there are.
    pub keys: u64,
    /// How they are drawn.
    pub key_distribution: KeyDistribution,
    /// Which nodes the clients ask.
    pub placement: Placement,
    /// Writes a second that are due, those that time a kill included; `None` for a closed loop, and for as many as are
    /// usual of a kill.
    pub rate: Option<f64>,
    /// What happens to the leaders where failover is measured. Of systems it is a kill and nothing else.
    pub faults: Vec<Fault>,
    /// What clients do while it does. Of systems it is nothing.
    pub beside_faults: Option<Mix>,
    /// Writes that do not count, and those that do.
    pub write_warmup: Duration,
    /// Writes that count.
    pub write: Duration,
    /// Reads that do not count, of both kinds.
    pub read_warmup: Duration,
    /// Reads that count, of both kinds.
    pub read: Duration,
}

impl Options {
    /// The settings of the comparison beside which the systems are measured. The warm-up is longer for
    /// everybody, because a Java machine compiles what it runs only after a while.
    #[must_use]
    pub fn beside(settings: &Settings, blocks: Option<usize>, quick: bool) -> Self {
        let millis = Duration::from_millis;
        let phase = |long: u64, short: u64| if quick { millis(short) } else { millis(long) };
        Self {
            contenders: settings.contenders.clone(),
            parts: settings.parts.iter().copied().filter(|part| PARTS.contains(part)).collect(),
            nodes: settings.nodes,
            connections: settings.connections,
            blocks: blocks.unwrap_or(if quick { BLOCKS_QUICK } else { BLOCKS_DEFAULT }),
            seed: settings.seed,
            value_bytes: settings.value_bytes,
            keys: settings.keys,
            key_distribution: settings.key_distribution,
            placement: settings.placement,
            rate: settings.rate,
            faults: settings.faults.clone(),
            beside_faults: settings.beside_faults,
            write_warmup: phase(2_500, 1_000),
            write: phase(2_500, 1_000),
            read_warmup: phase(1_000, 500),
            read: phase(1_500, 500),
        }
    }

    /// Every measured phase that long.
    #[must_use]
    pub fn lasting(self, each: Duration) -> Self {
        Self { write: each, read: each, ..self }
    }

    /// Refuses what can not be measured of these systems.
    ///
    /// # Errors
    /// [`Error::Usage`] with what is allowed.
    pub(super) fn check(&self, systems: &[System]) -> Result<(), Error> {
        if !PARTS.into_iter().any(|part| self.measures(part)) {
            let why = if self.parts.is_empty() { "" } else { " of three nodes or more" };
            return Err(Error::Usage(format!(
                "--with: systems have the parts writes, reads and failover{why}; add one of them to --only"
            )));
        }
        if self.measures(Part::Failover) && self.faults != [Fault::Kill] {
            let names: Vec<&str> = self.faults.iter().map(|fault| fault.name()).collect();
            return Err(Error::Usage(format!(
                "--faults {}: with systems, which are not asked for faults, allowed is kill; leave --with or --faults \
                 away",
                names.join(",")
            )));
        }
        if self.measures(Part::Failover) && self.beside_faults.is_some() {
            return Err(Error::Usage(
                "--with: the faults of a scenario strike while its clients are at work, which is not measured of \
                 systems; leave --with away, or failover out of --only"
                    .to_owned(),
            ));
        }
        let value_bytes = self.value_bytes;
        if systems.contains(&System::ZooKeeper) && value_bytes > ZOOKEEPER_VALUE_BYTES_MAX {
            return Err(Error::Usage(format!(
                "--value-bytes {value_bytes}: with zookeeper, whose packets are shorter than a MiB, allowed are 0 \
                 to {ZOOKEEPER_VALUE_BYTES_MAX}"
            )));
        }
        Ok(())
    }

    /// Whether something is measured.
    #[must_use]
    pub fn measures(&self, part: Part) -> bool {
        self.parts.contains(&part) && (part != Part::Failover || self.nodes >= 3)
    }

    /// What is measured of systems where that is not all that they have, as the end of a sentence.
    pub(super) fn parts_text(&self) -> String {
        let names =
            PARTS.into_iter().filter(|part| self.parts.contains(part)).map(|part| match part {
                Part::Writes => "writes",
                Part::Reads => "reads",
                _ => "failover",
            });
        format!(", of {} alone", names.collect::<Vec<_>>().join(" and "))
    }

    /// A contender.
    pub(super) fn contender(&self, side: Side) -> &Contender {
        &self.contenders[usize::from(side == Side::B)]
    }

    /// What a subject is called before it is known which version it is.
    pub(crate) fn name(&self, subject: Subject) -> String {
        match subject {
            Subject::Duorum(side) => format!("Duorum {}", self.contender(side).name),
            Subject::EtcdGrpc => "etcd (gRPC)".to_owned(),
            Subject::EtcdGateway => "etcd (gateway)".to_owned(),
            Subject::ZooKeeper => "ZooKeeper".to_owned(),
        }
    }

    /// Where the keys and values of a block come from, the same for everybody in it.
    pub(super) fn seed_of_block(&self, block: usize) -> u64 {
        Random::new(self.seed ^ SEED_OF_SYSTEMS ^ block as u64).next_u64()
    }

    /// Who runs in which order, block by block: a coin decides, from the seed.
    pub(super) fn orders(&self, subjects: &[Subject]) -> Vec<Vec<Subject>> {
        let mut random = Random::new(self.seed ^ SEED_OF_SYSTEMS);
        let shuffled = |_| {
            let mut order = subjects.to_vec();
            // Fisher and Yates.
            for last in (1..order.len()).rev() {
                let other = random.below(last as u64 + 1);
                order.swap(last, usize::try_from(other).expect("an index"));
            }
            order
        };
        (0..self.blocks).map(shuffled).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ALL: [Subject; 5] = [
        Subject::Duorum(Side::A),
        Subject::Duorum(Side::B),
        Subject::EtcdGrpc,
        Subject::EtcdGateway,
        Subject::ZooKeeper,
    ];

    #[test]
    fn every_block_has_everybody_once_and_orders_differ() {
        let settings = Settings::new(11, false);
        let options = Options::beside(&settings, Some(60), false);
        let orders = options.orders(&ALL);
        assert_eq!(orders.len(), 60);
        assert_eq!(orders, options.orders(&ALL), "the seed decides");
        for order in &orders {
            assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), ALL.len(), "{order:?}");
        }
        // Everybody comes first now and then, and last.
        for place in [0, ALL.len() - 1] {
            let there: BTreeSet<_> = orders.iter().map(|order| order[place]).collect();
            assert_eq!(there.len(), ALL.len());
        }
    }

    #[test]
    fn phases_and_blocks_are_the_same_for_everybody_and_follow_from_the_flags() {
        let settings = Settings::new(1, true);
        assert_eq!(Options::beside(&settings, None, true).blocks, BLOCKS_QUICK);
        let long = Options::beside(&settings, None, false);
        assert_eq!((long.blocks, long.connections), (BLOCKS_DEFAULT, settings.connections));
        assert_eq!(Options::beside(&settings, Some(7), true).blocks, 7);
    }

    #[test]
    fn contenders_and_parts_are_those_of_the_comparison_as_far_as_systems_have_them() {
        let only = |parts: &[Part]| {
            let settings = Settings::new(1, false).only(parts.iter().copied().collect());
            Options::beside(&settings, None, false)
        };
        let usual = only(&Part::USUAL);
        usual.check(&[System::Etcd, System::ZooKeeper]).expect("possible");
        assert_eq!(usual.name(Subject::Duorum(Side::B)), "Duorum zab");
        let some = only(&[Part::Reads, Part::Sweep]);
        some.check(&[System::Etcd]).expect("reads");
        assert!(some.measures(Part::Reads) && !some.measures(Part::Writes));
        assert!(!some.measures(Part::Sweep) && !some.measures(Part::Failover));

        let error = only(&[Part::Sweep, Part::Paced]).check(&[System::Etcd]).expect_err("nothing");
        assert!(error.to_string().contains("add one of them to --only"), "{error}");
        let mut few = only(&[Part::Failover]);
        few.nodes = 2;
        let error = few.check(&[System::Etcd]).expect_err("nobody could take over").to_string();
        assert!(error.contains("failover of three nodes or more"), "{error}");
    }

    #[test]
    fn the_load_is_that_of_the_comparison_or_is_refused() {
        let mut settings = Settings::new(1, false).lasting(Duration::from_secs(7));
        settings.placement = Placement::Leader;
        settings.key_distribution = KeyDistribution::Zipf;
        settings.rate = Some(5_000.0);
        let options = Options::beside(&settings, None, false).lasting(Duration::from_secs(7));
        options.check(&[System::Etcd]).expect("possible");
        assert_eq!(options.placement, settings.placement);
        assert_eq!(options.key_distribution, settings.key_distribution);
        assert_eq!(options.rate, settings.rate);
        assert_eq!((options.write, options.read), (settings.phases.write, settings.phases.read));

        settings.faults = vec![Fault::Kill, Fault::Stop];
        let options = Options::beside(&settings, None, false);
        let error = options.check(&[System::Etcd]).expect_err("no stops").to_string();
        assert!(error.starts_with("--faults kill,stop: with systems"), "{error}");
        settings.beside_faults = Some(Mix { put: 1, get: 1, range: 0 });
        settings.faults = vec![Fault::Kill];
        let error = Options::beside(&settings, None, false).check(&[System::Etcd]);
        let error = error.expect_err("no load beside a kill").to_string();
        assert!(error.starts_with("--with: the faults of a scenario strike"), "{error}");
    }

    #[test]
    fn a_value_that_zookeeper_would_hang_up_on_is_refused_with_what_is_allowed() {
        let mut options = Options::beside(&Settings::new(1, false), None, false);
        options.value_bytes = 1 << 20;
        options.check(&[System::Etcd]).expect("etcd takes a MiB");
        let error = options.check(&[System::ZooKeeper]).expect_err("too long").to_string();
        assert!(error.starts_with("--value-bytes 1048576: ") && error.ends_with("0 to 1000000"));
    }
}
