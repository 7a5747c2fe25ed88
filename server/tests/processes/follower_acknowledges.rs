//! The system calls of a follower: what it acknowledges to its leader was synced before.

use std::time::Duration;

use crate::support::{Processes, complete_calls, is_sync, request};

/// How many writes are followed.
const WRITES: usize = 20;
/// So slow that hardly any heartbeat falls between the writes.
const TIMERS: [&str; 4] = ["--heartbeat", "1s", "--election-timeout", "3s"];

#[test]
fn a_raft_follower_acknowledges_what_is_durable() {
    follow("raft");
}

#[test]
fn a_zab_follower_acknowledges_what_is_durable() {
    follow("zab");
}

/// With two nodes each acknowledgement of the leader needs that of the follower.
fn follow(protocol: &'static str) {
    let trace = tempfile::tempdir().expect("a temporary directory");
    let files = trace.path().join("trace-{node}");
    let calls = "trace=pwrite64,fdatasync,write,writev,sendto,sendmsg";
    // -yy names the addresses of each socket.
    let wrapper =
        ["strace", "-f", "-yy", "-s", "24", "-e", calls, "-o", files.to_str().expect("text")];
    let mut cluster = Processes::start_under(protocol, 2, &wrapper, &TIMERS);
    let leader = cluster.leader();
    let follower = 1 - leader;
    for write in 0..WRITES {
        // What the one before left to say has been said.
        std::thread::sleep(Duration::from_millis(30));
        let path = format!("/v1/kv/key-{write}");
        let answer = request(cluster.addresses()[leader], "PUT", &path, b"value");
        assert_eq!(answer.expect("an answer").status, 201);
    }
    for node in [follower, leader] {
        assert!(cluster.terminate(node).success(), "SIGTERM ends a server cleanly");
    }
    let file = trace.path().join(format!("trace-{}", follower + 1));
    let calls = complete_calls(&std::fs::read_to_string(file).expect("a trace"));
    // The election is over, and all is said about it, when the follower has told who leads.
    let told = calls.iter().rposition(|call| call.contains("\"HTTP/1.1 200"));
    let calls = &calls[told.expect("the follower was asked who leads")..];
    // Node 2 dials node 1, so the port of node 1 is at one end or the other.
    let port = format!(":{}", cluster.peer_addresses()[0].port());
    let to_peer = |call: &&String| {
        ["write", "send"].iter().any(|name| call.starts_with(name))
            && call.contains("<TCP")
            && call.contains(&port)
    };
    let to_log = |call: &&String| call.starts_with("pwrite64(") && call.contains(".wal>");
    let mut acknowledged = 0;
    for (at, _) in calls.iter().enumerate().filter(|(_, call)| to_log(call)) {
        let behind = &calls[at + 1..];
        let until_sent = behind.iter().position(|call| to_peer(&call));
        let Some(until_sent) = until_sent else { continue };
        let between = &behind[..until_sent];
        if between.iter().any(|call| to_log(&call)) {
            // Written in two pieces; the second is looked at.
            continue;
        }
        let synced = between.iter().any(|call| is_sync(call) && call.contains(".wal>"));
        let shown = || calls[at..=at + 1 + until_sent].join("\n");
        assert!(synced, "sent to the leader before the log was synced:\n{}", shown());
        acknowledged += 1;
    }
    assert!(acknowledged >= WRITES, "only {acknowledged} of {WRITES} writes were acknowledged");
}
