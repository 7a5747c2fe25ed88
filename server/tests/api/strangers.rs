//! Strangers on the peer port of a running node: the node goes on.

use std::net::SocketAddr;
use std::time::Duration;

use consensus::Protocol;
use server::serve::Server;
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

/// A greeting, correct but for what is said.
fn hello(magic: &[u8], version: u32, cluster: &str, protocol: &str, from: u64, to: u64) -> Vec<u8> {
    let text = |text: &str| {
        let length = u32::try_from(text.len()).expect("short");
        [&length.to_le_bytes(), text.as_bytes()].concat()
    };
    let content = [
        magic,
        &version.to_le_bytes(),
        &text(cluster),
        &text(protocol),
        &from.to_le_bytes(),
        &to.to_le_bytes(),
        &7_u128.to_le_bytes(),
    ]
    .concat();
    frame(4, &content)
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
    let own = protocol.name();
    // Nodes 2 and 3 dial node 1, so at its port a greeting of theirs could be true.
    let peer = fixture.server.peer_address();
    let whole = hello(MAGIC, 1, "duorum", own, 3, 1);
    let mut damaged = whole.clone();
    damaged[20] ^= 1;
    for said in [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        vec![0; 100],
        vec![0xFF; 100],
        frame(1, b"a message before a greeting"),
        frame(9, b"of no kind"),
        frame(4, b""),
        frame(4, b"no greeting at all, but a correct frame"),
        u32::MAX.to_le_bytes().to_vec(),
        damaged,
        hello(b"RAFTRAFT", 1, "duorum", own, 3, 1),
        hello(MAGIC, 2, "duorum", own, 3, 1),
        hello(MAGIC, 1, "other", own, 3, 1),
        hello(MAGIC, 1, "duorum", other, 3, 1),
        hello(MAGIC, 1, "duorum", own, 3, 2),
        hello(MAGIC, 1, "duorum", own, 4, 1),
        hello(MAGIC, 1, "duorum", own, 1, 1),
        hello(MAGIC, 1, "duorum", own, 0, 1),
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
    let greeting = hello(MAGIC, 1, "duorum", "raft", 3, 1);
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
        let (second, first) = (configs.remove(1), configs.remove(0));
        let Ok(first) = Server::start(first).await else { continue };
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
        let Ok(second) = Server::start(second).await else { continue };
        timeout(Duration::from_secs(20), second.ready()).await.expect("the two find each other");
        assert!(!strangers.is_finished(), "the strangers are still there");
        let put = Http::new(first.http_address()).put("/v1/kv/k", "v").await;
        assert_eq!(put.status, 201);
        strangers.abort();
        second.stop().await;
        first.stop().await;
        return;
    }
    panic!("{STARTS_MAX} ports were taken");
}
