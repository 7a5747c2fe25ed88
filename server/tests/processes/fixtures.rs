//! Data directories as earlier versions left them, and what must be found in them for ever.
//!
//! Under `tests/fixtures/` there is a directory for each format that a version had, with a cluster of each
//! protocol that was killed in the middle of its life: three data directories, and `expected.json` with what
//! clients were told. `MAKE_FIXTURE=format-N cargo test -p server --test processes becomes_a_fixture` adds one
//! of the present format. None is ever changed.
//!
//! Logs and stores are mostly one byte over and over, so they are kept packed ([`pack`]).

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::faults::begin;
use crate::support::{Answer, Processes, eventually, request, request_with};

on_both!(
    what_earlier_versions_left_is_found_again,
    what_this_version_leaves_is_found_again_and_becomes_a_fixture_on_demand,
);

/// As long as the clocks of the servers that make a fixture are ahead: a hundred years. Idempotency keys are
/// forgotten after a while by the time of the log, which never goes back, so these are remembered for as
/// long.
const AHEAD_MS: u64 = 36_500 * 86_400_000;

const EXPECTED: &str = "expected.json";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn what_earlier_versions_left_is_found_again(protocol: &'static str) {
    let mut formats: Vec<PathBuf> = fs::read_dir(fixtures())
        .expect("the fixtures")
        .map(|format| format.expect("an entry").path())
        .filter(|format| format.is_dir())
        .collect();
    formats.sort();
    assert!(!formats.is_empty(), "there is a fixture of the first format");
    for format in formats {
        find_again(protocol, &format.join(protocol));
    }
}

fn what_this_version_leaves_is_found_again_and_becomes_a_fixture_on_demand(protocol: &'static str) {
    let temporary = tempfile::tempdir().expect("a directory");
    let fixture = match std::env::var_os("MAKE_FIXTURE") {
        Some(format) => fixtures().join(format).join(protocol),
        None => temporary.path().join(protocol),
    };
    assert!(!fixture.exists(), "{} is there: a fixture is never changed", fixture.display());
    make(protocol, &fixture);
    find_again(protocol, &fixture);
}

/// Lets a cluster live a little, kills it, and keeps what it left.
fn make(protocol: &'static str, fixture: &Path) {
    let mut cluster = Processes::start_under(protocol, 3, &[], &["--enable-faults"]);
    let addresses = cluster.addresses().to_vec();
    for node in 1..=3 {
        begin(addresses[0], &json!({"kind": "clock_skew", "to": node, "ms": AHEAD_MS}));
    }
    for number in 0..20 {
        write(addresses[0], "PUT", &format!("/v1/kv/fixture/{number:02}"), b"first");
    }
    write(addresses[1], "DELETE", "/v1/kv/fixture/07", b"");
    write(addresses[1], "POST", "/v1/compact", br#"{"revision": 10}"#);
    let leader = cluster.leader();
    let successor = format!(r#"{{"to": {}}}"#, (leader + 1) % 3 + 1);
    write(addresses[0], "POST", "/v1/cluster/transfer", successor.as_bytes());
    write(addresses[2], "PUT", "/v1/kv/fixture/any%20key%2F%C3%BC", "any value: ü".as_bytes());
    assert_eq!(once(addresses[1], b"kept").status, 201);
    // The store has all of this then; what follows may be in the log alone.
    std::thread::sleep(Duration::from_secs(1));
    for number in 15..18 {
        write(addresses[2], "PUT", &format!("/v1/kv/fixture/{number:02}"), b"second");
    }
    let expected = told(addresses[0]);
    for node in 0..3 {
        cluster.signal(node, Signal::STOP);
    }
    for node in 0..3 {
        cluster.kill(node);
        keep(&cluster.data_directory(node), &fixture.join(format!("data-{}", node + 1)));
    }
    let json = serde_json::to_string_pretty(&expected).expect("JSON");
    fs::write(fixture.join(EXPECTED), json + "\n").expect("written");
}

/// Starts a cluster on what was left: everything is there, and it goes on.
fn find_again(protocol: &'static str, fixture: &Path) {
    let json = fs::read(fixture.join(EXPECTED)).expect("what is expected of the fixture");
    let expected: Value = serde_json::from_slice(&json).expect("JSON");
    let mut cluster = Processes::prepare(protocol, 3);
    for node in 0..3 {
        let kept = fixture.join(format!("data-{}", node + 1));
        restore(&kept, &cluster.data_directory(node));
        cluster.start_node(node);
    }
    cluster.wait_until_ready();
    let addresses = cluster.addresses().to_vec();
    for &address in &addresses {
        assert_eq!(told(address), expected, "{}", fixture.display());
    }
    // It takes no effect a second time, and belongs to no other request.
    assert_eq!(
        once(addresses[0], b"another").error_name().as_deref(),
        Some("idempotency_conflict")
    );
    assert_eq!(told(addresses[1]), expected, "nothing was written");

    let revision = expected["kvs"]["revision"].as_u64().expect("a revision");
    let written = write(addresses[2], "PUT", "/v1/kv/later", b"v");
    assert_eq!(written["revision"], revision + 1, "{written}");
    cluster.wait_until_all_agree();
    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.start_node(node));
    cluster.wait_until_ready();
    let kvs = told(addresses[0])["kvs"]["kvs"].clone();
    assert_eq!(kvs, expected["kvs"]["kvs"], "after another start");
    let later = request(addresses[1], "GET", "/v1/kv/later", b"").expect("an answer").json();
    assert_eq!(later["mod_revision"], revision + 1, "{later}");
    cluster.wait_until_all_agree();
}

fn write(address: SocketAddr, method: &str, path: &str, body: &[u8]) -> Value {
    let answer = request(address, method, path, body).expect("an answer");
    assert!(answer.status < 300, "{method} {path}: {}", answer.json());
    answer.json()
}

/// A write that takes effect once, however often it is asked for.
fn once(address: SocketAddr, value: &[u8]) -> Answer {
    let headers = [("idempotency-key", "fixture-1")];
    request_with(address, "PUT", "/v1/kv/fixture/once", &headers, value).expect("an answer")
}

/// What a client is told of everything that a fixture holds.
fn told(address: SocketAddr) -> Value {
    let get = |path: &str| {
        let mut answer = Value::Null;
        eventually("a read is answered", || {
            let read = request(address, "GET", path, b"").expect("an answer");
            answer = read.json();
            read.status < 300 || read.status == 410
        });
        answer
    };
    json!({
        "kvs": get("/v1/kv?prefix=fixture/"),
        "before_the_deletion": get("/v1/kv?prefix=fixture/&revision=21"),
        "before_the_compaction": get("/v1/kv?prefix=fixture/&revision=9")["error"]["name"],
        "once": once(address, b"kept").json(),
    })
}

/// What is kept of a file that is mostly one byte over and over: again and again a length in 4 bytes,
/// little-endian, that many bytes as they are, another length, and the byte that comes so many times.
fn pack(bytes: &[u8]) -> Vec<u8> {
    /// Shorter repetitions are left as they are.
    const LEAST: usize = 16;
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a small file").to_le_bytes();
    let mut packed = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let repeats = |many: &[u8]| many.iter().all(|&byte| byte == many[0]);
        let plain = rest.windows(LEAST).position(repeats).unwrap_or(rest.len());
        let (plain, behind) = rest.split_at(plain);
        let repeated = behind.iter().take_while(|&&byte| byte == behind[0]).count();
        packed.extend_from_slice(&length(plain));
        packed.extend_from_slice(plain);
        packed.extend_from_slice(&length(&behind[..repeated]));
        packed.push(behind.first().copied().unwrap_or_default());
        rest = &behind[repeated..];
    }
    packed
}

/// The file that [`pack`] was given.
fn unpack(packed: &[u8]) -> Vec<u8> {
    fn take<const COUNT: usize>(rest: &mut &[u8]) -> [u8; COUNT] {
        let (taken, behind) = rest.split_first_chunk().expect("a whole file");
        *rest = behind;
        *taken
    }
    let (mut rest, mut bytes) = (packed, Vec::new());
    while !rest.is_empty() {
        let plain = u32::from_le_bytes(take(&mut rest)) as usize;
        let (taken, behind) = rest.split_at(plain);
        bytes.extend_from_slice(taken);
        rest = behind;
        let repeated = u32::from_le_bytes(take(&mut rest)) as usize;
        let [byte] = take(&mut rest);
        bytes.resize(bytes.len() + repeated, byte);
    }
    bytes
}

/// The ending of a file that is packed.
const PACKED: &str = ".packed";

/// Keeps a data directory, its logs and stores packed.
fn keep(data: &Path, kept: &Path) {
    fs::create_dir_all(kept).expect("made");
    for (name, bytes) in files(data) {
        // What is made in advance and what is locked holds nothing.
        if name == "lock" || name.ends_with(".tmp") {
            continue;
        }
        if name.ends_with(".wal") || name.ends_with(".redb") {
            fs::write(kept.join(name + PACKED), pack(&bytes)).expect("written");
        } else {
            fs::write(kept.join(name), bytes).expect("written");
        }
    }
}

/// Makes the data directory that was kept.
fn restore(kept: &Path, data: &Path) {
    fs::create_dir_all(data).expect("made");
    for (name, bytes) in files(kept) {
        match name.strip_suffix(PACKED) {
            Some(name) => fs::write(data.join(name), unpack(&bytes)).expect("written"),
            None => fs::write(data.join(name), bytes).expect("written"),
        }
    }
}

fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).expect("a directory");
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        (name.to_owned(), fs::read(&path).expect("a file"))
    };
    entries.map(read).collect()
}

#[test]
fn a_file_is_the_same_when_it_was_packed() {
    for bytes in [
        vec![],
        vec![0; 100],
        vec![1; 100],
        [vec![0; 50], vec![1; 3], vec![0; 31], vec![2], vec![0; 32], vec![3; 40], vec![0; 9]]
            .concat(),
        [vec![7], vec![0; 500], vec![8]].concat(),
        [vec![255; 20], vec![0; 20]].concat(),
    ] {
        let packed = pack(&bytes);
        assert_eq!(unpack(&packed), bytes);
    }
    assert!(pack(&[vec![1; 1 << 20], vec![0; 1 << 20]].concat()).len() < 32);
}
