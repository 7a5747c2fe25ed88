//! `/v3` over the death of a leader: a watch at another node tells every write once, and all nodes have the
//! same hashes in the end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{PATIENCE, Processes, eventually, request};

/// "k", and the end of all keys that begin with it.
const KEY: &str = "aw==";
const END: &str = "bA==";

/// The results of a watch of all keys that begin with "k", as long as its connection stands.
fn watch(address: SocketAddr) -> impl Iterator<Item = Value> {
    let mut stream =
        TcpStream::connect_timeout(&address, Duration::from_secs(2)).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let body = json!({"create_request": {"key": KEY, "range_end": END}}).to_string();
    // HTTP/1.0, so that the lines come as they are.
    let length = body.len();
    let head = format!("POST /v3/watch HTTP/1.0\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(head.as_bytes()).expect("sent");
    let lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    let mut results = lines.skip_while(|line| !line.is_empty()).skip(1).map(|line| {
        let mut json: Value = serde_json::from_str(&line).expect("a line of JSON");
        assert!(json["result"].is_object(), "{line}");
        json["result"].take()
    });
    assert_eq!(results.next().expect("a first line")["created"], true);
    results
}

fn number(field: &Value) -> u64 {
    field.as_str().unwrap_or_else(|| panic!("{field}")).parse().expect("a number")
}

fn call(address: SocketAddr, call: &str, body: &Value) -> Option<Value> {
    let path = format!("/v3/{call}");
    let answer = request(address, "POST", &path, body.to_string().as_bytes()).ok()?;
    (answer.status == 200).then(|| answer.json())
}

/// Puts until one is acknowledged. Returns its revision.
fn put(address: SocketAddr) -> u64 {
    let mut revision = 0;
    eventually("a put is acknowledged", || {
        let answer = call(address, "kv/put", &json!({"key": KEY, "value": "dg=="}));
        revision = answer.map_or(0, |answer| number(&answer["header"]["revision"]));
        revision > 0
    });
    revision
}

fn a_watch_outlives_a_killed_leader(protocol: &'static str) {
    let mut processes = Processes::start(protocol, 3);
    let leader = processes.leader();
    let follower = processes.addresses()[(leader + 1) % 3];
    let mut results = watch(follower);
    let mut acknowledged: Vec<u64> = (0..20).map(|_| put(follower)).collect();
    processes.kill(leader);
    acknowledged.extend((0..20).map(|_| put(follower)));
    let last = *acknowledged.last().expect("forty");
    let mut seen: Vec<u64> = Vec::new();
    while seen.last().is_none_or(|revision| *revision < last) {
        let result = results.next().expect("the stream goes on");
        let events = result["events"].as_array().expect("events");
        seen.extend(events.iter().map(|event| number(&event["kv"]["mod_revision"])));
    }
    // A put that was not acknowledged may have happened all the same; nothing happens twice.
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    assert!(
        acknowledged.iter().all(|revision| seen.contains(revision)),
        "{acknowledged:?} {seen:?}"
    );
    processes.start_node(leader);
    processes.wait_until_ready();
    let hash = |address: SocketAddr| {
        let mut answer = Value::Null;
        eventually("the node has the last revision", || {
            let found = call(address, "maintenance/hashkv", &json!({"revision": last}));
            answer = found.unwrap_or_default();
            answer.is_object()
        });
        assert_eq!(number(&answer["hash_revision"]), last);
        answer["hash"].as_u64().expect("a hash")
    };
    let hashes: Vec<u64> = processes.addresses().iter().map(|address| hash(*address)).collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

on_both!(a_watch_outlives_a_killed_leader);
