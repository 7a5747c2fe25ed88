//! A workload that somebody chose: it is done as it says, and leaders fail as it says.

use std::time::Duration;

use consensus::Consensus;
use consensus_raft::Raft;
use consensus_zab::Zab;
use sim::{LeaderFault, Links, Profile, SimOptions, Workload, WorkloadReport, run};

fn options(faults: &[LeaderFault]) -> SimOptions {
    let workload = Workload {
        scenario: "it.toml".to_owned(),
        key_weights: vec![9, 1, 1, 1],
        value_bytes: 64,
        put: 2,
        get: 1,
        range: 1,
        at_leader: false,
        faults: faults.to_vec(),
    };
    SimOptions {
        profile: Profile::Calm,
        links: Links::Lan,
        clients: 4,
        watchers: 1,
        think: Some(Duration::from_millis(1)),
        duration: Duration::from_millis(400) * (1 + u32::try_from(faults.len()).expect("a few")),
        workload: Some(workload),
        ..SimOptions::new(3)
    }
}

fn report<C: Consensus>(options: &SimOptions) -> WorkloadReport {
    let report = run::<C>(options).unwrap_or_else(|failure| panic!("{failure}"));
    report.workload.expect("there was one")
}

#[test]
fn a_workload_without_faults_is_done_as_it_says() {
    for report in [report::<Raft>(&options(&[])), report::<Zab>(&options(&[]))] {
        let (writes, reads) = (report.writes.len() as f64, report.reads.len() as f64);
        assert!(writes > 100.0 && (0.8..1.25).contains(&(writes / reads)), "{writes} and {reads}");
        assert_eq!((report.failed, report.outages.len()), (0, 0));
        let longest = report.writes.iter().max().expect("there are writes");
        assert!(
            *longest < Duration::from_millis(20),
            "nobody waits for the first leader: {longest:?}"
        );
    }
}

#[test]
fn whatever_happens_to_leaders_the_cluster_comes_back() {
    let faults = [
        LeaderFault::Kill,
        LeaderFault::PowerCut,
        LeaderFault::Stop,
        LeaderFault::IsolateIn,
        LeaderFault::IsolateOut,
        LeaderFault::IsolateBoth,
        LeaderFault::Transfer,
    ];
    let options = options(&faults);
    for report in [report::<Raft>(&options), report::<Zab>(&options)] {
        assert_eq!(report.outages.len(), faults.len());
        for (fault, outage) in faults.iter().zip(&report.outages) {
            assert!(outage.is_some(), "no write was acknowledged after {fault:?}");
        }
    }
    let command = options.command(consensus::Protocol::Zab);
    assert!(
        command.contains(" --scenario it.toml ") && !command.contains("--profile"),
        "{command}"
    );
}
