//! What flags come to.

use clap::Parser as _;

use super::*;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    flags: ServeFlags,
}

fn config(line: &str) -> Result<ServeConfig, ConfigError> {
    let words = std::iter::once("serve").chain(line.split_whitespace());
    ServeConfig::from_flags(Line::try_parse_from(words).expect("known flags").flags)
}

#[test]
fn without_flags_it_is_one_node_of_raft_on_loopback() {
    let config = config("").expect("the defaults are possible");
    assert_eq!(config.node.protocol, Protocol::Raft);
    assert_eq!(config.http_address.to_string(), "127.0.0.1:2379");
    assert_eq!(config.node.peer_address.to_string(), "127.0.0.1:2380");
    assert_eq!(config.node.members, BTreeMap::from([(NodeId(1), "127.0.0.1:2380".to_owned())]));
    assert_eq!(config.node.retain_revisions, Some(100_000));
    assert_eq!(config.warnings(), Vec::<String>::new());
}

#[test]
fn a_node_listens_where_the_cluster_expects_it() {
    let config = config(
        "--id 2 --cluster 1=127.0.0.1:9001,2=127.0.0.1:9002 --protocol zab \
         --retain-revisions 0 --quota-bytes 1000000 --session-timeout-max 4s",
    )
    .expect("possible");
    assert_eq!(config.node.peer_address.to_string(), "127.0.0.1:9002");
    assert_eq!((config.node.retain_revisions, config.node.retain_for), (None, None));
    assert_eq!(config.node.quota_bytes, Some(1_000_000));
    assert_eq!(config.limits.session_timeouts.negotiate(60_000), 4_000);
}

#[test]
fn history_is_retained_by_number_or_for_a_time_or_both() {
    let retained = |line| {
        let node = config(line).expect("possible").node;
        (node.retain_revisions, node.retain_for, node.digest_interval)
    };
    let compared = Some(Duration::from_secs(30));
    let hour = Some(Duration::from_secs(3_600));
    assert_eq!(retained(""), (Some(100_000), None, compared));
    assert_eq!(retained("--retain-for 1h --digest-interval 0s"), (None, hour, None));
    assert_eq!(
        retained("--retain-for 1h --retain-revisions 7 --digest-interval 2s"),
        (Some(7), hour, Some(Duration::from_secs(2)))
    );
    assert_eq!(retained("--retain-for 0s"), (Some(100_000), None, compared));
}

#[test]
fn observers_are_members_that_do_not_vote() {
    let line = "--id 3 --cluster 1=127.0.0.1:9001,2=127.0.0.1:9002,3=127.0.0.1:9003/observer";
    let node = config(line).expect("possible").node;
    assert_eq!(node.members.len(), 3);
    assert_eq!(node.observers, BTreeSet::from([NodeId(3)]));
    assert_eq!(node.peer_address.to_string(), "127.0.0.1:9003");
    let settings = node.settings(7);
    assert_eq!(settings.voters, BTreeSet::from([NodeId(1), NodeId(2)]));
    assert_eq!((settings.standing, settings.check()), (consensus::Standing::Observer, Ok(())));
}

#[test]
fn impossible_values_say_what_is_allowed() {
    for (line, words) in [
        ("--protocol paxos", "`paxos`; allowed: raft, zab or null"),
        ("--id 0", "allowed: 1 or more"),
        ("--id 4 --cluster 1=a:1,2=b:2", "allowed: one of 1, 2"),
        ("--cluster 1=a:1,1=b:2", "node 1 twice"),
        ("--cluster 1=a:1,2=a:1", "a:1 twice"),
        ("--cluster 1=a:1/observer,2=b:2/observer", "observers only"),
        ("--cluster 1=a:1,2=b:2/learner", "role `learner`"),
        ("--cluster 1=a:1,2=b:2/observer/", "role `observer/`"),
        ("--id 3 --cluster 1=a:1,2=b:2/observer", "allowed: one of 1, 2"),
        ("--cluster 1=a:1,2=a:1/observer", "a:1 twice"),
        ("--protocol null --cluster 1=127.0.0.1:1,2=127.0.0.1:2/observer", "does not replicate"),
        ("--cluster 1=a", "HOST:PORT"),
        ("--cluster 1:a:1", "ID=HOST:PORT"),
        ("--cluster x=a:1", "allowed: 1 or more"),
        ("--protocol null --cluster 1=127.0.0.1:1,2=127.0.0.1:2", "does not replicate"),
        ("--retain-for 10ms", "allowed: 1s to 10years"),
        ("--digest-interval 10ms", "allowed: 100ms to"),
        ("--http nowhere", "HOST:PORT"),
        ("--http 127.0.0.1:70000", "0 to 65535"),
        ("--http 127.0.0.1:5 --peer 127.0.0.1:5", "two different"),
        ("--heartbeat 100ms --election-timeout 299ms", "here 300ms"),
        ("--heartbeat 0ms", "allowed: 1ms"),
        ("--election-timeout 2h", "at most 1m"),
        ("--election-jitter 301ms", "allowed: 0ms to --election-timeout, here 300ms"),
        ("--finalize-wait 2m", "at most 1m"),
        ("--max-inflight-messages 0", "allowed: 1 to 65536"),
        ("--max-value-bytes 0", "allowed: 1 to"),
        ("--watch-progress-interval 99ms", "allowed: 100ms and more"),
        ("--session-timeout-min 1999ms", "allowed: 2s and more"),
        (
            "--session-timeout-min 41s",
            "--session-timeout-max is 40s; allowed: --session-timeout-min",
        ),
        ("--session-timeout-max 3s", "here 4s, to 9000000000s"),
        ("--session-timeout-max 9000000001s", "here 4s, to 9000000000s"),
        ("--max-value-bytes 99999999", "allowed: 1 to 16777216"),
        ("--max-connections 0", "allowed: 1 to"),
        ("--store-cache-bytes 5", "allowed: 1048576 to"),
        ("--cluster-name a/b", "letters, digits"),
        ("--log info,=,", "allowed: error, warn"),
    ] {
        let error = config(line).map(|_| ()).expect_err(line);
        assert!(error.0.contains(words), "{line}: {error}");
    }
}

#[test]
fn faults_are_off_unless_they_are_asked_for_and_then_worth_a_warning() {
    assert!(!config("").expect("possible").node.faults.enabled);
    assert!(!config("--enable-faults=false").expect("possible").node.faults.enabled);
    let enabled = config("--enable-faults").expect("possible");
    assert!(enabled.node.faults.enabled && !enabled.node.faults.supervised);
    let warnings = enabled.warnings();
    assert!(warnings[0].contains("faults are enabled") && warnings.len() == 1, "{warnings:?}");
}

#[test]
fn what_experiments_do_without_reaches_the_protocol_and_the_log() {
    let plain = config("--election-timeout 1s").expect("possible").node;
    let settings = plain.settings(7);
    let defaults = consensus::Settings::new(NodeId(1), [NodeId(1)]);
    assert_eq!(settings.election_jitter, Duration::from_millis(100));
    assert!(plain.mechanisms.fsync && settings.batching && settings.pre_vote);
    assert!(settings.suspect_on_connection_loss && settings.immediate_commit_notices);
    assert_eq!(settings.inflight_messages_max, defaults.inflight_messages_max);
    assert_eq!(settings.finalize_wait, defaults.finalize_wait);
    let without = config(
        "--fsync off --batching off --max-inflight-messages 1 --pre-vote off --election-jitter 0ms \
         --finalize-wait 0ms --failure-detector silence --commit-notices piggybacked",
    )
    .expect("possible");
    assert_eq!(without.warnings(), without.node.mechanisms.warnings());
    assert!(without.warnings()[0].contains("NOT durable"), "{:?}", without.warnings());
    assert!(!without.node.mechanisms.fsync);
    let settings = without.node.settings(7);
    assert!(!settings.batching && !settings.pre_vote);
    assert!(!settings.suspect_on_connection_loss && !settings.immediate_commit_notices);
    assert_eq!(settings.inflight_messages_max, 1);
    assert_eq!((settings.election_jitter, settings.finalize_wait), Default::default());
}

#[test]
fn an_address_that_others_can_reach_is_worth_one_warning() {
    let config = config("--http 0.0.0.0:2379 --peer 0.0.0.0:2380").expect("possible");
    assert_eq!(config.warnings().len(), 1);
}

#[test]
fn the_file_is_below_the_flags_and_its_unknown_keys_are_errors() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("duorum.toml");
    let line = format!("--config {} --http 127.0.0.1:1", file.display());
    std::fs::write(
        &file,
        "protocol = 'zab'\nhttp = '127.0.0.1:2'\nheartbeat = '20ms'\nfsync = 'off'",
    )
    .expect("written");
    let merged = config(&line).expect("possible");
    assert_eq!(merged.node.protocol, Protocol::Zab);
    assert_eq!(merged.http_address.port(), 1);
    assert!(!merged.node.mechanisms.fsync);
    assert_eq!(merged.node.heartbeat_interval, Duration::from_millis(20));
    for (content, words) in [
        ("protocl = 'zab'", "protocl"),
        ("protocl = 'zab'", "`protocol`"),
        ("heartbeat = '20'", "heartbeat"),
        ("id = 'one'", "id"),
        ("fsync = 'never'", "expected `on` or `off`"),
        ("id = ", "TOML"),
    ] {
        std::fs::write(&file, content).expect("written");
        let error = config(&line).map(|_| ()).expect_err(content);
        assert!(error.0.contains(words), "{content}: {error}");
    }
    let missing = config("--config /nowhere/duorum.toml").map(|_| ()).expect_err("no file");
    assert!(missing.0.contains("/nowhere/duorum.toml"), "{missing}");
}
