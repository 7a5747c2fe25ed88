//! The program itself: its verbs against a real process, its messages and its exit codes.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;

use crate::support::{PROGRAM, Served};

/// Runs client verbs against a server.
trait Run {
    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, b"")
    }

    fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran;
}

impl Run for Served {
    fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        run_with(&[arguments, &["--endpoint", &self.address.to_string()]].concat(), input)
    }
}

/// What became of a verb.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    #[track_caller]
    fn assert(&self, code: i32, out: &str) {
        assert_eq!((self.code, &self.out[..]), (Some(code), out), "{self:?}");
    }

    #[track_caller]
    pub(crate) fn assert_complains(&self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.contains(words), "`{words}` is not in {self:?}");
    }
}

pub(crate) fn run(arguments: &[&str]) -> Ran {
    run_with(arguments, b"")
}

fn run_with(arguments: &[&str], input: &[u8]) -> Ran {
    let mut child = Command::new(PROGRAM)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    // A verb that reads no input may be gone before it is written.
    let _ = child.stdin.take().expect("piped").write_all(input);
    let Output { status, stdout, stderr } = child.wait_with_output().expect("an output");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ran { code: status.code(), out: text(stdout), err: text(stderr) }
}

#[test]
fn the_client_verbs_do_what_they_say() {
    let data = tempfile::tempdir().expect("a directory");
    let served = Served::start(data.path(), &["--protocol", "null"]);
    served.run(&["put", "greeting", "hello"]).assert(0, "created at revision 2\n");
    served
        .run(&["put", "greeting", "hi", "--prev"])
        .assert(0, "stored at revision 3\nit was: hello\n");
    served.run(&["get", "greeting"]).assert(0, "hi\n");
    served.run(&["get", "greeting", "--raw"]).assert(0, "hi");
    served.run(&["get", "greeting", "--revision", "2"]).assert(0, "hello\n");
    served.run(&["get", "greeting", "--json"]).assert(
        0,
        "{\"key\":\"greeting\",\"value\":\"hi\",\"create_revision\":2,\"mod_revision\":3,\"version\":2,\"revision\":3}\n",
    );
    served.run(&["get", "none"]).assert_complains(1, "`none` does not exist");
    served.run(&["put", "greeting", "x", "--if-absent"]).assert_complains(1, "precondition_failed");
    served.run_with(&["put", "a b/c?", "-"], b"from stdin").assert(0, "created at revision 4\n");
    served.run(&["put", "a b/d", "-1"]).assert(0, "created at revision 5\n");
    served.run(&["range", "a "]).assert(0, "a b/c?\tfrom stdin\na b/d\t-1\n");
    served.run(&["range", "--keys-only", "--order", "desc"]).assert(0, "greeting\na b/d\na b/c?\n");
    let page = served.run(&["range", "--limit", "1"]);
    page.assert(0, "a b/c?\tfrom stdin\n");
    let cursor = page.err.rsplit("--cursor ").next().expect("a cursor").trim();
    served.run(&["range", "--cursor", cursor]).assert(0, "a b/d\t-1\ngreeting\thi\n");
    served.run(&["range", "--count-only"]).assert(0, "3\n");
    let mut history = served.run(&["watch", "greeting", "--from-revision", "2", "--once"]);
    history.assert(0, "2\tput\tgreeting\n");
    served.run(&["del", "--prefix", "a "]).assert(0, "deleted 2 keys, revision 6\n");
    history = served.run(&["watch", "--prefix", "a ", "--from-revision", "6", "--once"]);
    history.assert(0, "6\tdelete\ta b/c?\n");
    served
        .run(&["del", "greeting", "--prev"])
        .assert(0, "deleted 1 key, revision 7\ngreeting\thi\n");
    served.run(&["del", "greeting"]).assert(0, "deleted 0 keys, revision 7\n");
    let once = ["put", "once", "v", "--idempotency-key", "name"];
    for _ in 0..2 {
        served.run(&once).assert(0, "created at revision 8\n");
    }
    served
        .run(&["del", "once", "--idempotency-key", "name"])
        .assert_complains(2, "idempotency_conflict");
    for _ in 0..2 {
        served
            .run(&["del", "once", "--prev", "--idempotency-key", "other-name"])
            .assert(0, "deleted 1 key, revision 9\nonce\tv\n");
    }
    let status = served.run(&["status"]);
    assert_eq!(status.code, Some(0), "{status:?}");
    assert!(status.out.starts_with("node  endpoint"), "{status:?}");
    assert!(status.out.contains(&served.address.to_string()), "{status:?}");
}

#[test]
fn leases_and_transactions_are_at_hand() {
    let data = tempfile::tempdir().expect("a directory");
    let served = Served::start(data.path(), &["--protocol", "null"]);
    served.run(&["lease", "grant", "1h", "--id", "-7"]).assert(0, "lease -7 lives for 1h\n");
    served.run(&["put", "a", "1", "--lease", "-7"]).assert(0, "created at revision 2\n");
    let brought = served.run(&["put", "b", "1", "--ttl", "1s", "--json"]);
    let brought: serde_json::Value = serde_json::from_str(&brought.out).expect("JSON");
    assert_eq!((&brought["ttl_ms"], &brought["revision"]), (&2000.into(), &3.into()));
    let sequential = served.run(&["put", "jobs/", "w", "--sequential", "--ttl", "1h"]);
    let lines: Vec<_> = sequential.out.lines().collect();
    assert_eq!(lines[..2], ["created at revision 4", "its key: jobs/0000000000"]);
    assert!(lines[2].starts_with("its lease: ") && lines[2].ends_with("lives for 1h"), "{lines:?}");
    let shown = served.run(&["lease", "get", "-7"]);
    let words: Vec<_> = shown.out.lines().collect();
    assert!(words[0].starts_with("lease -7 lives for another "), "{shown:?}");
    assert!(words[0].ends_with(" of 1h, and has 1 key") && words[1..] == ["a"], "{shown:?}");
    served.run(&["lease", "keepalive", "-7"]).assert(0, "lease -7 lives for 1h again\n");
    let listed = served.run(&["lease", "list", "--limit", "1"]);
    assert_eq!(listed.out, "lease  lives for\n-7     1h\n");
    assert!(listed.err.contains("--cursor -7"), "{listed:?}");
    let rest = served.run(&["lease", "list", "--cursor", "-7"]);
    assert!(!rest.out.contains("-7") && rest.out.lines().count() >= 2, "{rest:?}");
    for _ in 0..2 {
        served
            .run(&["lease", "revoke", "-7", "--idempotency-key", "end"])
            .assert(0, "ended, and 1 key with it, revision 5\n");
    }
    served.run(&["lease", "revoke", "-7"]).assert_complains(1, "lease_not_found");
    served.run(&["lease", "get", "-7"]).assert_complains(1, "lease_not_found");
    served.run(&["lease", "keepalive", "-7", "--go-on"]).assert_complains(1, "lease_not_found");

    let take = r#"{"if": [{"key": "owner", "exists": false}],
        "then": [{"put": {"key": "owner", "value": "me"}}, {"delete": {"prefix": "jobs/", "prev": true}}],
        "else": [{"get": {"key": "owner"}}, {"txn": {"then": [{"get": {"prefix": "", "limit": 1}}]}}]}"#;
    let taken = served.run(&["txn", take]);
    taken.assert(
        0,
        "succeeded, revision 6\n  put: created\n  delete: 1 key\n    jobs/0000000000\tw\n",
    );
    let file = data.path().join("take.json");
    std::fs::write(&file, take).expect("written");
    let again = served.run(&["txn", "--file", file.to_str().expect("text")]);
    assert!(again.out.starts_with("did not hold, revision "), "{again:?}");
    assert!(again.out.contains("  get: 1 key\n    owner\tme\n  txn: succeeded\n"), "{again:?}");
    again.assert_complains(1, "`else` was done");
    let json = served.run_with(&["txn", "-", "--json"], take.as_bytes());
    assert_eq!(json.code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(json["results"][0]["get"]["kv"]["value"], "me");
    served.run(&["txn", "{\"then\":[{\"puts\":{}}]}"]).assert_complains(2, "`then[0].puts`");
    let twice =
        r#"{"then": [{"delete": {"key": "owner"}}, {"put": {"key": "owner", "value": ""}}]}"#;
    served.run(&["txn", twice]).assert_complains(2, "duplicate_key");
}

/// A lease that a client keeps alive outlives its time, and ends when the client does.
#[test]
fn a_lease_is_kept_alive_until_the_client_is_interrupted() {
    let data = tempfile::tempdir().expect("a directory");
    let served = Served::start(data.path(), &["--protocol", "null"]);
    served.run(&["lease", "grant", "4s", "--id", "5"]).assert(0, "lease 5 lives for 4s\n");
    served.run(&["put", "k", "v", "--lease", "5"]).assert(0, "created at revision 2\n");
    let mut client = Command::new(PROGRAM)
        .args(["lease", "keepalive", "5", "--go-on", "--endpoint", &served.address.to_string()])
        .stdout(Stdio::null())
        .spawn()
        .expect("the program runs");
    std::thread::sleep(std::time::Duration::from_secs(6));
    served.run(&["get", "k"]).assert(0, "v\n");
    client.kill().expect("it runs");
    client.wait().expect("it is gone");
    crate::support::eventually("the lease ends", || served.run(&["get", "k"]).code == Some(1));
}

#[test]
fn wrong_usage_says_what_is_allowed() {
    for (arguments, words) in [
        (&["frobnicate"][..], "unrecognized subcommand"),
        (&["serve", "--no-fsync"], "unexpected argument '--no-fsync'"),
        (&["serve", "--protocol", "paxos"], "allowed: raft, zab or null"),
        (&["serve", "--election-timeout", "100ms"], "here 150ms"),
        (&["serve", "--heartbeat", "50"], "--heartbeat"),
        (&["serve", "--config", "/nowhere.toml"], "/nowhere.toml"),
        (&["dev", "--protocol", "null"], "allowed: raft, zab or both"),
        (&["dev", "--nodes", "10"], "allowed: 1 to 9"),
        (&["dev", "--base-port", "65500"], "allowed: 1024 to 65416"),
        (&["dev", "--log", "=,"], "allowed: error, warn"),
        (&["txn"], "<TRANSACTION"),
        (&["txn", "{}", "--file", "x"], "cannot be used with"),
        (&["txn", "--file", "/nowhere.json"], "/nowhere.json"),
        (&["lease", "get", "x"], "invalid digit"),
        (&["put", "k", "v", "--lease", "1", "--ttl", "9s"], "cannot be used with"),
        (&["get"], "<KEY>"),
        (&["del"], "<KEY"),
        (&["get", "k", "--endpoint", "https://a:1"], "TLS"),
        (&["get", "k", "--timeout", "soon"], "--timeout"),
        (&["put", "k", "v", "--idempotency-key", "a b"], "visible ASCII characters"),
        (&["del", "k", "--idempotency-key", ""], "the idempotency key is empty"),
    ] {
        run(arguments).assert_complains(2, words);
    }
    let data = tempfile::tempdir().expect("a directory");
    let served = Served::start(data.path(), &["--protocol", "null"]);
    served
        .run(&["get", "k", "--consistency", "eventual"])
        .assert_complains(2, "linearizable, sync, local");
    served.run(&["get", ""]).assert_complains(2, "key_empty");
    served.run(&["lease", "grant", "soon"]).assert_complains(2, "2s or 300ms");
    served.run(&["range", "--revision", "99"]).assert_complains(2, "future_revision");
}

#[test]
fn help_has_examples_and_goes_to_stdout() {
    for verb in ["serve", "dev", "get", "put", "del", "range", "txn", "lease", "watch", "status"] {
        let help = run(&[verb, "--help"]);
        assert_eq!((help.code, &help.err[..]), (Some(0), ""), "{verb}");
        assert!(help.out.contains(&format!("Examples:\n  duorum {verb}")), "{}", help.out);
    }
    let version = run(&["--version"]);
    version.assert(0, &format!("duorum {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_client_goes_to_the_next_node_when_one_is_gone() {
    let data = tempfile::tempdir().expect("a directory");
    let served = Served::start(data.path(), &["--protocol", "null"]);
    // Port 1 is nobody's.
    let endpoints = format!("http://127.0.0.1:1,http://{}", served.address);
    run(&["put", "k", "v", "--endpoint", &endpoints]).assert(0, "created at revision 2\n");
    let nobody = run(&["put", "k", "v", "--endpoint", "127.0.0.1:1", "--endpoint", "127.0.0.1:2"]);
    nobody.assert_complains(3, "no node answered: 127.0.0.1:1");
    run(&["status", "--endpoint", "127.0.0.1:1"]).assert_complains(3, "Is the server running?");
}

#[test]
fn a_signal_stops_the_server_cleanly_and_nothing_is_lost() {
    let data = tempfile::tempdir().expect("a directory");
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let mut served = Served::start(data.path(), &["--protocol", "raft"]);
        assert_eq!(served.run(&["put", name, "v"]).code, Some(0));
        served.signal(signal);
        let (code, rest, log) = served.wait();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains(&format!("stopping: {name}")) && log.contains("stopped"), "{log}");
        assert_eq!(rest, "");
    }
    let served = Served::start(data.path(), &["--protocol", "raft"]);
    served.run(&["range", "--keys-only"]).assert(0, "SIGINT\nSIGTERM\n");
}

#[test]
fn a_second_server_on_the_same_directory_or_address_is_refused() {
    let data = tempfile::tempdir().expect("a directory");
    let served = Served::start(data.path(), &["--protocol", "null"]);
    let directory = data.path().to_str().expect("text");
    let same = ["serve", "--http", "127.0.0.1:0", "--peer", "127.0.0.1:0", "--protocol", "null"];
    let second = run(&[&same[..], &["--data-dir", directory]].concat());
    second.assert_complains(1, directory);
    let elsewhere = tempfile::tempdir().expect("a directory");
    let other = elsewhere.path().to_str().expect("text");
    let taken = served.address.to_string();
    let second = run(&["serve", "--http", &taken, "--peer", "127.0.0.1:0", "--data-dir", other]);
    second.assert_complains(1, "--http");
    assert!(second.err.contains("in use"), "{second:?}");
    assert_eq!(std::fs::read_dir(other).expect("readable").count(), 0, "nothing was written");
    served.run(&["put", "k", "v"]).assert(0, "created at revision 2\n");
}
