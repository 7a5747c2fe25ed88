//! Strangers on the peer port of a running node: the node goes on.

use std::net::SocketAddr;
use std::time::Duration;

use consensus::{NodeId, Protocol, Wire as _};
use server::serve::Server;
use storage::formation::Announcement;
use storage::{DirectoryId, Formation};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::Http;
use super::{Fixture, STARTS_MAX, cluster_of_three};

const MAGIC: &[u8] = b"DUORUMPR";

/// A frame of this kind.
fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
    let body = [&[kind], content].concat();
    let length = u32::try_from(body.len()).expect("short");
    [&length.to_le_bytes(), &crc32fast::hash(&body).to_le_bytes(), &body[..]].concat()
}

/// The version of everything that travels between nodes.
const VERSION: u32 = 3;

/// A greeting, correct but for what is said.
struct Greeting {
    magic: &'static [u8],
    version: u32,
    cluster: &'static str,
    protocol: &'static str,
    from: u64,
    to: u64,
    announcement: Announcement,
}

impl Greeting {
    /// What node 3 would say to node 1 if it came with another data directory.
    async fn of_node_3(fixture: &Fixture, protocol: Protocol) -> Self {
        let cluster = fixture.http.get("/v1/cluster").await.json();
        let members = cluster["members"].as_array().expect("a list");
        let directories = members.iter().map(|member| {
            let directory = member["directory"].as_str().expect("known once it is formed");
            let directory = u128::from_str_radix(directory, 16).expect("a number");
            (NodeId(member["node"].as_u64().expect("a number")), DirectoryId(directory))
        });
        let formation = Formation { directories: directories.collect(), formed: true };
        let voters = formation.directories.keys().copied().collect();
        let announcement = Announcement { directory: DirectoryId(7), voters, formation };
        let (magic, cluster, protocol) = (MAGIC, "duorum", protocol.name());
        Self { magic, version: VERSION, cluster, protocol, from: 3, to: 1, announcement }
    }

    fn but(&self, change: impl FnOnce(&mut Self)) -> Vec<u8> {
        let announcement = self.announcement.clone();
        let mut changed = Self { announcement, ..*self };
        change(&mut changed);
        changed.frame()
    }

    fn frame(&self) -> Vec<u8> {
        let text = |text: &str| {
            let length = u32::try_from(text.len()).expect("short");
            [&length.to_le_bytes(), text.as_bytes()].concat()
        };
        let content = [
            self.magic,
            &self.version.to_le_bytes(),
            &text(self.cluster),
            &text(self.protocol),
            &self.from.to_le_bytes(),
            &self.to.to_le_bytes(),
            &9_u64.to_le_bytes(),
            &self.announcement.to_bytes(),
        ]
        .concat();
        frame(4, &content)
    }
}

/// Says something and waits to be shown out.
async fn show_out(peer: SocketAddr, said: &[u8]) {
    let mut stream = TcpStream::connect(peer).await.expect("a connection");
    // The node may close before it has read everything.
    let _ = stream.write_all(said).await;
    let mut answer = Vec::new();
    let ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    let _ = ended.unwrap_or_else(|_| panic!("{:?} was let in", String::from_utf8_lossy(said)));
}

async fn strangers_are_shown_out_and_the_node_goes_on(protocol: Protocol) {
    let fixture = Fixture::start_on(protocol).await;
    let other = if protocol == Protocol::Raft { "zab" } else { "raft" };
    // Nodes 2 and 3 dial node 1, so at its port a greeting of theirs could be true.
    let peer = fixture.server.peer_address();
    let greeting = Greeting::of_node_3(&fixture, protocol).await;
    let whole = greeting.frame();
    let mut damaged = whole.clone();
    damaged[20] ^= 1;
    let strange_directory = |greeting: &mut Greeting| {
        greeting.announcement.formation.directories.insert(NodeId(2), DirectoryId(7));
    };
    for said in [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        vec![0; 100],
        vec![0xFF; 100],
        frame(1, b"a message before a greeting"),
        frame(9, b"of no kind"),
        frame(4, b""),
        frame(4, b"no greeting at all, but a correct frame"),
        frame(4, &[0; 5000]),
        u32::MAX.to_le_bytes().to_vec(),
        damaged,
        greeting.but(|greeting| greeting.magic = b"RAFTRAFT"),
        greeting.but(|greeting| greeting.version = VERSION - 1),
        greeting.but(|greeting| greeting.cluster = "other"),
        greeting.but(|greeting| greeting.protocol = other),
        greeting.but(|greeting| greeting.to = 2),
        greeting.but(|greeting| greeting.from = 4),
        greeting.but(|greeting| greeting.from = 1),
        greeting.but(|greeting| greeting.from = 0),
        greeting.but(|greeting| greeting.announcement.voters = [NodeId(1), NodeId(3)].into()),
        greeting.but(|greeting| greeting.announcement.formation.formed = false),
        greeting.but(|greeting| greeting.announcement.formation = Formation::default()),
        greeting.but(strange_directory),
    ] {
        show_out(peer, &said).await;
    }
    // Half a greeting, and silence.
    let mut half = TcpStream::connect(peer).await.expect("a connection");
    half.write_all(&whole[..whole.len() / 2]).await.expect("sent");
    let http = &fixture.http;
    assert_eq!(http.put("/v1/kv/k", "v").await.status, 201);
    for http in fixture.all() {
        assert_eq!(http.get("/v1/kv/k").await.json()["value"], "v");
    }
    let cluster = http.get("/v1/cluster").await.json();
    for member in cluster["members"].as_array().expect("a list") {
        assert_eq!(member["connected"], true, "{cluster}");
    }
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(10), half.read_to_end(&mut rest)).await;
    let _ = ended.expect("half a greeting is not waited for");
    fixture.stop().await;
}

#[tokio::test]
async fn strangers_are_shown_out_and_a_node_of_raft_goes_on() {
    strangers_are_shown_out_and_the_node_goes_on(Protocol::Raft).await;
}

#[tokio::test]
async fn strangers_are_shown_out_and_a_node_of_zab_goes_on() {
    strangers_are_shown_out_and_the_node_goes_on(Protocol::Zab).await;
}

/// Somebody with the number of a member, whose frames make no sense: the connection ends, and the
/// member itself comes back.
#[tokio::test]
async fn a_member_whose_frames_make_no_sense_loses_its_connection() {
    let fixture = Fixture::start_on(Protocol::Raft).await;
    let peer = fixture.server.peer_address();
    let greeting = Greeting::of_node_3(&fixture, Protocol::Raft).await.frame();
    for nonsense in [
        frame(1, b"\xFF\xFF\xFF\xFF"),
        frame(2, b""),
        frame(3, b"short"),
        greeting.clone(),
        u32::MAX.to_le_bytes().to_vec(),
    ] {
        show_out(peer, &[greeting.clone(), nonsense].concat()).await;
    }
    let http = &fixture.http;
    let began = std::time::Instant::now();
    // Node 3 was pushed aside for a moment, and a leader among them perhaps with it.
    while http.put("/v1/kv/k?timeout=1s", "v").await.status >= 300 {
        assert!(began.elapsed() < Duration::from_secs(20), "the cluster does not come back");
    }
    while http.get("/v1/agree?key=k").await.json()["answered"] != 3 {
        assert!(began.elapsed() < Duration::from_secs(20), "node 3 does not come back");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn silent_strangers_do_not_keep_the_members_out() {
    for _ in 0..STARTS_MAX {
        let data = tempfile::tempdir().expect("a directory");
        let mut configs = cluster_of_three(Protocol::Zab, data.path());
        let [first, second, third] = &mut configs[..] else { panic!("three nodes") };
        let Ok(first) = Server::start(first.clone()).await else { continue };
        let peer = first.peer_address();
        // More than may greet at a time, and whenever one is shown out another comes.
        let strangers = tokio::spawn(async move {
            let mut silent = Vec::new();
            loop {
                for _ in 0..20 {
                    silent.extend(TcpStream::connect(peer).await);
                }
                let open = silent.len().saturating_sub(400);
                silent.drain(..open);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let Ok(second) = Server::start(second.clone()).await else { continue };
        let Ok(third) = Server::start(third.clone()).await else { continue };
        timeout(Duration::from_secs(20), second.ready()).await.expect("they find each other");
        assert!(!strangers.is_finished(), "the strangers are still there");
        let put = Http::new(first.http_address()).put("/v1/kv/k", "v").await;
        assert_eq!(put.status, 201);
        strangers.abort();
        third.stop().await;
        second.stop().await;
        first.stop().await;
        return;
    }
    panic!("{STARTS_MAX} ports were taken");
}
