//! A run that breaks a law is made short, and what is left breaks it again.

use consensus::{Mutant, Protocol};
use consensus_raft::Raft;
use sim::{Profile, SimOptions, run, shrink};

#[test]
fn what_is_left_of_a_failing_run_breaks_the_same_law_again() {
    let mutant = Some(Mutant::RaftElectsOlderLog);
    let failing = (0..200).find_map(|seed| {
        let options = SimOptions::of_seed(seed, 3, Profile::Crashes);
        let failure = run::<Raft>(&SimOptions { mutant, ..options }).err()?;
        (failure.faults.len() > 8).then_some(failure)
    });
    let failure = failing.expect("some seed notices it when much has broken");
    let mut tried = 0;
    let short = shrink::<Raft>(&failure, 120, |_| {
        tried += 1;
        true
    });
    assert_eq!(short.violation.law, failure.violation.law);
    assert!(short.faults.len() < failure.faults.len(), "{} faults are left", short.faults.len());
    assert!(short.options.clients <= failure.options.clients);
    assert!((1..=120).contains(&tried), "{tried} attempts");
    assert!(!short.transcript.is_empty(), "it is told with its story");

    let again = run::<Raft>(&short.options).expect_err("it breaks the law again");
    assert_eq!((again.violation.law, again.hash), (short.violation.law, short.hash));

    let words = short.options.command(Protocol::Raft);
    assert!(words.contains("--mutant raft-elects-older-log --only-faults "), "{words}");
    assert!(short.to_string().contains(&words), "{short}");
}
