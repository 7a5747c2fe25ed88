//! `duorum sim`: what it says can be typed, and goes on where it says.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use consensus::{Protocol, mutant};
use consensus_raft::Raft;
use rustix::process::{Pid, Signal, kill_process};
use sim::{Profile, SimOptions, StepNumber, run};

use crate::command_line::{Ran, run as run_program};
use crate::support::PROGRAM;

/// Runs `duorum` with the words of a command line.
fn typed(words: &str) -> Ran {
    run_program(&words.split_whitespace().collect::<Vec<_>>())
}

#[test]
fn the_command_of_a_run_runs_it_again() {
    let options = SimOptions {
        duration: Duration::from_millis(700),
        think: Some(Duration::from_millis(3)),
        only_faults: Some((1..40).map(StepNumber).collect()),
        ..SimOptions::of_seed(9, 3, Profile::Crashes)
    };
    let report = run::<Raft>(&options).expect("every law holds");
    let command = options.command(Protocol::Raft);
    let words = command.strip_prefix("duorum ").expect("it is a command of the program");
    let Ran { code, out, err } = typed(words);
    assert_eq!(code, Some(0), "{command}\n{out}{err}");
    assert!(out.starts_with("1 runs of 1 seeds: every law held\n"), "{out}");
    let line = |what: &str, count: u64| {
        let line = out.lines().find(|line| line.starts_with(what)).expect("it is counted");
        let number =
            line.split_whitespace().find_map(|word| word.trim_end_matches(',').parse().ok());
        assert_eq!(number, Some(count), "{out}");
    };
    line("acknowledged writes", report.counters.acknowledged);
    line("faults", report.counters.faults);
    line("protocol events", report.counters.inputs);
}

#[test]
fn an_interrupted_simulation_says_where_it_goes_on() {
    let mut process = Command::new(PROGRAM)
        .args(["sim", "--seeds", "1000000", "--from", "500", "--duration", "300ms", "--jobs", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    std::thread::sleep(Duration::from_secs(2));
    let pid = Pid::from_child(&process);
    kill_process(pid, Signal::INT).expect("it runs");
    let code = process.wait().expect("it ends").code();
    let mut err = String::new();
    process.stderr.take().expect("piped").read_to_string(&mut err).expect("it prints text");
    assert_eq!(code, Some(1), "{err}");
    let words = err.split("go on with --from ").nth(1).expect("it says where it goes on");
    let mut numbers = words.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
    let (from, left) = (numbers.next().expect("from"), numbers.next().expect("seeds"));
    assert!(from > 500 && from + left == 1_000_500, "{err}");
}

#[test]
fn a_simulation_that_would_show_nothing_is_refused() {
    let refused = |words, code, why| typed(words).assert_complains(code, why);
    refused("sim --protocol zab --from 7 --seeds 1", 1, "`datagrams`, which is for Raft alone");
    refused("sim --protocol zab --profile datagrams", 2, "ZAB is made of connections");
    refused("sim --seeds 0", 2, "0 is not in 1..");
    refused("sim --clients 0", 2, "0 is not in 1..");
    refused("sim --mutant nobody", 2, "`--mutant list` shows all");
}

/// The program that is tested has wrong versions if another crate of the workspace is tested with it.
#[test]
fn a_wrong_version_shows_the_law_that_it_breaks_or_how_to_build_it() {
    let Ran { code, out, err } = typed("sim --protocol raft --mutant two-of-five --attempts 20");
    if mutant::AVAILABLE {
        assert_eq!(code, Some(1), "{out}{err}");
        // Both are broken soon; which is first, once what broke is as little as it gets, is up to the seed.
        let is_told = ["nobody leads", "nothing is committed"]
            .map(|law| format!("broken law: {law} without a quorum of voters"))
            .iter()
            .any(|law| out.contains(law));
        assert!(is_told && out.contains("\nagain: duorum sim --protocol raft"), "{out}");
    } else {
        assert_eq!(code, Some(2), "{out}{err}");
        assert!(err.contains("cargo run --release --features mutants -- sim"), "{err}");
    }
}
