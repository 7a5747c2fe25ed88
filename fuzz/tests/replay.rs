//! Every input of the corpus, and a number of mutations of each, under the laws.
//!
//! The mutations are the same ones each time. `DUORUM_FUZZ_SECONDS=600 cargo test -p fuzz --release` draws
//! others, for so long in all, and writes an input that breaks a law into the corpus. With
//! `DUORUM_FUZZ_TARGETS=hello,frames` it is only these.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "how long it lasts, and what is printed, is no part of any input"
)]

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use consensus::Random;
use fuzz::{TARGETS, Target, check, corpus, mutate};

/// Mutations of each target, as far as it is fast.
const MUTATIONS: u64 = 100_000;

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let root = corpus::directory("");
    let entries = fs::read_dir(root).expect("there is a corpus");
    let entries = entries.map(|entry| entry.expect("a directory is read to its end"));
    let directories = entries.filter(|entry| entry.path().is_dir());
    let kept: BTreeSet<String> =
        directories.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(kept, names);
    assert_eq!(names.len(), TARGETS.len(), "no name is given twice");
}

#[test]
fn the_corpus_and_mutations_of_it_break_no_law() {
    let longer = std::env::var("DUORUM_FUZZ_SECONDS").ok().map(|seconds| {
        Duration::from_secs(seconds.parse().expect("DUORUM_FUZZ_SECONDS is a number of seconds"))
    });
    let wanted = std::env::var("DUORUM_FUZZ_TARGETS").ok();
    let is_wanted =
        |name: &str| wanted.as_ref().is_none_or(|names| names.split(',').any(|n| n == name));
    let targets: Vec<&Target> = TARGETS.iter().filter(|target| is_wanted(target.name)).collect();
    assert!(!targets.is_empty(), "DUORUM_FUZZ_TARGETS names targets");
    for &target in &targets {
        let inputs = corpus::inputs(target.name);
        assert!(!inputs.is_empty(), "{} has inputs", target.name);
        for (name, input) in &inputs {
            let outcome = catch_unwind(AssertUnwindSafe(|| check(target, input)));
            outcome.unwrap_or_else(|panic| {
                eprintln!("{}/{name} breaks a law", target.name);
                resume_unwind(panic)
            });
        }
        let inputs: Vec<Vec<u8>> = inputs.into_iter().map(|(_, input)| input).collect();
        let begin = Instant::now();
        let count = match longer {
            None => try_mutations(target, &inputs, 0, MUTATIONS / target.cost),
            Some(time) => {
                let share = time / u32::try_from(targets.len()).expect("a few");
                let (mut count, mut seed) = (0, 1);
                while begin.elapsed() < share {
                    count += try_mutations(target, &inputs, seed, 1000);
                    seed += 1;
                }
                count
            }
        };
        let seconds = begin.elapsed().as_secs_f64();
        let kept = inputs.len();
        eprintln!("{:16} {kept:4} inputs, {count:9} mutations, {seconds:6.2} s", target.name);
    }
}

/// Tries so many mutations of the inputs. Returns how many.
fn try_mutations(target: &Target, inputs: &[Vec<u8>], seed: u64, count: u64) -> u64 {
    let mut random = Random::new(seed);
    let mut place = || usize::try_from(random.below(inputs.len() as u64)).expect("a place");
    let pairs: Vec<(usize, usize)> = (0..count).map(|_| (place(), place())).collect();
    for (one, other) in pairs {
        let mut input = inputs[one].clone();
        mutate::mutate(&mut input, &inputs[other], &mut random);
        let outcome = catch_unwind(AssertUnwindSafe(|| check(target, &input)));
        outcome.unwrap_or_else(|panic| {
            let name = format!("found-{seed}-{:08x}", random.next_u64() >> 32);
            let path = corpus::directory(target.name).join(name);
            fs::write(&path, &input).expect("the corpus can be written");
            eprintln!("{} breaks a law", path.display());
            resume_unwind(panic)
        });
    }
    count
}
