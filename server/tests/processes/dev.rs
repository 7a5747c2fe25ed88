//! `duorum dev` as its user meets it: the real program on ports of its own, what it prints, what can
//! be typed, and what is left when it is gone.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{DevProcess, eventually, refused, request};

/// A terminal of the usual width.
const COLUMNS: usize = 80;
/// The most lines of the screen with three nodes of each protocol.
const LINES_MAX: usize = 26;

#[test]
fn the_screen_fits_and_its_lines_of_curl_work_as_printed() {
    let dev = DevProcess::start(&[]);
    let screen = dev.screen();
    assert!(screen.lines().count() <= LINES_MAX, "{screen}");
    for line in screen.lines().filter(|line| !line.starts_with("data ")) {
        assert!(line.chars().count() <= COLUMNS, "too wide: {line}");
    }
    for id in 1..=3 {
        for (protocol, port) in [("raft", dev.base + id), ("zab", dev.base + 10 + id)] {
            let row = screen.lines().find(|line| line.starts_with(&format!("{protocol} {id} ")));
            let row = row.unwrap_or_else(|| panic!("no {protocol} {id} in\n{screen}"));
            assert!(row.contains(&format!(" http://127.0.0.1:{port} ")), "{row}");
        }
    }
    assert_eq!(screen.matches(" leader  ").count(), 2, "the head and raft's leader:\n{screen}");
    assert_eq!(screen.matches(" LEADING ").count(), 1, "zab's leader:\n{screen}");

    let lines: Vec<&str> = screen.lines().filter(|line| line.starts_with("  curl ")).collect();
    let wanted = [
        &["\"created\":true"][..],
        &["\"value\":\"hello\""],
        &["\"started\":true", "\"key\":\"greeting\""],
        &["\"agree\":true", "\"members\":3"],
        &["\"from\":", "\"leader\":"],
        &["\"phase\":\"transfer_begun\"", "\"phase\":\"elected\""],
        &["sequenceDiagram", "->>"],
    ];
    assert_eq!(lines.len(), wanted.len(), "{screen}");
    for (line, words) in lines.iter().zip(wanted) {
        run_line(line, words);
    }
    let zab = request(dev.zab(2), "PUT", "/v1/kv/k", b"v").expect("an answer");
    assert_eq!(zab.status, 201);
    assert!(screen.contains(&format!("at {}, ", dev.base + 11)), "{screen}");
}

/// Runs a line in a shell until it has printed these words; without curl, asks the same by hand.
fn run_line(line: &str, words: &[&str]) {
    let has_curl = Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !has_curl && line.contains("/v1/watch") {
        return;
    }
    if !has_curl {
        let plain = line.replace('\'', "");
        let url = plain.split_whitespace().last().expect("a url");
        let (address, path) = url.split_once('/').expect("a path");
        let (method, body) = match line {
            _ if line.contains("PUT") => ("PUT", "hello"),
            _ if line.contains("POST") => ("POST", ""),
            _ => ("GET", ""),
        };
        let address = address.parse().expect("an address");
        let answer = request(address, method, &format!("/{path}"), body.as_bytes());
        let text = String::from_utf8(answer.expect("an answer").body).expect("text");
        assert!(words.iter().all(|word| text.contains(word)), "{line}\n{text}");
        return;
    }
    let output = tempfile::NamedTempFile::new().expect("a file");
    let mut child = Command::new("sh")
        .args(["-c", &format!("exec {}", line.trim())])
        .stdin(Stdio::null())
        .stdout(output.reopen().expect("the file"))
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    eventually(line, || {
        let text = std::fs::read_to_string(output.path()).expect("text");
        words.iter().all(|word| text.contains(word))
    });
    if line.contains("/v1/watch") {
        child.kill().expect("a watch goes on until it is ended");
    } else {
        assert!(child.wait().expect("it ends").success(), "{line}");
    }
    let _ = child.wait();
}

#[test]
fn a_node_stops_and_starts_by_a_typed_line_and_finds_its_data_again() {
    let mut dev = DevProcess::start(&["--protocol", "both", "--commands-from-stdin"]);
    let put = request(dev.raft(1), "PUT", "/v1/kv/before", b"1").expect("an answer");
    assert_eq!(put.status, 201);
    let leader =
        request(dev.raft(1), "GET", "/v1/status", b"").expect("an answer").json()["leader"]
            .as_u64()
            .and_then(|id| u16::try_from(id).ok())
            .expect("a leader");
    let other = leader % 3 + 1;

    dev.type_line(&format!("stop raft {leader}"));
    dev.wait_for_output(&format!("raft {leader} is stopped; `start raft {leader}`"));
    assert!(request(dev.raft(leader), "GET", "/livez", b"").is_err(), "nobody answers there");
    eventually("another node leads", || {
        request(dev.raft(other), "PUT", "/v1/kv/meanwhile", b"2")
            .is_ok_and(|answer| answer.status < 300)
    });
    let log = dev.wait_for_log("⇨ leader");
    let elected = log.lines().find(|line| line.contains("⇨ leader")).expect("just seen");
    let words: Vec<_> = elected.split_whitespace().collect();
    assert_eq!(words[0].len(), "06:44:05.123".len(), "the time: {elected}");
    assert_eq!(words[1], "raft", "{elected}");
    assert_ne!(words[2], leader.to_string(), "{elected}");
    assert!(!log.contains("  zab "), "nothing happened to the other cluster:\n{log}");
    dev.type_line("status");
    dev.wait_for_output(&format!("raft {leader}  http://127.0.0.1:{}  stopped", dev.base + leader));

    for (line, answer) in [
        (format!("stop raft {leader}"), "is not running".to_owned()),
        (format!("start raft {other}"), "is running".to_owned()),
        ("stop raft 7".to_owned(), "Not `raft 7`; allowed: one of raft 1".to_owned()),
        ("reboot".to_owned(), "`reboot` is no command; allowed: stop raft 1".to_owned()),
        ("help".to_owned(), "start it again, from its own directory".to_owned()),
    ] {
        dev.type_line(&line);
        dev.wait_for_output(&answer);
    }

    dev.type_line(&format!("start raft {leader}"));
    dev.wait_for_output(&format!("raft {leader} is started"));
    for key in ["before", "meanwhile"] {
        eventually("the node has caught up", || {
            let path = format!("/v1/kv/{key}?consistency=local");
            request(dev.raft(leader), "GET", &path, b"").is_ok_and(|answer| answer.status == 200)
        });
    }
    dev.type_line("quit");
    dev.assert_ends_cleanly();
}

#[test]
fn a_terminal_takes_commands_and_its_end_stops_everything() {
    let (mut dev, terminal) = DevProcess::start_at_a_terminal(&["--protocol", "zab"]);
    assert!(dev.screen().contains("Type here:  stop zab "), "{}", dev.screen());
    rustix::io::write(&terminal, b"stop zab 2\n").expect("typed");
    dev.wait_for_output("zab 2 is stopped");
    rustix::io::write(&terminal, b"start 2\n").expect("typed");
    dev.wait_for_output("zab 2 is started");
    // What Ctrl-D makes of an empty line.
    rustix::io::write(&terminal, b"\x04").expect("typed");
    dev.assert_ends_cleanly();
}

#[test]
fn every_signal_to_stop_is_quick_and_leaves_no_directory_behind() {
    for (signal, protocol) in [(Signal::TERM, "both"), (Signal::INT, "raft"), (Signal::HUP, "zab")]
    {
        let mut dev = DevProcess::start(&["--protocol", protocol]);
        assert!(!dev.screen().contains("Type here"), "stdin is no terminal");
        let asked = if protocol == "zab" { dev.zab(1) } else { dev.raft(1) };
        assert_eq!(request(asked, "PUT", "/v1/kv/k", b"v").expect("an answer").status, 201);
        assert_eq!(dev.temporary_directories().len(), 1, "the data are somewhere");
        // A watch that nobody ends is no reason to stay.
        let watch = std::net::TcpStream::connect(asked).expect("connected");
        std::io::Write::write_all(&mut &watch, b"GET /v1/watch?prefix=k HTTP/1.0\r\n\r\n")
            .expect("sent");
        let began = Instant::now();
        dev.signal(signal);
        dev.assert_ends_cleanly();
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        assert!(!dev.log().contains("⇨"), "stopping is no story of elections:\n{}", dev.log());
    }
}

#[test]
fn a_second_one_on_the_same_ports_or_data_is_refused_and_the_first_goes_on() {
    let kept = tempfile::tempdir().expect("a directory");
    let data = kept.path().to_str().expect("text");
    let dev = DevProcess::start(&["--protocol", "raft", "--data-dir", data]);
    let base = dev.base.to_string();
    let same_ports = refused(&["--protocol", "raft", "--base-port", &base]);
    let first = format!("the HTTP address of raft 1, 127.0.0.1:{}, can not be used", dev.base + 1);
    for words in [&first[..], "in use", "another `duorum dev`", "--base-port"] {
        assert!(same_ports.contains(words), "`{words}` is not in {same_ports}");
    }
    // Its peers' ports are another one's HTTP ports.
    let peers = (dev.base + 100).to_string();
    let overlapping = refused(&["--protocol", "zab", "--base-port", &(dev.base + 90).to_string()]);
    assert!(overlapping.contains("of zab 1"), "{overlapping} at {peers}");
    let same_data = DevProcess::refused_on_free_ports(&["--protocol", "raft", "--data-dir", data]);
    for words in ["raft 1 can not start", "is using this data directory", data] {
        assert!(same_data.contains(words), "`{words}` is not in {same_data}");
    }
    let put = request(dev.raft(2), "PUT", "/v1/kv/k", b"v").expect("an answer");
    assert_eq!(put.status, 201);
}

#[test]
fn a_directory_that_was_asked_for_is_kept_and_taken_up_again() {
    let kept = tempfile::tempdir().expect("a directory");
    let data = kept.path().join("new").join("cluster");
    let data = data.to_str().expect("text");
    let mut dev = DevProcess::start(&["--protocol", "zab", "--data-dir", data]);
    assert!(dev.screen().contains("kept at the end"), "{}", dev.screen());
    assert_eq!(request(dev.zab(3), "PUT", "/v1/kv/k", b"v").expect("an answer").status, 201);
    dev.signal(Signal::TERM);
    dev.assert_ends_cleanly();

    let more = DevProcess::refused_on_free_ports(&[
        "--protocol",
        "zab",
        "--nodes",
        "5",
        "--data-dir",
        data,
    ]);
    assert!(more.contains("holds the zab nodes 1, 2, 3, and --nodes is 5"), "{more}");
    let single = Path::new(data).join("zab-1");
    let single = single.to_str().expect("text");
    let single = DevProcess::refused_on_free_ports(&["--data-dir", single]);
    assert!(single.contains("single node"), "{single}");

    let mut again = DevProcess::start(&["--data-dir", data, "--commands-from-stdin"]);
    let read = request(again.zab(1), "GET", "/v1/kv/k", b"").expect("an answer");
    assert_eq!(read.json()["value"], "v");
    again.type_line("stop zab 1");
    again.wait_for_output("zab 1 is stopped");
    std::fs::remove_dir_all(Path::new(data).join("zab-1")).expect("removed");
    again.type_line("start zab 1");
    again.wait_for_output("zab 1 is started without its data: it follows, but never votes");
    let address = again.zab(1);
    eventually("it follows", || {
        let path = "/v1/kv/k?consistency=local";
        let read = request(address, "GET", path, b"");
        read.is_ok_and(|read| read.status == 200 && read.json()["value"] == "v")
    });
    let status = request(again.zab(1), "GET", "/v1/status", b"").expect("an answer");
    assert_eq!(status.json()["standing"], "observer");
    again.type_line("quit");
    again.assert_ends_cleanly();

    for id in 1..=3 {
        let [raft, zab] = ["raft", "zab"].map(|protocol| format!("{protocol}-{id}"));
        std::fs::remove_dir_all(Path::new(data).join(&zab)).expect("removed");
        std::fs::rename(Path::new(data).join(raft), Path::new(data).join(zab)).expect("renamed");
    }
    let other = DevProcess::refused_on_free_ports(&["--protocol", "zab", "--data-dir", data]);
    assert!(other.contains("zab 1 can not start"), "{other}");
    assert!(other.contains("node 1 of the raft cluster"), "{other}");
}
