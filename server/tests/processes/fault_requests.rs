//! What may be asked of `/v1/faults` and `/v1/lab`, of which servers, and what the command line makes of
//! it.

use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::faults::{ask, begin, status};
use crate::support::{DevProcess, PROGRAM, Processes, Served, eventually, request, request_with};

#[test]
fn faults_are_off_in_serve_unless_they_are_enabled() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Served::start(data.path(), &[]);
    for (method, path) in [
        ("POST", "/v1/faults"),
        ("GET", "/v1/faults"),
        ("DELETE", "/v1/faults"),
        ("GET", "/v1/faults/1-1"),
        ("DELETE", "/v1/faults/1-1"),
        ("POST", "/v1/lab/campaign"),
        ("POST", "/v1/lab/align-timers"),
        ("POST", "/v1/lab/spread-timers"),
    ] {
        let (code, refused) = ask(server.address, method, path, "");
        assert_eq!((code, &refused["error"]["name"]), (403, &json!("faults_disabled")), "{path}");
        let message = refused["error"]["message"].as_str().expect("words");
        assert!(message.contains("--enable-faults") && message.contains("duorum dev"), "{message}");
    }
    drop(server);

    // A node that takes no faults takes none from its peers either, and is told apart.
    let mut cluster = Processes::prepare("raft", 3);
    cluster.set_flags(&["--enable-faults"]);
    cluster.start_node(0);
    cluster.start_node(1);
    cluster.set_flags(&[]);
    cluster.start_node(2);
    cluster.wait_until_ready();
    let at = cluster.addresses()[0];
    let (code, refused) = ask(at, "POST", "/v1/faults", r#"{"kind":"pause","to":3}"#);
    assert_eq!((code, &refused["error"]["name"]), (403, &json!("faults_disabled")));
    assert!(refused["error"]["message"].as_str().expect("words").contains("node 3"), "{refused}");
    let (_, list) = ask(at, "GET", "/v1/faults", "");
    let enabled: Vec<&Value> =
        list["nodes"].as_array().expect("nodes").iter().map(|node| &node["enabled"]).collect();
    assert_eq!(enabled, [true, true, false]);
}

#[test]
fn bad_requests_are_refused_with_what_is_allowed_and_there_is_a_bound() {
    let data = tempfile::tempdir().expect("a directory");
    let mut server = Served::start(data.path(), &["--enable-faults"]);
    let at = server.address;
    for (method, path, body, name, words) in [
        ("POST", "/v1/faults", "", "invalid_body", "it is empty"),
        ("POST", "/v1/faults", "[]", "invalid_body", "no JSON object"),
        ("POST", "/v1/faults", r#"{"kind":"flood"}"#, "invalid_body", "expected one of `drop`"),
        ("POST", "/v1/faults", r#"{"kind":"drop"}"#, "invalid_body", "there is only one"),
        ("POST", "/v1/faults", r#"{"kind":"pause","to":2}"#, "invalid_body", "the members are 1"),
        ("POST", "/v1/faults", r#"{"kind":"slow_disk"}"#, "invalid_body", "needs `ms`"),
        ("POST", "/v1/faults?limit=1", "{}", "invalid_parameter", "timeout"),
        ("GET", "/v1/faults/1-1", "", "fault_not_found", "no fault `1-1`"),
        ("GET", "/v1/faults/2-1", "", "fault_not_found", "NODE-NUMBER"),
        ("DELETE", "/v1/faults/pause", "", "fault_not_found", "NODE-NUMBER"),
        ("PUT", "/v1/faults", "", "method_not_allowed", "POST, GET, HEAD, DELETE"),
        ("GET", "/v1/lab/campaign", "", "method_not_allowed", "POST"),
        ("POST", "/v1/lab/campaign", "{}", "body_too_large", "at most 0 bytes"),
    ] {
        let (_, refused) = ask(at, method, path, body);
        assert_eq!(refused["error"]["name"], name, "{method} {path} {body}: {refused}");
        let message = refused["error"]["message"].as_str().expect("words");
        assert!(message.contains(words), "{method} {path} {body}: {message}");
    }
    for _ in 0..64 {
        begin(at, &json!({"kind": "clock_skew", "ms": 1, "for": "1h"}));
    }
    let (code, refused) = ask(at, "POST", "/v1/faults", r#"{"kind":"pause"}"#);
    assert_eq!((code, &refused["error"]["name"]), (409, &json!("too_many_faults")), "{refused}");
    let (_, healed) = ask(at, "DELETE", "/v1/faults", "");
    assert_eq!(healed["healed"].as_array().expect("faults").len(), 64);
    // A fault ends by itself when its time is over.
    begin(at, &json!({"kind": "slow_disk", "ms": 5, "for": "100ms"}));
    eventually("it is over", || status(at)["faults"] == 0);
    server.signal(Signal::TERM);
    let (code, _, log) = server.wait();
    assert_eq!(code, Some(0));
    assert!(log.contains("faults are enabled") && log.contains("is over"), "{log}");
}

#[test]
fn the_command_line_begins_lists_and_heals_faults() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Served::start(data.path(), &["--enable-faults"]);
    let run = |words: &str| {
        let output = Command::new(PROGRAM)
            .arg("faults")
            .args(words.split_whitespace())
            .args(["--endpoint", &server.address.to_string()])
            .output()
            .expect("the program runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    assert_eq!(run(""), (Some(0), "no faults\n".to_owned(), String::new()));
    let (code, out, _) = run("begin clock_skew --ms -5 --for 1h");
    let what = "1-1: the wall clock of node 1 is 5 ms behind, for 1h\n";
    assert_eq!((code, &out[..]), (Some(0), what));
    let (code, out, _) = run("");
    assert!(code == Some(0) && out.contains("what goes wrong\n1-1"), "{out}");
    let (code, _, complaint) = run("begin drop");
    assert!(code == Some(2) && complaint.contains("there is only one"), "{complaint}");
    let (code, _, complaint) = run("heal 1-7");
    assert!(code == Some(1) && complaint.contains("no fault `1-7`"), "{complaint}");
    let (code, out, _) = run("heal 1-1");
    assert!(code == Some(0) && out.starts_with("1-1 is healed"), "{out}");
    assert_eq!(run("heal").1, "no faults\n");
}

#[test]
fn a_wall_clock_that_is_off_makes_idempotency_keys_old() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Served::start(data.path(), &["--enable-faults"]);
    let put = |value: &str| {
        let headers = [("idempotency-key", "once")];
        request_with(server.address, "PUT", "/v1/kv/k", &headers, value.as_bytes())
            .expect("an answer")
            .status
    };
    assert_eq!((put("1"), put("2")), (201, 409), "the key belongs to another request");
    begin(server.address, &json!({"kind": "clock_skew", "ms": 86_400_000}));
    // A write that was on its way when its key was forgotten is refused; one that comes later is new.
    eventually("a day later the key is forgotten", || put("2") == 200);
}

#[test]
fn dev_takes_faults_and_starts_a_crashed_node_again() {
    let dev = DevProcess::start(&["--protocol", "zab"]);
    assert_eq!(request(dev.zab(1), "PUT", "/v1/kv/k", b"v").expect("an answer").status, 201);
    let told = begin(dev.zab(1), &json!({"kind": "crash", "to": 2, "for": "300ms"}));
    assert!(told["what"].as_str().expect("words").contains("starts again after 300ms"), "{told}");
    let log = dev.wait_for_log("zab 2 is started");
    assert!(log.contains("zab 2 had to stop: fault 2-1 crashed it"), "{log}");
    eventually("it has caught up", || {
        let read = request(dev.zab(2), "GET", "/v1/kv/k?consistency=local", b"");
        read.is_ok_and(|read| read.status == 200)
    });
    let standing = status(dev.zab(2));
    assert_eq!((&standing["standing"], &standing["faults"]), (&json!("voter"), &json!(0)));
}
