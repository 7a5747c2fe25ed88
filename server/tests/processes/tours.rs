//! The tours in `docs/` are typed, line by line, into a shell with real servers, and must print what
//! the pages say.
//!
//! A page's blocks of the kind `console` hold commands behind `$ ` and what they print. All of a page
//! are typed into one shell, in order, in an empty directory. What depends on the moment is not
//! compared: numbers with a point in them (times), which of nodes 2 and 3 wins an election, and the
//! numbers of terms, epochs and positions, which grow with elections that nobody needed. A line with
//! nothing but `…` stands for any lines. The pages' ports are mapped to free ones.
//!
//! `DUORUM_WRITE_TOURS=1 cargo test -p server --test processes tours` writes into the pages what was printed,
//! but for blocks with such a line.

#![allow(clippy::print_stderr, reason = "a test that failed shows what was typed and printed")]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::support::{PROGRAM, Place};

/// What the shell says behind each command.
const MARK: &str = "--- that was all ---";
/// The ports that the pages name: of clients and of peers.
const PORTS: [u16; 6] = [7001, 7002, 7003, 7101, 7102, 7103];

/// A command and what it prints.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    command: String,
    output: Vec<String>,
}

/// A page, cut into what is prose and what is typed.
enum Part {
    Prose(String),
    Console(Vec<Step>),
}

fn parse(page: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut prose = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let _ = writeln!(prose, "{line}");
        if line != "```console" {
            continue;
        }
        let mut steps: Vec<Step> = Vec::new();
        let mut continued = false;
        for line in lines.by_ref().take_while(|line| *line != "```") {
            if continued {
                let step = steps.last_mut().expect("what is continued has begun");
                let _ = write!(step.command, "\n{line}");
            } else if let Some(command) = line.strip_prefix("$ ") {
                steps.push(Step { command: command.to_owned(), output: Vec::new() });
            } else {
                let step = steps.last_mut().expect("a block begins with a command");
                step.output.push(line.to_owned());
                continue;
            }
            continued = line.ends_with('\\');
        }
        parts.push(Part::Prose(std::mem::take(&mut prose)));
        parts.push(Part::Console(steps));
        prose.push_str("```\n");
    }
    parts.push(Part::Prose(prose));
    parts
}

fn print(parts: &[Part]) -> String {
    let mut page = String::new();
    for part in parts {
        match part {
            Part::Prose(text) => page.push_str(text),
            Part::Console(steps) => {
                for step in steps {
                    let _ = writeln!(page, "$ {}", step.command);
                    for line in &step.output {
                        let _ = writeln!(page, "{line}");
                    }
                }
            }
        }
    }
    page
}

/// A shell that is typed into. Everything that it started ends with it.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    ports: Vec<(String, String)>,
    directory: tempfile::TempDir,
    _place: Place,
}

impl Shell {
    fn start() -> Self {
        let place = Place::take();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let program = Path::new(PROGRAM);
        let programs = program.parent().expect("it is in a directory").display().to_string();
        let path = std::env::var("PATH").expect("a path");
        let mut child = Command::new("bash")
            .arg("--norc")
            .env("PATH", format!("{programs}:{path}"))
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("a shell");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let listeners: Vec<TcpListener> =
            PORTS.iter().map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let free = listeners.iter().map(|listener| listener.local_addr().expect("bound").port());
        let ports = PORTS.iter().zip(free).map(|(page, free)| (page.to_string(), free.to_string()));
        let ports = ports.collect();
        // What the page starts writes its log to files, so only commands write here.
        let mut shell = Self { child, input, output, ports, directory, _place: place };
        shell.type_in("exec 2>&1; trap 'kill -9 $(jobs -p) 2>/dev/null' EXIT");
        shell
    }

    /// Types a command, and returns what was printed until it ended.
    fn type_in(&mut self, command: &str) -> Vec<String> {
        let typed = replaced(command, &self.ports);
        writeln!(self.input, "{typed}\necho '{MARK}'").expect("the shell listens");
        let mut printed = Vec::new();
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).expect("the shell speaks");
            assert!(read > 0, "the shell ended at: {typed}");
            let line = line.trim_end_matches('\n');
            if let Some(last) = line.strip_suffix(MARK) {
                if !last.is_empty() {
                    printed.push(last.to_owned());
                }
                break;
            }
            printed.push(line.to_owned());
        }
        let back: Vec<_> =
            self.ports.iter().map(|(page, free)| (free.clone(), page.clone())).collect();
        printed.iter().map(|line| replaced(line, &back)).collect()
    }

    fn logs(&self) -> String {
        let mut logs = String::new();
        for id in 1..=3 {
            let path = self.directory.path().join(format!("node-{id}.log"));
            let log = std::fs::read_to_string(path).unwrap_or_default();
            let _ = writeln!(logs, "--- node {id}\n{log}");
        }
        logs
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // One that has ended needs no telling.
        let _ = writeln!(self.input, "exit");
        let _ = self.child.wait();
    }
}

/// Replaces whole numbers by others, each once: a port may be part of another one.
fn replaced(text: &str, numbers: &[(String, String)]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let end = rest[start..].find(|c: char| !c.is_ascii_digit());
        let end = end.map_or(rest.len(), |length| start + length);
        let number = &rest[start..end];
        let other = numbers.iter().find(|(from, _)| from == number);
        out.push_str(&rest[..start]);
        out.push_str(other.map_or(number, |(_, to)| to));
        rest = &rest[end..];
    }
    out + rest
}

/// A line without what depends on the moment: every number with one point in it becomes `#`, the nodes
/// 2 and 3 are the same where a node is named, and so are all terms, epochs, zxids and last positions.
fn comparable(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number = rest[..end].trim_end_matches('.');
        rest = &rest[number.len()..];
        let named = ["n", "node\":", "leader\":", "from\":", "to\":", "(", "[n"]
            .iter()
            .any(|before| out.ends_with(before));
        let counts = ["term=", "epoch=", "Epoch=", "last=", "@", " in ", "0x"]
            .iter()
            .any(|before| out.ends_with(before));
        match number {
            _ if counts => out.push('?'),
            "2" | "3" if named => out.push('?'),
            _ if number.matches('.').count() == 1 => out.push('#'),
            _ => out.push_str(number),
        }
    }
    out + rest
}

/// Whether what was printed is what the page shows.
fn matches(shown: &[String], printed: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((line, behind)) if line == "…" => {
            (0..=printed.len()).any(|skipped| matches(behind, &printed[skipped..]))
        }
        Some((line, behind)) => printed.split_first().is_some_and(|(first, rest)| {
            comparable(line) == comparable(first) && matches(behind, rest)
        }),
    }
}

fn tour(name: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    let page = std::fs::read_to_string(&path).expect("the page");
    let mut parts = parse(&page);
    assert_eq!(print(&parts), page, "a page is cut without loss");
    let writes = std::env::var_os("DUORUM_WRITE_TOURS").is_some();
    let mut shell = Shell::start();
    let mut commands = 0;
    for part in &mut parts {
        let Part::Console(steps) = part else { continue };
        for step in steps {
            commands += 1;
            let printed = shell.type_in(&step.command);
            let elides = step.output.iter().any(|line| line == "…");
            if writes && !elides {
                step.output = printed;
            } else if !matches(&step.output, &printed) {
                let (shown, printed) = (step.output.join("\n"), printed.join("\n"));
                eprintln!("{}", shell.logs());
                panic!("docs/{name}: $ {}\nshows:\n{shown}\nprints:\n{printed}", step.command);
            }
        }
    }
    assert!(commands > 10, "the page is a tour, not {commands} commands");
    if writes {
        std::fs::write(&path, print(&parts)).expect("the page can be written");
    }
}

#[test]
fn the_tour_of_raft_prints_what_it_shows() {
    tour("tour-raft.md");
}

#[test]
fn the_tour_of_zab_prints_what_it_shows() {
    tour("tour-zab.md");
}

#[test]
fn the_tour_of_faults_prints_what_it_shows() {
    tour("faults.md");
}

#[test]
fn only_what_depends_on_the_moment_is_not_compared() {
    let same = |a: &str, b: &str| comparable(a) == comparable(b);
    assert!(same("took 0.3 ms, n2 leads", "took 17.25 ms, n3 leads"));
    assert!(same("\"leader\":2,", "\"leader\":3,"));
    assert!(same("term=3 last=4@2", "term=2 last=3@1"));
    for (a, b) in [
        ("\"leader\":1", "\"leader\":2"),
        ("revision 2", "revision 3"),
        ("127.0.0.1", "127.0.0.2"),
        ("0.3 ms", "3 ms"),
    ] {
        assert!(!same(a, b), "{a} and {b}");
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(matches(&lines("a\n…\nd"), &lines("a\nb\nc\nd")));
    assert!(matches(&lines("a\n…"), &lines("a")));
    assert!(!matches(&lines("a\n…\nd"), &lines("a\nb")));
}
