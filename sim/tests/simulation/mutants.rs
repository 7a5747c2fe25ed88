//! Every wrong version of the protocols, and of what is around them, is noticed. `docs/mutants.md` says by
//! which seed first, and by which law; here each is run with that seed, and noticed again.
//!
//! `DUORUM_MUTANTS=hunt cargo test -p sim mutants -- --nocapture` looks for the first seeds anew, and prints
//! the table.

use std::time::Instant;

use consensus::{Mutant, Protocol};
use consensus_raft::Raft;
use consensus_zab::Zab;
use sim::{SimOptions, run};

/// The most seeds that a wrong version may survive.
const SEEDS_MAX: u64 = 2_000;

const TABLE: &str = include_str!("../../../docs/mutants.md");

/// The law that a seed breaks, if the protocol promises anything under its profile.
fn law(mutant: Mutant, protocol: Protocol, seed: u64) -> Option<&'static str> {
    let options = SimOptions { mutant: Some(mutant), ..SimOptions::in_turn(seed) };
    if !options.profile.suits(protocol) {
        return None;
    }
    let outcome = match protocol {
        Protocol::Zab => run::<Zab>(&options),
        _ => run::<Raft>(&options),
    };
    outcome.err().map(|failure| failure.violation.law)
}

fn protocols(mutant: Mutant) -> Vec<Protocol> {
    mutant.protocol().map_or(vec![Protocol::Raft, Protocol::Zab], |protocol| vec![protocol])
}

/// A row of the table.
fn row(mutant: Mutant, protocol: Protocol, seed: u64, law: &str) -> String {
    let (name, sentence) = (mutant.name(), mutant.sentence());
    format!("| `{name}` | {sentence} | {protocol} | {seed} | {law} |")
}

/// The first seed that notices it.
fn hunt(mutant: Mutant, protocol: Protocol) -> Option<(u64, &'static str)> {
    (0..SEEDS_MAX).find_map(|seed| law(mutant, protocol, seed).map(|law| (seed, law)))
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what is asked for is not part of any run")]
fn all_are_noticed() {
    // A law that the code asserts ends a run by a panic, which is no news here.
    if std::env::var("DUORUM_MUTANTS").is_ok_and(|wish| wish == "hunt") {
        return hunt_all();
    }
    let mut seeds = Vec::new();
    for &mutant in Mutant::ALL {
        for protocol in protocols(mutant) {
            let start = format!("| `{}` | {} | {protocol} | ", mutant.name(), mutant.sentence());
            let line = TABLE.lines().find_map(|line| line.strip_prefix(&start));
            let (seed, wanted) = line
                .and_then(|line| line.strip_suffix(" |")?.split_once(" | "))
                .unwrap_or_else(|| panic!("docs/mutants.md lacks a row: {start}…; hunt for it"));
            let seed: u64 = seed.parse().expect("a seed is a number");
            let found = law(mutant, protocol, seed);
            assert_eq!(found, Some(wanted), "{} with {protocol}, seed {seed}", mutant.name());
            seeds.push(seed);
        }
    }
    assert!(seeds.len() >= 60 && Mutant::ALL.len() >= 60, "the gallery is large");
    seeds.sort_unstable();
    assert!(seeds[seeds.len() / 2] <= 200, "half of them are noticed soon: {seeds:?}");
}

#[expect(clippy::disallowed_methods, reason = "how long a hunt takes is not part of any run")]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a hunt is there to print the table")]
fn hunt_all() {
    let mut survivors = Vec::new();
    for &mutant in Mutant::ALL {
        for protocol in protocols(mutant) {
            let began = Instant::now();
            match hunt(mutant, protocol) {
                Some((seed, law)) => println!("{}", row(mutant, protocol, seed, law)),
                None => survivors.push((mutant.name(), protocol)),
            }
            eprintln!("{} {protocol}: {:?}", mutant.name(), began.elapsed());
        }
    }
    assert!(survivors.is_empty(), "not noticed by {SEEDS_MAX} seeds: {survivors:?}");
}
