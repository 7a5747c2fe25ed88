//! Transfers of leadership under load, by call and by SIGTERM, on three real processes: clients meet no
//! error that is not definite, and go on at once.
//!
//! The measured times are printed (`--nocapture` shows them); the bounds here are generous, because
//! the machine may be busy.

#![allow(clippy::print_stderr, reason = "the measured times are worth reading")]

use std::time::{Duration, Instant};

use crate::support::{Load, PROGRAM, Processes, Seen, assert_kept, request};

/// No write waits as long for a leader, on however busy a machine.
const GAP_MAX: Duration = Duration::from_secs(5);

/// The longest time between two acknowledgements that ends after this moment: how long clients waited.
fn longest_gap(seen: &[Seen], from: Instant) -> Duration {
    let mut times: Vec<Instant> =
        seen.iter().filter(|seen| seen.result.is_ok()).map(|seen| seen.answered).collect();
    times.sort_unstable();
    let gaps = times.windows(2).filter(|pair| pair[1] >= from).map(|pair| pair[1] - pair[0]);
    gaps.max().expect("writes were acknowledged afterwards")
}

fn a_transfer_under_load_costs_clients_no_error(protocol: &'static str) {
    let cluster = Processes::start(protocol, 3);
    let load = Load::start(&cluster, &[0, 1, 2]);
    std::thread::sleep(Duration::from_millis(300));
    let mut asked_at = Vec::new();
    for round in 0..6 {
        let leader = cluster.leader();
        let to = (leader + 1 + round % 2) % 3;
        // Any node takes it, also the one that is to lead.
        let asked = cluster.addresses()[(leader + round) % 3];
        let body = format!("{{\"to\": {}}}", to + 1);
        asked_at.push(Instant::now());
        let answer = request(asked, "POST", "/v1/cluster/transfer?timeout=20s", body.as_bytes())
            .expect("an answer");
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.json()["leader"], to + 1);
        assert_eq!(cluster.leader(), to);
        std::thread::sleep(Duration::from_millis(200));
    }
    let seen = load.stop();
    for write in &seen {
        assert!(write.result.is_ok(), "{}: {:?}", write.key, write.result);
    }
    for at in asked_at {
        let after = seen.iter().filter(|seen| seen.result.is_ok() && seen.answered > at);
        let next = after.map(|seen| seen.answered - at).min().expect("writes went on");
        assert!(next < GAP_MAX, "{next:?}");
    }
    let gap = longest_gap(&seen, Instant::now() - Duration::from_secs(60));
    eprintln!("{protocol}: 6 transfers, {} writes, longest pause {gap:?}", seen.len());
    assert!(gap < GAP_MAX, "{gap:?}");
    assert_kept(&cluster, &seen);
}

fn a_leader_that_is_told_to_stop_hands_over_first(protocol: &'static str) {
    let mut cluster = Processes::start(protocol, 3);
    for _ in 0..3 {
        let leader = cluster.leader();
        let others: Vec<usize> = (0..3).filter(|&node| node != leader).collect();
        let (elsewhere, at_leader) =
            (Load::start(&cluster, &others), Load::start(&cluster, &[leader]));
        std::thread::sleep(Duration::from_millis(300));
        let began = Instant::now();
        assert!(cluster.terminate(leader).success(), "it stops cleanly");
        let took = began.elapsed();
        std::thread::sleep(Duration::from_millis(300));
        let (seen, seen_at_leader) = (elsewhere.stop(), at_leader.stop());
        let failed: Vec<_> = seen
            .iter()
            .chain(&seen_at_leader)
            .filter_map(|seen| seen.result.as_ref().err())
            .collect();
        for error in &failed {
            assert_eq!(error["definite"], true, "{error}");
        }
        let gap = longest_gap(&seen, began);
        eprintln!(
            "{protocol}: SIGTERM of the leader, {} writes elsewhere, longest pause {gap:?}, \
             {} definite errors, stopped after {took:?}",
            seen.len(),
            failed.len(),
        );
        assert!(gap < GAP_MAX, "{gap:?}");
        let log = cluster.logs();
        assert!(log.contains("leads now"), "it handed over: {log}");
        cluster.start_node(leader);
        cluster.wait_until_ready();
        assert_kept(&cluster, &seen);
        assert_kept(&cluster, &seen_at_leader);
    }
}

#[test]
fn a_transfer_of_raft_under_load_costs_clients_no_error() {
    a_transfer_under_load_costs_clients_no_error("raft");
}

#[test]
fn a_transfer_of_zab_under_load_costs_clients_no_error() {
    a_transfer_under_load_costs_clients_no_error("zab");
}

#[test]
fn a_leader_of_raft_that_is_told_to_stop_hands_over_first() {
    a_leader_that_is_told_to_stop_hands_over_first("raft");
}

#[test]
fn a_leader_of_zab_that_is_told_to_stop_hands_over_first() {
    a_leader_that_is_told_to_stop_hands_over_first("zab");
}

#[test]
fn the_command_line_transfers_and_says_who_leads() {
    let cluster = Processes::start("zab", 3);
    let leader = cluster.leader();
    let to = (leader + 1) % 3 + 1;
    let run = |words: &[&str]| {
        let endpoint = format!("http://{}", cluster.addresses()[leader]);
        std::process::Command::new(PROGRAM)
            .args(["members", "transfer", "--endpoint", &endpoint])
            .args(words)
            .output()
            .expect("the program runs")
    };
    let done = run(&["--to", &to.to_string()]);
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(text.starts_with(&format!("node {to} leads now, in term ")), "{done:?}");
    assert_eq!(cluster.leader(), to - 1);
    let unknown = run(&["--to", "9"]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("not a member"), "{unknown:?}");
    let anybody = run(&[]);
    assert!(anybody.status.success(), "{anybody:?}");
    assert_ne!(cluster.leader(), to - 1);
}
