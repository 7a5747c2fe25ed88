//! What is measured: a protocol as it is, and with something changed.

use std::collections::BTreeSet;

use consensus::Protocol;
use serde::{Deserialize, Serialize};

use super::kind::Ablation;
use crate::Error;
use crate::cluster::Fault;
use crate::compare::{Contender, Part, Placement, Settings};

/// How often a fault that takes its time happens in one run.
const FAULTS_IN_RUN_MAX: usize = 2;

/// A protocol as it is, and with something changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// What is changed.
    pub ablation: Ablation,
    /// The protocol as it is, and the same with the flags that change it.
    pub contenders: [Contender; 2],
}

/// The pairs for these mechanisms: each protocol that has one, in each way to change it.
#[must_use]
pub fn pairs(ablations: &[Ablation]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for ablation in Ablation::ALL.into_iter().filter(|ablation| ablations.contains(ablation)) {
        for protocol in [Protocol::Raft, Protocol::Zab] {
            for flags in ablation.flags(protocol) {
                let changed = Contender::parse(&format!("{protocol} {flags}"))
                    .expect("a protocol and flags of `duorum serve`");
                pairs.push(Pair { ablation, contenders: [Contender::new(protocol), changed] });
            }
        }
    }
    pairs
}

impl Pair {
    /// The flags that change it.
    #[must_use]
    pub fn flags(&self) -> String {
        self.contenders[1].flags.join(" ")
    }

    /// Whose it is and what is changed: `raft without batching (--batching off)`, and where there is only less of it or
    /// more, `zab --finalize-wait 200ms`.
    #[must_use]
    pub fn title(&self) -> String {
        let protocol = self.contenders[0].protocol;
        match self.ablation {
            Ablation::Timeouts | Ablation::FinalizeWait => format!("{protocol} {}", self.flags()),
            ablation => format!("{protocol} without {} ({})", ablation.name(), self.flags()),
        }
    }

    /// The comparison of both, as the user wants comparisons to be made; only what the mechanism
    /// concerns, and without the floors, which say nothing about it.
    ///
    /// # Errors
    /// [`Error::Usage`] for what can not be run.
    pub fn settings(&self, wanted: &Settings) -> Result<Settings, Error> {
        let mut settings = wanted.clone().only(BTreeSet::from([self.ablation.part()]));
        settings.contenders = self.contenders.clone();
        settings.floors = false;
        if self.ablation == Ablation::CommitNotices {
            settings.connections = settings.nodes;
            settings.placement = Placement::Spread;
        }
        if self.ablation.part() == Part::Failover {
            settings.faults = vec![self.ablation.fault()];
            settings.rate = None;
        }
        if settings.faults != [Fault::Kill] {
            // Such a leader is noticed after the election timeout, and comes back by itself.
            settings.phases.kills = settings.phases.kills.min(FAULTS_IN_RUN_MAX);
            settings.budget = settings.budget.map(|budget| budget * 2);
        }
        if !settings.measures(self.ablation.part()) {
            return Err(Error::Usage(format!(
                "--nodes {}: {} is about failover, which takes at least 3 nodes",
                settings.nodes,
                self.ablation.name()
            )));
        }
        settings.check()?;
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_goes_without_what_it_has() {
        let all = pairs(&Ablation::ALL);
        for ablation in Ablation::ALL {
            let its: Vec<_> = all.iter().filter(|pair| pair.ablation == ablation).collect();
            assert!(!its.is_empty(), "{}", ablation.name());
            for pair in its {
                let [with, without] = &pair.contenders;
                assert_eq!((with.protocol, with.flags.len()), (without.protocol, 0));
                assert!(!without.flags.is_empty() && with.name != without.name);
            }
        }
        let of = |ablation, protocol| {
            let its = all.iter().filter(|pair| pair.ablation == ablation);
            its.filter(|pair| pair.contenders[0].protocol == protocol).count()
        };
        // ZAB's elections neither ask first nor wait at random; Raft's wait for no better vote.
        assert_eq!(
            (of(Ablation::PreVote, Protocol::Raft), of(Ablation::PreVote, Protocol::Zab)),
            (1, 0)
        );
        assert_eq!(
            (of(Ablation::Timeouts, Protocol::Raft), of(Ablation::Timeouts, Protocol::Zab)),
            (2, 0)
        );
        assert_eq!(
            (of(Ablation::FinalizeWait, Protocol::Raft), of(Ablation::FinalizeWait, Protocol::Zab)),
            (0, 2)
        );
        assert_eq!(all.len(), 15);
    }

    #[test]
    fn only_what_is_concerned_is_measured_and_the_users_wishes_count() {
        let mut wanted = Settings::new(7, false);
        (wanted.connections, wanted.value_bytes) = (16, 100);
        for pair in pairs(&Ablation::ALL) {
            let settings = pair.settings(&wanted).expect("possible");
            assert_eq!(settings.parts, BTreeSet::from([pair.ablation.part()]));
            assert_eq!((settings.seed, settings.value_bytes, settings.floors), (7, 100, false));
            assert!(settings.budget.is_some() && settings.blocks > wanted.blocks);
            let few = pair.ablation == Ablation::CommitNotices;
            assert_eq!(settings.connections, if few { 3 } else { 16 });
            let stops = pair.ablation == Ablation::FinalizeWait;
            assert_eq!(settings.faults, [if stops { Fault::Stop } else { Fault::Kill }]);
        }
        // Who asks for a number of blocks gets them.
        (wanted.blocks, wanted.budget, wanted.nodes) = (3, None, 2);
        let [batching] = &pairs(&[Ablation::Batching])[..1] else { panic!("there is one") };
        assert_eq!(batching.settings(&wanted).expect("possible").blocks, 3);
        let [detector] = &pairs(&[Ablation::Detector])[..1] else { panic!("there is one") };
        let error = detector.settings(&wanted).expect_err("nobody is left").to_string();
        assert!(error.contains("at least 3 nodes"), "{error}");
    }
}
