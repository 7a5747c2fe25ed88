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
    served.run(&["range", "--revision", "99"]).assert_complains(2, "future_revision");
}

#[test]
fn help_has_examples_and_goes_to_stdout() {
    for verb in ["serve", "dev", "get", "put", "del", "range", "watch", "status"] {
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
