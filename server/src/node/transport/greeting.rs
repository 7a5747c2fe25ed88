//! Greeting on a new connection: who is there, and whether it is of the same cluster.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use bytes::BytesMut;
use consensus::NodeId;
use consensus::codec::Wire;
use storage::DirectoryId;
use storage::formation::HearError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::frame::{FrameKind, put_frame, take_frame};
use super::hello::{Hello, HelloPurpose};
use super::link::Peers;
use crate::node::shared::Shared;

/// A greeting is never longer.
const GREETING_BYTES_MAX: usize = 4096;

/// A connection on which both sides have greeted.
pub(super) struct Greeted {
    pub(super) stream: TcpStream,
    /// What came behind the greeting.
    pub(super) rest: BytesMut,
    /// What both ends call the connection.
    pub(super) connection: u64,
    /// What the connection is for.
    pub(super) purpose: HelloPurpose,
    /// The peer's data directory.
    pub(super) directory: DirectoryId,
}

/// What came of a greeting.
pub(super) enum Greeting {
    /// Both ends belong to the same formed cluster.
    Connected(Greeted),
    /// One of them does not know yet that the cluster is formed: they have told each other what they
    /// know, and the connection is of no further use. Says whether this node knows more now.
    Forming { progress: bool },
}

/// Why a connection could not be put to use.
pub(super) struct GreetError {
    pub(super) problem: String,
    /// A member of the cluster that came and does not fit: somebody should look at it.
    pub(super) misfit: Option<NodeId>,
}

impl From<String> for GreetError {
    fn from(problem: String) -> Self {
        Self { problem, misfit: None }
    }
}

/// The dialling side: says who it is, and waits to hear who answers.
pub(super) async fn greet<M>(
    peers: &Peers<M>,
    peer: NodeId,
    address: &str,
) -> Result<Greeting, GreetError> {
    if let Some(fault) = peers.shared.faults.separates(peers.shared.facts.id, peer) {
        return Err(format!("{fault} lets nothing through").into());
    }
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let connection = peers.next_connection();
    let sent = peers.shared.hello(peer, connection, HelloPurpose::Link);
    send_hello(&mut stream, &sent).await?;
    let (theirs, rest) = receive_hello(&mut stream).await?;
    let heard = sent.accepts(&theirs, Some(peer)).and_then(|()| hear(peers, &theirs));
    let progress = heard.map_err(|problem| GreetError { problem, misfit: Some(peer) })?;
    Ok(conclude(&sent, theirs, progress, stream, rest))
}

/// The accepting side: hears who comes, and says who is here.
pub(super) async fn greet_back<M>(
    peers: &Peers<M>,
    mut stream: TcpStream,
) -> Result<(NodeId, Greeting), GreetError> {
    let (theirs, rest) = receive_hello(&mut stream).await?;
    let Hello { from, connection, purpose, .. } = theirs;
    let misfit = Some(from).filter(|from| peers.members.contains_key(from));
    if purpose != HelloPurpose::Lab
        && let Some(fault) = peers.shared.faults.separates(peers.shared.facts.id, from)
    {
        // Not even the answer gets through.
        let problem = format!("{fault} lets nothing through");
        return Err(GreetError { problem, misfit });
    }
    let answer = || peers.shared.hello(from, connection, purpose);
    let heard = answer()
        .accepts(&theirs, None)
        .and_then(|()| peers.dials_here(from, purpose))
        .and_then(|()| hear(peers, &theirs));
    // After it was heard, so that the answer is as good as it can be. A stranger is answered all the
    // same, so that it can say what does not fit.
    let sent = answer();
    send_hello(&mut stream, &sent).await?;
    let progress = heard.map_err(|problem| GreetError { problem, misfit })?;
    Ok((from, conclude(&sent, theirs, progress, stream, rest)))
}

/// Takes in what a peer tells of its data directory.
fn hear<M>(peers: &Peers<M>, theirs: &Hello) -> Result<bool, String> {
    match peers.shared.formation.hear(theirs.from, &theirs.announcement) {
        Ok(progress) => Ok(progress),
        Err(HearError::Refused(refusal)) => Err(refusal.to_string()),
        Err(HearError::Io(error)) => {
            let problem = format!("cannot write which data directories form the cluster: {error}");
            peers.fail(&problem);
            Err(problem)
        }
    }
}

/// Both ends know what both have said, so they come to the same conclusion.
fn conclude(
    sent: &Hello,
    theirs: Hello,
    progress: bool,
    stream: TcpStream,
    rest: BytesMut,
) -> Greeting {
    let Hello { connection, purpose, announcement, .. } = theirs;
    if sent.announcement.formation.formed && announcement.formation.formed {
        let directory = announcement.directory;
        Greeting::Connected(Greeted { stream, rest, connection, purpose, directory })
    } else {
        Greeting::Forming { progress }
    }
}

async fn send_hello(stream: &mut TcpStream, hello: &Hello) -> Result<(), String> {
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let mut out = BytesMut::new();
    put_frame(&mut out, FrameKind::Hello, |out| hello.encode(out));
    stream.write_all(&out).await.map_err(|error| error.to_string())
}

async fn receive_hello(stream: &mut TcpStream) -> Result<(Hello, BytesMut), String> {
    let mut buffer = BytesMut::with_capacity(GREETING_BYTES_MAX);
    loop {
        if let Some((kind, content)) = take_frame(&mut buffer, GREETING_BYTES_MAX)? {
            if kind != FrameKind::Hello {
                return Err("it does not greet".to_owned());
            }
            let hello = Hello::from_bytes(content).map_err(|error| error.to_string())?;
            return Ok((hello, buffer));
        }
        let read = stream.read_buf(&mut buffer).await.map_err(|error| error.to_string())?;
        if read == 0 {
            return Err("it closed the connection without a greeting".to_owned());
        }
    }
}

/// Greets for a word about faults. Returns what came behind the answer.
///
/// # Errors
/// When nobody answers, or who does is not whom the greeting is for.
pub(super) async fn greet_for_lab(
    shared: &Shared,
    node: NodeId,
    address: &str,
) -> Result<(TcpStream, BytesMut), String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let sent = shared.hello(node, 0, HelloPurpose::Lab);
    send_hello(&mut stream, &sent).await?;
    let (theirs, rest) = receive_hello(&mut stream).await?;
    sent.accepts(&theirs, Some(node))?;
    Ok((stream, rest))
}

/// Greets over a blocking socket as the side that dials. Returns what came behind the answer.
///
/// # Errors
/// When who answers is not whom the greeting is for, or the connection ends.
pub(crate) fn greet_blocking(
    stream: &mut std::net::TcpStream,
    hello: &Hello,
    patience: Duration,
) -> Result<BytesMut, String> {
    let mut out = BytesMut::new();
    put_frame(&mut out, FrameKind::Hello, |out| hello.encode(out));
    let send = |stream: &mut std::net::TcpStream| {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(&out)
    };
    send(stream).map_err(|error| error.to_string())?;
    let mut received = BytesMut::new();
    loop {
        if let Some((kind, content)) = take_frame(&mut received, GREETING_BYTES_MAX)? {
            if kind != FrameKind::Hello {
                return Err("it does not greet".to_owned());
            }
            let theirs = Hello::from_bytes(content).map_err(|error| error.to_string())?;
            hello.accepts(&theirs, Some(hello.to))?;
            return Ok(received);
        }
        let mut some = [0; GREETING_BYTES_MAX];
        match stream.read(&mut some) {
            Ok(0) => return Err("it closed the connection without a greeting".to_owned()),
            Ok(read) => received.extend_from_slice(&some[..read]),
            Err(error) => return Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use consensus::Protocol;
    use storage::Formation;
    use storage::formation::{Announcement, VOTERS_MAX};
    use storage::identity::CLUSTER_NAME_BYTES_MAX;

    use super::*;

    #[test]
    fn the_longest_greeting_is_within_its_bound() {
        let voters = || (1..=VOTERS_MAX as u64).map(NodeId);
        let hello = Hello {
            cluster: "c".repeat(CLUSTER_NAME_BYTES_MAX),
            protocol: Protocol::Raft,
            from: NodeId(1),
            to: NodeId(2),
            connection: 3,
            purpose: HelloPurpose::Link,
            announcement: Announcement {
                directory: DirectoryId(1),
                voters: voters().collect(),
                formation: Formation {
                    directories: voters().map(|voter| (voter, DirectoryId(7))).collect(),
                    formed: true,
                },
            },
        };
        let mut buffer = BytesMut::new();
        put_frame(&mut buffer, FrameKind::Hello, |out| hello.encode(out));
        let taken = take_frame(&mut buffer, GREETING_BYTES_MAX).expect("within the bound");
        let (_, content) = taken.expect("whole");
        assert_eq!(Hello::from_bytes(content), Ok(hello));
    }
}
