//! Timelines from pages of `/v1/elections`: as real nodes told them, and as they must never be.

use super::*;
use crate::cluster::{Follower, Moment};

const BOOT: &str = "e1a5";
const ZERO: u64 = 5_000_000;

fn election(term: u64, leader: u64, began_us: u64, phases: &[(&str, f64)]) -> Election {
    let moment = |&(phase, at_ms): &(&str, f64)| Moment { phase: phase.to_owned(), at_ms };
    Election {
        term: Some(term),
        leader: Some(leader),
        boot: Some(BOOT.to_owned()),
        began_us,
        phases: phases.iter().map(moment).collect(),
        followers: Vec::new(),
    }
}

/// Node 1 was killed, and node 2 took over; the page begins 2 ms before the fault.
fn taken_over() -> Election {
    let mut election = election(
        2,
        2,
        ZERO - 2_000,
        &[
            ("fault_seen", 0.0),
            ("suspected", 3.0),
            ("pre_candidate", 4.5),
            ("candidate", 6.0),
            ("elected", 9.0),
            ("first_commit", 11.0),
            ("last_follower_caught_up", 11.5),
            ("first_client_write", 12.0),
        ],
    );
    let follower =
        |node, at_ms, joined_later| Follower { node, at_ms, last_at_ms: at_ms, joined_later };
    election.followers = vec![follower(3, 11.5, false), follower(1, 300.0, true)];
    election
}

fn killed() -> Witnessed {
    Witnessed {
        fault_us: ZERO,
        back_us: Some(ZERO + 10_700),
        healed_us: Some(ZERO + 110_000),
        returned_us: ZERO + 110_000,
        node: 1,
        nodes: 3,
        ..Witnessed::default()
    }
}

fn spans(timeline: &Timeline) -> Vec<(Phase, f64)> {
    timeline.spans().iter().map(|span| (span.phase, span.to_ms - span.from_ms)).collect()
}

/// What real nodes told, but for what each of them saw by itself.
fn recorded(page: &str) -> Vec<Election> {
    #[derive(Deserialize)]
    struct Page {
        elections: Vec<Election>,
    }
    serde_json::from_str::<Page>(page).expect("a page").elections
}

/// A fault so long before the newest election of a page was noticed.
fn before(page: &[Election], us: u64) -> u64 {
    page[0].began_us - us
}

#[test]
fn a_recorded_kill_of_a_raft_leader() {
    let page = recorded(include_str!("pages/raft-kill.json"));
    let fault_us = before(&page, 1_000);
    let (healed_us, returned_us) = (Some(fault_us + 20_000), fault_us + 20_000);
    let back_us = Some(fault_us + 10_400);
    let witnessed = Witnessed { fault_us, back_us, healed_us, returned_us, ..killed() };
    let timeline = Timeline::of(&witnessed, &page, Some(BOOT));
    assert_eq!(timeline.violations, Vec::<String>::new());
    assert_eq!((timeline.suspected_ms, timeline.candidate_ms), (Some(1.0), Some(7.166)));
    assert_eq!((timeline.elected_ms, timeline.synchronized_ms), (Some(9.359), Some(9.923)));
    assert_eq!(timeline.first_write_committed_ms, Some(10.137));
    assert_eq!(timeline.followers_caught_up_ms, Some(9.923));
    assert_eq!((timeline.all_caught_up_ms, timeline.elections), (Some(35.151), 1));
}

/// The others elect the one that hears nobody, as it has the best vote, and give it up only after 1.2 s.
#[test]
fn a_recorded_zab_leader_that_hears_nobody() {
    let page = recorded(include_str!("pages/zab-isolate-in.json"));
    let fault_us = before(&page, 300_000);
    let (healed_us, returned_us) = (Some(fault_us + 1_700_000), fault_us + 1_700_000);
    let witnessed =
        Witnessed { fault_us, back_us: None, healed_us, returned_us, node: 3, ..killed() };
    let timeline = Timeline::of(&witnessed, &page, Some(BOOT));
    assert_eq!(timeline.violations, Vec::<String>::new());
    // It finds out by itself that no quorum answers, long before anybody else suspects it.
    assert_eq!((timeline.suspected_ms, timeline.stepped_down_ms), (Some(300.0), Some(300.0)));
    assert_eq!((timeline.elected_ms, timeline.discovered_ms), (Some(1_522.145), Some(1_531.118)));
    assert_eq!(timeline.synchronized_ms, Some(1_531.334));
    assert_eq!(timeline.followers_caught_up_ms, Some(1_531.334), "without the one that was hit");
    assert_eq!(timeline.all_caught_up_ms, Some(2_853.956));
}

#[test]
fn a_recorded_transfer_of_raft() {
    let page = recorded(include_str!("pages/raft-transfer.json"));
    let fault_us = before(&page, 200);
    let acknowledged_us = [150, 11_000, 13_000].map(|us| fault_us + us).to_vec();
    let witnessed = Witnessed {
        fault_us,
        acknowledged_us,
        returned_us: fault_us,
        node: 2,
        nodes: 3,
        ..Witnessed::default()
    };
    let timeline = Timeline::of(&witnessed, &page, Some(BOOT));
    assert_eq!(timeline.violations, Vec::<String>::new());
    assert_eq!((timeline.handed_over_ms, timeline.suspected_ms), (Some(0.2), None));
    assert_eq!((timeline.elected_ms, timeline.first_write_ms), (Some(1.393), Some(11.0)));
    assert_eq!((timeline.all_caught_up_ms, timeline.healed_ms), (Some(2.32), None));
}

#[test]
fn moments_are_counted_from_the_fault_and_the_phases_leave_no_gap() {
    let timeline = Timeline::of(&killed(), &[taken_over()], Some(BOOT));
    assert_eq!(timeline.violations, Vec::<String>::new());
    assert_eq!((timeline.fault_us, timeline.elections), (ZERO, 1));
    let told = [timeline.suspected_ms, timeline.candidate_ms, timeline.elected_ms];
    assert_eq!(told, [Some(1.0), Some(2.5), Some(7.0)]);
    // What opens a term is what synchronizes it in Raft, and there is no discovery.
    assert_eq!((timeline.discovered_ms, timeline.synchronized_ms), (None, Some(9.0)));
    assert_eq!(timeline.first_write_committed_ms, Some(10.0));
    assert_eq!(timeline.first_write_ms, Some(10.7));
    assert_eq!(timeline.followers_caught_up_ms, Some(9.5));
    assert_eq!(timeline.all_caught_up_ms, Some(298.0));
    assert_eq!(timeline.rejoin_ms(), Some(188.0));
    let spans = spans(&timeline);
    let phases: Vec<Phase> = spans.iter().map(|&(phase, _)| phase).collect();
    use Phase::{Candidacy, Detection, Election, FirstWrite, Synchronization};
    assert_eq!(phases, [Detection, Candidacy, Election, Synchronization, FirstWrite]);
    let sum: f64 = spans.iter().map(|&(_, ms)| ms).sum();
    assert!((sum - 10.7).abs() < 1e-9, "the whole outage: {spans:?}");
}

#[test]
fn zab_ends_discovery_and_synchronization_by_themselves() {
    let page = [election(
        3,
        3,
        ZERO,
        &[
            ("suspected", 1.0),
            ("looking", 1.0),
            ("elected", 4.0),
            ("discovery", 6.0),
            ("synchronization", 8.0),
            ("first_commit", 8.0),
            ("first_client_write", 9.0),
        ],
    )];
    let timeline = Timeline::of(&killed(), &page, Some(BOOT));
    assert_eq!((timeline.discovered_ms, timeline.synchronized_ms), (Some(6.0), Some(8.0)));
    assert_eq!(timeline.candidate_ms, Some(1.0));
    assert_eq!(timeline.violations, Vec::<String>::new());
    assert_eq!(timeline.all_caught_up_ms, None, "nobody told of the old leader");
}

#[test]
fn a_leader_that_finds_itself_alone_is_the_first_suspicion() {
    let mut page = taken_over();
    page.phases.insert(1, Moment { phase: "stepped_down".to_owned(), at_ms: 2.5 });
    let timeline = Timeline::of(&killed(), &[page], Some(BOOT));
    assert_eq!((timeline.suspected_ms, timeline.stepped_down_ms), (Some(0.5), Some(0.5)));
    // After the election it is a consequence.
    let mut page = taken_over();
    page.phases.push(Moment { phase: "stepped_down".to_owned(), at_ms: 250.0 });
    let timeline = Timeline::of(&killed(), &[page], Some(BOOT));
    assert_eq!((timeline.suspected_ms, timeline.stepped_down_ms), (Some(1.0), Some(248.0)));
    assert_eq!(timeline.violations, Vec::<String>::new());
}

#[test]
fn attempts_that_came_to_nothing_belong_to_the_way() {
    // Node 3 was elected first, and lost its office before anybody could write.
    let failed = election(2, 3, ZERO, &[("suspected", 0.5), ("candidate", 0.8), ("elected", 2.0)]);
    let before = election(1, 1, ZERO - 900_000, &[("elected", 3.0), ("first_client_write", 4.0)]);
    let mut later = taken_over();
    later.term = Some(3);
    let timeline = Timeline::of(&killed(), &[later, failed, before], Some(BOOT));
    assert_eq!(timeline.elections, 2);
    let told = [timeline.suspected_ms, timeline.candidate_ms, timeline.elected_ms];
    assert_eq!(told, [Some(0.5), Some(0.8), Some(7.0)]);
}

#[test]
fn a_leader_that_hands_over_takes_writes_until_it_has() {
    let page = [election(
        2,
        2,
        ZERO,
        &[
            ("transfer_begun", 0.2),
            ("hands_over", 1.0),
            ("candidate", 1.2),
            ("elected", 2.0),
            ("first_commit", 3.0),
            ("first_client_write", 3.5),
        ],
    )];
    let witnessed = Witnessed {
        back_us: None,
        healed_us: None,
        acknowledged_us: [100, 900, 3_600, 5_000].map(|us| ZERO + us).to_vec(),
        ..killed()
    };
    let timeline = Timeline::of(&witnessed, &page, Some(BOOT));
    assert_eq!((timeline.handed_over_ms, timeline.suspected_ms), (Some(1.0), None));
    assert_eq!(timeline.first_write_ms, Some(3.6));
    assert_eq!(timeline.violations, Vec::<String>::new());
    assert_eq!(spans(&timeline)[0], (Phase::Handover, 1.0));
}

#[test]
fn where_nothing_is_to_be_healed_every_follower_must_have_caught_up() {
    let mut page = taken_over();
    let witnessed = Witnessed { healed_us: None, returned_us: ZERO, ..killed() };
    let timeline = Timeline::of(&witnessed, &[page.clone()], Some(BOOT));
    assert_eq!(timeline.all_caught_up_ms, Some(298.0));
    // Restarted in turn, it was up to date before it ended, and must be once more.
    let restarted = Witnessed { returned_us: ZERO + 300_000, ..witnessed.clone() };
    let timeline = Timeline::of(&restarted, &[page.clone()], Some(BOOT));
    assert_eq!(timeline.all_caught_up_ms, None);
    page.followers[1].last_at_ms = 402.0;
    let timeline = Timeline::of(&restarted, &[page.clone()], Some(BOOT));
    assert_eq!(timeline.all_caught_up_ms, Some(400.0));
    page.followers.pop();
    let timeline = Timeline::of(&witnessed, &[page], Some(BOOT));
    assert_eq!(timeline.all_caught_up_ms, None, "one is missing");
}

#[test]
fn without_an_election_there_are_no_phases_and_nothing_is_made_up() {
    let before = election(1, 1, ZERO - 900_000, &[("suspected", 1.0), ("elected", 3.0)]);
    let witnessed = Witnessed { caught_up_us: Some(ZERO + 111_000), ..killed() };
    let timeline = Timeline::of(&witnessed, &[before], Some(BOOT));
    assert_eq!((timeline.elections, timeline.elected_ms, timeline.suspected_ms), (0, None, None));
    assert_eq!((timeline.first_write_ms, timeline.rejoin_ms()), (Some(10.7), Some(1.0)));
    assert!(timeline.spans().is_empty() && timeline.violations.is_empty());
}

#[test]
fn what_is_out_of_order_is_told_and_not_drawn_backwards() {
    // The election is told to have been decided before anybody stood for it.
    let page = election(2, 2, ZERO, &[("suspected", 1.0), ("candidate", 8.0), ("elected", 3.0)]);
    let timeline = Timeline::of(&killed(), &[page], Some(BOOT));
    let told = "the election (3.000 ms) lies before the first candidate (8.000 ms)";
    assert_eq!(timeline.violations, [told]);
    assert!(timeline.spans().iter().all(|span| span.to_ms >= span.from_ms));
    // Healed after everybody had caught up with it: that can not be.
    let witnessed = Witnessed { healed_us: Some(ZERO + 90_000), ..killed() };
    let early = Witnessed { caught_up_us: Some(ZERO + 80_000), ..witnessed };
    let timeline = Timeline::of(&early, &[], Some(BOOT));
    assert_eq!(
        timeline.violations,
        ["the last node (80.000 ms) lies before the healing (90.000 ms)"]
    );
}

#[test]
fn times_of_another_clock_are_not_compared() {
    for boot in [Some("another"), None] {
        let timeline = Timeline::of(&killed(), &[taken_over()], boot);
        assert_eq!((timeline.elected_ms, timeline.violations.len()), (None, 1));
        assert_eq!(timeline.first_write_ms, Some(10.7), "the clients' own clock is this one");
    }
}
