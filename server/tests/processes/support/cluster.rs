//! A cluster of real processes.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{PROGRAM, Place, eventually, request};

/// A cluster of real processes with their data in a directory of its own.
pub(crate) struct Processes {
    protocol: &'static str,
    directory: TempDir,
    http: Vec<SocketAddr>,
    peers: Vec<SocketAddr>,
    /// How many of the last nodes only observe.
    observers: usize,
    children: Vec<Option<Child>>,
    /// What stands before the server on its command line, such as a tracer; `{node}` is its number.
    wrapper: Vec<String>,
    /// What stands behind the rest of its command line.
    flags: Vec<String>,
    _place: Place,
}

impl Processes {
    /// Starts a cluster, and waits until every node is ready.
    pub(crate) fn start(protocol: &'static str, nodes: usize) -> Self {
        Self::start_under(protocol, nodes, &[], &[])
    }

    /// As [`Processes::start`], with each server under another program and with more flags.
    pub(crate) fn start_under(
        protocol: &'static str,
        nodes: usize,
        wrapper: &[&str],
        flags: &[&str],
    ) -> Self {
        let mut processes = Self::prepare(protocol, nodes);
        processes.wrapper = wrapper.iter().map(ToString::to_string).collect();
        processes.flags = flags.iter().map(ToString::to_string).collect();
        for node in 0..nodes {
            processes.start_node(node);
        }
        processes.wait_until_ready();
        processes
    }

    /// Starts voters, and behind them a node that only observes, and waits until every node is ready.
    pub(crate) fn start_with_observer(protocol: &'static str, voters: usize) -> Self {
        let mut processes = Self::prepare(protocol, voters + 1);
        processes.observers = 1;
        (0..=voters).for_each(|node| processes.start_node(node));
        processes.wait_until_ready();
        processes
    }

    /// A cluster of which no node runs yet.
    pub(crate) fn prepare(protocol: &'static str, nodes: usize) -> Self {
        let place = Place::take();
        let addresses = free_addresses(2 * nodes);
        Self {
            protocol,
            directory: tempfile::tempdir().expect("a temporary directory"),
            http: addresses[..nodes].to_vec(),
            peers: addresses[nodes..].to_vec(),
            observers: 0,
            children: (0..nodes).map(|_| None).collect(),
            wrapper: Vec::new(),
            flags: Vec::new(),
            _place: place,
        }
    }

    /// What stands behind the rest of the command line of the nodes that are started from now on.
    pub(crate) fn set_flags(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(ToString::to_string).collect();
    }

    pub(crate) fn start_node(&mut self, node: usize) {
        let all: Vec<usize> = (0..self.peers.len()).collect();
        self.start_node_with_cluster(node, &all);
    }

    /// Starts a node that is told of these nodes only.
    pub(crate) fn start_node_with_cluster(&mut self, node: usize, members: &[usize]) {
        let id = (node + 1).to_string();
        let mut words: Vec<String> =
            self.wrapper.iter().map(|word| word.replace("{node}", &id)).collect();
        words.push(PROGRAM.to_owned());
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.path().join(format!("{}.log", node + 1)))
            .expect("a log file");
        let child = Command::new(&words[0])
            .args(&words[1..])
            .args(self.serve_arguments(node, members))
            .args(&self.flags)
            .args(self.stop_with_tests())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the server starts");
        self.children[node] = Some(child);
    }

    fn serve_arguments(&self, node: usize, members: &[usize]) -> Vec<String> {
        let voters = self.peers.len() - self.observers;
        let member = |&at: &usize| {
            let standing = if at < voters { "" } else { "/observer" };
            format!("{}={}{standing}", at + 1, self.peers[at])
        };
        let members: Vec<String> = members.iter().map(member).collect();
        let data = self.data_directory(node);
        [
            ("--protocol", self.protocol.to_owned()),
            ("--id", (node + 1).to_string()),
            ("--data-dir", data.display().to_string()),
            ("--http", self.http[node].to_string()),
            ("--peer", self.peers[node].to_string()),
            ("--cluster", members.join(",")),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .fold(vec!["serve".to_owned()], |mut all, word| {
            all.push(word);
            all
        })
    }

    /// Lets the server end with the tests, even if these are killed. Under a tracer it is not a child
    /// of the tests, so it would take them for gone.
    fn stop_with_tests(&self) -> Vec<String> {
        if self.wrapper.is_empty() {
            vec!["--stop-with-parent".to_owned(), std::process::id().to_string()]
        } else {
            Vec::new()
        }
    }

    pub(crate) fn data_directory(&self, node: usize) -> PathBuf {
        self.directory.path().join(format!("data-{}", node + 1))
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.http
    }

    pub(crate) fn peer_addresses(&self) -> &[SocketAddr] {
        &self.peers
    }

    /// SIGKILL: the process gets no chance to do anything more.
    pub(crate) fn kill(&mut self, node: usize) {
        let mut child = self.children[node].take().expect("a running node");
        child.kill().expect("a running process");
        child.wait().expect("an ended process");
    }

    /// SIGTERM, and how the process ended.
    pub(crate) fn terminate(&mut self, node: usize) -> std::process::ExitStatus {
        let mut child = self.children[node].take().expect("a running node");
        let server = self.server_process(&child);
        rustix::process::kill_process(server, rustix::process::Signal::TERM)
            .expect("a running process");
        child.wait().expect("an ended process")
    }

    /// Waits until a node ends by itself.
    pub(crate) fn await_end(&mut self, node: usize) {
        let mut child = self.children[node].take().expect("a node that was started");
        eventually("the node ends by itself", || {
            child.try_wait().expect("a process of its own").is_some()
        });
    }

    /// Sends a signal to a running node, as SIGSTOP and SIGCONT. One that stops it has stopped it then.
    pub(crate) fn signal(&self, node: usize, signal: rustix::process::Signal) {
        let child = self.children[node].as_ref().expect("a running node");
        let server = self.server_process(child);
        rustix::process::kill_process(server, signal).expect("a running process");
        if signal == rustix::process::Signal::STOP {
            // On a busy machine its threads go on until one of them has taken the signal.
            eventually("all threads stand still", || stands_still(server));
        }
    }

    /// The server itself: a tracer around it would keep the signal to itself.
    fn server_process(&self, child: &Child) -> rustix::process::Pid {
        let outer = rustix::process::Pid::from_child(child);
        if self.wrapper.is_empty() {
            return outer;
        }
        let path = format!("/proc/{0}/task/{0}/children", child.id());
        let children = std::fs::read_to_string(path).expect("the children of a tracer");
        let inner = children.split_whitespace().next().and_then(|id| id.parse().ok());
        inner.and_then(rustix::process::Pid::from_raw).expect("a traced server")
    }

    pub(crate) fn wait_until_ready(&self) {
        for address in &self.http {
            eventually("the node is ready", || {
                request(*address, "GET", "/readyz", b"").is_ok_and(|answer| answer.status == 200)
            });
        }
    }

    /// Waits until `/v1/agree` says that all nodes have the same, to the last detail.
    pub(crate) fn wait_until_all_agree(&self) {
        let mut said = serde_json::Value::Null;
        eventually("all replicas agree", || {
            said = request(self.http[0], "GET", "/v1/agree", b"").expect("an answer").json();
            assert_ne!(said["agree"], false, "{said}");
            // They agree after the last entry that all of them have, which may be an old one: a follower that has
            // not heard of the last commit lacks what was acknowledged.
            let replicas = said["replicas"].as_array().expect("replicas");
            let caught_up = replicas.iter().all(|replica| replica["lag_entries"] == 0);
            said["agree"] == true && said["answered"] == self.http.len() && caught_up
        });
    }

    /// The node that leads, once the running ones agree on it.
    pub(crate) fn leader(&self) -> usize {
        let mut leader = None;
        eventually("a running node leads", || {
            let running = (0..self.children.len()).filter(|&node| self.children[node].is_some());
            let known: Vec<Option<u64>> = running
                .map(|node| {
                    let answer = request(self.http[node], "GET", "/v1/status", b"").ok()?;
                    answer.json()["leader"].as_u64()
                })
                .collect();
            leader = known.first().copied().flatten().map(|id| id as usize - 1);
            let agreed = known.iter().all(|id| id.is_some() && *id == known[0]);
            agreed && leader.is_some_and(|leader| self.children[leader].is_some())
        });
        leader.expect("found just now")
    }

    /// What the servers logged, for a test that failed.
    pub(crate) fn logs(&self) -> String {
        (1..=self.children.len())
            .map(|id| {
                let path = self.directory.path().join(format!("{id}.log"));
                format!("--- node {id}\n{}", std::fs::read_to_string(path).unwrap_or_default())
            })
            .collect()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            // It may have ended by itself; nothing of it must stay behind either way.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// Whether all threads of a process are stopped.
fn stands_still(process: rustix::process::Pid) -> bool {
    let threads = format!("/proc/{}/task", process.as_raw_nonzero());
    let threads = std::fs::read_dir(threads).expect("the threads of a process");
    let stops = |stat: &str| {
        // The name, in parentheses, may hold anything.
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        matches!(state, Some('T' | 't'))
    };
    // A thread that has just ended has no state any more.
    let mut stats =
        threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok());
    stats.all(|stat| stops(&stat))
}

/// Addresses on the loopback interface that nobody listens on.
fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("bound")).collect()
}
