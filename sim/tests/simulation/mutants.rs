//! Every wrong version of the protocols, and of what is around them, is noticed. `docs/mutants.md` says by
//! which seed first, when, and by which law; here each is run with that seed, and noticed again.
//!
//! `DUORUM_MUTANTS=hunt cargo test -p sim mutants -- --nocapture` looks for the first seeds anew, and prints
//! the table.

use std::time::Instant;

use consensus::{Mutant, Protocol};
use consensus_raft::Raft;
use consensus_zab::Zab;
use sim::{SimOptions, run};

/// The most seeds that a wrong version may survive.
const SEEDS_MAX: u64 = 6_000;

const TABLE: &str = include_str!("../../../docs/mutants.md");

/// What a seed finds of a wrong version, if the protocol promises anything under its profile: when, in
/// virtual time, and which law it breaks; the last two columns of the table.
fn found(mutant: Mutant, protocol: Protocol, seed: u64) -> Option<String> {
    let options = SimOptions { mutant: Some(mutant), ..SimOptions::in_turn(seed) };
    if !options.profile.suits(protocol) {
        return None;
    }
    let outcome = match protocol {
        Protocol::Zab => run::<Zab>(&options),
        _ => run::<Raft>(&options),
    };
    let failure = outcome.err()?;
    let (millis, law) = (failure.time.0 / 1_000, failure.violation.law);
    Some(format!("{}.{:03} s | {law}", millis / 1_000, millis % 1_000))
}

fn protocols(mutant: Mutant) -> Vec<Protocol> {
    mutant.protocol().map_or(vec![Protocol::Raft, Protocol::Zab], |protocol| vec![protocol])
}

/// A row of the table.
fn row(mutant: Mutant, protocol: Protocol, seed: u64, found: &str) -> String {
    let (name, sentence) = (mutant.name(), mutant.sentence());
    format!("| `{name}` | {sentence} | {protocol} | {seed} | {found} |")
}

/// The first seed that notices it.
fn hunt(mutant: Mutant, protocol: Protocol) -> Option<(u64, String)> {
    (0..SEEDS_MAX).find_map(|seed| found(mutant, protocol, seed).map(|found| (seed, found)))
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
            let found = found(mutant, protocol, seed);
            assert_eq!(
                found.as_deref(),
                Some(wanted),
                "{} with {protocol}, seed {seed}",
                mutant.name()
            );
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
                Some((seed, found)) => println!("{}", row(mutant, protocol, seed, &found)),
                None => survivors.push((mutant.name(), protocol)),
            }
            eprintln!("{} {protocol}: {:?}", mutant.name(), began.elapsed());
        }
    }
    assert!(survivors.is_empty(), "not noticed by {SEEDS_MAX} seeds: {survivors:?}");
}
