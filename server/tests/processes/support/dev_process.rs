//! A `duorum dev` as a child process, on a base port that was free, followed by what it prints.

use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{PATIENCE, PROGRAM, Place, eventually};

/// How many base ports are tried.
const BASES_MAX: u16 = 100;
/// How far base ports lie apart, so that tests at the same time do not meet.
const BASE_STRIDE: u16 = 125;
/// The last line of the screen.
const SCREEN_END: &str = "Ctrl-C stops everything. What the nodes do follows.\n";

/// What a child has printed so far.
type Text = Arc<Mutex<String>>;

/// A `duorum dev`, killed when the test is over.
pub(crate) struct DevProcess {
    pub(crate) base: u16,
    child: Child,
    stdin: Option<ChildStdin>,
    out: Text,
    log: Text,
    /// Where its temporary directory is.
    temporary: TempDir,
    _place: Place,
}

impl DevProcess {
    /// Starts one and waits for its screen.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let stdin =
            if flags.contains(&"--commands-from-stdin") { Stdio::piped } else { Stdio::null };
        Self::start_with(flags, stdin)
    }

    /// Starts one whose stdin is a terminal, at whose other end we type.
    pub(crate) fn start_at_a_terminal(flags: &[&str]) -> (Self, OwnedFd) {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("a usable terminal");
        let name = ptsname(&ours, Vec::new()).expect("its name");
        let stdin = || {
            let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
            let theirs = rustix::fs::open(&name, flags, rustix::fs::Mode::empty());
            Stdio::from(theirs.expect("its other end"))
        };
        (Self::start_with(flags, stdin), ours)
    }

    fn start_with(flags: &[&str], stdin: impl Fn() -> Stdio) -> Self {
        for _ in 0..BASES_MAX {
            let mut dev = Self::spawn(flags, free_base(), stdin());
            let began = Instant::now();
            loop {
                if dev.out.lock().expect("text").contains(SCREEN_END) {
                    return dev;
                }
                if dev.child.try_wait().expect("a status").is_some() {
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "no screen:\n{}", dev.log());
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            eventually("its complaint is read", || !dev.log().is_empty());
            // Somebody else took a port in the meantime.
            assert!(dev.log().contains("in use"), "{}", dev.log());
        }
        panic!("no base port was free");
    }

    fn spawn(flags: &[&str], base: u16, stdin: Stdio) -> Self {
        let place = Place::take();
        let temporary = tempfile::tempdir().expect("a directory");
        // Whoever runs the tests under `nohup` has SIGHUP ignored, and the program would respect that.
        let mut child = Command::new("env")
            .args(["--default-signal=HUP", PROGRAM, "dev"])
            .args(["--base-port", &base.to_string()])
            .args(flags)
            .env("TMPDIR", temporary.path())
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let out = follow(child.stdout.take().expect("piped"));
        let log = follow(child.stderr.take().expect("piped"));
        let stdin = child.stdin.take();
        Self { base, child, stdin, out, log, temporary, _place: place }
    }

    /// The complaint of one that must not start, on ports of its own.
    pub(crate) fn refused_on_free_ports(flags: &[&str]) -> String {
        let base = free_base().to_string();
        refused(&[flags, &["--base-port", &base]].concat())
    }

    /// Where Raft's nodes answer HTTP.
    pub(crate) fn raft(&self, id: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.base + id))
    }

    /// Where ZAB's nodes answer HTTP.
    pub(crate) fn zab(&self, id: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.base + 10 + id))
    }

    /// The first thing that it printed.
    pub(crate) fn screen(&self) -> String {
        let out = self.out.lock().expect("text");
        let end = out.find(SCREEN_END).expect("it was waited for") + SCREEN_END.len();
        out[..end].to_owned()
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("started with --commands-from-stdin");
        stdin.write_all(format!("{line}\n").as_bytes()).expect("typed");
    }

    /// Waits until it has printed these words.
    pub(crate) fn wait_for_output(&self, words: &str) {
        eventually(words, || self.out.lock().expect("text").contains(words));
    }

    /// Waits until it has logged these words, and returns all that it logged.
    pub(crate) fn wait_for_log(&self, words: &str) -> String {
        eventually(words, || self.log().contains(words));
        self.log()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("text").clone()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process is there");
    }

    /// What it has left in the place for temporary directories.
    pub(crate) fn temporary_directories(&self) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(self.temporary.path()).expect("a directory");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    /// Waits for its end, and that it leaves nothing behind.
    pub(crate) fn assert_ends_cleanly(&mut self) {
        let mut status = None;
        eventually("it ends", || {
            status = self.child.try_wait().expect("a status");
            status.is_some()
        });
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", self.log());
        let left = self.temporary_directories();
        assert!(left.is_empty(), "it left {left:?}");
    }
}

impl Drop for DevProcess {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let out = self.out.lock().expect("text").clone();
            eprintln!("--- printed\n{out}\n--- logged\n{}", self.log());
        }
    }
}

/// The complaint of one that must not start. It leaves nothing behind.
pub(crate) fn refused(flags: &[&str]) -> String {
    let temporary = tempfile::tempdir().expect("a directory");
    let output = Command::new(PROGRAM)
        .arg("dev")
        .args(flags)
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    let complaint = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert_eq!(std::fs::read_dir(temporary.path()).expect("a directory").count(), 0);
    complaint
}

/// Collects what a child prints.
fn follow(mut from: impl Read + Send + 'static) -> Text {
    let text = Text::default();
    let collected = Arc::clone(&text);
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..read]);
            *collected.lock().expect("text") = String::from_utf8_lossy(&bytes).into_owned();
        }
    });
    text
}

/// A base port all of whose ports are free just now, another one each time.
fn free_base() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 16).expect("it is below 16");
    for _ in 0..BASES_MAX {
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        // Below the ports that the system gives to whoever asks for any.
        let base = 10_000 + (process * 1_250 + count % 160 * BASE_STRIDE) % 20_000;
        let free =
            (1..=119).all(|offset| TcpListener::bind((Ipv4Addr::LOCALHOST, base + offset)).is_ok());
        if free {
            return base;
        }
    }
    panic!("no base port is free");
}
