//! How ZooKeeper is found, configured, started and asked who leads.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::choice::System;
use super::record::Installation;
use super::search;
use crate::Error;

/// Where distributions put ZooKeeper's scripts.
const PLACES: [&str; 3] = ["/usr/share/zookeeper", "/opt/zookeeper", "/usr/local/zookeeper"];
/// The settings of a node, below its directory.
pub(super) const SETTINGS: &str = "zoo.cfg";
/// How many connections from one address a server accepts unless told otherwise.
const CONNECTIONS_DEFAULT: usize = 60;
/// How many connections the measurement has besides those of the load: probes, and questions for the state.
const CONNECTIONS_BESIDE: usize = 8;
/// The longest answer to a question for the state that is read.
const STATE_BYTES_MAX: u64 = 16 << 10;

/// A ZooKeeper that can be started.
#[derive(Clone, Debug)]
pub(super) struct ZooKeeper {
    script: PathBuf,
    version: String,
    java: String,
}

/// Where one node talks to its clients, to its leader, in elections and to administrators.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) client: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) election: SocketAddr,
    pub(super) admin: SocketAddr,
}

impl ZooKeeper {
    /// Finds the release that was named, or that is installed.
    pub(super) fn find(path: Option<&Path>) -> Result<Self, Error> {
        let script = match path {
            Some(path) => script_at(&search::absolute(path)).ok_or_else(|| {
                Error::Usage(format!(
                    "--with zookeeper={}: there is no bin/zkServer.sh; name the directory that a \
                     release was unpacked into",
                    path.display()
                ))
            })?,
            None => {
                PLACES.iter().find_map(|place| script_at(Path::new(place))).ok_or_else(|| {
                    Error::Usage(format!(
                        "--with zookeeper: there is no bin/zkServer.sh in {}; install it (Debian: \
                     apt-get install zookeeper), or say where a release was unpacked with --with \
                     zookeeper=DIRECTORY",
                        PLACES.join(", ")
                    ))
                })?
            }
        };
        let java = java_version()?;
        let said = search::ask(System::ZooKeeper, Command::new(&script).arg("version"))?;
        let version = version_of(&said).ok_or_else(|| {
            let (script, said) = (script.display(), said.lines().next().unwrap_or_default());
            Error::Usage(format!(
                "--with zookeeper: {script} version says no version but `{said}`; name another release \
                 with --with zookeeper=DIRECTORY"
            ))
        })?;
        Ok(Self { script, version, java })
    }

    /// What the report says of it.
    pub(super) fn installation(&self) -> Installation {
        Installation {
            system: System::ZooKeeper,
            version: self.version.clone(),
            program: self.script.display().to_string(),
            runtime: Some(self.java.clone()),
            settings: "those of the sample that it comes with (tickTime, initLimit, syncLimit); otherwise none \
                       but those that name the nodes, their addresses and their directories; memory and \
                       options of the Java machine as its own script sets them"
                .to_owned(),
        }
    }

    /// Writes what one node reads when it starts, and returns its command line.
    pub(super) fn prepare(
        &self,
        number: usize,
        all: &[Addresses],
        connections: usize,
        directory: &Path,
    ) -> Result<Vec<String>, Error> {
        let (data, settings) = (directory.join("data"), directory.join(SETTINGS));
        fs::create_dir_all(&data).map_err(|source| Error::path("create", &data, source))?;
        let write = |file: &Path, text: String| {
            fs::write(file, text).map_err(|source| Error::path("write", file, source))
        };
        write(&data.join("myid"), format!("{}\n", number + 1))?;
        write(&settings, settings_text(number, all, connections, &data))?;
        // What a node has to say goes to where all nodes' logs are, whatever its installation would do with
        // it, and its script writes nowhere else. The script starts the Java machine in its own place, so the process stays the one that was
        // started.
        let logging = format!(
            "JVMFLAGS=-Dzookeeper.root.logger=INFO,CONSOLE -Dzookeeper.log.dir={}",
            directory.display()
        );
        Ok([
            "/usr/bin/env".to_owned(),
            format!("ZOO_LOG_DIR={}", directory.display()),
            logging,
            self.script.display().to_string(),
            "start-foreground".to_owned(),
            settings.display().to_string(),
        ]
        .into())
    }
}

/// The script that starts a node, in the directory of a release, or named itself.
fn script_at(path: &Path) -> Option<PathBuf> {
    const SCRIPT: &str = "bin/zkServer.sh";
    let script = if path.ends_with(SCRIPT) { path.to_owned() } else { path.join(SCRIPT) };
    search::is_program(&script).then_some(script)
}

/// The settings of one node: the sample's three numbers, and what names the nodes.
fn settings_text(number: usize, all: &[Addresses], connections: usize, data: &Path) -> String {
    let Addresses { client, admin, .. } = all[number];
    let mut text = format!(
        "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPortAddress={}\nclientPort={}\n\
         admin.serverAddress={}\nadmin.serverPort={}\n",
        data.display(),
        client.ip(),
        client.port(),
        admin.ip(),
        admin.port(),
    );
    // All connections come from one address here, which they do not elsewhere. If the node that is asked
    // most would refuse some, there is no limit; 0 means none.
    if connections.div_ceil(all.len()) + CONNECTIONS_BESIDE > CONNECTIONS_DEFAULT {
        text.push_str("maxClientCnxns=0\n");
    }
    for (index, addresses) in all.iter().enumerate() {
        let Addresses { peer, election, .. } = addresses;
        let _ = writeln!(
            text,
            "server.{}={}:{}:{}",
            index + 1,
            peer.ip(),
            peer.port(),
            election.port()
        );
    }
    text
}

/// Whether a node leads; an error while it does not serve.
pub(super) async fn leads(address: SocketAddr, timeout: Duration) -> Result<bool, String> {
    let asked = tokio::time::timeout(timeout, ask(address)).await;
    let state = match asked {
        Ok(Ok(state)) => state,
        Ok(Err(error)) => return Err(format!("{address} does not answer srvr: {error}")),
        Err(_) => return Err(format!("{address} does not answer srvr in time")),
    };
    leads_by_state(&state).map_err(|why| format!("{address}: {why}"))
}

/// Asks by the word of four letters that is allowed by default.
async fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"srvr").await?;
    let mut state = String::new();
    stream.take(STATE_BYTES_MAX).read_to_string(&mut state).await?;
    Ok(state)
}

fn leads_by_state(state: &str) -> Result<bool, String> {
    match state.lines().find_map(|line| line.strip_prefix("Mode: ")) {
        Some("leader") => Ok(true),
        Some("follower") => Ok(false),
        Some(mode) => Err(format!("it is in mode {mode}, neither leader nor follower")),
        None => Err(state.lines().next().unwrap_or("it says nothing").to_owned()),
    }
}

/// The version in what the script prints: `Apache ZooKeeper, version 3.8.0 2022-02-25 08:49 UTC`.
fn version_of(said: &str) -> Option<String> {
    let version = said.lines().find_map(|line| line.strip_prefix("Apache ZooKeeper, version "))?;
    Some(version.split_whitespace().next()?.to_owned())
}

/// The version of the Java machine that ZooKeeper's script will use.
fn java_version() -> Result<String, Error> {
    let home = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java"));
    let java = home.filter(|file| search::is_program(file)).or_else(|| search::program("java"));
    let java = java.ok_or_else(|| {
        Error::Usage(
            "--with zookeeper: there is no program java in PATH or JAVA_HOME, which it needs; install one \
             (Debian: apt-get install default-jre-headless)"
                .to_owned(),
        )
    })?;
    let said = search::ask(System::ZooKeeper, Command::new(java).arg("-version"))?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_the_samples_settings_and_its_own_addresses() {
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let all = [1u16, 2, 3].map(|n| Addresses {
            client: address(2000 + n),
            peer: address(3000 + n),
            election: address(4000 + n),
            admin: address(5000 + n),
        });
        let text = settings_text(2, &all, 64, Path::new("/data/node-3"));
        assert_eq!(
            text,
            "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/data/node-3\n\
             clientPortAddress=127.0.0.1\nclientPort=2003\n\
             admin.serverAddress=127.0.0.1\nadmin.serverPort=5003\n\
             server.1=127.0.0.1:3001:4001\nserver.2=127.0.0.1:3002:4002\nserver.3=127.0.0.1:3003:4003\n"
        );
        let many = settings_text(2, &all, 256, Path::new("/data/node-3"));
        assert!(many.contains("\nmaxClientCnxns=0\n"), "{many}");
    }

    #[test]
    fn what_a_node_reads_lies_where_its_command_says() {
        let directory = tempfile::tempdir().expect("a directory");
        let zookeeper = ZooKeeper {
            script: PathBuf::from("/opt/zookeeper/bin/zkServer.sh"),
            version: "3.9.1".to_owned(),
            java: "openjdk".to_owned(),
        };
        let all = [1u16, 2, 3, 4].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let [client, peer, election, admin] = all;
        let node = directory.path().join("node-1");
        let command = zookeeper
            .prepare(0, &[Addresses { client, peer, election, admin }], 1, &node)
            .expect("a writable directory");
        assert_eq!(&command[3..5], ["/opt/zookeeper/bin/zkServer.sh", "start-foreground"]);
        let text = fs::read_to_string(&command[5]).expect("settings");
        assert!(text.contains(&format!("dataDir={}/data\n", node.display())), "{text}");
        assert_eq!(fs::read_to_string(node.join("data/myid")).expect("a number"), "1\n");
    }

    #[test]
    fn a_state_tells_whether_the_node_leads() {
        let state = |mode: &str| {
            format!("Zookeeper version: 3.8.0\nZxid: 0x0\nMode: {mode}\nNode count: 5\n")
        };
        assert_eq!(leads_by_state(&state("leader")), Ok(true));
        assert_eq!(leads_by_state(&state("follower")), Ok(false));
        assert!(
            leads_by_state(&state("standalone")).expect_err("no cluster").contains("standalone")
        );
        let waiting = "This ZooKeeper instance is not currently serving requests\n";
        assert!(leads_by_state(waiting).expect_err("no leader").contains("not currently serving"));
        leads_by_state("").expect_err("nothing");
    }

    #[test]
    fn a_version_is_the_word_after_the_name() {
        let said = "ZooKeeper JMX enabled by default\nApache ZooKeeper, version 3.8.0 2022-02-25 08:49 UTC\n";
        assert_eq!(version_of(said).as_deref(), Some("3.8.0"));
        assert_eq!(version_of("Usage: zkServer.sh"), None);
    }

    #[test]
    fn what_is_not_there_is_told_with_what_to_do() {
        let error = ZooKeeper::find(Some(Path::new("/nowhere"))).expect_err("nothing there");
        let error = error.to_string();
        assert!(error.contains("there is no bin/zkServer.sh; name the directory"), "{error}");
    }

    #[test]
    fn a_release_is_named_by_its_directory_or_its_script() {
        use std::os::unix::fs::PermissionsExt;
        let release = tempfile::tempdir().expect("a directory");
        let script = release.path().join("bin/zkServer.sh");
        fs::create_dir(release.path().join("bin")).expect("a directory");
        fs::write(&script, "#!/bin/sh\n").expect("writable");
        assert_eq!(script_at(release.path()), None, "it can not be run");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("settable");
        assert_eq!(script_at(release.path()), Some(script.clone()));
        assert_eq!(script_at(&script), Some(script));
    }
}
