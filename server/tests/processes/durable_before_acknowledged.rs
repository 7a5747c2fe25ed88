//! The system calls of a real server: what it acknowledges was synced before, in the right file, a new
//! or renamed file with its directory, and the directory itself with the one above it.

use std::path::Path;

use crate::support::{Processes, complete_calls, is_sync, request};

/// How many writes are followed.
const WRITES: usize = 20;

#[test]
fn a_raft_node_acknowledges_what_is_durable() {
    follow("raft");
}

#[test]
fn a_zab_node_acknowledges_what_is_durable() {
    follow("zab");
}

#[test]
fn a_null_node_acknowledges_what_is_durable() {
    follow("null");
}

fn follow(protocol: &'static str) {
    let trace = tempfile::tempdir().expect("a temporary directory");
    let file = trace.path().join("trace");
    let calls = "trace=openat,mkdir,mkdirat,rename,renameat,renameat2,pwrite64,fdatasync,fsync,\
                 write,writev,sendto";
    let file_name = file.to_str().expect("a readable path");
    // -y names the file behind each descriptor; -s shows enough to know an answer by its first line.
    let wrapper = ["strace", "-f", "-y", "-s", "24", "-e", calls, "-o", file_name];
    let mut cluster = Processes::start_under(protocol, 1, &wrapper, &[]);
    for write in 0..WRITES {
        let answer =
            request(cluster.addresses()[0], "PUT", &format!("/v1/kv/key-{write}"), b"value");
        assert_eq!(answer.expect("an answer").status, 201);
    }
    assert!(cluster.terminate(0).success(), "SIGTERM ends a server cleanly");
    let calls = complete_calls(&std::fs::read_to_string(&file).expect("a trace"));
    let directory = cluster.data_directory(0);
    check_acknowledgements(&calls);
    check_directories(&calls, text(&directory));
    check_parent(&calls, &directory, true);

    // A start that was killed between creating the directory and syncing its parent leaves a
    // directory whose name is not durable: so each start syncs the parent.
    cluster.start_node(0);
    cluster.wait_until_ready();
    let answer = request(cluster.addresses()[0], "PUT", "/v1/kv/again", b"value");
    assert_eq!(answer.expect("an answer").status, 201);
    assert!(cluster.terminate(0).success(), "SIGTERM ends a server cleanly");
    let calls = complete_calls(&std::fs::read_to_string(&file).expect("a trace"));
    check_parent(&calls, &directory, false);
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a readable path")
}

/// Before each acknowledgement: a write to the log, and behind it a sync of that very file.
fn check_acknowledgements(calls: &[String]) {
    let is_acknowledgement = |call: &String| call.contains("\"HTTP/1.1 201");
    let mut acknowledged = 0;
    let mut since = 0;
    for (at, _) in calls.iter().enumerate().filter(|(_, call)| is_acknowledgement(call)) {
        let between = &calls[since..at];
        let shown = || between.join("\n");
        let written =
            between.iter().position(|call| call.starts_with("pwrite64(") && call.contains(".wal>"));
        let written = written.unwrap_or_else(|| panic!("no write to the log in\n{}", shown()));
        let synced = between[written..].iter().any(|call| is_sync(call) && call.contains(".wal>"));
        assert!(synced, "no sync of the log behind the write to it in\n{}", shown());
        acknowledged += 1;
        since = at + 1;
    }
    assert_eq!(acknowledged, WRITES, "every write was acknowledged once");
}

/// Before the first acknowledgement: a sync of the directory in which the data directory is, behind
/// the creation of the latter.
fn check_parent(calls: &[String], directory: &Path, is_new: bool) {
    let parent = directory.parent().expect("a directory above");
    let creates = |call: &String| {
        let name = format!("\"{}\"", directory.display());
        call.starts_with("mkdir") && call.contains(&name) && call.ends_with("= 0")
    };
    let created = calls.iter().position(creates);
    assert_eq!(created.is_some(), is_new, "the server creates its data directory if need be");
    let synced = calls[created.unwrap_or(0)..]
        .iter()
        .take_while(|call| !call.contains("\"HTTP/1.1 201"))
        .any(|call| is_sync(call) && call.contains(&format!("<{}>", parent.display())));
    assert!(synced, "the name of the data directory is not durable");
}

/// Behind the creation and behind the renaming of a file: a sync of its directory, before anything is
/// acknowledged.
fn check_directories(calls: &[String], directory: &str) {
    let changes_names = |call: &&String| {
        let creates = call.starts_with("openat(") && call.contains("O_CREAT");
        let renames = call.starts_with("rename");
        // The lock file carries nothing that has to survive.
        (creates || renames) && call.contains(directory) && !call.contains("lock")
    };
    let changes = calls.iter().enumerate().filter(|(_, call)| changes_names(call));
    let mut checked = 0;
    for (at, call) in changes {
        let behind = &calls[at..];
        let synced = behind
            .iter()
            .take_while(|call| !call.contains("\"HTTP/1.1 201"))
            .any(|call| is_sync(call) && call.contains(&format!("{directory}>")));
        assert!(synced, "the directory is not synced behind {call}");
        checked += 1;
    }
    assert!(checked >= 2, "the log's first segment and the store were created");
}
